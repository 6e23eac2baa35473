import { expect } from 'chai'
import fc from 'fast-check'
import { LISTED_NODES, Ring, type RingNode } from '../../src/core/ring.ts'
import { tokenOf, vnodeToken } from '../../src/core/token.ts'

const ids = (nodes: Iterable<RingNode>) => Array.from(nodes, (node) => node.id)
const named = (...names: string[]) => names.map((id) => ({ id }))
const keys = Array.from({ length: 20_000 }, (_, i) => Buffer.from(`user:${i}`))

/** How many of `keys` each node is the primary of, as a share of 1. */
function shares(ring: Ring): Record<string, number> {
  const found: Record<string, number> = Object.fromEntries(ring.nodes.map((node) => [node.id, 0]))
  for (const key of keys) found[ring.owner(key)!.id]! += 1 / keys.length
  return found
}

/** The rules of the preference list once more, as plainly as they can be written. */
function naiveWalk(nodes: readonly RingNode[], vnodesPerNode: number, token: number): string[] {
  const vnodes = nodes.flatMap((node) =>
    Array.from({ length: Math.max(1, Math.round(vnodesPerNode * (node.weight ?? 1))) }, (_, i) => ({
      token: vnodeToken(node.id, i),
      id: node.id,
      zone: node.zone === undefined ? `alone ${node.id}` : `zone ${node.zone}`,
    })),
  )
  vnodes.sort((a, b) => a.token - b.token || (a.id < b.id ? -1 : 1))
  const clockwise = [...vnodes.filter((v) => v.token >= token), ...vnodes.filter((v) => v.token < token)]
  const firstOfZone = new Map<string, string>()
  for (const { id, zone } of clockwise) if (!firstOfZone.has(zone)) firstOfZone.set(zone, id)
  return [...new Set([...firstOfZone.values(), ...clockwise.map(({ id }) => id)])]
}

const someNodes = fc.uniqueArray(
  fc.record(
    {
      id: fc.oneof(
        fc.string({ minLength: 1, maxLength: 8 }),
        fc.nat(99).map((n) => `redis-${n}`),
      ),
      weight: fc.constantFrom(0.01, 0.5, 1, 2, 3.3),
      zone: fc.constantFrom('a', 'b', 'c', undefined),
    },
    { requiredKeys: ['id'] },
  ),
  { selector: (node) => node.id, minLength: 1, maxLength: 24 },
)
const uint32 = fc.integer({ min: 0, max: 0xffffffff })

