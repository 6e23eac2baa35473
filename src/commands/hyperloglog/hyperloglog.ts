/**
 * PFADD, PFCOUNT and PFMERGE: count different elements with an error of 0.81 %, in at most 12 KiB a key. The values are
 * those of Redis (format.ts), and so are the counts.
 *
 * PFCOUNT writes nothing. Redis stores the count with the value, for the next PFCOUNT; here a read of one replica is a
 * read. A count that Redis has stored is used.
 */
import { murmur64 } from '../../core/murmur64.ts'
import { inOneGo, type Sliced } from '../../core/work.ts'
import { OK, RespError, type Reply } from '../reply.ts'
import {
  areStrings,
  change,
  changeSlowly,
  defaultEnd,
  distinct,
  inPlaceOf,
  look,
  lookSlowly,
  refused,
  WRONG_TYPE,
  WRONG_TYPE_TEXT,
  type Held,
  type Step,
  type StepLimits,
  type StepMaker,
  type Stepped,
} from '../step.ts'
import { estimate } from './estimate.ts'
import { Hyperloglog, isDense, isHyperloglog, mergeRegisters, REGISTERS, storedCount } from './format.ts'

const NOT_VALID = 'WRONGTYPE Key is not a valid HyperLogLog string value.'
const CORRUPT = 'INVALIDOBJ Corrupted HLL object detected'

const SEED = 0xadc83b19
const INDEX_BITS = 14
/** Bits of the hash behind the index. */
const RUN_BITS = 50

/** Of PFADD: so much is done at once, and more in slices. */
const FEW_ELEMENTS = 16
const FEW_BYTES = 4096

const UNITS_AN_ELEMENT = 0.4
const HASHED_BYTES_A_UNIT = 1024
/** The runs of a sparse value are searched for each element. */
const SPARSE_BYTES_A_UNIT = 4096
const ELEMENTS_A_PIECE = 64
/** Reading all registers of a value, or writing them. */
const UNITS_A_VALUE = 16
const UNITS_TO_WRITE = 800

export function pfadd(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const key = args[1]!
  const elements = args.slice(2)
  const newEndMs = defaultEnd(limits, nowMs)
  const hashedBytes = elements.reduce((sum, element) => sum + element.length, 0)
  if (elements.length <= FEW_ELEMENTS && hashedBytes <= FEW_BYTES) {
    return change(key, (held) => inOneGo(added(held, elements, newEndMs)))
  }
  const cost = ([held = null]: readonly (Held | null)[]) =>
    elements.length * unitsOfElement(held) + hashedBytes / HASHED_BYTES_A_UNIT
  return changeSlowly([key], cost, ([held = null]) => added(held, elements, newEndMs))
}

function unitsOfElement(held: Held | null): number {
  const sparseBytes = held && !isDense(held.value) ? held.value.length : 0
  return UNITS_AN_ELEMENT + sparseBytes / SPARSE_BYTES_A_UNIT
}

function* added(held: Held | null, elements: readonly Buffer[], newEndMs: number): Sliced<Stepped> {
  if (!areStrings([held])) return WRONG_TYPE
  if (held && !isHyperloglog(held.value)) return refused(NOT_VALID)
  const hyperloglog = new Hyperloglog(held?.value ?? null)
  const unitsEach = unitsOfElement(held)
  let isChanged = held === null
  let units = 0
  for (const [i, element] of elements.entries()) {
    const { register, run } = placeOf(element)
    const raised = hyperloglog.raise(register, run)
    if (raised === null) return refused(CORRUPT)
    isChanged ||= raised
    units += unitsEach + element.length / HASHED_BYTES_A_UNIT
    if (i % ELEMENTS_A_PIECE !== ELEMENTS_A_PIECE - 1) continue
    yield units
    units = 0
  }
  if (!isChanged) return { reply: 0 }
  hyperloglog.forgetCount()
  return { reply: 1, next: [inPlaceOf(held, hyperloglog.value, newEndMs)] }
}

