/**
 * BITOP: combines the bits of several values, and stores the result. A shorter value, and a key that does not exist, is
 * followed by zeros. The operations from DIFF on are those of Redis 8.2; X is the first value, Y any of the others:
 *
 *   DIFF X and no Y     DIFF1 a Y and not X     ANDOR X and a Y     ONE exactly one of all
 */
import { word } from '../arguments.ts'
import {
  areStrings,
  changeSlowly,
  CommandError,
  defaultEnd,
  distinct,
  SYNTAX_ERROR,
  WRONG_TYPE,
  type Held,
  type Step,
  type StepMaker,
  type Stepped,
} from '../step.ts'
import type { Sliced } from '../../core/work.ts'

const PLAIN = ['AND', 'OR', 'XOR', 'NOT', 'ONE'] as const
/** They compare the first value with all the others. */
const AGAINST_FIRST = ['DIFF', 'DIFF1', 'ANDOR'] as const
type Operation = (typeof PLAIN)[number] | (typeof AGAINST_FIRST)[number]

const BYTES_A_UNIT = 4096
const UNITS_A_SOURCE = 0.02
/** Bytes of each value that are processed between two yields. */
const BYTES_A_PIECE = 64 * 1024
const EMPTY = Buffer.alloc(0)

export const bitop: StepMaker = (args, nowMs, limits, mentions = distinct(args.slice(2))): Step => {
  const operation = operationOf(args)
  const { keys, places } = mentions
  const [, ...sources] = places
  const newEndMs = defaultEnd(limits, nowMs)
  const valuesIn = (held: readonly (Held | null)[]) => sources.map((place) => held[place]?.value ?? EMPTY)
  const cost = (held: readonly (Held | null)[]) => {
    const bytes = sources.reduce((sum, place) => sum + (held[place]?.value.length ?? 0), 0)
    return bytes / BYTES_A_UNIT + sources.length * UNITS_A_SOURCE
  }
  const step = changeSlowly(keys, cost, function* (held): Sliced<Stepped> {
    if (!areStrings(sources.map((place) => held[place]))) return WRONG_TYPE
    const value = yield* combined(operation, valuesIn(held))
    // Nothing is left of nothing: Redis deletes the target then.
    const target = value.length > 0 ? { value, expiresAtMs: newEndMs } : held[0] ? null : undefined
    return { reply: value.length, next: keys.map((_, i) => (i === 0 ? target : undefined)) }
  })
  return { ...step, lookedUp: sources }
}

/** @throws CommandError */
function operationOf(args: readonly Buffer[]): Operation {
  const name = word(args[1]!)
  const operation = [...PLAIN, ...AGAINST_FIRST].find((one) => one === name)
  if (operation === undefined) throw new CommandError(SYNTAX_ERROR)
  const sources = args.length - 3
  if (operation === 'NOT' && sources !== 1) {
    throw new CommandError('ERR BITOP NOT must be called with a single source key.')
  }
  if (comparesFirst(operation) && sources < 2) {
    throw new CommandError(`ERR BITOP ${operation} must be called with at least two source keys.`)
  }
  return operation
}

function comparesFirst(operation: Operation): operation is (typeof AGAINST_FIRST)[number] {
  return operation === 'DIFF' || operation === 'DIFF1' || operation === 'ANDOR'
}

function* combined(operation: Operation, values: readonly Buffer[]): Sliced<Buffer> {
  const length = values.reduce((most, value) => Math.max(most, value.length), 0)
  const result = Buffer.alloc(length)
  for (let from = 0; from < length; from += BYTES_A_PIECE) {
    const size = Math.min(BYTES_A_PIECE, length - from)
    yield* combinePiece(operation, values, from, result.subarray(from, from + size))
  }
  return result
}

/** @param into zeros; becomes the piece of the result that begins at byte `from` */
function* combinePiece(
  operation: Operation,
  values: readonly Buffer[],
  from: number,
  into: Uint8Array,
): Sliced<void> {
  const units = into.length / BYTES_A_UNIT + UNITS_A_SOURCE
  const piece = (value: Buffer) => value.subarray(from, from + into.length)
  const first = piece(values[0]!)
  const fold = FOLDS[comparesFirst(operation) ? 'OR' : operation]
  const several = new Uint8Array(operation === 'ONE' ? into.length : 0)
  if (!comparesFirst(operation)) into.set(first)
  if (operation === 'NOT') complement(into)
  for (let i = 1; i < values.length; i++) {
    fold(into, piece(values[i]!), several)
    yield units
  }
  if (operation === 'ONE') clear(into, several)
  if (comparesFirst(operation)) compareWithFirst(operation, into, first)
  yield units
}

/** Adds a value to the result so far; the value may be shorter. `several`: the bits that more than one value has. */
type Fold = (into: Uint8Array, value: Uint8Array, several: Uint8Array) => void

const FOLDS: Readonly<Record<(typeof PLAIN)[number], Fold>> = {
  AND(into, value) {
    for (let i = 0; i < value.length; i++) into[i]! &= value[i]!
    into.fill(0, value.length)
  },
  OR(into, value) {
    for (let i = 0; i < value.length; i++) into[i]! |= value[i]!
  },
  XOR(into, value) {
    for (let i = 0; i < value.length; i++) into[i]! ^= value[i]!
  },
  ONE(into, value, several) {
    for (let i = 0; i < value.length; i++) {
      several[i]! |= into[i]! & value[i]!
      into[i]! |= value[i]!
    }
  },
  NOT: () => undefined, // has one value only
}

function complement(into: Uint8Array): void {
  for (let i = 0; i < into.length; i++) into[i] = ~into[i]!
}

function clear(into: Uint8Array, bits: Uint8Array): void {
  for (let i = 0; i < into.length; i++) into[i]! &= ~bits[i]!
}

/** @param into what any of the others has */
function compareWithFirst(
  operation: (typeof AGAINST_FIRST)[number],
  into: Uint8Array,
  first: Uint8Array,
): void {
  for (let i = 0; i < into.length; i++) {
    const [x, y] = [first[i] ?? 0, into[i]!]
    into[i] = operation === 'DIFF' ? x & ~y : operation === 'DIFF1' ? ~x & y : x & y
  }
}
