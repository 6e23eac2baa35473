/** A change of members that is asked for during another one waits for its turn. */
import { expect } from 'chai'
import type { ChangeRequest } from '../../src/cluster/changes.ts'
import type { Begun } from '../../src/cluster/queue.ts'
import type { RondoError } from '../../src/core/errors.ts'
import { AntiEntropy } from '../../src/repair/round/anti-entropy.ts'
import { Rebalance } from '../../src/repair/rebalance.ts'
import { Repairer } from '../../src/repair/repairer.ts'
import { RepairUnderTest, RepairUnderTestBeside } from './repair-under-test.ts'

const KEYS = Array.from({ length: 50 }, (_, i) => `key:${i}`)
const joining = (id: string) => ({ id, url: `redis://${id}:6379`, weight: 1, zone: null })

describe('a change of members that is asked for during another one', function () {
  this.timeout(60_000)
  let first: RepairUnderTest
  let second: RepairUnderTestBeside
  /** Of each coordinator: what it does in the background. */
  let workers: { stop(): Promise<void> }[][]
  let rebalances: Rebalance[]

  beforeEach(async () => {
    first = await RepairUnderTest.started({ nodes: 4, replicas: 3 })
    second = new RepairUnderTestBeside(first)
    await second.under.start()
    rebalances = []
    workers = [first, second].map(({ context }) => {
      const rounds = new AntiEntropy(context, { intervalMs: 0, keysPerSecond: 0, random: () => 0 })
      const rebalance = new Rebalance(context, rounds)
      rebalances.push(rebalance)
      const all = [new Repairer(context), rebalance]
      for (const worker of all) worker.start()
      return all
    })
    for (const key of KEYS) expect((await first.under.put(key, `${key} v1`)).result).to.equal('ok')
  })
  afterEach(async () => {
    for (const worker of workers.flat()) await first.until(worker.stop())
    await first.under.cluster.stop()
    await second.under.cluster.stop()
  })

  const ask = (asked: Partial<ChangeRequest>, at = first, waits = true): Promise<Begun> =>
    first.until(at.under.cluster.queue.request(asked, waits))
  const refusal = (asked: Partial<ChangeRequest>, at = first) =>
    first.until(
      at.under.cluster.queue.request(asked).then(
        ({ queued }) => `asked: ${JSON.stringify(queued)}`,
        (error: RondoError) => `${error.code}: ${error.message}`,
      ),
    )
  const state = (of = 0) => first.until(rebalances[of]!.state())
  const queuedIds = () => first.under.cluster.queue.items.map(({ id }) => id)
  const ended = async () => {
    for (let i = 0; i < 12_000; i++) {
      await first.time.advance(10)
      const isOver = [first, second].every(
        ({ under }) => under.cluster.topology!.phase === 'stable' && under.cluster.queue.items.length === 0,
      )
      if (isOver) return
    }
    throw new Error(`it has not ended: ${JSON.stringify([first.under.cluster.topology, queuedIds()])}`)
  }
  const ids = ({ under } = first) => under.cluster.members.map(({ id }) => id)
  const everyKeyIs = async (text: (key: string) => string) => {
    await first.time.advance(15_000) // until the other one knows that all members are filled
    for (const key of KEYS) expect(await second.read(key), `${key} at quorum`).to.equal(text(key))
  }

  it('waits, is shown by every coordinator, and begins by itself; several begin as one', async () => {
    await ask({ join: [joining('node-5')] })
    await first.until(rebalances[0]!.pause())
    await first.time.advance(15_000)
    const waiting = await ask({ join: [joining('node-6')] }, second)
    expect(waiting.queued).to.deep.include({ place: 1 })
    expect(waiting.topology).to.deep.include({ epoch: 2, phase: 'both' })
    const last = await ask({ leave: ['node-1'], replicas: 2 })
    expect(last.queued).to.deep.include({ place: 2 })
    await first.time.advance(15_000)
    for (const one of [0, 1]) {
      const { queue } = await state(one)
      expect(queue).to.have.length(2)
      expect(queue[0]).to.deep.include({ id: waiting.queued!.id, askedAgoSeconds: 15, join: ['node-6'] })
      expect(queue[1]).to.deep.include({ id: last.queued!.id, leave: ['node-1'], replicas: 2 })
    }
    expect(first.under.coordinator.clusterView().queue).to.have.length(2)
    await first.until(rebalances[0]!.resume())
    await ended()
    for (const one of [first, second]) {
      expect(ids(one)).to.deep.equal(['node-2', 'node-3', 'node-4', 'node-5', 'node-6'])
      expect(one.under.cluster.topology!.layout.replicas).to.equal(2)
    }
    expect(first.under.cluster.topology!.epoch, 'two changes, of three epochs each').to.equal(1 + 3 + 3)
    expect((await state()).dropped).to.deep.equal([])
    await everyKeyIs((key) => `${key} v1`)
  })

  it('changes no epoch, nor what nodes refuse', async () => {
    await ask({ join: [joining('node-5')] })
    await first.until(rebalances[0]!.pause())
    const before = first.under.cluster.topology
    for (let i = 0; i < 3; i++) await ask({ weights: new Map([['node-1', 2 + i]]) })
    expect(first.under.cluster.topology).to.equal(before)
    expect(queuedIds()).to.have.length(3)
  })

  it('begins though the coordinator that was asked has stopped', async () => {
    await ask({ join: [joining('node-5')] })
    await ask({ leave: ['node-1'] })
    for (const worker of workers.shift()!) await first.until(worker.stop())
    await first.under.cluster.stop()
    for (let i = 0; i < 6000 && second.under.cluster.topology!.epoch < 7; i++) await first.time.advance(10)
    expect(ids(second)).to.deep.equal(['node-2', 'node-3', 'node-4', 'node-5'])
    await everyKeyIs((key) => `${key} v1`)
  })

  it('can be refused instead, if that is asked for', async () => {
    await ask({ join: [joining('node-5')] })
    const refused = await first.until(
      first.under.cluster.queue.request({ leave: ['node-1'] }, false).catch((error: RondoError) => error),
    )
    expect(refused).to.deep.include({ code: 'CONFLICT' })
    expect((refused as RondoError).message).to.match(/^Another change is under way \(epoch 2, both\)/)
    expect(queuedIds()).to.deep.equal([])
    await ended()
    expect(ids()).to.include.members(['node-1', 'node-5'])
  })

  it('is refused where it contradicts what comes before', async () => {
    await ask({ join: [joining('node-5')], leave: ['node-4'] })
    await first.until(rebalances[0]!.pause())
    await ask({ join: [joining('node-6')], leave: ['node-3'] })
    const refusals: [Partial<ChangeRequest>, RegExp][] = [
      [{ leave: ['node-4'] }, /^CONFLICT: node-4 is to leave by the change that is under way: wait/],
      [{ leave: ['node-5'] }, /^CONFLICT: node-5 is to join by the change that is under way/],
      [{ join: [joining('node-4')] }, /^CONFLICT: node-4 is to leave by the change that is under way/],
      [{ leave: ['node-3'] }, /^CONFLICT: node-3 is to leave by the change [\w-]+, which waits/],
      [{ leave: ['node-6'] }, /^CONFLICT: node-6 is to join by the change [\w-]+, which waits/],
      [{ join: [joining('node-6')] }, /^CONFLICT: node-6 is to join by the change [\w-]+, which waits/],
      [{ leave: ['nobody'] }, /^MEMBER_NOT_FOUND: There is no member nobody/],
      [{ join: [{ ...joining('x'), url: 'redis://node-5:6379' }] }, /^CONFLICT: node-5 is a member already/],
      [{ weights: new Map([['node-1', 1]]) }, /^CONFLICT: It would change nothing/],
    ]
    for (const [asked, why] of refusals) expect(await refusal(asked), JSON.stringify(asked)).to.match(why)
    expect(queuedIds()).to.have.length(1)
    // Of what only joins then, more can be said.
    expect(await refusal({ weights: new Map([['node-6', 2]]) })).to.match(/^asked/)
  })

  it('is refused where too many wait', async () => {
    await ask({ join: [joining('node-5')] })
    await first.until(rebalances[0]!.pause())
    for (let i = 0; i < 16; i++) await ask({ weights: new Map([['node-1', 2 + i]]) })
    expect(await refusal({ leave: ['node-1'] })).to.match(/^CONFLICT: 16 changes wait already/)
  })

  it('can be taken back, one or all', async () => {
    await ask({ join: [joining('node-5')] })
    await first.until(rebalances[0]!.pause())
    const one = await ask({ leave: ['node-1'] })
    await ask({ leave: ['node-2'] })
    await ask({ leave: ['node-3'] })
    const { queue } = second.under.cluster
    await first.until(queue.withdraw(one.queued!.id))
    expect(queue.items).to.have.length(2)
    const again = await first.until(queue.withdraw(one.queued!.id).catch((error: RondoError) => error))
    expect((again as RondoError).message).to.match(/^No change [\w-]+ waits/)
    await first.until(queue.withdraw(null))
    await first.until(rebalances[0]!.resume())
    await ended()
    expect(ids()).to.deep.equal(['node-1', 'node-2', 'node-3', 'node-4', 'node-5'])
  })

  it('is dropped when it has become impossible, and said why; others begin', async () => {
    await ask({ join: [joining('node-5')] })
    await first.until(rebalances[0]!.pause())
    const impossible = await ask({ weights: new Map([['node-5', 2]]) })
    await ask({ leave: ['node-1'] })
    await first.until(first.under.cluster.queue.cancel())
    await ended()
    expect(ids()).to.deep.equal(['node-2', 'node-3', 'node-4'])
    for (const one of [0, 1]) {
      const { dropped } = await state(one)
      expect(dropped).to.have.length(1)
      expect(dropped[0]!).to.deep.include({
        id: impossible.queued!.id,
        what: `${impossible.queued!.id} (weights {"node-5":2})`,
        why: 'There is no member node-5; /members lists them.',
      })
    }
    const events = [first, second].flatMap(({ under }) => under.events)
    expect(events.filter(({ kind }) => kind === 'change-dropped')).to.have.length(1)
  })

  it('waits while a server is filled that took the place of a member, which is shown as running', async () => {
    await first.until(rebalances[0]!.throttle(20))
    await first.until(first.under.cluster.queue.replace('node-2', 'redis://node-6:6379', false))
    await first.time.advance(5000)
    const filling = await state(1)
    expect(filling).to.deep.include({ state: 'running', phase: 'stable', epoch: 2, receiving: ['node-2'] })
    expect(filling.keys.expected).to.be.above(filling.keys.checked)
    expect(filling.keys.checked).to.be.above(0)
    const { queued } = await ask({ leave: ['node-3'] })
    expect(queued).to.deep.include({ place: 1 })
    await first.until(rebalances[0]!.throttle(0))
    await ended()
    expect(ids()).to.deep.equal(['node-1', 'node-2', 'node-4'])
    expect((await state()).state).to.equal('idle')
    await everyKeyIs((key) => `${key} v1`)
  })

  it('begins once a member that was replaced before it has been filled', async () => {
    await ask({ join: [joining('node-5')] })
    await first.until(first.under.cluster.queue.replace('node-2', 'redis://node-6:6379', false))
    await ask({ leave: ['node-3'] })
    const { queue } = await state()
    expect(queue[0]).to.deep.include({ replace: 'node-2', url: 'redis://node-6:6379' })
    expect(queue[1]).to.deep.include({ leave: ['node-3'] })
    await ended()
    expect((await state()).dropped).to.deep.equal([])
    expect(ids()).to.deep.equal(['node-1', 'node-2', 'node-4', 'node-5'])
    expect(first.under.cluster.members.find(({ id }) => id === 'node-2')!.url).to.equal('redis://node-6:6379')
    await everyKeyIs((key) => `${key} v1`)
  })
})
