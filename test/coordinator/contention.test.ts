import { expect } from 'chai'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import { CoordinatorUnderTest, REQUEST_TIMEOUT_MS } from '../support/coordinator-under-test.ts'
import { increment } from '../support/steps.ts'

const KEY = 'hot'
/** What two pings of the same clocks may differ by on a slow network. */
const BEHIND_MS = 20

describe('two coordinators that write the same key', () => {
  let ahead: CoordinatorUnderTest
  let behind: CoordinatorUnderTest
  beforeEach(async () => {
    ahead = await CoordinatorUnderTest.started()
    behind = await CoordinatorUnderTest.started({ beside: ahead, coordinator: 2 })
    setBehind(BEHIND_MS)
    for (const node of [...behind.nodes, ...ahead.nodes]) node.answerAfterMs = 2
  })

  function setBehind(ms: number): void {
    const { time, cluster, nodes } = behind
    const nowMs = time.monotonicMs()
    const nodeMs = ahead.cluster.time.nowMs() - ms
    for (const { id } of nodes) cluster.time.sample(id, nodeMs, nowMs, nowMs)
  }

  /** One writes every millisecond; the other one, whose time is behind, twenty times meanwhile. */
  async function compete(begin: (under: CoordinatorUnderTest, value: string) => Promise<string>) {
    const ends: Promise<string>[] = []
    for (let i = 0; i < 500; i++) {
      ends.push(begin(ahead, `ahead ${i}`))
      if (i % 25 === 0) ends.push(begin(behind, `behind ${i}`))
      await ahead.time.advance(1)
    }
    await ahead.time.advance(500)
    const all = await Promise.all(ends)
    return all.filter((end) => end !== 'ok')
  }

  for (const level of ['one', 'quorum', 'all'] as const) {
    const begin = (under: CoordinatorUnderTest, value: string | null) =>
      new Promise<string>((resolve) => {
        const done = { written: () => resolve('ok'), failed: ({ code }: { code: string }) => resolve(code) }
        if (value === null) under.coordinator.remove(Buffer.from(KEY), done, level)
        else under.coordinator.write(Buffer.from(KEY), Buffer.from(value), 0, done, level)
      })

    it(`at ${level} only the first that meet may end without being confirmed, and the replicas agree`, async () => {
      const unconfirmed = await compete(begin)
      expect(unconfirmed.length).to.be.at.most(level === 'one' ? 0 : 5)
      await expectAgreement()
    })

    it(`at ${level} deletes are confirmed beside the writes of the other one`, async () => {
      const unconfirmed = await compete((under, value) => begin(under, under === behind ? null : value))
      expect(unconfirmed.length).to.be.at.most(level === 'one' ? 0 : 5)
      await expectAgreement()
    })
  }

  for (const level of ['quorum', 'all'] as const) {
    it(`at ${level} updates of both get their turns`, async () => {
      setBehind(0)
      await expectTurns([ahead, behind], level, 1 / 3, 100)
    })

    it(`at ${level} updates of both get their turns, although the time of one is behind`, async () => {
      await expectTurns([ahead, behind], level, 1 / 8, 100)
    })
  }

  it('updates of ten coordinators on a slow network are all confirmed', async () => {
    const others = Array.from({ length: 8 }, (_, i) =>
      CoordinatorUnderTest.started({ beside: ahead, coordinator: 3 + i }),
    )
    const all = [ahead, behind, ...(await Promise.all(others))]
    setBehind(0)
    for (const { nodes } of all) for (const node of nodes) node.answerAfterMs = 10
    await expectTurns(all, 'quorum', 1 / 20, REQUEST_TIMEOUT_MS)
  })

  /** Each has at least this share of the updates, and waits for none longer than that. */
  async function expectTurns(
    all: readonly CoordinatorUnderTest[],
    level: ConsistencyLevel,
    share: number,
    longest: number,
  ): Promise<void> {
    const counts = all.map((under) => startIncrements(under, level))
    for (let i = 0; i < 3000; i++) await ahead.time.advance(1)
    const total = counts.reduce((sum, { ended }) => sum + ended, 0)
    expect(ahead.nodesOf(KEY)[0]!.holds(KEY)).to.equal(String(total))
    for (const { ended, longestMs } of counts) {
      expect(ended, 'how many of them').to.be.above(total * share)
      expect(longestMs, 'the longest one').to.be.below(longest)
    }
  }

  /** One after the other, for two seconds. */
  function startIncrements({ time, coordinator }: CoordinatorUnderTest, level: ConsistencyLevel) {
    const untilMs = time.monotonicMs() + 2000
    const counts = { ended: 0, longestMs: 0 }
    const next = () => {
      const beganAtMs = time.monotonicMs()
      if (beganAtMs > untilMs) return
      const updated = () => {
        counts.ended++
        counts.longestMs = Math.max(counts.longestMs, time.monotonicMs() - beganAtMs)
        next()
      }
      const failed = ({ message }: Error) => expect.fail(message)
      coordinator.update(
        Buffer.from(KEY),
        increment(() => 0),
        { updated, failed },
        level,
      )
    }
    next()
    return counts
  }

  async function expectAgreement(): Promise<void> {
    await ahead.time.advance(3000)
    const held = ahead.nodesOf(KEY).map((node) => node.holds(KEY))
    expect(new Set(held.slice(0, 3)).size, held.join(', ')).to.equal(1)
  }
})
