/**
 * One node's health, as this coordinator sees it: for speed only, never for safety.
 *
 *              bad                3 bad in a row, or connection refused
 *      up  ───────────▶ suspect ───────────────────────────────▶ down
 *       ◀────────────────┘  good                                  │
 *       ◀─────────────────────────────────────────────────────────┘  two good in a row
 *
 * Good and bad are probes and operations alike. Nodes that are up are probed at the ping interval, the others after
 * 100 ms, doubling to 1 s, and after a good one at 100 ms again. Pure: who probes and what follows is the cluster's business (cluster.ts).
 */
import type { NodeState } from '../core/events.ts'

const FAILURES_UNTIL_DOWN = 3
const SUCCESSES_UNTIL_UP = 2
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 1000

export class Health {
  /** Nothing is known before the first probe: one good answer suffices then. */
  state: NodeState = 'suspect'
  private failures = 0
  private successes = 0
  private retries = 0

  onSuccess(): void {
    this.failures = 0
    this.successes++
    this.retries = 0 // back soon, to confirm
    if (this.state === 'down' && this.successes < SUCCESSES_UNTIL_UP) return
    this.state = 'up'
  }

  /** @param certain nobody is there: no need to ask three times */
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
