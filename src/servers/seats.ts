/**
 * How many connections there may be, of all servers together: no more than the process has descriptors for, with some left
 * for nodes and files. One server does not take them all: the last sixteenth belongs to the others.
 *
 * Where they are all taken, the oldest that has neither shown a token nor asked for anything gives way; only if there is
 * none is the newcomer refused.
 */
export interface Seat {
  /** It has not shown the token that is asked for, or has not asked for anything yet. */
  mayGiveWay(): boolean
  /** Ends the connection. */
  cut(): void
}

/** A search that found nobody is not repeated for so long. */
const SEARCH_PAUSE_MS = 100
/** Of the seats, as many as this fraction are kept from each server for the others. */
const KEPT_FOR_OTHERS = 1 / 16
const MOST_KEPT_FOR_OTHERS = 256

export class Seats {
  readonly max: number
  /** Connections that were refused, and that gave way. */
  refused = 0
  gaveWay = 0
  private readonly nowMs: () => number
  /** By server, in the order in which they came. */
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

  /** @returns false = refused; otherwise it is taken until `leave` */
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

  /** Ends one connection that may give way, of any server: there are no descriptors left. */
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
