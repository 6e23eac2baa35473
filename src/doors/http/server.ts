/**
 * The HTTP door's socket: node:http with every limit set, the keys handler in front, Express behind it.
 */
import http from 'node:http'
import https from 'node:https'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import { RondoError } from '../../core/errors.ts'
import { CODES } from '../codes.ts'
import type { HttpDoor } from './app.ts'
import { comesTooLate, Exchange, LINGER_MS, newRequestId, PROBLEM_TYPE } from './exchange.ts'

const LIMITS = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 2_000,
  noDelay: true,
  insecureHTTPParser: false,
  requireHostHeader: false, // the guard asks for it, and answers in JSON
}
const MAX_CONNECTIONS = 20_000

/** @param limits tests set shorter ones */
export function createServer(
  door: HttpDoor,
  tls: TlsOptions | null,
  limits: Partial<typeof LIMITS> = {},
): Server {
  const options = { ...LIMITS, ...limits }
  const serve = (req: IncomingMessage, res: ServerResponse) => {
    const exchange = Exchange.of(req, res, door.options)
    if (!door.handleEarly(exchange)) door.app(req, res)
  }
  const waiting = new WeakMap<Duplex, number>()
  const serveInTurn = (req: IncomingMessage, res: ServerResponse) => {
    if (comesTooLate(res)) return
    if (res.socket !== null || !mustWait(req, waiting)) {
      serve(req, res)
      return
    }
    const { socket } = req
    waiting.set(socket, (waiting.get(socket) ?? 0) + 1)
    res.once('socket', () => {
      waiting.set(socket, waiting.get(socket)! - 1)
      serve(req, res)
    })
  }
  const server = tls
    ? https.createServer({ ...options, ...tls, handshakeTimeout: options.headersTimeout }, serveInTurn)
    : http.createServer(options, serveInTurn)
  server.maxConnections = MAX_CONNECTIONS
  // A client that asks first is told to go on by whoever wants the body, and not for one that is refused.
  server.on('checkContinue', (req: IncomingMessage, res: ServerResponse) => {
    Exchange.of(req, res, door.options).awaitsContinue = true
    serveInTurn(req, res)
  })
  server.on('checkExpectation', (req: IncomingMessage, res: ServerResponse) => {
    if (comesTooLate(res)) return
    const error = new RondoError('BAD_REQUEST', 'The only Expect header taken is 100-continue.')
    Exchange.of(req, res, door.options).fail(error, { status: 417, close: true })
  })
  const broken = new WeakSet<Duplex>()
  server.on('clientError', (error: Error & { code?: string }, socket: Duplex) => {
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy()
      return
    }
    // What comes in behind the first mistake is made of mistakes.
    if (broken.has(socket)) return
    broken.add(socket)
    answerBroken(socket, problemOf(error.code), door)
  })
  server.on('connect', (_req, socket: Duplex) => {
    socket.on('error', () => socket.destroy())
    const error = new RondoError('METHOD_NOT_ALLOWED', 'CONNECT is not offered.')
    const problem = { error, status: CODES[error.code].http }
    end(socket, problem, door, 'Allow: GET, HEAD, PUT, POST, DELETE\r\n')
  })
  return server
}

/**
 * Whether a pipelined request has to wait for those before it. Only reads run side by side (RFC 9110, 9.3.2): a read
 * must see the write before it, and nothing behind a request that is refused with its connection may be carried out.
 * Node hands out all that arrive, gives a response its socket when its turn comes, and says so by a `socket` event.
 */
function mustWait(req: IncomingMessage, waiting: WeakMap<Duplex, number>): boolean {
  return !isSafe(req) || !isSafe(answering(req.socket)?.req) || (waiting.get(req.socket) ?? 0) > 0
}

function isSafe(req: IncomingMessage | undefined): boolean {
  return req?.method === 'GET' || req?.method === 'HEAD'
}

/** What node:http is answering on this socket: not documented, but its own handler of broken requests looks there. */
function answering(socket: Duplex): ServerResponse | null {
  return (socket as { _httpMessage?: ServerResponse | null })._httpMessage ?? null
}

interface Problem {
  readonly error: RondoError
  readonly status: number
}

function problemOf(code: string | undefined): Problem {
  const bad = (sentence: string, status: number) => ({
    error: new RondoError('BAD_REQUEST', sentence),
    status,
  })
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return bad(`The headers exceed ${LIMITS.maxHeaderSize} bytes.`, 431)
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return bad('The chunk extensions are too long.', 413)
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return bad('The request did not arrive in time.', 408)
    default:
      return bad('The request is not valid HTTP.', 400)
  }
}

/**
 * Says what the parser refused, in its turn. Answers to requests that came before it on the connection go first, and a
 * request that broke off in the middle of its body may have been answered already.
 */
function answerBroken(socket: Duplex, problem: Problem, door: HttpDoor): void {
  const current = answering(socket)
  if (!current) {
    end(socket, problem, door)
    return
  }
  if (current.req.complete) {
    current.once('close', () => answerBroken(socket, problem, door))
    return
  }
  Exchange.of(current.req, current, door.options).fail(problem.error, { status: problem.status, close: true })
}

/** An answer on the bare socket, for what never became a request. */
function end(socket: Duplex, { error, status }: Problem, door: HttpDoor, headers = ''): void {
  if (!socket.writable) {
    socket.destroy()
    return
  }
  const { code, message } = error
  const id = newRequestId()
  const body = JSON.stringify({
    type: 'about:blank',
    title: CODES[code].title,
    status,
    code,
    error: message,
    requestId: id,
  })
  socket.end(
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\n` +
      `Content-Type: ${PROBLEM_TYPE}\r\nX-Request-Id: ${id}\r\n${headers}` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
  door.options.onEnd({ id, method: '', route: 'other', status, ms: 0, error })
  socket.resume()
  // A client that does not close in turn is not waited for.
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
}
