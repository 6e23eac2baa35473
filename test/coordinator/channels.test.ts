// Which nodes carry a channel, on virtual time: when publishers and subscribers go over to another one.
import { expect } from 'chai'
import type { Member } from '../../src/cluster/member.ts'
import { Carriers } from '../../src/coordinator/channels/carriers.ts'
import { Replies } from '../../src/coordinator/channels/replies.ts'
import { Placement } from '../../src/core/placement.ts'
import { MAX_ASKED, type Messenger, type MessengerEvents } from '../../src/nodes/node.ts'
import { VirtualTime } from '../support/virtual-time.ts'

const CHANNEL = Buffer.from('channel')
const TOPIC = Buffer.from('topic')

/** A node whose connections the test opens and ends. */
class FakeNode {
  readonly topics = new Set<string>()
  /** Of how many topics it was told in one command, at most. */
  mostTold = 0
  isUp = true
  private events: MessengerEvents | null = null
  private readonly time: VirtualTime

  constructor(time: VirtualTime) {
    this.time = time
  }

  messenger(events: MessengerEvents): Messenger {
    this.events = events
    this.topics.clear()
    this.time.setTimeout(() => (this.isUp ? events.opened() : events.ended('refused')), 1)
    const names = (to: object) => ('topics' in to ? (to.topics as Buffer[]) : [])
    return {
      listen: (to, done) => {
        for (const name of names(to)) this.topics.add(name.toString())
        done(null)
      },
      unlisten: (to) => {
        this.mostTold = Math.max(this.mostTold, names(to).length)
        for (const name of names(to)) this.topics.delete(name.toString())
      },
      publish: () => undefined,
      close: () => this.topics.clear(),
    }
  }

  die(): void {
    this.isUp = false
    this.topics.clear()
    this.events!.ended('the connection was lost')
  }
}

