/**
 * OBJECT ENCODING and MEMORY USAGE, computed from the value: the nodes hold records, which are values with a head, and
 * would tell of those.
 *
 *   encoding   what Redis would use for this value after SET: int, embstr or raw; for a collection, by its size alone:
 *              listpack, hashtable or quicklist
 *   usage      what one copy takes on a Redis 7 node with jemalloc, as its MEMORY USAGE counts: an entry of its table (24
 *              bytes), an object (16), the name, and the record, each with the header of a string, rounded up as the
 *              allocator does
 *
 * Not exact: a record is 12 bytes longer after an update at `quorum`, a value that Rondo did not write has no head, and
 * memory nodes count otherwise.
 */
import { HEAD_BYTES, KIND_LIST, KIND_SORTED_SET, KIND_STREAM } from '../../core/codec.ts'
import { isRoot, ROOT_HEAD_BYTES } from '../../core/large-root.ts'
import { byteRange } from '../../core/part.ts'
import { databasePrefix } from '../../core/keys.ts'
import { parseInteger, word } from '../arguments.ts'
import { countIn } from '../collections/entries.ts'
import { bytesIn } from '../collections/large/root.ts'
import {
  CommandError,
  lookAtAnyPart,
  SYNTAX_ERROR,
  type SeenPart,
  type Step,
  type StepLimits,
} from '../step.ts'

/** The longest text that is a 64-bit integer. */
const INTEGER_BYTES = 20
/** Up to this length Redis keeps a string in the allocation of its object. */
const EMBEDDED_BYTES = 44
/** Redis's defaults for a collection in one piece. */
const LISTPACK_ENTRIES = 128
const LISTPACK_BYTES = 8 * 1024
/** What tells how many bytes the parts of a large collection have. */
const LARGE_HEAD_BYTES = ROOT_HEAD_BYTES
const ENTRY_BYTES = 24
const OBJECT_BYTES = 16

export function objectEncoding(args: readonly Buffer[]): Step {
  return lookAtAnyPart(args[2]!, byteRange(0, INTEGER_BYTES - 1), (seen) => {
    if (seen === null) return null
    if (seen.kind !== undefined) return encodingOf(seen)
    if (seen.length <= INTEGER_BYTES && parseInteger(seen.part) !== null) return 'int'
    return seen.length <= EMBEDDED_BYTES ? 'embstr' : 'raw'
  })
}

/** Of a collection: by its size, without looking at its elements. */
function encodingOf({ kind, length, part }: SeenPart): string {
  if (kind === KIND_STREAM) return 'stream'
  if (kind === KIND_LIST) return length <= LISTPACK_BYTES ? 'listpack' : 'quicklist'
  if ((countIn(part) ?? 0) <= LISTPACK_ENTRIES) return 'listpack'
  return kind === KIND_SORTED_SET ? 'skiplist' : 'hashtable'
}

/** SAMPLES has no effect. @throws CommandError */
export function memoryUsage(args: readonly Buffer[], _nowMs: number, { database }: StepLimits): Step {
  for (let i = 3; i < args.length; i += 2) {
    const samples = args[i + 1]
    if (word(args[i]!) !== 'SAMPLES' || samples === undefined) throw new CommandError(SYNTAX_ERROR)
    const count = parseInteger(samples)
    if (count === null) throw new CommandError('ERR value is not an integer or out of range')
    if (count < 0) throw new CommandError(SYNTAX_ERROR)
  }
  const nameBytes = databasePrefix(database).length + args[2]!.length
  return lookAtAnyPart(args[2]!, byteRange(0, LARGE_HEAD_BYTES - 1), (seen) => {
    if (!seen) return null
    const { kind, length, part } = seen
    return usageOf(nameBytes, length) + (isRoot(kind, part) ? bytesIn(part) : 0)
  })
}

export function usageOf(nameBytes: number, valueBytes: number): number {
  const record = HEAD_BYTES + valueBytes
  const value =
    record <= EMBEDDED_BYTES
      ? allocated(OBJECT_BYTES + stringBytes(record))
      : OBJECT_BYTES + allocated(stringBytes(record))
  return ENTRY_BYTES + allocated(stringBytes(nameBytes)) + value
}

/** With its header, and the NUL at its end. */
function stringBytes(length: number): number {
  const header = length === 0 ? 3 : length < 2 ** 5 ? 1 : length < 2 ** 8 ? 3 : length < 2 ** 16 ? 5 : 9
  return header + length + 1
}

/** The size classes of jemalloc: 8, multiples of 16 up to 128, then four to every power of two. */
function allocated(bytes: number): number {
  if (bytes <= 8) return 8
  const step = bytes <= 128 ? 16 : 2 ** (Math.floor(Math.log2(bytes - 1)) - 2)
  return Math.ceil(bytes / step) * step
}
