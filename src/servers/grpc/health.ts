/**
 * The health service: SERVING while GET /readyz would answer 200, for each service and for the server as a whole.
 *
 * Not the package of gRPC: it keeps every name that a client has ever watched.
 */
import { notReady } from '../readiness.ts'
import type { GrpcServerOptions } from './options.ts'

export type ServingStatus = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN'

const LOOK_MS = 1000

export class Health {
  private readonly options: GrpcServerOptions
  private readonly services: readonly string[]
  private readonly watchers = new Set<() => void>()
  private timer: NodeJS.Timeout | null = null

  /** @param services names of those that there are */
  constructor(options: GrpcServerOptions, services: readonly string[]) {
    this.options = options
    this.services = ['', ...services]
  }

  statusOf(service: string): ServingStatus {
    if (!this.services.includes(service)) return 'SERVICE_UNKNOWN'
    return notReady(this.options) === null ? 'SERVING' : 'NOT_SERVING'
  }

  /**
   * Calls `tell` with the status, and whenever it has changed.
   *
   * @param tell false = not now: the client has not taken the last one yet
   * @returns ends it
   */
  watch(service: string, tell: (status: ServingStatus) => boolean): () => void {
    let last: ServingStatus | null = null
    const look = () => {
      const now = this.statusOf(service)
      if (now !== last && tell(now)) last = now
    }
    this.watchers.add(look)
    this.timer ??= setInterval(() => this.look(), LOOK_MS).unref()
    look()
    return () => {
      this.watchers.delete(look)
      if (this.watchers.size > 0 || this.timer === null) return
      clearInterval(this.timer)
      this.timer = null
    }
  }

  /** Tells those who watch at once. */
  look(): void {
    for (const look of [...this.watchers]) look()
  }
}
