/**
 * One HTTP request and its answer, on node:http alone: what the hot path and Express share.
 *
 * Created once per request, in front of Express or inside it, whoever sees the request first.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { RondoError } from '../../core/errors.ts'
import { CODES } from '../codes.ts'

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
}

export const JSON_TYPE = 'application/json; charset=utf-8'
const PROBLEM_TYPE = 'application/problem+json; charset=utf-8'
const EXCHANGE = Symbol('exchange')
const SENT_ID = /^[\w.:-]{1,64}$/

let requestCount = 0
/** Distinguishes processes in logs that are merged. */
let idPrefix = ''

export function setRequestIdPrefix(prefix: string): void {
  idPrefix = prefix
}

export class Exchange {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  readonly id: string
  /** The part of the target before `?`, not decoded. */
  readonly path: string
  /** The part after `?`, or ''. */
  readonly queryText: string
  route = ''

  private readonly deps: ExchangeDeps
  private readonly startedAtMs: number
  private ended = false

  private constructor(req: IncomingMessage, res: ServerResponse, deps: ExchangeDeps) {
    this.req = req
    this.res = res
    this.deps = deps
    this.startedAtMs = deps.monotonicMs()
    const sentId = req.headers['x-request-id']
    this.id =
      typeof sentId === 'string' && SENT_ID.test(sentId)
        ? sentId
        : `${idPrefix}${(++requestCount).toString(36)}`
    const url = req.url ?? '/'
    const question = url.indexOf('?')
    this.path = question < 0 ? url : url.slice(0, question)
    this.queryText = question < 0 ? '' : url.slice(question + 1)
  }

  static of(req: IncomingMessage, res: ServerResponse, deps: ExchangeDeps): Exchange {
    const carrier = req as IncomingMessage & { [EXCHANGE]?: Exchange }
    return (carrier[EXCHANGE] ??= new Exchange(req, res, deps))
  }

  static has(req: IncomingMessage): boolean {
    return EXCHANGE in req
  }

  /**
   * The query's parameters, each given at most once and known.
   * @throws RondoError BAD_REQUEST
   */
  query<const Name extends string>(known: readonly Name[]): Partial<Record<Name, string>> {
    const found: Partial<Record<Name, string>> = {}
    if (this.queryText === '') return found
    checkPercent(this.queryText, 'the query')
    for (const [name, value] of new URLSearchParams(this.queryText)) {
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
    this.res.writeHead(status, headers)
    this.res.end(this.req.method === 'HEAD' ? undefined : body)
    this.end(status, null)
  }

  sendEmpty(status: number, headers: string[]): void {
    if (this.ended) return
    headers.push('X-Request-Id', this.id)
    this.res.writeHead(status, headers)
    this.res.end()
    this.end(status, null)
  }

  /** Answers with problem+json. Extra members of the body come from the error's details. */
  fail(thrown: unknown, options: { close?: boolean; headers?: readonly string[] } = {}): void {
    if (this.ended) return
    const error = asRondoError(thrown)
    const { http: status, title } = CODES[error.code]
    if (this.res.headersSent) {
      this.res.destroy() // too late to say it: a broken answer must not look whole
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
    this.res.writeHead(status, [
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
      ...(status === 401 ? ['WWW-Authenticate', 'Bearer'] : []),
      ...(options.close ? ['Connection', 'close'] : []),
      ...(options.headers ?? []),
    ])
    this.res.end(this.req.method === 'HEAD' ? undefined : body)
    // What is still coming in of a refused body is not read.
    if (options.close) this.res.once('finish', () => this.req.destroy())
    this.end(status, error)
  }

  /** For answers that Express sends by itself. */
  end(status: number, error: RondoError | null): void {
    if (this.ended) return
    this.ended = true
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

export function asRondoError(thrown: unknown): RondoError {
  if (thrown instanceof RondoError) return thrown
  const error = new RondoError('INTERNAL', 'Something went wrong in the coordinator; its log says more.')
  error.cause = thrown
  return error
}

/** @throws RondoError BAD_REQUEST where a `%` is not followed by two hexadecimal digits */
export function checkPercent(text: string, where: string): void {
  for (let at = text.indexOf('%'); at >= 0; at = text.indexOf('%', at + 1)) {
    if (!/^[0-9a-f]{2}$/i.test(text.slice(at + 1, at + 3))) {
      throw new RondoError('BAD_REQUEST', `There is a malformed % escape in ${where}; a percent sign is %25.`)
    }
  }
}
