/** Members that are gone, and whether enough copies of all keys are left without them. */
import { required } from '../core/consistency.ts'
import { RondoError } from '../core/errors.ts'
import { lossWithout, type Topology } from '../core/topology.ts'
import type { Member } from './member.ts'

/** They cannot be reached, or lack data. */
export function gone(members: readonly Member[]): readonly Member[] {
  return members.filter(({ completeness, node }) => completeness !== 'clean' || !node.ready)
}

/**
 * What others hold can be copied as long as a majority of each replica set is left. Otherwise writes that were acknowledged
 * may be lost, which somebody must accept.
 *
 * @param ids of members that leave, and are gone
 * @returns those, if their data is given up; none, where nothing is lost
 * @throws RondoError CONFLICT
 */
export function checkLoss(from: Topology, ids: readonly string[], isAccepted: boolean): readonly string[] {
  const loss = lossWithout(from, ids)
  if (loss.ranges === 0) return []
  const { members, replicas } = from.layout
  const left = members.length - ids.length
  const majority = required('quorum', members.length)
  if (left < majority) {
    throw new RondoError(
      'CONFLICT',
      `${ids.length} of ${members.length} members are gone, and without a majority (${majority}) the others cannot agree on anything. Bring back at least ${majority - left} of them: ${ids.join(', ')}. If they are gone for good, name the members that are left (POST /topology/recover).`,
      { loss },
    )
  }
  if (isAccepted) return ids
  const copies = required('quorum', Math.min(replicas, members.length))
  throw new RondoError(
    'CONFLICT',
    `Of ${percentOf(loss.share)} of the keys (${loss.ranges} ranges) fewer than ${copies} copies would be left, and writes that were acknowledged may be lost; of ${percentOf(loss.goneShare)} (${loss.goneRanges} ranges) none would be left. Bring back one of ${ids.join(', ')}, or accept the loss with force=data-loss.`,
    { loss },
  )
}

/**
 * Whether the members that are left may go on without the others. Also a majority of them may: a change that was begun, and needs
 * a member that is gone, can neither end nor be undone, and holds up every other one.
 *
 * @param lost ids of those that are given up
 * @param unusable members that cannot be reached or lack data
 * @throws RondoError CONFLICT, UNAVAILABLE
 */
export function checkRecovery(
  from: Topology,
  lost: readonly string[],
  unusable: readonly Member[],
  isAccepted: boolean,
): void {
  const { members } = from.layout
  const left = members.filter(({ id }) => !lost.includes(id)).map(({ id }) => id)
  const isUnusable = (id: string) => unusable.some((member) => member.id === id)
  if (lost.length === 0) throw new RondoError('CONFLICT', 'All members are named: nothing would change.')
  if (2 * left.length > members.length && !isAccepted) {
    throw new RondoError(
      'CONFLICT',
      'A majority of the members is left, and can agree on a change: remove those that are gone (DELETE /members/:id). If that fails again and again, because a change was begun that needs one of them, go on without them by force=data-loss.',
    )
  }
  const answering = lost.filter((id) => !isUnusable(id))
  if (answering.length > 0) {
    throw new RondoError(
      'CONFLICT',
      `${answering.join(', ')} can be used, so it is left too: name all members that are, or stop it first.`,
    )
  }
  const missing = left.filter(isUnusable)
  if (missing.length > 0 || left.length === 0) {
    throw new RondoError(
      'UNAVAILABLE',
      `All members that are named must be clean and reachable, and these are not: ${missing.join(', ') || 'none is named'}.`,
    )
  }
  if (isAccepted) return
  const loss = lossWithout(from, lost)
  throw new RondoError(
    'CONFLICT',
    `Of ${percentOf(loss.share)} of the keys fewer copies than a majority would be left, and of ${percentOf(loss.goneShare)} none. What ${lost.join(', ')} hold is given up for good, also if they come back: accept that with force=data-loss.`,
    { loss },
  )
}

function percentOf(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
