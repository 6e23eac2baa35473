/**
 * One at a time in the whole cluster, whichever coordinator or worker is asked: who has written its job into an internal key
 * of the cluster, only where no other runs, and at `quorum` if that is possible. The holder renews it, and with it tells how far it is; a holder
 * that was killed loses it after LEASE_MS. What has ended stays to be seen for a day.
 *
 * Nothing depends on it but how much is done at once: two that write at once write two files (file-writer.ts), and two that
 * restore at once agree on every key (restore.ts).
 */
import type { KeyStore, Modified } from '../coordinator/api.ts'
import { readRecord, updateKey, type CallOptions } from '../coordinator/promises.ts'
import { KIND_TOMBSTONE, KIND_VALUE, type StoredRecord } from '../core/codec.ts'
import { RondoError } from '../core/errors.ts'
import { SNAPSHOTS_KEY } from '../core/keys.ts'
import { decodeJob, encodeJob, type Job } from './job.ts'

export const LEASE_MS = 15_000
export const RENEW_MS = 1000
const SHOWN_MS = 86_400_000
const KEEP: Modified = { kind: 'keep' }
const GONE: Modified = {
  kind: 'write',
  record: { kind: KIND_TOMBSTONE, value: Buffer.alloc(0), expiresAtMs: 0 },
}

export class Claim {
  private readonly store: KeyStore
  private readonly requester: CallOptions['requester']

  constructor(store: KeyStore, requester: CallOptions['requester']) {
    this.store = store
    this.requester = requester
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

  /** It has not begun after all. */
  giveUp(job: Job): Promise<unknown> {
    return this.update((current) => (this.heldIn(current)?.job.id === job.id ? GONE : KEEP))
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
    const record = await this.atBest((options) => readRecord(this.store, SNAPSHOTS_KEY, options))
    return this.heldIn(record)?.job ?? null
  }

  private update(modify: (current: StoredRecord | null) => Modified): Promise<unknown> {
    return this.atBest((options) => updateKey(this.store, SNAPSHOTS_KEY, modify, options))
  }

  /** At `quorum`; or at `one`, where too few copies of the key can be asked: a node that is down is a reason for a snapshot. */
  private async atBest<T>(ask: (options: CallOptions) => Promise<T>): Promise<T> {
    const { requester } = this
    try {
      return await ask({ requester, level: 'quorum' })
    } catch (error) {
      const isShort = error instanceof RondoError && error.code === 'QUORUM_NOT_MET'
      if (!isShort) throw error
      return ask({ requester, level: 'one' })
    }
  }

  private heldIn(record: StoredRecord | null): ReturnType<typeof decodeJob> {
    return this.store.isLive(record) ? decodeJob(record.value) : null
  }

  private lasting(job: Job, lifeMs: number, isCancelled = false): Modified {
    const expiresAtMs = Math.ceil(this.store.nowMs() + lifeMs)
    return { kind: 'write', record: { kind: KIND_VALUE, value: encodeJob(job, isCancelled), expiresAtMs } }
  }
}
