/**
 * Copies on fallback replicas that are older than deletes are remembered: they are nothing once their member was settled
 * under this placement, and may be the only ones until then.
 */
import { expect } from 'chai'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import { MARKER_KEY, SYNCED_AT_KEY } from '../../src/core/keys.ts'
import { decodeSyncedAt, encodeSyncedAt, type SyncedAt } from '../../src/core/synced-at.ts'
import { Repairer } from '../../src/repair/repairer.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { RepairUnderTest, type Settings } from './repair-under-test.ts'

const DAY_MS = 86_400_000

describe('a copy on a fallback replica that is older than deletes are remembered', function () {
  this.timeout(20_000)
  let repair: RepairUnderTest
  /** The nodes of `k`: three home replicas and the fallback replica. */
  let a: FaultyNode, b: FaultyNode, c: FaultyNode, d: FaultyNode
  let repairer: Repairer | null

  const start = async (settings: Settings = {}) => {
    repairer = null
    repair = await RepairUnderTest.started(settings)
    ;[a, b, c, d] = repair.under.nodesOf('k') as [FaultyNode, FaultyNode, FaultyNode, FaultyNode]
  }
  beforeEach(() => start())
  afterEach(async () => {
    if (repairer) await repair.until(repairer.stop())
    await repair.antiEntropy.stop()
    await repair.under.cluster.stop()
  })

  const setSynced = (node: FaultyNode, syncedAt: Partial<SyncedAt>) => {
    const bytes = encodeSyncedAt({ atMs: repair.nowMs - 3_600_000, assumed: false, ...syncedAt })
    node.memory.storage.set(SYNCED_AT_KEY, bytes, Infinity)
  }
  const settled = async (
    how: Partial<SyncedAt> = { settled: repair.under.cluster.placement.fingerprint },
  ) => {
    for (const node of [a, b, c, d]) setSynced(node, how)
    await repair.time.advance(3100) // a ping tells
  }
  const synced = (node: FaultyNode) => decodeSyncedAt(node.memory.storage.get(SYNCED_AT_KEY))
  const plantOld = (node: FaultyNode) => repair.plant(node, 'k', repair.value(3 * DAY_MS, 'deleted long ago'))
  const fill = async (node: FaultyNode) => {
    node.memory.storage.delete(MARKER_KEY)
    node.memory.storage.delete(Buffer.from('k'))
    repairer = new Repairer(repair.context)
    repairer.start()
    await read('k')
    await repair.time.advance(20_000)
    expect(repair.under.member(node).completeness).to.equal('clean')
  }
  const read = (key: string, level?: ConsistencyLevel) => repair.read(key, level)

  describe('is nothing, if the copies of that replica were settled', () => {
    it('to a round: dropped, not moved home', async () => {
      await settled()
      plantOld(d)
      expect(await repair.round()).to.include({ forgotten: 1, movedHome: 0, copied: 0 })
      expect(repair.holdings('k')).to.deep.equal(['(absent)', '(absent)', '(absent)', '(absent)'])
      expect(await read('k')).to.equal('(absent)')
    })

    it('to a round by which another release has compared them, in the cluster as it was founded', async () => {
      await settled({})
      plantOld(d)
      expect(await repair.round()).to.include({ forgotten: 1, movedHome: 0 })
    })

    it('to a fill', async () => {
      await settled()
      plantOld(d)
      await fill(a)
      expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['(absent)', '(absent)', '(absent)'])
      expect(await read('k')).to.equal('(absent)')
    })

    it('to a fill of a stale member, whose absence kept the copy there', async () => {
      await settled()
      plantOld(d)
      plantOld(a)
      setSynced(a, { atMs: repair.nowMs - 2 * DAY_MS })
      repairer = new Repairer(repair.context)
      repairer.start()
      await repair.time.advance(20_000)
      expect(repair.under.member(a).completeness).to.equal('clean')
      expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['(absent)', '(absent)', '(absent)'])
    })

    it('to a hint', async () => {
      await settled()
      plantOld(d)
      const version = d.held('k')!.version
      d.memory.storage.hintsFor(a.id).note({ key: Buffer.from('k'), version: Buffer.from(version) }, 10)
      repairer = new Repairer(repair.context)
      repairer.start()
      await repair.time.advance(10_000)
      expect(repair.under.member(a).behind).to.equal(false)
      expect(a.holds('k')).to.equal('(absent)')
    })

    it('to a read at one that asks everybody, because the home replica that is left may lack writes', async () => {
      await settled()
      plantOld(d)
      repair.under.member(a).markBehind('a test says so')
      for (const node of [b, c]) node.cut()
      await repair.time.advance(100)
      expect(await read('k', 'one')).to.equal('(absent)')
    })
  })

  describe('may be the only one', () => {
    const unsettled: Record<string, Partial<SyncedAt>> = {
      'while its copies were not settled': { settled: null },
      'while they were settled under another placement': { settled: `${'0'.repeat(32)} 3` },
      'while nobody was ever compared': { assumed: true },
    }
    for (const [when, how] of Object.entries(unsettled)) {
      it(`${when}: a round moves it home`, async () => {
        await settled(how)
        plantOld(d)
        expect(await repair.round()).to.include({ forgotten: 0, movedHome: 1 })
        expect(repair.holdings('k').slice(0, 3)).to.deep.equal(Array(3).fill('deleted long ago'))
      })

      it(`${when}: a fill copies it`, async () => {
        await settled(how)
        plantOld(d)
        await fill(a)
        expect(a.holds('k')).to.equal('deleted long ago')
      })
    }

    it('while nobody compares: it is read at one', async () => {
      await start({ staleAfterMs: 0 })
      await settled()
      plantOld(d)
      repair.under.member(a).markBehind('a test says so')
      for (const node of [b, c]) node.cut()
      await repair.time.advance(100)
      expect(await read('k', 'one')).to.equal('deleted long ago')
    })

    it('when too few home replicas are clean to know better', async () => {
      await settled()
      plantOld(d)
      b.memory.storage.delete(MARKER_KEY)
      await fill(a)
      expect(a.holds('k')).to.equal('deleted long ago')
    })
  })

  describe('was settled by a round', () => {
    const fingerprint = () => repair.under.cluster.placement.fingerprint

    it('that sent it to all its home replicas', async () => {
      repair.plant(d, 'k', repair.value(5000, 'v'))
      await repair.round()
      expect(synced(d)!.settled).to.equal(fingerprint())
    })

    it('that sent it to so many that no majority lacks it: the others may be away for ever', async () => {
      repair.plant(d, 'k', repair.value(5000, 'v'))
      a.cut()
      await repair.time.advance(100)
      expect(await repair.round()).to.include({ result: 'partial', copied: 2, movedHome: 0 })
      expect(repair.holdings('k').slice(1)).to.deep.equal(['v', 'v', 'v'])
      expect(synced(d)!.settled).to.equal(fingerprint())
    })

    it('and is not looked at again while they are away', async () => {
      repair.plant(d, 'k', repair.value(300_000, 'v'))
      a.cut()
      await repair.time.advance(100)
      await repair.round()
      await repair.time.advance(120_000)
      await repair.round()
      const before = b.callsFor('k', 'get').length
      await repair.round()
      expect(b.callsFor('k', 'get').length).to.equal(before)
    })

    it('but not by one that reached too few', async () => {
      await start({ nodes: 6, replicas: 5 })
      const [, , , , , last] = repair.under.nodesOf('k')
      repair.plant(last!, 'k', repair.value(5000, 'v'))
      for (const node of [a, b, c]) node.unwritable = 'read-only'
      await read('x')
      for (const node of [a, b, c]) repair.under.member(node).setUnwritable('read-only', 'a test says so')
      await repair.round()
      expect(synced(last!)!.settled).to.equal(null)
    })
  })
})
