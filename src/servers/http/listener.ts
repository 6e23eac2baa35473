/**
 * The HTTP server's listener: node:http with all limits set, the hot path in front, Express behind it.
 *
 * There is no timeout for a whole request: a slow upload may continue while it makes progress (traffic.ts).
 */
import http from 'node:http'
import https from 'node:https'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import type { Registry } from 'prom-client'
import { RondoError } from '../../core/errors.ts'
import { CODES } from '../../core/error-codes.ts'
import { SocketServer } from '../server.ts'
import type { HttpServer } from './http-server.ts'
import { registerHttpMetrics } from './metrics.ts'
import { comesTooLate, Exchange, PROBLEM_TYPE } from './exchange.ts'
import { newRequestId } from '../request-id.ts'
import { KEYS_PREFIX } from './keys.ts'
import { closeGently, discardInput } from './linger.ts'
import { connectionOf, Traffic, TRAFFIC_LIMITS, type HttpConnection, type TrafficLimits } from './traffic.ts'

const LIMITS = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 0,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 1_000,
  noDelay: true,
  insecureHTTPParser: false,
  requireHostHeader: false, // the guard checks it, and responds in JSON
}

/** How often connections that have become idle are looked for while the server closes. */
const IDLE_CHECK_MS = 20

/** The HTTP server, as the program opens and closes it. */
export class HttpSocketServer extends SocketServer<Server> {
  readonly name = 'http'
  private readonly api: HttpServer

  constructor(api: HttpServer) {
    super()
    this.api = api
  }

  registerMetrics(registry: Registry): void {
    this.api.observe = registerHttpMetrics(registry)
  }

  protected createListener(tls: TlsOptions | null): Server {
    return createHttpListener(this.api, tls)
  }

  protected override sayLast(listener: Server): void {
    const sayLast = (_req: IncomingMessage, res: ServerResponse) => (res.shouldKeepAlive = false)
    listener.prependListener('request', sayLast)
    listener.prependListener('checkContinue', sayLast)
  }

  /** A connection may bring one more request, and ends when that is answered, or as soon as it is idle. */
  protected drain(listener: Server): () => void {
    const idle = setInterval(() => listener.closeIdleConnections(), IDLE_CHECK_MS)
    return () => clearInterval(idle)
  }

  protected cut(listener: Server): void {
    listener.closeAllConnections()
  }
}

/** @param limits tests set shorter ones */
export function createHttpListener(
  api: HttpServer,
  tls: TlsOptions | null,
  limits: Partial<typeof LIMITS & TrafficLimits> = {},
): Server {
  const options = { ...LIMITS, ...TRAFFIC_LIMITS, ...limits }
  const serve = (req: IncomingMessage, res: ServerResponse) => {
    const exchange = Exchange.of(req, res, api.options)
    if (exchange.begin() && !api.handleEarly(exchange)) api.app(req, res)
  }
  const serveInTurn = (req: IncomingMessage, res: ServerResponse) => {
    if (comesTooLate(res)) return
    const connection = connectionOf(req.socket)
    connection?.arrived(req)
    if (!connection || res.socket !== null || !mustWait(req, connection)) serve(req, res)
    else connection.wait(res, () => serve(req, res))
  }
  const server = tls
    ? https.createServer({ ...options, ...tls, handshakeTimeout: options.headersTimeout }, serveInTurn)
    : http.createServer(options, serveInTurn)
  watchTraffic(server, api, options)
  // `100 Continue` is sent by the code that reads the body, and not for a refused request.
  server.on('checkContinue', (req: IncomingMessage, res: ServerResponse) => {
    Exchange.of(req, res, api.options).awaitsContinue = true
    serveInTurn(req, res)
  })
  server.on('checkExpectation', (req: IncomingMessage, res: ServerResponse) => {
    if (comesTooLate(res)) return
    const error = new RondoError('BAD_REQUEST', 'The only Expect header taken is 100-continue.')
    Exchange.of(req, res, api.options).fail(error, { status: 417, close: true })
  })
  const broken = new WeakSet<Duplex>()
  server.on('clientError', (error: Error & { code?: string }, socket: Duplex) => {
    if (error.code === 'ECONNRESET') {
      socket.destroy()
      return
    }
    // After the first error, further ones are meaningless.
    if (broken.has(socket)) return
    broken.add(socket)
    answerBroken(socket, problemOf(error.code), api)
  })
  server.on('connect', (_req, socket: Duplex) => {
    // node:http has taken its listeners off the socket, but earlier responses may still wait for it to drain.
    socket.on('error', () => socket.destroy())
    socket.on('drain', () => answering(socket)?.emit('drain'))
    discardInput(socket)
    const error = new RondoError('METHOD_NOT_ALLOWED', 'CONNECT is not offered.')
    const problem = { error, status: CODES[error.code].http }
    inTurn(socket, () => end(socket, problem, api, 'Allow: GET, HEAD, PUT, POST, DELETE\r\n'))
  })
  return server
}

