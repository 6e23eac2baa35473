// Who gets what, on virtual time: coordinators over one store that is slow, fails, and loses messages, with clients that die.
import { expect } from 'chai'
import { KIND_LIST, KIND_STREAM } from '../../src/core/codec.ts'
import { RondoError } from '../../src/core/errors.ts'
import type { Attempt, Turn, Wait } from '../../src/coordinator/waiting/api.ts'
import { TurnInLine } from '../../src/coordinator/waiting/lines.ts'
import { KeyWaiters, type Looked } from '../../src/coordinator/waiting/waiters.ts'
import { hashOf } from '../../src/coordinator/channels/wakes.ts'
import { seeded, seeds, type Random } from '../support/random.ts'
import { VirtualTime } from '../support/virtual-time.ts'

const sentence = 'The nodes are away.'
const away = () => new RondoError('UNAVAILABLE', sentence, { outcome: 'not-applied' })
const unknown = () => new RondoError('OUTCOME_UNKNOWN', sentence, { outcome: 'unknown' })

interface Faults {
  /** Attempts that certainly fail, and those of which it is not known. */
  certain: number
  unknown: number
  lostMessages: number
}

/** Lists that several coordinators change. */
class World {
  readonly time = new VirtualTime()
  readonly faults: Faults = { certain: 0, unknown: 0, lostMessages: 0 }
  readonly lists = new Map<string, string[]>()
  readonly coordinators: KeyWaiters[] = []
  /** Taken by attempts whose outcome nobody knows. */
  readonly uncertain: string[] = []
  readonly failures: string[] = []
  isFast = false
  looks = 0
  attempts = 0
  private version = 0
  private readonly queues = new Map<string, Promise<void>>()
  private readonly random: Random

  constructor(random: Random, coordinators: number) {
    this.random = random
    for (let at = 0; at < coordinators; at++) {
      const waiters = new KeyWaiters({
        timers: this.time,
        random: () => random.next(),
        emit: (event) => this.failures.push(JSON.stringify(event)),
        background: { begin: () => undefined, end: () => undefined },
        look: (key) => this.look(key.toString()),
      })
      waiters.connect({ announce: () => null, wake: (key) => this.tellOthers(at, key) })
      this.coordinators.push(waiters)
    }
  }

  private tellOthers(from: number, key: Buffer): void {
    for (const [at, waiters] of this.coordinators.entries()) {
      if (at === from || this.random.next() < this.faults.lostMessages) continue
      this.time.setTimeout(() => waiters.wakeAll([hashOf(key)]), this.random.next() * 3)
    }
  }

  pause(): Promise<void> {
    if (this.isFast) return Promise.resolve()
    return new Promise((resolve) => this.time.setTimeout(resolve, this.random.next() * 2))
  }

  private async look(name: string): Promise<Looked | null> {
    this.looks++
    await this.pause()
    if (this.random.next() < this.faults.certain) throw away()
    return this.lists.has(name) ? { kind: KIND_LIST, version: Buffer.from(`${++this.version}`) } : null
  }

  push(at: number, name: string, ...elements: string[]): void {
    this.lists.set(name, [...(this.lists.get(name) ?? []), ...elements])
    this.coordinators[at]!.stored(Buffer.from(name))
  }

  pop(name: string): string | undefined {
    const list = this.lists.get(name)
    const element = list?.shift()
    if (list?.length === 0) this.lists.delete(name)
    return element
  }

  async attempt(at: number, name: string, turn: Turn, hasBegun: () => void): Promise<Attempt<string | null>> {
    this.attempts++
    hasBegun()
    // As in update/key-queues.ts: what one coordinator does with a key is in its order.
    const queue = `${at} ${name}`
    const first = (this.queues.get(queue) ?? Promise.resolve()).then(() => this.pause())
    this.queues.set(queue, first)
    await first
    if (this.random.next() < this.faults.certain) throw away()
    const mayTake = turn.mayTake()
    const element = mayTake ? this.pop(name) : undefined
    if (mayTake) turn.hasFound(element !== undefined)
    await this.pause()
    if (this.random.next() < this.faults.unknown) {
      if (element !== undefined) this.uncertain.push(element)
      throw unknown()
    }
    if (element === undefined) return { kind: 'nothing' }
    const giveBack = async () => {
      await this.pause()
      if (this.random.next() < this.faults.certain) throw away()
      this.lists.set(name, [element, ...(this.lists.get(name) ?? [])])
      this.coordinators[at]!.stored(Buffer.from(name))
    }
    return { kind: 'answer', answer: element, giveBack }
  }
}

