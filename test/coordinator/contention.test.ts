import { expect } from 'chai'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'

const KEY = 'hot'
/** What two pings of the same clocks may differ by on a slow network. */
const BEHIND_MS = 20

describe('two coordinators that write the same key', () => {
  let ahead: CoordinatorUnderTest
  let behind: CoordinatorUnderTest
  beforeEach(async () => {
    ahead = await CoordinatorUnderTest.started()
    behind = await CoordinatorUnderTest.started({ beside: ahead, coordinator: 2 })
    const { time, cluster, nodes } = behind
    const nowMs = time.monotonicMs()
    const nodeMs = cluster.time.nowMs() - BEHIND_MS
    for (const { id } of nodes) cluster.time.sample(id, nodeMs, nowMs, nowMs)
    for (const node of [...nodes, ...ahead.nodes]) node.answerAfterMs = 2
  })

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

  async function expectAgreement(): Promise<void> {
    await ahead.time.advance(3000)
    const held = ahead.nodesOf(KEY).map((node) => node.holds(KEY))
    expect(new Set(held.slice(0, 3)).size, held.join(', ')).to.equal(1)
  }
})
