import { expect } from 'chai'
import { decodeMarker, encodeMarker } from '../../src/cluster/marker.ts'
import { lastingCopy, type NewRecord } from '../../src/core/codec.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { Placement } from '../../src/core/placement.ts'
import { FAR_END_MS } from '../../src/core/lifetime.ts'
import { copyRecord } from '../../src/repair/round/copy.ts'
import { deliverHints } from '../../src/repair/hints.ts'
import { NO_PROGRESS } from '../../src/repair/round/merge-work.ts'
import { merge } from '../../src/repair/round/merge.ts'
import { sourcesFor } from '../../src/repair/round/sources.ts'
import { Repairer } from '../../src/repair/repairer.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { RepairUnderTest } from './repair-under-test.ts'

const KEY = Buffer.from('k')
const HOUR_MS = 3_600_000

describe('the copy of a record', () => {
  let repair: RepairUnderTest
  /** The nodes of `k`: three home replicas and the fallback replica. */
  let a: FaultyNode, b: FaultyNode, c: FaultyNode, d: FaultyNode

  beforeEach(async () => {
    repair = await RepairUnderTest.started()
    ;[a, b, c, d] = repair.under.nodesOf('k') as [FaultyNode, FaultyNode, FaultyNode, FaultyNode]
  })
  afterEach(async () => {
    await repair.antiEntropy.stop()
    await repair.under.cluster.stop()
  })

  const copy = (sources: FaultyNode[], target: FaultyNode, readAgoMs = 0) =>
    repair.until(
      copyRecord(repair.context, sources, target, KEY, sources[0]!.held('k')!, repair.nowMs - readAgoMs).then(
        () => 'copied',
        (error: Error) => error.message,
      ),
    )
  const life = (node: FaultyNode) => repair.lifeMs(node, 'k')
  const plant = (node: FaultyNode, planted: NewRecord, lifeMs?: number) =>
    repair.plant(node, 'k', planted, lifeMs)
  const mergeTo = (node: FaultyNode) => {
    const member = repair.under.member(node)
    const sources = sourcesFor(repair.under.cluster.placement, member, 'all')!
    return repair.until(merge(repair.context, [{ member, sources, progress: { ...NO_PROGRESS } }]))
  }

  describe('must come soon', () => {
    it('within seconds from when it was read', async () => {
      plant(a, repair.value(HOUR_MS, 'v'))
      expect(await copy([a], b, 5001)).to.match(/after its time limit/)
      expect(b.holds('k')).to.equal('(absent)')
      expect(await copy([a], b, 4000)).to.equal('copied')
      expect(b.holds('k')).to.equal('v')
    })

    for (const offMs of [-HOUR_MS, HOUR_MS]) {
      it(`by the clock of the node that takes it, which is off by ${offMs / HOUR_MS} h`, async () => {
        plant(a, repair.value(HOUR_MS, 'v'))
        b.clockOffMs = offMs
        await repair.time.advance(4000) // it is measured with the pings
        expect(await copy([a], b, 5001)).to.match(/after its time limit/)
        expect(await copy([a], b)).to.equal('copied')
      })
    }

    it('also where a promise holds it up: the key is not settled later on', async () => {
      plant(a, repair.value(HOUR_MS, 'v'))
      const ballot = repair.value(-HOUR_MS, '').head.subarray(5, 17)
      b.prepare(KEY, ballot, {
        onPromised: () => undefined,
        onRefused: () => undefined,
        onFailure: () => undefined,
      })
      await repair.time.advance(1)
      const get = b.get.bind(b)
      b.get = (...args) => void repair.time.setTimeout(() => get(...args), 6000)
      expect(await copy([a], b)).to.match(/too late/)
      expect(a.held('k')!.value.toString()).to.equal('v')
      expect(b.held('k')!.promise).to.not.equal(null)
    })

    describe('and not from a worker that was paused after it had read the record, which was deleted meanwhile', () => {
      /** What it answers about the key is looked at ten seconds later; until then the record is deleted and forgotten. */
      const pausesAfterReading = (node: FaultyNode) => {
        const get = node.memory.get.bind(node.memory)
        node.get = (key, call) => {
          get(key, {
            onRecord: (_node, bytes, fence) => {
              const resume = () => call.onRecord(node, bytes, fence)
              if (!key.equals(KEY)) resume()
              else repair.time.setTimeout(resume, 10_000)
            },
            onFailure: (_node, failure) => call.onFailure(node, failure),
          })
        }
        const starts = node.memory.starts.bind(node.memory)
        node.starts = (keys, bytes, call) => {
          starts(keys, bytes, {
            onStarts: (_node, found, fence) => {
              const resume = () => call.onStarts(node, found, fence)
              if (!keys.some((key) => key.equals(KEY))) resume()
              else repair.time.setTimeout(resume, 10_000)
            },
            onFailure: (_node, failure) => call.onFailure(node, failure),
          })
        }
      }
      const stopped = (error: Error) => expect(error.message).to.match(/after its time limit/)
      const holdings = () => [a, b, c].map((node) => node.holds('k'))

      it('who delivers hints', async () => {
        const value = repair.value(HOUR_MS, 'v')
        for (const node of [b, c]) plant(node, value)
        b.memory.storage.hintsFor(a.id).note({ key: KEY, version: value.head.subarray(5, 17) }, 10)
        pausesAfterReading(b)
        await repair.until(deliverHints(repair.context, a.id).then(undefined, stopped))
        expect(holdings()).to.deep.equal(['(absent)', 'v', 'v'])
      })

      it('who merges', async () => {
        for (const node of [b, c]) plant(node, repair.value(HOUR_MS, 'v'))
        for (const node of [b, c]) pausesAfterReading(node)
        await mergeTo(a).then(undefined, stopped)
        expect(holdings()).to.deep.equal(['(absent)', 'v', 'v'])
      })

      it('who compares', async () => {
        for (const node of [b, c]) plant(node, repair.value(HOUR_MS, 'v'))
        for (const node of [b, c]) pausesAfterReading(node)
        const report = await repair.round()
        expect(report.result).to.equal('partial')
        expect(holdings()).to.deep.equal(['(absent)', 'v', 'v'])
      })
    })
  })

  describe('lives', () => {
    const SHORT_MS = 60_000
    const LONG_MS = 10 * HOUR_MS

    it('as long as at the source that keeps it longest', async () => {
      const value = repair.value(HOUR_MS, 'v', SHORT_MS)
      plant(a, value, SHORT_MS)
      plant(b, value, LONG_MS)
      expect(await copy([a, b], c)).to.equal('copied')
      expect(life(c)).to.be.within(LONG_MS - 100, LONG_MS)
    })

    it('for ever where it has no end, and nobody is asked', async () => {
      plant(a, repair.value(HOUR_MS, 'v'), SHORT_MS)
      expect(await copy([a], b)).to.equal('copied')
      expect(life(b)).to.equal(FAR_END_MS)
    })

    it('on as a lasting one, where it was one', async () => {
      plant(a, lastingCopy(repair.tombstone(HOUR_MS)), LONG_MS)
      expect(await copy([a], b)).to.equal('copied')
      expect(b.held('k')!.isLasting).to.equal(true)
      plant(a, repair.tombstone(0), LONG_MS)
      expect(await copy([a], c)).to.equal('copied')
      expect(c.held('k')!.isLasting).to.equal(false)
    })

    it('at a node that is filled as long as anywhere else, whoever is read first', async () => {
      const tombstone = repair.tombstone(HOUR_MS)
      plant(b, tombstone, SHORT_MS)
      plant(c, tombstone, LONG_MS)
      await mergeTo(a)
      expect(life(a)).to.be.within(LONG_MS - 100, LONG_MS)
      a.memory.storage.delete(KEY)
      plant(b, tombstone, LONG_MS)
      plant(c, tombstone, SHORT_MS)
      await mergeTo(a)
      expect(life(a)).to.be.within(LONG_MS - 100, LONG_MS)
    })

    it('at a home replica that lacks it as long as at any other, when they are compared', async () => {
      const value = repair.value(HOUR_MS, 'v', HOUR_MS)
      plant(a, value, HOUR_MS + SHORT_MS)
      plant(b, value, LONG_MS)
      await repair.round()
      expect(life(c)).to.be.above(LONG_MS - HOUR_MS)
    })
  })

  describe('on a fallback replica, moved home, stays where that one lost its data meanwhile and may need it', () => {
    /** Wiped, and filled again, when the home replica is sent the copy. */
    const changesItsMarker = () => {
      const store = a.store.bind(a)
      a.store = (key, ...rest) => {
        if (key.equals(KEY)) {
          const marker = decodeMarker(d.memory.storage.get(MARKER_KEY)!)!
          d.memory.storage.set(MARKER_KEY, encodeMarker({ ...marker, token: 'another' }), Infinity)
        }
        store(key, ...rest)
      }
    }

    for (const other of [false, true]) {
      it(`${other ? 'not so otherwise' : 'when hints are delivered'}`, async () => {
        const value = repair.value(HOUR_MS, 'v')
        plant(d, value)
        d.memory.storage.hintsFor(a.id).note({ key: KEY, version: value.head.subarray(5, 17) }, 10)
        if (!other) changesItsMarker()
        await repair.until(deliverHints(repair.context, a.id))
        expect(a.holds('k')).to.equal('v')
        expect(d.holds('k')).to.equal(other ? '(absent)' : 'v')
      })
    }

    it('when copies are compared', async () => {
      plant(d, repair.value(HOUR_MS, 'v'))
      changesItsMarker()
      await repair.round()
      expect(a.holds('k')).to.equal('v')
      expect(d.holds('k')).to.equal('v')
    })
  })

  describe('that a node has missed which holds its key no more', () => {
    const hint = (holder: FaultyNode, target: string, { head }: NewRecord) =>
      holder.memory.storage.hintsFor(target).note({ key: KEY, version: head.subarray(5, 17) }, 10)
    const without = (gone: FaultyNode) => {
      const { cluster } = repair.under
      const members = cluster.members.filter(({ node }) => node !== gone)
      cluster.place(Placement.of({ epoch: 2, members, replicationFactor: 3, vnodesPerNode: 20 }))
    }

    it('goes to all that do, after it has left, and the hint with it', async () => {
      const value = repair.value(HOUR_MS, 'v')
      plant(b, value)
      hint(b, a.id, value)
      without(a)
      const repairer = new Repairer(repair.context)
      repairer.start()
      await repair.time.advance(8000)
      await repair.until(repairer.stop())
      expect([b, c, d].map((node) => node.holds('k'))).to.deep.equal(['v', 'v', 'v'])
      expect(a.holds('k')).to.equal('(absent)')
      expect(b.memory.storage.hintsFor(a.id).size).to.equal(0)
    })

    it('goes to all that do, although it is still a member', async () => {
      const value = repair.value(HOUR_MS, 'v')
      plant(b, value)
      hint(b, d.id, value)
      await repair.until(deliverHints(repair.context, d.id))
      expect([a, b, c].map((node) => node.holds('k'))).to.deep.equal(['v', 'v', 'v'])
      expect(d.holds('k')).to.equal('(absent)')
      expect(b.memory.storage.hintsFor(d.id).size).to.equal(0)
    })

    it('waits while one of those is away', async () => {
      const value = repair.value(HOUR_MS, 'v')
      plant(b, value)
      hint(b, d.id, value)
      c.cut()
      await repair.time.advance(100)
      await repair.until(deliverHints(repair.context, d.id))
      expect(b.memory.storage.hintsFor(d.id).size).to.equal(1)
    })
  })

  it('that was refused for coming late comes with the next try', async () => {
    const value = repair.value(HOUR_MS, 'v')
    for (const node of [b, c]) plant(node, value)
    b.memory.storage.hintsFor(a.id).note({ key: KEY, version: value.head.subarray(5, 17) }, 10)
    a.clockOffMs = 30_000 // somebody has set it since the last ping
    const repairer = new Repairer(repair.context)
    repairer.start()
    repair.under.member(a).markBehind('a hint says so')
    await repair.time.advance(1000)
    expect(a.holds('k')).to.equal('(absent)')
    await repair.time.advance(8000)
    expect(a.holds('k')).to.equal('v')
    await repair.until(repairer.stop())
  })
})
