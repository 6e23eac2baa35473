/** The digest trees of a round: one per member and token range, built while scanning, then compared. */
import { StoredRecord } from '../../core/codec.ts'
import { DigestTree, leafOf } from '../../core/merkle.ts'
import { tokenOf } from '../../core/token.ts'
import { isOurs, type RoundContext } from './context.ts'
import type { Participant } from './participants.ts'

/** A leaf that differs. */
export interface Leaf {
  /** Of the range. */
  readonly index: number
  readonly leaf: number
  /** Approximate number of keys that will be listed. */
  readonly keys: number
}

interface RangeDigest {
  readonly tree: DigestTree
  /** Keys that are in no leaf. */
  others: number
}

/** Ranges compared in one turn of the event loop. */
const COMPARED_AT_ONCE = 1000

export class Digests {
  private readonly round: RoundContext
  private readonly digests = new Map<Participant, Map<number, RangeDigest>>()

  constructor(round: RoundContext) {
    this.round = round
  }

  /** Adds a key that the scan found. @returns whether the member should not hold it */
  add(participant: Participant, key: Buffer, head: Buffer): boolean {
    const { placement, ranges, leaves, startedAtMs } = this.round
    const record = new StoredRecord(head)
    const token = tokenOf(key)
    const index = placement.rangeIndexAt(token)
    const { range, homes } = ranges[index]!
    if (record.isForeign && homes[0] !== participant.member) this.round.countMisplaced(participant.member)
    if (!homes.includes(participant.member)) return isOurs(record)
    const digest = this.digestOf(participant, index)
    if (isOurs(record) && record.isLive(startedAtMs) && !this.round.isYoung(record.version)) {
      digest.tree.add(leafOf(token, range, leaves), key, record.version)
    } else digest.others++
    return false
  }

  /** The leaves that differ, of all ranges. */
  async compare(): Promise<Leaf[]> {
    const { ranges, participants, leaves, pace } = this.round
    const differing: Leaf[] = []
    const empty: RangeDigest = { tree: new DigestTree(leaves), others: 0 }
    for (const [index, { homes }] of ranges.entries()) {
      if (index % COMPARED_AT_ONCE === 0) await pace.spend(0)
      const digests = participants
        .among(homes)
        .map((participant) => this.digests.get(participant)?.get(index) ?? empty)
      if (digests.length >= 2) differing.push(...this.differences(index, digests))
    }
    return differing
  }

  private differences(index: number, digests: readonly RangeDigest[]): Leaf[] {
    const { counts } = this.round
    counts.rangesCompared++
    const trees = digests.map(({ tree }) => tree)
    const first = trees[0]!
    const leaves = new Set<number>()
    for (const tree of trees) {
      if (tree !== first && !tree.agreesWith(first))
        for (const leaf of tree.differences(first)) leaves.add(leaf)
    }
    if (leaves.size === 0) return []
    counts.rangesDiffering++
    const others = Math.max(...digests.map((digest) => digest.others)) / this.round.leaves
    return [...leaves].map((leaf) => {
      return { index, leaf, keys: Math.max(...trees.map((tree) => tree.count(leaf))) + others }
    })
  }

  private digestOf(participant: Participant, index: number): RangeDigest {
    let digests = this.digests.get(participant)
    if (!digests) this.digests.set(participant, (digests = new Map<number, RangeDigest>()))
    let digest = digests.get(index)
    if (!digest) digests.set(index, (digest = { tree: new DigestTree(this.round.leaves), others: 0 }))
    return digest
  }
}
