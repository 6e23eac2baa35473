/**
 * Room at the nodes for a large value that an update will store. It reads first, which weighs little, so without a
 * reservation many would start at once, and then all of them store.
 */
import type { Replicas, ServedBy } from '../context.ts'
import type { RondoError } from '../../core/errors.ts'
import type { StoredRecord } from '../../core/codec.ts'
import type { ClientCall, Requester } from '../requester.ts'
import type { UpdateDone } from '../update/update.ts'

/** The completion object of an update; the room is given back when it completes. */
export class Reservation implements UpdateDone {
  readonly requester?: Requester
  readonly call?: ClientCall | undefined
  private readonly done: UpdateDone
  private readonly replicas: Replicas
  private readonly bytes: number

  /** Takes the room. */
  constructor(done: UpdateDone, replicas: Replicas, bytes: number) {
    if (done.requester) this.requester = done.requester
    this.call = done.call
    this.done = done
    this.replicas = replicas
    this.bytes = bytes
    for (const { node } of replicas.homes) node.load.largeBytes += bytes
  }

  updated(before: StoredRecord | null, after: StoredRecord | null, by?: ServedBy): void {
    this.release()
    this.done.updated(before, after, by)
  }

  failed(error: RondoError, by?: ServedBy): void {
    this.release()
    this.done.failed(error, by)
  }

  private release(): void {
    for (const { node } of this.replicas.homes) node.load.less(this.bytes, 0)
  }
}