describe('the ring', () => {
  it('names the nodes in the order that the plainest reading of the rules gives', () => {
    fc.assert(
      fc.property(
        someNodes,
        fc.integer({ min: 1, max: 12 }),
        fc.array(uint32),
        (nodes, vnodesPerNode, random) => {
          const ring = Ring.of(nodes, { vnodesPerNode })
          const edges = Array.from({ length: ring.size }, (_, i) => ring.vnodeAt(i).token).slice(0, 40)
          const around = edges.flatMap((edge) => [
            Math.max(0, edge - 1),
            edge,
            Math.min(0xffffffff, edge + 1),
          ])
          for (const token of [0, 0xffffffff, ...random, ...around]) {
            const expected = naiveWalk(nodes, vnodesPerNode, token)
            expect(ids(ring.walkAt(token)), `walk at ${token}`).to.deep.equal(expected)
            expect(ids(ring.preferenceListAt(token)), `list at ${token}`).to.deep.equal(
              expected.slice(0, LISTED_NODES),
            )
          }
        },
      ),
    )
  })

  it('is the same in whatever order its nodes are given or added', () => {
    const shuffled = someNodes.chain((nodes) =>
      fc.tuple(fc.constant(nodes), fc.shuffledSubarray(nodes, { minLength: nodes.length })),
    )
    fc.assert(
      fc.property(shuffled, fc.array(uint32, { minLength: 5 }), ([nodes, other], tokens) => {
        const ring = Ring.of(nodes, { vnodesPerNode: 10 })
        const added = other.reduce(
          (grown, node) => grown.add(node),
          Ring.of<RingNode>([], { vnodesPerNode: 10 }),
        )
        for (const same of [Ring.of(other, { vnodesPerNode: 10 }), added]) {
          expect(same.checksum).to.equal(ring.checksum)
          expect(ids(same.nodes)).to.deep.equal(ids(ring.nodes))
          for (const token of tokens) {
            expect(ids(same.walkAt(token))).to.deep.equal(ids(ring.walkAt(token)))
          }
        }
      }),
    )
  })

  it('gives a token that two nodes have to the one with the smaller id', () => {
    // Real collisions, found by search.
    for (const [small, smallIndex, large, largeIndex] of [
      ['node-18', 45, 'redis-56', 19],
      ['cache-63', 7, 'redis-320', 1],
    ] as const) {
      const token = vnodeToken(small, smallIndex)
      expect(vnodeToken(large, largeIndex)).to.equal(token)
      for (const given of [named(small, large), named(large, small)]) {
        const ring = Ring.of(given)
        expect(ids(ring.preferenceListAt(token))).to.deep.equal([small, large])
        expect(ids(ring.walkAt(token))).to.deep.equal([small, large])
        const at = ring.indexAt(token)
        expect(ids([ring.vnodeAt(at).node, ring.vnodeAt(at + 1).node])).to.deep.equal([small, large])
        expect(ring.vnodeAt(at + 1).token).to.equal(token)
        expect(ring.rangeOf(token)).to.deep.equal({ start: ring.vnodeAt(at - 1).token, end: token })
        expect(ring.rangeOf(token + 1).start).to.equal(token)
      }
    }
  })

  it('gives a key to the first vnode at or after its token, and past the last one to the first', () => {
    const ring = Ring.of(named('a', 'b', 'c'))
    const last = ring.vnodeAt(ring.size - 1)
    expect(ring.preferenceListAt(last.token)[0]).to.equal(last.node)
    expect(ring.preferenceListAt(last.token + 1)[0]).to.equal(ring.vnodeAt(0).node)
    expect(ring.preferenceListAt(0)[0]).to.equal(ring.vnodeAt(0).node)
    const key = Buffer.from('user:1')
    const owner = ring.vnodeAt(ring.indexAt(tokenOf(key))).node
    expect(ring.owner(key)).to.equal(owner)
    expect(ring.preferenceList(key)[0]).to.equal(owner)
    expect(ring.walk(key).next().value).to.equal(owner)
  })

  it('places keys where earlier releases did', () => {
    const ring = Ring.of(named('redis-1', 'redis-2', 'redis-3', 'redis-4'))
    expect(ring.checksum).to.equal('b092b993c64d9c055661eef3452695a0')
    expect(ids(ring.preferenceList(Buffer.from('user:1')))).to.deep.equal([
      'redis-3',
      'redis-1',
      'redis-2',
      'redis-4',
    ])
    expect(ids(ring.preferenceList(Buffer.from('{user:1}:cart')))).to.deep.equal([
      'redis-3',
      'redis-1',
      'redis-2',
      'redis-4',
    ])
    expect(ids(ring.preferenceList(Buffer.from('')))).to.deep.equal([
      'redis-1',
      'redis-3',
      'redis-4',
      'redis-2',
    ])
  })

  it('names each node once, up to eight, and walks on to all of them', () => {
    const ring = Ring.of(Array.from({ length: 20 }, (_, i) => ({ id: `redis-${i}` })))
    for (const key of keys.slice(0, 500)) {
      const list = ids(ring.preferenceList(key))
      const walk = ids(ring.walk(key))
      expect(list).to.have.length(8)
      expect(new Set(walk).size).to.equal(20)
      expect(walk).to.have.length(20)
      expect(walk.slice(0, 8)).to.deep.equal(list)
    }
  })

  it('gives each of four nodes between 15 and 35 % of the keys', () => {
    for (const nodes of [
      named('redis-1', 'redis-2', 'redis-3', 'redis-4'),
      named('localhost:6379', 'localhost:6380', 'localhost:6381', 'localhost:6382'),
      named('10.0.0.1:6379', '10.0.0.2:6379', '10.0.0.3:6379', '10.0.0.4:6379'),
    ]) {
      for (const [id, share] of Object.entries(shares(Ring.of(nodes)))) {
        expect(share, id).to.be.within(0.15, 0.35)
      }
    }
  })

  it('spreads the copies of the keys of one node over all others', () => {
    const ring = Ring.of(named('redis-1', 'redis-2', 'redis-3', 'redis-4'))
    const seconds = new Set(
      keys.map((key) => ids(ring.preferenceList(key))).flatMap(([a, b]) => (a === 'redis-1' ? [b] : [])),
    )
    expect([...seconds].sort()).to.deep.equal(['redis-2', 'redis-3', 'redis-4'])
  })

  it('lets vnodes with the same preference list share it', () => {
    const ring = Ring.of(named('redis-1', 'redis-2', 'redis-3', 'redis-4'))
    const lists = new Set(
      Array.from({ length: ring.size }, (_, i) => ring.preferenceListAt(ring.vnodeAt(i).token)),
    )
    expect(ring.size).to.equal(400)
    expect(lists.size).to.be.at.most(24)
  })

  it('hands back the very objects it was given', () => {
    const nodes = [
      { id: 'b', port: 2 },
      { id: 'a', port: 1 },
    ]
    const ring = Ring.of(nodes)
    expect(ring.nodes).to.have.ordered.members([nodes[1], nodes[0]])
    expect(ring.preferenceListAt(7)).to.have.members(nodes)
    expect(ring.owner(keys[0]!)!.port).to.be.oneOf([1, 2])
  })

  it('tells the token range around a token', () => {
    const ring = Ring.of(named('a', 'b'), { vnodesPerNode: 2 })
    const tokens = Array.from({ length: 4 }, (_, i) => ring.vnodeAt(i).token)
    expect(ring.rangeOf(tokens[2]!)).to.deep.equal({ start: tokens[1], end: tokens[2] })
    expect(ring.rangeOf(tokens[2]! + 1)).to.deep.equal({ start: tokens[2], end: tokens[3] })
    expect(ring.rangeOf(0)).to.deep.equal({ start: tokens[3], end: tokens[0] })
    expect(ring.rangeOf(0xffffffff)).to.deep.equal({ start: tokens[3], end: tokens[0] })
    const single = Ring.of(named('a'), { vnodesPerNode: 1 })
    expect(single.rangeOf(5)).to.deep.equal({ start: vnodeToken('a', 0), end: vnodeToken('a', 0) })
    expect(() => ring.vnodeAt(4)).to.throw(RangeError, 'no vnode 4')
  })
})

