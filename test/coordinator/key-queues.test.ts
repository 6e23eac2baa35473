/** Many who change one key at the same time, at every level: nobody fails, and each is told what it did itself. */
import { expect } from 'chai'
import { Coordinator } from '../../src/coordinator/coordinator.ts'
import type { ModifyAll } from '../../src/coordinator/transact/transact.ts'
import type { Modify } from '../../src/coordinator/update/update.ts'
import { compareVersions, parseVersion, versionText } from '../../src/core/clock.ts'
import { KIND_VALUE, type StoredRecord } from '../../src/core/codec.ts'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import type { RondoError } from '../../src/core/errors.ts'
import { putIf } from '../../src/servers/http/condition.ts'
import { CoordinatorUnderTest, REQUEST_TIMEOUT_MS, versionHeldBy } from '../support/coordinator-under-test.ts'
import { refusedAs, type FaultyNode } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'
import { append, increment, take } from '../support/steps.ts'

const LEVELS = ['one', 'quorum', 'all'] as const
const A = '{t}a'
const B = '{t}b'
const C = '{t}c'

interface Told {
  /** `ok`, or the code of an error. */
  readonly result: string
  readonly error: RondoError | null
  readonly before: string
  readonly after: string
  readonly version: string
  readonly tookMs: number
  /** How many had ended before it. */
  readonly place: number
}

