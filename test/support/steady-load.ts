/**
 * Clients that write, read and delete without a pause, each its own keys, and know what they must find: the last write
 * that was acknowledged, or one after it of which nobody knows whether it was applied.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { REQUEST_TIMEOUT_MS, type Ended, type RondoUnderTest } from './rondo-under-test.ts'

const CLIENTS = 16
const KEYS_PER_CLIENT = 25
const PAUSE_MS = 2

export interface Done extends Ended {
  readonly op: 'get' | 'put' | 'del'
  readonly key: string
}

export class SteadyLoad {
  readonly done: Done[] = []
  /** What was found that must not be. */
  readonly wrong: string[] = []
  private readonly under: RondoUnderTest
  private readonly expected = new Map<string, Set<string>>()
  private readonly lag = monitorEventLoopDelay({ resolution: 5 })
  private running = true
  private readonly clients: Promise<void>[]

  constructor(under: RondoUnderTest) {
    this.under = under
    this.lag.enable()
    this.clients = Array.from({ length: CLIENTS }, (_, client) => this.run(client))
  }

  get failed(): Done[] {
    return this.done.filter(({ error }) => error !== null)
  }

  /** Ends the load, then reads every key once more. */
  async stop(): Promise<void> {
    this.running = false
    await Promise.all(this.clients)
    for (const key of this.expected.keys()) await this.read(key)
    this.lag.disable()
  }

  expectNothingWrong(): void {
    expect(this.done.length).to.be.above(1000)
    expect(this.wrong.slice(0, 5)).to.deep.equal([])
  }

  /** No request took longer than REQUEST_TIMEOUT_MS, but for what timers of this process were late. */
  expectInTime(): void {
    const slowest = this.done.reduce((a, b) => (b.tookMs > a.tookMs ? b : a))
    const lateMs = this.lag.max / 1e6
    expect(slowest.tookMs, `${slowest.op} ${slowest.key}`).to.be.below(REQUEST_TIMEOUT_MS + lateMs + 10)
  }

  /** For people: how long requests took that began in this stretch of time. */
  latencies(fromMs: number, toMs = Infinity): string {
    const took = this.done
      .filter(({ startedAtMs }) => startedAtMs >= fromMs && startedAtMs < toMs)
      .map(({ tookMs }) => tookMs)
      .sort((a, b) => a - b)
    const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))]?.toFixed(1)
    return `${took.length} requests, p50 ${at(0.5)}, p99 ${at(0.99)}, max ${took.at(-1)?.toFixed(1)} ms`
  }

  private async run(client: number): Promise<void> {
    for (let n = 0; this.running; n++) {
      const key = `load:${client}:${n % KEYS_PER_CLIENT}`
      const may = this.expected.get(key) ?? new Set(['(absent)'])
      this.expected.set(key, may)
      if (n % 9 === 8) this.wrote(key, '(deleted)', { op: 'del', key, ...(await this.under.del(key)) })
      else this.wrote(key, `${key}=${n}`, { op: 'put', key, ...(await this.under.put(key, `${key}=${n}`)) })
      await this.read(key)
      await delay(PAUSE_MS)
    }
  }

  private wrote(key: string, value: string, done: Done): void {
    this.done.push(done)
    const may = this.expected.get(key)!
    if (!done.error) may.clear()
    if (done.error?.details.outcome !== 'not-applied') may.add(value)
  }

  private async read(key: string): Promise<void> {
    const done: Done = { op: 'get', key, ...(await this.under.get(key)) }
    this.done.push(done)
    const may = this.expected.get(key)!
    if (done.error || may.has(done.result)) return
    this.wrong.push(`${key} is ${done.result} instead of ${[...may].join(' or ')}`)
  }
}
