/**
 * LCS: the longest common subsequence of two values, with the usual table of m × n lengths. If several are equally long,
 * the walk back through the table makes the same choices as Redis, so that it finds the same one and the same ranges.
 */
import { integerArgument, word } from '../arguments.ts'
import { RespError, RespMap, type Reply } from '../reply.ts'
import {
  areStrings,
  CommandError,
  lookSlowly,
  resultOrError,
  SYNTAX_ERROR,
  type Held,
  type Step,
} from '../step.ts'
import type { Sliced } from '../../core/work.ts'

/**
 * The table takes about 20 ms and 8 MiB for this many cells, and is filled in slices. Redis's limit is 512 MB. The shorter
 * value then has less than 2048 bytes, so that lengths fit 16 bits.
 */
const MAX_CELLS = 2 ** 22
const TOO_LARGE = `ERR Insufficient memory, transient memory for LCS exceeds ${MAX_CELLS} cells`

const NOT_STRINGS = 'ERR The specified keys must contain string values'

const CELLS_A_UNIT = 512
/** Cells between two yields. */
const CELLS_A_PIECE = 64 * 1024

const EMPTY = Buffer.alloc(0)

interface LcsOptions {
  readonly answers: 'subsequence' | 'length' | 'ranges'
  readonly minLength: number
  readonly withLength: boolean
}

export function lcs(args: readonly Buffer[]): Step {
  const [, keyA, keyB] = args as [Buffer, Buffer, Buffer]
  // Redis looks at the keys first.
  const options = resultOrError(() => lcsOptions(args))
  const keys = keyA.equals(keyB) ? [keyA] : [keyA, keyB]
  const cost = (held: readonly (Held | null)[]) => {
    const cells = cellsOf(held)
    return cells > MAX_CELLS || options instanceof CommandError ? 1 : cells / CELLS_A_UNIT
  }
  return lookSlowly(keys, cost, (held) => answer(held, options))
}

function cellsOf(held: readonly (Held | null)[]): number {
  return ((held[0]?.value.length ?? 0) + 1) * ((held.at(-1)?.value.length ?? 0) + 1)
}

function lcsOptions(args: readonly Buffer[]): LcsOptions {
  let length = false
  let ranges = false
  let minLength = 0
  let withLength = false
  for (let at = 3; at < args.length; at++) {
    const option = word(args[at]!)
    if (option === 'IDX') ranges = true
    else if (option === 'LEN') length = true
    else if (option === 'WITHMATCHLEN') withLength = true
    else if (option === 'MINMATCHLEN' && at + 1 < args.length)
      minLength = Number(integerArgument(args[++at]!))
    else throw new CommandError(SYNTAX_ERROR)
  }
  if (length && ranges) {
    throw new CommandError('ERR If you want both the length and indexes, please just use IDX.')
  }
  return { answers: ranges ? 'ranges' : length ? 'length' : 'subsequence', minLength, withLength }
}

function* answer(held: readonly (Held | null)[], options: LcsOptions | CommandError): Sliced<Reply> {
  if (!areStrings(held)) return new RespError(NOT_STRINGS)
  if (options instanceof CommandError) return new RespError(options.message)
  if (cellsOf(held) > MAX_CELLS) return new RespError(TOO_LARGE)
  const a = held[0]?.value ?? EMPTY
  const b = held.at(-1)?.value ?? EMPTY
  const table = yield* lengths(a, b)
  const longest = table.at(-1)!
  if (options.answers === 'length') return longest
  const matches = walkBack(a, b, table)
  if (options.answers === 'subsequence') {
    return Buffer.concat(matches.reverse().map(({ atA, length }) => a.subarray(atA, atA + length)))
  }
  const shown = matches
    .filter(({ length }) => length >= options.minLength)
    .map(({ atA, atB, length }): Reply => {
      const ranges: Reply[] = [
        [atA, atA + length - 1],
        [atB, atB + length - 1],
      ]
      return options.withLength ? [...ranges, length] : ranges
    })
  return new RespMap([
    ['matches', shown],
    ['len', longest],
  ])
}

/** The length of the longest common subsequence for each pair of prefixes, row by row of `a`. */
function* lengths(a: Buffer, b: Buffer): Sliced<Uint16Array> {
  const width = b.length + 1
  const table = new Uint16Array((a.length + 1) * width)
  for (let i = 1; i <= a.length; i++) {
    for (let from = 1; from <= b.length; from += CELLS_A_PIECE) {
      const to = Math.min(from + CELLS_A_PIECE, width)
      fillRow(table, a[i - 1]!, b, i * width, from, to)
      yield (to - from) / CELLS_A_UNIT
    }
  }
  return table
}

/** @param row its start in the table */
function fillRow(table: Uint16Array, byte: number, b: Buffer, row: number, from: number, to: number): void {
  const width = b.length + 1
  for (let j = from; j < to; j++) {
    const at = row + j
    table[at] = byte === b[j - 1] ? table[at - width - 1]! + 1 : Math.max(table[at - width]!, table[at - 1]!)
  }
}

/** A run of bytes that both values have. */
interface Match {
  atA: number
  atB: number
  length: number
}

/** The subsequence from its end to its start, in the longest possible runs. */
function walkBack(a: Buffer, b: Buffer, table: Uint16Array): Match[] {
  const width = b.length + 1
  const matches: Match[] = []
  let open: Match | null = null
  let i = a.length
  let j = b.length
  while (i > 0 && j > 0) {
    if (a[i - 1] === b[j - 1]) {
      i--
      j--
      if (open) open.length++
      else matches.push((open = { atA: i, atB: j, length: 1 }))
      open.atA = i
      open.atB = j
    } else {
      open = null
      if (table[(i - 1) * width + j]! > table[i * width + j - 1]!) i--
      else j--
    }
  }
  return matches
}
