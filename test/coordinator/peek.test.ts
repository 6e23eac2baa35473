/** Looks at a part of a record: answered as reads are, and no value is fetched unless one has to be written back. */
import { expect } from 'chai'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import type { Part } from '../../src/core/part.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'

const KEY = 'user:1'
const RANGE = { from: 1, to: 3 }

describe('a look at a part of a record', () => {
  let under: CoordinatorUnderTest
  let first: FaultyNode, second: FaultyNode, third: FaultyNode

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started()
    ;[first, second, third] = under.nodesOf(KEY) as [FaultyNode, FaultyNode, FaultyNode]
  })
  afterEach(() => under.cluster.stop())

  const plant = (node: FaultyNode, ms: number, value: string) =>
    node.memory.storage.set(
      Buffer.from(KEY),
      Buffer.concat([record(ms, value).head, Buffer.from(value)]),
      Infinity,
    )
  /** The bytes of the range, of a value of so many bytes. */
  const looked = (level: ConsistencyLevel, part: Part = RANGE) =>
    under.done(
      new Promise<string>((resolve) => {
        under.coordinator.peek(
          Buffer.from(KEY),
          part,
          {
            read: (found) => {
              if (!found) resolve('(absent)')
              else if (part === 'head') resolve('(there)')
              else if (part === 'length') resolve(String(found.valueLength))
              else resolve(`${found.part(part).toString()} of ${found.valueLength}`)
            },
            failed: (error) => resolve(error.code),
          },
          level,
        )
      }),
    )
  const asked = (op: 'get' | 'peek') => under.nodesOf(KEY).map((node) => node.callsFor(KEY, op).length)
  const held = () => [first, second, third].map((node) => node.holds(KEY))

  it('is answered by the first replica at one, without its value', async () => {
    expect(await looked('one')).to.equal('(absent)')
    await under.put(KEY, 'value')
    expect(await looked('one')).to.equal('alu of 5')
    expect(await looked('one', 'head')).to.equal('(there)')
    expect(await looked('one', 'length')).to.equal('5')
    expect([asked('peek'), asked('get')]).to.deep.equal([
      [4, 0, 0, 0],
      [0, 0, 0, 0],
    ])
  })

  it('goes to the next replica at one, and compares those that may be behind', async () => {
    await under.put(KEY, 'value')
    first.cut()
    expect(await looked('one')).to.equal('alu of 5')
    for (const node of [second, third]) under.member(node).markBehind('test')
    plant(third, 2 ** 47 - 1, 'newer value')
    expect(await looked('one')).to.equal('ewe of 11')
    expect(asked('get')).to.deep.equal([0, 0, 0, 0])
  })

  it('fetches no value at quorum where a majority agrees', async () => {
    await under.put(KEY, 'value')
    for (const part of ['head', 'length', RANGE] as const) {
      expect(await looked('quorum', part)).to.equal(
        part === 'head' ? '(there)' : part === 'length' ? '5' : 'alu of 5',
      )
    }
    expect([asked('peek'), asked('get')]).to.deep.equal([
      [3, 3, 3, 0],
      [0, 0, 0, 0],
    ])
  })

  for (const part of ['head', 'length', RANGE] as const) {
    it(`brings the newest record to a majority before its answer at quorum (${JSON.stringify(part)})`, async () => {
      for (const node of [first, second, third]) plant(node, 5, 'old')
      plant(second, 6, 'new value')
      third.answerAfterMs = Infinity // the majority is made of these two
      const expected = part === 'head' ? '(there)' : part === 'length' ? '9' : 'ew  of 9'
      expect(await looked('quorum', part)).to.equal(expected)
      expect(first.holds(KEY)).to.equal('new value')
    })
  }

  it('repairs a replica that lacks the record, once, and does not let the answer wait for it', async () => {
    for (const node of [first, second]) plant(node, 6, 'value')
    plant(third, 5, 'old')
    third.answerAfterMs = 50 // a late vote
    expect(await looked('quorum', 'head')).to.equal('(there)')
    expect(held()).to.deep.equal(['value', 'value', 'old'])
    expect(asked('get')).to.deep.equal([0, 0, 0, 0])
    await under.time.advance(200)
    expect(held()).to.deep.equal(['value', 'value', 'value'])
    expect(asked('get')).to.deep.equal([1, 1, 1, 0])
  })

  it('meets what is newer at quorum, and begins again', async () => {
    for (const node of [first, second]) plant(node, 6, 'value')
    plant(third, 7, 'newer value')
    first.answerAfterMs = 50
    expect(await looked('quorum')).to.equal('ewe of 11')
    expect(held().filter((value) => value === 'newer value').length).to.be.at.least(2)
  })
})
