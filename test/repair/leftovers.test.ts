/** Parts of large collections that no root names, and how a round of anti-entropy removes them. */
import { expect } from 'chai'
import { NewEntries, pairEntry } from '../../src/commands/collections/entries.ts'
import { split } from '../../src/commands/collections/large/split.ts'
import { KIND_HASH, KIND_VALUE } from '../../src/core/codec.ts'
import { partsNamedIn, restamped, restampedPart } from '../../src/core/large-root.ts'
import { partKey } from '../../src/core/part-keys.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { TINY, withSizes } from '../support/large.ts'
import { record } from '../support/node-calls.ts'
import { RepairUnderTest } from './repair-under-test.ts'

const KEY = 'k'
const HOUR_MS = 3_600_000
const GENERATION = Buffer.from('generate')

describe('parts that no root names', () => {
  let repair: RepairUnderTest
  let homes: readonly FaultyNode[]
  let root: Buffer
  /** Of the root: by name. */
  let parts: Map<string, Buffer>
  beforeEach(async () => {
    repair = await RepairUnderTest.started()
    homes = repair.under.nodesOf(KEY).slice(0, 3)
    const flat = Array.from({ length: 9 }, (_, n) => pairEntry(Buffer.from(`f${n}`), Buffer.from('value')))
      .reduce((entries, entry) => entries.add(entry), new NewEntries())
      .value()
    const made = withSizes(TINY, () => split(KIND_HASH, flat, GENERATION))
    root = made.root
    parts = namedBy(root, made.parts)
  })
  afterEach(() => repair.antiEntropy.stop())

  const namedBy = (of: Buffer, values: ReadonlyMap<number, Buffer>) =>
    new Map(
      [...partsNamedIn(KIND_HASH, of).values()].map((part) => [
        partKey(Buffer.from(KEY), GENERATION, part).toString(),
        values.get(part.id)!,
      ]),
    )
  const plant = (nodes: readonly FaultyNode[], key: string, value: Buffer, ageMs: number, kind: number) => {
    const planted = record(Math.floor(repair.nowMs - ageMs), value, { kind })
    for (const node of nodes) repair.plant(node, key, planted)
  }
  const plantCollection = () => {
    plant(homes, KEY, root, HOUR_MS, KIND_HASH)
    for (const [name, part] of parts) plant(homes, name, part, HOUR_MS, KIND_VALUE)
  }
  /** A later root, with a part in place of one of the first one's. */
  const later = () => {
    const { id } = [...partsNamedIn(KIND_HASH, root).values()][0]!
    const changed = restamped(KIND_HASH, root, new Set([id]), 77)
    const [name, before] = [...parts].find(([other]) => other.includes(`${hex(id)}000000000001:`))!
    const renamed = name.replace('000000000001:', '00000000004d:')
    return { root: changed, name: renamed, part: restampedPart(before, 77) }
  }
  const hex = (id: number) => id.toString(16).padStart(8, '0')
  const holders = (name: string) => homes.filter((node) => node.held(name) !== null).length

  it('are removed from all replicas, without tombstones, and those that it names stay', async () => {
    plantCollection()
    const { name, part } = later()
    plant(homes.slice(0, 2), name, part, HOUR_MS, KIND_VALUE)
    const report = await repair.round()
    expect(holders(name)).to.equal(0)
    expect(report.removedParts).to.be.at.least(2)
    expect([...parts.keys()].map(holders)).to.deep.equal([...parts.keys()].map(() => 3))
    expect(homes[0]!.held(KEY)!.value.equals(root)).to.equal(true)
  })

  it('stay while they are young: the root that names them may be about to be stored', async () => {
    plantCollection()
    const { name, part } = later()
    plant(homes, name, part, 60_000, KIND_VALUE)
    expect(await repair.round()).to.include({ removedParts: 0 })
    expect(holders(name)).to.equal(3)
  })

  it('are those of a collection that was deleted, was replaced or has expired', async () => {
    for (const [name, part] of parts) plant(homes, name, part, HOUR_MS, KIND_VALUE)
    for (const node of homes) repair.plant(node, KEY, repair.value(1000, 'a string'))
    await repair.round()
    expect([...parts.keys()].map(holders)).to.deep.equal([...parts.keys()].map(() => 0))
  })

  it('stay where no majority can tell what the root names', async () => {
    plantCollection()
    const { name, part } = later()
    plant(homes, name, part, HOUR_MS, KIND_VALUE)
    for (const node of homes.slice(1)) node.cut()
    await repair.time.advance(10_000)
    expect(await repair.round()).to.include({ removedParts: 0 })
    expect(holders(name)).to.equal(3)
  })

  it('are removed only when a root on fewer replicas, which names them, can never be read any more', async () => {
    plantCollection()
    const { root: next, name, part } = later()
    plant(homes, name, part, HOUR_MS, KIND_VALUE)
    // A change whose coordinator has died: its root has reached one node, which is away.
    plant(homes.slice(0, 1), KEY, next, HOUR_MS / 2, KIND_HASH)
    homes[0]!.cut()
    await repair.time.advance(10_000)
    await repair.round()
    expect(homes.slice(1).filter((node) => node.held(name) !== null)).to.deep.equal([])
    homes[0]!.heal()
    await repair.time.advance(10_000)
    for (let i = 0; i < 3; i++) {
      expect(await repair.read(KEY)).to.equal(root.toString())
    }
  })
})