describe('a ring that changes', () => {
  it('moves keys only to a node that is added', () => {
    fc.assert(
      fc.property(someNodes, fc.array(uint32, { minLength: 50 }), ([added, ...others], tokens) => {
        const before = Ring.of(others, { vnodesPerNode: 10 })
        const after = before.add(added!)
        for (const token of tokens) {
          const owner = after.preferenceListAt(token)[0]!
          if (owner !== added) expect(owner).to.equal(before.preferenceListAt(token)[0])
        }
      }),
    )
  })

  it('moves only the keys of a node that is removed, and these to the next of their list', () => {
    fc.assert(
      fc.property(someNodes, fc.array(uint32, { minLength: 50 }), (nodes, tokens) => {
        const plain = named(...ids(nodes))
        const before = Ring.of(plain, { vnodesPerNode: 10 })
        const after = before.remove(plain[0]!.id)
        for (const token of tokens) {
          expect(ids(after.walkAt(token))).to.deep.equal(
            ids(before.walkAt(token)).filter((id) => id !== plain[0]!.id),
          )
        }
      }),
    )
  })

  it('moves about a fifth of the keys when a fifth node comes', () => {
    const before = Ring.of(named('redis-1', 'redis-2', 'redis-3', 'redis-4'))
    const after = before.add({ id: 'redis-5' })
    const moved = keys.filter((key) => after.owner(key) !== before.owner(key))
    expect(moved.every((key) => after.owner(key)!.id === 'redis-5')).to.equal(true)
    expect(moved.length / keys.length).to.be.within(0.15, 0.25)
  })

  it('is a new ring: the old one stays as it was', () => {
    const given = named('c', 'a', 'b')
    const ring = Ring.of(given)
    const { checksum } = ring
    const lists = keys.slice(0, 100).map((key) => ids(ring.preferenceList(key)))
    const grown = ring.add({ id: 'd' })
    expect(ids(grown.nodes)).to.deep.equal(['a', 'b', 'c', 'd'])
    expect(ids(ring.remove('b').nodes)).to.deep.equal(['a', 'c'])
    expect(grown.remove('d').checksum).to.equal(checksum)
    given.pop()
    expect(ids(ring.nodes)).to.deep.equal(['a', 'b', 'c'])
    expect(ring.checksum).to.equal(checksum)
    expect(keys.slice(0, 100).map((key) => ids(ring.preferenceList(key)))).to.deep.equal(lists)
    expect(ids(given), 'the given array is not sorted in place').to.deep.equal(['c', 'a'])
  })

  it('cannot be changed through what it hands out', () => {
    const ring = Ring.of(named('a', 'b'))
    expect(() => (ring.nodes as RingNode[]).push({ id: 'c' })).to.throw(TypeError)
    expect(() => (ring.preferenceListAt(0) as RingNode[]).reverse()).to.throw(TypeError)
    expect(() => Object.assign(ring, { checksum: '' })).to.throw(TypeError)
  })

  it('keeps its number of vnodes per node', () => {
    const ring = Ring.of(named('a'), { vnodesPerNode: 7 })
    expect(ring.add({ id: 'b' }).size).to.equal(14)
    expect(ring.add({ id: 'b' }).remove('a').size).to.equal(7)
  })

  it('stays the same ring when a known id is added again, or an unknown one is removed', () => {
    const ring = Ring.of<RingNode>(named('a', 'b'))
    expect(ring.add({ id: 'a' })).to.equal(ring)
    expect(ring.add({ id: 'a', weight: 9, zone: 'z' }).checksum).to.equal(Ring.of(named('a', 'b')).checksum)
    expect(ring.remove('z')).to.equal(ring)
    expect(ring.remove('')).to.equal(ring)
  })

  it('has the default number of vnodes where 0 or less is asked for', () => {
    for (const vnodesPerNode of [0, -5, -Infinity]) {
      const ring = Ring.of(named('a', 'b'), { vnodesPerNode })
      expect([ring.vnodesPerNode, ring.checksum]).to.deep.equal([100, Ring.of(named('a', 'b')).checksum])
    }
  })

  it('is refused with the reason when an id is doubled or empty', () => {
    expect(() => Ring.of(named('x', 'y', 'x'))).to.throw('There are two nodes "x"')
    expect(() => Ring.of(named(''))).to.throw('needs an id')
  })
})

