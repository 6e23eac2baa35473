/**
 * The lease on filling a key: an internal key of its own, written only where there is none (NX), at `quorum`.
 *
 *   nonce 8, the version that its holder's miss saw 12, then, if loading has failed, why
 *
 * It ends by itself (a holder may be killed), with its value (a later miss sees a later version, and what was leased before
 * is over), or when its holder gives it up. Safety does not depend on it: a fill is conditional on what the miss saw
 * (fills.ts), so that two holders cost one more load.
 */
import { randomBytes } from 'node:crypto'
import type { KeyStore, Modified, Modify } from '../coordinator/api.ts'
import { readRecord, updateKey, type CallOptions } from '../coordinator/promises.ts'
import { compareVersions, VERSION_BYTES, type Version } from '../core/clock.ts'
import { KIND_TOMBSTONE, KIND_VALUE, type StoredRecord } from '../core/codec.ts'
import { fillKey } from '../core/keys.ts'

export const NONCE_BYTES = 8
const SEEN_END = NONCE_BYTES + VERSION_BYTES
const EMPTY = Buffer.alloc(0)
const KEEP: Modified = { kind: 'keep' }
const GONE: Modified = { kind: 'write', record: { kind: KIND_TOMBSTONE, value: EMPTY, expiresAtMs: 0 } }

/** The lease is ours, by this nonce; or another's. `failed`: loading has, so that nobody tries for a moment. */
export type Taken = { readonly nonce: Buffer } | { readonly nonce: null; readonly failed: string | null }

export class Leases {
  private readonly store: KeyStore
  private readonly options: CallOptions

  constructor(store: KeyStore, requester: CallOptions['requester']) {
    this.store = store
    this.options = { requester, level: 'quorum' }
  }

  /**
   * @param seen the version that the miss saw
   * @param isHeld it was a moment ago: look first, which costs the nodes less
   * @throws RondoError if too few replicas can be asked, or none knows whether it is ours
   */
  async take(key: Buffer, seen: Version, lifeMs: number, isHeld = false): Promise<Taken> {
    if (isHeld) {
      const others = this.ofAnother(await readRecord(this.store, fillKey(key), this.options), seen)
      if (others) return others
    }
    const nonce = randomBytes(NONCE_BYTES)
    let others: Taken | null = null
    await this.update(key, (current) => {
      others = this.ofAnother(current, seen)
      return others ? KEEP : this.lasting(Buffer.concat([nonce, seen]), lifeMs)
    })
    return others ?? { nonce }
  }

  private ofAnother(current: StoredRecord | null, seen: Version): Taken | null {
    const held = this.heldIn(current)
    if (!held || compareVersions(held.seen, seen) < 0) return null
    return { nonce: null, failed: held.failed }
  }

  /** Extends it, if it is still held by this nonce. */
  renew(key: Buffer, nonce: Buffer, lifeMs: number): Promise<unknown> {
    return this.change(key, nonce, ({ value }) => this.lasting(Buffer.from(value), lifeMs))
  }

  /** Ends it, if it is still held by this nonce: the next who waits gets it. */
  giveUp(key: Buffer, nonce: Buffer): Promise<unknown> {
    return this.change(key, nonce, () => GONE)
  }

  /** The same, but nobody gets it for so long: all who wait learn why. */
  fail(key: Buffer, nonce: Buffer, why: string, pauseMs: number): Promise<unknown> {
    return this.change(key, nonce, ({ value }) =>
      this.lasting(Buffer.concat([value.subarray(0, SEEN_END), Buffer.from(why)]), pauseMs),
    )
  }

  private change(key: Buffer, nonce: Buffer, to: (current: StoredRecord) => Modified): Promise<unknown> {
    return this.update(key, (current) => (this.heldIn(current)?.nonce.equals(nonce) ? to(current!) : KEEP))
  }

  private update(key: Buffer, modify: Modify): Promise<unknown> {
    return updateKey(this.store, fillKey(key), modify, this.options)
  }

  private lasting(value: Buffer, lifeMs: number): Modified {
    const expiresAtMs = Math.ceil(this.store.nowMs() + lifeMs)
    return { kind: 'write', record: { kind: KIND_VALUE, value, expiresAtMs } }
  }

  private heldIn(
    record: StoredRecord | null,
  ): { nonce: Buffer; seen: Version; failed: string | null } | null {
    if (!this.store.isLive(record) || record.valueLength < SEEN_END) return null
    const { value } = record
    return {
      nonce: value.subarray(0, NONCE_BYTES),
      seen: value.subarray(NONCE_BYTES, SEEN_END),
      failed: value.length > SEEN_END ? value.toString('utf8', SEEN_END) : null,
    }
  }
}
