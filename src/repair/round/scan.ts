/** Scans what the members of a round hold. */
import { isInternal } from '../../core/keys.ts'
import type { ScanEntry } from '../../nodes/node.ts'
import type { RoundContext } from './context.ts'
import type { Participant } from './participants.ts'
import { sentenceOf } from '../../core/sentence.ts'

const PAGE_KEYS = 128

/**
 * Scans one page of each member in turn, so that the copies of a key are seen at about the same time, and one page at a
 * time, because processing a page blocks the event loop.
 *
 * @param visit returns whether the member should not hold this key
 * @param onMisplaced called for those keys
 * @throws RoundStopped
 */
export async function scanMembers(
  round: RoundContext,
  visit: (participant: Participant, key: Buffer, head: Buffer) => boolean,
  onMisplaced: (participant: Participant, entry: ScanEntry) => Promise<void>,
): Promise<void> {
  const { participants, pace, counts } = round
  const cursors = new Map(participants.all.map((participant) => [participant, '0']))
  await pace.spend(0)
  while (cursors.size > 0) {
    for (const [participant, cursor] of cursors) {
      round.checkStopped()
      const page = await pageOf(round, participant, cursor)
      if (!page) {
        cursors.delete(participant)
        continue
      }
      const misplaced = page.entries.filter(
        ({ key, head }) => !isInternal(key) && visit(participant, key, head),
      )
      counts.checkedKeys += page.entries.length
      await pace.spend(page.entries.length)
      await round.inGroups(misplaced, (entry) => onMisplaced(participant, entry))
      if (page.cursor === '0') cursors.delete(participant)
      else cursors.set(participant, page.cursor)
    }
  }
}

/** Null if the member does not take part any more. */
async function pageOf({ participants, pace }: RoundContext, participant: Participant, cursor: string) {
  if (!participant.takesPart) return null
  try {
    return await participant.member.node.scan(cursor, null, pace.piece(PAGE_KEYS))
  } catch (error) {
    participants.leaveOut(participant, `it could not be listed: ${sentenceOf(error)}`)
    return null
  }
}