class FakeClient {
  isGone = false
  got: string | null | undefined
  error: unknown
  /** An attempt of it began after it had gone. */
  beganGone = false
  readonly wait: Wait<string | null>

  constructor(
    world: World,
    at: number,
    keys: readonly string[],
    timeoutMs = 0,
    line: string | null = 'list',
  ) {
    this.wait = world.coordinators[at]!.wait<string | null>({
      keys: keys.map((key) => Buffer.from(key)),
      ...{ kind: KIND_LIST, line, isWhole: line === null, level: 'one', timeoutMs, timedOut: null },
      isGone: () => this.isGone,
      attempt: (place, turn) => world.attempt(at, keys[place]!, turn, () => (this.beganGone ||= this.isGone)),
    })
    this.wait.result.then(
      ({ answer, giveBack }) => {
        if (this.isGone) giveBack?.()
        else this.got = answer
      },
      (error: unknown) => (this.error = error),
    )
  }

  die(): void {
    this.isGone = true
    this.wait.end()
  }
}

describe('clients that wait at keys', () => {
  it('takes turns: first come, first served, whoever else comes and goes', async () => {
    const world = new World(seeded(1), 1)
    const clients = Array.from({ length: 40 }, () => new FakeClient(world, 0, ['q']))
    await world.time.advance(100)
    expect(world.coordinators[0]!.blocked).to.equal(40)
    clients[0]!.die()
    clients[7]!.die()
    for (let i = 0; i < 20; i++) world.push(0, 'q', `${i}`)
    const late = new FakeClient(world, 0, ['q'])
    await world.time.advance(100)
    for (let i = 20; i < 39; i++) world.push(0, 'q', `${i}`)
    await world.time.advance(200)
    const living = [...clients, late].filter(({ isGone }) => !isGone)
    expect(living.map(({ got }) => got)).to.deep.equal(living.map((_, i) => `${i}`))
    expect(world.coordinators[0]!.blocked).to.equal(0)
  })

  it('wakes within the same turn, and without a message within a second', async () => {
    const world = new World(seeded(2), 2)
    const [here, there] = [new FakeClient(world, 0, ['a', 'q']), new FakeClient(world, 1, ['q'])]
    await world.time.advance(100)
    world.faults.lostMessages = 1
    world.push(0, 'q', 'x', 'y')
    await world.time.advance(10)
    expect(here.got).to.equal('x')
    expect(there.got).to.equal(undefined)
    await world.time.advance(1100)
    expect(there.got).to.equal('y')
  })

  it('gives readers what nobody has told them of when their time is over', async () => {
    const world = new World(seeded(5), 2)
    const reader = new FakeClient(world, 1, ['q'], 50, null)
    await world.time.advance(20)
    world.faults.lostMessages = 1
    world.push(0, 'q', 'x')
    await world.time.advance(20)
    expect(reader.got).to.equal(undefined)
    await world.time.advance(30)
    expect(reader.got).to.equal('x')
    expect(world.time.pendingTimers).to.equal(0)
  })

  it('costs ten thousand waiters a hundred looks a second, and no attempt', async () => {
    const world = new World(seeded(3), 1)
    world.isFast = true
    const clients = Array.from({ length: 10_000 }, (_, i) => new FakeClient(world, 0, [`q${i % 5000}`]))
    await world.time.advance(1000)
    const [looks, attempts] = [world.looks, world.attempts]
    expect(world.coordinators[0]!.blocked).to.equal(10_000)
    await world.time.advance(3000)
    expect(world.looks - looks).to.be.within(200, 400)
    expect(world.attempts).to.equal(attempts)
    for (const client of clients) client.die()
    await world.time.advance(10)
    expect(world.time.pendingTimers).to.equal(0)
  })

  it('tries those that take nothing away once after many changes, not once for each', async () => {
    const world = new World(seeded(7), 1)
    const [waiters] = world.coordinators
    let attempts = 0
    const read = async (): Promise<Attempt<null>> => {
      attempts++
      await world.pause()
      return { kind: 'nothing' }
    }
    const shared = {
      keys: [Buffer.from('s')],
      kind: KIND_STREAM,
      line: null,
      isWhole: true,
      level: 'one',
    } as const
    for (let i = 0; i < 50; i++) {
      waiters!.wait<null>({ ...shared, timeoutMs: 0, timedOut: null, isGone: () => false, attempt: read })
    }
    await world.time.advance(10)
    attempts = 0
    for (let i = 0; i < 100; i++) {
      waiters!.stored(Buffer.from('s'))
      await world.time.settle()
    }
    await world.time.advance(20)
    expect(attempts).to.equal(2 * 50) // the round that ran, and one after it
  })

  it('tells other coordinators of many keys by and by, and looks at what it could not tell in time', async () => {
    const world = new World(seeded(8), 1)
    world.isFast = true
    const [waiters] = world.coordinators
    const told: number[][] = []
    waiters!.connect({
      announce: (hashes) => {
        told.push([...hashes])
        return Promise.resolve()
      },
      wake: () => undefined,
    })
    const keys = (from: number) => Array.from({ length: 1000 }, (_, i) => `q${from + i}`)
    const clients = Array.from({ length: 5 }, (_, i) => new FakeClient(world, 0, keys(1000 * i)))
    await world.time.advance(500)
    expect(waiters!.blocked).to.equal(5)
    expect(world.attempts).to.equal(5000)
    expect(world.looks).to.be.within(5000, 5100)
    told.length = 0
    await world.time.advance(12_000)
    expect(Math.max(...told.map(({ length }) => length))).to.equal(1000)
    expect(new Set(told.flat()).size).to.equal(5000)
    expect(world.attempts).to.equal(5000)
    for (const client of clients) client.die()
  })

  it('misses nothing that is stored while it looks', async () => {
    for (const seed of seeds(50)) {
      const world = new World(seeded(seed), 1)
      const client = new FakeClient(world, 0, ['q'])
      await world.time.advance(seed % 2 === 0 ? 0 : 20)
      world.coordinators[0]!.stored(Buffer.from('q'))
      await world.time.advance(0.1 + (seed % 30) / 10)
      world.push(0, 'q', 'x')
      await world.time.advance(20)
      expect(client.got, `RONDO_SEED=${seed}`).to.equal('x')
    }
  })

  it('gives nothing to a later client when an element comes just after an earlier one has looked', async () => {
    const world = new World(seeded(7), 1)
    const clients = Array.from({ length: 3 }, () => new FakeClient(world, 0, ['q']))
    await world.time.advance(20)
    const pop = world.pop.bind(world)
    let comes = true
    world.pop = (name) => {
      const element = pop(name)
      if (element === undefined && comes) {
        comes = false
        world.push(0, name, 'second')
      }
      return element
    }
    world.push(0, 'q', 'first')
    await world.time.advance(50)
    expect(clients.map(({ got }) => got)).to.deep.equal(['first', 'second', undefined])
    world.push(0, 'q', 'third')
    await world.time.advance(20)
    expect(clients[2]!.got).to.equal('third')
  })

  it('comes again to one that was held back, though those behind it have decided since', () => {
    const first = new TurnInLine()
    const second = new TurnInLine(first)
    const third = new TurnInLine(second)
    expect(second.mayTake()).to.equal(false) // the first one has not decided yet
    expect(first.mayTake()).to.equal(true)
    first.hasFound(true)
    expect(third.mayTake()).to.equal(false)
    expect([first, second, third].map(({ isHeldBack }) => isHeldBack)).to.deep.equal([false, true, true])
  })

  it('takes nothing for a client that has gone before', async () => {
    const world = new World(seeded(6), 1)
    const client = new FakeClient(world, 0, ['none', 'q'])
    client.isGone = true // while it looks at the first key
    world.push(0, 'q', 'x')
    await world.time.advance(100)
    expect(client.beganGone).to.equal(false)
    expect(world.lists.get('q')).to.deep.equal(['x'])
    expect(world.coordinators[0]!.blocked).to.equal(0)
  })

  it('ends when its time is over, also a very long one, unless it is just getting something', async () => {
    const world = new World(seeded(4), 1)
    const short = new FakeClient(world, 0, ['q'], 50)
    const slow = new FakeClient(world, 0, ['other', 'q'], 0.01)
    await world.time.advance(0.1)
    expect(slow.got).to.equal(undefined) // it looks at all of its keys first
    const long = new FakeClient(world, 0, ['q'], 2 ** 31 + 1000)
    await world.time.advance(48)
    expect(slow.got).to.equal(null)
    expect(short.got).to.equal(undefined)
    await world.time.advance(2)
    expect(short.got).to.equal(null)
    await world.time.advance(2000)
    expect(long.got).to.equal(undefined)
    world.push(0, 'q', 'x')
    await world.time.settle()
    long.wait.end()
    await world.time.advance(10)
    expect(long.got).to.equal('x')
  })

  it('goes on after certain failures, and ends with an error when the outcome is not known', async () => {
    const world = new World(seeded(5), 1)
    world.faults.certain = 1
    const client = new FakeClient(world, 0, ['q'])
    world.push(0, 'q', 'x')
    await world.time.advance(5000)
    expect(client.got).to.equal(undefined)
    world.faults.certain = 0
    await world.time.advance(1200)
    expect(client.got).to.equal('x')
    world.faults.unknown = 1
    const other = new FakeClient(world, 0, ['q'])
    await world.time.advance(20)
    expect(other.error).to.have.property('code', 'OUTCOME_UNKNOWN')
  })

  it('hands every element to exactly one client that lives, whatever fails', async () => {
    for (const seed of seeds(15)) await randomRun(seed)
  }).timeout(20_000)
})

