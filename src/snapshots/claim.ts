/**
 * One at a time in the whole cluster, whichever coordinator or worker is asked: who has written its job into an internal key
 * of the cluster, at `quorum` and only where no other runs. The holder renews it, and with it tells how far it is; a holder
 * that was killed loses it after LEASE_MS. What has ended stays to be seen for a day.
 *
 * Nothing depends on it but how much is done at once: two that write at once write two files (file-writer.ts), and two that
 * restore at once agree on every key (restore.ts).
 */
import type { KeyStore, Modified } from '../coordinator/api.ts'
import { readRecord, updateKey, type CallOptions } from '../coordinator/promises.ts'
import { KIND_VALUE, type StoredRecord } from '../core/codec.ts'
import { SNAPSHOTS_KEY } from '../core/keys.ts'
import { decodeJob, encodeJob, type Job } from './job.ts'

export const LEASE_MS = 15_000
export const RENEW_MS = 1000
const SHOWN_MS = 86_400_000
const KEEP: Modified = { kind: 'keep' }

export class Claim {
  private readonly store: KeyStore
  private readonly options: CallOptions

  constructor(store: KeyStore, requester: CallOptions['requester']) {
    this.store = store
    this.options = { requester, level: 'quorum' }
  }

  /** Null: it is this job's. Otherwise the one that runs. @throws RondoError */
  async take(job: Job): Promise<Job | null> {
    let other: Job | null = null
    await this.update((current) => {
      const held = this.heldIn(current)?.job
      other = held?.state === 'running' && held.id !== job.id ? held : null
      return other ? KEEP : this.lasting(job, LEASE_MS)
    })
    return other
  }

  /** @throws RondoError */
  async renew(job: Job): Promise<'held' | 'cancelled' | 'lost'> {
    let outcome: 'held' | 'cancelled' | 'lost' = 'held'
    await this.update((current) => {
      const held = this.heldIn(current)
      outcome = held && held.job.id !== job.id ? 'lost' : held?.isCancelled ? 'cancelled' : 'held'
      return outcome === 'held' ? this.lasting(job, LEASE_MS) : KEEP
    })
    return outcome
  }

  /** It has ended. */
  end(job: Job): Promise<unknown> {
    return this.update((current) => {
      const held = this.heldIn(current)?.job
      return held && held.id !== job.id ? KEEP : this.lasting(job, SHOWN_MS)
    })
  }

  /** Asks the holder to stop. @returns the job; null = none runs. @throws RondoError */
  async cancel(): Promise<Job | null> {
    let job: Job | null = null
    await this.update((current) => {
      const held = this.heldIn(current)?.job
      job = held?.state === 'running' ? held : null
      return job ? this.lasting(job, LEASE_MS, true) : KEEP
    })
    return job
  }

  /** The one that runs, or the last one; null = there was none for a day. @throws RondoError */
  async current(): Promise<Job | null> {
    return this.heldIn(await readRecord(this.store, SNAPSHOTS_KEY, this.options))?.job ?? null
  }

  private update(modify: (current: StoredRecord | null) => Modified): Promise<unknown> {
    return updateKey(this.store, SNAPSHOTS_KEY, modify, this.options)
  }

  private heldIn(record: StoredRecord | null): ReturnType<typeof decodeJob> {
    return this.store.isLive(record) ? decodeJob(record.value) : null
  }

  private lasting(job: Job, lifeMs: number, isCancelled = false): Modified {
    const expiresAtMs = Math.ceil(this.store.nowMs() + lifeMs)
    return { kind: 'write', record: { kind: KIND_VALUE, value: encodeJob(job, isCancelled), expiresAtMs } }
  }
}
