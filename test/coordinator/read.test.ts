import { expect } from 'chai'
import { CoordinatorUnderTest, REQUEST_TIMEOUT_MS } from '../support/coordinator-under-test.ts'
import { KIND_VALUE } from '../../src/core/codec.ts'
import { refusedAs, type FaultyNode, NODE_TIMEOUT_MS } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'

describe('a read at one', () => {
  const KEY = 'user:1'
  let under: CoordinatorUnderTest
  let first: FaultyNode, second: FaultyNode, third: FaultyNode, fallback: FaultyNode

  async function started(options: ConstructorParameters<typeof CoordinatorUnderTest>[0] = {}) {
    under = await CoordinatorUnderTest.started(options)
    ;[first, second, third, fallback] = under.nodesOf(KEY) as [FaultyNode, FaultyNode, FaultyNode, FaultyNode]
  }
  beforeEach(() => started())

  const asked = () => under.nodesOf(KEY).map((node) => node.callsFor(KEY, 'get').length)
  /** Puts a record into a node behind the coordinator's back. */
  const plant = (node: FaultyNode, ms: number, value: string) =>
    node.memory.storage.set(
      Buffer.from(KEY),
      Buffer.concat([record(ms, value).head, Buffer.from(value)]),
      Infinity,
    )
  const behind = (node: FaultyNode) => under.member(node).markBehind('test')

  it('is answered by the first replica, and nobody else is asked', async () => {
    await under.put(KEY, 'v')
    expect((await under.get(KEY)).result).to.equal('v')
    expect(asked()).to.deep.equal([1, 0, 0, 0])
  })

  it('takes "not there" from a replica as an answer', async () => {
    expect((await under.get(KEY)).result).to.equal('(absent)')
    expect(asked()).to.deep.equal([1, 0, 0, 0])
  })

  it('tells what is deleted from what was never there, and what has expired from both', async () => {
    await under.put(KEY, 'v')
    await under.del(KEY)
    expect((await under.get(KEY)).result).to.equal('(deleted)')
    await under.put(KEY, 'v', under.coordinator.nowMs() + 50)
    expect((await under.get(KEY)).result).to.equal('v')
    await under.time.advance(51)
    expect((await under.get(KEY)).result).to.equal('(expired)')
  })

  it('goes to the next replica when the connection breaks, with no time lost', async () => {
    await under.put(KEY, 'v')
    first.answerAfterMs = 100
    const reading = under.read(KEY)
    await under.time.settle()
    first.cut()
    expect(await under.done(reading)).to.include({ result: 'v', tookMs: 0 })
    expect(asked()).to.deep.equal([1, 1, 0, 0])
  })

  it('waits for a silent replica no longer than NODE_TIMEOUT_MS, and once only', async () => {
    await under.put(KEY, 'v')
    first.answerAfterMs = Infinity
    // More at once than may ask a second replica before the first has failed (hedging.ts).
    const reads = await under.done(Promise.all(Array.from({ length: 100 }, () => under.read(KEY))))
    expect(new Set(reads.map(({ result }) => result))).to.deep.equal(new Set(['v']))
    expect(Math.max(...reads.map(({ tookMs }) => tookMs))).to.equal(NODE_TIMEOUT_MS)
    expect(await under.get(KEY)).to.include({ result: 'v', tookMs: 0 })
    expect(asked()).to.deep.equal([100, 101, 0, 0])
  })

  it('asks a second replica when the first takes longer than usual, and the first answer counts', async () => {
    await under.put(KEY, 'v')
    first.answerAfterMs = 250
    const { result, tookMs } = await under.get(KEY)
    expect(result).to.equal('v')
    expect(tookMs).to.be.below(100)
    expect(asked()).to.deep.equal([1, 1, 0, 0])
    await under.time.advance(1000) // the late answer disturbs nobody
  })

  it('a second replica\'s "not there" counts only if the first, which may hold the value, fails', async () => {
    first.memory.storage.set(Buffer.from(KEY), Buffer.from('plain'), Infinity)
    first.answerAfterMs = 250
    expect((await under.get(KEY)).result).to.equal('plain')
    expect(asked()).to.deep.equal([1, 1, 0, 0])
    first.answerAfterMs = Infinity
    expect(await under.get(KEY)).to.include({ result: '(absent)', tookMs: NODE_TIMEOUT_MS })
    expect(asked()).to.deep.equal([2, 2, 0, 0])
  })

  it('nor does an update take it for the value', async () => {
    first.memory.storage.set(Buffer.from(KEY), Buffer.from('plain'), Infinity)
    first.answerAfterMs = 250
    const before = new Promise<string | undefined>((resolve, reject) =>
      under.coordinator.update(
        Buffer.from(KEY),
        (record) => ({
          kind: 'write',
          record: { kind: KIND_VALUE, value: Buffer.from(`${record?.value.toString()}+`), expiresAtMs: 0 },
        }),
        { updated: (record) => resolve(record?.value.toString()), failed: reject },
      ),
    )
    expect(await under.done(before)).to.equal('plain')
    expect(asked()).to.deep.equal([1, 1, 0, 0])
    expect(first.holds(KEY)).to.equal('plain+')
  })

  it('and if the first has not answered by the deadline', async () => {
    const slow = under.coordinatorWith({ requestTimeoutMs: 260 })
    first.answerAfterMs = 280
    const read = new Promise((resolve) =>
      slow.read(Buffer.from(KEY), { read: resolve, failed: (error) => resolve(error.code) }),
    )
    expect(await under.done(read)).to.equal(null)
    expect(asked()).to.deep.equal([1, 1, 0, 0])
  })

  it('a second replica\'s "deleted" counts at once', async () => {
    await under.put(KEY, 'v')
    await under.del(KEY)
    first.answerAfterMs = 250
    const { result, tookMs } = await under.get(KEY)
    expect(result).to.equal('(deleted)')
    expect(tookMs).to.be.below(100)
  })

  it('does not believe a replica that missed a write while it was being read', async () => {
    await under.put(KEY, 'v1')
    first.unwritable = 'out-of-memory'
    first.answerAfterMs = 10
    const writing = under.write(KEY, 'v2')
    const reading = under.read(KEY) // asks before anybody knows that the write was refused there
    expect((await under.done(reading)).result).to.equal('v2')
    expect((await under.done(writing)).result).to.equal('ok')
  })

  it('does not double the load of nodes that are slow because they are busy', async () => {
    await under.put(KEY, 'v')
    for (const node of under.nodes) node.answerAfterMs = 250
    const reads = await under.done(Promise.all(Array.from({ length: 1000 }, () => under.read(KEY))))
    expect(reads.every(({ result }) => result === 'v')).to.equal(true)
    const [atFirst, others] = [asked()[0]!, asked()[1]! + asked()[2]!]
    expect(atFirst).to.equal(1000)
    expect(others).to.be.below(100)
  })

  it('goes to the next replica when one refuses', async () => {
    await under.put(KEY, 'v')
    first.refusal = refusedAs('busy')
    second.refusal = refusedAs('loading')
    expect((await under.get(KEY)).result).to.equal('v')
    expect(asked()).to.deep.equal([1, 1, 1, 0])
  })

  it('is unavailable, not "not found", when no replica answers', async () => {
    for (const node of [first, second, third]) node.cut()
    await under.time.advance(10)
    const { result, error } = await under.get(KEY)
    expect(result).to.equal('UNAVAILABLE')
    expect(error!.message).to.match(/None of the key's 3 replicas/)
    expect(asked()[3]).to.equal(1) // the fallback replica holds nothing, which says nothing
  })

  it('is unavailable when every node is gone', async () => {
    for (const node of under.nodes) node.cut()
    await under.time.advance(10)
    expect(await under.get(KEY)).to.include({ result: 'UNAVAILABLE', tookMs: 0 })
  })

  it('never takes longer than REQUEST_TIMEOUT_MS, however many replicas are silent', async () => {
    await started({ nodes: 5, replicas: 5 })
    await under.put(KEY, 'v')
    for (const node of under.nodes) node.answerAfterMs = Infinity
    const ended = await under.get(KEY)
    expect(ended).to.include({ result: 'UNAVAILABLE', tookMs: REQUEST_TIMEOUT_MS })
    expect(ended.error!.message).to.include('within 1000 ms')
  })

  it('tries no more replicas than MAX_TRIES', async () => {
    await started({ maxTries: 2 })
    await under.put(KEY, 'v')
    first.refusal = refusedAs('busy')
    second.refusal = refusedAs('busy')
    expect((await under.get(KEY)).result).to.equal('UNAVAILABLE')
    expect(asked()).to.deep.equal([1, 1, 0, 0])
  })

  it('serves what only a fallback replica holds', async () => {
    for (const node of [first, second, third]) node.cut()
    await under.time.advance(10)
    expect((await under.put(KEY, 'v')).result).to.equal('ok')
    expect((await under.get(KEY)).result).to.equal('v')
  })

  it('asks a suspect replica after the others', async () => {
    await under.put(KEY, 'v')
    under.member(first).onFailed('a call failed', false)
    expect((await under.get(KEY)).result).to.equal('v')
    expect(asked()).to.deep.equal([0, 1, 0, 0])
  })

  it('does not ask a replica that may be behind while another can answer', async () => {
    await under.put(KEY, 'v2')
    plant(first, 1, 'v1')
    behind(first)
    expect((await under.get(KEY)).result).to.equal('v2')
    expect(asked()).to.deep.equal([0, 1, 0, 0])
  })

  it('compares all that may be behind, fallback replicas too, and takes the newest', async () => {
    const records: [FaultyNode, number][] = [
      [first, 10],
      [second, 40],
      [third, 20],
      [fallback, 30],
    ]
    for (const [node, ms] of records) plant(node, ms, `v${ms}`)
    for (const node of [first, second, third]) behind(node)
    expect((await under.get(KEY)).result).to.equal('v40')
    expect(asked()).to.deep.equal([1, 1, 1, 1])
    plant(fallback, 50, 'v50')
    expect((await under.get(KEY)).result).to.equal('v50')
  })

  it('does not serve a deleted value from a replica that missed the delete', async () => {
    await under.put(KEY, 'v')
    first.cut()
    await under.time.advance(10)
    await under.del(KEY)
    first.heal()
    await under.time.advance(3000)
    second.cut()
    third.cut()
    await under.time.advance(10)
    expect(first.holds(KEY)).to.equal('v')
    expect((await under.get(KEY)).result).to.equal('(deleted)') // the fallback replica remembers
  })

  it('does not take a fallback replica\'s "not there" for an answer when the replicas that may be behind fail', async () => {
    behind(first)
    second.cut()
    third.cut()
    await under.time.advance(10)
    first.refusal = refusedAs('loading')
    expect((await under.get(KEY)).result).to.equal('UNAVAILABLE')
    first.refusal = null
    expect((await under.get(KEY)).result).to.equal('(absent)')
  })

  it('does not take "not there" from a replica that has lost its data since it was chosen', async () => {
    await under.put(KEY, 'v')
    first.cut()
    await under.time.advance(10)
    second.answerAfterMs = 10
    const reading = under.read(KEY)
    third.flush()
    await under.cluster.reprobe(under.member(third))
    expect(under.member(third).completeness).to.equal('filling')
    second.cut()
    const { result } = await under.done(reading)
    expect(third.callsFor(KEY, 'get')).to.have.length(1)
    expect(result).to.equal('UNAVAILABLE')
  })

  it('goes on to the next when the one that was asked has lost its data since it was chosen', async () => {
    await under.put(KEY, 'v')
    under.member(first).onFailed('a call failed', false) // asked after the others
    second.answerAfterMs = 10
    const reading = under.read(KEY)
    third.flush()
    await under.cluster.reprobe(under.member(third))
    second.cut()
    expect((await under.done(reading)).result).to.equal('v')
    expect(asked()).to.deep.equal([1, 1, 1, 0])
  })

  it('never serves a record that was read under a foreign marker', async () => {
    await under.put(KEY, 'v')
    first.flush()
    plant(first, 99, 'someone else')
    expect((await under.get(KEY)).result).to.equal('v')
    await under.time.advance(10)
    expect(under.member(first).completeness).to.equal('filling')
    expect(under.told('marker-mismatch')).to.have.length(1)
  })

  it('says so when the key is of another type', async () => {
    first.refusal = { kind: 'refused', reason: 'wrong-type', message: 'WRONGTYPE' }
    expect((await under.get(KEY)).result).to.equal('WRONG_TYPE')
  })

  it('reads a value that Rondo did not write, and lets every versioned one beat it', async () => {
    const raw = (node: FaultyNode, text: string) =>
      node.memory.storage.set(Buffer.from(KEY), Buffer.from(text), Infinity)
    raw(first, 'plain')
    expect((await under.get(KEY)).result).to.equal('plain')
    for (const node of [first, second, third]) behind(node)
    plant(second, 1, 'v1')
    expect((await under.get(KEY)).result).to.equal('v1')
  })

  it('dates the next write later than what it has read', async () => {
    const aheadMs = under.time.wallMs() + 60_000
    plant(first, aheadMs, 'from ahead')
    await under.get(KEY)
    expect((await under.put(KEY, 'mine')).result).to.equal('ok')
    expect(first.callsFor(KEY, 'store')).to.have.length(1) // at once, without meeting "stale" first
    expect(first.holds(KEY)).to.equal('mine')
  })
})
