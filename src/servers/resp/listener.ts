/**
 * The listening socket of the Redis protocol. ConnectionLimit limits the number of connections, and Connection.isOverdue their
 * timeouts.
 */
import net from 'node:net'
import tls from 'node:tls'
import type { Registry } from 'prom-client'
import { SocketServer } from '../server.ts'
import { registerRespMetrics } from './metrics.ts'
import type { RespServer } from './resp-server.ts'
import { ProxiedClients } from './connection/proxied.ts'

const KEEP_ALIVE_MS = 300_000
const CHECK_MS = 1000
/** How often connections that have become idle are looked for while the server closes. */
const IDLE_CHECK_MS = 20
/** Sent to a refused connection, which is then closed without waiting. */
const REFUSED = '-ERR max number of clients reached (MAX_CONNECTIONS)\r\n'

const REFUSED_AT_ONCE = 16

export function createRespListener(resp: RespServer, tlsOptions: tls.TlsOptions | null): net.Server {
  const proxied = new ProxiedClients()
  const serve = (socket: net.Socket) => {
    if (!resp.connected(socket, proxied.clientOf(socket))) {
      socket.on('error', () => socket.destroy())
      socket.end(REFUSED, () => socket.destroy())
      return
    }
    // A connection that was read for a header is paused. Resume it only now that TLS has it, or the bytes after the header are lost.
    socket.resume()
  }
  const options = {
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
    allowHalfOpen: true,
  }
  const server = tlsOptions
    ? tls.createServer({ ...options, ...tlsOptions, handshakeTimeout: 10_000 }, serve)
    : net.createServer(options, serve)
  proxied.watch(server, resp.options.proxies, resp.options.timers)
  // Connections in their TLS handshake are counted only here; so are those that are told of their refusal.
  server.maxConnections = resp.options.connectionLimit.max + REFUSED_AT_ONCE
  server.on('listening', () => {
    resp.port = (server.address() as net.AddressInfo).port
  })
  const check = setInterval(() => resp.endOverdue(), CHECK_MS)
  server.on('close', () => clearInterval(check))
  return server
}

/** The server of the Redis protocol, as the program opens and closes it. */
export class RespSocketServer extends SocketServer<net.Server> {
  readonly name = 'resp'
  private readonly resp: RespServer

  constructor(resp: RespServer) {
    super()
    this.resp = resp
  }

  registerMetrics(registry: Registry): void {
    registerRespMetrics(registry, this.resp)
  }

  protected createListener(tlsOptions: tls.TlsOptions | null): net.Server {
    return createRespListener(this.resp, tlsOptions)
  }

  protected drain(_listener: net.Server, limitMs: number): () => void {
    this.resp.unblock()
    this.resp.endIdle()
    const idle = setInterval(() => this.resp.endIdle(), IDLE_CHECK_MS)
    const stop = setTimeout(() => this.resp.stop(), limitMs / 2)
    return () => {
      clearInterval(idle)
      clearTimeout(stop)
    }
  }

  protected cut(): void {
    this.resp.cut()
  }
}
