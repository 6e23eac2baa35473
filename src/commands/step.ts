/**
 * A step: a command on keys as a pure function from the stored values to a reply and the values to store. The same step
 * serves a single command and one inside MULTI (transaction.ts).
 *
 * Errors in the arguments are thrown as a CommandError while the step is made. Errors that depend on the values (INCR of
 * text) are the step's reply, and nothing is stored. Inside MULTI both appear at EXEC, as in Redis: a command is queued if
 * its name and its number of arguments are right.
 */
import { Signal, type ErrorCode } from '../core/errors.ts'
import type { ByteRange } from '../core/part.ts'
import type { Entries } from './collections/entries.ts'
import { RespError, type Reply } from './reply.ts'
import { inOneGo, type Sliced } from '../core/work.ts'

/** A live value exists; for a deleted, expired or absent one it is null. */
export interface Seen {
  /** Cluster time, 0 = never. */
  readonly expiresAtMs: number
  /** KIND_HASH and so on (core/codec.ts); omitted = a string. */
  readonly kind?: number
}

/** The tags of a value that is changed go with it (core/tags.ts), as its expiry time does. */
export interface Tagged {
  readonly tags?: Buffer | undefined
}

/** A live value of which only a part is read. */
export interface SeenPart extends Seen {
  readonly length: number
  /** The bytes of the step's range that exist. */
  readonly part: Buffer
}

/** A live value. */
export interface Held extends Seen, Tagged {
  readonly value: Buffer
  /** If the value is the root of a large collection (collections/large/). */
  readonly parts?: Parts
  /** In a result: what is stored together with this root, by id; null = the part is deleted. */
  readonly changedParts?: ReadonlyMap<number, Buffer | null>
}

/** The parts of a large collection that have been read so far. */
export interface Parts {
  /**
   * In the order of the ids. Null = it has been deleted.
   *
   * @throws NeedsParts if one of them has not been read yet
   */
  get(ids: readonly number[]): readonly (Buffer | null)[]
  /**
   * All entries under this root, made once, in slices; null or omitted = who asks makes it.
   *
   * @throws NeedsParts if it has not been made yet
   */
  whole?(root: Buffer): Entries | null
  /**
   * The result of this, which is computed in slices, once: the step is applied again, and asks for the same again, in the
   * same order. Omitted = who asks computes it.
   *
   * @throws NeedsParts if it has not been computed yet
   */
  inSlices?<T>(compute: () => Sliced<T>): T
}

/** A step cannot go on without these parts: it is applied again when they have been read. */
export class NeedsParts extends Signal {
  readonly ids: readonly number[]
  /** The root that names them. */
  readonly value: Buffer

  constructor(ids: readonly number[], value: Buffer) {
    super('parts of a large collection have not been read')
    this.ids = ids
    this.value = value
  }
}

/** Root and parts are not of the same moment: another change came in between, and all is read again. */
export class PartsChanged extends Error {}

/** What a script has published: it is sent once the result is stored. */
export interface Publication {
  readonly kind: 'channel' | 'shard'
  readonly channel: Buffer
  readonly message: Buffer
}

/** The result of a step. In `next`, `undefined` = unchanged, null = deleted. */
export interface Stepped {
  readonly reply: Reply
  /** In the order of the step's keys; omitted when nothing is to be stored. */
  readonly next?: readonly (Held | null | undefined)[]
  readonly published?: readonly Publication[]
}

/** A script cannot go on without what these keys hold, by their names on the nodes. */
export interface Wanting {
  readonly wants: readonly Buffer[]
  /** The first so many are needed; the others are guesses, made as if the first were absent. */
  readonly certain: number
}

/** Remembers that a client may keep what these keys hold, by their names on the nodes. */
export type KeepReads = (keys: readonly Buffer[]) => void

