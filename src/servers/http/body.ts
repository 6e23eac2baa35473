/** Reads request bodies completely, up to a limit, and parses them as JSON only if their Content-Type says so. */
import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { RondoError } from '../../core/errors.ts'
import { ARGUMENT_BYTES } from '../ledger.ts'
import type { Exchange } from './exchange.ts'
import { parseLongJson, type Shape } from './json-parser.ts'
import type { Work } from './turns.ts'

/** Of a body whose members are plain values. */
export const FLAT: Shape = { depth: 1, entries: 0 }

const EMPTY = Buffer.alloc(0)
/** This many chunks may have any size; after that they must have this many bytes on average. */
const FREE_PIECES = 1024
const MIN_PIECE_BYTES = 64

/** Calls back once, with the body or an error; not at all if the client disconnects. */
export function readBody(
  exchange: Exchange,
  limitBytes: number,
  limitName: string,
  done: (error: RondoError | null, body: Buffer) => void,
): void {
  const { req } = exchange
  const declared = Number(req.headers['content-length'] ?? 0)
  if (declared > limitBytes) {
    done(tooLarge(limitBytes, limitName), EMPTY)
    return
  }
  if (req.readableDidRead || req.readableEnded) {
    const body = req.readableDidRead ? keptBody(req) : EMPTY
    if (body instanceof RondoError) done(body, EMPTY)
    else if (body.length > limitBytes) done(tooLarge(limitBytes, limitName), EMPTY)
    else done(null, body)
    return
  }
  const unsupported = unsupportedEncoding(req)
  if (unsupported) {
    done(unsupported, EMPTY)
    return
  }
  exchange.invite()
  let first: Buffer | null = null
  let chunks: Buffer[] | null = null
  let bytes = 0
  let pieces = 0
  let over = false
  const refuse = (error: RondoError) => {
    over = true
    chunks = null
    first = null
    done(error, EMPTY)
  }
  req.on('data', (chunk: Buffer) => {
    if (over) return
    bytes += chunk.length
    if (bytes > limitBytes) {
      refuse(tooLarge(limitBytes, limitName))
      return
    }
    if (++pieces > FREE_PIECES && bytes < pieces * MIN_PIECE_BYTES) {
      // Each tiny chunk costs far more than its bytes, also to discard.
      req.pause()
      refuse(new RondoError('BAD_REQUEST', 'The body comes in too many tiny chunks: send larger ones.'))
      return
    }
    const refused = exchange.hold(chunk.length + ARGUMENT_BYTES)
    if (refused) {
      refuse(refused)
      return
    }
    if (!first) first = chunk
    else (chunks ??= [first]).push(chunk)
    if (bytes < declared) exchange.pauseIfCrowded()
  })
  req.on('end', () => {
    if (!over) done(null, chunks ? Buffer.concat(chunks, bytes) : (first ?? EMPTY))
  })
}

/**
 * The body of a request that an application in front of ours has read already (createApp): what its parser has kept.
 * Bytes are as they came, and JSON can be written again. A text or a form has lost its bytes.
 */
function keptBody(req: IncomingMessage & { body?: unknown }): Buffer | RondoError {
  const { body } = req
  if (Buffer.isBuffer(body)) return body
  if (saysJson(req) && typeof body === 'object' && body !== null) return Buffer.from(JSON.stringify(body))
  return new RondoError(
    'INTERNAL',
    'The body of the request was already read, and is not there as JSON or as bytes: mount Rondo in front of body ' +
      'parsers other than express.json() and express.raw().',
  )
}

/** As readBody(), for everything but PUT: a promise that stays pending if the client disconnects. */
export function bodyOf(exchange: Exchange, limitBytes: number, limitName: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    readBody(exchange, limitBytes, limitName, (error, body) => (error ? reject(error) : resolve(body)))
  })
}

/** Bodies are not decompressed, and JSON is UTF-8: stored as it is, another one would be a value that nobody meant. */
function unsupportedEncoding(req: IncomingMessage): RondoError | null {
  const { 'content-encoding': encoding = 'identity', 'content-type': type = '' } = req.headers
  if (encoding.trim().toLowerCase() !== 'identity') {
    const shown = JSON.stringify(encoding.slice(0, 64))
    const sentence = `The body has Content-Encoding ${shown}, which is not decoded here: send it as it is, without that header.`
    return new RondoError('UNSUPPORTED_ENCODING', sentence)
  }
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(type)?.[1]
  if (charset === undefined || !saysJson(req) || /^(utf-?8|us-ascii)$/i.test(charset)) return null
  const shown = JSON.stringify(charset.slice(0, 64))
  return new RondoError('UNSUPPORTED_ENCODING', `The body is JSON in ${shown}; JSON must be UTF-8 here.`)
}

function tooLarge(limitBytes: number, limitName: string): RondoError {
  return new RondoError('VALUE_TOO_LARGE', `The body has more than ${limitBytes} bytes (${limitName}).`)
}

export function saysJson(req: IncomingMessage): boolean {
  const type = req.headers['content-type']
  if (type === undefined) return false
  if (type === 'application/json') return true
  return /^application\/json\s*(;|$)/i.test(type.trim())
}

export type JsonObject = Record<string, unknown>

/**
 * Parses a JSON object that has only known members.
 * @throws RondoError BAD_REQUEST
 */
export function parseObject(body: Buffer, known: readonly string[]): JsonObject {
  return checkObject(parseJson(body), known, 'The body')
}

function parseJson(body: Buffer): unknown {
  if (!isUtf8(body)) throw new RondoError('BAD_REQUEST', 'The body is not valid UTF-8, which JSON must be.')
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (error) {
    // Without the excerpt of the body that the message may contain, because it is also logged.
    const why = (error as Error).message.replace(/, (?:\.\.\.)?"[^]*$/, '')
    throw new RondoError('BAD_REQUEST', `The body is not valid JSON: ${why}.`)
  }
}

/** Longer JSON is parsed in turns: at this length JSON.parse takes at most a millisecond or two. */
export const LONG_JSON_BYTES = 64 * 1024

/**
 * As parseObject(), but in turns if the body is long.
 * @throws RondoError BAD_REQUEST
 */
export async function parseObjectInTurns(
  body: Buffer,
  known: readonly string[],
  shape: Shape,
  work: Work,
): Promise<JsonObject> {
  return checkObject(await parseJsonInTurns(body, shape, work), known, 'The body')
}

/**
 * Any JSON, in turns if it is long.
 * @throws RondoError BAD_REQUEST
 */
export async function parseJsonInTurns(body: Buffer, shape: Shape, work: Work): Promise<unknown> {
  return body.length <= LONG_JSON_BYTES ? parseJson(body) : await parseLongJson(body, shape, work)
}

/** @throws RondoError BAD_REQUEST */
export function checkObject(parsed: unknown, known: readonly string[], what: string): JsonObject {
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new RondoError('BAD_REQUEST', `${what} must be a JSON object with ${known.join(', ')}.`)
  }
  for (const name of Object.keys(parsed)) {
    if (!known.includes(name)) {
      const shown = JSON.stringify(name.slice(0, 64))
      throw new RondoError(
        'BAD_REQUEST',
        `${what} has an unknown member ${shown}; known are ${known.join(', ')}.`,
      )
    }
  }
  return parsed as JsonObject
}
