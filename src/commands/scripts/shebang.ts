/**
 * The first line of a script that says how it wants to be run: `#!lua flags=no-writes`. As in Redis 7, a script without one
 * may do anything, and one with it must say what it is for.
 */
import { CommandError } from '../step.ts'

export interface Shebang {
  /** Null: there is none. */
  readonly flags: readonly string[] | null
}

/** Redis's, and one of Upstash, which its libraries send everywhere. */
const FLAGS = [
  'no-writes',
  'allow-oom',
  'allow-stale',
  'no-cluster',
  'allow-cross-slot-keys',
  'allow-key-locking',
]
const HASH = 0x23
const BANG = 0x21
const MOST_BYTES = 1024

/** @throws CommandError */
export function shebangOf(source: Buffer): Shebang {
  if (source[0] !== HASH || source[1] !== BANG) return { flags: null }
  const end = source.subarray(0, MOST_BYTES).indexOf(0x0a)
  if (end === -1) throw new CommandError('ERR Invalid script shebang')
  const [engine, ...options] = source.toString('latin1', 0, end).split(' ').filter(Boolean)
  if (engine !== '#!lua') throw new CommandError(`ERR Unexpected engine in script shebang: ${engine!}`)
  const flags: string[] = []
  for (const option of options) {
    if (!option.startsWith('flags=')) throw new CommandError(`ERR Unknown lua shebang option: ${option}`)
    for (const flag of option.slice('flags='.length).split(',').filter(Boolean)) {
      if (!FLAGS.includes(flag)) throw new CommandError(`ERR Unexpected flag in script shebang: ${flag}`)
      flags.push(flag)
    }
  }
  return { flags }
}