/** A step that runs a script: in another thread, and from the start again with further keys, if it turns out to need them. */
export interface Scripted {
  /** Resolves when scripts can run: the time that starting takes is not that of the command. */
  ready(): Promise<void>
  /** When its command has to be answered, monotonic; once it is ready. */
  readonly dueAtMs: number
  /** A short script runs here and now. Errors are replies. */
  run(held: readonly (Held | null)[], nowMs: number): Stepped | Wanting | Promise<Stepped | Wanting>
  /** How often it had to run, the last time, before it had named all keys that it was not given; 0 = there were none. */
  namesKeys(): Promise<number>
  /** So often it had to run now. */
  hasNamedKeys(runs: number): void
  /** Its client may keep what it reads (CLIENT TRACKING), which is noted from now on. */
  keepReads(keep: KeepReads): void
  /** It is about to read its keys. */
  reads(): void
  /** The same for these keys as well. */
  withKeys(keys: readonly Buffer[]): StepOf<'value', Held>
}

export interface StepOf<Need, Shown> {
  /** What it reads of each key; no more is fetched. */
  readonly needs: Need
  /** Distinct, even if the command names one twice. */
  readonly keys: readonly Buffer[]
  /** In the order of the keys; omitted when all are in the caller's database. */
  readonly databases?: readonly number[]
  /** False: neither reply nor result depends on the stored values (SET, MSET); `apply` may be given nulls. */
  readonly reads: boolean
  /** False: never stores anything, so a read suffices. */
  readonly writes: boolean
  /** Of one key: the least length of the value that it stores, if that is known before it is read. */
  readonly leastBytes?: number
  /**
   * Indexes of the keys that it looks up for its client (run/lookups.ts), once for each mention; -1 = one that cannot exist.
   * Omitted: all of its keys if it only reads, and none if it writes.
   */
  readonly lookedUp?: readonly number[]
  /** How many bytes of values it processes in a work unit (work.ts); omitted = it copies them at most. */
  readonly bytesAUnit?: number
  /** Its reply contains the values of its keys (MGET). */
  readonly answersValues?: boolean
  /** Of a whole value that is not there it asks the origin, outside of MULTI (GET, MGET). */
  readonly loads?: boolean
  /** What it deletes is left as it was if that held nothing, unless a client loads it (run/absent.ts). */
  readonly leavesAbsent?: boolean
  /** It only reads, and its reply says when a key expires; other reads do not know that of values that Rondo did not write. */
  readonly answersEnd?: boolean
  /**
   * For a command of which some keys depend on what these hold: the step on all of them, or why there is none. It replies
   * KEYS_CHANGED if they are others by then. Inside MULTI nothing can follow: there `apply` refuses.
   */
  readonly follow?: (held: readonly (Shown | null)[]) => Step | Stepped
  /** Instead of `apply`, which refuses. */
  readonly script?: Scripted
  /**
   * Pure; called once per attempt.
   *
   * @param held the values, in the order of the keys
   * @param nowMs cluster time, whole milliseconds
   */
  apply(held: readonly (Shown | null)[], nowMs: number): Stepped
  /** For long computations: the same in slices. */
  readonly slow?: {
    /** In work units (work.ts), known in advance; a transaction that costs too much is refused. */
    cost(held: readonly (Shown | null)[]): number
    slices(held: readonly (Shown | null)[], nowMs: number): Sliced<Stepped>
  }
}

export type Step = StepOf<'value', Held> | StepOf<'head', Seen> | StepOf<'length' | ByteRange, SeenPart>

export interface StepLimits {
  /** The caller's database, and how many there are. */
  readonly database: number
  readonly databases: number
  readonly maxValueBytes: number
  /** TTL of a value that is set without one; 0 = no expiry. */
  readonly defaultTtlMs: number
  /** In [0, 1). For the choices of a step, made before it runs: its attempts choose alike. */
  readonly random: () => number
  /** Keys that are not there may be loaded, or served stale (loader/). */
  readonly loads?: boolean
  /** A script calls it. */
  readonly inScript?: boolean
}

/** Expiry time of a value that is set now without a TTL, 0 = never. */
export function defaultEnd({ defaultTtlMs }: StepLimits, nowMs: number): number {
  return defaultTtlMs > 0 ? nowMs + defaultTtlMs : 0
}