async function randomRun(seed: number): Promise<void> {
  const random = seeded(seed)
  const world = new World(random, 3)
  const keys = ['a', 'b', 'c']
  const clients: FakeClient[] = []
  const pushed: string[] = []
  const popped: string[] = []
  Object.assign(world.faults, { certain: 0.1, unknown: 0.02, lostMessages: 0.3 })
  const pick = <T>(from: readonly T[]) => random.pick(from)
  for (let step = 0; step < 150; step++) {
    const chance = random.next()
    const at = pick([0, 1, 2])
    if (chance < 0.4) {
      const own = keys.filter(() => random.next() < 0.6)
      const timeoutMs = random.next() < 0.3 ? 1 + random.next() * 20 : 0
      clients.push(new FakeClient(world, at, own.length > 0 ? own : ['a'], timeoutMs))
    } else if (chance < 0.7) {
      const elements = Array.from({ length: 1 + Math.floor(random.next() * 3) }, (_, i) => `${step}.${i}`)
      pushed.push(...elements)
      world.push(at, pick(keys), ...elements)
    } else if (chance < 0.8) {
      const element = world.pop(pick(keys))
      if (element !== undefined) popped.push(element)
    } else if (clients.length > 0) pick(clients).die()
    if (random.next() < 0.7) await world.time.advance(random.next() * 4)
  }
  Object.assign(world.faults, { certain: 0, unknown: 0 })
  await world.time.advance(5000)
  const last = Array.from({ length: pushed.length }, (_, i) => new FakeClient(world, i % 3, keys, 5000))
  await world.time.advance(30_000)
  const got = [...clients, ...last].filter((one) => !one.isGone).flatMap((one) => one.got ?? [])
  const dead = clients.filter((one) => one.isGone).flatMap((one) => one.got ?? [])
  const all = [...got, ...dead, ...popped, ...world.uncertain].sort()
  const context = `RONDO_SEED=${seed}`
  expect(all, context).to.deep.equal([...pushed].sort())
  expect(
    clients.some(({ beganGone }) => beganGone),
    context,
  ).to.equal(false)
  expect(world.failures, context).to.deep.equal([])
}
