/**
 * Connection limit of all servers together: at most as many as the process has file descriptors for, less some for nodes
 * and files. One server cannot take them all: the last sixteenth is reserved for the others.
 *
 * At the limit, the oldest connection that is unauthenticated or has sent no request is closed in favour of the new one; if
 * there is none, the new one is refused.
 */
export interface LimitedConnection {
  /** It is unauthenticated, or, without tokens, has sent no request yet. */
  mayBeDisplaced(): boolean
  /** Closes the connection. */
  cut(): void
}

/** A search without result is not repeated for this long. */
const SEARCH_PAUSE_MS = 100
/** Fraction of the limit that no single server may use. */
const KEPT_FOR_OTHERS = 1 / 16
const MOST_KEPT_FOR_OTHERS = 256

export class ConnectionLimit {
  readonly max: number
  /** Connections that were refused, and that were closed in favour of new ones. */
  refused = 0
  displaced = 0
  private readonly nowMs: () => number
  /** By server, oldest first. */
  private readonly taken = new Map<string, Set<LimitedConnection>>()
  private noneUntilMs = 0

  constructor(max: number, nowMs: () => number) {
    this.max = max
    this.nowMs = nowMs
  }

  get size(): number {
    let size = 0
    for (const connections of this.taken.values()) size += connections.size
    return size
  }

  /** @returns false = refused; otherwise it counts until `leave` */
  take(server: string, connection: LimitedConnection): boolean {
    let own = this.taken.get(server)
    if (!own) this.taken.set(server, (own = new Set()))
    if (this.isFull(own) && !this.makeRoom(server, own)) {
      this.refused++
      return false
    }
    own.add(connection)
    return true
  }

  leave(server: string, connection: LimitedConnection): void {
    this.taken.get(server)?.delete(connection)
  }

  /** Closes one connection that may be displaced, of any server: called when no file descriptors are left. */
  displaceOne(): void {
    this.endFirst([...this.taken.values()])
  }

  private isFull(own: Set<LimitedConnection>): boolean {
    const kept = Math.min(MOST_KEPT_FOR_OTHERS, Math.floor(this.max * KEPT_FOR_OTHERS))
    return own.size >= this.max - kept || this.size >= this.max
  }

  private makeRoom(server: string, own: Set<LimitedConnection>): boolean {
    const nowMs = this.nowMs()
    if (nowMs < this.noneUntilMs) return false
    const others = [...this.taken].filter(([name]) => name !== server).map(([, connections]) => connections)
    if (this.endFirst(this.size >= this.max ? [own, ...others] : [own])) return true
    this.noneUntilMs = nowMs + SEARCH_PAUSE_MS
    return false
  }

  private endFirst(candidates: readonly Set<LimitedConnection>[]): boolean {
    for (const connections of candidates) {
      for (const connection of connections) {
        if (!connection.mayBeDisplaced()) continue
        this.displaced++
        connections.delete(connection)
        connection.cut()
        return true
      }
    }
    return false
  }
}
