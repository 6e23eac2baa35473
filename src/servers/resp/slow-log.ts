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

export interface SlowCommand {
  readonly id: number
  /** Cluster time. */
  readonly atSeconds: number
  readonly us: number
  readonly command: string
  /** The client's address and port. */
  readonly address: string
  readonly clientName: string
}

export class SlowLog {
  private readonly entries: SlowCommand[] = []
  private nextId = 0

  get length(): number {
    return this.entries.length
  }

  add(entry: Omit<SlowCommand, 'id'>): void {
    this.entries.push({ id: this.nextId++, ...entry })
    if (this.entries.length > MAX_ENTRIES) this.entries.shift()
  }

  /** The newest first. */
  latest(count: number): SlowCommand[] {
    return this.entries.slice(Math.max(0, this.entries.length - count)).reverse()
  }

  /** Ids go on counting, as in Redis. */
  reset(): void {
    this.entries.length = 0
  }
}
