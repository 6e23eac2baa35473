/**
 * The largest values that this coordinator has written or read whole lately, by type. What is no larger than the smallest of
 * those that are known costs a comparison.
 *
 * A value that this coordinator makes small or deletes is forgotten, and so is one that expires; one that another coordinator
 * has deleted is forgotten when nobody has read or written it here for FORGOTTEN_MS.
 */
import {
  KIND_HASH,
  KIND_LIST,
  KIND_SET,
  KIND_SORTED_SET,
  KIND_STREAM,
  KIND_VALUE,
  type StoredRecord,
} from '../../core/codec.ts'
import { isPartKey } from '../../core/part-keys.ts'
import { tokenOf } from '../../core/token.ts'

const FORGOTTEN_MS = 3_600_000
/** Smaller values are not big, even if there are no others. */
const LEAST_BYTES = 1024
/** Tells with one byte for many tokens that none of their keys is known. */
const PLACES = 1 << 12

const TYPES = {
  string: KIND_VALUE,
  list: KIND_LIST,
  set: KIND_SET,
  zset: KIND_SORTED_SET,
  hash: KIND_HASH,
  stream: KIND_STREAM,
} as const
export type ValueType = keyof typeof TYPES
export const VALUE_TYPES = Object.keys(TYPES) as ValueType[]
/** A head has four bits for it. */
const KINDS = 16

export interface BigKey {
  /** Its name on the nodes (core/keys.ts). */
  readonly key: Buffer
  readonly bytes: number
  /** Since it was read or written here. */
  readonly ageMs: number
}

interface Known {
  readonly kind: number
  readonly token: number
  bytes: number
  /** Cluster time, 0 = never. */
  expiresAtMs: number
  seenAtMs: number
}

export interface BigKeyOptions {
  /** How many of each type are kept. */
  readonly keep: number
  readonly monotonicMs: () => number
}

/** A value, or the end of one. */
interface Sized {
  /** As in its record: of a tombstone it is no type. */
  readonly kind: number
  readonly bytes: number
  /** Cluster time, 0 = never. */
  readonly expiresAtMs: number
}

export class BigKeys {
  private readonly options: BigKeyOptions
  /** By the key as latin1. */
  private readonly known = new Map<string, Known>()
  /** How many known keys have a token of this place. */
  private readonly places = new Uint16Array(PLACES)
  /** By kind: what is larger becomes known. */
  private readonly limits = new Float64Array(KINDS).fill(Infinity)

  constructor(options: BigKeyOptions) {
    this.options = options
    for (const type of VALUE_TYPES) this.limits[TYPES[type]] = LEAST_BYTES
  }

  /** A key was found to hold this. */
  found(key: Buffer, record: StoredRecord): void {
    const { kind, value } = record
    if (value.length <= this.limits[kind]! || isPartKey(key)) return
    this.note(key, tokenOf(key), { kind, bytes: value.length, expiresAtMs: record.expiresAtMs })
  }

  /** A key with this token is given a value, or is deleted. */
  written(key: Buffer, token: number, kind: number, bytes: number, expiresAtMs: number): void {
    if (bytes <= this.limits[kind]! && this.places[token & (PLACES - 1)] === 0) return
    if (isPartKey(key)) return
    this.note(key, token, { kind, bytes, expiresAtMs })
  }

  private note(key: Buffer, token: number, { kind, bytes, expiresAtMs }: Sized): void {
    const name = key.toString('latin1')
    const before = this.known.get(name)
    const isKnown = before?.kind === kind
    const isBig = bytes > (isKnown ? LEAST_BYTES : this.limits[kind]!)
    if (isKnown && isBig) {
      before.bytes = bytes
      before.expiresAtMs = expiresAtMs
      before.seenAtMs = this.options.monotonicMs()
      if (bytes < this.limits[kind]!) this.fit(kind)
      return
    }
    if (before) this.forget(name, before)
    if (!isBig) return
    this.known.set(name, { kind, token, bytes, expiresAtMs, seenAtMs: this.options.monotonicMs() })
    this.places[token & (PLACES - 1)]!++
    this.fit(kind)
  }

  /** By type, the largest first. @param clusterMs cluster time */
  report(clusterMs: number): Readonly<Record<ValueType, readonly BigKey[]>> {
    const nowMs = this.options.monotonicMs()
    for (const [name, one] of this.known) {
      const isExpired = one.expiresAtMs !== 0 && one.expiresAtMs <= clusterMs
      if (isExpired || nowMs - one.seenAtMs >= FORGOTTEN_MS) this.forget(name, one)
    }
    const listed = VALUE_TYPES.map((type) => {
      const ofType = this.ofKind(TYPES[type]).map(([name, { bytes, seenAtMs }]) => ({
        key: Buffer.from(name, 'latin1'),
        bytes,
        ageMs: nowMs - seenAtMs,
      }))
      return [type, ofType]
    })
    return Object.fromEntries(listed) as Record<ValueType, readonly BigKey[]>
  }

  private ofKind(kind: number): [string, Known][] {
    return [...this.known].filter(([, one]) => one.kind === kind).sort(([, a], [, b]) => b.bytes - a.bytes)
  }

  private forget(name: string, { kind, token }: Known): void {
    this.known.delete(name)
    this.places[token & (PLACES - 1)]!--
    this.limits[kind] = LEAST_BYTES
  }

  /** Keeps the largest of a type. */
  private fit(kind: number): void {
    const all = this.ofKind(kind)
    const { keep } = this.options
    for (const [name, one] of all.slice(keep)) this.forget(name, one)
    if (all.length >= keep) this.limits[kind] = all[keep - 1]![1].bytes
  }
}
