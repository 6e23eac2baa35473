import { expect } from 'chai'
import type { RondoError } from '../../src/core/errors.ts'
import { KIND_VALUE, type RecordHead, type StoredRecord } from '../../src/core/codec.ts'
import { CONSISTENCY_LEVELS, type ConsistencyLevel } from '../../src/core/consistency.ts'
import { Placement } from '../../src/core/placement.ts'
import type { Member } from '../../src/cluster/member.ts'
import { CoordinatorUnderTest, PING_INTERVAL_MS } from '../support/coordinator-under-test.ts'

const KEY = 'k:{tag}'
const OTHER = 'l:{tag}'

describe('a change of the placement', () => {
  let under: CoordinatorUnderTest
  let epoch = 1

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started({ nodes: 4, replicas: 3, isStatic: true })
    epoch = 1
  })
  afterEach(() => under.cluster.stop())

  const all = () => [...under.nodes].map((node) => memberOf(node))
  const known = new Map<object, Member>()
  const memberOf = (node: object) => {
    const found = under.cluster.members.find((member) => member.node === node) ?? known.get(node)
    known.set(node, found!)
    return found!
  }
  const place = (members: readonly Member[], replicationFactor: number) => {
    under.cluster.place(Placement.of({ epoch: ++epoch, members, replicationFactor, vnodesPerNode: 20 }))
  }

  type Begin = (level: ConsistencyLevel) => Promise<string>
  const text = (record: StoredRecord | null) => (record ? record.value.toString() : '(absent)')
  const next = (current: StoredRecord | null) => {
    return { kind: KIND_VALUE, value: Buffer.from(`${text(current)}+1`), expiresAtMs: 0 }
  }
  const begun = (start: (end: (result: string) => void, failed: (error: RondoError) => void) => void) => {
    return new Promise<string>((resolve, reject) => start(resolve, reject))
  }
  const [key, other] = [Buffer.from(KEY), Buffer.from(OTHER)]
  const OPERATIONS: Record<string, Begin> = {
    read: (level) =>
      begun((end, failed) =>
        under.coordinator.read(key, { read: (record) => end(text(record)), failed }, level),
      ),
    peek: (level) =>
      begun((end, failed) => {
        const read = (record: RecordHead | null) => end(record ? 'v' : '(absent)')
        under.coordinator.peek(key, 'head', { read, failed }, level)
      }),
    write: (level) =>
      begun((end, failed) => {
        under.coordinator.write(key, Buffer.from('new'), 0, { written: () => end('written'), failed }, level)
      }),
    remove: (level) =>
      begun((end, failed) => {
        under.coordinator.remove(key, { written: () => end('written'), failed }, level)
      }),
    update: (level) =>
      begun((end, failed) => {
        const modify = (current: StoredRecord | null) => ({ kind: 'write', record: next(current) }) as const
        const updated = (_before: StoredRecord | null, after: StoredRecord | null) => end(text(after))
        under.coordinator.update(key, modify, { updated, failed }, level)
      }),
    transact: (level) =>
      begun((end, failed) => {
        const modify = (current: readonly (StoredRecord | null)[]) =>
          ({ kind: 'write', records: current.map(next) }) as const
        const transacted = (_before: unknown, after: readonly (StoredRecord | null)[]) => end(text(after[0]!))
        under.coordinator.transact([key, other], modify, { transacted, failed }, level)
      }),
  }
  const RESULTS: Record<string, string> = { read: 'v', peek: 'v', update: 'v+1', transact: 'v+1' }
  const LEFT: Record<string, string> = { write: 'new', remove: '(deleted)', update: 'v+1', transact: 'v+1' }

  for (const [name, begin] of Object.entries(OPERATIONS)) {
    for (const level of CONSISTENCY_LEVELS) {
      it(`${name} at ${level}: an operation under way keeps the nodes that it began with`, async () => {
        await under.put(KEY, 'v')
        const homes = under.nodesOf(KEY).slice(0, 3)
        const outsider = under.nodesOf(KEY)[3]!
        const members = all()
        for (const node of under.nodes) node.answerAfterMs = 50
        const operation = begin(level)
        place([memberOf(outsider)], 1)
        expect(await under.done(operation)).to.equal(RESULTS[name] ?? 'written')
        const left = LEFT[name] ?? 'v'
        await under.time.advance(200) // the copies of an operation at `one`
        expect(homes.map((home) => home.holds(KEY))).to.deep.equal([left, left, left])
        expect(outsider.holds(KEY)).to.equal('(absent)')

        // What begins now goes by the new one.
        const late = await under.done(begin(level))
        expect(late).to.equal({ read: '(absent)', peek: '(absent)' }[name] ?? lateResult(name))
        expect(homes.map((home) => home.holds(KEY))).to.deep.equal([left, left, left])
        place(members, 3)
        expect(under.nodesOf(KEY).slice(0, 3)).to.deep.equal(homes)
      })
    }
  }
  for (const [name, begin] of Object.entries(OPERATIONS)) {
    for (const level of ['one', 'quorum'] as const) {
      it(`${name} at ${level}: goes on with these nodes when one of them fails`, async () => {
        await under.put(KEY, 'v')
        const homes = under.nodesOf(KEY).slice(0, 3)
        const outsider = under.nodesOf(KEY)[3]!
        for (const node of under.nodes) node.answerAfterMs = 50
        const operation = begin(level)
        place([memberOf(outsider)], 1)
        await under.time.advance(10)
        homes[0]!.cut()
        expect(await under.done(operation)).to.equal(RESULTS[name] ?? 'written')
        await under.time.advance(200)
        const left = LEFT[name] ?? 'v'
        expect(homes.slice(1).map((home) => home.holds(KEY))).to.deep.equal([left, left])
      })
    }
  }
  const lateResult = (name: string) => (name in RESULTS ? '(absent)+1' : 'written')

  it('a listing that began before it starts over, and leaves nothing out', async () => {
    const keys = Array.from({ length: 60 }, (_, i) => `key:${i}`)
    for (const each of keys) await under.put(each, 'v')
    const listed: string[] = []
    let cursor = '0'
    let restarts = 0
    for (let pages = 0; pages < 1000; pages++) {
      if (pages === 3) place(all(), 3)
      const page = await under.done(under.coordinator.list({ database: 0, match: null, cursor, count: 5 }))
      if (page.restarted) restarts++
      listed.push(...page.keys.map(String))
      cursor = page.cursor
      if (cursor === '0') break
      expect(cursor.split(':')[0]).to.equal(String(epoch))
    }
    expect(restarts).to.equal(1)
    expect([...new Set(listed)].sort()).to.deep.equal(keys.sort())
    expect(listed.length).to.be.above(keys.length)
  })

  it('a listing whose last page is read meanwhile starts over: members may have removed what it lacks', async () => {
    const keys = Array.from({ length: 60 }, (_, i) => `key:${i}`)
    for (const each of keys) await under.put(each, 'v')
    let scanned = 0
    for (const node of under.nodes) {
      const scan = node.scan.bind(node)
      node.scan = async (...args) => {
        const page = await scan(...args)
        if (++scanned === under.nodes.length) place(all(), 3)
        return page
      }
    }
    const request = { database: 0, match: null, count: 1000 }
    const first = await under.done(under.coordinator.list({ ...request, cursor: '0' }))
    expect(first.cursor).to.not.equal('0')
    const second = await under.done(under.coordinator.list({ ...request, cursor: first.cursor }))
    expect(second).to.include({ cursor: '0', restarted: true })
    expect(second.keys.map(String).sort()).to.deep.equal(keys.sort())
  })

  it('a count that began before it counts no key twice', async () => {
    for (let i = 0; i < 1500; i++) await under.put(`key:${i}`, 'v')
    const list = under.coordinator.list.bind(under.coordinator)
    let pages = 0
    under.coordinator.list = (request) => {
      if (++pages === 2) place(all(), 3)
      return list(request)
    }
    expect(await under.done(under.coordinator.countKeys())).to.deep.equal(new Map([[0, 1500]]))
    expect(pages).to.be.above(2)
  })

  it('probes new members from then on, and those that left no more', async () => {
    const [first, ...others] = all()
    place(others, 3)
    const node = under.nodes[0]!
    await under.time.advance(PING_INTERVAL_MS)
    const before = node.probes
    await under.time.advance(PING_INTERVAL_MS * 3)
    expect(node.probes).to.equal(before)
    place([first!, ...others], 3)
    await under.time.advance(PING_INTERVAL_MS * 3)
    expect(node.probes - before).to.be.within(3, 4)
    node.cut()
    await under.time.settle()
    expect(first!.health.state).to.not.equal('up')
  })

  it('is refused unless its epoch is later', () => {
    place(all(), 3)
    epoch--
    expect(() => place(all(), 3)).to.throw('Epoch 2 is not later than 2.')
  })
})
