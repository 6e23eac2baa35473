/** Changes of members are known at once by announcements, and without them with the next ping. */
import { expect } from 'chai'
import { begin, type Layout } from '../../src/core/topology.ts'
import { CoordinatorUnderTest, PING_INTERVAL_MS } from '../support/coordinator-under-test.ts'

describe('announcements of changes', () => {
  let all: CoordinatorUnderTest[]

  async function started(announces: boolean): Promise<void> {
    const first = await CoordinatorUnderTest.started({ announces })
    all = [first]
    for (const coordinator of [2, 3]) {
      const next = new CoordinatorUnderTest({ beside: first, coordinator, announces })
      await next.start()
      all.push(next)
    }
    await first.time.advance(2 * PING_INTERVAL_MS + 100)
  }
  const withoutLast = (layout: Layout): Layout => ({ ...layout, members: layout.members.slice(0, -1) })
  const change = () =>
    all[0]!.done(all[0]!.cluster.membership.change((from) => begin(from, withoutLast(from.layout))))
  const epochs = () => all.map(({ cluster }) => cluster.placement.epoch)
  /** Milliseconds until all have the second epoch. */
  async function agreedAfter(): Promise<number> {
    const { time } = all[0]!
    const sinceMs = time.monotonicMs()
    while (epochs().some((epoch) => epoch < 2)) await time.advance(10)
    return time.monotonicMs() - sinceMs
  }

  it('reach all others long before their next ping', async () => {
    await started(true)
    await change()
    expect(await agreedAfter()).to.be.at.most(100)
  })

  it('are not needed: the next ping finds the change', async () => {
    await started(false)
    await change()
    expect(await agreedAfter()).to.be.within(300, 2 * PING_INTERVAL_MS)
  })

  it('are sent on three nodes, so that one of them is enough', async () => {
    await started(true)
    const listening = all[0]!.nodes.map((node) => node.memory.storage.listeners.size)
    expect(listening).to.deep.equal([3, 3, 3, 0])
    for (const under of all) {
      for (const node of under.nodes.slice(0, 2)) node.announce = () => Promise.reject(new Error('forbidden'))
    }
    await change()
    expect(await agreedAfter()).to.be.at.most(100)
  })

  it('of others who publish there cost at most twenty probes a second, and nothing else', async () => {
    await started(true)
    const [, under] = all
    const probesBefore = under!.nodes[0]!.probes
    for (let i = 0; i < 1000; i++) {
      await under!.nodes[0]!.announce()
      await under!.time.advance(1)
    }
    expect(under!.nodes[0]!.probes - probesBefore).to.be.within(5, 25)
    expect(epochs()).to.deep.equal([1, 1, 1])
  })

  it('are listened to elsewhere when a node is down, and there again when it is back', async () => {
    await started(true)
    const [, under] = all
    const [first] = under!.nodes
    const { listeners } = first!.memory.storage
    first!.cut()
    await under!.time.advance(2 * PING_INTERVAL_MS)
    expect(listeners.size).to.equal(2)
    expect(under!.nodes[3]!.memory.storage.listeners.size).to.equal(1)
    first!.heal()
    await under!.time.advance(3 * PING_INTERVAL_MS)
    expect(listeners.size).to.equal(3)
    expect(under!.nodes[3]!.memory.storage.listeners.size).to.equal(0)
  })

  it('that are forbidden are named once, and the node is used all the same', async () => {
    const under = new CoordinatorUnderTest({ announces: true })
    under.nodes[0]!.subscribe = (to) => {
      under.time.endOfTurn(() => to.ended('NOPERM'))
      return { close: () => undefined }
    }
    await under.start()
    await under.time.advance(200_000)
    expect(under.told('announcements-refused')).to.deep.equal([
      { kind: 'announcements-refused', node: 'node-1', why: 'NOPERM' },
    ])
    expect(under.cluster.members[0]!.health.state).to.equal('up')
  })
})
