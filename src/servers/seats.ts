/**
 * Connection limit of all servers together: at most as many as the process has file descriptors for, less some for nodes
 * and files. One server cannot take them all: the last sixteenth is reserved for the others.
 *
 * At the limit, the oldest connection that is unauthenticated or has sent no request is closed in favour of the new one; if
 * there is none, the new one is refused.
 */
export interface Seat {
  /** It is unauthenticated, or, without tokens, has sent no request yet. */
  mayGiveWay(): boolean
  /** Closes the connection. */
  cut(): void
}

/** A search without result is not repeated for this long. */
const SEARCH_PAUSE_MS = 100
/** Fraction of the limit that no single server may use. */
const KEPT_FOR_OTHERS = 1 / 16
const MOST_KEPT_FOR_OTHERS = 256

export class Seats {
  readonly max: number
  /** Connections that were refused, and that were closed in favour of new ones. */
  refused = 0
  gaveWay = 0
  private readonly nowMs: () => number
  /** By server, oldest first. */
  private readonly taken = new Map<string, Set<Seat>>()
  private noneUntilMs = 0

  constructor(max: number, nowMs: () => number) {
    this.max = max
    this.nowMs = nowMs
  }

  get size(): number {
    let size = 0
    for (const seats of this.taken.values()) size += seats.size
    return size
  }

  /** @returns false = refused; otherwise it counts until `leave` */
  take(server: string, seat: Seat): boolean {
    let own = this.taken.get(server)
    if (!own) this.taken.set(server, (own = new Set()))
    if (this.isFull(own) && !this.makeRoom(server, own)) {
      this.refused++
      return false
    }
    own.add(seat)
    return true
  }

  leave(server: string, seat: Seat): void {
    this.taken.get(server)?.delete(seat)
  }

  /** Closes one connection that may give way, of any server: called when no file descriptors are left. */
  relieve(): void {
    this.endFirst([...this.taken.values()])
  }

  private isFull(own: Set<Seat>): boolean {
    const kept = Math.min(MOST_KEPT_FOR_OTHERS, Math.floor(this.max * KEPT_FOR_OTHERS))
    return own.size >= this.max - kept || this.size >= this.max
  }

  private makeRoom(server: string, own: Set<Seat>): boolean {
    const nowMs = this.nowMs()
    if (nowMs < this.noneUntilMs) return false
    const others = [...this.taken].filter(([name]) => name !== server).map(([, seats]) => seats)
    if (this.endFirst(this.size >= this.max ? [own, ...others] : [own])) return true
    this.noneUntilMs = nowMs + SEARCH_PAUSE_MS
    return false
  }

  private endFirst(candidates: readonly Set<Seat>[]): boolean {
    for (const seats of candidates) {
      for (const seat of seats) {
        if (!seat.mayGiveWay()) continue
        this.gaveWay++
        seats.delete(seat)
        seat.cut()
        return true
      }
    }
    return false
  }
}
