/**
 * One HTTP request and its response, on node:http alone. Shared by the hot path and Express, and created once per request
 * by whichever sees it first.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Requester, ServedBy } from '../../coordinator/api.ts'
import type { MemoryAccount } from '../../commands/model.ts'
import type { Lookups } from '../../commands/run/lookups.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { asRondoError, RondoError, stopped } from '../../core/errors.ts'
import { newRequestId } from '../request-id.ts'
import { requesterOf } from './requester.ts'
import { CODES } from '../../core/error-codes.ts'
import { closeGently } from './linger.ts'
import { isOriginForm, reduceAbsolute } from './target.ts'
import { connectionOf, type HttpConnection } from './traffic.ts'

export interface RequestEnd {
  readonly id: string
  readonly method: string
  /** The path's template, never the path: no user's key becomes a label or a log line of its own. */
  readonly route: string
  readonly status: number
  readonly ms: number
  readonly error: RondoError | null
}

export interface ExchangeDeps {
  readonly monotonicMs: () => number
  readonly onEnd: (end: RequestEnd) => void
  readonly onLookup: (protocol: string, method: string, found: Lookups) => void
}

export const JSON_TYPE = 'application/json; charset=utf-8'
export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8'
const EXCHANGE = Symbol('exchange')
export const TOKEN_PARAMETER = '_token'
const UNHEARD_MS = 2000
/** Of a call on many keys, there may be as many as the cluster has. */
const MOST_NODES = 16
const NOT_IN_IDS = /[^\w.:[\], -]/g
const SENT_ID = /^[\w.:-]{1,64}$/

export class Exchange {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  readonly id: string
  /** False: target.ts rejects the request target, and the request is not served. */
  readonly soundTarget: boolean = true
  /** The host of an absolute target, or else the Host header. */
  readonly host: string | undefined
  /** The part of the target before `?`, not decoded. */
  readonly path: string
  /** The part after `?`, or ''. */
  readonly queryText: string
  route = ''
  /** The handler to run inside Express, for a request that is not on the hot path. */
  serve: (() => void | Promise<void>) | null = null
  /** For the metrics: `http`, or the name of a dialect. */
  protocol = 'http'
  /** Of an operation on keys: the answer tells it. */
  level: ConsistencyLevel | null = null
  /** The client waits for `100 Continue` before it sends the body. */
  awaitsContinue = false

  /** Undefined if the socket belongs to another server. */
  private readonly connection: HttpConnection | undefined
  private readonly deps: ExchangeDeps
  private readonly startedAtMs: number
  /** Names and values in turn; null = none. */
  private ownHeaders: string[] | null = null
  /** The nodes that the answer is of. */
  private nodes: string[] | null = null
  private begun = false
  private ended = false
  /** Memory that the request uses. */
  private heldBytes = 0

  private constructor(req: IncomingMessage, res: ServerResponse, deps: ExchangeDeps) {
    this.req = req
    this.res = res
    this.deps = deps
    this.connection = connectionOf(req.socket)
    // node:http may say it twice when the connection breaks, and takes a second time for a fault that ends the process.
    res.once('finish', () => res.removeAllListeners('finish'))
    this.startedAtMs = deps.monotonicMs()
    const sentId = req.headers['x-request-id']
    this.id = typeof sentId === 'string' && SENT_ID.test(sentId) ? sentId : newRequestId()
    let url = req.url ?? ''
    let host = req.headers.host
    if (!isOriginForm(url)) {
      const reduced = reduceAbsolute(url)
      this.soundTarget = reduced !== null
      // Also for Express, which must see the same path as the guard.
      url = req.url = reduced?.url ?? '/'
      host = reduced?.host ?? host
    }
    this.host = host
    const question = url.indexOf('?')
    this.path = question < 0 ? url : url.slice(0, question)
    this.queryText = question < 0 ? '' : url.slice(question + 1)
  }

