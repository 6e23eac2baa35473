/**
 * The latest slow commands, for SLOWLOG. An entry has the command's name and its client, but none of its arguments: they may
 * be large, or secret, and are gone when the reply is written.
 *
 * A time is what the metrics count: from reading the command to writing its reply, including its wait for earlier replies of
 * the connection, and for the nodes. Redis counts only its own execution.
 */

/** Slower commands are logged. The defaults of Redis, here and below. */
export const SLOWER_THAN_US = 10_000
export const MAX_ENTRIES = 128

/** How a command that was slow is told; under load that may be all of them, so an entry must cost little. */
export interface SlowCommand {
  /** Cluster time. */
  readonly atSeconds: number
  readonly us: number
  readonly command: string
  /** The client's. */
  readonly address: string
  readonly port: number | undefined
  readonly clientName: string
}

export class SlowLog {
  /** A ring: the entry with an id is at that id modulo MAX_ENTRIES. */
  private readonly entries: SlowCommand[] = []
  private firstId = 0
  private nextId = 0

  get length(): number {
    return this.nextId - this.firstId
  }

  add(entry: SlowCommand): void {
    this.entries[this.nextId++ % MAX_ENTRIES] = entry
    if (this.length > MAX_ENTRIES) this.firstId++
  }

  /** The newest first, with their ids. */
  latest(count: number): [id: number, entry: SlowCommand][] {
    const ids = Array.from({ length: Math.min(count, this.length) }, (_, i) => this.nextId - 1 - i)
    return ids.map((id) => [id, this.entries[id % MAX_ENTRIES]!])
  }

  /** Ids go on counting, as in Redis. */
  reset(): void {
    this.firstId = this.nextId
    this.entries.length = 0
  }
}
