/** Replies of commands as JSON, in the shapes of RESP2: maps and sets are arrays. Long ones are written in turns. */
import { isUtf8 } from 'node:buffer'
import {
  Big,
  Bool,
  Constant,
  Double,
  elementsOf,
  NULL_ARRAY,
  RespError,
  Simple,
  Verbatim,
  type Reply,
} from '../../../commands/reply.ts'
import { isLong, textPieces, type Pieces } from '../json-text.ts'
import type { Work } from '../turns.ts'

/**
 * How texts are written. `marked`: bytes that are no UTF-8 are `{"base64": "…"}`. `text`: they become U+FFFD. `base64`: all
 * texts are base64, but for OK.
 */
export type TextForm = 'marked' | 'text' | 'base64'

const OK = 'OK'
/** Cost of an element in addition to its bytes. */
const ELEMENT_BYTES = 64

export async function pushReply(into: Pieces, reply: Reply, form: TextForm, work: Work): Promise<void> {
  const elements = elementsOf(reply, 2)
  if (!elements) {
    await pushPlain(into, reply, form, work)
    return
  }
  into.push('[')
  let isFirst = true
  for (const item of elements.items) {
    if (!isFirst) into.push(',')
    isFirst = false
    await pushReply(into, item, form, work)
  }
  into.push(']')
}

async function pushPlain(into: Pieces, reply: Reply, form: TextForm, work: Work): Promise<void> {
  const turn = work.spend(ELEMENT_BYTES)
  if (turn) await turn
  if (reply === null || reply === NULL_ARRAY) into.push('null')
  else if (reply instanceof Constant) await pushReply(into, reply.reply, form, work)
  else if (reply instanceof RespError) into.push(`{"error":${JSON.stringify(reply.text)}}`)
  else if (reply instanceof Simple && reply.text === OK) into.push(`"${OK}"`)
  else if (reply instanceof Bool) into.push(reply.value ? '1' : '0')
  else if (typeof reply === 'number' || typeof reply === 'bigint') {
    // Readers of JSON know numbers exactly up to 2^53 only.
    if (Number.isSafeInteger(Number(reply))) into.push(String(reply))
    else await pushText(into, Buffer.from(String(reply)), form, work)
  } else await pushText(into, bytesOf(reply as Text), form, work)
}

type Text = Buffer | string | Simple | Verbatim | Double | Big

function bytesOf(reply: Text): Buffer {
  if (Buffer.isBuffer(reply)) return reply
  if (reply instanceof Big) return Buffer.from(reply.digits)
  return Buffer.from(typeof reply === 'string' ? reply : reply.text)
}

async function pushText(into: Pieces, bytes: Buffer, form: TextForm, work: Work): Promise<void> {
  const isMarked = form === 'marked' && !isUtf8(bytes)
  const encoding = isMarked || form === 'base64' ? 'base64' : 'utf8'
  if (isMarked) into.push('{"base64":')
  if (isLong(bytes)) {
    into.push('"')
    into.push(await textPieces(bytes, encoding, work))
    into.push('"')
  } else {
    into.push(JSON.stringify(bytes.toString(encoding)))
    const turn = work.spend(bytes.length)
    if (turn) await turn
  }
  if (isMarked) into.push('}')
}