  static of(req: IncomingMessage, res: ServerResponse, deps: ExchangeDeps): Exchange {
    const carrier = req as IncomingMessage & { [EXCHANGE]?: Exchange }
    return (carrier[EXCHANGE] ??= new Exchange(req, res, deps))
  }

  /** The connection: operations that wait take turns by connection. */
  get requester(): Requester {
    return requesterOf(this.req.socket)
  }

  /** Counts keys that it has looked up. @param method the command or call, lower case */
  lookedUp(method: string, found: Lookups): void {
    this.deps.onLookup(this.protocol, method, found)
  }

  /** The answer tells which nodes it is of, the first MOST_NODES. */
  servedBy(by: ServedBy | undefined): void {
    if (by === undefined) return
    if ('id' in by) this.addNode(by.id)
    else for (const { id } of by) this.addNode(id)
  }

  private addNode(id: string): void {
    const nodes = (this.nodes ??= [])
    if (nodes.length < MOST_NODES && !nodes.includes(id)) nodes.push(id)
  }

  /** A header of the answer, whatever it will be. */
  alsoSend(name: string, value: string): void {
    this.ownHeaders = [...(this.ownHeaders ?? []), name, value]
  }

  private addOrigin(headers: string[]): void {
    if (this.ownHeaders) headers.push(...this.ownHeaders)
    if (this.level !== null) headers.push('Rondo-Consistency', this.level)
    // An id is whatever the members have agreed on.
    if (this.nodes) headers.push('Rondo-Served-By', this.nodes.join(', ').replace(NOT_IN_IDS, '?'))
  }

  /** The token in the query; null = there is none. Only some routes take it from there (guard.ts). */
  get sentToken(): string | null {
    const prefix = `${TOKEN_PARAMETER}=`
    const sent = this.queryText.split('&').find((part) => part.startsWith(prefix))
    if (sent === undefined) return null
    const text = sent.slice(prefix.length)
    try {
      return decodeURIComponent(text)
    } catch {
      return text // a malformed escape: no token is like that
    }
  }

  /**
   * False: the connection is closed, or its client has closed its end and has waited for long. A read may stop. As for Redis
   * connections (docs/decisions/0038), one that has closed its sending end only is answered until then.
   */
  get isWanted(): boolean {
    const { socket } = this.req
    if (socket.destroyed) return false
    return !socket.readableEnded || this.deps.monotonicMs() - this.startedAtMs < UNHEARD_MS
  }

  /** @throws RondoError if nobody waits for the answer */
  checkWanted(): void {
    if (!this.isWanted) throw stopped('request')
  }

  /** Counts the memory of its connection; undefined if that belongs to another server. */
  get account(): MemoryAccount | undefined {
    return this.connection?.account
  }

  /** Starts serving. @returns false if the request was refused because its connection uses too much memory */
  begin(): boolean {
    const { connection } = this
    if (!connection || this.ended) return true
    this.begun = true
    connection.began()
    if (!connection.account.isRefused) return true
    this.fail(connection.account.refusal(), { close: true })
    return false
  }

  /**
   * Counts more memory for this request until it is answered.
   * @returns null, or the reason why it is refused
   */
  hold(bytes: number): RondoError | null {
    const account = this.connection?.account
    if (!account || this.ended) return null
    this.heldBytes += bytes
    account.add(bytes)
    return account.isRefused ? account.refusal() : null
  }

  /** Stops reading the body while clients use too much memory. */
  pauseIfCrowded(): void {
    if (this.connection?.account.mustWait) this.connection.pause(this.req)
  }