describe('weights', () => {
  it('give a node of weight 2 twice the vnodes and about twice the keys', () => {
    const ring = Ring.of([{ id: 'big', weight: 2 }, { id: 'one' }, { id: 'two', weight: 1 }])
    expect(ring.size).to.equal(400)
    expect(shares(ring).big).to.be.within(0.4, 0.6)
  })

  it('leave the lightest node one vnode, and round the others', () => {
    expect(Ring.of([{ id: 'a', weight: 0.0001 }]).size).to.equal(1)
    expect(Ring.of([{ id: 'a', weight: 0.255 }], { vnodesPerNode: 10 }).size).to.equal(3)
  })

  it('move keys only to the node whose weight grows', () => {
    const light = Ring.of([{ id: 'a' }, { id: 'b' }, { id: 'c' }])
    const heavy = Ring.of([{ id: 'a' }, { id: 'b', weight: 3 }, { id: 'c' }])
    for (const key of keys) {
      const owner = heavy.owner(key)!.id
      if (owner !== 'b') expect(owner).to.equal(light.owner(key)!.id)
    }
  })

  it('must be finite and above 0', () => {
    for (const weight of [0, -1, NaN, Infinity]) {
      expect(() => Ring.of([{ id: 'a', weight }]), `${weight}`).to.throw(RangeError, 'weight of node "a"')
    }
    for (const vnodesPerNode of [0.5, 1.5, NaN, Infinity]) {
      expect(() => Ring.of(named('a'), { vnodesPerNode })).to.throw(RangeError, 'vnodesPerNode')
    }
  })

  it('are refused when the vnodes would not fit, before memory runs out', () => {
    expect(() => Ring.of([{ id: 'a', weight: 1e300 }])).to.throw(RangeError, 'room for 2097152 vnodes')
  })
})

