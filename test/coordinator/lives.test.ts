/**
 * That a delete, or a value that has expired, is remembered at quorum for as long as some replica may still show what was
 * there before.
 */
import { expect } from 'chai'
import type { Modify } from '../../src/coordinator/update/update.ts'
import { KIND_TOMBSTONE, versionOf, type NewRecord, type StoredRecord } from '../../src/core/codec.ts'
import { EXPIRY_MARGIN_MS, FAR_END_MS } from '../../src/core/lifetime.ts'
import { putIf } from '../../src/servers/http/condition.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'
import { NODE_TIMEOUT_MS, type FaultyNode } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'
import { expireAt, increment, take } from '../support/steps.ts'

const KEY = Buffer.from('k')
const GRACE_MS = 86_400_000
const TTL_MS = 5000
/** Longer than a replica that has replaced nothing remembers anything by itself. */
const FORGOTTEN_MS = EXPIRY_MARGIN_MS + TTL_MS + 60_000

describe('what was deleted or has expired at quorum', () => {
  let under: CoordinatorUnderTest
  /** The home replicas of `k`. */
  let a: FaultyNode, b: FaultyNode, c: FaultyNode

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started({ nodes: 3 })
    ;[a, b, c] = under.nodesOf('k') as [FaultyNode, FaultyNode, FaultyNode]
  })
  afterEach(() => under.cluster.stop())

  const nowMs = () => under.coordinator.nowMs()
  const soonMs = () => Math.floor(nowMs()) + TTL_MS
  type Failed = { code: string }

  const ended = (begin: (end: (result: string) => void) => void, by = under) =>
    by.done(new Promise<string>((resolve) => begin(resolve)))
  const failed = (end: (result: string) => void) => (error: Failed) => end(error.code)
  const put = (value: string, expiresAtMs = 0, by = under) =>
    ended((end) => {
      const done = { written: () => end('ok'), failed: failed(end) }
      by.coordinator.write(KEY, Buffer.from(value), expiresAtMs, done, 'quorum')
    }, by)
  const remove = (by = under) =>
    ended(
      (end) => by.coordinator.remove(KEY, { written: () => end('ok'), failed: failed(end) }, 'quorum'),
      by,
    )
  const update = (modify: Modify, by = under) =>
    ended(
      (end) =>
        by.coordinator.update(KEY, modify, { updated: () => end('ok'), failed: failed(end) }, 'quorum'),
      by,
    )
  const read = () =>
    ended((end) => {
      const seen = (found: StoredRecord | null) =>
        end(under.coordinator.isLive(found) ? found.value.toString() : '(none)')
      under.coordinator.read(KEY, { read: seen, failed: failed(end) }, 'quorum')
    })

  const away = async (node: FaultyNode) => {
    node.cut()
    await under.time.advance(2000)
  }
  const back = async (node: FaultyNode) => {
    node.heal()
    node.carriesOut = true
    await under.time.advance(5000)
  }
  /** It is thought to be well, and nothing arrives there. */
  const silent = (node: FaultyNode) => {
    node.answerAfterMs = Infinity
    node.carriesOut = false
  }
  const lifeMs = (node: FaultyNode) => node.memory.storage.lifeMs(KEY)
  const stores = () => [a, b, c].map((node) => node.callsFor('k', 'store').length)
  async function storesOf(act: () => Promise<unknown>): Promise<number[]> {
    const before = stores()
    await act()
    await under.time.advance(NODE_TIMEOUT_MS)
    return stores().map((count, i) => count - before[i]!)
  }

  /** All that a replica that was not there for it forgets by itself is forgotten, and who replaced the value is away. */
  async function laterWithout(node: FaultyNode): Promise<void> {
    b.cut()
    await under.time.advance(FORGOTTEN_MS)
    await back(b)
    await away(node)
  }

  const deletions: [string, () => Promise<string>][] = [
    ['a delete', () => remove()],
    ['a value with a short TTL', () => put('short', soonMs())],
    ['a delete in two rounds', () => update(take(nowMs))],
    [
      'a value with a short TTL in two rounds',
      () => update(putIf({ kind: 'present' }, KEY, soonMs(), nowMs)),
    ],
    ['a new end', () => update(expireAt(soonMs(), nowMs))],
  ]
  for (const [what, act] of deletions) {
    for (const [how, miss] of [
      ['is down', away],
      ['is silent', silent],
    ] as const) {
      it(`does not come back: ${what} that one replica missed, which ${how}, and one that missed the value`, async () => {
        await away(a)
        expect(await put('value')).to.equal('ok')
        await back(a)
        await miss(b)
        expect(await act()).to.equal('ok')
        await laterWithout(c)
        expect([a.holds('k'), b.holds('k')]).to.include('value') // there is something that could come back
        expect(await read()).to.equal('(none)')
      })
    }
  }

  it('costs no message more where all replicas replaced the same, or nothing', async () => {
    for (const act of [
      () => put('first', soonMs()),
      () => put('second'),
      () => put('third', soonMs()),
      () => remove(),
      () => remove(),
      () => put('fourth', soonMs() + GRACE_MS),
      () => update(increment(nowMs)).then(() => put('1')),
      () => put('fifth', soonMs()),
      () => read(),
    ]) {
      const sent = await storesOf(act)
      expect(sent).to.satisfy(([first, ...rest]: number[]) => rest.every((count) => count === first))
      expect(sent[0]).to.be.at.most(2)
    }
    expect(await storesOf(remove)).to.deep.equal([1, 1, 1])
    expect(await storesOf(read)).to.deep.equal([0, 0, 0])
  })

  describe('when one replica had nothing to replace', () => {
    beforeEach(async () => {
      await away(a)
      await put('value')
      await back(a)
    })

    it('is kept there as long as where something was replaced, by one message more', async () => {
      expect(await storesOf(remove)).to.deep.equal([2, 1, 1])
      for (const node of [a, b, c]) expect(lifeMs(node)).to.be.within(GRACE_MS - 2000, GRACE_MS)
    })

    it('is confirmed without it, when the others are enough, and it is lengthened all the same', async () => {
      a.answerAfterMs = 100
      expect(await remove()).to.equal('ok')
      expect(lifeMs(a)).to.be.at.most(EXPIRY_MARGIN_MS)
      await under.time.advance(NODE_TIMEOUT_MS)
      expect(lifeMs(a)).to.be.above(GRACE_MS - 2000)
    })

    /** When it is sent what it holds once more, it dies instead. */
    const diesWhenLengthened = (node: FaultyNode) => {
      const store = node.store.bind(node)
      node.store = (key, sent, ...rest) => {
        const held = node.held('k')
        if (held && versionOf(sent).equals(held.version)) node.cut()
        store(key, sent, ...rest)
      }
    }

    for (const [what, act] of deletions) {
      it(`is not confirmed before it is kept there as long: ${what}`, async () => {
        silent(b)
        diesWhenLengthened(a)
        expect(await act()).to.equal('OUTCOME_UNKNOWN')
      })
    }

    it('is kept as long by whoever takes the place of a replica that is away', async () => {
      await under.cluster.stop()
      under = await CoordinatorUnderTest.started({ nodes: 4 })
      ;[a, b, c] = under.nodesOf('k') as [FaultyNode, FaultyNode, FaultyNode]
      const d = under.nodesOf('k')[3]!
      await put('value')
      await away(b)
      expect(await put('short', soonMs())).to.equal('ok')
      await under.time.advance(100)
      expect(d.holds('k')).to.equal('short')
      expect(lifeMs(d)).to.be.above(GRACE_MS - 5000)
    })

    describe('and the coordinator that deletes it dies in the middle', () => {
      let other: CoordinatorUnderTest
      beforeEach(async () => {
        other = await CoordinatorUnderTest.started({ beside: under, coordinator: 2 })
      })
      afterEach(() => other.cluster.stop())

      it('before it has lengthened anything: a reader does, once, and it stays deleted', async () => {
        const [theirA, theirB] = other.nodesOf('k') as [FaultyNode, FaultyNode]
        silent(theirB)
        const store = theirA.store.bind(theirA)
        theirA.store = (...args) => {
          if (theirA.holds('k') === '(deleted)') for (const node of other.nodes) node.cut()
          store(...args)
        }
        expect(await remove(other)).to.equal('OUTCOME_UNKNOWN')
        expect([a, b, c].map((node) => node.holds('k'))).to.deep.equal(['(deleted)', 'value', '(deleted)'])
        expect(lifeMs(a)).to.be.at.most(EXPIRY_MARGIN_MS)

        b.cut()
        await under.time.advance(2000)
        expect(await read()).to.equal('(none)')
        expect(lifeMs(a)).to.be.above(GRACE_MS - 60_000)
        expect(await storesOf(read)).to.deep.equal([0, 0, 0])
        await laterWithout(c)
        expect(b.holds('k')).to.equal('value')
        expect(await read()).to.equal('(none)')
      })

      it('with only the short copy made: a reader makes that one longer, too', async () => {
        const tombstone = record(Math.floor(nowMs()), '', { kind: KIND_TOMBSTONE })
        a.memory.storage.set(KEY, Buffer.concat([tombstone.head]), EXPIRY_MARGIN_MS)
        b.cut()
        await under.time.advance(2000)
        expect(await read()).to.equal('(none)')
        await laterWithout(c)
        expect(b.holds('k')).to.equal('value')
        expect(await read()).to.equal('(none)')
      })

      it('an update that changes nothing sees to it as a reader does', async () => {
        const tombstone = record(Math.floor(nowMs()), '', { kind: KIND_TOMBSTONE })
        const call = { onApplied: () => undefined, onStale: () => undefined, onFailure: () => undefined }
        for (const node of [a, c]) node.store(KEY, tombstone, EXPIRY_MARGIN_MS, call)
        await under.time.advance(10)
        expect(lifeMs(a)).to.be.at.most(EXPIRY_MARGIN_MS)
        b.cut()
        await under.time.advance(2000)
        expect(await update(take(nowMs))).to.equal('ok')
        await laterWithout(c)
        expect(b.holds('k')).to.equal('value')
        expect(await read()).to.equal('(none)')
      })
    })
  })

  it('is not written back by readers where all replicas replaced the same', async () => {
    await put('value', soonMs())
    await put('other', soonMs())
    expect(await storesOf(read)).to.deep.equal([0, 0, 0])
    await remove()
    expect(await storesOf(read)).to.deep.equal([0, 0, 0])
  })

  it('goes back to a reader’s replicas once where they replaced different things, and never a value without an end', async () => {
    const plant = (node: FaultyNode, planted: NewRecord, replaced: number) => {
      const bytes = Buffer.concat([planted.head, planted.value])
      record(replaced).head.copy(bytes, 17, 5, 13)
      node.memory.storage.set(KEY, bytes, FAR_END_MS)
    }
    const at = Math.floor(nowMs())
    for (const [i, node] of [a, b, c].entries()) plant(node, record(at, 'v', { expiresAtMs: at + 60_000 }), i)
    expect(await storesOf(read)).to.deep.equal([1, 1, 1])
    expect(await storesOf(read)).to.deep.equal([0, 0, 0])
    for (const [i, node] of [a, b, c].entries()) plant(node, record(at + 1, 'v'), i)
    expect(await storesOf(read)).to.deep.equal([0, 0, 0])
  })

  it('is not written back by a reader that was paused, whatever it has read', async () => {
    await put('value')
    a.memory.storage.delete(KEY)
    for (const node of [a, b, c]) node.answerAfterMs = 50
    // Its answers come in while the process stands still: it finds them, and the deadline passed, when it goes on.
    const monotonicMs = under.time.monotonicMs.bind(under.time)
    const reading = read()
    under.time.monotonicMs = () => monotonicMs() + GRACE_MS
    try {
      await reading
    } finally {
      under.time.monotonicMs = monotonicMs
    }
    expect(stores()).to.deep.equal([1, 1, 1])
    expect(a.holds('k')).to.equal('(absent)')
  })
})

