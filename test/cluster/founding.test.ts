import { expect } from 'chai'
import { registeredIn } from '../../src/cluster/register.ts'
import { decodeMarker, encodeMarker } from '../../src/cluster/marker.ts'
import { KIND_NOTHING, KIND_TOMBSTONE, KIND_VALUE } from '../../src/core/codec.ts'
import { TOPOLOGY_KEY } from '../../src/core/keys.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'
import { record } from '../support/node-calls.ts'
import { seeded, seeds, type Random } from '../support/random.ts'
import type { VirtualTime } from '../support/virtual-time.ts'

interface Trouble {
  readonly maxDelayMs: number
  readonly loss: number
}

function sleep(time: VirtualTime, ms: number): Promise<void> {
  return new Promise((resolve) => void time.setTimeout(resolve, ms))
}

/** Delays, reorders, loses and delivers late whatever goes between this coordinator and its nodes. */
function disturb(under: CoordinatorUnderTest, random: Random, { maxDelayMs, loss }: Trouble): void {
  const { time } = under
  for (const node of under.nodes) {
    node.network = async (call) => {
      await sleep(time, random.below(maxDelayMs))
      if (random.chance(loss)) throw new Error('the question was lost')
      if (random.chance(loss)) {
        void sleep(time, random.below(20 * maxDelayMs)).then(call)
        throw new Error('the question is late, and its answer nobody waits for')
      }
      const answer = await call()
      await sleep(time, random.below(maxDelayMs))
      if (random.chance(loss)) throw new Error('the answer was lost')
      return answer
    }
  }
}

/** Several coordinators start at about the same time over the same blank nodes. */
async function foundTogether(seed: number, trouble: Trouble): Promise<CoordinatorUnderTest[]> {
  const random = seeded(seed)
  const nodes = random.pick([1, 2, 3, 4, 5])
  const first = new CoordinatorUnderTest({ nodes, coordinator: 1 })
  const all = [first]
  for (let i = 2; i <= random.pick([2, 3]); i++) {
    all.push(new CoordinatorUnderTest({ beside: first, coordinator: i }))
  }
  for (const under of all) {
    disturb(under, random, trouble)
    void sleep(first.time, random.below(2 * trouble.maxDelayMs)).then(() => under.cluster.start())
  }
  for (let i = 0; i < 100 && all.some((under) => under.nodes.some((node) => !node.ready)); i++) {
    await first.time.advance(200)
  }
  await first.time.advance(1000)
  return all
}

function expectOneCluster(all: CoordinatorUnderTest[], how: string): void {
  const known = all
    .flatMap((under) => under.told('cluster-known'))
    .map((event) => 'cluster' in event && event.cluster)
  expect(known, how).to.have.length(all.length)
  expect(new Set(known).size, `${how}: ${known.join(', ')}`).to.equal(1)
  for (const node of all[0]!.nodes) {
    const marker = decodeMarker(node.memory.storage.get(Buffer.from('__rondo:node'))!)
    expect(marker, how).to.include({ cluster: known[0], id: node.id })
  }
}

