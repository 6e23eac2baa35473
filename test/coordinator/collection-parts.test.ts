/** When parts that no root names any more are removed. */
import { expect } from 'chai'
import { CollectionParts, type CollectionPartsOptions } from '../../src/coordinator/collections/parts.ts'
import { VirtualTime } from '../support/virtual-time.ts'

const LEFT_MS = 10_000
const MIB = 1024 * 1024

describe('parts that nobody names', () => {
  let time: VirtualTime
  /** When each root was read, before its parts are removed. */
  let reads: { root: string; atMs: number }[]
  let parts: CollectionParts
  beforeEach(() => {
    time = new VirtualTime()
    reads = []
    const startedMs = time.monotonicMs()
    parts = new CollectionParts({
      timers: time,
      clock: time,
      background: { run: (_what: string, job: () => Promise<void>) => void job() },
      requestTimeoutMs: LEFT_MS / 2,
      emit: () => undefined,
      random: () => 0,
      read: (root: Buffer) => {
        reads.push({ root: root.toString(), atMs: time.monotonicMs() - startedMs })
        return Promise.resolve(null)
      },
    } as unknown as CollectionPartsOptions)
  })
  const leave = (root: string, bytes = 100) =>
    parts.leave(Buffer.from(root), [{ key: Buffer.from(`part of ${root}`), bytes }])

  it('stay while somebody may be reading them, and those of a second are removed with one look at their root', async () => {
    leave('a')
    await time.advance(LEFT_MS - 1)
    expect(reads).to.deep.equal([])
    leave('b')
    leave('b')
    await time.advance(LEFT_MS + 1001)
    expect(reads.map(({ root }) => root)).to.deep.equal(['a', 'b'])
  })

  it('are removed earlier where they are many', async () => {
    leave('a')
    await time.advance(5)
    leave('b', 17 * MIB)
    await time.advance(5)
    expect(reads).to.deep.equal(['a', 'b'].map((root) => ({ root, atMs: 5 })))
  })

  it('are left to the repair rounds of others when it stops', async () => {
    leave('a', 17 * MIB)
    parts.stop()
    await time.advance(2 * LEFT_MS)
    expect(reads).to.deep.equal([])
  })
})