/** Counts the memory of connections, enforces the connection limit, and ends requests without progress. */
function watchTraffic(
  server: Server,
  api: HttpServer,
  options: TrafficLimits & { connectionsCheckingInterval: number },
): void {
  const traffic = new Traffic(api.options, options)
  server.maxConnections = api.options.connectionLimit.max
  server.on(server instanceof https.Server ? 'secureConnection' : 'connection', (socket: Socket) => {
    if (traffic.opened(socket)) return
    const error = new RondoError(
      'OVERLOADED',
      'There are too many connections (MAX_CONNECTIONS); try again later.',
    )
    end(socket, { error, status: CODES[error.code].http }, api, 'Retry-After: 1\r\n')
    socket.destroySoon()
  })
  const onSpent = (socket: Socket) => {
    const error = Object.assign(new Error('the request does not go on'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' })
    server.emit('clientError', error, socket)
  }
  const check = setInterval(() => traffic.check(onSpent), options.connectionsCheckingInterval)
  check.unref()
  server.on('close', () => clearInterval(check))
}

/**
 * Whether a pipelined request has to wait for earlier ones. Only reads of keys run concurrently (RFC 9110, 9.3.2), as many
 * as there is room for their responses: a read must see earlier writes, and nothing may be executed after a request whose
 * refusal closes the connection. All other requests are served one per turn. Node emits all requests as they arrive, and
 * emits `socket` on a response when its turn comes.
 */
function mustWait(req: IncomingMessage, connection: HttpConnection): boolean {
  if (!isKeyRead(req) || !isKeyRead(answering(req.socket)?.req)) return true
  return connection.hasWaiting || !connection.mayServeBeside
}

function isKeyRead(req: IncomingMessage | undefined): boolean {
  return (req?.method === 'GET' || req?.method === 'HEAD') && req.url!.startsWith(KEYS_PREFIX)
}

/** The response that node:http is sending on this socket: undocumented, but node:http's own error handler uses it. */
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

/** Runs when earlier responses on the connection have been sent. */
function inTurn(socket: Duplex, run: () => void): void {
  const current = answering(socket)
  if (current) current.once('close', () => inTurn(socket, run))
  else run()
}

/**
 * Responds to a request that the parser refused, after the responses to earlier requests. A request that broke off in its
 * body may have been answered already.
 */
function answerBroken(socket: Duplex, problem: Problem, api: HttpServer): void {
  const current = answering(socket)
  if (!current) {
    end(socket, problem, api)
    return
  }
  // If it was answered before its body broke off, it closes soon.
  if (current.req.complete || current.writableEnded) {
    current.once('close', () => answerBroken(socket, problem, api))
    return
  }
  Exchange.of(current.req, current, api.options).fail(problem.error, { status: problem.status, close: true })
}

/** A response on the bare socket, for input that never became a request. None if the client or a response has closed it. */
function end(socket: Duplex, { error, status }: Problem, api: HttpServer, headers = ''): void {
  if (!socket.writable) {
    closeGently(socket)
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
  socket.write(
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\n` +
      `Content-Type: ${PROBLEM_TYPE}\r\nX-Request-Id: ${id}\r\n${headers}` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
  api.options.onEnd({ id, method: '', route: 'other', status, ms: 0, error })
  closeGently(socket)
}
