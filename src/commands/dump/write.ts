/** Values as Redis dumps them, in the plainest forms: every Redis from version 5 on restores them, and 7.0 on streams. */
import { isLarge } from '../collections/large/root.ts'
import { flatten } from '../collections/large/split.ts'
import { KIND_HASH, KIND_LIST, KIND_SET, KIND_SORTED_SET, KIND_STREAM } from '../../core/codec.ts'
import { DamagedCollection, Entries } from '../collections/entries.ts'
import { HASH, LIST, SET, SORTED_SET, type CollectionType } from '../collections/steps.ts'
import type { Held } from '../step.ts'
import { flatStream } from '../streams/large/split.ts'
import { lengthBytes } from './lengths.ts'
import { STREAM_VERSION, writeStream } from './streams.ts'

const STRING = 0
/** Of the format of RDB files: that of Redis 5 to 6.2 has all forms but that of streams. */
const VERSION = 9

export function versionOf({ kind }: Held): number {
  return kind === KIND_STREAM ? STREAM_VERSION : VERSION
}

const FORMS = new Map<number, { readonly form: number; readonly type: CollectionType }>([
  [KIND_LIST, { form: 1, type: LIST }],
  [KIND_SET, { form: 2, type: SET }],
  [KIND_HASH, { form: 4, type: HASH }],
  [KIND_SORTED_SET, { form: 5, type: SORTED_SET }],
])

/** Without version and checksum, in parts. @throws DamagedCollection */
export function writeValue({ kind, value, parts: read }: Held): Buffer[] {
  if (kind === undefined) return [Buffer.from([STRING]), lengthBytes(value.length), value]
  if (kind === KIND_STREAM) return writeStream(isLarge(value) ? flatStream(value, read) : value)
  const found = FORMS.get(kind)
  if (!found) throw new DamagedCollection()
  const entries = Entries.of(isLarge(value) ? flatten(kind, value, read) : value, found.type.shape)
  const parts = [Buffer.from([found.form]), lengthBytes(entries.length)]
  const add = (text: Buffer) => parts.push(lengthBytes(text.length), text)
  for (let i = 0; i < entries.length; i++) {
    add(entries.key(i))
    if (kind === KIND_HASH) add(entries.value(i))
    if (kind === KIND_SORTED_SET) parts.push(doubleBytes(entries.score(i)))
  }
  return parts
}

function doubleBytes(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeDoubleLE(value)
  return bytes
}
