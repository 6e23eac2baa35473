/** The types of values, as TYPE and SCAN TYPE name them. */
import { KIND_HASH, KIND_LIST, KIND_SET, KIND_SORTED_SET, KIND_STREAM, KIND_VALUE } from '../core/codec.ts'

const KINDS: ReadonlyMap<string, number> = new Map([
  ['string', KIND_VALUE],
  ['hash', KIND_HASH],
  ['set', KIND_SET],
  ['zset', KIND_SORTED_SET],
  ['list', KIND_LIST],
  ['stream', KIND_STREAM],
])
const NAMES = new Map([...KINDS].map(([name, kind]) => [kind, name]))

/** @param kind omitted = a string */
export function typeName(kind = KIND_VALUE): string {
  return NAMES.get(kind)!
}

/** Null if no key can be of this type. */
export function kindNamed(name: string): number | null {
  return KINDS.get(name.toLowerCase()) ?? null
}