describe('founding a cluster', () => {
  it('by one coordinator: every member that was reached is clean', async () => {
    const under = await CoordinatorUnderTest.started()
    expectOneCluster([under], 'alone')
    expect(under.told('cluster-known')[0]).to.include({ founded: true })
    for (const member of under.cluster.members) expect(member.completeness).to.equal('clean')
  })

  describe('where the cluster is named (CLUSTER_ID)', () => {
    it('founds none, and says that it waits', async () => {
      const under = await CoordinatorUnderTest.started({ nodes: 3, clusterId: 'mine' })
      await under.time.advance(10_000)
      expect(under.cluster.id).to.equal(null)
      expect(under.cluster.ready).to.equal(false)
      expect(under.told('cluster-missing')).to.deep.equal([
        { kind: 'cluster-missing', cluster: 'mine', reached: 3, others: [] },
      ])
      for (const node of under.nodes) {
        expect(node.memory.storage.get(Buffer.from('__rondo:node'))).to.equal(null)
        expect(node.memory.storage.get(TOPOLOGY_KEY)).to.equal(null)
      }
    })

    it('joins no other one', async () => {
      const first = await CoordinatorUnderTest.started({ nodes: 3 })
      const under = new CoordinatorUnderTest({ beside: first, coordinator: 2, clusterId: 'mine' })
      await under.start()
      expect(under.cluster.id).to.equal(null)
      expect(under.told('cluster-missing')).to.deep.equal([
        { kind: 'cluster-missing', cluster: 'mine', reached: 3, others: [first.cluster.id] },
      ])
    })

    it('joins it where one node has its data, and fills those that were wiped', async () => {
      const first = await CoordinatorUnderTest.started({ nodes: 3 })
      for (const node of first.nodes.slice(0, 2)) node.memory.storage.wipe()
      const clusterId = first.cluster.id!
      const under = new CoordinatorUnderTest({ beside: first, coordinator: 2, clusterId })
      await under.start()
      await under.time.advance(2000)
      expect(under.cluster.id).to.equal(clusterId)
      const states = under.cluster.members.map(({ completeness }) => completeness)
      expect(states).to.deep.equal(['filling', 'filling', 'clean'])
    })
  })

  it('leaves the topology with the members, under its own epoch', async () => {
    const under = await CoordinatorUnderTest.started()
    for (const node of under.nodes) {
      const found = registeredIn(node.memory.storage.get(TOPOLOGY_KEY))
      expect(found).to.deep.equal({ kind: 'topology', topology: under.cluster.topology })
      expect(under.cluster.topology).to.deep.include({ cluster: under.cluster.id, epoch: 1, phase: 'stable' })
      expect(under.cluster.topology!.layout).to.deep.equal({
        members: [1, 2, 3, 4].map((n) => {
          const id = `node-${n}`
          return { id, url: `redis://${id}:6379`, weight: 1, zone: null, ordinal: n, life: 1 }
        }),
        replicas: 3,
        vnodes: 20,
      })
    }
  })

  it('needs a majority; who comes late has to be filled', async () => {
    const under = new CoordinatorUnderTest()
    const [a, b, c, d] = under.nodes
    for (const node of [b, c, d]) node!.cut()
    b!.reachable = true
    await under.start()
    expect(under.cluster.id).to.equal(null)
    expect(under.told('cluster-waiting')).to.deep.equal([
      { kind: 'cluster-waiting', reached: 2, needed: 3, members: 4, refused: 0 },
    ])
    expect(a!.memory.storage.get(Buffer.from('__rondo:node'))).to.equal(null)
    c!.heal()
    await under.time.advance(5000)
    expect(under.cluster.id).to.be.a('string')
    d!.heal()
    await under.time.advance(5000)
    expect(under.cluster.members.map((member) => member.completeness)).to.deep.equal([
      'clean',
      'clean',
      'clean',
      'filling',
    ])
  })

  it('a member that restarts before it is marked does not begin as clean', async () => {
    const under = new CoordinatorUnderTest()
    const d = under.nodes[3]!
    const swap = d.swapMarker.bind(d)
    let restarted = false
    d.swapMarker = (expected, next) => {
      if (restarted) return swap(expected, next)
      restarted = true
      d.wipe()
      return Promise.reject(new Error('gone'))
    }
    await under.start()
    await under.time.advance(3000)
    expect(under.member(d).completeness).to.equal('filling')
  })

  it('does not take part where somebody else keeps something under our names', async () => {
    const under = new CoordinatorUnderTest()
    for (const node of under.nodes.slice(0, 2)) {
      node.memory.storage.set(Buffer.from('__rondo:node'), Buffer.from('theirs'), Infinity)
    }
    await under.start()
    expect(under.cluster.id).to.equal(null)
    expect(under.nodes[0]!.memory.storage.get(Buffer.from('__rondo:node'))!.toString()).to.equal('theirs')
  })

  for (const [what, rename] of [
    ['which had no ids when the cluster was founded', (id: string) => `127.0.0.1:${id.at(-1)}`],
    ['whose addresses were exchanged', (id: string) => `node-${5 - Number(id.at(-1))}`],
    ['of another cluster', (id: string) => `their-${id}`],
  ] as const) {
    it(`says of nodes ${what} which they are, what they are called, and what to do`, async () => {
      const first = await CoordinatorUnderTest.started()
      await first.cluster.stop()
      const cluster = first.cluster.id!
      const key = Buffer.from('__rondo:node')
      const markers = first.nodes.map((node) => {
        const found = decodeMarker(node.memory.storage.get(key)!)!
        const bytes = encodeMarker({ ...found, id: rename(node.id) })
        node.memory.storage.set(key, bytes, Infinity)
        return bytes
      })
      const later = await CoordinatorUnderTest.started({ beside: first, coordinator: 2 })
      await later.time.advance(7000)
      expect(later.cluster.id).to.equal(null)
      expect(later.told('cluster-waiting')).to.deep.equal([
        { kind: 'cluster-waiting', reached: 0, needed: 3, members: 4, refused: 4 },
      ])
      const whys = later.nodes.map(
        ({ id }) =>
          `it is node ${rename(id)} of cluster ${cluster}, and REDIS_URLS calls it ${id}: give it the id that it ` +
          `has there (${rename(id)}=host:port), or correct the address; a node whose data is not needed can be ` +
          'emptied with FLUSHALL',
      )
      expect(later.told('node-completeness')).to.deep.equal(
        later.nodes.map(({ id: node }, i) => {
          return { kind: 'node-completeness', node, from: 'unknown', to: 'refused', why: whys[i] }
        }),
      )
      later.cluster.members.forEach(({ lastError }, i) => expect(lastError).to.equal(`refused: ${whys[i]}`))
      expect(later.nodes.map((node) => node.memory.storage.get(key))).to.deep.equal(markers)
      expect(await later.put('k', 'v')).to.include({ result: 'UNAVAILABLE' })
    })
  }

  it('uses a node that it had refused, once others show that it is in its place after all', async () => {
    const first = await CoordinatorUnderTest.started()
    await first.cluster.stop()
    const key = Buffer.from('__rondo:node')
    const swap = (from: number, to: number) => {
      const markers = [from, to].map((i) => first.nodes[i]!.memory.storage.get(key)!)
      first.nodes[from]!.memory.storage.set(key, markers[1]!, Infinity)
      first.nodes[to]!.memory.storage.set(key, markers[0]!, Infinity)
    }
    swap(0, 1)
    const later = new CoordinatorUnderTest({ beside: first, coordinator: 2 })
    for (const node of later.nodes.slice(2)) node.cut()
    await later.start()
    const states = () => later.cluster.members.map(({ completeness }) => completeness)
    expect(states()).to.deep.equal(['refused', 'refused', 'unknown', 'unknown'])
    for (const node of later.nodes) node.heal()
    await later.time.advance(7000)
    expect(later.cluster.id).to.equal(first.cluster.id)
    expect(states()).to.deep.equal(['refused', 'refused', 'clean', 'clean'])
    swap(0, 1)
    await later.time.advance(7000)
    expect(states()).to.deep.equal(['clean', 'clean', 'clean', 'clean'])
    expect(later.cluster.members[0]!.lastError).to.equal(null)
  })

  it('is not done twice: a coordinator that comes later meets the cluster', async () => {
    const first = await CoordinatorUnderTest.started()
    const later = await CoordinatorUnderTest.started({ beside: first, coordinator: 2 })
    expectOneCluster([first, later], 'one after the other')
    expect(later.told('cluster-known')[0]).to.include({ founded: false })
    for (const member of later.cluster.members) expect(member.completeness).to.equal('clean')
  })

  it('is not done anew for a member that was wiped', async () => {
    const first = await CoordinatorUnderTest.started()
    await first.cluster.stop()
    for (const node of first.nodes.slice(0, 3)) node.flush()
    const later = await CoordinatorUnderTest.started({ beside: first, coordinator: 2 })
    expect(later.cluster.id).to.equal(first.cluster.id)
    await later.time.advance(2000)
    expect(later.cluster.members.map((member) => member.completeness)).to.deep.equal([
      'filling',
      'filling',
      'filling',
      'clean',
    ])
  })

  it('does not join the cluster of a node that has come from elsewhere', async () => {
    const elsewhere = await CoordinatorUnderTest.started({ coordinator: 9 })
    const under = new CoordinatorUnderTest()
    const foreign = elsewhere.nodes[1]!.memory.storage.get(Buffer.from('__rondo:node'))!
    under.nodes[0]!.memory.storage.set(Buffer.from('__rondo:node'), Buffer.from(foreign), Infinity)
    await under.start()
    expect(under.cluster.id).to.be.a('string').and.not.equal(elsewhere.cluster.id)
    expect(under.cluster.members.map((member) => member.completeness)).to.deep.equal([
      'refused',
      'clean',
      'clean',
      'clean',
    ])
    expect(under.nodes[0]!.memory.storage.get(Buffer.from('__rondo:node'))).to.deep.equal(foreign)
  })

  it('together, on a sound network: one cluster, and every member clean for every coordinator', async () => {
    for (const seed of seeds(60)) {
      const all = await foundTogether(seed, { maxDelayMs: 20, loss: 0 })
      const how = `RONDO_SEED=${seed}`
      expectOneCluster(all, how)
      for (const under of all) {
        const states = under.cluster.members.map((member) => member.completeness)
        expect(new Set(states), `${how}: ${states.join()}`).to.deep.equal(new Set(['clean']))
      }
      await Promise.all(all.map((under) => under.cluster.stop()))
    }
  }).timeout(20_000)

  it('together, where messages are late, overtake each other and are lost: never two clusters', async () => {
    for (const seed of seeds(150)) {
      const all = await foundTogether(seed, { maxDelayMs: 80, loss: 0.15 })
      expectOneCluster(all, `RONDO_SEED=${seed}`)
      await Promise.all(all.map((under) => under.cluster.stop()))
    }
  }).timeout(30_000)
})

