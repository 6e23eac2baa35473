/** From which members another one can be brought what it lacks. */
import type { Member } from '../../cluster/member.ts'
import { epochOf } from '../../cluster/marker.ts'
import type { Placement } from '../../core/placement.ts'
import type { ReplicaSet } from '../../core/replica-set.ts'

/** all = every key of which it is a home replica; gained = those of which it was none before the change of members */
export type MergeScope = 'all' | 'gained'

export interface Sources {
  readonly placement: Placement<Member>
  readonly scope: MergeScope
  readonly members: readonly Member[]
  /** Too few of them are clean: acknowledged writes may be lost. */
  readonly lossy: boolean
}

/**
 * The members to merge from, or null while one must be waited for.
 *
 * For each key, N − Q + 1 of the other home replicas must be clean: any Q that acknowledged a write include one of them.
 * An unreachable one may return with its data, and a stale one may be kept (stale.ts). But once all of them are
 * reachable, and some have lost data themselves, there is nothing to wait for. Members by which the cluster has just grown
 * have lost nothing: if all others are clean, so is all that was written before.
 *
 * @param scope what the member lacks: all that it is a home replica of, or only what it has gained by a change
 * @param isNew whether the cluster has just grown by this member
 */
export function sourcesFor(
  placement: Placement<Member>,
  member: Member,
  scope: MergeScope,
  isNew: (member: Member) => boolean = () => false,
): Sources | null {
  let lossy = false
  for (const set of placement.replicaSets()) {
    if (!wants(set, member, scope)) continue
    const fellows = set.homes.slice(0, set.voters).filter((home) => home !== member)
    const clean = fellows.filter((home) => isSource(set, home))
    // What it has gained beside what it holds as a voter: then it is one of them itself.
    const isOne = scope === 'gained' && set.homes.indexOf(member) < set.voters && isSource(set, member)
    if (clean.length + (isOne ? 1 : 0) >= set.sufficient) continue
    if (!fellows.every((home) => home.node.ready && home.marker && home.completeness !== 'stale')) return null
    lossy = true
  }
  return {
    ...{ placement, scope },
    // Values of a stale member may have been deleted.
    members: placement.members.filter(
      (other) => other !== member && other.node.ready && other.marker && other.completeness !== 'stale',
    ),
    lossy:
      lossy &&
      !placement.members.every((one) => isNew(one) || (one.node.ready && one.completeness === 'clean')),
  }
}

/** It holds all acknowledged writes, and refuses what was planned before the change of members. */
export function isSource(set: ReplicaSet<Member>, { node, completeness, marker }: Member): boolean {
  return node.ready && completeness === 'clean' && set.isOfEpoch({ epoch: epochOf(marker!) })
}

export function wants(set: ReplicaSet<Member>, member: Member, scope: MergeScope): boolean {
  const place = set.homes.indexOf(member)
  return scope === 'all' ? place >= 0 : set.isGainedBy(place)
}
