/**
 * The HTTP door's socket: node:http with every limit set, the keys handler in front, Express behind it.
 */
import http from 'node:http'
import https from 'node:https'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { RondoError, type ErrorCode } from '../../core/errors.ts'
import { CODES } from '../codes.ts'
import type { HttpDoor } from './app.ts'
import { Exchange } from './exchange.ts'

const LIMITS = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 2_000,
  noDelay: true,
  insecureHTTPParser: false,
  requireHostHeader: true,
}
const MAX_CONNECTIONS = 20_000

export function createServer(door: HttpDoor, tls: { cert: Buffer; key: Buffer } | null): Server {
  const serve = (req: IncomingMessage, res: ServerResponse) => {
    const exchange = Exchange.of(req, res, door.options)
    if (!door.handleEarly(exchange)) door.app(req, res)
  }
  const server = tls ? https.createServer({ ...LIMITS, ...tls }, serve) : http.createServer(LIMITS, serve)
  server.maxConnections = MAX_CONNECTIONS
  server.on('clientError', answerBrokenRequest)
  // Neither a tunnel nor another protocol is offered here.
  server.on('connect', (_req, socket: Duplex) => {
    end(socket, 'METHOD_NOT_ALLOWED', 'CONNECT is not offered.', 405)
  })
  server.on('upgrade', (_req, socket: Duplex) => {
    end(socket, 'BAD_REQUEST', 'No other protocol is offered on this port.', 400)
  })
  return server
}

/** What the parser refused never became a request: it is answered on the bare socket, which then closes. */
function answerBrokenRequest(error: Error & { code?: string }, socket: Duplex): void {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      end(socket, 'BAD_REQUEST', `The headers exceed ${LIMITS.maxHeaderSize} bytes.`, 431)
      return
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      end(socket, 'BAD_REQUEST', 'The request did not arrive in time.', 408)
      return
    case 'ECONNRESET':
      socket.destroy()
      return
    default:
      end(socket, 'BAD_REQUEST', 'The request is not valid HTTP.', 400)
  }
}

function end(socket: Duplex, code: ErrorCode, sentence: string, status: number): void {
  if (!socket.writable) {
    socket.destroy()
    return
  }
  const error = new RondoError(code, sentence)
  const body = JSON.stringify({
    type: 'about:blank',
    title: CODES[code].title,
    status,
    code,
    error: error.message,
  })
  socket.end(
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\n` +
      'Content-Type: application/problem+json; charset=utf-8\r\n' +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}