/** Replaces a string and keeps its expiry time and its tags; a new value gets `newEndMs`. */
export function inPlaceOf(held: Held | null, value: Buffer, newEndMs: number): Held {
  return held ? { ...taggedAs(held), value, expiresAtMs: held.expiresAtMs } : { value, expiresAtMs: newEndMs }
}

/** The tags alone, if it has some. */
export function taggedAs(held: Tagged | null | undefined): Tagged {
  return held?.tags ? { tags: held.tags } : {}
}

/** Why a value of this length is refused. */
export function tooLong(bytes: number, { maxValueBytes }: StepLimits): string {
  return `The value would have ${bytes} bytes; at most ${maxValueBytes} are allowed (MAX_VALUE_BYTES).`
}

/**
 * Makes a step from a command's arguments (the name first), or throws a CommandError with Redis's error text. The number
 * of arguments has already been checked against the arity.
 *
 * @param nowMs cluster time: relative TTLs (EX, EXPIRE) start here, the same for every attempt
 * @param mentions for commands on any number of keys: the keys, if already collected
 */
export type StepMaker = (
  args: readonly Buffer[],
  nowMs: number,
  limits: StepLimits,
  mentions?: Mentions,
) => Step

/** A command that waits until a key has something for it (run/blocking.ts). */
export interface BlockingPlan {
  /** Each once, in the order in which they are looked at. */
  readonly keys: readonly Buffer[]
  /** What it waits for: KIND_LIST and so on. */
  readonly kind: number
  /** See Waiting of the coordinator: who takes turns; null = it takes nothing away. */
  readonly line: string | null
  /** What is tried is one step on all keys. */
  readonly isWhole?: boolean
  /** 0 = for ever. */
  readonly timeoutMs: number
  /** When nothing came in time. */
  readonly nothing: Reply
  /**
   * What is tried, again and again, at this key, or at all of them. It replies null or NULL_ARRAY as long as there
   * is nothing.
   *
   * @throws CommandError
   */
  stepAt(place: number): Step
  /** Puts back what this reply has taken from this key; null = it is somewhere else now. */
  giveBack(place: number, reply: Reply): Step | null
  /** It was tried, and there was nothing. */
  missed?(): void
}

/**
 * Null = with these arguments it does not wait.
 *
 * @throws CommandError
 */
export type PlanMaker = (args: readonly Buffer[], nowMs: number, limits: StepLimits) => BlockingPlan | null

/** Where the keys of a command stand among its arguments (key-places.ts). */
export interface KeyPlaces {
  /** Index of the first key; 0 = the command has none. */
  readonly firstKey: number
  /** Negative = counted from the end: -1 is the last argument. */
  readonly lastKey: number
  readonly keyStep: number
  /** Index of the argument that says how many keys there are; then they end before lastKey. */
  readonly keyCountAt?: number | undefined
  /** Index of a key that stands before the number of the others: where the result is stored (ZUNIONSTORE). */
  readonly targetAt?: number | undefined
  readonly storeOption?: StoreOption | undefined
  /** The keys are the first half of what stands behind this option (XREAD … STREAMS); firstKey and lastKey do not count. */
  readonly halfBehind?: HalfBehind | undefined
}

export interface HalfBehind {
  /** Index of the first argument that it may be. */
  readonly from: number
  /** Upper case. */
  readonly option: string
  /** By name, how many arguments follow another option. */
  readonly passes: ReadonlyMap<string, number>
}

/** An option behind which one more key stands: where the result is stored. The last one counts (GEORADIUS, SORT). */
export interface StoreOption {
  /** Index of the first argument that it may be. */
  readonly from: number
  /** Upper case. */
  readonly names: readonly string[]
  /** By name, how many arguments follow another option. */
  readonly passes?: ReadonlyMap<string, number>
}

