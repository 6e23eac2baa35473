/**
 * A coordinator with anti-entropy over faulty nodes, on virtual time. Records are planted in the nodes past all rules, so
 * that replicas can be made to differ in every way.
 */
import { expect } from 'chai'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import { isReserved } from '../../src/core/keys.ts'
import { KIND_TOMBSTONE, StoredRecord, type NewRecord } from '../../src/core/codec.ts'
import { EXPIRY_MARGIN_MS, FAR_END_MS } from '../../src/core/lifetime.ts'
import { versionText } from '../../src/core/clock.ts'
import { AntiEntropy, type AntiEntropyOptions } from '../../src/repair/round/anti-entropy.ts'
import type { RepairContext } from '../../src/repair/context.ts'
import type { RoundReport } from '../../src/repair/round/round-state.ts'
import {
  CoordinatorUnderTest,
  REQUEST_TIMEOUT_MS,
  type UnderTestOptions,
} from '../support/coordinator-under-test.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'
import { seeded } from '../support/random.ts'

export type Settings = Partial<AntiEntropyOptions> & UnderTestOptions

export class RepairUnderTest {
  readonly under: CoordinatorUnderTest
  readonly antiEntropy: AntiEntropy
  readonly context: RepairContext

  protected constructor(under: CoordinatorUnderTest, settings: Settings) {
    this.under = under
    const { coordinator = 1 } = settings
    const random = seeded(coordinator)
    this.context = {
      cluster: under.cluster,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      clock: under.time,
      timers: under.time,
      emit: (event) => under.events.push(event),
      settle: (key, record) => under.coordinator.settleRecord(key, record),
      read: (key) => under.coordinator.readSettled(key),
      isServing: () => under.coordinator.isServing,
      secret: Buffer.alloc(16, 'secret'),
      owner: `coordinator-${coordinator}`,
    }
    this.antiEntropy = new AntiEntropy(this.context, {
      intervalMs: 0,
      keysPerSecond: 0,
      random: () => random.next(),
      ...settings,
    })
  }

  static async started(settings: Settings = {}): Promise<RepairUnderTest> {
    return new RepairUnderTest(await CoordinatorUnderTest.started(settings), settings)
  }

  get time() {
    return this.under.time
  }

  get nodes(): readonly FaultyNode[] {
    return this.under.nodes
  }

  /** Cluster time. */
  get nowMs(): number {
    return this.under.cluster.time.nowMs()
  }

  /** Lets time pass until the promise has settled, up to a limit. */
  async until<T>(promise: Promise<T>, limitMs = 60_000, stepMs = 10): Promise<T> {
    let settled = false
    const watched = promise.finally(() => (settled = true))
    watched.catch(() => undefined) // the caller gets it from the return
    await this.time.settle()
    for (let passed = 0; passed < limitMs && !settled; passed += stepMs) await this.time.advance(stepMs)
    if (!settled) throw new Error(`it has not come to an end in ${limitMs} ms`)
    return watched
  }

  /** A whole round, begun now; gives its report. */
  async round(limitMs = 60_000): Promise<RoundReport> {
    const before = this.reports.length
    const asked = await this.until(this.antiEntropy.request())
    expect(asked.state === 'running' || this.reports.length > before, 'it did not begin').to.equal(true)
    for (let passed = 0; this.reports.length === before; passed += 10) {
      if (passed > limitMs) throw new Error(`the round has not ended in ${limitMs} ms`)
      await this.time.advance(10)
    }
    const report = this.reports.at(-1)!
    expect(report.result, report.why.join()).to.not.equal('stopped')
    return report
  }

  get reports(): RoundReport[] {
    return this.under.told('anti-entropy') as unknown as RoundReport[]
  }

  /** What a user would read: a value, `(absent)`, or the code of an error. */
  read(key: string, level: ConsistencyLevel = 'quorum'): Promise<string> {
    return this.under.done(
      new Promise<string>((resolve) => {
        const done = {
          read: (found: { value: Buffer } | null) => resolve(found ? found.value.toString() : '(absent)'),
          failed: (error: { code: string }) => resolve(error.code),
        }
        this.under.coordinator.read(Buffer.from(key), done, level)
      }),
    )
  }

  // ---- making replicas differ

  /** @param lifeMs by default what the record itself asks for */
  plant(node: FaultyNode, key: string, planted: NewRecord | string, lifeMs?: number): void {
    const bytes =
      typeof planted === 'string' ? Buffer.from(planted) : Buffer.concat([planted.head, planted.value])
    const stored = new StoredRecord(bytes)
    const own = stored.expiresAtMs === 0 ? FAR_END_MS : stored.expiresAtMs - this.nowMs + EXPIRY_MARGIN_MS
    node.memory.storage.set(
      Buffer.from(key),
      bytes,
      lifeMs ?? (stored.kind === KIND_TOMBSTONE ? 3_600_000 : own),
    )
  }

  /** A value as old as `ageMs`. */
  value(ageMs: number, text: string, expiresInMs = 0): NewRecord {
    const expiresAtMs = expiresInMs === 0 ? 0 : Math.floor(this.nowMs + expiresInMs)
    return record(Math.floor(this.nowMs - ageMs), text, { expiresAtMs })
  }

  tombstone(ageMs: number): NewRecord {
    return record(Math.floor(this.nowMs - ageMs), '', { kind: KIND_TOMBSTONE })
  }

  /** What each node of the key's preference list holds. */
  holdings(key: string): string[] {
    return this.under.nodesOf(key).map((node) => node.holds(key))
  }

  lifeMs(node: FaultyNode, key: string): number {
    return node.memory.storage.lifeMs(Buffer.from(key))
  }

  /** Every user's key in the nodes. */
  keys(): string[] {
    const keys = new Set<string>()
    for (const node of this.nodes) {
      for (const { key } of node.memory.storage.page(0, 1_000_000).entries) {
        if (!isReserved(key)) keys.add(key.toString())
      }
    }
    return [...keys].sort()
  }

  /** Fails unless all home replicas of all keys show a user the same, and nobody else holds anything. */
  expectEqual(replicas = 3): void {
    for (const key of this.keys()) {
      const nodes = this.under.nodesOf(key)
      const seen = nodes.slice(0, replicas).map((node) => {
        const held = node.held(key)
        return held?.isLive(this.nowMs) ? `${versionText(held.version)} ${held.value.toString()}` : 'nothing'
      })
      expect(new Set(seen).size, `${key}: ${seen.join(' | ')}`).to.equal(1)
      for (const node of nodes.slice(replicas))
        expect(node.holds(key), `${key} on ${node.id}`).to.equal('(absent)')
    }
  }
}

/** Another coordinator over the same nodes, not started. */
export class RepairUnderTestBeside extends RepairUnderTest {
  private readonly first: RepairUnderTest

  constructor(first: RepairUnderTest) {
    const { replicas } = first.under.coordinator
    super(new CoordinatorUnderTest({ beside: first.under, coordinator: 2, replicas }), { coordinator: 2 })
    this.first = first
  }

  node(of: FaultyNode): FaultyNode {
    return this.nodes[this.first.nodes.indexOf(of)]!
  }
}
