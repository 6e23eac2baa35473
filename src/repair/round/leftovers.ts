/**
 * Parts of large collections that no root names: those of collections that were overwritten or have expired, and what
 * coordinators that died have left. A round of anti-entropy sees all keys, and so all parts.
 *
 *   1. scan    note the parts that are not young; those of the same collection together
 *   2. read    its root, at a majority: it names all of them, as a rule, and nothing more is to be done
 *   3. renew   otherwise write what the key holds once more, under a later version, at a majority. A change that was begun
 *                before that, and whose root was stored on fewer nodes, can now never come to be
 *   4. remove  what the renewed root does not name either. A change that begins later has parts that were not there in 1
 *
 * The parts of a change at `one` are not held back by 3: they have LEFT_MS to be named.
 */
import { versionMs } from '../../core/clock.ts'
import { KIND_TOMBSTONE, newRecord, StoredRecord } from '../../core/codec.ts'
import { namedKeysIn } from '../../core/large-root.ts'
import { isPartKey, rootOf } from '../../core/part-keys.ts'
import { removeParts } from '../../cluster/remove-parts.ts'
import type { RoundContext } from './context.ts'

/** Tests make it shorter. */
export const leftovers = { afterMs: 120_000 }
/** Names that are held at once; the next round sees to others. */
const MOST_NAMES = 100_000
const ZERO = { stamp: (target: Buffer, at: number) => void target.fill(0, at, at + 12) }

export class PartsSeen {
  private readonly round: RoundContext
  /** By the root, as latin1: names as latin1. */
  private readonly roots = new Map<string, Set<string>>()
  private names = 0

  constructor(round: RoundContext) {
    this.round = round
  }

  /** A key that a member holds. */
  note(key: Buffer, head: Buffer): void {
    if (!isPartKey(key) || this.names >= MOST_NAMES) return
    const writtenMs = versionMs(new StoredRecord(head).version)
    if (writtenMs > this.round.startedAtMs - leftovers.afterMs) return
    const root = rootOf(key).toString('latin1')
    const seen = this.roots.get(root) ?? new Set()
    this.roots.set(root, seen)
    if (seen.size < seen.add(key.toString('latin1')).size) this.names++
  }

  /** Removes those that no root names. A collection that cannot be read now is left for the next round. */
  async removeLeft(): Promise<void> {
    const { round } = this
    await round.inGroups([...this.roots], async ([name, seen]) => {
      const root = Buffer.from(name, 'latin1')
      try {
        round.counts.removedParts += await this.removeOf(root, seen)
      } catch (error) {
        round.checkStopped()
        void error
      }
    })
  }

  private async removeOf(root: Buffer, seen: ReadonlySet<string>): Promise<number> {
    const { repair, startedAtMs, nowMs } = this.round
    const found = await repair.read(root)
    if (unnamed(root, found, seen, nowMs).length === 0) return 0
    await repair.settle(root, found ?? NOTHING)
    const left = unnamed(root, await repair.read(root), seen, nowMs)
    return removeParts(repair.cluster, root, left, startedAtMs)
  }
}

const NOTHING = new StoredRecord(newRecord(KIND_TOMBSTONE, ZERO, 0).head)

function unnamed(
  root: Buffer,
  record: StoredRecord | null,
  seen: ReadonlySet<string>,
  nowMs: number,
): Buffer[] {
  // Once it has expired for a while nothing can make it live again.
  const isGone = record !== null && record.expiresAtMs !== 0 && record.expiresAtMs < nowMs - leftovers.afterMs
  const named = namedKeysIn(root, isGone ? null : record)
  if (!named) return []
  return [...seen].filter((name) => !named.has(name)).map((name) => Buffer.from(name, 'latin1'))
}