  /**
   * The query's parameters, each given at most once and known.
   * @throws RondoError BAD_REQUEST
   */
  query<const Name extends string>(known: readonly Name[]): Partial<Record<Name, string>> {
    const found: Partial<Record<Name, string>> = {}
    if (this.queryText === '') return found
    for (const part of this.queryText.split('&')) {
      if (part === '') continue
      const equals = part.indexOf('=')
      const name = decodeQuery(equals < 0 ? part : part.slice(0, equals))
      const value = equals < 0 ? '' : decodeQuery(part.slice(equals + 1))
      const match = known.find((candidate) => candidate === name)
      if (match === undefined) {
        const list = known.length > 0 ? `This call knows ${known.join(', ')}.` : 'This call takes none.'
        throw new RondoError('BAD_REQUEST', `Unknown query parameter ${JSON.stringify(name)}. ${list}`)
      }
      if (found[match] !== undefined) {
        throw new RondoError('BAD_REQUEST', `The query parameter "${name}" is given twice.`)
      }
      found[match] = value
    }
    return found
  }

  json(status: number, body: unknown): void {
    this.send(status, ['Content-Type', JSON_TYPE], JSON.stringify(body))
  }

  /** @param headers names and values in turn; Content-Length is added */
  send(status: number, headers: string[], body: string | Buffer): void {
    if (this.ended) return
    const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length
    this.writeHead(status, this.withCommon(headers, length))
    this.finish(this.req.method === 'HEAD' ? undefined : body)
    this.connection?.answered(this.res, length)
    this.end(status, null)
  }

  /** As send(), for responses of many megabytes: writes only as fast as the client reads. */
  async sendPieces(status: number, headers: string[], pieces: readonly Buffer[]): Promise<void> {
    if (this.ended) return
    const { req, res } = this
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
    const { connection } = this
    connection?.learn(length)
    const refused = req.method === 'HEAD' ? null : this.hold(length)
    if (refused) throw refused
    this.writeHead(status, this.withCommon(headers, length))
    this.end(status, null)
    if (req.method !== 'HEAD') {
      connection?.holdAnswer(length)
      for (const piece of pieces) {
        if (res.destroyed) return // its account is closed
        const isTaken = res.write(piece)
        if (!isTaken) await drained(res)
        connection?.holdAnswer(-piece.length)
      }
    }
    this.finish(undefined)
  }

  sendEmpty(status: number, headers: string[]): void {
    if (this.ended) return
    headers.push('X-Request-Id', this.id)
    this.addOrigin(headers)
    this.writeHead(status, headers)
    this.finish(undefined)
    this.end(status, null)
  }

  private writeHead(status: number, headers: string[]): void {
    this.res.writeHead(status, this.awaitsContinue ? [...headers, 'Connection', 'close'] : headers)
  }

  /** Ends the response with what is left of it. */
  private finish(rest: string | Buffer | undefined): void {
    if (isLast(this.res)) endAndClose(this.res, rest)
    else if (rest === undefined) this.res.end()
    else endWith(this.res, rest)
  }

  /** Sends `100 Continue` to a client that waits for it. */
  invite(): void {
    if (this.awaitsContinue) this.res.writeContinue()
    this.awaitsContinue = false
  }

  /**
   * Responds with problem+json, with the error's details as extra members. Closes the connection if asked to, or if the
   * request's body is not read to its end.
   *
   * @param options.status overrides the code's status
   */
  fail(
    thrown: unknown,
    options: { close?: boolean; status?: number; headers?: readonly string[] } = {},
  ): void {
    if (this.ended) return
    const error = asRondoError(thrown)
    const { http, title } = CODES[error.code]
    const status = options.status ?? http
    if (this.res.headersSent) {
      this.res.destroy() // too late for an error: a broken response must not look complete
      this.end(status, error)
      return
    }
    const body = JSON.stringify({
      type: 'about:blank',
      title,
      status,
      code: error.code,
      error: error.message,
      requestId: this.id,
      ...error.details,
    })
    const close = options.close === true || hasUnreadBody(this.req)
    const headers = [
      'Content-Type',
      PROBLEM_TYPE,
      'Content-Length',
      String(Buffer.byteLength(body)),
      'X-Request-Id',
      this.id,
      'X-Content-Type-Options',
      'nosniff',
      'Cache-Control',
      'no-store',
      ...(status === 503 ? ['Retry-After', '1'] : []),
      ...(status === 429 ? ['Retry-After', '60'] : []),
      ...(status === 401 ? ['WWW-Authenticate', 'Bearer'] : []),
      ...(close ? ['Connection', 'close'] : []),
      ...(options.headers ?? []),
    ]
    this.addOrigin(headers)
    this.res.writeHead(status, headers)
    this.finish(this.req.method === 'HEAD' ? undefined : body)
    this.end(status, error)
  }

