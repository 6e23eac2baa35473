/**
 * Delays replies to wrong tokens, for all servers of the process. A correct token is always accepted at once: many clients
 * may share an address (NAT, a proxy, a container host), and one with an old token must not lock out the others. The reply
 * to a wrong one is delayed, longer with each from the same address, so that a client that retries costs little. This does
 * not prevent guessing on many connections; the length of tokens does.
 *
 * At most MAX_HELD replies are delayed at once; beyond that the refusal is sent at once, and its connection is closed.
 */
import { LRUCache } from 'lru-cache'
import type { Timers } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'
import { networkOf } from '../config/client-address.ts'
import { LineLimit } from './line-limit.ts'

/** After this long without a wrong token, an address starts over. */
const WINDOW_MS = 60_000
const FIRST_DELAY_MS = 10
const MAX_DELAY_MS = 1000
/** More than this from one address within the window: over HTTP, 429 instead of 401. */
export const MANY_WRONG_TOKENS = 20
/** Replies delayed at once. */
export const MAX_HELD = 1000
/** Networks remembered; beyond that the least recent ones are forgotten. */
const MAX_NETWORKS = 10_000

export type ServerName = 'http' | 'resp' | 'grpc'

/** How to reply to a wrong token. */
export interface Refusal {
  readonly delayMs: number
  readonly tooMany: boolean
  /** Too many replies are delayed already: send this one at once, and close its connection. */
  readonly close: boolean
}

export interface TokenTriesOptions {
  readonly emit: Emit
  readonly monotonicMs: () => number
  readonly timers: Timers
}

export class TokenTries {
  /** Wrong tokens so far. */
  readonly counts: Record<ServerName, number> = { http: 0, resp: 0, grpc: 0 }
  private held = 0
  private readonly options: TokenTriesOptions
  private readonly wrong = new LRUCache<string, { count: number; lastMs: number }>({ max: MAX_NETWORKS })
  private readonly lines: LineLimit

  constructor(options: TokenTriesOptions) {
    this.options = options
    this.lines = new LineLimit(options.monotonicMs)
  }

  /** Records a wrong token. */
  note(address: string, server: ServerName): Refusal {
    this.counts[server]++
    const count = this.countOf(networkOf(address))
    if (this.lines.allows(networkOf(address))) {
      this.options.emit({ kind: 'token-refused', address, server, count })
    }
    const close = this.held >= MAX_HELD
    return {
      delayMs: close ? 0 : Math.min(FIRST_DELAY_MS * 2 ** (count - 1), MAX_DELAY_MS),
      tooMany: count > MANY_WRONG_TOKENS,
      close,
    }
  }

  /**
   * Calls `answer` after the delay.
   *
   * @returns cancels it, for a client that has disconnected
   */
  hold(delayMs: number, answer: () => void): () => void {
    const { timers } = this.options
    this.held++
    let isOver = false
    const end = () => {
      if (!isOver) this.held--
      isOver = true
    }
    const timer = timers.setTimeout(() => {
      end()
      answer()
    }, delayMs)
    return () => {
      timers.clearTimeout(timer)
      end()
    }
  }

  private countOf(network: string): number {
    const nowMs = this.options.monotonicMs()
    const before = this.wrong.get(network)
    const count = before && nowMs - before.lastMs < WINDOW_MS ? before.count + 1 : 1
    this.wrong.set(network, { count, lastMs: nowMs })
    return count
  }
}