describe('a topology', () => {
  const bytesOf = (value: string, kind = KIND_VALUE) => {
    const { head, value: body } = record(1, value, { kind })
    return Buffer.concat([head, body])
  }
  const topology = { cluster: 'c', epoch: 1, members: ['a', 'b'] }

  it('is read as it was written', () => {
    const ids = { kind: 'ids', cluster: 'c', ids: ['a', 'b'] }
    expect(registeredIn(bytesOf(JSON.stringify(topology)))).to.deep.equal(ids)
  })

  it('is not there yet where there is nothing, or only a promise', () => {
    expect(registeredIn(null)).to.equal(null)
    expect(registeredIn(bytesOf('{}', KIND_NOTHING))).to.equal(null)
  })

  const damaged: [string, Buffer][] = [
    ['no record', Buffer.from(JSON.stringify(topology))],
    ['a tombstone', bytesOf(JSON.stringify(topology), KIND_TOMBSTONE)],
    ['empty', bytesOf('')],
    ['half', bytesOf('{"cluster":')],
    ...[
      null,
      7,
      [],
      {},
      { ...topology, cluster: '' },
      { ...topology, cluster: 'c\n' },
      { ...topology, cluster: 'c'.repeat(10_000) },
      { ...topology, epoch: '1' },
      { ...topology, epoch: 1e300 },
      { ...topology, members: undefined },
      { ...topology, members: 5 },
      { ...topology, members: [] },
      { ...topology, members: ['a', 7] },
      { ...topology, members: ['a', null] },
    ].map((found): [string, Buffer] => [JSON.stringify(found).slice(0, 60), bytesOf(JSON.stringify(found))]),
  ]
  for (const [what, bytes] of damaged) {
    it(`is damaged when it is ${what}`, () => expect(registeredIn(bytes)).to.equal('damaged'))
  }
})