describe('the nodes of a channel', () => {
  let time: VirtualTime
  let nodes: Map<string, FakeNode>
  let placement: Placement<Member>
  let carriers: Carriers

  const placed = (epoch: number, ids: readonly string[]) => {
    const members = ids.map((id) => {
      const known = epoch > 1 ? placement.members.find((member) => member.id === id) : null
      if (known) return known
      const node = new FakeNode(time)
      nodes.set(id, node)
      return { id, node, weight: 1, zone: undefined, health: { state: 'up' } } as unknown as Member
    })
    return Placement.of({ epoch, members, replicationFactor: 2, vnodesPerNode: 16 })
  }
  const preference = () => placement.replicaSetOf(CHANNEL).preference.map(({ id }) => id)
  const published = () => carriers.carrierOf(CHANNEL, new Set())?.member.id
  const listened = () => [...nodes].flatMap(([id, { topics }]) => (topics.has('topic') ? [id] : []))

  beforeEach(async () => {
    time = new VirtualTime()
    nodes = new Map()
    placement = placed(1, ['a', 'b', 'c', 'd'])
    carriers = new Carriers({
      cluster: {
        get placement() {
          return placement
        },
      },
      clock: time,
      timers: time,
      emit: () => undefined,
      message: () => undefined,
      everywhere: [],
    })
    const started = carriers.start()
    await time.advance(10)
    await started
    carriers.hold([{ topic: TOPIC, channel: CHANNEL }], () => undefined)
  })
  afterEach(() => carriers.stop())

  it('publishes on the first, listens on all homes, and on the next ones while a home is away', async () => {
    const [first, second, third] = preference()
    expect(published()).to.equal(first)
    expect(listened().sort()).to.deep.equal([first, second].sort())
    nodes.get(first!)!.die()
    await time.advance(10)
    expect(published()).to.equal(second)
    expect(listened().sort()).to.deep.equal([second, third].sort())
  })

  it('publishes on a node that is back only when others have had three seconds to listen there', async () => {
    const [first, second] = preference()
    nodes.get(first!)!.die()
    await time.advance(1000)
    nodes.get(first!)!.isUp = true
    await time.advance(300)
    expect(listened()).to.include(first)
    expect(published()).to.equal(second)
    await time.advance(2500)
    expect(published()).to.equal(second)
    await time.advance(500)
    expect(published()).to.equal(first)
  })

  it('follows a change of members late where it publishes, and leaves late where it listens', async () => {
    const before = preference()
    const joiners = Array.from({ length: 40 }, (_, i) => `j${i}`)
    placement = placed(2, ['a', 'b', 'c', 'd', ...joiners])
    const after = preference()
    expect(after[0]).to.not.equal(before[0])
    await time.advance(500)
    expect(published()).to.equal(before[0])
    expect(listened()).to.include.members([before[0]!, before[1]!, after[0]!, after[1]!])
    await time.advance(3500)
    expect(published()).to.equal(after[0])
    expect(listened()).to.include(before[0])
    await time.advance(4000)
    expect(listened().sort()).to.deep.equal([after[0], after[1]].sort())
  })

  it('asks all coordinators over a node that stays: others may have left the former one long ago', async () => {
    const asked = () => carriers.anyCarrier()!.member.id
    const [leaves, ...stay] = ['a', 'b', 'c', 'd']
    expect(asked()).to.equal(leaves)
    placement = placed(2, ['0', ...stay])
    expect(stay, 'at once').to.include(asked())
    await time.advance(2500)
    expect(stay, 'others may not have reached the one that has joined').to.include(asked())
    await time.advance(1500)
    for (const id of stay) nodes.get(id)!.die()
    await time.advance(10)
    expect(asked()).to.equal('0')
    nodes.get('0')!.die()
    await time.advance(10)
    expect(asked(), 'better than none').to.equal(leaves)
  })

  it('ends the many channels of a subscriber that is gone in many turns, not in one', async () => {
    const topics = Array.from({ length: 20_000 }, (_, i) => Buffer.from(`t${i}`))
    carriers.hold(
      topics.map((topic) => ({ topic, channel: topic })),
      () => undefined,
    )
    const held = () => [...nodes.values()].reduce((sum, node) => sum + node.topics.size, 0)
    expect(held()).to.equal(40_002)
    carriers.release(topics)
    // Somebody else wants one of them before the nodes were told that nobody does.
    carriers.hold([{ topic: topics[7]!, channel: topics[7]! }], () => undefined)
    expect(held()).to.equal(40_002)
    await time.advance(10)
    expect(held()).to.equal(4)
    for (const { mostTold } of nodes.values()) expect(mostTold).to.be.within(2, MAX_ASKED)
  })
})

describe('the answers of coordinators', () => {
  it('are waited for while parts of them arrive, and no longer', async () => {
    const time = new VirtualTime()
    const replies = new Replies({ clock: time, timers: time })
    const place = {}
    const ask = (number: number) => {
      const asked = { parts: 0, isOver: false }
      replies.expect(number, place, {
        receivers: 0,
        part: () => asked.parts++,
        done: () => (asked.isOver = true),
      })
      replies.passedOn(number, 1)
      return asked
    }
    const slow = ask(1)
    for (let i = 1; i <= 20; i++) {
      await time.advance(200)
      replies.part(1, Buffer.alloc(0))
    }
    expect(slow).to.deep.equal({ parts: 20, isOver: false })
    replies.answered(1, 0)
    expect(slow.isOver).to.equal(true)
    const broken = ask(2)
    replies.part(2, Buffer.alloc(0))
    await time.advance(600)
    expect(broken).to.deep.equal({ parts: 1, isOver: true })
    const endless = ask(3)
    for (let i = 1; i <= 200; i++) {
      replies.part(3, Buffer.alloc(0))
      await time.advance(100)
    }
    expect(endless.isOver).to.equal(true)
    expect(endless.parts).to.be.within(95, 105)
    replies.stop()
  })
})
