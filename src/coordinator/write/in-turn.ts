/**
 * A write that others have overtaken again and again. Two coordinators whose time differs by some milliseconds would go on
 * like that for as long as the one that is ahead writes: whatever later version the other one takes, the next write of the
 * first is later still. So it takes its turn among the changes of the key, as an update that looks at nothing.
 */
import { contentOf, type NewRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { Timed } from '../../core/deadlines.ts'
import type { CoordinatorContext } from '../context.ts'
import { startInQueue } from '../update/queued-update.ts'
import type { UpdateDone } from '../update/update.ts'

/** @returns the update, which ends by itself, or at the deadline of the write */
export function writeInTurn(
  context: CoordinatorContext,
  key: Buffer,
  level: ConsistencyLevel,
  written: NewRecord,
  done: UpdateDone,
): Timed {
  const record = contentOf(written)
  const replicas = context.cluster.placement.replicaSetOf(key)
  return startInQueue(context, replicas, key, level, () => ({ kind: 'write', record }), done)
}
