/** Changing several keys together, at every level: as one, or not at all. */
import { expect } from 'chai'
import { KIND_NOTHING, KIND_TOMBSTONE, KIND_VALUE, type StoredRecord } from '../../src/core/codec.ts'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import { GENERATION_BYTES, partKey } from '../../src/core/part-keys.ts'
import { RondoError } from '../../src/core/errors.ts'
import type { ModifyAll } from '../../src/coordinator/transact/transact.ts'
import { CoordinatorUnderTest, REQUEST_TIMEOUT_MS, versionHeldBy } from '../support/coordinator-under-test.ts'
import { refusedAs, type FaultyNode } from '../support/faulty-node.ts'
import { record, version } from '../support/node-calls.ts'

const LEVELS = ['one', 'quorum', 'all'] as const
const A = '{t}a'
const B = '{t}b'
const EMPTY = Buffer.alloc(0)
const REFUSED = { kind: 'refused', reason: 'error', message: 'no' } as const

interface Outcome {
  /** `ok`, or the code of an error. */
  readonly result: string
  readonly error: RondoError | null
  readonly before: readonly string[]
  readonly after: readonly string[]
}

const change = (text: string | null) => ({
  kind: text === null ? KIND_TOMBSTONE : KIND_VALUE,
  value: text === null ? EMPTY : Buffer.from(text),
  expiresAtMs: 0,
})
const numberOf = (found: StoredRecord | null) =>
  found?.kind === KIND_VALUE ? Number(found.value.toString()) : 0
/** Writes these; undefined = only read, null = deleted. */
const put =
  (...texts: (string | null | undefined)[]): ModifyAll =>
  () => ({ kind: 'write', records: texts.map((text) => (text === undefined ? undefined : change(text))) })
const keep: ModifyAll = () => ({ kind: 'keep' })
/** Takes from the first and gives to the second. */
const move =
  (amount: number): ModifyAll =>
  ([from, to]) => ({
    kind: 'write',
    records: [change(String(numberOf(from!) - amount)), change(String(numberOf(to!) + amount))],
  })

function transact(
  { coordinator }: CoordinatorUnderTest,
  keys: readonly string[],
  modify: ModifyAll,
  level: ConsistencyLevel,
): Promise<Outcome> {
  const seen = (found: StoredRecord | null) => {
    if (!found || found.kind === KIND_NOTHING) return '(absent)'
    return coordinator.isLive(found) ? found.value.toString() : '(gone)'
  }
  return new Promise((resolve, reject) => {
    let ended = false
    const end = (outcome: Outcome) => {
      if (ended) reject(new Error('a transaction ended twice'))
      ended = true
      resolve(outcome)
    }
    coordinator.transact(
      keys.map((key) => Buffer.from(key)),
      modify,
      {
        transacted: (before, after) =>
          end({ result: 'ok', error: null, before: before.map(seen), after: after.map(seen) }),
        failed: (error) => end({ result: error.code, error, before: [], after: [] }),
      },
      level,
    )
  })
}

