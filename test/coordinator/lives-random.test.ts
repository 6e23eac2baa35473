/**
 * Random runs at quorum over minutes and hours: replicas are away or silent, coordinators die in the middle of what they
 * do, and between two operations enough time passes for what is remembered too briefly to be forgotten. No node loses
 * data, and nobody repairs anything.
 *
 * Operations come one after the other, so that what a read may see is simple: what the last confirmed operation left, or
 * what one left whose outcome is unknown: that may take effect at any later time, and once.
 */
import { expect } from 'chai'
import type { StoredRecord } from '../../src/core/codec.ts'
import { putIf } from '../../src/servers/http/condition.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { seeded } from '../support/random.ts'
import { take } from '../support/steps.ts'

const RUNS = 80
const STEPS = 12
const KEY = Buffer.from('k')

interface Left {
  readonly value: string
  /** Cluster time, Infinity = never. */
  readonly expiresAtMs: number
}

const NOTHING: Left = { value: '(none)', expiresAtMs: Infinity }

class Run {
  readonly told: string[] = []
  private readonly random
  private under!: CoordinatorUnderTest
  private homes!: FaultyNode[]
  private left = NOTHING
  private unknown: Left[] = []
  private values = 0
  private coordinators = 1

  constructor(seed: number) {
    this.random = seeded(seed)
  }

  async go(): Promise<void> {
    this.under = await CoordinatorUnderTest.started({ nodes: 3 })
    this.homes = this.under.nodesOf('k')
    for (let i = 0; i < STEPS; i++) {
      await this.oneAway()
      if (this.random.chance(0.4)) await this.dyingWrite()
      else await this.write(this.under)
      await this.oneAway()
      if (this.random.chance(0.5)) await this.read()
      if (this.random.chance(0.4)) {
        await this.pass()
        await this.oneAway()
        await this.read()
      }
    }
    await this.heal()
    await this.read()
    await this.under.cluster.stop()
  }

  /** Somebody else than before, now and then, or nobody; all others can be reached. */
  private async oneAway(): Promise<void> {
    if (this.random.chance(0.4)) return
    await this.heal()
    if (this.random.chance(0.1)) return
    const node = this.random.pick(this.homes)
    this.told.push(`${node.id} is away`)
    if (this.random.chance(0.5)) node.cut()
    else Object.assign(node, { answerAfterMs: Infinity, carriesOut: this.random.chance(0.3) })
    if (this.random.chance(0.5)) await this.under.time.advance(2000)
  }

  private async heal(): Promise<void> {
    for (const node of this.homes) {
      node.heal()
      node.carriesOut = true
    }
    await this.under.time.advance(1500)
  }

  private async pass(): Promise<void> {
    const ms = this.random.pick([30_000, 70_000, 130_000])
    this.told.push(`${ms} ms pass`)
    await this.under.time.advance(ms)
  }

  /** Another coordinator, which is seen by nobody after so many of its messages. */
  private async dyingWrite(): Promise<void> {
    const other = new CoordinatorUnderTest({ beside: this.under, coordinator: ++this.coordinators })
    other.nodes.forEach((node) => {
      const mine = this.homes.find(({ id }) => id === node.id)!
      node.reachable = mine.reachable
      node.answerAfterMs = mine.answerAfterMs
      node.carriesOut = mine.carriesOut
    })
    await other.start()
    let messages = this.random.pick([1, 2, 3, 3, 3, 3, 4, 5])
    this.told.push(`after ${messages} messages dies`)
    for (const node of other.nodes) {
      for (const method of ['store', 'accept', 'prepare'] as const) {
        const send = node[method].bind(node) as (...args: unknown[]) => void
        node[method] = (...args: unknown[]) => {
          if (messages-- <= 0) for (const each of other.nodes) each.cut()
          send(...args)
        }
      }
    }
    await this.write(other)
    for (const node of other.nodes) node.cut()
    await other.cluster.stop()
  }

  private async write(by: CoordinatorUnderTest): Promise<void> {
    const nowMs = () => by.coordinator.nowMs()
    const ttlMs = this.random.pick([0, 0, 2000, 40_000])
    const expiresAtMs = ttlMs > 0 ? Math.floor(nowMs()) + ttlMs : 0
    const value = `v${++this.values}`
    const next: Left = { value, expiresAtMs: expiresAtMs || Infinity }
    const kind = this.random.pick(['put', 'put', 'delete', 'delete', 'put if there', 'take'] as const)
    const [outcome, left] = await by.done(
      new Promise<[string, Left | null]>((resolve) => {
        const after = kind === 'put' || kind === 'put if there' ? next : NOTHING
        const written = () => resolve(['ok', after])
        const failed = (error: { code: string }) =>
          resolve([error.code, error.code === 'OUTCOME_UNKNOWN' ? after : null])
        const bytes = Buffer.from(value)
        if (kind === 'put') by.coordinator.write(KEY, bytes, expiresAtMs, { written, failed }, 'quorum')
        else if (kind === 'delete') by.coordinator.remove(KEY, { written, failed }, 'quorum')
        else {
          const modify = kind === 'take' ? take(nowMs) : putIf({ kind: 'present' }, bytes, expiresAtMs, nowMs)
          by.coordinator.update(KEY, modify, { updated: written, failed }, 'quorum')
        }
      }),
    )
    this.told.push(`${kind} ${value} ttl ${ttlMs}: ${outcome}`)
    if (outcome === 'ok') this.left = left!
    else if (left) this.unknown.push(left)
    else if (outcome === 'PRECONDITION_FAILED') this.saw('(none)')
  }

  private async read(): Promise<void> {
    const { coordinator } = this.under
    const seen = await this.under.done(
      new Promise<string>((resolve) => {
        const done = {
          read: (found: StoredRecord | null) =>
            resolve(coordinator.isLive(found) ? found.value.toString() : '(none)'),
          failed: (error: { code: string }) => resolve(error.code),
        }
        coordinator.read(KEY, done, 'quorum')
      }),
    )
    this.told.push(`read: ${seen}`)
    if (seen !== 'QUORUM_NOT_MET') this.saw(seen)
  }

  private saw(seen: string): void {
    const nowMs = this.under.coordinator.nowMs()
    const shows = ({ value, expiresAtMs }: Left) => (expiresAtMs > nowMs ? value : '(none)')
    if (shows(this.left) === seen) return
    const effective = this.unknown.find((one) => shows(one) === seen)
    if (!effective) throw new Error(`saw ${seen}, where ${shows(this.left)} was left`)
    this.left = effective
    // What leaves nothing may have taken effect again, by another one of them: then it is still to come.
    if (effective.value !== '(none)') this.unknown = this.unknown.filter((one) => one !== effective)
  }
}

describe('what was confirmed at quorum, as time goes by', () => {
  it(`is what reads see, in ${RUNS} random runs of replicas that are away and coordinators that die`, async function () {
    this.timeout(60_000)
    for (let seed = 1; seed <= RUNS; seed++) {
      const run = new Run(seed)
      try {
        await run.go()
      } catch (error) {
        expect.fail(`seed ${seed}: ${String(error)}\n${run.told.join('\n')}`)
      }
    }
  })
})
