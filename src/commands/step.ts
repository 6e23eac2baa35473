/**
 * A command on keys as a pure function of what is stored: what it answers, and what is stored afterwards. The same steps
 * serve a command by itself and one inside MULTI (transaction.ts).
 *
 * Errors: what is wrong with the arguments alone is thrown while the step is made, as a CommandError; what only shows
 * when the keys are known (INCR of text) is the step's reply, and then nothing is stored. Inside MULTI, Redis finds both
 * kinds at EXEC: a command is queued once its name and number of arguments are right.
 */
import type { ByteRange } from '../core/part.ts'
import { RespError, type Reply } from './reply.ts'
import { inOneGo, type Sliced } from '../core/work.ts'

/** That a live value is there; what is deleted, expired or absent is null. */
export interface Seen {
  /** Cluster time, 0 = never. */
  readonly expiresAtMs: number
}

/** A live value of which only a part is looked at. */
export interface SeenPart extends Seen {
  readonly length: number
  /** The bytes of the step's range, as far as there are any. */
  readonly part: Buffer
}

/** A live value. */
export interface Held extends Seen {
  readonly value: Buffer
}

/** What a step does to its keys. `undefined` = left as it is, null = deleted. */
export interface Stepped {
  readonly reply: Reply
  /** In the order of the step's keys; left out where nothing is to be stored. */
  readonly next?: readonly (Held | null | undefined)[]
}

interface StepOf<Need, Shown> {
  /** What it looks at of each of its keys: no more is fetched for it. */
  readonly needs: Need
  /** All different, also where the command names one twice. */
  readonly keys: readonly Buffer[]
  /** False: neither answer nor result depends on what the keys hold (SET, MSET); `apply` may be given nulls. */
  readonly reads: boolean
  /** False: never stores anything, so a read is enough. */
  readonly writes: boolean
  /**
   * Pure; may be called several times, once for each attempt.
   *
   * @param held what the keys hold, in their order
   * @param nowMs cluster time, whole milliseconds
   */
  apply(held: readonly (Shown | null)[], nowMs: number): Stepped
  /** For what takes long: the same in pieces. */
  readonly slow?: {
    /** In units (work.ts), known before it begins; what is too much for one transaction is refused by it. */
    cost(held: readonly (Shown | null)[]): number
    slices(held: readonly (Shown | null)[], nowMs: number): Sliced<Stepped>
  }
}

export type Step = StepOf<'value', Held> | StepOf<'head', Seen> | StepOf<'length' | ByteRange, SeenPart>

export interface StepLimits {
  readonly maxValueBytes: number
  /** How long a value lives that is set without a time; 0 = without an end. */
  readonly defaultTtlMs: number
}

/** The end of a value that is set at this moment without a time of its own, 0 = none. */
export function defaultEnd({ defaultTtlMs }: StepLimits, nowMs: number): number {
  return defaultTtlMs > 0 ? nowMs + defaultTtlMs : 0
}

/** A new value for what is there keeps its end; what was not there gets the end of any new value. */
export function inPlaceOf(held: Held | null, value: Buffer, newEndMs: number): Held {
  return { value, expiresAtMs: held ? held.expiresAtMs : newEndMs }
}

/** What is wrong with a value of this length. */
export function tooLong(bytes: number, { maxValueBytes }: StepLimits): string {
  return `ERR The value would have ${bytes} bytes; at most ${maxValueBytes} are allowed (MAX_VALUE_BYTES).`
}

/**
 * Makes a step from a command's arguments (the name first), or throws a CommandError with Redis's own words. The number
 * of arguments has been compared with the arity.
 *
 * @param nowMs cluster time: relative lives (EX, EXPIRE) begin here, the same for every attempt
 * @param mentions for commands on any number of keys: its keys, where they have been gathered before
 */
export type StepMaker = (
  args: readonly Buffer[],
  nowMs: number,
  limits: StepLimits,
  mentions?: Mentions,
) => Step

