import { expect } from 'chai'
import { WritableLines } from '../../src/telemetry/writable-lines.ts'
import { VirtualTime } from '../support/virtual-time.ts'

describe('log lines of nodes that accept and refuse writes in turn', () => {
  let time: VirtualTime
  let lines: WritableLines
  let logged: [string, boolean, number][]
  const note = (writable: boolean, node = 'a', why = 'out-of-memory') =>
    lines.note({ kind: 'node-writable', node, writable, why })

  beforeEach(() => {
    time = new VirtualTime()
    logged = []
    const log = (change: { node: string; writable: boolean; unlogged?: number }) =>
      logged.push([change.node, change.writable, change.unlogged ?? 0])
    lines = new WritableLines(log, time, () => time.monotonicMs())
  })

  it('logs a change, and its end, at once', () => {
    note(false)
    note(true)
    note(false, 'b')
    expect(logged).to.deep.equal([
      ['a', false, 0],
      ['a', true, 0],
      ['b', false, 0],
    ])
  })

  it('logs at most a pair a minute for each node, with the number of changes in between', async () => {
    for (let ms = 0; ms < 600_000; ms += 250) {
      note(ms % 500 !== 0)
      await time.advance(250)
    }
    expect(logged.length).to.be.within(10, 22)
    const told = logged.reduce((sum, [, , unlogged]) => sum + unlogged, 0)
    expect(told).to.be.within(2400 - 250, 2400)
  })

  it('ends with how it is', async () => {
    note(false)
    note(true)
    note(false)
    await time.advance(59_000)
    expect(logged.at(-1)).to.deep.equal(['a', true, 0])
    await time.advance(2000)
    expect(logged.at(-1)).to.deep.equal(['a', false, 1])
    note(true)
    expect(logged.at(-1)).to.deep.equal(['a', true, 0])
  })

  it('logs another reason at once', () => {
    note(false, 'a', 'no-permission')
    note(false, 'a', 'the node forbids EVAL')
    note(true)
    note(false, 'a', 'the node forbids EVAL')
    note(false, 'a', 'the node forbids GET')
    expect(logged.map(([, writable]) => writable)).to.deep.equal([false, false, true, false])
  })
})
