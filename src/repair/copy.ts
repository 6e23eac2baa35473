/**
 * Copying one record from a node that holds it to a node that may lack it: what all repairs are made of. It goes through
 * the same compare-and-store as every write, so it may be repeated, come late or be done by two workers at once.
 */
import { compareVersions } from '../core/clock.ts'
import { KIND_VALUE, recordToSend, StoredRecord } from '../core/codec.ts'
import { FAR_END_MS, ownLifeMs } from '../core/lifetime.ts'
import type { Fence, Node, NodeFailure } from '../nodes/node.ts'
import type { RepairContext } from './context.ts'

/** A node gave no answer that counts: the work stops here, and begins anew later. */
export class RepairStopped extends Error {
  constructor(node: Node, why: string) {
    super(`node ${node.id}: ${why}`)
    this.name = 'RepairStopped'
  }
}

/**
 * A node's record of a key.
 *
 * @param marker the marker under which the answer must have been given, null = any
 * @throws RepairStopped
 */
export function fetchRecord(node: Node, key: Buffer, marker: Buffer | null): Promise<StoredRecord | null> {
  return new Promise((resolve, reject) => {
    node.get(key, {
      onRecord: (_node, bytes, fence: Fence) => {
        if (marker && !fence.marker.equals(marker)) reject(new RepairStopped(node, 'its marker has changed'))
        else resolve(bytes ? new StoredRecord(bytes) : null)
      },
      onFailure: (_node, failure: NodeFailure) => {
        // Of another Redis type, or too long to be taken: nothing that Rondo has written.
        if (failure.kind === 'refused' && !isAboutNode(failure)) resolve(null)
        else reject(new RepairStopped(node, failure.message))
      },
    })
  })
}

/**
 * Copies a record to a node, where nothing as new is held. It lives there as long as it has left at its source: that
 * knows what it replaced, and how long this must be remembered.
 *
 * A promise there to a newer record refuses it, though that record may never come: then the key is settled, in two
 * rounds of its own. When this has returned, the target holds this record or a newer one.
 *
 * @throws RepairStopped
 */
export async function copyRecord(
  context: RepairContext,
  source: Node,
  target: Node,
  key: Buffer,
  record: StoredRecord,
): Promise<void> {
  const lifeMs = await lifeAt(context, source, key, record)
  if (lifeMs === null || (await store(target, key, record, lifeMs))) return
  const here = await fetchRecord(target, key, null)
  if (here && compareVersions(here.version, record.version) >= 0) return
  await context.settle(key, record).catch((error: unknown) => {
    throw new RepairStopped(
      target,
      `a promise keeps it from a copy, and the key could not be settled: ${String(error)}`,
    )
  })
}

/** Null when it has gone there in the meantime. */
async function lifeAt(
  context: RepairContext,
  source: Node,
  key: Buffer,
  record: StoredRecord,
): Promise<number | null> {
  const nowMs = context.cluster.time.nowMs()
  if (record.kind === KIND_VALUE && record.expiresAtMs === 0) return ownLifeMs(KIND_VALUE, 0, nowMs)
  const leftMs = await source.lifeMs(key).catch((error: unknown) => {
    throw new RepairStopped(source, String(error))
  })
  return leftMs === -2 ? null : leftMs === -1 ? FAR_END_MS : Math.max(1, leftMs)
}

/** False when the node holds something newer, or a promise to it. */
function store(node: Node, key: Buffer, record: StoredRecord, lifeMs: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    node.store(key, recordToSend(record), lifeMs, {
      onApplied: () => resolve(true),
      onStale: () => resolve(false),
      onFailure: (_node, failure) => {
        if (failure.reason === 'wrong-type') resolve(true)
        else reject(new RepairStopped(node, failure.message))
      },
    })
  })
}

function isAboutNode(failure: NodeFailure): boolean {
  return !['wrong-type', 'error'].includes(failure.reason)
}
