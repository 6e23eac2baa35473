/**
 * Wrong tokens, of all servers of the process. A right token is accepted at once, always: many clients share an address
 * (NAT, a proxy, a container host), and one with an old token must not lock out the others. The answer to a wrong one is
 * held back, longer with each that comes from the same address, so that a client that tries again and again costs little.
 * That does not keep anybody from guessing on many connections: the length of tokens does.
 *
 * Bounded: so many answers are held back at once; beyond that a refusal leaves at once, and its connection is closed.
 */
import { LRUCache } from 'lru-cache'
import type { Timers } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'
import { networkOf } from '../config/client-address.ts'
import { LineLimit } from './line-limit.ts'

/** An address that sent none for this long begins anew. */
const WINDOW_MS = 60_000
const FIRST_DELAY_MS = 10
const MAX_DELAY_MS = 1000
/** More than this from one address within the window are too many: over HTTP, 429 instead of 401. */
export const MANY_WRONG_TOKENS = 20
/** Answers held back at once. */
export const MAX_HELD = 1000
/** Networks remembered; beyond that those that were quiet for longest are forgotten. */
const MAX_NETWORKS = 10_000

export type ServerName = 'http' | 'resp'

/** How a wrong token is to be answered. */
export interface Refusal {
  readonly delayMs: number
  readonly tooMany: boolean
  /** Too many answers are held back already: this one leaves at once, and its connection with it. */
  readonly close: boolean
}

export interface TokenTriesOptions {
  readonly emit: Emit
  readonly monotonicMs: () => number
  readonly timers: Timers
}

export class TokenTries {
  /** Wrong tokens so far. */
  readonly counts: Record<ServerName, number> = { http: 0, resp: 0 }
  private held = 0
  private readonly options: TokenTriesOptions
  private readonly wrong = new LRUCache<string, { count: number; lastMs: number }>({ max: MAX_NETWORKS })
  private readonly lines: LineLimit

  constructor(options: TokenTriesOptions) {
    this.options = options
    this.lines = new LineLimit(options.monotonicMs)
  }

  /** A wrong token has come. */
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
   * Answers when the delay is over.
   *
   * @returns call it when the client has gone: then it is not answered
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
