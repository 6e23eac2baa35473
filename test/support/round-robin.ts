/**
 * A small TCP load balancer, as HAProxy would be set up: connections go to the backends in turn, and only to those whose
 * GET /readyz was 200 at the last check. A backend that refuses a connection is skipped for it.
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { call } from './raw-http.ts'

const CHECK_MS = 100

export interface Backend {
  /** Where connections go. */
  readonly port: number
  /** Where GET /readyz is asked. */
  readonly healthPort: number
}

export class RoundRobin {
  port = 0
  /** Connections that no backend took. */
  refused = 0
  private readonly backends: readonly Backend[]
  private readonly healthy = new Set<Backend>()
  private readonly sockets = new Set<Socket>()
  private readonly server: Server
  private readonly timer: NodeJS.Timeout
  private turn = 0

  private constructor(backends: readonly Backend[]) {
    this.backends = backends
    this.server = createServer((client) => this.serve(client))
    this.timer = setInterval(() => void this.check(), CHECK_MS)
  }

  static async start(backends: readonly Backend[]): Promise<RoundRobin> {
    const proxy = new RoundRobin(backends)
    await proxy.check()
    await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', () => resolve()))
    proxy.port = (proxy.server.address() as AddressInfo).port
    return proxy
  }

  isHealthy(backend: Backend): boolean {
    return this.healthy.has(backend)
  }

  async check(): Promise<void> {
    await Promise.all(
      this.backends.map(async (backend) => {
        const status = await call(backend.healthPort, 'GET', '/readyz').then(
          (answer) => answer.status,
          () => 0, // it does not listen
        )
        if (status === 200) this.healthy.add(backend)
        else this.healthy.delete(backend)
      }),
    )
  }

  private serve(client: Socket): void {
    this.track(client)
    const candidates = [...this.healthy]
    const first = this.turn++
    this.connectTo(
      client,
      candidates.map((_, i) => candidates[(first + i) % candidates.length]!),
    )
  }

  private connectTo(client: Socket, [backend, ...others]: readonly Backend[]): void {
    if (!backend) {
      this.refused++
      client.destroy()
      return
    }
    const server = connect({ port: backend.port, host: '127.0.0.1', noDelay: true })
    const next = () => this.connectTo(client, others)
    server.once('error', next)
    server.once('connect', () => {
      server.removeListener('error', next)
      this.track(server)
      client.setNoDelay(true)
      client.pipe(server)
      server.pipe(client)
      client.once('close', () => server.destroy())
      server.once('close', () => client.destroySoon())
    })
  }

  private track(socket: Socket): void {
    this.sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.once('close', () => this.sockets.delete(socket))
  }

  async stop(): Promise<void> {
    clearInterval(this.timer)
    for (const socket of this.sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }
}
