/**
 * Expiry times of values that Rondo did not write: only their node knows them, so a change of such a value has to ask first.
 *
 *   change ──▶ meets such a value ──▶ UNKNOWN_END: nothing is changed ──▶ ask the node ──▶ the change again
 *
 * Values that Rondo wrote have the time in their record, and cost nothing here.
 */
import type { KeyStore } from '../../coordinator/api.ts'
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'
import { knownOf, type Known } from './known.ts'

/** A change needs the end of a value that is not known yet. */
export const UNKNOWN_END = new RondoError(
  'INTERNAL',
  'The expiry time of a value has to be asked for first.',
  {
    outcome: 'not-applied',
  },
)

export class ForeignEnds {
  /** By key as latin1: cluster time, 0 = never. */
  private ends: Map<string, number> | null = null
  private wanted: { readonly key: Buffer; readonly record: StoredRecord }[] = []

  /** The part of the record that a user sees; `unknown` if its end has to be asked for. */
  knownIn(key: Buffer, record: StoredRecord | null, nowMs: number): Known | null | 'unknown' {
    if (!record?.isLive(nowMs)) return null
    if (!record.isForeign) return knownOf(record)
    const end = this.ends?.get(key.toString('latin1'))
    if (end === undefined) {
      this.wanted.push({ key, record })
      return 'unknown'
    }
    return end === 0 || end > nowMs ? knownOf(record, end) : null
  }

  /** @throws RondoError if one cannot be told now; nothing was changed */
  async askWanted(store: Pick<KeyStore, 'expiresAtMs'>): Promise<void> {
    const { wanted } = this
    this.wanted = []
    const ends = (this.ends ??= new Map<string, number>())
    const ask = async ({ key, record }: (typeof wanted)[number]) => {
      // Null: it is gone, and the change will find what is there instead.
      ends.set(key.toString('latin1'), (await store.expiresAtMs(key, record)) ?? 0)
    }
    try {
      await Promise.all(wanted.map(ask))
    } catch (error) {
      if (!(error instanceof RondoError)) throw error
      throw new RondoError(error.code, error.message, { outcome: 'not-applied' })
    }
  }
}

/** @param change rejects with UNKNOWN_END if it needs the ends of further keys */
export async function withForeignEnds<T>(
  store: Pick<KeyStore, 'expiresAtMs'>,
  change: (ends: ForeignEnds) => Promise<T>,
): Promise<T> {
  const ends = new ForeignEnds()
  for (;;) {
    try {
      return await change(ends)
    } catch (error) {
      if (error !== UNKNOWN_END) throw error
    }
    await ends.askWanted(store)
  }
}
