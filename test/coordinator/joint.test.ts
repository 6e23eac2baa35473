/** While home replicas change, what is acknowledged or read is held by a majority of both sets. */
import { expect } from 'chai'
import { versionText } from '../../src/core/clock.ts'
import { KIND_VALUE, type StoredRecord } from '../../src/core/codec.ts'
import { Placement } from '../../src/core/placement.ts'
import { decodeMarker, encodeMarker } from '../../src/cluster/marker.ts'
import type { Member } from '../../src/cluster/member.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'

const KEY = 'k:{tag}'
const key = Buffer.from(KEY)

describe('operations while home replicas change', () => {
  let under: CoordinatorUnderTest
  let placeAs: (epoch: number) => void
  /** The voting set is a, b, c, the other one d, e, f. */
  let a: FaultyNode, b: FaultyNode, c: FaultyNode, d: FaultyNode, e: FaultyNode, f: FaultyNode

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started({ nodes: 6, replicas: 3 })
    const members = [...under.cluster.members]
    const of = (epoch: number, some: readonly Member[]) =>
      Placement.of({ epoch, members: some, replicationFactor: 3, vnodesPerNode: 20 })
    const [voting, other] = [of(2, members.slice(0, 3)), of(3, members.slice(3))]
    placeAs = (epoch) => under.cluster.place(Placement.joint({ epoch, since: 1 }, voting, other))
    placeAs(4)
    ;[a, b, c, d, e, f] = under.nodesOf(KEY) as [
      FaultyNode,
      FaultyNode,
      FaultyNode,
      FaultyNode,
      FaultyNode,
      FaultyNode,
    ]
    expect(voting.members.map(({ node }) => node)).to.have.members([a, b, c])
  })
  afterEach(() => under.cluster.stop())

  const silent = (...nodes: FaultyNode[]) => {
    for (const node of nodes) {
      node.answerAfterMs = Infinity
      node.carriesOut = false
    }
  }
  const cut = async (...nodes: FaultyNode[]) => {
    for (const node of nodes) node.cut()
    await under.time.advance(500)
  }
  const plant = (text: string, atMs: number, ...nodes: FaultyNode[]) => {
    const { head, value } = record(atMs, text)
    for (const node of nodes) node.memory.storage.set(key, Buffer.concat([head, value]), 1e9)
  }
  const ended = (start: (end: (result: string) => void) => void) =>
    under.done(new Promise<string>((resolve) => start(resolve)))
  const text = (found: StoredRecord | null) => found?.value.toString() ?? '(absent)'
  const failed = (end: (result: string) => void) => (error: { code: string }) => end(error.code)
  const OPERATIONS: Record<string, () => Promise<string>> = {
    read: () =>
      ended((end) =>
        under.coordinator.read(key, { read: (found) => end(text(found)), failed: failed(end) }, 'quorum'),
      ),
    write: () =>
      ended((end) => {
        const done = { written: () => end('ok'), failed: failed(end) }
        under.coordinator.write(key, Buffer.from('new'), 0, done, 'quorum')
      }),
    update: () =>
      ended((end) => {
        const change = { kind: KIND_VALUE, value: Buffer.from('new'), expiresAtMs: 0 }
        const done = { updated: () => end('ok'), failed: failed(end) }
        under.coordinator.update(key, () => ({ kind: 'write', record: change }), done, 'quorum')
      }),
    transaction: () =>
      ended((end) => {
        const change = { kind: KIND_VALUE, value: Buffer.from('new'), expiresAtMs: 0 }
        const done = { transacted: () => end('ok'), failed: failed(end) }
        const keys = [key, Buffer.from('l:{tag}')]
        under.coordinator.transact(keys, () => ({ kind: 'write', records: [change, change] }), done, 'quorum')
      }),
  }
  const nowMs = () => Math.floor(under.cluster.time.nowMs()) - 5000
  const mark = (epoch: number, ...nodes: FaultyNode[]) => {
    for (const { memory } of nodes) {
      const marker = decodeMarker(memory.storage.get(MARKER_KEY)!)!
      const topology = { epoch, sum: 'sum', received: 0 }
      memory.storage.set(MARKER_KEY, encodeMarker({ ...marker, topology }), Infinity)
    }
  }

  for (const [name, run] of Object.entries(OPERATIONS)) {
    it(`${name}: succeeds with a majority of each set`, async () => {
      plant('old', nowMs(), a, b, c, d, e, f)
      await cut(c, f)
      expect(await run()).to.equal(name === 'read' ? 'old' : 'ok')
      if (name === 'read') return
      for (const node of [a, b, d, e]) expect(node.holds(KEY), node.id).to.equal('new')
    })

    it(`${name}: fails without a majority of the voters`, async () => {
      plant('old', nowMs(), a, b, c, d, e, f)
      await cut(b, c)
      expect(await run()).to.equal('QUORUM_NOT_MET')
    })

    it(`${name}: fails without a majority of the others, known to be away or not`, async () => {
      plant('old', nowMs(), a, b, c, d, e, f)
      silent(e, f)
      const [first, second] = [await run(), await run()]
      // What is held everywhere is read; that is noticed only where a write-back is needed.
      if (name === 'read') return
      expect(first).to.be.oneOf(['OUTCOME_UNKNOWN', 'QUORUM_NOT_MET'])
      expect(second).to.equal('QUORUM_NOT_MET')
    })
  }

  for (const [when, names] of [
    ['before', ['b', 'c']],
    ['after', ['e', 'f']],
  ] as const) {
    it(`a refusal counts the replicas ${when} the change of members alone, if those are too few`, async () => {
      const nodes = { b, c, e, f }
      const { members } = under.cluster
      const of = (epoch: number, some: readonly Member[]) =>
        Placement.of({ epoch, members: some, replicationFactor: 3, vnodesPerNode: 20 })
      const parts = [of(2, members.slice(0, 3)), of(3, members.slice(3))] as const
      under.cluster.place(Placement.joint({ epoch: 5, since: 1 }, ...parts, true))
      await cut(...names.map((name) => nodes[name]))
      const sentence = await ended((end) => {
        const done = { written: () => end('ok'), failed: (error: Error) => end(error.message) }
        under.coordinator.write(key, Buffer.from('new'), 0, done, 'quorum')
      })
      const away = names.map((name) => `${nodes[name].id} (down, clean)`).join(', ')
      expect(sentence).to.equal(
        `1 of the key's 3 replicas ${when} the change of members can confirm this now, and 2 must: ${away} cannot. Nothing was sent.`,
      )
    })
  }

  describe('at one', () => {
    const read = () =>
      ended((end) =>
        under.coordinator.read(key, { read: (found) => end(text(found)), failed: failed(end) }, 'one'),
      )
    const update = () =>
      ended((end) => {
        const modify = (found: StoredRecord | null) =>
          ({
            kind: 'write',
            record: { kind: KIND_VALUE, value: Buffer.from(`${text(found)}+1`), expiresAtMs: 0 },
          }) as const
        const done = { updated: () => end('ok'), failed: failed(end) }
        under.coordinator.update(key, modify, done, 'one')
      })

    it('"nothing" counts only if the other set says so, too', async () => {
      expect(await read()).to.equal('(absent)')
      plant('v', nowMs(), d)
      expect(await read()).to.equal('v')
    })

    it('what the first replica holds is the answer, without the other set', async () => {
      plant('old', nowMs(), a)
      plant('new', nowMs() + 1, d)
      expect(await read()).to.equal('old')
      expect(d.callsFor(KEY, 'get')).to.deep.equal([])
    })

    it('a set that is away is not waited for', async () => {
      await cut(d, e, f)
      expect(await read()).to.equal('(absent)')
    })

    it('an update goes by what the first of the former set has decided, too', async () => {
      mark(4, ...under.nodes)
      plant('older', nowMs(), a, b, c)
      plant('newer', nowMs() + 1, d)
      expect(await update()).to.equal('ok')
      expect([a.holds(KEY), d.holds(KEY)]).to.deep.equal(['newer+1', 'newer+1'])
    })

    it('an update waits until that one refuses to decide more', async () => {
      mark(4, a, b, c, e, f)
      plant('older', nowMs(), a, b, c, d)
      under.time.setTimeout(() => plant('newer', nowMs(), d), 100)
      under.time.setTimeout(() => mark(4, d), 200)
      expect(await update()).to.equal('ok')
      expect(a.holds(KEY)).to.equal('newer+1')
    })

    it('an update does without it while it is away', async () => {
      mark(4, ...under.nodes)
      plant('older', nowMs(), a, b, c)
      await cut(d)
      expect(await update()).to.equal('ok')
      expect(a.holds(KEY)).to.equal('older+1')
    })
  })

  describe('when the members change between the rounds', () => {
    const change = (current: StoredRecord | null) => {
      return { kind: KIND_VALUE, value: Buffer.from(`${text(current)}+1`), expiresAtMs: 0 }
    }
    const CHANGES: Record<string, () => Promise<string>> = {}
    for (const level of ['one', 'quorum'] as const) {
      CHANGES[`update at ${level}`] = () =>
        ended((end) => {
          const done = { updated: () => end('ok'), failed: failed(end) }
          under.coordinator.update(key, (found) => ({ kind: 'write', record: change(found) }), done, level)
        })
      CHANGES[`transaction at ${level}`] = () =>
        ended((end) => {
          const done = { transacted: () => end('ok'), failed: failed(end) }
          const keys = [key, Buffer.from('l:{tag}')]
          const modify = (found: readonly (StoredRecord | null)[]) =>
            ({ kind: 'write', records: found.map(change) }) as const
          under.coordinator.transact(keys, modify, done, level)
        })
    }
    beforeEach(() => {
      plant('old', nowMs(), a, b, c, d, e, f)
      for (const node of under.nodes) node.answerAfterMs = 20
    })

    for (const [name, run] of Object.entries(CHANGES)) {
      it(`${name}: begins again under those of then, and counts once`, async () => {
        under.time.setTimeout(() => mark(5, ...under.nodes), 10)
        under.time.setTimeout(() => placeAs(5), 100)
        expect(await run()).to.equal('ok')
        await under.time.advance(200) // the copies at `one`
        for (const node of under.nodes) expect(node.holds(KEY), node.id).to.equal('old+1')
      })

      it(`${name}: was certainly not applied if the coordinator does not follow in time`, async () => {
        under.time.setTimeout(() => mark(5, ...under.nodes), 10)
        expect(await run()).to.equal(name.endsWith('one') ? 'UNAVAILABLE' : 'QUORUM_NOT_MET')
        for (const node of under.nodes) expect(node.holds(KEY), node.id).to.equal('old')
      })
    }

    for (const name of ['update at quorum', 'transaction at quorum']) {
      it(`${name}: goes on under those of then when one of them has taken it before, and counts once`, async () => {
        under.time.setTimeout(() => mark(5, b, c, d, e, f), 10)
        under.time.setTimeout(() => placeAs(5), 100)
        expect(await CHANGES[name]!()).to.equal('ok')
        for (const node of under.nodes) expect(node.holds(KEY), node.id).to.equal('old+1')
        const versions = under.nodes.map((node) => versionText(node.held(KEY)!.version))
        expect(new Set(versions).size).to.equal(1)
      })

      it(`${name}: is unknown then, if the coordinator does not follow in time`, async () => {
        under.time.setTimeout(() => mark(5, b, c, d, e, f), 10)
        expect(await CHANGES[name]!()).to.equal('OUTCOME_UNKNOWN')
        expect([a, b].map((node) => node.holds(KEY))).to.deep.equal(['old+1', 'old'])
      })

      it(`${name}: is unknown then, if the members have changed once more`, async () => {
        under.time.setTimeout(() => mark(6, b, c, d, e, f), 10)
        under.time.setTimeout(() => placeAs(6), 100)
        expect(await CHANGES[name]!()).to.equal('OUTCOME_UNKNOWN')
        expect([a, b].map((node) => node.holds(KEY))).to.deep.equal(['old+1', 'old'])
      })

      it(`${name}: is unknown then, if another one has changed the key meanwhile`, async () => {
        under.time.setTimeout(() => mark(5, b, c, d, e, f), 10)
        under.time.setTimeout(() => plant('other', nowMs() + 6000, b, c), 90)
        under.time.setTimeout(() => placeAs(5), 100)
        expect(await CHANGES[name]!()).to.equal('OUTCOME_UNKNOWN')
        expect([b, c].map((node) => node.holds(KEY))).to.deep.equal(['other', 'other'])
      })

      // What b and e have promised is taken into account; then they are gone, and it is up to c and f, which are late.
      const withLate = () => {
        for (const node of [c, f]) node.answerAfterMs = 60
        under.time.setTimeout(() => mark(5, b, d, e), 10)
        under.time.setTimeout(() => [b, e].forEach((node) => node.cut()), 90)
        under.time.setTimeout(() => mark(5, c, f), 95)
        under.time.setTimeout(() => placeAs(5), 100)
        return CHANGES[name]!()
      }

      it(`${name}: counts then those as well that promised late, with nothing newer than it was made of`, async () => {
        expect(await withLate()).to.equal('ok')
        expect([a, c, d, f].map((node) => node.holds(KEY))).to.deep.equal(Array(4).fill('old+1'))
      })

      it(`${name}: does not count those that promised late, and held what it was not made of`, async () => {
        plant('newer', nowMs() + 1, c, f)
        expect(await withLate()).to.equal('OUTCOME_UNKNOWN')
      })

      it(`${name}: what too few have refused is confirmed by the others, and brought to those`, async () => {
        under.time.setTimeout(() => mark(5, c, f), 10)
        expect(await CHANGES[name]!()).to.equal('ok')
        expect([a, b, d, e].map((node) => node.holds(KEY))).to.deep.equal(Array(4).fill('old+1'))
        expect([c, f].map((node) => under.member(node).behind)).to.deep.equal([true, true])
      })
    }
  })

  it('read: a value that only voters hold is held by a majority of the others when it is answered', async () => {
    plant('v', nowMs(), a, b, c)
    expect(await OPERATIONS.read!()).to.equal('v')
    expect([d, e, f].filter((node) => node.holds(KEY) === 'v').length).to.be.at.least(2)
  })

  it('read: is not answered while they cannot be given it', async () => {
    plant('v', nowMs(), a, b, c)
    silent(e, f)
    expect(await OPERATIONS.read!()).to.equal('QUORUM_NOT_MET')
  })

  it('read: a part is answered only when they hold the record, too', async () => {
    plant('v', nowMs(), a, b, c)
    const peeked = ended((end) =>
      under.coordinator.peek(
        key,
        'head',
        { read: (found) => end(found ? 'v' : 'no'), failed: failed(end) },
        'quorum',
      ),
    )
    expect(await peeked).to.equal('v')
    expect([d, e, f].filter((node) => node.holds(KEY) === 'v').length).to.be.at.least(2)
  })

  it('read: what one of the others holds alone is an unfinished write: seen or not, the answer is held', async () => {
    plant('old', nowMs(), a, b, c)
    plant('newer', nowMs() + 1000, d)
    const answer = await OPERATIONS.read!()
    expect(answer).to.be.oneOf(['old', 'newer'])
    for (const set of [
      [a, b, c],
      [d, e, f],
    ])
      expect(set.filter((node) => node.holds(KEY) === answer).length).to.be.at.least(2)
  })

  it('update: reads the newest of both sets', async () => {
    plant('old', nowMs(), a, b, c)
    plant('newer', nowMs() + 1000, d, e)
    const before = await ended((end) => {
      const done = { updated: (was: StoredRecord | null) => end(text(was)), failed: failed(end) }
      under.coordinator.update(key, () => ({ kind: 'keep' }), done, 'quorum')
    })
    expect(before).to.equal('newer')
  })
})
