/** Coordinators see each other by the notes that they leave on the nodes, and what each sees of the nodes. */
import { expect } from 'chai'
import { CoordinatorUnderTest, PING_INTERVAL_MS } from '../support/coordinator-under-test.ts'

describe('the presence of coordinators', () => {
  let one: CoordinatorUnderTest
  let two: CoordinatorUnderTest

  beforeEach(async () => {
    one = await CoordinatorUnderTest.started({ name: 'host-1:8080', coordinator: 0xa })
    two = new CoordinatorUnderTest({ beside: one, coordinator: 0xb, name: 'host-2:8080' })
    await two.start()
    await one.time.advance(2 * PING_INTERVAL_MS)
  })

  const seenBy = (under: CoordinatorUnderTest) =>
    under.coordinator.clusterView().coordinators.map(({ name, state, isSelf }) => [name, state, isSelf])
  const othersOf = (under: CoordinatorUnderTest, id: string) =>
    under.coordinator.clusterView().members.find((member) => member.id === id)!

  it('is seen by all of them, with name, version and epoch, and no address of a node', () => {
    const { coordinators } = two.coordinator.clusterView()
    expect(
      coordinators.map(({ seenAgoSeconds, ...rest }) => (expect(seenAgoSeconds).to.be.below(4), rest)),
    ).to.deep.equal([
      { id: '0000000a', name: 'host-1:8080', version: '1.2.3', epoch: 1, state: 'alive', isSelf: false },
      { id: '0000000b', name: 'host-2:8080', version: '1.2.3', epoch: 1, state: 'alive', isSelf: true },
    ])
    const texts = one.nodes[0]!.memory.storage.notes.checkIn('x', '', 0).map(({ text }) => text)
    expect(texts.join()).to.not.match(/redis:|:6379/)
  })

  it('ends in suspect, then down, then nothing, when one is gone without a word', async () => {
    for (const node of two.nodes) node.network = () => new Promise(() => undefined)
    const states: string[] = []
    for (let i = 0; i < 220; i++) {
      await one.time.advance(PING_INTERVAL_MS)
      const [, state = 'gone'] = seenBy(one).find(([name]) => name === 'host-2:8080') ?? []
      if (states.at(-1) !== state) states.push(String(state))
    }
    expect(states).to.deep.equal(['alive', 'suspect', 'down', 'gone'])
  })

  it('ends at once when one stops in order', async () => {
    await two.cluster.stop()
    await one.time.advance(PING_INTERVAL_MS)
    expect(seenBy(one)).to.deep.equal([['host-1:8080', 'alive', true]])
  })

  it('tells which nodes the others do not see as alive, beside what this one sees', async () => {
    two.nodes[0]!.cut()
    await one.time.advance(3 * PING_INTERVAL_MS)
    expect(othersOf(one, 'node-1')).to.deep.include({
      health: 'alive',
      others: { alive: 0, suspect: [], down: ['0000000b'] },
    })
    expect(othersOf(two, 'node-1')).to.deep.include({
      health: 'down',
      others: { alive: 1, suspect: [], down: [] },
    })
    expect(othersOf(one, 'node-2').others).to.deep.equal({ alive: 1, suspect: [], down: [] })
  })

  it('survives what nobody wrote there', async () => {
    for (const node of one.nodes) {
      for (const [i, text] of ['', '{', '[]', '{"name":5}', 'null'].entries()) {
        node.memory.storage.notes.checkIn(`other-${i}`, text, one.time.wallMs())
      }
    }
    await one.time.advance(2 * PING_INTERVAL_MS)
    expect(seenBy(one).map(([name]) => name)).to.deep.equal(['host-1:8080', 'host-2:8080'])
  })

  it('costs one call per ping, which reads the notes of all from one node in each interval', async () => {
    const calls: boolean[] = []
    for (const node of one.nodes) {
      const checkIn = node.checkIn.bind(node)
      node.checkIn = (marker, id, text, reads) => {
        calls.push(reads)
        return checkIn(marker, id, text, reads)
      }
    }
    await one.time.advance(10 * PING_INTERVAL_MS)
    expect(calls.length).to.be.within(36, 44)
    expect(calls.filter((reads) => reads).length).to.be.within(8, 21)
  })

  it('names a coordinator with other members before the first change, which is refused', async () => {
    const other = new CoordinatorUnderTest({
      beside: one,
      coordinator: 0xc,
      name: 'host-3:8080',
      replicas: 2,
    })
    await other.start()
    const refused = await one
      .done(one.cluster.changes.request({ leave: ['node-4'] }))
      .catch((error: Error) => error)
    expect(refused).to.have.property('code', 'CONFLICT')
    expect(refused)
      .to.have.property('message')
      .that.includes('oordinator host-3:8080 has other nodes, weights or settings')
    await other.cluster.stop()
    await one.time.advance(PING_INTERVAL_MS)
    const begun = await one.done(one.cluster.changes.request({ leave: ['node-4'] }))
    expect(begun.epoch).to.equal(2)
  })

  it('changes nothing where notes are refused', async () => {
    for (const node of one.nodes) node.checkIn = () => Promise.reject(new Error('NOPERM'))
    await one.time.advance(3 * PING_INTERVAL_MS)
    expect(one.cluster.members.every(({ health }) => health.state === 'up')).to.equal(true)
    expect((await one.put('key', 'value')).result).to.equal('ok')
  })
})
