import { expect } from 'chai'
import { decodeMarker } from '../../src/cluster/marker.ts'
import { KIND_NOTHING } from '../../src/core/codec.ts'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import { MARKER_KEY, SYNCED_AT_KEY } from '../../src/core/keys.ts'
import { decodeSyncedAt, encodeSyncedAt } from '../../src/core/synced-at.ts'
import type { Fence } from '../../src/nodes/node.ts'
import { sourcesFor } from '../../src/repair/round/sources.ts'
import { Repairer } from '../../src/repair/repairer.ts'
import { PING_INTERVAL_MS } from '../support/coordinator-under-test.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'
import { RepairUnderTestBeside, RepairUnderTest, type Settings } from './repair-under-test.ts'

const DAY_MS = 86_400_000

describe('a node that was not compared with others for longer than the grace', function () {
  this.timeout(20_000)
  let repair: RepairUnderTest
  /** The nodes of `k`: three home replicas and the fallback replica. */
  let a: FaultyNode, b: FaultyNode, c: FaultyNode, d: FaultyNode
  let stopping: (() => Promise<void>)[]

  const start = async (settings: Settings = {}) => {
    stopping = []
    repair = await RepairUnderTest.started(settings)
    ;[a, b, c, d] = repair.under.nodesOf('k') as [FaultyNode, FaultyNode, FaultyNode, FaultyNode]
  }
  beforeEach(() => start())
  afterEach(async () => {
    await Promise.all(stopping.map((stop) => repair.until(stop())))
    await repair.antiEntropy.stop()
    await repair.under.cluster.stop()
  })

  const repairing = (under = repair) => {
    const repairer = new Repairer(under.context)
    repairer.start()
    stopping.push(() => repairer.stop())
    return repairer
  }
  const synced = (node: FaultyNode) => decodeSyncedAt(node.memory.storage.get(SYNCED_AT_KEY))
  const setSynced = (node: FaultyNode, agoMs: number, assumed = false) => {
    const syncedAt = { atMs: repair.nowMs - agoMs, assumed }
    node.memory.storage.set(SYNCED_AT_KEY, encodeSyncedAt(syncedAt), Infinity)
  }
  const markerOf = (node: FaultyNode) => decodeMarker(node.memory.storage.get(MARKER_KEY)!)!
  const completeness = (node: FaultyNode) => repair.under.member(node).completeness
  const passed = (node: FaultyNode) =>
    repair.under.events.flatMap((event) =>
      event.kind === 'node-completeness' && event.node === node.id ? [event.to] : [],
    )
  const fresh = (...nodes: FaultyNode[]) => nodes.forEach((node) => setSynced(node, 3_600_000))
  const ping = () => repair.time.advance(PING_INTERVAL_MS + 100)
  const read = (key: string, level?: ConsistencyLevel) => repair.read(key, level)
  /** `k` was deleted while `a` was away, and nobody remembers it. */
  const forgotten = () => {
    repair.plant(a, 'k', repair.value(3 * DAY_MS, 'deleted long ago'))
    setSynced(a, 2 * DAY_MS)
  }

  describe('is not counted', () => {
    it('from the first moment of a coordinator on', async () => {
      forgotten()
      fresh(b, c, d)
      const other = new RepairUnderTestBeside(repair)
      const fences: Fence[] = []
      const node = other.node(a)
      const open = node.open.bind(node)
      node.open = (fence) => {
        fences.push(fence)
        return open(fence)
      }
      await other.under.start()
      expect(new Set(fences.map(({ clean }) => clean))).to.deep.equal(new Set([false]))
      expect(other.under.member(node).completeness).to.equal('stale')
      await other.under.cluster.stop()
    })

    it('and what it says is not believed: no vote of it makes a majority', async () => {
      forgotten()
      fresh(b, c, d)
      await ping()
      expect(completeness(a)).to.equal('stale')
      expect(await read('k')).to.equal('(absent)')
      c.cut()
      await repair.time.advance(1000)
      expect(await read('k')).to.equal('QUORUM_NOT_MET')
    })

    it('after a restart either, although it is filled then: what it has kept goes first', async () => {
      forgotten()
      fresh(b, c, d)
      a.restart()
      repairing()
      await repair.time.advance(10_000)
      expect(completeness(a)).to.equal('clean')
      expect(a.holds('k')).to.equal('(absent)')
    })

    it('as a source: its hints are not delivered', async () => {
      forgotten()
      fresh(b, c, d)
      c.cut()
      a.memory.storage.hintsFor(b.id).note({ key: Buffer.from('k'), version: Buffer.alloc(12) }, 10)
      repairing()
      await repair.time.advance(20_000)
      expect(completeness(a)).to.equal('stale')
      expect(b.holds('k')).to.equal('(absent)')
    })

    it('as a source: nobody is filled from it', async () => {
      await start({ nodes: 5, replicas: 5 })
      forgotten()
      fresh(...repair.nodes.filter((node) => node !== a))
      const filled = repair.nodes.find((node) => node !== a)!
      filled.flush()
      const dropOlder = a.dropOlder.bind(a)
      a.dropOlder = async (...args) => {
        while (completeness(filled) !== 'clean') {
          await new Promise<void>((resolve) => void repair.time.setTimeout(resolve, 50))
        }
        return dropOlder(...args)
      }
      await ping()
      repairing()
      await repair.time.advance(300)
      expect(markerOf(a)).to.have.property('dropBeforeMs')
      const other = new RepairUnderTestBeside(repair)
      await other.under.start()
      const repairer = new Repairer(other.context)
      repairer.start()
      await repair.time.advance(10_000)
      expect(completeness(a)).to.equal('clean')
      expect([a, filled].map((node) => node.holds('k'))).to.deep.equal(['(absent)', '(absent)'])
      await repair.until(repairer.stop())
      await other.under.cluster.stop()
    })

    it('unless nobody ever compares', async () => {
      await start({ staleAfterMs: 0 })
      forgotten()
      await ping()
      expect(completeness(a)).to.equal('clean')
    })
  })

  describe('is emptied and filled', () => {
    it('from others that are fresh, and what was deleted does not come back', async () => {
      forgotten()
      fresh(b, c, d)
      for (const node of [a, b, c]) repair.plant(node, '{k}lives', repair.value(3 * DAY_MS, 'v'))
      for (const node of [b, c]) repair.plant(node, '{k}new', repair.value(3_600_000, 'n'))
      repairing()
      await repair.time.advance(10_000)
      expect(passed(a)).to.deep.equal(['clean', 'stale', 'filling', 'clean'])
      expect(a.holds('k')).to.equal('(absent)')
      expect([a.holds('{k}lives'), a.holds('{k}new')]).to.deep.equal(['v', 'n'])
      expect(await read('k')).to.equal('(absent)')
      expect(repair.nowMs - synced(a)!.atMs).to.be.below(10_000)
      expect(synced(a)!.assumed).to.equal(false)
      expect(repair.under.told('stale-dropped')).to.deep.equal([
        { kind: 'stale-dropped', node: a.id, state: 'started', dropped: 0 },
        { kind: 'stale-dropped', node: a.id, state: 'finished', dropped: 2 },
      ])
    })

    it('but for what Rondo did not write, and what was written since', async () => {
      forgotten()
      fresh(b, c, d)
      repair.plant(a, '{k}raw', 'of a stranger')
      repair.plant(a, '{k}promised', record(Buffer.alloc(12), '', { kind: KIND_NOTHING }))
      repair.plant(a, '{k}young', repair.value(-60_000, 'just now'))
      repairing()
      await repair.time.advance(10_000)
      expect(completeness(a)).to.equal('clean')
      expect(a.holds('k')).to.equal('(absent)')
      expect(a.holds('{k}raw')).to.equal('of a stranger')
      expect(a.holds('{k}young')).to.equal('just now')
    })

    it('no sooner than one request timeout after the last write that counted on it', async () => {
      forgotten()
      fresh(b, c, d)
      repairing()
      while (
        !repair.under.told('stale-dropped').some((event) => 'state' in event && event.state === 'finished')
      )
        await repair.time.advance(10)
      const emptiedMs = repair.time.monotonicMs()
      while (repair.under.told('fill').length === 0) await repair.time.advance(10)
      expect(repair.time.monotonicMs() - emptiedMs).to.be.at.least(1000)
    })

    it('by another coordinator, where the one that did it dies in the middle', async () => {
      forgotten()
      fresh(b, c, d)
      for (let i = 0; i < 1000; i++) repair.plant(a, `{k}${i}`, repair.value(3 * DAY_MS, 'old'))
      const held = () =>
        a.memory.storage.page(0, 10_000).entries.filter(({ key }) => key.toString().startsWith('{k}')).length
      const dropOlder = a.dropOlder.bind(a)
      let pages = 0
      a.dropOlder = (...args) => {
        return ++pages > 2 ? Promise.reject(new Error('the coordinator has died')) : dropOlder(...args)
      }
      const first = repairing()
      while (pages <= 2) await repair.time.advance(10)
      await repair.until(first.stop())
      expect(held()).to.be.within(400, 999)
      expect(markerOf(a)).to.include({ state: 'filling' }).and.to.have.property('dropBeforeMs')
      await repair.under.cluster.stop()

      const other = new RepairUnderTestBeside(repair)
      await other.under.start()
      expect(other.under.member(other.node(a)).completeness).to.equal('stale')
      const second = new Repairer(other.context)
      second.start()
      await repair.time.advance(15_000)
      expect(held()).to.equal(0)
      expect(a.holds('k')).to.equal('(absent)')
      expect(markerOf(a)).to.include({ state: 'clean' }).and.not.to.have.property('dropBeforeMs')
      await repair.until(second.stop())
      await other.under.cluster.stop()
    })

    it('and not when it was wiped meanwhile: what came since belongs to another one', async () => {
      forgotten()
      fresh(b, c, d)
      const dropOlder = a.dropOlder.bind(a)
      const answers: (number | null)[] = []
      a.dropOlder = async (marker, keys, beforeMs) => {
        a.flush()
        repair.plant(a, 'k', repair.value(2 * DAY_MS, 'of another one'))
        answers.push(await dropOlder(marker, keys, beforeMs))
        return answers.at(-1)!
      }
      repairing()
      await repair.time.advance(10_000)
      expect(answers).to.deep.equal([null])
      expect(a.holds('k')).to.equal('of another one')
    })

    it('not on the word of one that has just been wiped, and nobody has noticed', async () => {
      forgotten()
      fresh(b, c, d)
      repair.plant(a, '{k}only', repair.value(3 * DAY_MS, 'v'))
      await ping()
      expect(completeness(a)).to.equal('stale')
      b.flush() // between two pings
      repairing()
      await repair.time.advance(300)
      expect(a.holds('{k}only')).to.equal('v')
    })
  })

  describe('is kept as it is', () => {
    it('when nobody else is fresh: the whole cluster was off', async () => {
      for (const node of [a, b, c, d]) {
        setSynced(node, 2 * DAY_MS)
        repair.plant(node, 'k', repair.value(3 * DAY_MS, 'v'))
      }
      await ping()
      expect([a, b, c, d].map(completeness)).to.deep.equal(['stale', 'stale', 'stale', 'stale'])
      repairing()
      await repair.time.advance(1000)
      expect([a, b, c, d].map(completeness)).to.deep.equal(['clean', 'clean', 'clean', 'clean'])
      await repair.time.advance(30_000)
      expect([a, b, c].map((node) => node.holds('k'))).to.deep.equal(['v', 'v', 'v'])
      expect(repair.under.told('stale-kept').map((event) => 'node' in event && event.node)).to.have.members(
        [a, b, c, d].map(({ id }) => id),
      )
      expect(repair.under.told('stale-dropped')).to.deep.equal([])
      expect(await read('k')).to.equal('v')
    })

    it('when the others were only kept themselves', async () => {
      forgotten()
      for (const node of [b, c, d]) setSynced(node, 1000, true)
      repairing()
      await repair.time.advance(10_000)
      expect(a.holds('k')).to.equal('deleted long ago')
      expect(completeness(a)).to.equal('clean')
      expect(repair.under.told('stale-kept')).to.have.length(1)
    })

    it('when one of the others has lost its data, and needs what it holds', async () => {
      forgotten()
      fresh(b, c, d)
      repair.plant(a, '{k}only', repair.value(3 * DAY_MS, 'v'))
      b.flush()
      await ping()
      repairing()
      await repair.time.advance(10_000)
      expect([a, b].map((node) => node.holds('{k}only'))).to.deep.equal(['v', 'v'])
      expect([a, b].map(completeness)).to.deep.equal(['clean', 'clean'])
      expect(repair.under.told('data-loss-possible')).to.deep.equal([])
    })

    it('with what is left, when others lose their data while it is emptied', async () => {
      forgotten()
      fresh(b, c, d)
      for (let i = 0; i < 1000; i++) repair.plant(a, `{k}${i}`, repair.value(3 * DAY_MS, 'v'))
      const held = () =>
        a.memory.storage.page(0, 10_000).entries.filter(({ key }) => key.toString().startsWith('{k}')).length
      const dropOlder = a.dropOlder.bind(a)
      let pages = 0
      a.dropOlder = (...args) => {
        if (++pages === 2) for (const node of [b, c]) node.flush()
        return pages < 2 ? dropOlder(...args) : Promise.reject(new Error('no answer'))
      }
      repairing()
      while (pages < 2) await repair.time.advance(10)
      await repair.time.advance(20_000)
      expect(held()).to.be.within(700, 999)
      expect([a, b, c].map(completeness)).to.deep.equal(['clean', 'clean', 'clean'])
      expect([a, b, c].map((node) => node.holds('{k}3'))).to.satisfy(
        (all: string[]) => new Set(all).size === 1,
      )
      expect(repair.under.told('stale-kept')).to.have.length(1)
      expect(repair.under.told('data-loss-possible')).to.not.deep.equal([])
    })

    it('before anybody is filled without what it holds', async () => {
      forgotten()
      fresh(b, c, d)
      b.flush()
      await ping()
      expect(completeness(a)).to.equal('stale')
      expect(sourcesFor(repair.under.cluster.placement, repair.under.member(b), 'all')).to.equal(null)
    })

    it('when two of three come back after the grace: the third one alone could prove nothing', async () => {
      await start({ nodes: 3 })
      for (const node of [a, b]) setSynced(node, 2 * DAY_MS)
      c.cut()
      repairing()
      await repair.time.advance(10_000)
      expect([a, b].map(completeness)).to.deep.equal(['clean', 'clean'])
      expect(await read('k')).to.equal('(absent)')
    })

    it('by all coordinators, and told by one of them', async () => {
      for (const node of [a, b, c, d]) setSynced(node, 2 * DAY_MS)
      const other = new RepairUnderTestBeside(repair)
      await other.under.start()
      const repairer = new Repairer(other.context)
      repairer.start()
      repairing()
      await repair.time.advance(10_000)
      const told = [...repair.under.told('stale-kept'), ...other.under.told('stale-kept')]
      expect(told).to.have.length(4)
      await repair.until(repairer.stop())
      await other.under.cluster.stop()
    })
  })

  it('waits while somebody is away who may be fresh, and is emptied then', async () => {
    forgotten()
    fresh(b, c, d)
    c.cut()
    repairing()
    await repair.time.advance(20_000)
    expect(completeness(a)).to.equal('stale')
    expect(a.holds('k')).to.equal('deleted long ago')
    c.heal()
    await repair.time.advance(20_000)
    expect(completeness(a)).to.equal('clean')
    expect(a.holds('k')).to.equal('(absent)')
  })

  describe('is one that no round and no fill has reached', () => {
    it('a node is counted as compared from when it is first seen', () => {
      for (const node of repair.nodes) {
        expect(synced(node)).to.include({ assumed: true })
        expect(repair.nowMs - synced(node)!.atMs).to.be.below(2000)
      }
    })

    it('a complete round stamps all with its beginning', async () => {
      for (const node of repair.nodes) repair.plant(node, 'k', repair.value(5000, 'v'))
      const { startedAtMs } = await repair.round()
      for (const node of repair.nodes) {
        const settled = repair.under.cluster.placement.fingerprint
        expect(synced(node)).to.deep.equal({ atMs: Math.floor(startedAtMs), assumed: false, settled })
      }
    })

    it('a round with one node missing stamps the others', async () => {
      d.cut()
      await repair.time.advance(1000)
      const { startedAtMs, result } = await repair.round()
      expect(result).to.equal('partial')
      for (const node of [a, b, c]) expect(synced(node)!.atMs).to.equal(Math.floor(startedAtMs))
      expect(synced(d)).to.include({ assumed: true })
    })

    it('a round with too many missing stamps nobody: together they need not know every delete', async () => {
      for (const node of [c, d]) node.cut()
      await repair.time.advance(1000)
      expect((await repair.round()).result).to.equal('partial')
      for (const node of [a, b]) expect(synced(node)).to.include({ assumed: true })
    })

    it('a node that was wiped during the round is not stamped by it', async () => {
      const stamp = a.stamp.bind(a)
      let stamped: boolean | null = null
      a.stamp = async (marker, syncedAt) => {
        if (!syncedAt.assumed) a.flush()
        const done = await stamp(marker, syncedAt)
        if (!syncedAt.assumed) stamped = done
        return done
      }
      await repair.round()
      expect(stamped).to.equal(false)
      expect(synced(a)?.assumed).to.not.equal(false)
      expect(synced(b)).to.include({ assumed: false })
    })

    it('a node that fails in the middle keeps the others neither from agreeing nor from their stamp', async () => {
      repair.plant(a, 'k', repair.value(9000, 'old'))
      repair.plant(b, 'k', repair.tombstone(5000))
      const get = c.get.bind(c)
      c.get = (key, call) => {
        if (key.toString() === 'k') c.cut()
        get(key, call)
      }
      expect((await repair.round()).result).to.equal('partial')
      expect(a.holds('k')).to.equal('(deleted)')
      expect(synced(a)).to.include({ assumed: false })
      expect(synced(c)).to.include({ assumed: true })
    })

    it('a fill stamps with the time at which it began', async () => {
      repairing()
      a.flush()
      await repair.time.advance(10_000)
      expect(completeness(a)).to.equal('clean')
      expect(synced(a)).to.include({ assumed: false })
      expect(repair.nowMs - synced(a)!.atMs).to.be.within(1000, 10_000)
    })

    it('stamps only move forward', async () => {
      setSynced(a, -60_000)
      const later = synced(a)
      await repair.round()
      expect(synced(a)).to.deep.equal(later)
    })
  })

  it('one node away for many graces: the others stay clean, and only it is emptied when it comes back', async () => {
    await start({ staleAfterMs: 60_000, intervalMs: 20_000 })
    for (const node of [a, b, c]) repair.plant(node, '{k}lives', repair.value(5000, 'v'))
    repair.antiEntropy.start()
    repairing()
    await repair.time.advance(60_000)
    repair.plant(a, 'k', repair.value(50_000, 'deleted meanwhile'))
    a.cut()
    await repair.time.advance(200_000)
    for (const node of [b, c, d]) expect(passed(node), node.id).to.deep.equal(['clean'])
    a.heal()
    await repair.time.advance(15_000)
    expect(passed(a)).to.deep.equal(['clean', 'stale', 'filling', 'clean'])
    expect(a.holds('k')).to.equal('(absent)')
    expect(a.holds('{k}lives')).to.equal('v')
    expect(repair.under.told('stale-kept')).to.deep.equal([])
    for (const node of [b, c, d]) expect(passed(node), node.id).to.deep.equal(['clean'])
  })
})