describe('zones', () => {
  const zoned = (zones: Record<string, string[]>) =>
    Object.entries(zones).flatMap(([zone, names]) => names.map((id) => ({ id, zone })))

  it('are used once each before any is used again, and then the rest follow in the order of the walk', () => {
    const nodes = zoned({ east: ['e1', 'e2', 'e3', 'e4'], west: ['w1', 'w2'], north: ['n1'] })
    const ring = Ring.of(nodes)
    const flat = Ring.of(named(...ids(nodes)))
    for (const key of keys.slice(0, 2000)) {
      const list = ring.preferenceList(key)
      expect(new Set(list.slice(0, 3).map((node) => node.zone)).size).to.equal(3)
      const firsts = ids(list.slice(0, 3))
      const walk = ids(flat.walk(key))
      expect(firsts, 'nearest first').to.deep.equal(walk.filter((id) => firsts.includes(id)))
      expect(ids(list.slice(3))).to.deep.equal(walk.filter((id) => !firsts.includes(id)))
    }
  })

  it('do not change who is the primary', () => {
    const nodes = zoned({ east: ['a', 'b', 'c'], west: ['d', 'e'] })
    const ring = Ring.of(nodes)
    const flat = Ring.of(named(...ids(nodes)))
    for (const key of keys.slice(0, 2000)) expect(ring.owner(key)!.id).to.equal(flat.owner(key)!.id)
  })

  it('have one node each where none is given, or an empty one', () => {
    const flat = Ring.of(named('a', 'b', 'c', 'd'))
    const empty = Ring.of(['a', 'b', 'c', 'd'].map((id) => ({ id, zone: '' })))
    const mixed = Ring.of([
      { id: 'a', zone: 'east' },
      { id: 'b', zone: 'east' },
      { id: 'c' },
      { id: 'd', zone: undefined },
    ])
    expect(empty.checksum).to.equal(flat.checksum)
    for (const key of keys.slice(0, 500)) {
      expect(ids(empty.preferenceList(key))).to.deep.equal(ids(flat.preferenceList(key)))
      const firsts = ids(mixed.preferenceList(key).slice(0, 3))
      expect(firsts).to.include.members(['c', 'd'])
    }
  })

  it('change nothing when all nodes are in one', () => {
    const flat = Ring.of(named('a', 'b', 'c'))
    const one = Ring.of(zoned({ east: ['a', 'b', 'c'] }))
    for (const key of keys.slice(0, 500)) {
      expect(ids(one.preferenceList(key))).to.deep.equal(ids(flat.preferenceList(key)))
    }
  })
})

describe('the checksum', () => {
  const checksum = (nodes: RingNode[], vnodesPerNode = 100) => Ring.of(nodes, { vnodesPerNode }).checksum

  it('is 32 hex digits, and does not mind a default spelled out', () => {
    expect(checksum(named('a'))).to.match(/^[0-9a-f]{32}$/)
    expect(checksum([{ id: 'a', weight: 1, zone: undefined }])).to.equal(checksum(named('a')))
  })

  it('differs when ids, weights, zones or vnodes differ', () => {
    const different = [
      checksum([]),
      checksum(named('a')),
      checksum(named('b')),
      checksum(named('a', 'b')),
      checksum(named('a,b')),
      checksum([{ id: 'a', weight: 2 }, { id: 'b' }]),
      checksum([{ id: 'a' }, { id: 'b', weight: 2 }]),
      checksum([{ id: 'a', zone: 'east' }, { id: 'b' }]),
      checksum([{ id: 'a', zone: 'west' }, { id: 'b' }]),
      checksum([{ id: 'a' }, { id: 'b', zone: 'east' }]),
      checksum(named('a', 'b'), 50),
    ]
    expect(new Set(different).size).to.equal(different.length)
  })
})

describe('an empty ring', () => {
  it('has no owner and empty lists, and can be added to', () => {
    const ring = Ring.of<RingNode>([])
    const key = Buffer.from('user:1')
    expect(ring.owner(key)).to.equal(undefined)
    expect(ring.preferenceList(key)).to.deep.equal([])
    expect([...ring.walk(key)]).to.deep.equal([])
    expect(ring.size).to.equal(0)
    expect(() => ring.rangeOf(0)).to.throw(RangeError)
    expect(ring.add({ id: 'a' }).owner(key)!.id).to.equal('a')
    expect(ring.add({ id: 'a' }).remove('a').checksum).to.equal(ring.checksum)
  })
})