/** The element's register, and the number of its hash's zeros behind the index up to the first one, which counts too. */
function placeOf(element: Buffer): { register: number; run: number } {
  const { high, low } = murmur64(element, SEED)
  const near = (low >>> INDEX_BITS) | (high << (32 - INDEX_BITS))
  const far = high >>> INDEX_BITS
  const zeros = near !== 0 ? trailingZeros(near) : far !== 0 ? 32 + trailingZeros(far) : RUN_BITS
  return { register: low & (REGISTERS - 1), run: zeros + 1 }
}

function trailingZeros(bits: number): number {
  return 31 - Math.clz32(bits & -bits)
}

export const pfcount: StepMaker = (args, _nowMs, _limits, mentions = distinct(args.slice(1))): Step => {
  if (args.length === 2) return look(args[1]!, (held) => (held ? countIn(held.value) : 0))
  const cost = (held: readonly (Held | null)[]) => (held.length + 1) * UNITS_A_VALUE
  return lookSlowly(mentions.keys, cost, function* (held): Sliced<Reply> {
    const merged = yield* mergedOf(held)
    return typeof merged === 'string' ? new RespError(merged) : estimate(merged)
  })
}

function countIn(value: Buffer): Reply {
  if (!isHyperloglog(value)) return new RespError(NOT_VALID)
  const known = storedCount(value)
  if (known !== null) return known
  const registers = new Uint8Array(REGISTERS)
  return mergeRegisters(registers, value) ? estimate(registers) : new RespError(CORRUPT)
}

/** For each register the highest of all values; or what is wrong with one. */
function* mergedOf(held: readonly (Held | null)[]): Sliced<Uint8Array | string> {
  const registers = new Uint8Array(REGISTERS)
  for (const one of held) {
    if (!one) continue
    if (!areStrings([one])) return WRONG_TYPE_TEXT
    if (!isHyperloglog(one.value)) return NOT_VALID
    if (!mergeRegisters(registers, one.value)) return CORRUPT
    yield UNITS_A_VALUE
  }
  return registers
}

/** As in Redis, the target is merged too, and becomes dense if any of the values is. */
export const pfmerge: StepMaker = (args, nowMs, limits, mentions = distinct(args.slice(1))): Step => {
  const newEndMs = defaultEnd(limits, nowMs)
  const cost = (held: readonly (Held | null)[]) =>
    held.length * UNITS_A_VALUE + UNITS_TO_WRITE + unitsToSearch(held[0] ?? null)
  const step = changeSlowly(mentions.keys, cost, function* (current): Sliced<Stepped> {
    const merged = yield* mergedOf(current)
    if (typeof merged === 'string') return refused(merged)
    const [target = null] = current
    const hyperloglog = new Hyperloglog(target?.value ?? null)
    // Corrupt values have been found already.
    if (current.some((one) => one && isDense(one.value))) hyperloglog.makeDense()
    let raised = 0
    for (let register = 0; register < REGISTERS; register++) {
      const held = merged[register] ?? 0
      if (held === 0) continue
      hyperloglog.raise(register, held)
      if (++raised % ELEMENTS_A_PIECE === 0) yield ELEMENTS_A_PIECE * UNITS_AN_ELEMENT
    }
    hyperloglog.forgetCount()
    const value = inPlaceOf(target, hyperloglog.value, newEndMs)
    return { reply: OK, next: current.map((_, i) => (i === 0 ? value : undefined)) }
  })
  return { ...step, lookedUp: mentions.places }
}

/** A sparse target is searched for each register, of which it has about one that is not 0 for each byte. */
function unitsToSearch(held: Held | null): number {
  if (!held || !isHyperloglog(held.value) || isDense(held.value)) return 0
  return held.value.length ** 2 / (2 * SPARSE_BYTES_A_UNIT)
}