describe('the per-key queue', () => {
  let under: CoordinatorUnderTest
  let homes: FaultyNode[]
  let ended = 0

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started()
    homes = under.nodesOf(A).slice(0, 3)
    ended = 0
  })
  afterEach(() => under.cluster.stop())

  const nowMs = () => under.coordinator.nowMs()
  const incr = increment(() => nowMs())
  const seen = (found: StoredRecord | null) => (found?.isLive(nowMs()) ? found.value.toString() : '(absent)')

  function update(
    modify: Modify,
    level: ConsistencyLevel,
    { key = A, by = under.coordinator }: { key?: string; by?: Coordinator } = {},
  ): Promise<Told> {
    const startedAtMs = under.time.monotonicMs()
    return new Promise((resolve, reject) => {
      let told = false
      const end = (what: Omit<Told, 'tookMs' | 'place'>) => {
        if (told) reject(new Error('an update ended twice'))
        told = true
        resolve({ ...what, tookMs: under.time.monotonicMs() - startedAtMs, place: ended++ })
      }
      by.update(
        Buffer.from(key),
        modify,
        {
          updated: (before, after) =>
            end({
              result: 'ok',
              error: null,
              before: seen(before),
              after: seen(after),
              version: after ? versionText(after.version) : '',
            }),
          failed: (error) => end({ result: error.code, error, before: '', after: '', version: '' }),
        },
        level,
      )
    })
  }

  function transact(modify: ModifyAll, level: ConsistencyLevel, keys: readonly string[]): Promise<Told> {
    const startedAtMs = under.time.monotonicMs()
    return new Promise((resolve) => {
      const end = (what: Omit<Told, 'tookMs' | 'place' | 'version'>) =>
        resolve({ ...what, version: '', tookMs: under.time.monotonicMs() - startedAtMs, place: ended++ })
      under.coordinator.transact(
        keys.map((key) => Buffer.from(key)),
        modify,
        {
          transacted: (before, after) =>
            end({
              result: 'ok',
              error: null,
              before: before.map(seen).join(' '),
              after: after.map(seen).join(' '),
            }),
          failed: (error) => end({ result: error.code, error, before: '', after: '' }),
        },
        level,
      )
    })
  }

  /** Adds one to every key. */
  const incrAll: ModifyAll = (current) => ({
    kind: 'write',
    records: current.map((found) => ({
      kind: KIND_VALUE,
      value: Buffer.from(String((found?.isLive(nowMs()) ? Number(found.value.toString()) : 0) + 1)),
      expiresAtMs: 0,
    })),
  })
  const many = <T>(count: number, make: (i: number) => T) => Array.from({ length: count }, (_, i) => make(i))
  const all = <T>(operations: readonly Promise<T>[]) => under.done(Promise.all(operations))
  const numbers = (from: number, to: number) => many(to - from + 1, (i) => String(from + i))
  const stores = () =>
    homes.reduce(
      (sum, home) => sum + home.callsFor(A, 'store').length + home.callsFor(A, 'store-all').length,
      0,
    )
  /** Once: in the turn in which somebody makes up its mind. */
  const first = (happens: () => void, modify: Modify = incr): Modify => {
    let isFirst = true
    return (current) => {
      if (isFirst) happens()
      isFirst = false
      return modify(current)
    }
  }

  for (const level of LEVELS) {
    describe(`at ${level}`, () => {
      it('200 increments come to 200, in the order in which they came, each told its own result, in a few stores', async () => {
        const told = await all(many(200, () => update(incr, level)))
        expect(told.map(({ result }) => result)).to.deep.equal(many(200, () => 'ok'))
        expect(told.map(({ after }) => after)).to.deep.equal(numbers(1, 200))
        expect(told.map(({ before }) => before)).to.deep.equal(['(absent)', ...numbers(1, 199)])
        expect(told.map(({ place }) => place)).to.deep.equal(many(200, (i) => i))
        await under.time.advance(10)
        expect(homes.map((home) => home.holds(A))).to.deep.equal(['200', '200', '200'])
        expect(stores()).to.equal(2 * homes.length)
      })

      it('versions of results in between are nobody else’s, and the last is the one that is stored', async () => {
        const told = await all(many(20, () => update(incr, level)))
        await under.time.advance(10)
        const versions = told.map(({ version }) => version)
        expect(new Set(versions).size).to.equal(20)
        expect(versions.toSorted()).to.deep.equal(versions)
        expect(homes.map((home) => versionHeldBy(home, A))).to.deep.equal(homes.map(() => versions[19]))
        const condition = { kind: 'version', version: parseVersion(versions[18]!)! } as const
        const stale = await under.done(update(putIf(condition, Buffer.from('x'), 0, nowMs), level))
        expect(stale.result).to.equal('PRECONDITION_FAILED')
      })

      it('different changes see one another, and each is told its own refusal', async () => {
        const value = (text: string) => Buffer.from(text)
        const told = await all([
          update(incr, level),
          update(take(nowMs), level),
          update(putIf({ kind: 'absent' }, value('a'), 0, nowMs), level),
          update(putIf({ kind: 'absent' }, value('b'), 0, nowMs), level),
          update(append(value('c'), nowMs), level),
          update(incr, level),
          update(() => ({ kind: 'keep' }), level),
        ])
        expect(told.map(({ result, before, after }) => `${result} ${before} ${after}`.trim())).to.deep.equal([
          'ok (absent) 1',
          'ok 1 (absent)',
          'ok (absent) a',
          'PRECONDITION_FAILED',
          'ok a ac',
          'NOT_INTEGER',
          'ok ac ac',
        ])
        await under.time.advance(10)
        const versions = homes.map((home) => versionHeldBy(home, A))
        expect([told[4]!.version, told[6]!.version]).to.deep.equal([versions[0], versions[0]])
      })

      it('where another coordinator comes in between, they are made again, and none counts twice', async () => {
        const other = await CoordinatorUnderTest.started({ beside: under, coordinator: 2 })
        const [mine, others] = await Promise.all([
          all(many(100, () => update(incr, level))),
          all(many(100, () => update(incr, level, { by: other.coordinator }))),
        ])
        const told = [...mine, ...others]
        expect(new Set(told.map(({ result }) => result))).to.deep.equal(new Set(['ok']))
        expect(told.map(({ after }) => Number(after)).toSorted((a, b) => a - b)).to.deep.equal(
          many(200, (i) => i + 1),
        )
        await other.cluster.stop()
      })

      it('plain writes that come in between make them begin again, until the deadline: then the word is to try again', async () => {
        let written = 0
        const beaten: Modify = (current) => {
          const value = String(++written)
          // Later than any ballot: those leap by up to 100 ms.
          const bytes = Buffer.concat([
            record(under.time.wallMs() + 1000 + written, value).head,
            Buffer.from(value),
          ])
          for (const home of homes) home.memory.storage.set(Buffer.from(A), bytes, Infinity)
          return incr(current)
        }
        const told = await all([update(beaten, level), update(beaten, level)])
        for (const { result, error, tookMs } of told) {
          expect(result).to.equal('OVERLOADED')
          expect(error!.details.outcome).to.equal('not-applied')
          expect(error!.message).to.match(/It was not applied\. Try again\.$/)
          expect(tookMs).to.equal(REQUEST_TIMEOUT_MS)
        }
        expect(written).to.be.within(10, 300) // neither given up nor a busy loop
        expect(homes.map((home) => home.holds(A))).to.deep.equal(many(3, () => String(written)))
      })

      it('if the store of what was made together may have been applied, nobody knows of any of them', async () => {
        const told = await all([
          update(incr, level),
          update(
            first(() => {
              for (const home of homes) home.carriesOut = false
              for (const home of homes) home.answerAfterMs = Infinity
            }),
            level,
          ),
          update(putIf({ kind: 'absent' }, Buffer.from('x'), 0, nowMs), level),
          update(incr, level),
        ])
        expect(told.map(({ result }) => result)).to.deep.equal(['ok', ...many(3, () => 'OUTCOME_UNKNOWN')])
        expect(told[3]!.error!.details.outcome).to.equal('unknown')
      })

      it('if it was certainly not applied, none of them was, and those behind go on', async () => {
        const told = await all([
          update(incr, level),
          update(
            first(() => {
              for (const node of under.nodes) node.refusal = refusedAs('misconf')
              for (const node of under.nodes) node.unwritable = 'misconf'
            }),
            level,
          ),
          update(incr, level),
        ])
        expect(told.map(({ error }) => error?.details.outcome ?? 'ok')).to.deep.equal([
          'ok',
          'not-applied',
          'not-applied',
        ])
        expect(homes.map((home) => home.holds(A))).to.deep.equal(['1', '1', '1'])
        for (const node of under.nodes) {
          node.refusal = null
          node.unwritable = null
        }
        await under.time.advance(10_000)
        expect((await under.done(update(incr, level))).after).to.equal('2')
      })

      it('transactions and updates of the same keys take their turns in order', async () => {
        const told = await all([
          update(incr, level),
          update(incr, level),
          transact(incrAll, level, [A, B]),
          update(incr, level, { key: B }),
          update(incr, level),
          transact(incrAll, level, [B, A]),
          transact(incrAll, level, [A]),
          update(incr, level),
          update(incr, level, { key: B }),
        ])
        expect(told.map(({ after }) => after)).to.deep.equal([
          '1',
          '2',
          '3 1',
          '2',
          '4',
          '3 5',
          '6',
          '7',
          '4',
        ])
      })

      it('transactions over keys in a circle do not wait for one another for ever', async () => {
        const circle = [[A, B], [B, C], [C, A]] // prettier-ignore
        const told = await all(many(30, (i) => transact(incrAll, level, circle[i % 3]!)))
        expect(new Set(told.map(({ result }) => result))).to.deep.equal(new Set(['ok']))
        const sums = await all([A, B, C].map((key) => update(incr, level, { key })))
        expect(sums.map(({ before }) => before)).to.deep.equal(['20', '20', '20'])
      })

      it('those that wait fail at their own deadline as not applied, and the next one finds an empty queue', async () => {
        for (const home of homes) home.answerAfterMs = 290
        const told = await all([
          update(incr, level),
          transact(incrAll, level, [A, C]),
          update(incr, level),
          transact(incrAll, level, [A, B]),
          update(incr, level),
        ])
        const outcomes = told.map(({ result, error }) => `${result} ${error?.details.outcome ?? ''}`.trim())
        expect(outcomes).to.deep.equal([
          'ok',
          'OUTCOME_UNKNOWN unknown',
          ...many(3, () => 'OVERLOADED not-applied'),
        ])
        for (const { tookMs } of told.slice(1)) expect(tookMs).to.equal(REQUEST_TIMEOUT_MS)
        expect(told[2]!.error!.message).to.equal(
          'Other changes of the key were ahead in its queue for 1000 ms. It was not applied. Try again.',
        )
        for (const home of homes) home.heal()
        await under.time.advance(2000)
        const startedAtMs = under.time.monotonicMs()
        const next = await all([update(incr, level), update(incr, level, { key: B })])
        expect(next.map(({ result, after }) => `${result} ${after}`)).to.deep.equal(['ok 3', 'ok 1'])
        expect(under.time.monotonicMs() - startedAtMs).to.be.below(100)
      })

      it('one whose deadline passes before anything was sent was not applied, and those with it go on', async () => {
        for (const home of homes) home.answerAfterMs = 290
        const told = [update(incr, level), transact(incrAll, level, [A, C])]
        await under.time.advance(100)
        told.push(update(incr, level))
        await under.time.advance(400)
        told.push(update(incr, level))
        await under.time.advance(499)
        for (const home of homes) home.answerAfterMs = 200
        const ends = await all(told)
        expect(
          ends.map(({ result, error }) => `${result} ${error?.details.outcome ?? ''}`.trim()),
        ).to.deep.equal([
          'ok',
          'OUTCOME_UNKNOWN unknown',
          `${level === 'one' ? 'UNAVAILABLE' : 'QUORUM_NOT_MET'} not-applied`,
          'ok',
        ])
        expect(ends[2]!.tookMs).to.equal(REQUEST_TIMEOUT_MS)
        expect([ends[3]!.before, ends[3]!.after]).to.deep.equal(['2', '3'])
        await under.time.advance(1000)
        expect(homes.map((home) => home.holds(A))).to.deep.equal(['3', '3', '3'])
      })
    })
  }

  it('updates at different levels are not carried out together', async () => {
    const levels = ['one', 'quorum', 'quorum', 'all', 'one', 'one'] as const
    const told = await all(levels.map((level) => update(incr, level)))
    expect(told.map(({ after }) => after)).to.deep.equal(numbers(1, 6))
    await under.time.advance(10)
    expect(stores()).to.equal(4 * homes.length)
  })

  it('keys with the same hash tag do not wait for each other', async () => {
    for (const home of homes) home.answerAfterMs = 100
    const told = await all(many(20, (i) => update(incr, 'one', { key: `{t}${i}` })))
    expect(told.map(({ tookMs }) => tookMs)).to.deep.equal(many(20, () => 200))
  })

  it('long results in between are not piled up: as many go together as take 4 MiB', async () => {
    const large = (i: number) => Buffer.alloc(1 << 20, i)
    const told = await all(
      many(12, (i) =>
        update(
          () => ({ kind: 'write', record: { kind: KIND_VALUE, value: large(i), expiresAtMs: 0 } }),
          'one',
        ),
      ),
    )
    expect(new Set(told.map(({ result }) => result))).to.deep.equal(new Set(['ok']))
    expect(told.map(({ place }) => place)).to.deep.equal(many(12, (i) => i))
    expect(homes[0]!.callsFor(A, 'store').length).to.be.within(4, 5)
    expect(homes[0]!.held(A)!.value.equals(large(11))).to.equal(true)
  })

  it('those who wait count among what is under way', async () => {
    const coordinator = under.coordinatorWith({ maxInFlight: 10 })
    const told = await all(many(30, () => update(incr, 'quorum', { by: coordinator })))
    expect(told.filter(({ result }) => result === 'ok')).to.have.length(10)
    expect(told.filter(({ result }) => result === 'OVERLOADED')).to.have.length(20)
    expect(homes[0]!.holds(A)).to.equal('10')
    expect(compareVersions(homes[0]!.held(A)!.version, homes[1]!.held(A)!.version)).to.equal(0)
  })
})
