/** Limits the length of patterns that clients send, so that matching is fast. */
import type { CommandSettings } from './model.ts'
import { CommandError } from './step.ts'

/** @throws CommandError */
export function checkPattern({ maxKeyBytes }: Pick<CommandSettings, 'maxKeyBytes'>, pattern: Buffer): void {
  if (pattern.length <= maxKeyBytes) return
  throw new CommandError(
    `ERR The pattern has ${pattern.length} bytes; at most ${maxKeyBytes} are allowed (MAX_KEY_BYTES).`,
  )
}
