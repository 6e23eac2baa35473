import { expect } from 'chai'
import { NO_PROGRESS } from '../../src/repair/round/merge-work.ts'
import { merge } from '../../src/repair/round/merge.ts'
import { sourcesFor } from '../../src/repair/round/sources.ts'
import { RepairUnderTest } from './repair-under-test.ts'

const KEYS = 2000
const NODE_ANSWERS_AFTER_MS = 20

describe('keys that are brought to a member', () => {
  /** How large the pages were, and the time from the first to the end, in milliseconds. */
  async function brought(isServing: () => boolean, most: number): Promise<{ largest: number; ms: number }> {
    const repair = await RepairUnderTest.started()
    const value = repair.value(3_600_000, 'v')
    for (let i = 0; i < KEYS; i++)
      for (const node of repair.nodes.slice(1)) repair.plant(node, `k${i}`, value)
    let largest = 0
    for (const node of repair.nodes) {
      const keys = node.keys.bind(node)
      node.keys = (cursor, count) => {
        largest = Math.max(largest, count)
        return keys(cursor, count)
      }
      node.answerAfterMs = NODE_ANSWERS_AFTER_MS
    }
    const member = repair.under.member(repair.nodes[0]!)
    const sources = sourcesFor(repair.under.cluster.placement, member, 'all')!
    const job = { member, sources, progress: { ...NO_PROGRESS } }
    const fromMs = repair.time.monotonicMs()
    await repair.until(merge({ ...repair.context, isServing }, [job], () => Promise.resolve(most)))
    expect(job.progress.missing).to.be.above(KEYS / 2)
    const ms = repair.time.monotonicMs() - fromMs
    await repair.under.cluster.stop()
    return { largest, ms }
  }

  it('come in small pages while clients are served, and in large ones otherwise', async () => {
    expect((await brought(() => true, Infinity)).largest).to.equal(128)
    expect((await brought(() => false, Infinity)).largest).to.equal(512)
  })

  it('leave clients half of the time', async () => {
    const alone = await brought(() => false, 100)
    const beside = await brought(() => true, 100)
    // Alone, two pages are worked on at once, which takes less time than one after the other.
    expect(beside.ms).to.be.within(2.1 * alone.ms, 2.9 * alone.ms)
  })
})