  private withCommon(headers: string[], length: number): string[] {
    headers.push(
      'Content-Length',
      String(length),
      'X-Request-Id',
      this.id,
      'X-Content-Type-Options',
      'nosniff',
      'Cache-Control',
      'no-store',
    )
    this.addOrigin(headers)
    return headers
  }

  private leave(connection: HttpConnection): void {
    if (this.begun) connection.ended()
    if (this.heldBytes !== 0) connection.account.add(-this.heldBytes)
    this.heldBytes = 0
  }

  private end(status: number, error: RondoError | null): void {
    this.ended = true
    if (this.connection) this.leave(this.connection)
    this.deps.onEnd({
      id: this.id,
      method: this.req.method ?? '',
      route: this.route || 'other',
      status,
      ms: this.deps.monotonicMs() - this.startedAtMs,
      error,
    })
  }
}

/**
 * Whether node:http closes the connection behind this response, once its head is written: because it says so, or because
 * the client asked for it, speaks HTTP/1.0 or the server is closing. Undocumented.
 */
function isLast(res: ServerResponse): boolean {
  return (res as { _last?: boolean })._last === true
}

/**
 * Sends the rest of a response behind which the connection closes. The response is not ended: node:http would close the
 * connection at once, whether or not there is unread input.
 */
function endAndClose(res: ServerResponse, rest: string | Buffer | undefined): void {
  const { socket } = res
  if (!socket) {
    // Responses to earlier requests on the connection go first.
    res.once('socket', () => endAndClose(res, rest))
    return
  }
  if (rest === undefined) res.flushHeaders()
  else res.write(rest)
  closeGently(socket)
}

/**
 * `res.end(body)` in one write to the socket. Node ends a response with an empty chunk of its own, so end(body) always
 * becomes a gathered write of two. Writing the text together with the head before end() is one write, and 13 % cheaper in
 * all.
 */
function endWith(res: ServerResponse, body: string | Buffer): void {
  const { socket } = res
  // No gain behind another response on the connection, or behind unsent bytes.
  if (typeof body !== 'string' || !socket || socket.writableLength > 0) {
    res.end(body)
    return
  }
  res.write(body)
  socket.uncork() // write() corks until the next tick
  res.end()
}

/**
 * Whether a request follows a response that closed its connection. Node keeps parsing to the end of the chunk, and may give
 * such a request the socket out of turn; answering it before earlier ones fails an assertion, which ends the process.
 */
export function comesTooLate({ req }: ServerResponse): boolean {
  return req.socket.writableEnded || req.socket.destroyed
}

/** Resolves when more can be written, or the connection is closed. */
function drained(res: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      res.removeListener('drain', done)
      res.removeListener('close', done)
      resolve()
    }
    res.once('drain', done)
    res.once('close', done)
  })
}

/** @throws RondoError BAD_REQUEST */
export function decodeQuery(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    throw new RondoError(
      'BAD_REQUEST',
      'There is a malformed % escape in the query: each is UTF-8, and a percent sign is %25.',
    )
  }
}

/** After an early refusal the rest of the body is not read, so the connection cannot be reused. */
function hasUnreadBody(req: IncomingMessage): boolean {
  if (req.complete) return false
  return req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0
}
