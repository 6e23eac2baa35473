import { expect } from 'chai'
import { decodeMarker, encodeMarker } from '../../src/cluster/marker.ts'
import { MARKER_KEY, SYNCED_AT_KEY } from '../../src/core/keys.ts'
import { encodeSyncedAt } from '../../src/core/synced-at.ts'
import { CoordinatorUnderTest, PING_INTERVAL_MS } from '../support/coordinator-under-test.ts'

describe('a node with older data than others know of', () => {
  let first: CoordinatorUnderTest
  let later: CoordinatorUnderTest | null
  beforeEach(async () => {
    later = null
    first = await CoordinatorUnderTest.started()
    await first.time.advance(PING_INTERVAL_MS)
  })
  afterEach(async () => {
    await first.cluster.stop()
    await later?.cluster.stop()
  })

  const stamp = (i: number, atMs: number, assumed = false) =>
    first.nodes[i]!.memory.storage.set(SYNCED_AT_KEY, encodeSyncedAt({ atMs, assumed }), Infinity)
  const nowMs = () => Math.floor(first.cluster.time.nowMs())
  const told = (under: CoordinatorUnderTest) =>
    under.events.flatMap((event) => (event.kind === 'node-older' ? [event] : []))
  const another = async () => {
    later = await CoordinatorUnderTest.started({ beside: first, coordinator: 2 })
    for (let i = 0; i < 5; i++) await later.time.advance(PING_INTERVAL_MS)
    return told(later)
  }

  it('is named once by a coordinator that starts, if a round took place without it', async () => {
    const [before, round] = [nowMs() - 7_200_000, nowMs() - 3_600_000]
    for (const i of [0, 1, 2]) stamp(i, round)
    stamp(3, before)
    expect(await another()).to.deep.equal([
      { kind: 'node-older', node: 'node-4', sinceMs: before, othersMs: round },
    ])
  })

  it('is not one beside new nodes, which were filled after the last round', async () => {
    stamp(0, nowMs() - 3_600_000)
    for (const i of [1, 2, 3]) stamp(i, nowMs() - 1000 * i)
    expect(await another()).to.deep.equal([])
  })

  it('is not one where the times of others are assumed', async () => {
    for (const i of [0, 1, 2]) stamp(i, nowMs() - 1000, true)
    stamp(3, nowMs() - 3_600_000)
    expect(await another()).to.deep.equal([])
  })

  it('is not one that is filled, because that is a comparison', async () => {
    for (const i of [0, 1, 2]) stamp(i, nowMs() - 1000)
    stamp(3, nowMs() - 3_600_000)
    const { storage } = first.nodes[3]!.memory
    const marker = decodeMarker(storage.get(MARKER_KEY)!)!
    storage.set(MARKER_KEY, encodeMarker({ ...marker, state: 'filling' }), Infinity)
    expect(await another()).to.deep.equal([])
  })

  it('is named by a coordinator that has seen it newer itself, once', async () => {
    stamp(1, nowMs() + 1000)
    await first.time.advance(PING_INTERVAL_MS)
    const sinceMs = nowMs() - 60_000
    stamp(1, sinceMs)
    for (let i = 0; i < 5; i++) await first.time.advance(PING_INTERVAL_MS)
    expect(told(first)).to.have.length(1)
    expect(told(first)[0]).to.include({ node: 'node-2', sinceMs })
  })
})
