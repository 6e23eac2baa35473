/**
 * A TCP proxy on loopback that goes wrong on command: the network between one coordinator and one node.
 *
 *                    requests ──▶ [deliver | hold | drop], delay ──▶
 *     coordinator                                                        node
 *                    ◀── [deliver | hold | drop], delay ◀── replies
 *
 * What happens to bytes happens to the end of a connection too: while they are held or dropped, neither side learns that
 * the other has gone. Held bytes are delivered when the weather clears, also those of a sender that has given up since,
 * as TCP does after a partition: a write that was reported as unknown may be applied seconds later. A connection of which
 * bytes were dropped is of no use any more and is reset when the weather clears.
 */
import net from 'node:net'
import { freePort } from '../../scripts/redis-server.ts'

export type Flow = 'deliver' | 'hold' | 'drop'

export interface Weather {
  /** False: connections are reset, and new ones refused. */
  readonly reachable: boolean
  readonly requests: Flow
  readonly replies: Flow
  /** Each way. */
  readonly delayMs: number
}

export const FAIR: Weather = { reachable: true, requests: 'deliver', replies: 'deliver', delayMs: 0 }

export const WEATHER = {
  cut: { ...FAIR, reachable: false },
  blackhole: { ...FAIR, requests: 'drop', replies: 'drop' },
  partition: { ...FAIR, requests: 'hold', replies: 'hold' },
  'lose-requests': { ...FAIR, requests: 'drop' },
  'lose-replies': { ...FAIR, replies: 'drop' },
} as const satisfies Record<string, Weather>

const LISTEN_TRIES = 100

export class FaultProxy {
  readonly port: number
  private targetPort: number
  private weather: Weather = FAIR
  private server: net.Server | null = null
  private readonly tunnels = new Set<Tunnel>()
  private closed = false

  private constructor(port: number, targetPort: number) {
    this.port = port
    this.targetPort = targetPort
  }

  static async start(targetPort: number): Promise<FaultProxy> {
    for (let tries = 1; ; tries++) {
      const proxy = new FaultProxy(await freePort(), targetPort)
      try {
        await proxy.listen()
        return proxy
      } catch (error) {
        if (tries === LISTEN_TRIES) throw error // otherwise: somebody else was quicker to take the port
      }
    }
  }

  /** From now on this is what connections meet, the existing ones too. */
  async set(weather: Weather): Promise<void> {
    this.weather = weather
    if (!weather.reachable) {
      this.server?.close()
      this.server = null
      this.reset()
      return
    }
    for (const tunnel of this.tunnels) tunnel.turn(weather)
    if (!this.server && !this.closed) await this.listen()
  }

  /** Another server has the address now: connections to the one before are reset. */
  aim(targetPort: number): void {
    this.targetPort = targetPort
    this.reset()
  }

  close(): void {
    this.closed = true
    this.server?.close()
    this.server = null
    this.reset()
  }

  private reset(): void {
    for (const tunnel of [...this.tunnels]) tunnel.destroy()
  }

  private async listen(): Promise<void> {
    const server = net.createServer((client) => {
      const tunnel = new Tunnel(client, this.targetPort, this.weather, () => this.tunnels.delete(tunnel))
      this.tunnels.add(tunnel)
    })
    this.server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.port, '127.0.0.1', () => {
        server.removeListener('error', reject)
        resolve()
      })
    })
  }
}

class Tunnel {
  private readonly client: net.Socket
  private readonly upstream: net.Socket
  private readonly requests: Lane
  private readonly replies: Lane
  private readonly onGone: () => void
  private gone = false

  constructor(client: net.Socket, targetPort: number, weather: Weather, onGone: () => void) {
    this.client = client
    this.upstream = net.connect(targetPort, '127.0.0.1')
    this.onGone = onGone
    client.setNoDelay(true)
    this.upstream.setNoDelay(true)
    const end = () => this.destroy()
    this.requests = new Lane(client, this.upstream, end)
    this.replies = new Lane(this.upstream, client, end)
    this.turn(weather)
  }

  turn({ requests, replies, delayMs }: Weather): void {
    this.requests.turn(requests, delayMs)
    this.replies.turn(replies, delayMs)
  }

  destroy(): void {
    if (this.gone) return
    this.gone = true
    this.requests.stop()
    this.replies.stop()
    // A socket that is being shut down refuses to be reset, and Node.js then never closes it.
    if (this.client.writableEnded) this.client.destroy()
    else this.client.resetAndDestroy()
    this.upstream.destroy()
    this.onGone()
  }
}

/** One direction of a connection. */
class Lane {
  private readonly to: net.Socket
  private readonly end: () => void
  private flow: Flow = 'deliver'
  private delayMs = 0
  /** In order; null = the end. */
  private readonly queue: { readonly bytes: Buffer | null; readonly atMs: number }[] = []
  private timer: NodeJS.Timeout | null = null
  private dropped = false
  private stopped = false

  constructor(from: net.Socket, to: net.Socket, end: () => void) {
    this.to = to
    this.end = end
    from.on('data', (bytes: Buffer) => this.take(bytes))
    from.on('error', () => undefined) // 'close' follows
    from.on('close', () => this.take(null))
  }

  turn(flow: Flow, delayMs: number): void {
    this.flow = flow
    this.delayMs = delayMs
    if (flow !== 'deliver' || this.stopped) return
    if (this.dropped) this.end()
    else this.pump()
  }

  stop(): void {
    this.stopped = true
    if (this.timer) clearTimeout(this.timer)
    this.timer = null
  }

  private take(bytes: Buffer | null): void {
    if (this.stopped) return
    if (this.flow === 'drop') {
      this.dropped = true
      return
    }
    this.queue.push({ bytes, atMs: performance.now() + this.delayMs })
    this.pump()
  }

  private pump(): void {
    if (this.timer) clearTimeout(this.timer)
    this.timer = null
    while (this.flow === 'deliver' && this.queue.length > 0 && !this.stopped) {
      const leftMs = this.queue[0]!.atMs - performance.now()
      if (leftMs > 0) {
        this.timer = setTimeout(() => this.pump(), Math.ceil(leftMs))
        return
      }
      const { bytes } = this.queue.shift()!
      if (bytes) this.to.write(bytes)
      else this.finish()
    }
  }

  /** The sender has gone, and what it sent is delivered. */
  private finish(): void {
    if (this.to.destroyed) this.end()
    else this.to.end() // and when that side closes too, this connection is over
  }
}
