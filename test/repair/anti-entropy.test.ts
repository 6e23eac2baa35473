import { expect } from 'chai'
import { compareVersions } from '../../src/core/clock.ts'
import { KIND_NOTHING, StoredRecord } from '../../src/core/codec.ts'
import { EXPIRY_MARGIN_MS } from '../../src/core/lifetime.ts'
import { LEASE_MS } from '../../src/repair/context.ts'
import { noteKey } from '../../src/core/keys.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { record, version } from '../support/node-calls.ts'
import { seeded, seeds } from '../support/random.ts'
import { RepairUnderTest } from './repair-under-test.ts'

const ROUND_STATE_KEY = noteKey('anti-entropy').toString()

const HOUR_MS = 3_600_000

describe('anti-entropy', function () {
  this.timeout(30_000) // it computes a lot, and other tests may run beside it
  let repair: RepairUnderTest
  /** The nodes of `k`: three home replicas and the fallback replica. */
  let a: FaultyNode, b: FaultyNode, c: FaultyNode, fallback: FaultyNode
  beforeEach(async () => {
    repair = await RepairUnderTest.started()
    ;[a, b, c, fallback] = repair.under.nodesOf('k') as [FaultyNode, FaultyNode, FaultyNode, FaultyNode]
  })
  afterEach(() => repair.antiEntropy.stop())

  describe('while another coordinator places keys elsewhere', () => {
    let other: RepairUnderTest
    beforeEach(async () => {
      other = await RepairUnderTest.started({
        beside: repair.under,
        coordinator: 2,
        replicas: 2,
        intervalMs: 60_000,
      })
      repair.antiEntropy.start()
      await repair.time.advance(25_000)
      other.antiEntropy.start()
    })
    afterEach(() => other.antiEntropy.stop())

    it('none is begun, neither when it is due nor on demand, and it is told once', async () => {
      repair.plant(a, 'k', repair.value(5000, 'v'))
      await repair.time.advance(300_000)
      expect(other.reports).to.deep.equal([])
      expect(other.under.told('rings-differ')).to.deep.equal([{ kind: 'rings-differ', differ: true }])
      let refused: unknown
      await other.until(other.antiEntropy.request().catch((error: unknown) => (refused = error)))
      expect(refused).to.be.an('error').with.property('code', 'UNAVAILABLE')
      expect(refused).to.have.property('message').that.includes('VNODES_PER_NODE')
      expect(await repair.round(), 'who was here first may').to.include({ result: 'complete' })
    })

    it('it is begun once that one has been gone for half a minute', async () => {
      await repair.time.advance(60_000)
      await repair.until(repair.antiEntropy.stop())
      await repair.time.advance(120_000)
      expect(other.reports.map(({ result }) => result)).to.include('complete')
      expect(other.under.told('rings-differ').at(-1)).to.deep.equal({ kind: 'rings-differ', differ: false })
    })
  })

  describe('one round makes replicas equal', () => {
    it('a copy is missing', async () => {
      repair.plant(a, 'k', repair.value(5000, 'v'))
      repair.plant(c, 'k', repair.value(5000, 'v'))
      const report = await repair.round()
      expect(repair.holdings('k')).to.deep.equal(['v', 'v', 'v', '(absent)'])
      expect(report).to.include({ result: 'complete', copied: 1, rangesDiffering: 1, movedHome: 0 })
    })

    it('a copy is older', async () => {
      repair.plant(a, 'k', repair.value(9000, 'old'))
      repair.plant(b, 'k', repair.value(5000, 'new'))
      repair.plant(c, 'k', repair.value(9000, 'old'))
      expect(await repair.round()).to.include({ copied: 2 })
      expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['new', 'new', 'new'])
    })

    it('a delete was missed: it wins, and is remembered for as long as the old value would have come back', async () => {
      repair.plant(a, 'k', repair.value(9000, 'old'))
      repair.plant(b, 'k', repair.tombstone(5000))
      repair.plant(c, 'k', repair.tombstone(5000))
      expect(await repair.round()).to.include({ copied: 1 })
      expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['(deleted)', '(deleted)', '(deleted)'])
      expect(repair.lifeMs(a, 'k')).to.be.closeTo(86_400_000, 1000)
    })

    it('an expired value beats an older one without end', async () => {
      repair.plant(a, 'k', repair.value(90_000, 'old'))
      repair.plant(b, 'k', repair.value(50_000, 'short', -1000))
      await repair.round()
      repair.expectEqual()
      expect((await repair.under.get('k')).result).to.be.oneOf(['(expired)', '(absent)'])
      expect(repair.holdings('k')[0]).to.equal('short')
    })

    it('only one replica still knows', async () => {
      repair.plant(c, 'k', repair.value(5000, 'v', HOUR_MS))
      expect(await repair.round()).to.include({ copied: 2 })
      expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['v', 'v', 'v'])
    })

    it('many keys, differing in every way at once; a second round copies nothing, and reads no key', async () => {
      for (const seed of seeds(4)) {
        const random = seeded(seed)
        repair = await RepairUnderTest.started({ coordinator: seed })
        const newest = new Map<string, string>()
        for (let i = 0; i < 400; i++) {
          const key = random.chance(0.1) ? `{tag}${i}` : `key:${i}`
          const versions = Array.from({ length: 1 + random.below(3) }, (_, n) => {
            const ageMs = 200_000 - 1000 * n - random.below(900)
            if (random.chance(0.2)) return repair.tombstone(ageMs)
            const expiresInMs = random.chance(0.2) ? random.pick([-1000, -30_000, 50_000, HOUR_MS]) : 0
            return repair.value(ageMs, `${key}@${n}`, expiresInMs)
          })
          let held = versions[0]!
          for (const [place, node] of repair.under.nodesOf(key).entries()) {
            if (random.chance(place < 3 ? 0.2 : 0.8)) continue
            const planted = random.pick(versions)
            repair.plant(node, key, planted)
            const last = new StoredRecord(held.head).version
            const none = !newest.has(key)
            if (none || compareVersions(new StoredRecord(planted.head).version, last) > 0) held = planted
            const record = new StoredRecord(Buffer.concat([held.head, held.value]))
            newest.set(key, record.isLive(repair.nowMs) ? record.value.toString() : '(none)')
          }
        }
        const report = await repair.round()
        expect(report.result, `seed ${seed}`).to.equal('complete')
        expect(report.copied, `seed ${seed}`).to.be.greaterThan(100)
        repair.expectEqual()
        for (const [key, expected] of newest) {
          const live = repair.under.nodesOf(key)[0]!.held(key)
          const shown = live?.isLive(repair.nowMs) ? live.value.toString() : '(none)'
          expect(shown, `seed ${seed}, ${key}`).to.equal(expected)
        }
        const calls = userCalls(repair)
        const second = await repair.round()
        expect(second, `seed ${seed}`).to.include({
          result: 'complete',
          copied: 0,
          movedHome: 0,
          rangesDiffering: 0,
        })
        expect(userCalls(repair) - calls, `seed ${seed}`).to.equal(0)
        await repair.antiEntropy.stop()
      }
    })

    it('in portions, where more keys differ than are listed at once', async () => {
      repair = await RepairUnderTest.started({ listedKeys: 50 })
      for (let i = 0; i < 500; i++)
        repair.plant(repair.under.nodesOf(`key:${i}`)[i % 3]!, `key:${i}`, repair.value(5000, 'v'))
      const { copied, checkedKeys, result } = await repair.round()
      expect({ copied, result }).to.deep.equal({ copied: 1000, result: 'complete' })
      expect(checkedKeys, 'scans of 500 and more copies each').to.be.greaterThan(8 * 500)
      repair.expectEqual()
      expect(await repair.round()).to.include({ copied: 0 })
    })
  })

  describe('copies nothing where nothing is needed', () => {
    it('replicas that agree cost one comparison a range, and no key is read', async () => {
      for (let i = 0; i < 2000; i++) {
        for (const node of repair.under.nodesOf(`key:${i}`).slice(0, 3))
          repair.plant(node, `key:${i}`, repair.value(5000 + i, 'v'))
      }
      const scans = countScans(repair)
      const report = await repair.round()
      expect(report).to.include({
        rangesCompared: repair.under.cluster.placement.ring.size,
        rangesDiffering: 0,
        copied: 0,
      })
      expect(userCalls(repair)).to.equal(0)
      const pages = (node: FaultyNode) =>
        Math.ceil((node.memory.storage.page(0, 1_000_000).entries.length + 1) / 128)
      for (const node of repair.nodes) expect(scans.get(node)).to.be.within(pages(node) - 1, pages(node))
    })

    it('one difference among thousands: that key alone is read, on its home replicas', async () => {
      for (let i = 0; i < 2000; i++) {
        for (const node of repair.under.nodesOf(`key:${i}`).slice(0, 3))
          repair.plant(node, `key:${i}`, repair.value(5000 + i, 'v'))
      }
      repair.under.nodesOf('key:77')[1]!.memory.storage.delete(Buffer.from('key:77'))
      expect(await repair.round()).to.include({ rangesDiffering: 1, copied: 1 })
      const calls = repair.nodes.flatMap((node) => node.calls.filter(({ key }) => key !== ROUND_STATE_KEY))
      expect(calls.map(({ op, key }) => `${op} ${key}`).sort()).to.deep.equal([
        'get key:77',
        'get key:77',
        'get key:77',
        'store key:77',
      ])
    })

    it('a tombstone that others have purged', async () => {
      repair.plant(a, 'k', repair.tombstone(5000))
      expect(await repair.round()).to.include({ rangesDiffering: 0, copied: 0 })
      expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['(deleted)', '(absent)', '(absent)'])
    })

    it('a dead record to a replica that holds nothing, also where its leaf is listed for another reason', async () => {
      repair.plant(a, '{k}1', repair.tombstone(5000))
      repair.plant(a, '{k}2', repair.value(50_000, 'v', -5000))
      repair.plant(a, '{k}3', repair.value(5000, 'v'))
      expect(await repair.round()).to.include({ rangesDiffering: 1, copied: 2 })
      expect(repair.holdings('{k}1').slice(1)).to.deep.equal(['(absent)', '(absent)', '(absent)'])
      expect(repair.holdings('{k}2').slice(1)).to.deep.equal(['(absent)', '(absent)', '(absent)'])
    })

    it('values that Rondo did not write, promises, and internal keys', async () => {
      repair.plant(a, 'k', 'raw', 5000)
      repair.plant(b, 'k', 'other raw')
      repair.plant(fallback, 'k', 'raw of a stranger')
      repair.plant(a, '{k}2', record(Buffer.alloc(12), '', { kind: KIND_NOTHING }))
      for (const node of [a, fallback]) {
        repair.plant(node, '{k}3', record(Buffer.alloc(12), 'raw, with a head for a promise'), 5000)
      }
      repair.plant(a, '__rondo:something', repair.value(5000, 'internal'))
      expect(await repair.round()).to.include({ rangesDiffering: 0, copied: 0, movedHome: 0 })
      expect(repair.holdings('k')).to.deep.equal(['raw', 'other raw', '(absent)', 'raw of a stranger'])
      expect(repair.lifeMs(a, 'k')).to.be.at.most(5000)
      expect(repair.holdings('{k}3').slice(1, 3)).to.deep.equal(['(absent)', '(absent)'])
    })

    it('but a record of ours beats a value that Rondo did not write', async () => {
      repair.plant(a, 'k', 'raw')
      repair.plant(b, 'k', repair.value(5000, 'ours'))
      await repair.round()
      expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['ours', 'ours', 'ours'])
    })

    it('what is written while the round looks: its copies are on their way', async () => {
      repair = await RepairUnderTest.started({ keysPerSecond: 400 })
      for (let i = 0; i < 300; i++) {
        for (const node of repair.under.nodesOf(`key:${i}`).slice(0, 3))
          repair.plant(node, `key:${i}`, repair.value(5000 + i, 'v'))
      }
      const random = seeded(1)
      await repair.antiEntropy.request()
      while (repair.reports.length === 0) {
        await repair.under.put(`key:${random.below(300)}`, `v${repair.nowMs}`)
        await repair.time.advance(5)
      }
      expect(repair.reports[0]!.rangesDiffering, 'it did meet them').to.be.greaterThan(10)
      expect(repair.reports[0]).to.include({ copied: 0, result: 'complete' })
      const reads = repair.nodes.flatMap((node) => node.calls.filter(({ op }) => op === 'get'))
      expect(
        reads.filter(({ key }) => key !== ROUND_STATE_KEY),
        'not even read',
      ).to.deep.equal([])
      repair.expectEqual()
      expect(await repair.round()).to.include({ copied: 0, rangesDiffering: 0 })
    })

    it('a version from the future is not young for ever', async () => {
      repair.plant(a, 'k', repair.value(-HOUR_MS, 'from the future'))
      expect(await repair.round()).to.include({ copied: 2 })
    })
  })

  describe('lives', () => {
    it('are not extended: a value, an expired one, a tombstone', async () => {
      repair.plant(a, '{k}1', repair.value(5000, 'v', 10_000))
      repair.plant(b, '{k}2', repair.value(50_000, 'old', 0), 20_000)
      repair.plant(a, '{k}2', repair.value(40_000, 'expired', -30_000))
      repair.plant(b, '{k}3', repair.value(50_000, 'old'), 20_000)
      repair.plant(a, '{k}3', repair.tombstone(40_000), 1000)
      await repair.round()
      const left = (key: string) => repair.lifeMs(b, key)
      expect(left('{k}1')).to.be.within(EXPIRY_MARGIN_MS + 9000, EXPIRY_MARGIN_MS + 10_000)
      expect(new StoredRecord(b.memory.storage.get(Buffer.from('{k}1'))!).expiresAtMs).to.equal(
        a.held('{k}1')!.expiresAtMs,
      )
      expect(left('{k}2'), 'its own end, 30 s from now').to.be.within(29_000, 30_000)
      expect(left('{k}3'), 'what its old value had left').to.be.within(19_000, 20_000)
    })

    it('again and again: each round leaves them as they are', async () => {
      repair.plant(a, 'k', repair.value(5000, 'v', 100_000))
      for (let i = 0; i < 3; i++) {
        await repair.round()
        await repair.time.advance(10_000)
        c.memory.storage.delete(Buffer.from('k'))
      }
      await repair.round()
      const lives = [a, b, c].map((node) => repair.lifeMs(node, 'k'))
      for (const life of lives) expect(life).to.be.closeTo(EXPIRY_MARGIN_MS + 70_000, 100)
    })
  })

  describe('copies of fallback replicas', () => {
    it('are moved home and dropped', async () => {
      repair.plant(fallback, 'k', repair.value(5000, 'v'))
      repair.plant(a, 'k', repair.value(9000, 'old'))
      expect(await repair.round()).to.include({ movedHome: 1 })
      expect(repair.holdings('k')).to.deep.equal(['v', 'v', 'v', '(absent)'])
      expect(await repair.round()).to.include({ movedHome: 0, copied: 0 })
    })

    it('do not beat what the home replicas hold', async () => {
      repair.plant(fallback, 'k', repair.value(9000, 'old'))
      repair.plant(a, 'k', repair.value(5000, 'new'))
      await repair.round()
      expect(repair.holdings('k')).to.deep.equal(['new', 'new', 'new', '(absent)'])
    })

    it('do not come back on a home replica that has purged the delete', async () => {
      repair.plant(fallback, 'k', repair.value(9000, 'deleted long ago'))
      repair.plant(c, 'k', repair.tombstone(5000))
      await repair.round()
      expect(repair.holdings('k')).to.deep.equal(['(absent)', '(absent)', '(deleted)', '(absent)'])
    })

    it('that are deletes delete', async () => {
      repair.plant(fallback, 'k', repair.tombstone(5000))
      for (const node of [a, b, c]) repair.plant(node, 'k', repair.value(9000, 'v'))
      await repair.round()
      expect(repair.holdings('k')).to.deep.equal(['(deleted)', '(deleted)', '(deleted)', '(absent)'])
    })

    it('stay while a home replica is away', async () => {
      repair.plant(fallback, 'k', repair.value(5000, 'v'))
      a.cut()
      await repair.time.advance(100)
      expect(await repair.round()).to.include({ movedHome: 0, result: 'partial' })
      expect(fallback.holds('k')).to.equal('v')
    })
  })

  describe('a member that evicts', () => {
    it('is reported, is not given what it lacks, and is corrected where it is wrong', async () => {
      a.memory.storage.evictedKeys = 5
      await repair.time.advance(4000) // a ping tells
      for (const node of [b, c]) repair.plant(node, '{k}1', repair.value(5000, 'v'))
      for (const node of [a, b]) repair.plant(node, '{k}2', repair.value(9000, 'old'))
      repair.plant(c, '{k}2', repair.value(5000, 'new'))
      repair.plant(a, '{k}3', repair.value(9000, 'deleted elsewhere'))
      repair.plant(b, '{k}3', repair.tombstone(5000))
      const report = await repair.round()
      expect(report.evicting).to.deep.equal([a.id])
      expect(repair.holdings('{k}1').slice(0, 3)).to.deep.equal(['(absent)', 'v', 'v'])
      expect(repair.holdings('{k}2').slice(0, 3)).to.deep.equal(['new', 'new', 'new'])
      expect(repair.holdings('{k}3').slice(0, 3)).to.deep.equal(['(deleted)', '(deleted)', '(absent)'])
      expect(await repair.round()).to.include({ copied: 0 })
      expect((await repair.until(repair.antiEntropy.progress())).evicting).to.deep.equal([a.id])
    })

    it('still gets what a fallback replica holds for it: that was missed, not evicted', async () => {
      for (const node of [a, b, c]) node.memory.storage.evictedKeys = 5
      await repair.time.advance(4000)
      repair.plant(fallback, 'k', repair.value(5000, 'v'))
      await repair.round()
      expect(repair.holdings('k')).to.deep.equal(['v', 'v', 'v', '(absent)'])
    })
  })

  describe('who takes part', () => {
    it('a member that is away does not: the others are repaired all the same', async () => {
      b.cut()
      await repair.time.advance(100)
      repair.plant(a, 'k', repair.value(5000, 'v'))
      const report = await repair.round()
      expect(report).to.include({ result: 'partial' })
      expect(report.members).to.have.length(3).and.not.include(b.id)
      expect(report.why.join()).to.include(b.id)
      expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['v', '(absent)', 'v'])
    })

    it('a member that is being filled does not: what it lacks is not copied, what it holds not believed', async () => {
      a.wipe()
      await repair.time.advance(5000)
      expect(repair.under.member(a).completeness).to.equal('filling')
      repair.plant(b, '{k}1', repair.value(5000, 'v'))
      repair.plant(a, '{k}2', repair.value(5000, 'v'))
      expect(await repair.round()).to.include({ result: 'partial', copied: 1 })
      expect(a.holds('{k}1')).to.equal('(absent)')
      expect(repair.holdings('{k}2').slice(1, 3)).to.deep.equal(['(absent)', '(absent)'])
    })

    it('a member that fails in the middle leaves, and the round goes on', async () => {
      repair = await RepairUnderTest.started({ keysPerSecond: 1000 })
      const nodes = repair.under.nodesOf('k')
      for (let i = 0; i < 900; i++) {
        for (const node of repair.under.nodesOf(`key:${i}`).slice(0, 3))
          repair.plant(node, `key:${i}`, repair.value(5000 + i, 'v'))
      }
      nodes[2]!.memory.storage.delete(Buffer.from('k'))
      repair.plant(nodes[0]!, 'k', repair.value(5000, 'v'))
      await repair.antiEntropy.request()
      await repair.time.advance(500)
      nodes[1]!.cut()
      await repair.time.advance(30_000)
      expect(repair.reports).to.have.length(1)
      expect(repair.reports[0]).to.include({ result: 'partial', copied: 1 })
      expect(repair.reports[0]!.why.join()).to.include(nodes[1]!.id)
      expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['v', '(absent)', 'v'])
    })

    it('a member that takes no values leaves, and the others get theirs', async () => {
      b.unwritable = 'out-of-memory'
      for (const key of ['{k}1', '{k}2']) repair.plant(a, key, repair.value(5000, 'v'))
      const report = await repair.round()
      expect(report).to.include({ result: 'partial', copied: 2 })
      expect(report.why.join()).to.include(b.id).and.include('OOM')
      expect(repair.holdings('{k}2').slice(0, 3)).to.deep.equal(['v', '(absent)', 'v'])
    })

    it('a member that is flushed right after it was listed, before anybody has noticed, does not', async () => {
      const scan = b.scan.bind(b)
      b.scan = async (...args) => {
        const page = await scan(...args)
        if (page.cursor === '0') b.flush()
        return page
      }
      const report = await repair.round()
      expect(report).to.include({ result: 'partial' })
      expect(report.why.join()).to.include(b.id)
    })

    for (const fault of ['wipe', 'flush', 'restart'] as const) {
      it(`a member that lost its data in the middle (${fault}) does not count, and nothing of it is believed`, async () => {
        repair = await RepairUnderTest.started({ keysPerSecond: 1000 })
        for (let i = 0; i < 900; i++) {
          for (const node of repair.under.nodesOf(`key:${i}`).slice(0, 3))
            repair.plant(node, `key:${i}`, repair.value(5000 + i, 'v'))
        }
        const victim = repair.nodes[1]!
        await repair.antiEntropy.request()
        await repair.time.advance(1200)
        expect(repair.reports).to.have.length(0)
        victim[fault]()
        await repair.time.advance(30_000)
        expect(repair.reports).to.have.length(1)
        expect(repair.reports[0]).to.include({ result: 'partial', copied: 0 })
        expect(repair.reports[0]!.members).to.not.include(victim.id)
        expect(repair.reports[0]!.why.join()).to.include(victim.id)
      })
    }

    it('a member that loses its data while copies go to it, at any moment: never called complete', async () => {
      for (let afterMs = 0; afterMs < 2500; afterMs += 100) {
        repair = await RepairUnderTest.started({ keysPerSecond: 500 })
        for (let i = 0; i < 200; i++)
          repair.plant(repair.under.nodesOf(`key:${i}`)[0]!, `key:${i}`, repair.value(5000, 'v'))
        await repair.antiEntropy.request()
        await repair.time.advance(afterMs)
        const ended = repair.reports.length > 0
        repair.nodes[2]!.wipe()
        await repair.time.advance(20_000)
        expect(repair.reports[0]!.result, `wiped after ${afterMs} ms`).to.equal(
          ended ? 'complete' : 'partial',
        )
        await repair.antiEntropy.stop()
      }
    })
  })

  describe('members that may have missed writes', () => {
    const missed = (node: FaultyNode, unnoted = true) => {
      const member = repair.under.member(node)
      member.markBehind('a test says so')
      member.missedUnnoted = unnoted
      return member
    }

    it('have caught up after a complete round', async () => {
      const member = missed(b)
      repair.plant(a, 'k', repair.value(5000, 'v'))
      expect(await repair.round()).to.include({ result: 'complete' })
      expect(member).to.include({ behind: false, missedUnnoted: false })
      expect(b.holds('k')).to.equal('v')
    })

    it('have not after a partial one, after another miss, while hints wait for them, or when they evict', async () => {
      const member = missed(b)
      fallback.cut()
      await repair.time.advance(100)
      expect(await repair.round()).to.include({ result: 'partial' })
      expect(member.behind, 'partial').to.equal(true)
      fallback.heal()
      await repair.time.advance(5000)

      const scan = a.scan.bind(a)
      a.scan = (...args) => {
        a.scan = scan
        missed(b)
        return scan(...args)
      }
      expect(await repair.round()).to.include({ result: 'complete' })
      expect(member.behind, 'another miss').to.equal(true)

      a.memory.storage.hintsFor(b.id).note({ key: Buffer.from('k'), version: version({ ms: 1 }) }, 10)
      await repair.time.advance(4000)
      await repair.round()
      expect(member.behind, 'hints').to.equal(true)
      a.memory.storage.hintsFor(b.id).drop(Buffer.from('k'), version({ ms: 1 }))

      b.memory.storage.evictedKeys = 1
      await repair.time.advance(4000)
      await repair.round()
      expect(member.behind, 'evicting').to.equal(true)
    })
  })

  describe('pace', () => {
    it('is kept on the clock: no second sees more keys than allowed, but for two pieces', async () => {
      repair = await RepairUnderTest.started({ keysPerSecond: 200 })
      for (let i = 0; i < 1000; i++) {
        for (const node of repair.under.nodesOf(`key:${i}`).slice(0, 3))
          repair.plant(node, `key:${i}`, repair.value(5000, 'v'))
      }
      await repair.antiEntropy.request()
      const begunMs = repair.time.monotonicMs()
      let before = 0
      while (repair.reports.length === 0) {
        await repair.time.advance(1000)
        const { checkedKeys } = repair.reports[0] ?? (await repair.antiEntropy.progress())
        expect(checkedKeys - before).to.be.at.most(200 + 2 * 20)
        before = checkedKeys
      }
      const seconds = (repair.time.monotonicMs() - begunMs) / 1000
      // Each node has at most six keys of its own.
      expect(before).to.be.within(3000, 3000 + 4 * 6)
      expect(seconds).to.be.within(14.9, 17)
    })

    it('holds for copying, too', async () => {
      repair = await RepairUnderTest.started({ keysPerSecond: 200 })
      for (let i = 0; i < 300; i++)
        repair.plant(repair.under.nodesOf(`key:${i}`)[0]!, `key:${i}`, repair.value(5000, 'v'))
      const begunMs = repair.time.monotonicMs()
      const { checkedKeys, copied } = await repair.round()
      expect(copied).to.equal(600)
      expect(repair.time.monotonicMs() - begunMs).to.be.at.least(((checkedKeys + 3 * 300 - 48) * 1000) / 200)
    })

    it('without a limit it still lets others in after every page', async () => {
      for (let i = 0; i < 2000; i++) {
        for (const node of repair.under.nodesOf(`key:${i}`).slice(0, 3))
          repair.plant(node, `key:${i}`, repair.value(5000, 'v'))
      }
      let pages = 0
      let turns = 0
      const turnsAtPage: number[] = []
      for (const node of repair.nodes) {
        node.network = (call) => {
          pages++
          turnsAtPage.push(turns)
          return call()
        }
      }
      let going = true
      const turn = () => {
        turns++
        if (going) repair.time.endOfTurn(turn)
      }
      turn()
      const asked = repair.antiEntropy.request()
      void asked.then(() => undefined)
      const ended = (async () => {
        while (repair.reports.length === 0) await new Promise((resolve) => setImmediate(resolve))
        going = false
      })()
      await Promise.all([repair.time.settle(), ended])
      expect(pages).to.be.greaterThan(24)
      expect(turns).to.be.greaterThan(24)
    })

    it('stops soon, however slow it goes', async () => {
      repair = await RepairUnderTest.started({ keysPerSecond: 1 })
      for (let i = 0; i < 100; i++)
        repair.plant(repair.under.nodesOf(`key:${i}`)[0]!, `key:${i}`, repair.value(5000, 'v'))
      await repair.antiEntropy.request()
      await repair.time.advance(20_000)
      let stopped = false
      void repair.antiEntropy.stop().then(() => (stopped = true))
      await repair.time.settle()
      expect(stopped).to.equal(true)
      expect(repair.reports.at(-1)).to.include({ result: 'stopped' })
    })
  })
})

