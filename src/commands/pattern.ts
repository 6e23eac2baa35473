/** Patterns that clients send: short enough to be matched in no time. */
import type { RespDoor } from '../servers/resp/resp-server.ts'
import { CommandError } from './step.ts'

/** @throws CommandError */
export function checkPattern({ options }: RespDoor, pattern: Buffer): void {
  const { maxKeyBytes } = options
  if (pattern.length <= maxKeyBytes) return
  throw new CommandError(
    `ERR The pattern has ${pattern.length} bytes; at most ${maxKeyBytes} are allowed (MAX_KEY_BYTES).`,
  )
}