/** What COMMAND INFO shows of a command, and how to make its step. */
export interface CommandSpec extends KeyPlaces {
  /** Number of arguments, the name included; negative = at least. */
  readonly arity: number
  /** As Redis names them. */
  readonly flags: readonly string[]
  /** Behind its keys any number of operands may follow, which its step processes in slices (PFADD). */
  readonly manyOperands?: boolean | undefined
  /** By lower-case name; then each of them has its own flags. */
  readonly subcommands?: Readonly<Record<string, SubcommandDescription>> | undefined
  readonly make: StepMaker
  /** It may wait until one of its keys has something. */
  readonly plan?: PlanMaker | undefined
  /** It does, whatever its arguments are. */
  readonly alwaysWaits?: boolean
}

export interface SubcommandDescription {
  /** As in Redis: the command's name and its own included; negative = at least. */
  readonly arity: number
  /** The Redis version that introduced it. */
  readonly since: string
  /** What follows its name, as docs-syntax.ts reads it. */
  readonly syntax?: string
  readonly flags: readonly string[]
  readonly summary: string
  /** Where its key stands, and how it accesses it (COMMAND INFO). */
  readonly keyAt?: { readonly index: number; readonly flags: readonly string[] }
}

/** An error for the client, as it is sent: 'ERR syntax error'. */
export class CommandError extends Signal {}

/** What it returns, or the CommandError that it throws: for what Redis looks at after the keys. */
export function resultOrError<T>(run: () => T): T | CommandError {
  try {
    return run()
  } catch (error) {
    if (error instanceof CommandError) return error
    throw error
  }
}

export const SYNTAX_ERROR = 'ERR syntax error'
export const NOT_INTEGER = 'ERR value is not an integer or out of range'
/** The lowest integer has no opposite. */
export const LOWEST_INTEGER =
  'ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807'

/** Whether all of them that exist are strings. */
export function areStrings(held: readonly (Seen | null | undefined)[]): boolean {
  return held.every((one) => one?.kind === undefined)
}

/** A read-only step on a string. */
export function look(key: Buffer, answer: (held: Held | null, nowMs: number) => Reply): Step {
  return {
    needs: 'value',
    keys: [key],
    reads: true,
    writes: false,
    apply: ([held = null], nowMs) => (held?.kind === undefined ? { reply: answer(held, nowMs) } : WRONG_TYPE),
  }
}

