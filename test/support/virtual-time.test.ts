import { expect } from 'chai'
import { VirtualTime } from './virtual-time.ts'

describe('virtual time', () => {
  it('runs timers in the order of their times, then of their setting, and stands at each', async () => {
    const time = new VirtualTime()
    const heard: string[] = []
    const note = (name: string) => () => void heard.push(`${name} at ${time.monotonicMs()}`)
    time.setTimeout(note('c'), 20)
    time.setTimeout(note('a'), 10)
    time.setTimeout(note('d'), 20)
    time.setTimeout(() => time.setTimeout(note('b'), 5), 10)
    time.clearTimeout(time.setTimeout(note('never'), 15))
    time.setTimeout(note('later'), 21)
    await time.advance(20)
    expect(heard).to.deep.equal(['a at 10', 'b at 15', 'c at 20', 'd at 20'])
    expect(time.monotonicMs()).to.equal(20)
    await time.run()
    expect(heard.at(-1)).to.equal('later at 21')
  })

  it('lets promises and ends of turns run out between timers', async () => {
    const time = new VirtualTime()
    const heard: string[] = []
    const work = async () => {
      for (let i = 0; i < 3; i++) {
        await new Promise<void>((resolve) => time.endOfTurn(resolve))
        await Promise.resolve()
        heard.push(`turn ${i} at ${time.monotonicMs()}`)
      }
    }
    time.setTimeout(() => void work(), 10)
    time.setTimeout(() => heard.push('next timer'), 10)
    await time.advance(10)
    expect(heard).to.deep.equal(['turn 0 at 10', 'turn 1 at 10', 'turn 2 at 10', 'next timer'])
  })

  it('moves the wall clock along, and by itself', async () => {
    const time = new VirtualTime(1000)
    await time.advance(5)
    time.stepWall(-100)
    expect([time.monotonicMs(), time.wallMs()]).to.deep.equal([5, 905])
  })
})
