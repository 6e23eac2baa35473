/**
 * One node's health, as this coordinator sees it. It affects speed, never safety.
 *
 *              failure            3 failures in a row, or connection refused
 *      up  ───────────▶ suspect ───────────────────────────────▶ down
 *       ◀────────────────┘  success                               │
 *       ◀─────────────────────────────────────────────────────────┘  2 successes in a row
 *
 * Probes and operations both count. Nodes that are up are probed at the ping interval, others after 100 ms, doubling to
 * 1 s, and again after 100 ms once one succeeds. Pure: prober.ts probes, member.ts reacts.
 */
import type { NodeState } from '../core/events.ts'

const FAILURES_UNTIL_DOWN = 3
const SUCCESSES_UNTIL_UP = 2
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 1000

export class Health {
  /** Unknown before the first probe: a single success suffices then. */
  state: NodeState = 'suspect'
  private failures = 0
  private successes = 0
  private retries = 0

  onSuccess(): void {
    this.failures = 0
    this.successes++
    this.retries = 0 // probe soon, to confirm
    if (this.state === 'down' && this.successes < SUCCESSES_UNTIL_UP) return
    this.state = 'up'
  }

  /** @param certain the connection was refused: down at once */
  onFailure(certain: boolean): void {
    this.successes = 0
    this.failures++
    this.state = certain || this.state === 'down' || this.failures >= FAILURES_UNTIL_DOWN ? 'down' : 'suspect'
  }

  /** Milliseconds until the next probe; call once per probe. */
  nextProbeMs(pingIntervalMs: number): number {
    if (this.state === 'up') return pingIntervalMs
    return Math.min(pingIntervalMs, LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.retries++)
  }
}
