/** The listening socket of gRPC, as the program opens and closes it. */
import net from 'node:net'
import tls from 'node:tls'
import type { AddressInfo } from 'node:net'
import type { Registry } from 'prom-client'
import type { Lookups } from '../../commands/run/lookups.ts'
import { LookupCounts } from '../lookup-metrics.ts'
import { SocketServer, type ListenOptions } from '../server.ts'
import { GrpcConnection } from './connection.ts'
import { registerGrpcMetrics } from './metrics.ts'
import type { CallEnd, CallHost, GrpcServerOptions } from './options.ts'
import { loadLibrary, type Library } from './library.ts'
import { GrpcService } from './service.ts'

const SERVER = 'grpc'
const KEEP_ALIVE_MS = 300_000
const HANDSHAKE_TIMEOUT_MS = 10_000
const CHECK_MS = 1000

/** Other calls are listed once they have looked something up. */
const ALWAYS_LISTED = [
  ['grpc', 'get'],
  ['grpc', 'batchget'],
] as const

export class GrpcSocketServer extends SocketServer<net.Server> implements CallHost {
  readonly name = SERVER
  readonly options: GrpcServerOptions
  readonly lookups = new LookupCounts(ALWAYS_LISTED)
  readonly connections = new Set<GrpcConnection>()
  private observe: (end: CallEnd) => void = () => undefined
  private service: GrpcService | null = null
  private loaded: Library | null = null

  constructor(options: GrpcServerOptions) {
    super()
    this.options = options
  }

  get library(): Library {
    return this.loaded!
  }

  registerMetrics(registry: Registry): void {
    this.observe = registerGrpcMetrics(registry, () => this.connections.size)
  }

  ended(end: CallEnd): void {
    this.observe(end)
    this.options.onEnd(end)
  }

  lookedUp(method: string, found: Lookups): void {
    this.lookups.add(SERVER, method, found)
  }

  override async listen(options: ListenOptions): Promise<AddressInfo> {
    this.loaded = await loadLibrary()
    this.service = new GrpcService(this)
    return super.listen(options)
  }

  protected createListener(tlsOptions: tls.TlsOptions | null): net.Server {
    const serve = (socket: net.Socket) => this.connected(socket)
    const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS }
    const server = tlsOptions
      ? tls.createServer(
          { ...options, ...tlsOptions, ALPNProtocols: ['h2'], handshakeTimeout: HANDSHAKE_TIMEOUT_MS },
          serve,
        )
      : net.createServer(options, serve)
    // Connections in their TLS handshake are counted only here.
    server.maxConnections = this.options.connectionLimit.max
    const check = setInterval(() => this.check(), CHECK_MS).unref()
    server.on('close', () => clearInterval(check))
    return server
  }

  private connected(socket: net.Socket): void {
    const { connectionLimit } = this.options
    const connection = new GrpcConnection(socket, this.options)
    socket.on('error', () => socket.destroy()) // the client is gone
    if (!connectionLimit.take(SERVER, connection)) {
      connection.account.close()
      socket.destroy()
      return
    }
    this.connections.add(connection)
    socket.once('close', () => {
      connection.account.close()
      this.connections.delete(connection)
      connectionLimit.leave(SERVER, connection)
    })
    this.service!.serve(socket)
  }

  private check(): void {
    const nowMs = this.options.monotonicMs()
    for (const connection of [...this.connections]) connection.check(nowMs)
  }

  protected override sayLast(): void {
    this.service?.health.look()
  }

  /** Calls that have begun are answered; clients make the next ones elsewhere. */
  protected drain(): () => void {
    this.service?.endWatching()
    for (const connection of [...this.connections]) connection.end()
    return () => undefined
  }

  protected cut(): void {
    for (const connection of [...this.connections]) connection.cut()
  }
}
