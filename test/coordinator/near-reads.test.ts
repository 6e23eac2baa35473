// When a copy of the near cache may be answered with no further look: the route that a read has left, and what ends it.
import { expect } from 'chai'
import type { Cluster } from '../../src/cluster/cluster.ts'
import type { Member } from '../../src/cluster/member.ts'
import { NearReads } from '../../src/coordinator/read/near-reads.ts'
import { HotKeys } from '../../src/coordinator/usage/hot-keys.ts'
import { KIND_HASH, KIND_VALUE, newRecord } from '../../src/core/codec.ts'
import type { Placement } from '../../src/core/placement.ts'
import { READ_FIRST } from '../../src/core/plan.ts'
import { NearCache, type NearNode } from '../../src/nodes/near/near-cache.ts'
import type { Fence } from '../../src/nodes/node.ts'
import { VirtualTime } from '../support/virtual-time.ts'

const BOUND_MS = 900
const FENCE: Fence = { marker: Buffer.from('m'), runId: 'r', clean: true, epoch: 4 }
const KEY = Buffer.from('hot')

describe('reads of the near cache without an operation', () => {
  let time: VirtualTime
  let cache: NearCache
  let near: NearNode
  let cluster: { placement: Placement<Member>; time: { nowMs(): number } }
  let member: { readRank: number }
  let hotKeys: HotKeys
  let reads: NearReads

  const placementOf = (epoch: number) => ({ epoch }) as Placement<Member>

  beforeEach(() => {
    time = new VirtualTime()
    cache = new NearCache({ maxBytes: 1024 * 1024, maxStalenessMs: BOUND_MS, clock: time })
    near = cache.of('n1')
    near.under(FENCE)
    near.trackingBegan()
    near.proven(time.monotonicMs())
    cluster = { placement: placementOf(4), time: { nowMs: () => 5_000_000 + time.monotonicMs() } }
    member = { readRank: READ_FIRST }
    hotKeys = new HotKeys({ keep: 4, monotonicMs: () => time.monotonicMs(), random: () => 0.5 })
    reads = new NearReads(cache, { cluster: cluster as unknown as Cluster, clock: time, hotKeys })
  })

  function keep(kind = KIND_VALUE, expiresAtMs = 0): void {
    const stamp = (target: Buffer, at: number) => void target.fill(7, at, at + 12)
    const { head, value } = newRecord(kind, { stamp }, expiresAtMs, Buffer.from('v'))
    for (let i = 0; i < 2; i++) {
      near.find(KEY)
      near.ask(KEY)?.answered(Buffer.concat([head, value]), FENCE)
    }
    reads.found(near.find(KEY)!, cluster.placement, member as Member)
  }

  function answer(): string | undefined {
    reads.begin()
    return reads.find(0, KEY, 0, KEY.length)?.toString()
  }

  it('answer after a read that was answered with the same copy, and count as hits and as uses of the key', () => {
    keep()
    const { hits } = cache
    for (let i = 0; i < 100; i++) expect(answer()).to.equal('v\r\n')
    expect(cache.hits).to.equal(hits + 100)
    const { hot } = hotKeys.report()
    expect(hot.map(({ key, share }) => [key.toString(), share])).to.deep.equal([['hot', 1]])
  })

  it('do not answer before such a read', () => {
    keep()
    near.find(KEY)!.route = null
    expect(answer()).to.equal(undefined)
  })

  for (const [what, happens] of [
    ['another placement is used, of whatever epoch', () => void (cluster.placement = placementOf(4))],
    ['the node is not the one to be asked first any more', () => void member.readRank++],
    ['the node answers under a marker of another epoch', () => near.under({ ...FENCE, epoch: 5 })],
    ['the node is not clean any more', () => near.under({ ...FENCE, clean: false })],
    ['the data path has ended', () => near.ended()],
    ['the key has changed', () => near.invalidated([KEY])],
    ['the node does not tell any more', () => near.trackingEnded('tracking')],
  ] as const) {
    it(`do not answer when ${what}`, () => {
      keep()
      expect(answer()).to.equal('v\r\n')
      happens()
      expect(answer()).to.equal(undefined)
    })
  }

  it('do not answer when the last proof is older than the bound', async () => {
    keep()
    await time.advance(BOUND_MS)
    expect(answer()).to.equal('v\r\n')
    await time.advance(1)
    expect(answer()).to.equal(undefined)
  })

  it('do not answer what has ended by cluster time, and nothing but strings', async () => {
    keep(KIND_VALUE, 5_000_500)
    await time.advance(499)
    expect(answer()).to.equal('v\r\n')
    await time.advance(1)
    expect(answer()).to.equal(undefined)
    near.changed(KEY)
    keep(KIND_HASH)
    expect(answer()).to.equal(undefined)
  })
})
