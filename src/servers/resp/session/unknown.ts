/** Errors for unsupported commands. For commands that Redis has, with the reason. */
import { cString } from '../../../commands/arguments.ts'

const NOT_HERE = 'Rondo does not support it'
const ADMINISTRATION = 'Rondo is administered with environment variables, over HTTP and with RONDO'
const DATABASES = 'the database is a part of the name of a key, and a node cannot rename all keys at once'
const NODES = 'ask the nodes themselves'

const REASONS: readonly (readonly [reason: string, names: string])[] = [
  [ADMINISTRATION, 'bgrewriteaof bgsave cluster failover lastsave replicaof save shutdown slaveof wait'],
  [DATABASES, 'swapdb'],
  [NODES, 'debug'],
  [NOT_HERE, 'lolwut migrate monitor pfdebug pfselftest'],
]

const REASON_OF = new Map(
  REASONS.flatMap(([reason, names]) => names.split(' ').map((name) => [name, reason])),
)

const MAX_SHOWN_BYTES = 128

/** Redis's error text, followed by the reason if Redis has the command and Rondo does not. */
export function unknownCommand(args: readonly Buffer[]): string {
  let rest = ''
  for (let i = 1; i < args.length && rest.length < MAX_SHOWN_BYTES; i++) {
    rest += `'${shown(args[i]!, MAX_SHOWN_BYTES - rest.length)}' `
  }
  const name = shown(args[0]!, MAX_SHOWN_BYTES)
  const reason = REASON_OF.get(name.toLowerCase())
  const why = reason === undefined ? '' : `(${reason})`
  return `ERR unknown command '${name}', with args beginning with: ${rest}${why}`
}

/** Replaces control characters, which could affect a terminal. Line ends become spaces when the error is sent, as in Redis. */
function shown(bytes: Buffer, limit: number): string {
  const text = cString(bytes.subarray(0, limit)).toString()
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\x01-\x09\x0b\x0c\x0e-\x1f\x7f]/g, '?')
}
