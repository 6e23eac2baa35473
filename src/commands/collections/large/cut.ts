/** Cuts entries into pieces of the size of a part. */
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
export function cut(
  entries: Entries,
  order: Order,
  hash: FieldHash,
  most: number,
  filling: Filling = 'evenly',
): Piece[] {
  return order === 'hash' ? cutByHash(entries, hash, most) : cutInOrder(entries, order, most, filling)
}

function cutInOrder(entries: Entries, order: Order, most: number, filling: Filling): Piece[] {
  const { length } = entries
  const bytesOf = (i: number) => entries.runBytes(i, i + 1)
  const starts =
    filling === 'from the right'
      ? startsOf(length, (i) => bytesOf(length - 1 - i), most, filling).map((end) => length - end)
      : startsOf(length, bytesOf, most, filling)
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

function cutByHash(entries: Entries, hash: FieldHash, most: number): Piece[] {
  const { length } = entries
  const { hashes, places } = inHashOrder(entries, hash)
  const starts = startsOf(
    length,
    (i) => entries.runBytes(places[i]!, places[i]! + 1),
    most,
    'evenly',
    (i) => hashes[places[i]!] !== hashes[places[i - 1]!],
  )
  return starts.slice(0, -1).map((from, i) => {
    const runs: Buffer[] = []
    let bytes = 0
    for (let at = from; at < starts[i + 1]!; at++) {
      const run = entries.run(places[at]!, places[at]! + 1)
      runs.push(run)
      bytes += run.length
    }
    return { count: runs.length, bytes, runs, separator: from === 0 ? 0 : hashes[places[from]!]! }
  })
}

/** Entries are fewer than that (steps.ts): a hash and a place fit in a double. */
const PLACES = 2 ** 21

/** The hash of each key, and the places of the entries in the order of these. */
export function inHashOrder(
  entries: Entries,
  hash: FieldHash,
): { readonly hashes: Uint32Array; readonly places: Uint32Array } {
  const hashes = new Uint32Array(entries.length)
  const both = new Float64Array(entries.length)
  for (let i = 0; i < hashes.length; i++) {
    hashes[i] = hash.of(entries.key(i))
    both[i] = hashes[i]! * PLACES + i
  }
  return { hashes, places: Uint32Array.from(both.sort(), (one) => one % PLACES) }
}

/** Where each piece begins, and where the last one ends. */
function startsOf(
  length: number,
  bytesOf: (i: number) => number,
  most: number,
  filling: Filling,
  canCut: (i: number) => boolean = () => true,
): number[] {
  let left = 0
  for (let i = 0; i < length; i++) left += bytesOf(i)
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
  }
  return [...starts, length]
}
