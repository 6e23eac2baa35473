/** Keys that a merge looks at once, at all their holders, instead of once for each. */
import { expect } from 'chai'
import type { NewRecord } from '../../src/core/codec.ts'
import { ComparedKeys } from '../../src/repair/round/compared.ts'
import { NO_PROGRESS } from '../../src/repair/round/merge-work.ts'
import { merge } from '../../src/repair/round/merge.ts'
import { sourcesFor } from '../../src/repair/round/sources.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { RepairUnderTest } from './repair-under-test.ts'

const HOUR_MS = 3_600_000
const SECRET = Buffer.from('0123456789abcdef')
const named = (i: number) => Buffer.from(`key:${i}`)

describe('the table of compared keys', () => {
  it('knows what was added, and nothing else', () => {
    const keys = new ComparedKeys(SECRET, 50_000)
    for (let i = 0; i < 50_000; i += 2) keys.add(named(i))
    let known = 0
    for (let i = 0; i < 50_000; i += 2) {
      if (keys.has(named(i))) known++
      expect(keys.has(named(i + 1)), `${i + 1}`).to.equal(false)
    }
    expect(known).to.be.above(24_000)
  })

  it('forgets keys instead of growing', () => {
    const keys = new ComparedKeys(SECRET, 1_000_000, 1024)
    for (let i = 0; i < 10_000; i++) keys.add(named(i))
    const known = Array.from({ length: 10_000 }, (_, i) => keys.has(named(i))).filter(Boolean).length
    expect(known).to.be.within(500, 1024)
  })
})

describe('a key that several nodes show', () => {
  let repair: RepairUnderTest
  /** Of KEYS: the first is brought what it lacks, from the second, and later from the third. */
  let homes: FaultyNode[]

  beforeEach(async () => {
    repair = await RepairUnderTest.started({ nodes: 3, replicas: 3 })
    homes = [...repair.nodes]
  })
  afterEach(() => repair.under.cluster.stop())

  /** How many records each node was asked for the start of. */
  async function brought(): Promise<number[]> {
    const asked = homes.map(() => 0)
    for (const [i, node] of homes.entries()) {
      const starts = node.starts.bind(node)
      node.starts = (keys, bytes, call) => {
        asked[i]! += keys.length
        starts(keys, bytes, call)
      }
    }
    // The third shows its keys once all of the second have been looked at.
    const last = homes[2]!
    const keys = last.keys.bind(last)
    last.keys = async (cursor, count) => {
      await new Promise((resolve) => repair.time.setTimeout(() => resolve(null), 1000))
      return keys(cursor, count)
    }
    const member = repair.under.member(homes[0]!)
    const sources = sourcesFor(repair.under.cluster.placement, member, 'all')!
    await repair.until(merge(repair.context, [{ member, sources, progress: { ...NO_PROGRESS } }]))
    return asked
  }
  const plant = (key: string, held: readonly (NewRecord | null)[], livesMs: readonly number[] = []) =>
    held.forEach((record, i) => record && repair.plant(homes[i]!, key, record, livesMs[i]))

  it('is read once from each', async () => {
    const value = repair.value(HOUR_MS, 'v')
    for (let i = 0; i < 300; i++) plant(`k${i}`, [null, value, value])
    // A few lose their places in the table to others.
    for (const asked of await brought()) expect(asked).to.be.within(300, 330)
    for (let i = 0; i < 300; i++) expect(homes[0]!.holds(`k${i}`)).to.equal('v')
  })

  it('is looked at again where the other one holds something newer than both', async () => {
    const old = repair.value(HOUR_MS, 'old')
    plant('k', [old, old, repair.value(HOUR_MS / 2, 'new')])
    await brought()
    expect(homes[0]!.holds('k')).to.equal('new')
  })

  it('is looked at again where the other one keeps it for longer', async () => {
    const ending = repair.value(HOUR_MS, 'v', HOUR_MS)
    plant('k', [ending, ending, ending], [60_000, 60_000, HOUR_MS])
    await brought()
    expect(repair.lifeMs(homes[0]!, 'k')).to.be.above(HOUR_MS / 2)
  })

  it('and ends is asked of the others no more often than without that', async () => {
    const ending = repair.value(HOUR_MS, 'v', HOUR_MS)
    for (let i = 0; i < 2000; i++) plant(`k${i}`, [ending, ending, ending], [HOUR_MS, HOUR_MS, HOUR_MS])
    const [, , last] = await brought()
    // Its own, and for the first pages those of the second.
    expect(last).to.be.within(2000, 2000 + 2 * 512 + 100)
  })

  it('is looked at where only the other one has it', async () => {
    plant('k', [null, null, repair.value(HOUR_MS, 'v')])
    await brought()
    expect(homes[0]!.holds('k')).to.equal('v')
  })
})
