import { expect } from 'chai'
import { NO_PROGRESS } from '../../src/repair/round/merge-work.ts'
import { merge } from '../../src/repair/round/merge.ts'
import { sourcesFor } from '../../src/repair/round/sources.ts'
import type { FaultyNode } from '../support/faulty-node.ts'
import { RepairUnderTest } from './repair-under-test.ts'

const KEYS = 2000
const NODE_ANSWERS_AFTER_MS = 20
const NO_KEYS = { cursor: '0', keys: [] }

describe('keys that are brought to a member', () => {
  interface Brought {
    /** How large the pages were. */
    readonly largest: number
    /** How many of them the member was looked at for at the same time. */
    readonly together: number
    /** From the first to the end. */
    readonly ms: number
  }

  /** @param listed so many nodes show what they hold */
  async function brought(isServing: () => boolean, most: number, listed = Infinity): Promise<Brought> {
    const repair = await RepairUnderTest.started()
    const value = repair.value(3_600_000, 'v')
    for (let i = 0; i < KEYS; i++)
      for (const node of repair.nodes.slice(1)) repair.plant(node, `k${i}`, value)
    let largest = 0
    for (const node of repair.nodes) {
      const keys = node.keys.bind(node)
      node.keys = (cursor, count) => {
        largest = Math.max(largest, count)
        return repair.nodes.indexOf(node) <= listed ? keys(cursor, count) : Promise.resolve(NO_KEYS)
      }
      node.answerAfterMs = NODE_ANSWERS_AFTER_MS
    }
    const member = repair.under.member(repair.nodes[0]!)
    const together = lookedAtTogether(repair.nodes[0]!)
    const sources = sourcesFor(repair.under.cluster.placement, member, 'all')!
    const job = { member, sources, progress: { ...NO_PROGRESS } }
    const fromMs = repair.time.monotonicMs()
    await repair.until(merge({ ...repair.context, isServing }, [job], () => Promise.resolve(most)))
    expect(job.progress.missing).to.be.above(KEYS / 2)
    const ms = repair.time.monotonicMs() - fromMs
    await repair.under.cluster.stop()
    return { largest, together: together(), ms }
  }

  /** Once for each page: returns at how many it was at once, at most. */
  function lookedAtTogether(node: FaultyNode): () => number {
    let [now, most] = [0, 0]
    const starts = node.starts.bind(node)
    node.starts = (keys, bytes, call) => {
      most = Math.max(most, ++now)
      starts(keys, bytes, {
        onStarts: (...answer) => {
          now--
          call.onStarts(...answer)
        },
        onFailure: (...answer) => call.onFailure(...answer),
      })
    }
    return () => most
  }

  it('come in small pages while clients are served, and in large ones otherwise', async () => {
    expect((await brought(() => true, Infinity)).largest).to.equal(128)
    expect((await brought(() => false, Infinity)).largest).to.equal(512)
  })

  it('come one page after the other while clients are served, whichever node holds them', async () => {
    expect((await brought(() => true, 100)).together).to.equal(1)
    expect((await brought(() => false, 100)).together).to.be.above(1)
  })

  it('leave clients half of the time', async () => {
    const alone = await brought(() => false, 100, 1)
    const beside = await brought(() => true, 100, 1)
    expect(beside.ms).to.be.within(1.7 * alone.ms, 2.3 * alone.ms)
  })
})
