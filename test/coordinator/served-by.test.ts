// Which nodes an answer is of, when not all of them answer, or agree.
import { expect } from 'chai'
import type { Modified, ServedBy } from '../../src/coordinator/api.ts'
import { readRecord, updateKey, writeValue } from '../../src/coordinator/promises.ts'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import { RondoError } from '../../src/core/errors.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'

const KEY = 'user:1'
const KEY_BYTES = Buffer.from(KEY)

describe('the nodes that an answer is of', () => {
  let under: CoordinatorUnderTest
  let first: FaultyNode, second: FaultyNode, third: FaultyNode
  beforeEach(async () => {
    under = await CoordinatorUnderTest.started()
    ;[first, second, third] = under.nodesOf(KEY) as [FaultyNode, FaultyNode, FaultyNode]
    await under.put(KEY, 'v')
  })
  /** Ids of the nodes that are told, in the order of the preference list. */
  const servedBy = async (start: (done: (by?: ServedBy) => void) => void): Promise<string[]> => {
    const told = await under.done(new Promise<ServedBy | undefined>((resolve) => start(resolve)))
    const ids = told === undefined ? [] : ('id' in told ? [told] : told).map(({ id }) => id)
    return under.nodesOf(KEY).flatMap(({ id }) => (ids.includes(id) ? [id] : []))
  }
  const read = (level: ConsistencyLevel) =>
    servedBy((done) =>
      under.coordinator.read(
        KEY_BYTES,
        { read: (_record, by) => done(by), failed: (_error, by) => done(by) },
        level,
      ),
    )
  const write = (level: ConsistencyLevel) =>
    servedBy((done) =>
      under.coordinator.write(
        KEY_BYTES,
        Buffer.from('w'),
        0,
        { written: (_version, by) => done(by), failed: (_error, by) => done(by) },
        level,
      ),
    )
  const update = (level: ConsistencyLevel, modified: Modified) =>
    servedBy((done) =>
      under.coordinator.update(
        KEY_BYTES,
        () => modified,
        { updated: (_before, _after, by) => done(by), failed: (_error, by) => done(by) },
        level,
      ),
    )
  const plant = (node: FaultyNode, ms: number) =>
    node.memory.storage.set(KEY_BYTES, Buffer.concat([record(ms, 'x').head, Buffer.from('x')]), Infinity)
  const ids = (...nodes: FaultyNode[]) => nodes.map(({ id }) => id)
  const change: Modified = { kind: 'write', record: { kind: 0, value: Buffer.from('u'), expiresAtMs: 0 } }
  const refusal: Modified = { kind: 'refuse', error: new RondoError('PRECONDITION_FAILED', 'no') }

  it('at one is the first, and the next if it fails', async () => {
    expect(await read('one')).to.deep.equal(ids(first))
    expect(await write('one')).to.deep.equal(ids(first))
    for (const modified of [change, refusal, { kind: 'keep' } as const]) {
      expect(await update('one', modified), modified.kind).to.deep.equal(ids(first))
    }
    first.cut()
    expect(await read('one')).to.deep.equal(ids(second))
    expect(await write('one')).to.deep.equal(ids(second))
  })

  it('at one are those that were compared, if none can be trusted alone', async () => {
    for (const node of [first, second, third]) under.member(node).markBehind('test')
    const compared = await read('one')
    expect(compared).to.include.members(ids(first, second, third))
  })

  it('at quorum are those that hold it, without one that is away', async () => {
    second.cut()
    expect(await read('quorum')).to.deep.equal(ids(first, third))
    expect(await write('quorum')).to.deep.equal(ids(first, third))
    for (const modified of [change, refusal, { kind: 'keep' } as const]) {
      expect(await update('quorum', modified), modified.kind).to.deep.equal(ids(first, third))
    }
  })

  it('at quorum are those that got what only one had', async () => {
    third.answerAfterMs = 200
    plant(second, under.coordinator.nowMs() + 1)
    expect(await read('quorum')).to.deep.equal(ids(first, second))
  })

  it('are none where no node has answered', async () => {
    for (const node of under.nodes) node.cut()
    for (const level of ['one', 'quorum', 'all'] as const) expect(await read(level), level).to.deep.equal([])
  })

  it('are told through promises, before they are settled', async () => {
    const told: string[] = []
    const requester = { waiting: 0, begunAtMs: 0, gone: false, noneWaits: () => undefined }
    const onServed = (by: ServedBy) => void told.push('id' in by ? by.id : '…')
    const options = { requester, level: 'one', onServed } as const
    await under.done(readRecord(under.coordinator, KEY_BYTES, options))
    await under.done(writeValue(under.coordinator, KEY_BYTES, Buffer.from('w'), 0, options))
    await under.done(updateKey(under.coordinator, KEY_BYTES, () => change, options))
    expect(told).to.deep.equal(ids(first, first, first))
  })
})
