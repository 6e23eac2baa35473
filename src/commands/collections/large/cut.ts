/** Cuts entries into pieces of the size of a part. */
import type { Sliced } from '../../../core/work.ts'
import { scoredEntry, type Entries } from '../entries.ts'
import type { FieldHash } from './field-hash.ts'
import type { Order, Separator } from './root.ts'
import { roomyBytes } from './sizes.ts'

export interface Piece {
  readonly count: number
  readonly bytes: number
  readonly runs: readonly Buffer[]
  readonly separator: Separator
}

/** Which pieces are full: those at an end at which things are added are left behind full. */
export type Filling = 'evenly' | 'from the left' | 'from the right'

const EMPTY = Buffer.alloc(0)

/** Where the first part begins. */
export function firstSeparator(order: Order): Separator {
  if (order === 'position') return null
  return order === 'hash' ? 0 : scoredEntry(-Infinity, EMPTY)
}

/**
 * @param entries at least one; in order, unless that is by hash
 * @param most bytes of a piece of more than one entry
 */
export function* cutInSlices(
  entries: Entries,
  order: Order,
  hash: FieldHash,
  most: number,
  filling: Filling = 'evenly',
): Sliced<Piece[]> {
  return yield* order === 'hash' ? cutByHash(entries, hash, most) : cutInOrder(entries, order, most, filling)
}

function* cutInOrder(entries: Entries, order: Order, most: number, filling: Filling): Sliced<Piece[]> {
  const { length } = entries
  const bytesOf = (i: number) => entries.runBytes(i, i + 1)
  const starts =
    filling === 'from the right'
      ? (yield* startsOf(length, (i) => bytesOf(length - 1 - i), most, filling)).map((end) => length - end)
      : yield* startsOf(length, bytesOf, most, filling)
  if (filling === 'from the right') starts.reverse()
  return starts.slice(0, -1).map((from, i) => {
    const run = entries.run(from, starts[i + 1]!)
    const separator =
      from === 0 ? firstSeparator(order) : order === 'score' ? separatorBefore(entries, from) : null
    return { count: starts[i + 1]! - from, bytes: run.length, runs: [run], separator }
  })
}

/** The shortest that divides this entry from the one before it. */
function separatorBefore(entries: Entries, i: number): Buffer {
  const [score, member] = [entries.score(i), entries.key(i)]
  if (entries.score(i - 1) !== score) return scoredEntry(score, EMPTY)
  const before = entries.key(i - 1)
  let same = 0
  while (same < before.length && before[same] === member[same]) same++
  return scoredEntry(score, member.subarray(0, same + 1))
}

function* cutByHash(entries: Entries, hash: FieldHash, most: number): Sliced<Piece[]> {
  const { length } = entries
  const { hashes, places } = yield* inHashOrder(entries, hash)
  const starts = yield* startsOf(
    length,
    (i) => entries.runBytes(places[i]!, places[i]! + 1),
    most,
    'evenly',
    (i) => hashes[places[i]!] !== hashes[places[i - 1]!],
  )
  const pieces: Piece[] = []
  for (const [i, from] of starts.slice(0, -1).entries()) {
    const to = starts[i + 1]!
    // A view of each entry would take more memory than the entries.
    const run = entries.gathered(places.subarray(from, to))
    const separator = from === 0 ? 0 : hashes[places[from]!]!
    pieces.push({ count: to - from, bytes: run.length, runs: [run], separator })
    yield ((to - from) / ENTRIES_A_PIECE) * UNITS_A_PIECE
  }
  return pieces
}

/** Entries are fewer than that (steps.ts): a hash and a place fit in a double. */
const PLACES = 2 ** 21
/** Entries processed between two yields, and what that costs if little is done with each. */
const ENTRIES_A_PIECE = 1024
const UNITS_A_PIECE = 32
/** To hash them. */
const UNITS_TO_HASH = 128
/** Of hashes: many are sorted a bucket at a time. */
const BUCKET_ENTRIES = 4096
const HASHES = 2 ** 32

/** The hash of each key, and the places of the entries in the order of these. */
export function* inHashOrder(
  entries: Entries,
  hash: FieldHash,
): Sliced<{ readonly hashes: Uint32Array; readonly places: Uint32Array }> {
  const { length } = entries
  const hashes = new Uint32Array(length)
  const buckets = Math.ceil(length / BUCKET_ENTRIES)
  const bucketOf = (i: number) => Math.floor((hashes[i]! / HASHES) * buckets)
  /** Where each bucket begins; while it is filled, where its next one goes. */
  const starts = new Uint32Array(buckets + 1)
  for (let i = 0; i < length; i++) {
    hashes[i] = hash.of(entries.key(i))
    starts[bucketOf(i) + 1]!++
    if (i % ENTRIES_A_PIECE === ENTRIES_A_PIECE - 1) yield UNITS_TO_HASH
  }
  for (let bucket = 0; bucket < buckets; bucket++) starts[bucket + 1]! += starts[bucket]!
  const both = new Float64Array(length)
  const next = starts.slice()
  for (let i = 0; i < length; i++) {
    both[next[bucketOf(i)]!++] = hashes[i]! * PLACES + i
    if (i % ENTRIES_A_PIECE === ENTRIES_A_PIECE - 1) yield UNITS_A_PIECE
  }
  const places = new Uint32Array(length)
  for (let bucket = 0; bucket < buckets; bucket++) {
    const [from, to] = [starts[bucket]!, starts[bucket + 1]!]
    const sorted = both.subarray(from, to).sort()
    for (let i = from; i < to; i++) places[i] = sorted[i - from]! % PLACES
    if (buckets > 1) yield (UNITS_TO_HASH * (to - from)) / ENTRIES_A_PIECE
  }
  return { hashes, places }
}

/** Where each piece begins, and where the last one ends. */
function* startsOf(
  length: number,
  bytesOf: (i: number) => number,
  most: number,
  filling: Filling,
  canCut: (i: number) => boolean = () => true,
): Sliced<number[]> {
  let left = 0
  for (let i = 0; i < length; i++) {
    left += bytesOf(i)
    if (i % ENTRIES_A_PIECE === ENTRIES_A_PIECE - 1) yield UNITS_A_PIECE
  }
  if (left <= most) return [0, length]
  let pieces = Math.ceil(left / roomyBytes(most))
  const starts = [0]
  let bytes = 0
  for (let i = 0; i < length; i++) {
    const next = bytesOf(i)
    // What is left is divided anew behind each piece: one of them may be a single entry of any length.
    const full = filling === 'evenly' ? bytes >= left / pieces || bytes + next > most : bytes + next > most
    if (bytes > 0 && full && canCut(i)) {
      starts.push(i)
      left -= bytes
      pieces = Math.max(Math.ceil(left / roomyBytes(most)), 1)
      bytes = 0
    }
    bytes += next
    if (i % ENTRIES_A_PIECE === ENTRIES_A_PIECE - 1) yield UNITS_A_PIECE
  }
  return [...starts, length]
}
