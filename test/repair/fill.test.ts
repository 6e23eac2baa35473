/** A fill copies what the other home replicas agree on, and settles what they do not. */
import { expect } from 'chai'
import { MARKER_KEY } from '../../src/core/keys.ts'
import { KIND_TOMBSTONE } from '../../src/core/codec.ts'
import { versionText } from '../../src/core/clock.ts'
import { RECEIVED, STEERING } from '../../src/repair/progress.ts'
import { Repairer } from '../../src/repair/repairer.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'
import { RepairUnderTest, type Settings } from './repair-under-test.ts'

describe('a fill', function () {
  this.timeout(20_000)
  let repair: RepairUnderTest
  let homes: FaultyNode[]
  let a: FaultyNode, b: FaultyNode, c: FaultyNode
  let repairer: Repairer

  const start = async (settings: Settings = {}) => {
    repair = await RepairUnderTest.started(settings)
    homes = repair.under.nodesOf('k').slice(0, settings.replicas ?? 3)
    ;[a, b, c] = homes as [FaultyNode, FaultyNode, FaultyNode]
  }
  beforeEach(() => start())
  afterEach(async () => {
    await repair.until(repairer.stop())
    await repair.antiEntropy.stop()
    await repair.under.cluster.stop()
  })

  const fill = async (...nodes: FaultyNode[]) => {
    for (const node of nodes) {
      node.memory.storage.delete(MARKER_KEY)
      node.memory.storage.delete(Buffer.from('k'))
    }
    repairer = new Repairer(repair.context)
    repairer.start()
    await repair.time.advance(20_000)
    for (const node of nodes) expect(repair.under.member(node).completeness).to.equal('clean')
  }
  const versions = () => homes.map((node) => (node.held('k') ? versionText(node.held('k')!.version) : 'none'))
  const plantAll = (value: string, ageMs: number, ...nodes: FaultyNode[]) => {
    const planted = repair.value(ageMs, value)
    for (const node of nodes) repair.plant(node, 'k', planted)
    return versionText(planted.head.subarray(5, 17))
  }

  it('copies what they agree on, as it is', async () => {
    const version = plantAll('v', 5000, a, b)
    await fill(c)
    expect(versions()).to.deep.equal([version, version, version])
  })

  it('does not make a majority of a write that only one of them holds: it is settled first', async () => {
    const older = plantAll('old', 9000, a)
    const newer = plantAll('unfinished', 5000, b)
    await fill(c)
    const [at, ...others] = versions()
    expect(others).to.deep.equal([at, at])
    expect([older, newer]).to.not.include(at)
    expect(repair.holdings('k').slice(0, 3)).to.deep.equal(Array(3).fill('unfinished'))
  })

  it('nor of a delete', async () => {
    plantAll('old', 9000, a)
    repair.plant(b, 'k', repair.tombstone(5000))
    await fill(c)
    const [at, ...others] = versions()
    expect(others).to.deep.equal([at, at])
    expect(repair.holdings('k').slice(0, 3)).to.deep.equal(Array(3).fill('(deleted)'))
  })

  it('settles what one of them has promised a newer write of', async () => {
    const version = plantAll('v', 5000, a, b)
    const ballot = record(Math.floor(repair.nowMs), '').head.subarray(5, 17)
    await repair.until(
      new Promise<void>((resolve, reject) => {
        const call = { onPromised: () => resolve(), onRefused: reject, onFailure: reject }
        a.prepare(Buffer.from('k'), Buffer.from(ballot), call)
      }),
    )
    await fill(c)
    const [at, ...others] = versions()
    expect(others).to.deep.equal([at, at])
    expect(at! > version).to.equal(true)
    expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['v', 'v', 'v'])
  })

  it('waits for a write that is on its way to all of them', async () => {
    const planted = record(Math.floor(repair.nowMs - 5000), 'v')
    repair.plant(a, 'k', planted)
    const peek = b.peek.bind(b)
    b.peek = (...args) => {
      peek(...args)
      repair.plant(b, 'k', planted)
    }
    await fill(c)
    const version = versionText(planted.head.subarray(5, 17))
    expect(versions()).to.deep.equal([version, version, version])
  })

  it('takes a deleted record and none for the same', async () => {
    const planted = record(Math.floor(repair.nowMs - 5000), '', { kind: KIND_TOMBSTONE })
    repair.plant(a, 'k', planted)
    await fill(c)
    expect(versions().slice(0, 2)).to.deep.equal([versionText(planted.head.subarray(5, 17)), 'none'])
  })

  it('takes an evicted record for one that agrees', async () => {
    b.memory.storage.evictedKeys = 5
    const version = plantAll('v', 5000, a)
    await repair.time.advance(3100)
    await fill(c)
    expect(versions()).to.deep.equal([version, 'none', version])
  })

  it('copies the newest where too few are clean for a majority: nothing can be acknowledged then', async () => {
    await start({ nodes: 5, replicas: 4 })
    plantAll('old', 9000, a)
    const newer = plantAll('unfinished', 5000, b)
    await fill(...homes.slice(2))
    expect(versions().slice(2)).to.deep.equal([newer, newer])
  })

  it('of a member that lost its data belongs to no change: no limit slows it down, and nothing is noted', async () => {
    const { cluster } = repair.under
    await repair.until(STEERING.write(cluster, { paused: cluster.placement.since, keysPerSecond: 1 }))
    plantAll('v', 9000, a, b)
    await fill(c)
    expect(repair.holdings('k').slice(0, 3)).to.deep.equal(['v', 'v', 'v'])
    expect(await repair.until(RECEIVED.read(cluster, [repair.under.member(c)]))).to.equal(null)
  })
})
