/** How long the answer to one command may be: it is held in memory until the client has taken it. */
import type { Reply } from './reply.ts'

export const MAX_ANSWER_BYTES = 32 * 1024 * 1024

/** About what a reply takes. */
export function answerBytes(reply: Reply): number {
  if (Buffer.isBuffer(reply) || typeof reply === 'string') return reply.length
  if (!Array.isArray(reply)) return 0
  return (reply as readonly Reply[]).reduce<number>((sum, one) => sum + answerBytes(one), 0)
}