/** What COMMAND INFO tells of a command, and how its step is made. */
export interface CommandSpec {
  /** Number of arguments, the name included; negative = at least. */
  readonly arity: number
  /** As Redis 7 names them. */
  readonly flags: readonly string[]
  readonly firstKey: number
  /** -1 = the last argument. */
  readonly lastKey: number
  readonly keyStep: number
  readonly make: StepMaker
}

/** An error for the client, as it is sent: 'ERR syntax error'. */
export class CommandError extends Error {}

export const SYNTAX_ERROR = 'ERR syntax error'
export const NOT_INTEGER = 'ERR value is not an integer or out of range'

/** A step that stores nothing. */
export function look(key: Buffer, answer: (held: Held | null, nowMs: number) => Reply): Step {
  return {
    needs: 'value',
    keys: [key],
    reads: true,
    writes: false,
    apply: ([held = null], nowMs) => ({ reply: answer(held, nowMs) }),
  }
}

/** A step that stores nothing, and takes long for long values. */
export function lookSlowly(
  keys: readonly Buffer[],
  cost: (held: readonly (Held | null)[]) => number,
  answer: (held: readonly (Held | null)[]) => Sliced<Reply>,
): Step {
  function* slices(held: readonly (Held | null)[]): Sliced<Stepped> {
    return { reply: yield* answer(held) }
  }
  return {
    needs: 'value',
    keys,
    reads: true,
    writes: false,
    apply: (held) => inOneGo(slices(held)),
    slow: { cost, slices },
  }
}

/** A step that stores nothing, and whose answer does not depend on the value. */
export function lookAtHead(key: Buffer, answer: (seen: Seen | null, nowMs: number) => Reply): Step {
  return {
    needs: 'head',
    keys: [key],
    reads: true,
    writes: false,
    apply: ([seen = null], nowMs) => ({ reply: answer(seen, nowMs) }),
  }
}

/** A step that stores nothing, and whose answer depends on the value's length, and perhaps on some of its bytes. */
export function lookAtPart(
  key: Buffer,
  needs: 'length' | ByteRange,
  answer: (seen: SeenPart | null) => Reply,
): Step {
  return {
    needs,
    keys: [key],
    reads: true,
    writes: false,
    apply: ([seen = null]) => ({ reply: answer(seen) }),
  }
}

/** A step that makes what one key holds into something else. */
export function change(key: Buffer, apply: (held: Held | null, nowMs: number) => Stepped): Step {
  return {
    needs: 'value',
    keys: [key],
    reads: true,
    writes: true,
    apply: ([held = null], nowMs) => apply(held, nowMs),
  }
}

/** An error that shows only when the keys are known. */
export function refused(text: string): Stepped {
  return { reply: new RespError(text) }
}

/** A value until its end; one whose end has passed is deleted at once. */
export function until(value: Buffer, expiresAtMs: number, nowMs: number): Held | null {
  return expiresAtMs !== 0 && expiresAtMs <= nowMs ? null : { value, expiresAtMs }
}

/** The keys of a command that may name one several times: each once, and for every mention its place among them. */
export function distinct(mentions: readonly Buffer[]): Mentions {
  return inOneGo(distinctInSlices(mentions))
}

export interface Mentions {
  readonly keys: Buffer[]
  readonly places: number[]
}

/** Keys looked at between two places where others may have their turn. */
export const KEYS_A_PIECE = 256
export const UNITS_A_PIECE = 32

export function* distinctInSlices(mentions: readonly Buffer[]): Sliced<Mentions> {
  const keys: Buffer[] = []
  const places: number[] = []
  const placeOf = new Map<string, number>()
  for (const key of mentions) {
    const name = key.toString('latin1')
    let place = placeOf.get(name)
    if (place === undefined) {
      place = keys.push(key) - 1
      placeOf.set(name, place)
    }
    if (places.push(place) % KEYS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return { keys, places }
}