describe('a write at quorum that a promise turns away at one replica', () => {
  let under: CoordinatorUnderTest
  let a: FaultyNode, b: FaultyNode, c: FaultyNode

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started({ nodes: 3 })
    ;[a, b, c] = under.nodesOf('k') as [FaultyNode, FaultyNode, FaultyNode]
  })
  afterEach(() => under.cluster.stop())

  const put = (value: string) =>
    under.done(
      new Promise<string>((resolve) => {
        const done = {
          written: () => resolve('ok'),
          failed: (error: { code: string }) => resolve(error.code),
        }
        under.coordinator.write(KEY, Buffer.from(value), 0, done, 'quorum')
      }),
    )
  /** Later than every version that the coordinator makes. */
  const later = () => record(Math.floor(under.coordinator.nowMs()) + 60_000, 'later')
  const hints = async () => (await b.memory.hints(a.id, '0', 10)).hints.length

  it('is confirmed by the others, and the miss is noted: the promise may never be kept', async () => {
    const call = { onPromised: () => undefined, onRefused: () => undefined, onFailure: () => undefined }
    a.prepare(KEY, later().head.subarray(5, 17), call)
    await under.time.advance(1)
    expect(await put('value')).to.equal('ok')
    await under.time.advance(10)
    expect(under.member(a).behind).to.equal(true)
    expect(await hints()).to.equal(1)
    expect([a, b, c].map((node) => node.holds('k'))).to.deep.equal(['', 'value', 'value'])
  })

  it('is no miss where a newer record is what turned it away', async () => {
    const call = { onApplied: () => undefined, onStale: () => undefined, onFailure: () => undefined }
    a.store(KEY, later(), FAR_END_MS, call)
    await under.time.advance(1)
    expect(await put('value')).to.equal('ok')
    await under.time.advance(10)
    expect(under.member(a).behind).to.equal(false)
    expect(await hints()).to.equal(0)
  })
})
