import { expect } from 'chai'
import { Deadlines, type Timed } from '../../src/core/deadlines.ts'
import { VirtualTime } from '../support/virtual-time.ts'

describe('deadlines', () => {
  let time: VirtualTime
  let deadlines: Deadlines
  let heard: string[]

  class Operation implements Timed {
    readonly name: string
    private readonly then: () => void
    constructor(name: string, then: () => void = () => undefined) {
      this.name = name
      this.then = then
    }
    overdue() {
      heard.push(`${this.name} at ${time.monotonicMs()}`)
      this.then()
    }
  }
  const add = (name: string, then?: () => void) => {
    return deadlines.add(new Operation(name, then))
  }

  beforeEach(() => {
    time = new VirtualTime()
    deadlines = new Deadlines(1000, { clock: time, timers: time })
    heard = []
  })

  it('keeps no timer once it may rest, and tells what comes later in time', async () => {
    deadlines.remove(add('a'))
    deadlines.rest()
    expect(time.pendingTimers).to.equal(0)
    await time.advance(500)
    add('b')
    deadlines.rest() // not while something is under way
    await time.advance(1000)
    expect(heard).to.deep.equal(['b at 1500'])
  })

  it('once stopped, keeps a timer only while something is under way, also what comes later', async () => {
    const first = add('a')
    deadlines.stop()
    await time.advance(100)
    deadlines.remove(first)
    expect(time.pendingTimers).to.equal(0)
    const late = add('b')
    expect(time.pendingTimers).to.equal(1)
    deadlines.remove(late)
    expect(time.pendingTimers).to.equal(0)
    add('c')
    await time.advance(1000)
    expect(heard).to.deep.equal(['c at 1100'])
    expect(time.pendingTimers).to.equal(0)
  })

  it('each operation is told once, when its time is over, in order', async () => {
    add('a')
    add('b')
    await time.advance(400)
    add('c')
    await time.advance(599)
    expect(heard).to.deep.equal([])
    await time.advance(10_000)
    expect(heard).to.deep.equal(['a at 1000', 'b at 1000', 'c at 1400'])
  })

  it('an operation with an earlier end of its own is told then, once; a later one changes nothing', async () => {
    const own = (name: string, dueAtMs: number) => deadlines.add(new Operation(name), dueAtMs)
    own('a', 300)
    add('b')
    own('c', 5000)
    deadlines.remove(own('d', 300))
    own('e', 0) // its time was over before it began
    await time.advance(0)
    expect(heard).to.deep.equal(['e at 0'])
    await time.advance(10_000)
    expect(heard).to.deep.equal(['e at 0', 'a at 300', 'b at 1000', 'c at 1000'])
    expect([deadlines.size, time.pendingTimers]).to.deep.equal([0, 0])
  })

  it('who has ended before is told nothing, wherever it stood', async () => {
    const all = ['a', 'b', 'c', 'd', 'e'].map((name) => add(name))
    for (const i of [2, 0, 4]) deadlines.remove(all[i]!)
    await time.advance(2000)
    expect(heard).to.deep.equal(['b at 1000', 'd at 1000'])
  })

  it('removing twice, or what has been told, harms nobody', async () => {
    const [a, b] = [add('a'), add('b')]
    deadlines.remove(a)
    deadlines.remove(a)
    await time.advance(2000)
    expect(heard).to.deep.equal(['b at 1000'])
    deadlines.remove(b)
    add('c')
    await time.advance(2000)
    expect(heard.at(-1)).to.equal('c at 3000')
  })

  it('an operation may end others, and begin new ones, while it is told', async () => {
    add('a', () => {
      deadlines.remove(b)
      add('d', () => add('e'))
    })
    const b = add('b')
    add('c')
    await time.advance(5000)
    expect(heard).to.deep.equal(['a at 1000', 'c at 1000', 'd at 2000', 'e at 3000'])
  })

  it('needs one timer, however many operations there are, and none when there is nothing to wait for', async () => {
    const all = Array.from({ length: 1000 }, (_, i) => add(String(i)))
    expect(time.pendingTimers).to.equal(1)
    for (const deadline of all) deadlines.remove(deadline)
    await time.advance(1000)
    expect(time.pendingTimers).to.equal(0)
  })

  it('needs one timer also when operations begin anew while they are told', async () => {
    const forEver = () => void add('again', forEver)
    for (let i = 0; i < 10; i++) add('first', forEver)
    await time.advance(20_000)
    expect(time.pendingTimers).to.equal(1)
  })

  it('what begins while others are told keeps nobody waiting', async () => {
    add('a', () => add('again'))
    await time.advance(300)
    add('b')
    await time.advance(2000)
    expect(heard).to.deep.equal(['a at 1000', 'b at 1300', 'again at 2000'])
  })

  it('is late by no more than a millisecond where time has fractions', async () => {
    await time.advance(0.7)
    add('a')
    await time.advance(0.2)
    add('b')
    await time.advance(1500)
    expect(heard[0]).to.equal('a at 1000.7')
    expect(Number(heard[1]!.split(' ')[2])).to.be.within(1000.9, 1002)
  })

  it('reads the clock once a turn of the event loop, however many operations begin in it', async () => {
    let read = 0
    const clock = { monotonicMs: () => (read++, time.monotonicMs()) }
    deadlines = new Deadlines(1000, { clock, timers: time })
    for (let i = 0; i < 1000; i++) add(String(i))
    expect(read).to.equal(1)
    await time.advance(100)
    add('in a later turn')
    expect(read).to.equal(2)
    await time.advance(999)
    expect(heard).to.have.length(1000)
    await time.advance(1)
    expect(heard.at(-1)).to.equal('in a later turn at 1100')
  })
})
