// What walks over all keys share, so that asking for many of them costs little more than asking for one.
import { expect } from 'chai'
import { KeyCount, Pages } from '../../src/coordinator/listing/walks.ts'
import { VirtualTime } from '../support/virtual-time.ts'

/** A walk that ends when it is told to. */
class Walks {
  readonly ends: ((count: number) => void)[] = []
  readonly walk = () => new Promise<number>((resolve) => this.ends.push(resolve))
}

describe('walks over all keys', () => {
  it('one walk counts for all who asked before it began, and nobody is told of an earlier one', async () => {
    const time = new VirtualTime()
    const walks = new Walks()
    const count = new KeyCount(walks.walk, { clock: time, timers: time })
    const first = count.get()
    const others = Array.from({ length: 50 }, () => count.get())
    expect(walks.ends).to.have.length(1)
    walks.ends[0]!(1)
    expect(await first).to.equal(1)
    await Promise.resolve()
    await new Promise((resolve) => setImmediate(resolve))
    expect(walks.ends).to.have.length(2)
    walks.ends[1]!(2)
    expect(await Promise.all(others)).to.deep.equal(others.map(() => 2))
  })

  it('after a walk counting rests for as long as the walk took', async () => {
    const time = new VirtualTime()
    const walks = new Walks()
    const count = new KeyCount(walks.walk, { clock: time, timers: time })
    const first = count.get()
    await time.advance(1000)
    walks.ends[0]!(1)
    await first
    const second = count.get()
    const third = count.get()
    await new Promise((resolve) => setImmediate(resolve))
    await time.advance(999)
    await new Promise((resolve) => setImmediate(resolve))
    expect(walks.ends).to.have.length(1)
    await time.advance(2)
    await new Promise((resolve) => setImmediate(resolve))
    expect(walks.ends).to.have.length(2)
    walks.ends[1]!(2)
    expect(await Promise.all([second, third])).to.deep.equal([2, 2])
  })

  it('for clients that poll, the latest count costs nothing, and is renewed when it is old', async () => {
    const time = new VirtualTime()
    const walks = new Walks()
    const count = new KeyCount(walks.walk, { clock: time, timers: time })
    const settle = () => new Promise((resolve) => setImmediate(resolve))
    expect(count.recent()).to.equal(null)
    expect(count.recent()).to.equal(null)
    expect(walks.ends).to.have.length(1)
    await time.advance(10_000)
    walks.ends[0]!(5)
    await settle()
    for (let i = 0; i < 18; i++) {
      expect(count.recent()).to.equal(5)
      await time.advance(10_000)
    }
    expect(walks.ends, 'within twenty times its length').to.have.length(1)
    await time.advance(20_001)
    expect(count.recent()).to.equal(5)
    expect(count.recent()).to.equal(5)
    expect(walks.ends).to.have.length(2)
    walks.ends[1]!(6)
    await settle()
    expect(count.recent()).to.equal(6)
  })

  it('a walk that fails is told to those who waited for it, and the next one is made', async () => {
    const time = new VirtualTime()
    let walks = 0
    const walk = () => (++walks === 1 ? Promise.reject(new Error('no')) : Promise.resolve(7))
    const count = new KeyCount(walk, { clock: time, timers: time })
    const answers = await Promise.allSettled([count.get(), count.get(), count.get()])
    expect(answers.map(({ status }) => status)).to.deep.equal(['rejected', 'fulfilled', 'fulfilled'])
    expect(walks).to.equal(2)
  })

  it('a walk ends when none of those who asked for it wait any more, and not before', async () => {
    const time = new VirtualTime()
    const asked: (() => boolean)[] = []
    const ends: (() => void)[] = []
    const walk = (isWanted: () => boolean) => {
      asked.push(isWanted)
      return new Promise<number>((resolve) => ends.push(() => resolve(asked.length)))
    }
    const count = new KeyCount(walk, { clock: time, timers: time })
    const here = [true, true, true]
    const waits = (i: number) => () => here[i]!
    const counts = [count.get(waits(0)), count.get(waits(1)), count.get(waits(2))]
    expect(asked[0]!()).to.equal(true)
    here[0] = false
    expect(asked[0]!(), 'the others have asked since it began').to.equal(false)
    ends[0]!()
    await counts[0]
    await new Promise((resolve) => setImmediate(resolve))
    expect(asked).to.have.length(2)
    here[1] = false
    expect(asked[1]!()).to.equal(true)
    here[2] = false
    expect(asked[1]!()).to.equal(false)
    ends[1]!()
    await Promise.all(counts)
    expect(count.recent()).to.equal(2)
  })

  it('only so many pages are listed at once, in the order in which they were asked for', async () => {
    const pages = new Pages(2)
    const begun: number[] = []
    const ends: (() => void)[] = []
    const asked = [0, 1, 2, 3].map((i) =>
      pages.run(() => {
        begun.push(i)
        return new Promise<void>((resolve) => ends.push(resolve))
      }),
    )
    expect(begun).to.deep.equal([0, 1])
    ends[0]!()
    await asked[0]
    await new Promise((resolve) => setImmediate(resolve))
    expect(begun).to.deep.equal([0, 1, 2])
    ends[1]!()
    ends[2]!()
    await new Promise((resolve) => setImmediate(resolve))
    ends[3]!()
    await Promise.all(asked)
    expect(begun).to.deep.equal([0, 1, 2, 3])
  })
})
