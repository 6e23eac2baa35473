// Who works when: long computations and long pipelines stop for the others. Told in turns of the event loop, on a clock
// that stands still while nothing is computed.
import { expect } from 'chai'
import { inOneGo, waitFor, Work, type Sliced } from '../../../src/core/work.ts'

class Loop {
  nowMs = 0
  private ends: (() => void)[] = []
  readonly work = new Work({
    monotonicMs: () => this.nowMs,
    timers: {
      setTimeout: () => ({}),
      clearTimeout: () => undefined,
      endOfTurn: (run) => void this.ends.push(run),
    },
  })

  /** A turn of the event loop; how long it took. */
  turn(): number {
    const before = this.nowMs
    const ends = this.ends
    this.ends = []
    for (const end of ends) end()
    return this.nowMs - before
  }

  get isIdle(): boolean {
    return this.ends.length === 0
  }

  /** So many pieces of a tenth of a millisecond. */
  *job(pieces: number): Sliced<number> {
    for (let i = 0; i < pieces; i++) {
      this.nowMs += 0.1
      yield 100
    }
    return pieces
  }
}

const never = (error: unknown) => {
  throw error
}

describe('work that takes long', () => {
  it('what is short is done at once', () => {
    const loop = new Loop()
    let done = 0
    loop.work.run(loop.job(3), (pieces) => (done = pieces), never)
    expect(done).to.equal(3)
    expect(loop.work.isOver).to.equal(false)
  })

  it('no turn takes longer than two slices and a quantum, however much there is to do', () => {
    const loop = new Loop()
    let done = 0
    for (let i = 0; i < 50; i++) loop.work.run(loop.job(200), () => done++, never)
    const begun = loop.nowMs
    expect(begun).to.be.below(7)
    let turns = 0
    for (; !loop.isIdle; turns++) expect(loop.turn()).to.be.below(12)
    expect(done).to.equal(50)
    expect(turns).to.be.above(100)
  })

  it('whoever comes late, with little to do, waits for a quantum of each of the others', () => {
    const loop = new Loop()
    for (let i = 0; i < 20; i++) loop.work.run(loop.job(10_000), () => undefined, never)
    loop.turn()
    const beganMs = loop.nowMs
    let doneMs = 0
    loop.work.enqueue({ takeTurn: () => ((doneMs = loop.nowMs), false) })
    while (doneMs === 0) loop.turn()
    expect(doneMs - beganMs).to.be.below(20 * 2)
  })

  it('those that need much memory are carried out one at a time, and their owners take turns', () => {
    const loop = new Loop()
    const [a, b] = [{}, {}]
    const begun: string[] = []
    const ended: string[] = []
    function* named(name: string): Sliced<string> {
      begun.push(name)
      yield* loop.job(100)
      return name
    }
    const add = (owner: object, name: string) =>
      loop.work.carryOutAlone(
        owner,
        named(name),
        (done) => {
          ended.push(done)
          expect(begun.length).to.equal(ended.length)
        },
        never,
      )
    for (const name of ['a1', 'a2', 'a3']) add(a, name)
    for (const name of ['b1', 'b2']) add(b, name)
    while (!loop.isIdle) loop.turn()
    expect(ended).to.deep.equal(['a1', 'a2', 'b1', 'a3', 'b2'])
  })

  it('one that fails is told, and the others go on', () => {
    const loop = new Loop()
    const told: unknown[] = []
    // eslint-disable-next-line require-yield
    function* failing(): Sliced<number> {
      throw new Error('no')
    }
    loop.work.carryOutAlone(loop, failing(), never, (error) => told.push(error))
    loop.work.carryOutAlone(loop, loop.job(1), (pieces) => told.push(pieces), never)
    while (!loop.isIdle) loop.turn()
    expect(told.map(String)).to.deep.equal(['Error: no', '1'])
  })

  it('what waits for something lets others work, and goes on with what came of it', async () => {
    const loop = new Loop()
    let arrive: (value: number) => void = never
    const arrival = new Promise<number>((resolve) => (arrive = resolve))
    function* waiting(): Sliced<number> {
      return (yield* waitFor(arrival)) + 1
    }
    const outcome = loop.work.outcomeOf(waiting())
    let others = 0
    loop.work.run(loop.job(3), (pieces) => (others = pieces), never)
    while (!loop.isIdle) loop.turn()
    expect(others).to.equal(3)
    arrive(6)
    await arrival
    while (loop.isIdle) await Promise.resolve()
    loop.turn()
    expect(await outcome).to.equal(7)
    function* failing(): Sliced<never> {
      return yield* waitFor(Promise.reject(new Error('it failed')))
    }
    const failed = loop.work.outcomeOf(failing()).catch((error: Error) => error.message)
    while (loop.isIdle) await Promise.resolve()
    loop.turn()
    expect(await failed).to.equal('it failed')
    expect(() => inOneGo(waiting())).to.throw('it waits for something')
  })
})
