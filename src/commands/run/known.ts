/** The values of a step's keys, or only the parts that the step reads. */
import { KIND_VALUE, StoredRecord, type PeekedRecord } from '../../core/codec.ts'
import { cut, type ByteRange } from '../../core/part.ts'
import type { Held, Seen, SeenPart, Step, Stepped } from '../step.ts'

/** A live value of which only a part was fetched. */
interface Peeked extends Seen {
  readonly record: PeekedRecord
}

export type Known = Held | Peeked

/** @param expiresAtMs if the record does not contain it */
export function knownOf(record: StoredRecord | PeekedRecord, expiresAtMs = record.expiresAtMs): Known {
  const { kind } = record
  if (!(record instanceof StoredRecord)) {
    return kind === KIND_VALUE ? { record, expiresAtMs } : { record, expiresAtMs, kind }
  }
  const { value, tags } = record
  // Each form by itself: spreading objects takes longer than all else here.
  if (tags) return kind === KIND_VALUE ? { value, tags, expiresAtMs } : { value, tags, expiresAtMs, kind }
  return kind === KIND_VALUE ? { value, expiresAtMs } : { value, expiresAtMs, kind }
}

/** The number of value bytes held. */
export function bytesOf(known: Known | null): number {
  if (!known) return 0
  return 'value' in known ? known.value.length : known.record.partLength
}

/** @throws Error if the step needs more than was read */
export function applyTo(step: Step, known: readonly (Known | null)[], nowMs: number): Stepped {
  if (step.needs === 'head') return step.apply(known, nowMs)
  if (step.needs === 'value') return step.apply(wholesOf(known), nowMs)
  const { needs } = step
  const parts = known.map((one) => one && partOf(one, needs))
  return step.apply(parts, nowMs)
}

/** @throws Error if only a part was read */
export function wholesOf(known: readonly (Known | null)[]): (Held | null)[] {
  return known.map((one) => {
    if (one && !('value' in one)) throw new Error('the value was not fetched')
    return one
  })
}

function partOf(known: Known, needs: 'length' | ByteRange): SeenPart {
  const { expiresAtMs, kind } = known
  const seen = kind === undefined ? { expiresAtMs } : { expiresAtMs, kind }
  const range = needs === 'length' ? null : needs
  if ('value' in known) {
    const { value } = known
    return { ...seen, length: value.length, part: range ? cut(value, range) : NONE }
  }
  const { record } = known
  return { ...seen, length: record.valueLength, part: range ? record.part(range) : NONE }
}

const NONE = Buffer.alloc(0)
