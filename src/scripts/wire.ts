/**
 * Tasks and outcomes as bytes, between the thread that has the keys and the one that runs scripts. Structured clones would
 * copy the whole pool behind a small Buffer, and lose the classes of replies.
 */
import { deserialize, serialize } from 'node:v8'
import {
  Big,
  Bool,
  Double,
  NULL_ARRAY,
  RespError,
  RespMap,
  RespSet,
  Simple,
  Verbatim,
  type Reply,
} from '../commands/reply.ts'
import type { Outcome, Task } from './job.ts'

/** A reply without classes: what has one is an object that names it. */
type Plain =
  Buffer | string | number | bigint | null | Plain[] | { readonly is: string; readonly of: unknown }

/** A script that several of them run is there once. */
export function encodeTasks(tasks: readonly Task[]): Buffer {
  return serialize(tasks)
}

export function decodeTasks(bytes: Uint8Array): readonly Task[] {
  return deserialize(bytes) as readonly Task[]
}

export function encodeOutcome(outcome: Outcome): Buffer {
  return serialize('reply' in outcome ? { ...outcome, reply: plain(outcome.reply) } : outcome)
}

export function decodeOutcome(bytes: Uint8Array): Outcome {
  const outcome = deserialize(bytes) as Outcome
  return 'reply' in outcome ? { ...outcome, reply: reply(outcome.reply as unknown as Plain) } : outcome
}

function plain(reply: Reply): Plain {
  if (reply === null || typeof reply !== 'object')
    return reply === NULL_ARRAY ? { is: 'none', of: null } : reply
  if (Buffer.isBuffer(reply)) return reply
  if (reply instanceof Simple) return { is: 'simple', of: reply.text }
  if (reply instanceof RespError) return { is: 'error', of: reply.text }
  if (reply instanceof RespMap) {
    return { is: 'map', of: reply.entries.map(([field, value]) => [plain(field), plain(value)]) }
  }
  if (reply instanceof RespSet) return { is: 'set', of: reply.items.map(plain) }
  if (reply instanceof Double) return { is: 'double', of: [reply.value, reply.text] }
  if (reply instanceof Verbatim) return { is: 'verbatim', of: [reply.text, reply.format] }
  if (reply instanceof Bool) return { is: 'bool', of: reply.value }
  if (reply instanceof Big) return { is: 'big', of: reply.digits }
  if (Array.isArray(reply)) return (reply as readonly Reply[]).map(plain)
  throw new Error('a script cannot answer this')
}

function reply(plain: Plain): Reply {
  if (plain === null || typeof plain !== 'object' || Buffer.isBuffer(plain)) return plain
  if (Array.isArray(plain)) return plain.map(reply)
  const { is, of } = plain
  switch (is) {
    case 'none':
      return NULL_ARRAY
    case 'simple':
      return new Simple(of as string)
    case 'error':
      return new RespError(of as string)
    case 'map':
      return new RespMap((of as [Plain, Plain][]).map(([field, value]) => [reply(field), reply(value)]))
    case 'set':
      return new RespSet((of as Plain[]).map(reply))
    case 'double':
      return new Double(...(of as [number, string]))
    case 'verbatim':
      return new Verbatim(...(of as [string, string]))
    case 'bool':
      return new Bool(of as boolean)
    default:
      return new Big(of as string)
  }
}
