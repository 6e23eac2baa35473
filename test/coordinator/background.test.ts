import { expect } from 'chai'
import { Background } from '../../src/coordinator/background.ts'
import type { RondoEvent } from '../../src/core/events.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'
import { VirtualTime } from '../support/virtual-time.ts'

describe('work that nobody waits for', () => {
  let time: VirtualTime
  let events: RondoEvent[]
  let background: Background
  beforeEach(() => {
    time = new VirtualTime()
    events = []
    background = new Background(time, (event) => events.push(event))
  })

  it('is waited for when the coordinator stops', async () => {
    let drained: number | null = null
    background.begin()
    background.begin()
    void background.drain(1000).then((left) => (drained = left))
    background.end()
    await time.settle()
    expect(drained).to.equal(null)
    background.end()
    await time.settle()
    expect(drained).to.equal(0)
    expect(time.pendingTimers).to.equal(0)
  })

  it('is waited for no longer than asked, and what is left is told', async () => {
    background.begin()
    background.begin()
    const drained = background.drain(1000)
    await time.advance(1000)
    expect(await drained).to.equal(2)
    background.end()
    background.end()
    expect(await background.drain(1000)).to.equal(0)
  })

  it('is waited for although it begins anew at the very moment when the last of it ends', async () => {
    let left = -1
    background.begin()
    void background.drain(1000).then((count) => (left = count))
    await time.settle()
    background.end()
    background.begin() // a hint of what was missed
    await time.settle()
    expect(left).to.equal(-1)
    background.end()
    await time.settle()
    expect(left).to.equal(0)
  })

  it('keeps nobody waiting when there is none', async () => {
    expect(await background.drain(1000)).to.equal(0)
    expect(time.pendingTimers).to.equal(0)
  })

  it('tells its failure, and has ended all the same', async () => {
    background.run('mending', () => Promise.reject(new Error('broken')))
    await time.settle()
    expect(events).to.deep.equal([{ kind: 'background-failed', what: 'mending', why: 'broken' }])
    expect(await background.drain(1000)).to.equal(0)
  })

  it('is, for one, a copy that was not waited for', async () => {
    const under = await CoordinatorUnderTest.started()
    const [, second, third] = under.nodesOf('k')
    second!.answerAfterMs = 200
    third!.answerAfterMs = Infinity
    expect(await under.put('k', 'v')).to.include({ result: 'ok', tookMs: 0 })
    let left = -1
    void under.coordinator.drain(2000).then((count) => (left = count))
    await under.time.advance(250)
    expect(left).to.equal(-1)
    await under.time.advance(500) // and a hint of what was missed
    expect(left).to.equal(0)
    await under.cluster.stop()
  })
})