describe('a transaction', () => {
  let under: CoordinatorUnderTest
  let nodes: FaultyNode[]
  let homes: FaultyNode[]

  async function started(options: ConstructorParameters<typeof CoordinatorUnderTest>[0] = {}) {
    under = await CoordinatorUnderTest.started(options)
    nodes = under.nodesOf(A)
    homes = nodes.slice(0, 3)
  }
  beforeEach(() => started())

  const run = (modify: ModifyAll, level: ConsistencyLevel, keys: readonly string[] = [A, B]) =>
    under.done(transact(under, keys, modify, level))
  const held = () => nodes.map((node) => `${node.holds(A)} ${node.holds(B)}`)
  const tick = (ms = 10) => under.time.advance(ms)
  const plant = (node: FaultyNode, key: string, ms: number, value: string) =>
    node.memory.storage.set(
      Buffer.from(key),
      Buffer.concat([record(ms, value).head, Buffer.from(value)]),
      Infinity,
    )
  /** In the turn in which a transaction has made up its mind, before what it sends has arrived. */
  const afterPrepares = (happens: () => void) => under.time.endOfTurn(happens)
  /** Keys that the first of the home replicas knows this one to have missed. */
  const hintsFor = async (missed: FaultyNode) => {
    const { hints } = await homes[0]!.hints(missed.id, '0', 100)
    return hints.map(({ key }) => key.toString()).sort()
  }
  /** Somebody takes a promise, and never keeps it. */
  const promiseTo = (node: FaultyNode, key: string, ms: number) => {
    const nothing = () => undefined
    const call = { onPromised: nothing, onRefused: nothing, onFailure: nothing }
    node.memory.prepare(Buffer.from(key), version({ ms }), call)
  }
  /** A second coordinator over the same nodes. */
  const another = () => CoordinatorUnderTest.started({ beside: under, coordinator: 2 })

  for (const level of LEVELS) {
    describe(`at ${level}`, () => {
      it('stores all keys with all home replicas, and tells what was there and what is', async () => {
        await under.put(A, 'old')
        const outcome = await run(put('x', 'y'), level)
        expect(outcome).to.deep.equal({
          result: 'ok',
          error: null,
          before: ['old', '(absent)'],
          after: ['x', 'y'],
        })
        await tick()
        expect(held()).to.deep.equal(['x y', 'x y', 'x y', '(absent) (absent)'])
      })

      it('deletes, writes and leaves as it is in one go', async () => {
        for (const key of [A, B, '{t}c']) await under.put(key, 'old')
        const before = versionHeldBy(homes[0]!, '{t}c')
        const outcome = await run(put(null, 'new', undefined), level, [A, B, '{t}c'])
        expect(outcome.after).to.deep.equal(['(gone)', 'new', 'old'])
        await tick()
        expect(homes.map((node) => [A, B, '{t}c'].map((key) => node.holds(key)))).to.deep.equal(
          homes.map(() => ['(deleted)', 'new', 'old']),
        )
        expect(homes.map((node) => versionHeldBy(node, '{t}c'))).to.deep.equal(homes.map(() => before))
      })

      it('changes nothing where it refuses, or only looks', async () => {
        await under.put(A, 'a')
        const refusal = new RondoError('PRECONDITION_FAILED', 'no')
        expect((await run(() => ({ kind: 'refuse', error: refusal }), level)).error).to.equal(refusal)
        const before = homes.map((node) => versionHeldBy(node, A))
        expect((await run(keep, level)).after).to.deep.equal(['a', '(absent)'])
        expect((await run(put(undefined, undefined), level)).after).to.deep.equal(['a', '(absent)'])
        expect(homes.map((node) => versionHeldBy(node, A))).to.deep.equal(before)
      })

      it('is refused where the keys do not share a replica set', async () => {
        const other = Array.from({ length: 100 }, (_, i) => `other-${i}`).find(
          (key) => under.nodesOf(key)[0] !== homes[0],
        )!
        const outcome = await run(put('x', 'y'), level, [A, other])
        expect(outcome.result).to.equal('CROSS_REPLICA_SET')
        expect(outcome.error!.details.outcome).to.equal('not-applied')
        const shares = (...keys: string[]) =>
          under.coordinator.sharesReplicaSet(keys.map((key) => Buffer.from(key)))
        expect([shares(A, other), shares(A, B), shares(A)]).to.deep.equal([false, true, true])
      })

      it('counts both of two coordinators that change overlapping keys at the same time, each as a whole', async () => {
        const second = await another()
        for (const key of [A, B, '{t}c']) await under.put(key, '100')
        await tick()
        const moves: Promise<Outcome>[] = []
        for (let i = 0; i < 5; i++) {
          moves.push(transact(under, [A, B], move(1), level))
          moves.push(transact(second, [B, '{t}c'], move(10), level))
          await tick(i % 3)
        }
        const outcomes = await under.done(Promise.all(moves))
        expect(outcomes.map(({ result }) => result)).to.deep.equal(outcomes.map(() => 'ok'))
        const { after } = await run(keep, level, [A, B, '{t}c'])
        expect(after).to.deep.equal(['95', '55', '150'])
      })

      it('starts again where one of its keys changes in between, also one that it only reads', async () => {
        for (const key of [A, B]) await under.put(key, '1')
        const second = await another()
        let attempts = 0
        const outcome = await run(([, found]) => {
          // Sees only what was there before; the other coordinator's write comes before what this makes of it.
          if (attempts++ === 0) void second.write(B, '2')
          return { kind: 'write', records: [change(`made of ${found!.value.toString()}`), undefined] }
        }, level)
        // Either it took effect before the write, as a whole, or it has seen it.
        expect(outcome.result).to.equal('ok')
        expect(outcome.after[0]).to.equal(`made of ${outcome.after[1]}`)
      })

      it('takes what it reads for there together only while none of it has changed', async () => {
        for (const key of [A, B]) await under.put(key, '1')
        let attempts = 0
        for (const modify of [keep, put(undefined, undefined), put('x', undefined)]) {
          attempts = 0
          const outcome = await run((found) => {
            // While it makes up its mind, something newer comes to every replica.
            if (attempts++ === 0) for (const home of homes) plant(home, B, under.time.wallMs() + 5, '2')
            return modify(found)
          }, level)
          expect([attempts, outcome.result, outcome.after[1]]).to.deep.equal([2, 'ok', '2'])
          await tick(20)
        }
      })

      it('says that nothing was applied where no node can be asked', async () => {
        for (const node of nodes) node.cut()
        await tick()
        const outcome = await run(put('x', 'y'), level)
        expect(outcome.error!.details.outcome).to.equal('not-applied')
        expect(outcome.result).to.equal(level === 'one' ? 'UNAVAILABLE' : 'QUORUM_NOT_MET')
      })

      it('does not outlive its deadline, and does not say that nothing was applied', async () => {
        await under.put(A, 'a')
        for (const node of nodes) node.carriesOut = false
        // Reads and prepares are answered; then there is silence.
        const outcome = await run(() => {
          for (const node of nodes) node.answerAfterMs = Infinity
          return { kind: 'write', records: [change('x'), change('y')] }
        }, level)
        expect(outcome.result).to.equal('OUTCOME_UNKNOWN')
        expect(outcome.error!.details.outcome).to.equal('unknown')
      })
    })
  }

  describe('at one', () => {
    it('goes by a replica that missed a write, and puts its results over what is older there', async () => {
      await under.put(A, 'new')
      plant(homes[0]!, A, 5, 'older')
      under.member(homes[0]!).markBehind('test')
      const outcome = await run(([found]) => {
        return { kind: 'write', records: [change(`${found!.value.toString()}!`), change('y')] }
      }, 'one')
      await tick()
      expect(outcome.after).to.deep.equal(['new!', 'y'])
      expect(held().slice(0, 3)).to.deep.equal(['new! y', 'new! y', 'new! y'])
    })

    it('is applied over what the replica that decides has missed, but not over what has come to it since', async () => {
      for (const key of [A, B]) await under.put(key, 'new')
      // The first replica is read nowhere: it forgets what it had, and a read is answered by the second.
      for (const key of [A, B]) plant(homes[0]!, key, 5, 'older')
      homes[0]!.answerAfterMs = 250
      const asked: string[] = []
      const running = transact(
        under,
        [A, B],
        (found) => {
          asked.push(found.map((one) => one!.value.toString()).join(' '))
          return { kind: 'write', records: found.map((one) => change(`${one!.value.toString()}!`)) }
        },
        'one',
      )
      await tick(100) // reads that took long were asked of the second as well
      homes[0]!.answerAfterMs = 0
      expect((await under.done(running)).after).to.deep.equal(['new!', 'new!'])
      expect(asked.at(-1)).to.equal('new new')
      await tick()
      expect(homes[0]!.holds(A)).to.equal('new!')
    })

    it('is not retried, and is unknown, when the replica that decides falls silent', async () => {
      await under.put(A, '1')
      let attempts = 0
      const outcome = await run(([found]) => {
        attempts++
        homes[0]!.answerAfterMs = Infinity
        return { kind: 'write', records: [change(String(numberOf(found!) + 1)), change('y')] }
      }, 'one')
      expect([attempts, outcome.result]).to.deep.equal([1, 'OUTCOME_UNKNOWN'])
      expect(under.member(homes[0]!).behind).to.equal(true)
    })

    it('goes on with the next replica when the first certainly did nothing', async () => {
      await under.put(A, 'a')
      homes[0]!.unwritable = 'out-of-memory'
      expect((await run(put('x', 'y'), 'one')).result).to.equal('ok')
      await tick()
      expect(held().slice(1)).to.deep.equal(['x y', 'x y', 'x y']) // and a fallback replica has the third copy
    })

    it('looks at nodes that take no writes', async () => {
      await under.put(A, 'a')
      for (const node of nodes) node.unwritable = 'read-only'
      expect((await run(put('x', 'y'), 'one')).error!.details.outcome).to.equal('not-applied')
      expect(nodes.map((node) => under.member(node).takesDeletes)).to.deep.equal(nodes.map(() => false))
      expect((await run(keep, 'one')).after).to.deep.equal(['a', '(absent)'])
    })

    it('looks and deletes on nodes that are full', async () => {
      await under.put(A, 'a')
      for (const node of nodes) node.unwritable = 'out-of-memory'
      await run(put('x', 'y'), 'one')
      expect((await run(keep, 'one')).after).to.deep.equal(['a', '(absent)'])
      expect((await run(put(null, undefined), 'one')).after).to.deep.equal(['(gone)', '(absent)'])
    })
  })

  describe('at quorum', () => {
    it('succeeds with a majority, and brings its results to the third later', async () => {
      homes[2]!.cut()
      await tick()
      expect((await run(put('x', 'y'), 'quorum')).result).to.equal('ok')
      await tick()
      expect(held()).to.deep.equal(['x y', 'x y', '(absent) (absent)', 'x y'])
      expect(under.member(homes[2]!).behind).to.equal(true)
      expect(await hintsFor(homes[2]!)).to.deep.equal([A, B])
    })

    it('needs every home replica at all', async () => {
      homes[2]!.cut()
      await tick()
      const outcome = await run(put('x', 'y'), 'all')
      expect([outcome.result, outcome.error!.details.outcome]).to.deep.equal([
        'QUORUM_NOT_MET',
        'not-applied',
      ])
      expect(held()).to.deep.equal(nodes.map(() => '(absent) (absent)'))
    })

    it('is made of what the newest of a majority holds, by key', async () => {
      plant(homes[0]!, A, 9, 'a9')
      plant(homes[1]!, A, 5, 'a5')
      plant(homes[0]!, B, 5, 'b5')
      plant(homes[1]!, B, 9, 'b9')
      homes[2]!.cut()
      await tick()
      expect((await run(put(undefined, 'y'), 'quorum')).before).to.deep.equal(['a9', 'b9'])
      // What it has only read is at a majority as well now.
      expect(held().slice(0, 2)).to.deep.equal(['a9 y', 'a9 y'])
    })

    it('takes no part of a promise for the whole: who has promised one key of two has no vote', async () => {
      for (const home of homes) plant(home, A, 5, 'old')
      plant(homes[1]!, B, 5, 'only here')
      homes[2]!.cut()
      await tick()
      const { node } = under.member(homes[1]!)
      const prepare = node.prepare.bind(node)
      node.prepare = (key, ballot, call) => {
        if (key.toString() === A) prepare(key, ballot, call)
        else under.time.endOfTurn(() => call.onFailure(node, refusedAs('busy')))
      }
      const outcome = await run(put('x', 'y'), 'quorum')
      expect(homes[1]!.held(A)!.promise).to.not.equal(null)
      expect([outcome.result, outcome.error!.details.outcome]).to.deep.equal([
        'QUORUM_NOT_MET',
        'not-applied',
      ])
      expect(homes[0]!.holds(A)).to.equal('old')
    })

    it('passes promises that nobody keeps', async () => {
      const ahead = under.time.wallMs() + 5
      for (const home of homes.slice(0, 2)) {
        promiseTo(home, B, ahead)
      }
      await tick(0)
      expect((await run(put('x', 'y'), 'quorum')).result).to.equal('ok')
      expect(held().slice(0, 3)).to.deep.equal(['x y', 'x y', 'x y'])
    })

    it('leaves no part of it on a node whose promise of one key has gone to another', async () => {
      for (const key of [A, B]) await under.put(key, 'old')
      const second = await another()
      let attempts = 0
      const outcome = await run((found) => {
        // The other coordinator takes B while this one makes up its mind.
        if (attempts++ === 0) {
          for (const home of homes) {
            promiseTo(home, B, under.time.wallMs() + 2)
          }
        } else expect(held().slice(0, 3)).to.deep.equal(['old old', 'old old', 'old old'])
        return { kind: 'write', records: found.map(() => change('new')) }
      }, 'quorum')
      expect([outcome.result, attempts]).to.deep.equal(['ok', 2])
      expect((await second.get(A)).result).to.equal('new')
    })

    it('is unknown, and is not tried again, when a majority dies between its rounds', async () => {
      for (const key of [A, B]) await under.put(key, 'old')
      let attempts = 0
      const outcome = await run((found) => {
        attempts++
        afterPrepares(() => homes.slice(1).forEach((home) => home.cut()))
        return { kind: 'write', records: found.map(() => change('new')) }
      }, 'quorum')
      expect([outcome.result, attempts]).to.deep.equal(['OUTCOME_UNKNOWN', 1])
      expect(outcome.error!.message).to.match(/also to a part of the keys/)
      expect(held()[0]).to.equal('new new')
    })

    it('is brought to its end as a whole by the next transaction over the same keys', async () => {
      for (const key of [A, B]) await under.put(key, 'old')
      await run((found) => {
        afterPrepares(() => homes.slice(1).forEach((home) => home.cut()))
        return { kind: 'write', records: found.map(() => change('new')) }
      }, 'quorum')
      for (const home of homes.slice(1)) home.heal()
      homes[2]!.cut() // so the one that has it is in every majority
      await tick(2000)
      expect((await run(keep, 'quorum')).after).to.deep.equal(['new', 'new'])
      expect(held().slice(0, 2)).to.deep.equal(['new new', 'new new'])
    })

    it('is confirmed when one node dies between its rounds', async () => {
      const outcome = await run(() => {
        afterPrepares(() => homes[1]!.cut())
        return { kind: 'write', records: [change('x'), change('y')] }
      }, 'quorum')
      expect(outcome.result).to.equal('ok')
      expect(under.member(homes[1]!).behind).to.equal(true)
      await tick()
      expect(await hintsFor(homes[1]!)).to.deep.equal([A, B])
    })

    it('notes what a node misses that has failed before, or has promised otherwise since', async () => {
      for (const key of [A, B]) await under.put(key, 'old')
      homes[1]!.refusal = refusedAs('busy')
      homes[0]!.answerAfterMs = homes[2]!.answerAfterMs = 5
      expect((await run(put('x', 'y'), 'quorum')).result).to.equal('ok')
      await tick()
      homes[0]!.answerAfterMs = 0
      expect(await hintsFor(homes[1]!)).to.deep.equal([A, B])

      await started()
      const outcome = await run(() => {
        promiseTo(homes[1]!, B, under.time.wallMs() + 5) // reaches the node before what this sends
        return { kind: 'write', records: [change('x'), change('y')] }
      }, 'quorum')
      expect(outcome.result).to.equal('ok')
      await tick()
      expect(held().slice(0, 3)).to.deep.equal(['x y', ' ', 'x y']) // promises alone
      expect(await hintsFor(homes[1]!)).to.deep.equal([A, B])
    })

    it('sends its rounds as one batch to each node', async () => {
      await run(put('x', 'y'), 'quorum')
      for (const home of homes) {
        const turns = [A, B].map((key) => home.callsFor(key, 'prepare').map(({ turn }) => turn))
        expect(turns[0]).to.deep.equal(turns[1])
        expect(home.callsFor(A, 'store-all')).to.have.length(1)
      }
    })

    it('answers within the deadline although others keep coming in between', async () => {
      for (const home of homes) home.refusal = refusedAs('busy')
      const startedAtMs = under.time.monotonicMs()
      const outcome = await run(put('x', 'y'), 'quorum')
      expect(outcome.error!.details.outcome).to.equal('not-applied')
      expect(under.time.monotonicMs() - startedAtMs).to.be.at.most(REQUEST_TIMEOUT_MS)
    })
  })

  describe('with parts of large collections, at one', () => {
    const partOf = (n: number) => partKey(Buffer.from(A), Buffer.alloc(GENERATION_BYTES), { id: 1, stamp: n })
    const holdsPart = (n: number) => nodes.map((node) => node.holds(partOf(n).toString('latin1')))
    let attempts: number
    const naming: ModifyAll = () => {
      attempts++
      const parts = [{ key: partOf(attempts), value: Buffer.from(`part ${attempts}`) }]
      return { kind: 'write', records: [change(`names ${attempts}`), undefined], parts }
    }
    beforeEach(() => void (attempts = 0))

    it('sends them to all home replicas in the turn in which the first one decides', async () => {
      expect((await run(naming, 'one')).result).to.equal('ok')
      await tick()
      expect(held()).to.deep.equal([...Array<string>(3).fill('names 1 (absent)'), '(absent) (absent)'])
      expect(holdsPart(1)).to.deep.equal(['part 1', 'part 1', 'part 1', '(absent)'])
      const turnsOf = (node: FaultyNode) =>
        node.calls.filter(({ op }) => op.startsWith('store')).map(({ turn }) => turn)
      expect(new Set(turnsOf(homes[0]!)).size).to.equal(1)
    })

    it('begins again where the replica that decides does not hold them, and stores nothing that names them', async () => {
      const [first] = homes as [FaultyNode]
      const store = first.store.bind(first)
      first.store = (key, record, lifeMs, call, condition) => {
        if (!key.equals(partOf(1))) store(key, record, lifeMs, call, condition)
        else under.time.endOfTurn(() => call.onFailure(first, REFUSED))
      }
      expect((await run(naming, 'one')).after).to.deep.equal(['names 2', '(absent)'])
      await tick()
      expect(holdsPart(2)).to.deep.equal(['part 2', 'part 2', 'part 2', '(absent)'])
      expect(held().slice(0, 3)).to.deep.equal(Array<string>(3).fill('names 2 (absent)'))
    })
  })
})
