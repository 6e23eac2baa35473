/** Replies of commands, as the models of collections have them. */
import { Double, itemsOf, NULL_ARRAY, RespError, type Reply } from '../../src/commands/reply.ts'

/** What an operation was told: a number, or a collection. */
export type Told = number | string | null

/** What a command has behind its key: KEY where that does not stand first. @param about what it concerns (collections.ts) */
export type Operands = (value: number, about: string | null) => string[]

/** What a model needs to know of an operation. */
export interface Effect {
  readonly value: number
  readonly about: string | null
  /** Undefined = nobody knows what was told. */
  readonly result: Told | undefined
}

export type Plain = number | string | null | readonly Plain[]

/** As a client of protocol 2 sees it. @throws Error if it is one */
export function plain(reply: Reply): Plain {
  if (reply instanceof RespError) throw new Error(`refused: ${reply.text}`)
  if (reply === null || reply === NULL_ARRAY) return null
  const items = itemsOf(reply, 2)
  if (items) return items.map(plain)
  if (reply instanceof Double) return reply.text
  if (typeof reply === 'number' || typeof reply === 'bigint') return Number(reply)
  return Buffer.isBuffer(reply) || typeof reply === 'string'
    ? reply.toString()
    : (reply as { text: string }).text
}
