/** The limits of one command or transaction, in bytes, and the errors that name their settings. */
import {
  Big,
  Constant,
  Lazy,
  Packed,
  RespError,
  RespMap,
  RespNamed,
  RespPairs,
  RespSet,
  Simple,
  Verbatim,
  type Reply,
} from '../reply.ts'
import type { CommandSettings } from '../model.ts'

type ReplyLimit = Pick<CommandSettings, 'maxReplyBytes'>
type WorkLimit = Pick<CommandSettings, 'maxCommandBytes'>

export function replyTooLarge({ maxReplyBytes }: ReplyLimit): string {
  return `ERR The reply would have more than ${maxReplyBytes} bytes (MAX_REPLY_BYTES): ask for fewer keys at once.`
}

/** For a command that has run as part of a transaction. */
export function leftOut({ maxReplyBytes }: ReplyLimit): string {
  return (
    'ERR The command was executed, but the replies of this transaction have more than ' +
    `${maxReplyBytes} bytes (MAX_REPLY_BYTES).`
  )
}

export function tooMuchWork({ maxCommandBytes }: WorkLimit): string {
  return (
    `ERR The values of the keys of one command may have ${maxCommandBytes} bytes together (MAX_COMMAND_BYTES): ` +
    'name fewer keys.'
  )
}

/** For a command on large collections: as it reads or makes their parts. */
export function tooMuchOfCollections({ maxCommandBytes }: WorkLimit): string {
  return (
    `The command would read or store more than ${maxCommandBytes} bytes of collections (MAX_COMMAND_BYTES): ` +
    'ask for a part of them, as HSCAN and LRANGE do. Nothing was changed.'
  )
}

const ELEMENT_BYTES = 8

/** The approximate size of a reply. */
export function answerBytes(reply: Reply): number {
  if (Buffer.isBuffer(reply) || typeof reply === 'string') return reply.length
  if (reply instanceof Verbatim || reply instanceof Simple || reply instanceof RespError)
    return Math.max(ELEMENT_BYTES, reply.text.length)
  if (reply instanceof Big) return reply.digits.length
  if (reply instanceof Constant) return reply.bytes(2).length
  if (reply instanceof RespSet) return sumOf(reply.items)
  if (reply instanceof RespPairs) {
    let sum = ELEMENT_BYTES
    for (const [one, other] of reply.pairs) sum += answerBytes(one) + answerBytes(other)
    return sum
  }
  if (reply instanceof Packed) {
    if (reply.texts.textBytes !== undefined) return ELEMENT_BYTES + reply.texts.textBytes
    let sum = ELEMENT_BYTES
    for (let i = 0; i < reply.texts.length; i++) sum += reply.texts.to(i) - reply.texts.from(i)
    return sum
  }
  if (reply instanceof Lazy) {
    if (reply.items.bytes !== undefined) return ELEMENT_BYTES + reply.items.bytes
    let sum = ELEMENT_BYTES
    for (let i = 0; i < reply.items.length; i++) sum += answerBytes(reply.items.item(i))
    return sum
  }
  if (reply instanceof RespMap || reply instanceof RespNamed) return sumOf(reply.entries.flat())
  return Array.isArray(reply) ? sumOf(reply as readonly Reply[]) : ELEMENT_BYTES
}

function sumOf(replies: readonly Reply[]): number {
  return replies.reduce<number>((sum, one) => sum + answerBytes(one), ELEMENT_BYTES)
}
