/**
 * Before a record is copied to a member that is being filled: do its other home replicas agree on it?
 *
 * What a minority holds alone is an unfinished write: it may still fail, or be found and finished by a read or an update.
 * Every such path asks a majority first. A fill does not, and its copy would make a majority out of the minority, behind
 * the back of an update that has promises of the others and was answered without that write. So a record is copied only if
 * so many clean home replicas hold it that every majority includes one of them, and none of them has promised a newer
 * one. If they differ, they are asked once more, because a write may be on its way to all of them; then two rounds settle
 * the key: they finish what is unfinished, under a new version.
 *
 * With fewer clean home replicas than a majority nothing can be acknowledged, nor settled: then the newest is copied.
 */
import type { Member } from '../../cluster/member.ts'
import { required } from '../../core/consistency.ts'
import type { PeekedRecord, RecordHead, StoredRecord } from '../../core/codec.ts'
import { agreesOn, newestOf } from '../../core/votes.ts'
import type { NodeFailure } from '../../nodes/node.ts'
import type { RepairContext } from '../context.ts'
import { fetchRecord, RepairStopped } from './copy.ts'

/** Time for a write to reach all home replicas. */
const UNDER_WAY_MS = 20
const MOST_TRIES = 4

/** A node that is read, with its marker when the merge began. */
export interface Source {
  readonly member: Member
  readonly marker: Buffer
}

/**
 * The record of the key at a source, once it may be copied; null = it holds none by now.
 *
 * @param voters its clean home replicas
 * @param replicas N
 * @throws RepairStopped if a node fails, or the key cannot be settled
 */
export async function agreedRecord(
  context: RepairContext,
  key: Buffer,
  source: Source,
  voters: readonly Source[],
  replicas: number,
): Promise<StoredRecord | null> {
  const majority = required('quorum', replicas)
  const sufficient = replicas - majority + 1
  for (let tries = 1; ; tries++) {
    const reading = fetchRecord(source.member.node, key, source.marker)
    const heads = voters.map((voter) => (voter.member === source.member ? reading : headAt(voter, key)))
    const [record, ...held] = await Promise.all([reading, ...heads])
    const evicts = voters.map(({ member }) => member.evicts)
    if (agreesOn(held, evicts, sufficient, context.cluster.time.nowMs())) return record
    if (voters.length < majority) return record
    if (tries === 1) await pause(context)
    else if (tries < MOST_TRIES) await settle(context, key, voters, held)
    else throw new RepairStopped(source.member.node, 'the home replicas do not agree on a key')
  }
}

async function settle(
  context: RepairContext,
  key: Buffer,
  voters: readonly Source[],
  held: readonly (RecordHead | null)[],
): Promise<void> {
  const newest = newestOf(held)
  const { member, marker } = voters[held.indexOf(newest)]!
  const record = await fetchRecord(member.node, key, marker)
  if (!record) return // it has expired meanwhile: look again
  await context.settle(key, record).catch((error: unknown) => {
    throw new RepairStopped(
      member.node,
      `its home replicas differ, and could not be settled: ${String(error)}`,
    )
  })
}

function headAt({ member: { node }, marker }: Source, key: Buffer): Promise<RecordHead | null> {
  return new Promise((resolve, reject) => {
    node.peek(key, 'head', {
      onPeeked: (_node, record: PeekedRecord | null, fence) => {
        if (fence.marker.equals(marker)) resolve(record)
        else reject(new RepairStopped(node, 'its marker has changed'))
      },
      onFailure: (_node, failure: NodeFailure) => {
        if (failure.reason === 'wrong-type')
          resolve(null) // not written by Rondo
        else reject(new RepairStopped(node, failure.message))
      },
    })
  })
}

function pause({ timers }: RepairContext): Promise<void> {
  return new Promise((resolve) => void timers.setTimeout(resolve, UNDER_WAY_MS))
}
