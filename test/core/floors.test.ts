// Floors: what FLUSHALL and FLUSHDB make nothing of, and how the topology carries them.
import { expect } from 'chai'
import { VERSION_ZERO, versionText } from '../../src/core/clock.ts'
import { Floors } from '../../src/core/floors.ts'
import { MARKER_KEY, storedKey } from '../../src/core/keys.ts'
import {
  advance,
  begin,
  encodeTopology,
  floorsAt,
  floorSince,
  founded,
  parseTopology,
  placementOf,
  raiseFloor,
  StepRefused,
  sumOf,
  type Layout,
} from '../../src/core/topology.ts'
import { version } from '../support/node-calls.ts'

const KEY = Buffer.from('key')
const at = (ms: number) => version({ ms })
const layout = (ids: readonly string[]): Layout => {
  const members = ids.map((id, i) => ({ id, url: null, weight: 1, zone: null, ordinal: i + 1, life: 1 }))
  return { members, replicas: 2, vnodes: 8 }
}

describe('floors', () => {
  it('make nothing of what has no later version, and of what Rondo did not write', () => {
    const floors = new Floors([{ database: null, version: at(100) }])
    for (const below of [VERSION_ZERO, at(1), at(100)]) expect(floors.isBelow(KEY, below)).to.equal(true)
    expect(floors.isBelow(KEY, at(101))).to.equal(false)
  })

  it('are of one database or of all, and the higher one counts', () => {
    const floors = new Floors([
      { database: null, version: at(100) },
      { database: 3, version: at(200) },
    ])
    expect(floors.isBelow(KEY, at(150))).to.equal(false)
    expect(floors.isBelow(storedKey(3, KEY), at(150))).to.equal(true)
    expect(floors.isBelow(storedKey(3, KEY), at(201))).to.equal(false)
    expect(floors.isBelow(storedKey(2, KEY), at(150))).to.equal(false)
    expect(floors.isBelow(storedKey(2, KEY), at(100))).to.equal(true)
    expect(new Floors([{ database: 0, version: at(1) }]).isBelow(storedKey(1, KEY), at(1))).to.equal(false)
  })

  it('do not concern internal keys', () => {
    expect(new Floors([{ database: null, version: at(100) }]).isBelow(MARKER_KEY, VERSION_ZERO)).to.equal(
      false,
    )
  })
})

describe('a flush as a step of the topology', () => {
  const from = founded('c', layout(['a', 'b', 'c']))
  const flush = { database: null, version: at(100) }

  it('is one epoch, in which the floor is in force on the nodes that have it', () => {
    const next = raiseFloor(from, flush)
    expect(next.epoch).to.equal(from.epoch + 1)
    expect(floorSince(next, flush)).to.equal(next.epoch)
    expect(floorSince(next, { database: 3, version: at(99) })).to.equal(next.epoch)
    expect(floorSince(next, { database: null, version: at(101) })).to.equal(null)
    expect(floorsAt(next, next.epoch - 1)).to.equal(null)
    expect(floorsAt(next, next.epoch)!.isBelow(KEY, at(100))).to.equal(true)
  })

  it('lets no answer count from before it, whatever members have done before', () => {
    const nodes = new Map<string, { id: string }>()
    const nodeOf = ({ id }: { id: string }) => {
      if (!nodes.has(id)) nodes.set(id, { id })
      return nodes.get(id)!
    }
    const next = raiseFloor(from, flush)
    expect(next.since, 'of the last change of members').to.equal(from.since)
    expect(placementOf(next, nodeOf).since).to.equal(next.epoch)
    const changing = begin(next, layout(['a', 'b']))
    expect(placementOf(changing, nodeOf).since).to.equal(changing.epoch)
  })

  it('is not made while members change, and survives that', () => {
    let topology = begin(raiseFloor(from, flush), layout(['a', 'b']))
    expect(() => raiseFloor(topology, flush)).to.throw(StepRefused)
    while (topology.phase !== 'stable') topology = advance(topology)
    expect(floorSince(topology, flush)).to.equal(from.epoch + 1)
  })

  it('makes needless what is not higher: at most one floor of all, and one of each database', () => {
    let topology = from
    for (let i = 1; i <= 20; i++) topology = raiseFloor(topology, { database: i % 4, version: at(i) })
    expect(topology.floors!.length).to.equal(4)
    topology = raiseFloor(topology, { database: null, version: at(19) })
    expect(topology.floors!.map(({ database }) => database)).to.have.members([0, null])
    topology = raiseFloor(topology, { database: null, version: at(20) })
    expect(topology.floors).to.deep.equal([
      { database: null, version: versionText(at(20)), since: topology.epoch },
    ])
  })

  it('is read as it was written, and decides the sum; without a floor both are as before', () => {
    const next = raiseFloor(from, flush)
    expect(parseTopology(encodeTopology(next))).to.deep.equal({ kind: 'topology', topology: next })
    expect(sumOf(next)).to.not.equal(sumOf({ ...next, floors: undefined }))
    expect(encodeTopology(from).toString()).to.not.include('floors')
  })
})
