/** Servers that a DNS name leads to join by themselves: with a name that the test sets, on virtual time. */
import { expect } from 'chai'
import { Discovery, type Names } from '../../src/repair/discovery.ts'
import { AntiEntropy } from '../../src/repair/round/anti-entropy.ts'
import { Rebalance } from '../../src/repair/rebalance.ts'
import { Repairer } from '../../src/repair/repairer.ts'
import { FaultyNode } from '../support/faulty-node.ts'
import { RepairUnderTest, RepairUnderTestBeside } from './repair-under-test.ts'

const [FOUR, FIVE, SIX] = ['10.0.0.4:6379', '10.0.0.5:6379', '10.0.0.6:6379'] as const
const DELAY_MS = 60_000
const name = 'redis.cache:6379'

/** A name that leads where the test says; null = it cannot be resolved. */
class FakeNames implements Names {
  leadsTo: readonly string[] | null = []
  readonly ofMembers = new Map<string, string>()

  find(): Promise<readonly string[]> {
    return this.leadsTo ? Promise.resolve(this.leadsTo) : Promise.reject(new Error('no such name'))
  }

  placesOf(url: string): Promise<readonly string[]> {
    const known = this.ofMembers.get(url.replace('redis://', ''))
    return Promise.resolve(known === undefined ? [] : [known])
  }
}

