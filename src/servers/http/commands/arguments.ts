/** Arguments of a command out of JSON: texts, numbers and truth values, and bytes as `{"base64": "…"}`. */
import { RondoError } from '../../../core/errors.ts'
import { ARGUMENT_BYTES } from '../../ledger.ts'
import { decodeBase64 } from '../base64.ts'
import type { Shape } from '../json-parser.ts'
import type { Exchange } from '../exchange.ts'
import type { Work } from '../turns.ts'

/** As in Redis. */
const MAX_ARGUMENTS = 1024 * 1024

/** @param depth of arrays and objects in the body */
export function shapeOf(depth: number): Shape {
  return { depth, entries: MAX_ARGUMENTS, limitName: 'the most arguments of a command' }
}

/** @throws RondoError BAD_REQUEST, or OVERLOADED */
export async function argumentsOf(exchange: Exchange, list: unknown, work: Work): Promise<Buffer[]> {
  if (!Array.isArray(list) || list.length === 0) {
    throw new RondoError(
      'BAD_REQUEST',
      'A command is an array of its name and its arguments: ["SET", "key", "value"].',
    )
  }
  if (list.length > MAX_ARGUMENTS) {
    throw new RondoError('BAD_REQUEST', `A command has at most ${MAX_ARGUMENTS} arguments.`)
  }
  // They stand beside the body that they were sent in.
  const refused = exchange.hold(list.length * ARGUMENT_BYTES)
  if (refused) throw refused
  const args: Buffer[] = []
  for (const [i, item] of (list as unknown[]).entries()) {
    const arg = argumentOf(item, i)
    args.push(arg)
    const refused = exchange.hold(arg.length)
    if (refused) throw refused
    const turn = work.spend(arg.length + ARGUMENT_BYTES)
    if (turn) await turn
  }
  return args
}

function argumentOf(item: unknown, place: number): Buffer {
  if (typeof item === 'string') {
    if (item.isWellFormed()) return Buffer.from(item, 'utf8')
    throw badArgument(place, 'holds half of a surrogate pair, which is no text')
  }
  if (typeof item === 'boolean') return Buffer.from(String(item))
  if (typeof item === 'number') {
    // JSON's numbers are exact up to 2^53 only: what is stored would not be what was sent.
    if (Number.isSafeInteger(item) || (Number.isFinite(item) && !Number.isInteger(item))) {
      return Buffer.from(String(item))
    }
    throw badArgument(place, 'is a number beyond 2^53: send it as a string')
  }
  const bytes = base64Of(item)
  if (bytes) return bytes
  throw badArgument(place, 'must be a string, a number, true, false or {"base64": "…"}')
}

function base64Of(item: unknown): Buffer | null {
  if (typeof item !== 'object' || item === null || Array.isArray(item)) return null
  const names = Object.keys(item)
  const { base64 } = item as { base64?: unknown }
  return names.length === 1 && typeof base64 === 'string' ? decodeBase64(base64, 'base64') : null
}

function badArgument(place: number, why: string): RondoError {
  return new RondoError('BAD_REQUEST', `Argument ${place} of the command ${why}.`)
}