/** A read-only step that takes long for long values, of any type. */
export function lookSlowly(
  keys: readonly Buffer[],
  cost: (held: readonly (Held | null)[]) => number,
  answer: (held: readonly (Held | null)[]) => Sliced<Reply>,
): StepOf<'value', Held> {
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

/** A read-only step whose reply does not depend on the value, which may be of any type. */
export function lookAtHead(key: Buffer, answer: (seen: Seen | null, nowMs: number) => Reply): Step {
  return {
    needs: 'head',
    keys: [key],
    reads: true,
    writes: false,
    apply: ([seen = null], nowMs) => ({ reply: answer(seen, nowMs) }),
  }
}

/** The same on a string. */
export function lookAtStringHead(key: Buffer, answer: (seen: Seen | null) => Reply): Step {
  const apply = ([seen = null]: readonly (Seen | null)[]): Stepped =>
    seen?.kind === undefined ? { reply: answer(seen) } : WRONG_TYPE
  return { needs: 'head', keys: [key], reads: true, writes: false, apply }
}

/** A read-only step on a string, whose reply depends on the value's length, and perhaps on some of its bytes. */
export function lookAtPart(
  key: Buffer,
  needs: 'length' | ByteRange,
  answer: (seen: SeenPart | null) => Reply,
): Step {
  const step = lookAtAnyPart(key, needs, answer)
  const apply = (held: readonly (SeenPart | null)[], nowMs: number) =>
    held[0]?.kind === undefined ? step.apply(held, nowMs) : WRONG_TYPE
  return { ...step, apply }
}

/** The same on a value of any type. */
export function lookAtAnyPart(
  key: Buffer,
  needs: 'length' | ByteRange,
  answer: (seen: SeenPart | null) => Reply,
): StepOf<'length' | ByteRange, SeenPart> {
  return {
    needs,
    keys: [key],
    reads: true,
    writes: false,
    apply: ([seen = null]) => ({ reply: answer(seen) }),
  }
}

/**
 * A step that changes one string.
 *
 * @param leastBytes see Step
 */
export function change(
  key: Buffer,
  apply: (held: Held | null, nowMs: number) => Stepped,
  leastBytes = 0,
): Step {
  const onString = (held: Held | null, nowMs: number) =>
    held?.kind === undefined ? apply(held, nowMs) : WRONG_TYPE
  return changeAny(key, onString, leastBytes)
}

/** A step that changes one key, of any type. */
export function changeAny(
  key: Buffer,
  apply: (held: Held | null, nowMs: number) => Stepped,
  leastBytes = 0,
): Step {
  return {
    leastBytes,
    needs: 'value',
    keys: [key],
    reads: true,
    writes: true,
    apply: ([held = null], nowMs) => apply(held, nowMs),
  }
}

/** A step that changes keys together, or one key, and takes long for long values; they may be of any type. */
export function changeSlowly(
  keys: readonly Buffer[],
  cost: (held: readonly (Held | null)[]) => number,
  slices: (held: readonly (Held | null)[], nowMs: number) => Sliced<Stepped>,
): StepOf<'value', Held> {
  return {
    needs: 'value',
    keys,
    reads: true,
    writes: true,
    apply: (held, nowMs) => inOneGo(slices(held, nowMs)),
    slow: { cost, slices },
  }
}

/** The same step on whole values, and what is made of its result, in one go and in slices; other steps stay as they are. */
export function afterwards(
  step: Step,
  then: (stepped: Stepped, held: readonly (Held | null)[], nowMs: number) => Stepped,
): Step {
  if (step.needs !== 'value') return step
  const { slow } = step
  const apply = (held: readonly (Held | null)[], nowMs: number) => then(step.apply(held, nowMs), held, nowMs)
  if (!slow) return { ...step, apply }
  function* slices(held: readonly (Held | null)[], nowMs: number): Sliced<Stepped> {
    return then(yield* slow!.slices(held, nowMs), held, nowMs)
  }
  return { ...step, apply, slow: { ...slow, slices } }
}

/** An error that depends on the stored values. For every server: errors.ts makes a coded error of it. */
export class Refusal extends RespError {
  readonly code: ErrorCode
  readonly sentence: string

  /**
   * @param text the error as Redis sends it
   * @param code of the same error at servers whose errors have codes
   * @param sentence its message there
   */
  constructor(text: string, code: ErrorCode = 'BAD_REQUEST', sentence = text.slice(text.indexOf(' ') + 1)) {
    super(text)
    this.code = code
    this.sentence = sentence
  }
}

/** Refuses because of the stored values, and stores nothing. */
export function refused(...refusal: ConstructorParameters<typeof Refusal>): Stepped {
  return { reply: new Refusal(...refusal) }
}

export const WRONG_TYPE_TEXT = 'WRONGTYPE Operation against a key holding the wrong kind of value'
/** The command is for another type than that of the value. */
export const WRONG_TYPE = refused(
  WRONG_TYPE_TEXT,
  'WRONG_TYPE',
  'The key holds a value of another type: TYPE tells which, and the Redis protocol has the commands for it.',
)

/** See StepOf.follow; told to the client if it happens again and again. */
export const KEYS_CHANGED = new Refusal(
  'TRYAGAIN The elements change faster than the keys that they name can be read.',
  'OVERLOADED',
)

/** A string with an expiry time; null (deleted) if that time has passed. */
export function until(value: Buffer, expiresAtMs: number, nowMs: number): Held | null {
  return expiresAtMs !== 0 && expiresAtMs <= nowMs ? null : { value, expiresAtMs }
}

/** Deduplicates the keys of a command: each key once, and for every mention its index among them. */
export function distinct(mentions: readonly Buffer[]): Mentions {
  return inOneGo(distinctInSlices(mentions))
}

export interface Mentions {
  readonly keys: Buffer[]
  readonly places: number[]
}

/** Keys processed between two yields. */
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
