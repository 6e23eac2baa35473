/** Values as Redis dumps them, in the plainest forms: every Redis from version 5 on restores them, and 7.0 on streams. */
import { isLarge } from '../collections/large/root.ts'
import { wholeOf } from '../collections/large/split.ts'
import { KIND_HASH, KIND_LIST, KIND_SET, KIND_SORTED_SET, KIND_STREAM } from '../../core/codec.ts'
import { DamagedCollection, Entries } from '../collections/entries.ts'
import { HASH, LIST, SET, SORTED_SET, type CollectionType } from '../collections/steps.ts'
import type { Held } from '../step.ts'
import { ByteChunks } from '../collections/chunks.ts'
import type { Sliced } from '../../core/work.ts'
import { lengthBytes } from './lengths.ts'
import { STREAM_VERSION, writeStream } from './streams.ts'

/** Entries that are written between two yields. */
const ENTRIES_A_PIECE = 256
const UNITS_A_PIECE = 32

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
export function* writeValue({ kind, value, parts: read }: Held): Sliced<Buffer[]> {
  if (kind === undefined) return [Buffer.from([STRING]), lengthBytes(value.length), value]
  if (kind === KIND_STREAM) return yield* writeStream(value, read)
  const found = FORMS.get(kind)
  if (!found) throw new DamagedCollection()
  const entries = isLarge(value) ? wholeOf(kind, value, read) : Entries.of(value, found.type.shape)
  const dumped = new ByteChunks()
  dumped.add(Buffer.from([found.form]))
  dumped.add(lengthBytes(entries.length))
  const add = (text: Buffer) => {
    dumped.add(lengthBytes(text.length))
    dumped.add(text)
  }
  for (let i = 0; i < entries.length; i++) {
    add(entries.key(i))
    if (kind === KIND_HASH) add(entries.value(i))
    if (kind === KIND_SORTED_SET) dumped.add(doubleBytes(entries.score(i)))
    if (i % ENTRIES_A_PIECE === ENTRIES_A_PIECE - 1) yield UNITS_A_PIECE
  }
  return dumped.all()
}

function doubleBytes(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeDoubleLE(value)
  return bytes
}