describe('discovery by a DNS name', function () {
  this.timeout(60_000)
  let first: RepairUnderTest
  let names: FakeNames
  let workers: { start(): void; stop(): Promise<void> }[]

  const discoveryOf = ({ context }: RepairUnderTest) =>
    new Discovery(context, { names, name, tls: false, delayMs: DELAY_MS })
  const working = ({ context }: RepairUnderTest) => {
    const rounds = new AntiEntropy(context, { intervalMs: 0, keysPerSecond: 0, random: () => 0 })
    return [new Repairer(context), new Rebalance(context, rounds)]
  }

  beforeEach(async () => {
    first = await RepairUnderTest.started({ nodes: 3, replicas: 3 })
    names = new FakeNames()
    workers = [...working(first), discoveryOf(first)]
    for (const worker of workers) worker.start()
  })
  afterEach(async () => {
    for (const worker of workers) await first.until(worker.stop())
    await first.under.cluster.stop()
  })

  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 50) await first.time.advance(50)
  }
  const ids = () => first.under.cluster.members.map(({ id }) => id).filter((id) => !id.startsWith('node-'))
  const told = (kind: string, { under } = first) =>
    under.events.filter((event) => event.kind === kind) as unknown as Record<string, unknown>[]
  const server = (address: string) => {
    const node = new FaultyNode(address, first.time, undefined, address)
    first.under.nodes.push(node)
    return node
  }

  it('joins a server once the name has led to it for the delay, and not before', async () => {
    names.leadsTo = [FOUR]
    await pass(DELAY_MS)
    expect(ids()).to.deep.equal([])
    await pass(30_000)
    expect(ids()).to.deep.equal([FOUR])
    const { members } = first.under.cluster.topology!.layout
    expect(members.at(-1)).to.deep.include({ id: FOUR, url: `redis://${FOUR}`, weight: 1, zone: null })
    expect(told('discovered')).to.deep.equal([{ kind: 'discovered', name, nodes: [FOUR], waits: false }])
    await pass(DELAY_MS)
    expect(first.under.cluster.topology!.epoch, 'one change').to.equal(4)
  })

  it('begins to wait again for an address that was gone in between', async () => {
    names.leadsTo = [FOUR]
    await pass(DELAY_MS - 10_000)
    names.leadsTo = [FIVE]
    await pass(6000)
    names.leadsTo = [FOUR]
    await pass(DELAY_MS)
    expect(ids()).to.deep.equal([])
    await pass(30_000)
    expect(ids()).to.deep.equal([FOUR])
  })

  it('joins several in one change, also beside one that may not join', async () => {
    server(FIVE).memory.storage.set(Buffer.from('k'), Buffer.from('of others'), 3_600_000)
    names.leadsTo = [FOUR, FIVE, SIX]
    await pass(DELAY_MS + 30_000)
    expect(ids()).to.deep.equal([FOUR, SIX])
    expect(first.under.cluster.topology!.epoch).to.equal(4)
    const [refused, ...more] = told('discovery-refused')
    expect(refused).to.deep.include({ name, address: FIVE })
    expect(refused!.why).to.match(/holds 1 keys; a node that joins must be empty/)
    expect(more).to.deep.equal([])
  })

  it('tries one that was refused again, less and less often, and joins it when that is mended', async () => {
    const { storage } = server(FOUR).memory
    storage.set(Buffer.from('k'), Buffer.from('of others'), 3_600_000)
    names.leadsTo = [FOUR]
    const tries: number[] = []
    const { changes } = first.under.cluster
    const rehearse = changes.rehearse.bind(changes)
    changes.rehearse = (...asked) => {
      tries.push(first.time.monotonicMs())
      return rehearse(...asked)
    }
    await pass(DELAY_MS + 5 * 60_000)
    expect(ids()).to.deep.equal([])
    const pauses = tries.slice(1).map((at, i) => Math.round((at - tries[i]!) / 10_000))
    expect(pauses).to.deep.equal([1, 2, 4, 8])
    expect(told('discovery-refused'), 'the same reason, told once').to.have.length(1)
    storage.delete(Buffer.from('k'))
    await pass(4 * 60_000)
    expect(ids()).to.deep.equal([FOUR])
  })

  it('removes nobody whose address is gone, and says once what to do', async () => {
    names.leadsTo = [FOUR, FIVE]
    await pass(DELAY_MS + 30_000)
    names.leadsTo = [FIVE]
    await pass(DELAY_MS - 10_000)
    expect(told('discovery-gone'), 'not before the delay').to.deep.equal([])
    await pass(60_000)
    expect(told('discovery-gone')).to.deep.equal([
      { kind: 'discovery-gone', name, node: FOUR, address: FOUR },
    ])
    expect(ids()).to.deep.equal([FOUR, FIVE])
  })

  it('tells once that the name cannot be resolved, takes that for no answer, and tells that it can again', async () => {
    names.leadsTo = [FOUR]
    await pass(DELAY_MS + 30_000)
    names.leadsTo = null
    await pass(3 * DELAY_MS)
    expect(told('discovery-name')).to.deep.equal([{ kind: 'discovery-name', name, why: 'no such name' }])
    expect(told('discovery-gone')).to.deep.equal([])
    names.leadsTo = [FOUR]
    await pass(10_000)
    expect(told('discovery-name').at(-1)).to.deep.equal({ kind: 'discovery-name', name, why: null })
    expect(told('discovery-name')).to.have.length(2)
  })

  it('takes no member that is known by a name of its own for a new one', async () => {
    names.ofMembers.set('node-1:6379', FOUR)
    names.leadsTo = ['node-2:6379', FOUR]
    await pass(2 * DELAY_MS)
    expect(ids()).to.deep.equal([])
    expect(told('discovery-refused')).to.deep.equal([])
  })

  it('does not take back a member that has left, and still answers', async () => {
    names.leadsTo = [FOUR]
    await pass(DELAY_MS + 30_000)
    await first.until(first.under.cluster.queue.request({ leave: [FOUR] }))
    await pass(2 * DELAY_MS)
    expect(ids()).to.deep.equal([])
    expect(told('discovery-refused')[0]!.why).to.match(/was node 10.0.0.4:6379 of this cluster/)
  })

  it('waits for the change that is under way', async () => {
    names.leadsTo = [FOUR]
    await pass(DELAY_MS - 10_000)
    const rebalance = workers[1] as Rebalance
    const asked = { join: [{ id: 'by-hand', url: `redis://${SIX}`, weight: 1, zone: null }] }
    await first.until(first.under.cluster.queue.request(asked))
    await first.until(rebalance.pause())
    await pass(30_000)
    expect(told('discovered')).to.deep.equal([{ kind: 'discovered', name, nodes: [FOUR], waits: true }])
    await first.until(rebalance.resume())
    await pass(30_000)
    expect(ids()).to.deep.equal([FOUR, 'by-hand'])
  })

  it('is done by one of several coordinators, and none of them complains', async () => {
    const second = new RepairUnderTestBeside(first)
    await second.under.start()
    workers.push(...working(second), discoveryOf(second))
    for (const worker of workers.slice(-3)) worker.start()
    names.leadsTo = [FOUR, FIVE]
    await pass(DELAY_MS + 60_000)
    expect(ids()).to.deep.equal([FOUR, FIVE])
    expect(first.under.cluster.topology!.epoch, 'one change').to.equal(4)
    const events = [first, second].flatMap((one) => [
      ...told('discovered', one),
      ...told('discovery-refused', one),
      ...told('background-failed', one),
    ])
    expect(events.map(({ kind }) => kind)).to.deep.equal(['discovered'])
    for (const worker of workers.splice(-3)) await first.until(worker.stop())
    await second.under.cluster.stop()
  })
})
