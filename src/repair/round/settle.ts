/** Brings the home replicas of a key together: reads it on all of them, and copies the newest record. */
import { epochOf } from '../../cluster/marker.ts'
import { compareVersions } from '../../core/clock.ts'
import { StoredRecord } from '../../core/codec.ts'
import { newestOf } from '../../core/votes.ts'
import type { ScanEntry } from '../../nodes/node.ts'
import { isOurs, type RoundContext } from './context.ts'
import { copyRecord, fetchRecord } from './copy.ts'
import { needs, type DifferingKey } from './listing.ts'
import { FAILED, type Participant } from './participants.ts'
import { sentenceOf } from '../../core/sentence.ts'

/** What was read of a key. */
interface Copies {
  /** Who was read. */
  readonly holders: readonly Participant[]
  /** What they hold, in the same order. */
  readonly held: readonly (StoredRecord | null)[]
  /** Cluster time before the reads. */
  readonly readAtMs: number
}

export async function settleKey(round: RoundContext, { key, homes }: DifferingKey): Promise<void> {
  for (;;) {
    const holders = round.participants.among(homes)
    const copies = await copiesAt(round, holders, key)
    if (copies) {
      await copyNewest(round, key, holders, copies, false)
      return
    }
    // Failed members are left out; the others are still compared.
  }
}

/**
 * Moves a misplaced copy to its home replicas. The newest record of all of them is copied, or an old copy would return to
 * a replica that has deleted it.
 *
 *   forgotten (cluster/freshness.ts)      → dropped, not copied
 *   every home replica holds it, or
 *   something newer                       → dropped
 *   so many do that no majority lacks it  → stays for the others, but is settled: need not be looked at again
 *   fewer                                 → the fallback replica is not settled
 */
export async function moveHome(
  round: RoundContext,
  fallback: Participant,
  { key, head }: ScanEntry,
): Promise<void> {
  const { participants, placement, repair } = round
  const { freshness } = repair.cluster
  const { homes } = placement.replicaSetOf(key)
  const targets = participants.among(homes).filter(({ member }) => member.takesValues)
  if (targets.length < placement.sufficient) {
    round.unsettled.add(fallback)
    return
  }
  const found = new StoredRecord(head)
  if (freshness.isForgotten(fallback.member, found)) {
    await dropMisplaced(round, fallback, key, found, 'forgotten')
    return
  }
  const all = targets.length === homes.length
  if (!all && freshness.wasSettled(fallback.member, found)) return
  const copies = await copiesAt(round, [...targets, fallback], key)
  const copy = copies?.held.at(-1)
  if (copies && !(copy && isOurs(copy))) return // gone meanwhile
  if (!copies || !copy || !(await copyNewest(round, key, targets, copies, true))) {
    round.unsettled.add(fallback)
    return
  }
  if (all) await dropMisplaced(round, fallback, key, copy, 'movedHome')
}

async function dropMisplaced(
  { counts, participants, placement }: RoundContext,
  fallback: Participant,
  key: Buffer,
  copy: StoredRecord,
  as: 'forgotten' | 'movedHome',
): Promise<void> {
  // Under the epoch of another placement it may be a home replica, and its promise may count.
  if (copy.promise && (placement.epoch === 1 || epochOf(fallback.marker) !== placement.epoch)) return
  try {
    await fallback.member.node.dropCopy(fallback.markerBytes, key, Buffer.from(copy.version))
    counts[as]++
    counts.freedBytes += key.length + copy.bytes.length
  } catch (error) {
    participants.leaveOut(fallback, sentenceOf(error))
  }
}

/** @returns null if one of them failed or has changed its marker */
async function copiesAt(
  round: RoundContext,
  holders: readonly Participant[],
  key: Buffer,
): Promise<Copies | null> {
  const readAtMs = round.nowMs
  const held = await Promise.all(
    holders.map((holder) =>
      round.participants.attempt(holder, () => fetchRecord(holder.member.node, key, holder.markerBytes)),
    ),
  )
  return held.includes(FAILED) ? null : { holders, held: held as (StoredRecord | null)[], readAtMs }
}

/**
 * @param targets the home replicas: the first of the holders
 * @returns false if a member that needs the record did not store it
 */
async function copyNewest(
  round: RoundContext,
  key: Buffer,
  targets: readonly Participant[],
  { holders, held, readAtMs }: Copies,
  fromFallback: boolean,
): Promise<boolean> {
  const newest = newestOf(held)
  if (!newest || !isOurs(newest)) return true
  const newestLives = newest.isLive(round.nowMs)
  const takers = targets.filter((target, i) => {
    const here = held[i]!
    const older = here !== null && compareVersions(here.version, newest.version) < 0
    return needs(target, { lacks: here === null, older, newestLives, fromFallback })
  })
  const sources = holders.flatMap(({ member }, i) => {
    const here = held[i]
    return here && compareVersions(here.version, newest.version) === 0 ? [member.node] : []
  })
  const sent = await Promise.all(
    takers.map((taker) =>
      round.participants.attempt(taker, () =>
        copyRecord(round.repair, sources, taker.member.node, key, newest, readAtMs),
      ),
    ),
  )
  const stored = sent.filter((answer) => answer !== FAILED).length
  round.counts.copied += stored
  return stored === takers.length
}
