/** Limit for the reply to one command, which is held in memory until the client has read it. */
import { Constant, RespMap, RespSet, Verbatim, type Reply } from '../reply.ts'

export const MAX_ANSWER_BYTES = 32 * 1024 * 1024
const ELEMENT_BYTES = 8

/** The approximate size of a reply. */
export function answerBytes(reply: Reply): number {
  if (Buffer.isBuffer(reply) || typeof reply === 'string') return reply.length
  if (reply instanceof Verbatim) return reply.text.length
  if (reply instanceof Constant) return reply.bytes(2).length
  if (reply instanceof RespSet) return sumOf(reply.items)
  if (reply instanceof RespMap) return sumOf(reply.entries.flat())
  return Array.isArray(reply) ? sumOf(reply as readonly Reply[]) : ELEMENT_BYTES
}

function sumOf(replies: readonly Reply[]): number {
  return replies.reduce<number>((sum, one) => sum + answerBytes(one), ELEMENT_BYTES)
}
