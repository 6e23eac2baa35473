/** Values as Redis dumps them, in the plainest forms: every Redis from version 5 on restores them. */
import { KIND_HASH, KIND_LIST, KIND_SET, KIND_SORTED_SET } from '../../core/codec.ts'
import { DamagedCollection, Entries } from '../collections/entries.ts'
import { HASH, LIST, SET, SORTED_SET, type CollectionType } from '../collections/steps.ts'
import type { Held } from '../step.ts'

const STRING = 0
const FORMS = new Map<number, { readonly form: number; readonly type: CollectionType }>([
  [KIND_LIST, { form: 1, type: LIST }],
  [KIND_SET, { form: 2, type: SET }],
  [KIND_HASH, { form: 4, type: HASH }],
  [KIND_SORTED_SET, { form: 5, type: SORTED_SET }],
])

/** Without version and checksum, in parts. @throws DamagedCollection */
export function writeValue({ kind, value }: Held): Buffer[] {
  if (kind === undefined) return [Buffer.from([STRING]), lengthBytes(value.length), value]
  const found = FORMS.get(kind)
  if (!found) throw new DamagedCollection()
  const entries = Entries.of(value, found.type.shape)
  const parts = [Buffer.from([found.form]), lengthBytes(entries.length)]
  const add = (text: Buffer) => parts.push(lengthBytes(text.length), text)
  for (let i = 0; i < entries.length; i++) {
    add(entries.key(i))
    if (kind === KIND_HASH) add(entries.value(i))
    if (kind === KIND_SORTED_SET) parts.push(doubleBytes(entries.score(i)))
  }
  return parts
}

export function lengthBytes(length: number): Buffer {
  if (length < 0x40) return Buffer.from([length])
  if (length < 0x4000) return Buffer.from([0x40 | (length >> 8), length & 0xff])
  const bytes = Buffer.from([0x80, 0, 0, 0, 0])
  bytes.writeUInt32BE(length, 1)
  return bytes
}

function doubleBytes(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeDoubleLE(value)
  return bytes
}