describe('anti-entropy by several coordinators', function () {
  this.timeout(30_000)
  const CYCLE_MS = 3 * LEASE_MS
  let all: RepairUnderTest[] = []
  afterEach(async () => {
    for (const repair of all) await repair.antiEntropy.stop()
    all = []
  })
  const coordinators = async (
    count: number,
    settings: { intervalMs?: number; keysPerSecond?: number } = {},
  ) => {
    const first = await RepairUnderTest.started({ coordinator: 1, ...settings })
    all = [first]
    for (let i = 2; i <= count; i++) {
      all.push(await RepairUnderTest.started({ coordinator: i, beside: first.under, ...settings }))
    }
    return all
  }
  const reports = () => all.flatMap((repair) => repair.reports)
  const plantMany = (repair: RepairUnderTest, count: number) => {
    for (let i = 0; i < count; i++)
      repair.plant(repair.under.nodesOf(`key:${i}`)[i % 3]!, `key:${i}`, repair.value(5000, 'v'))
  }
  /** The process is gone: nothing leaves it, and nothing that comes is read. */
  const kill = (repair: RepairUnderTest) => {
    all = all.filter((other) => other !== repair)
    for (const node of repair.nodes) {
      node.network = () => new Promise(() => undefined)
      node.get = () => undefined
      node.store = () => undefined
    }
  }

  it('one at a time: asking another one tells how far the first is', async () => {
    const [first, second] = (await coordinators(2, { keysPerSecond: 100 })) as [
      RepairUnderTest,
      RepairUnderTest,
    ]
    plantMany(first, 300)
    await first.until(first.antiEntropy.request())
    await first.time.advance(5000)
    const asked = await first.until(second.antiEntropy.request())
    expect(asked.state).to.equal('running')
    expect(asked.checkedKeys).to.be.within(100, 500)
    expect(asked.startedAtMs).to.equal((await first.antiEntropy.progress()).startedAtMs)
    await first.time.advance(60_000)
    expect(reports()).to.have.length(1)
    const told = await first.until(second.antiEntropy.progress())
    expect(told).to.include({ state: 'idle', checkedKeys: 0, startedAtMs: null })
    expect(told.lastRound).to.deep.equal(JSON.parse(JSON.stringify({ ...reports()[0], kind: undefined })))
  })

  it('once one has ended, another can begin at once', async () => {
    const [first, second] = (await coordinators(2)) as [RepairUnderTest, RepairUnderTest]
    await first.round()
    await first.time.advance(10)
    await second.round()
    expect(reports()).to.have.length(2)
  })

  for (const intervalMs of [HOUR_MS, 0]) {
    const asked = intervalMs === 0 ? 'on demand only' : 'on a timer'
    it(`a worker that is killed in the middle is followed by another, which finishes (${asked})`, async () => {
      const [first, second] = (await coordinators(2, { keysPerSecond: 100, intervalMs })) as [
        RepairUnderTest,
        RepairUnderTest,
      ]
      for (const repair of all) repair.antiEntropy.start()
      plantMany(first, 300)
      await first.until(first.antiEntropy.request())
      await first.time.advance(6000)
      expect(first.reports).to.have.length(0)
      kill(first)
      await first.time.advance(CYCLE_MS)
      expect((await second.until(second.antiEntropy.progress())).state).to.equal('running')
      await first.time.advance(60_000)
      expect(second.reports).to.have.length(1)
      expect(second.reports[0]).to.include({ result: 'complete', copied: 600 })
      second.expectEqual()
      await first.time.advance(600_000)
      expect(second.reports, 'and that is it').to.have.length(1)
    })
  }

  it('a worker that is stopped is followed by another', async () => {
    const [first, second] = (await coordinators(2, { keysPerSecond: 100 })) as [
      RepairUnderTest,
      RepairUnderTest,
    ]
    for (const repair of all) repair.antiEntropy.start()
    plantMany(first, 300)
    await first.until(first.antiEntropy.request())
    await first.time.advance(6000)
    await first.antiEntropy.stop()
    expect(first.reports.map(({ result }) => result)).to.deep.equal(['stopped'])
    await first.time.advance(90_000)
    expect(second.reports.map(({ result }) => result)).to.deep.equal(['complete'])
  })

  it('a worker that was only paused for longer than its lease gives way', async () => {
    const [first, second] = (await coordinators(2, { keysPerSecond: 100 })) as [
      RepairUnderTest,
      RepairUnderTest,
    ]
    plantMany(first, 300)
    await first.until(first.antiEntropy.request())
    await first.time.advance(2000)
    const frozen: (() => void)[] = []
    for (const node of first.nodes) {
      node.network = (call) => new Promise<void>((resolve) => frozen.push(() => resolve())).then(call)
    }
    await first.time.advance(LEASE_MS + 5000)
    second.antiEntropy.start()
    await first.time.advance(25_000)
    expect((await second.until(second.antiEntropy.progress())).state).to.equal('running')
    for (const node of first.nodes) node.network = (call) => call()
    for (const thaw of frozen) thaw()
    await first.time.advance(60_000)
    expect(first.reports.map(({ result }) => result)).to.deep.equal(['stopped'])
    expect(first.reports[0]!.why.join()).to.include('another coordinator')
    expect(second.reports.map(({ result }) => result)).to.deep.equal(['complete'])
    second.expectEqual()
  })

  it('together they make one round an interval, never more than the interval apart', async () => {
    await coordinators(3, { intervalMs: HOUR_MS })
    for (const repair of all) repair.antiEntropy.start()
    await all[0]!.time.advance(4 * HOUR_MS)
    const starts = reports()
      .map(({ startedAtMs }) => startedAtMs)
      .sort((x, y) => x - y)
    expect(starts).to.have.length.within(4, 5)
    for (const [i, start] of starts.entries()) {
      if (i > 0) expect(start - starts[i - 1]!).to.be.within(HOUR_MS - 2 * LEASE_MS, HOUR_MS)
    }
  })

  it('a coordinator that starts soon after a round knows that there was one', async () => {
    const [first] = await coordinators(1, { intervalMs: HOUR_MS })
    await first!.round()
    await first!.antiEntropy.stop()
    const late = await RepairUnderTest.started({ coordinator: 9, beside: first!.under, intervalMs: HOUR_MS })
    all.push(late)
    late.antiEntropy.start()
    await first!.time.advance(HOUR_MS - 60_000)
    expect(late.reports).to.have.length(0)
    await first!.time.advance(60_000)
    expect(late.reports).to.have.length(1)
  })

  it('an interval of 0: on demand only', async () => {
    const [only] = await coordinators(1)
    only!.antiEntropy.start()
    await only!.time.advance(3 * HOUR_MS)
    expect(reports()).to.have.length(0)
    expect(await only!.round()).to.include({ result: 'complete' })
  })

  it('nothing to work with: says so', async () => {
    const [only] = await coordinators(1)
    for (const node of only!.nodes) node.cut()
    await only!.time.advance(1000)
    let code = ''
    await only!.antiEntropy.request().catch((error: { code: string }) => (code = error.code))
    expect(code).to.equal('UNAVAILABLE')
  })
})

/** Data calls on users' keys. */
function userCalls(repair: RepairUnderTest): number {
  const state = ROUND_STATE_KEY
  return repair.nodes.reduce((sum, node) => sum + node.calls.filter(({ key }) => key !== state).length, 0)
}

/** Counts the pages listed of each node, from now on. */
function countScans(repair: RepairUnderTest): Map<FaultyNode, number> {
  const scans = new Map(repair.nodes.map((node) => [node, 0]))
  for (const node of repair.nodes) {
    const scan = node.scan.bind(node)
    node.scan = (...args) => {
      scans.set(node, scans.get(node)! + 1)
      return scan(...args)
    }
  }
  return scans
}
