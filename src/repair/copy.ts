/**
 * Copying one record from a node that holds it to a node that may lack it: what all repairs are made of. It goes through
 * the same compare-and-store as every write, so it may be repeated, come late or be done by two workers at once.
 */
import { StoredRecord, recordToSend } from '../core/codec.ts'
import { repairedLifeMs } from '../core/lifetime.ts'
import type { Fence, Node, NodeFailure } from '../nodes/node.ts'

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
 * Stores a copy where nothing as new is held. True if it was missing there.
 * @throws RepairStopped
 */
export function storeCopy(node: Node, key: Buffer, record: StoredRecord, clusterMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    node.store(key, recordToSend(record), repairedLifeMs(record, clusterMs), {
      onApplied: () => resolve(),
      onStale: () => resolve(), // newer than ours: all the better
      onFailure: (_node, failure) => {
        if (failure.reason === 'wrong-type') resolve()
        else reject(new RepairStopped(node, failure.message))
      },
    })
  })
}

function isAboutNode(failure: NodeFailure): boolean {
  return !['wrong-type', 'error'].includes(failure.reason)
}
