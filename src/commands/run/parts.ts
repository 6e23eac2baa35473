/**
 * The parts of large collections (collections/large/) while a command runs.
 *
 *   step ──▶ needs parts ──▶ read them ──▶ the same step again          nothing is stored before it has ended
 *     └────▶ a new root and new parts ──▶ store the parts ──▶ store the root      at `one` in the same turn, in this order
 *
 * A part is stored under a name that has its stamp, and each attempt of a change draws a stamp of its own. So what is
 * stored under the name of a part never changes, and a root is stored only when all that it names is: at `quorum` and `all`
 * on as many replicas as the level needs. Whoever reads a root, in whatever way it was copied there, finds its parts; and
 * what it reads is the collection as it was at one moment. Atomic is the change of the root alone.
 *
 * What is not there was replaced since the root was read: the command begins again. If a root still names what no replica
 * has, all of which were asked, nodes have evicted or lost it. Then the collection is gone as a whole, as an evicted key is:
 * it is never read without some of its entries.
 */
import type { ClientCall, KeyStore, LeftPart, NewPart } from '../../coordinator/api.ts'
import { readRecord, transactKeys, writeValue, type CallOptions } from '../../coordinator/promises.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import {
  DamagedRoot,
  generationOf,
  isCollection,
  isRoot,
  namedKeysIn,
  partsLeftBy,
  partsNamedIn,
  restamped,
  restampedPart,
  someNamedIn,
  type NamedPart,
} from '../../core/large-root.ts'
import { GENERATION_BYTES, partKey, rootOf } from '../../core/part-keys.ts'
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError, Signal } from '../../core/errors.ts'
import { waitFor, type Sliced } from '../../core/work.ts'
import { countIn, type Entries } from '../collections/entries.ts'
import { bytesIn } from '../collections/large/root.ts'
import { flattenInSlices } from '../collections/large/split.ts'
import { sizes } from '../collections/large/sizes.ts'
import type { Caller } from '../model.ts'
import { NeedsParts, PartsChanged, type Held, type Parts, type Step, type Stepped } from '../step.ts'
import { tooMuchOfCollections } from './answer-limit.ts'
import { inOnePiece, inParts } from './forms.ts'
import { applyTo, wholesOf, type Known } from './known.ts'
import { recordOf } from './held.ts'
import { MoreKeys, runScript } from './more-keys.ts'
import { allInSlices } from './slices.ts'

/** Reading begins so often. */
const MOST_TRIES = 4
/** Work units of what may take long or not: so many that the clock is read after it (core/work.ts). */
const UNITS_OF_A_COMPUTATION = 256
/** Of an entry in one piece with the others: where it begins. */
const PLACE_BYTES = 4
/** The same in a table of names (SINTER), about. */
const TABLE_BYTES = 100
/** Parts that are stored in one turn with the roots that name them. */
const MOST_TOGETHER = 4
const MOST_BYTES_TOGETHER = 64 * 1024
/** A stamp has 48 bits, and those of later changes are larger. */
const STAMPS = 2 ** 47
const BYTE_VALUES = 256

/** A change has met a large collection, or makes one: it runs as a transaction that can wait for parts. */
export const MEETS_PARTS = new RondoError('INTERNAL', 'Parts of a large collection are needed.', {
  outcome: 'not-applied',
})
/** Parts were replaced while they were read: nothing is changed, and the command begins again. */
const PARTS_CHANGED = new RondoError(
  'OVERLOADED',
  'The collection changes faster than it can be read. Try again.',
  { outcome: 'not-applied' },
)

/** What is known of the parts of one root. */
export class ReadParts implements Parts {
  /** The name of the collection on the nodes. */
  readonly key: Buffer
  readonly kind: number
  readonly root: Buffer
  /** Those that no root on the nodes names yet. */
  readonly fresh: ReadonlySet<number>
  private readonly known: Map<number, Buffer | null>
  private entries: Entries | null = null
  private readonly computed: unknown[] = []
  private asked = 0

  constructor(
    { key, kind, root }: Pick<ReadParts, 'key' | 'kind' | 'root'>,
    known = new Map<number, Buffer | null>(),
    fresh: ReadonlySet<number> = new Set(),
  ) {
    this.key = key
    this.kind = kind
    this.root = root
    this.known = known
    this.fresh = fresh
  }

  get(ids: readonly number[]): readonly (Buffer | null)[] {
    const missing = ids.filter((id) => !this.known.has(id))
    if (missing.length > 0) throw new WantedParts(missing, this)
    return ids.map((id) => this.known.get(id)!)
  }

  put(id: number, part: Buffer | null): void {
    this.known.set(id, part)
  }

  whole(root: Buffer): Entries | null {
    if (root !== this.root) return null
    if (!this.entries) throw new WantedWhole(this)
    return this.entries
  }

  putWhole(entries: Entries): void {
    this.entries = entries
  }

  inSlices<T>(compute: () => Sliced<T>): T {
    const place = this.asked++
    if (place === this.computed.length) throw new WantedComputation(this, compute)
    return this.computed[place] as T
  }

  putComputed(result: unknown): void {
    this.computed.push(result)
  }

  /** The step that asks is applied again. */
  askAgain(): void {
    this.asked = 0
  }

  /** Another step is going to ask. */
  forgetComputed(): void {
    this.computed.length = 0
    this.asked = 0
  }

  /** The same entries as parts of another key, under the same root; all have been read. */
  movedTo(key: Buffer): ReadParts {
    const ids = [...partsNamedIn(this.kind, this.root).keys()]
    this.get(ids)
    return new ReadParts({ ...this.identity, key }, new Map(this.known), new Set(ids))
  }

  /** By id. @throws DamagedRoot */
  named(ids: readonly number[]): ReadonlyMap<number, NamedPart> {
    return someNamedIn(this.kind, this.root, new Set(ids))
  }

  keyOf(part: NamedPart): Buffer {
    return partKey(this.key, generationOf(this.root), part)
  }

  /** After a change of this collection. */
  changed(root: Buffer, parts: ReadonlyMap<number, Buffer | null>): ReadParts {
    const known = new Map(this.known)
    const fresh = new Set(this.fresh)
    for (const [id, part] of parts) {
      known.set(id, part)
      if (part) fresh.add(id)
      else fresh.delete(id)
    }
    return new ReadParts({ ...this.identity, root }, known, fresh)
  }

  private get identity(): Pick<ReadParts, 'key' | 'kind' | 'root'> {
    const { key, kind, root } = this
    return { key, kind, root }
  }
}

class WantedParts extends NeedsParts {
  readonly parts: ReadParts

  constructor(ids: readonly number[], parts: ReadParts) {
    super(ids, parts.root)
    this.parts = parts
  }
}

/** The same for all of them together, in one piece. */
class WantedWhole extends NeedsParts {
  readonly parts: ReadParts

  constructor(parts: ReadParts) {
    super([], parts.root)
    this.parts = parts
  }
}

/** The same for what takes long. */
class WantedComputation extends NeedsParts {
  readonly parts: ReadParts
  readonly compute: () => Sliced<unknown>

  constructor(parts: ReadParts, compute: () => Sliced<unknown>) {
    super([], parts.root)
    this.parts = parts
    this.compute = compute
  }
}

type Wanted = WantedParts | WantedWhole | WantedComputation

function isWanted(error: unknown): error is Wanted {
  return error instanceof WantedParts || error instanceof WantedWhole || error instanceof WantedComputation
}

/** What a key holds, with what is known of its parts if it is a large collection: nothing yet. */
export function withParts<K extends Known | null>(key: Buffer, known: K): K {
  if (!known || !('value' in known) || !isRoot(known.kind, known.value)) return known
  const { value: root, kind } = known
  return { ...known, parts: new ReadParts({ key, kind: kind!, root }) }
}

/** Whether this result can only be stored by a transaction that can wait for parts. */
export function needsParts(held: Known | null, next: Held): boolean {
  const before = held && 'value' in held ? held : null
  if (next.value === before?.value) return false
  if (!isRoot(next.kind, next.value)) return isTooLong(next)
  // What is added to a stream is in its root as a rule: there are no parts that have to be stored before.
  const isOfSame =
    before?.parts !== undefined && next.parts === undefined && isRoot(before.kind, before.value)
  return !isOfSame || !generationOf(before.value).equals(generationOf(next.value)) || storesParts(next)
}

/** What a step has made of a key without storing parts, so that the next one can be applied to it. */
export function withPartsBefore(before: Known | null, next: Held): Held {
  const own = before && 'value' in before ? (before.parts as ReadParts | undefined) : undefined
  if (!own || next.value === own.root || !isRoot(next.kind, next.value)) return next
  return held(next, own.changed(next.value, next.changedParts ?? new Map()))
}

function storesParts({ changedParts }: Held): boolean {
  return changedParts !== undefined && [...changedParts.values()].some((part) => part !== null)
}

function isTooLong({ kind, value }: Held): boolean {
  return isCollection(kind) && !isRoot(kind, value) && value.length > sizes.largeFrom
}

/** A script needs its collections in one piece. */
export class PartsAreNeeded extends Signal {}

/** Whether it is thrown because parts have to be read first. */
export function wantsParts(error: unknown): boolean {
  return error instanceof NeedsParts || error instanceof PartsAreNeeded
}

/**
 * Runs a read or a change that needs parts, again if they were replaced meanwhile.
 *
 * @param run rejects with PARTS_CHANGED then
 */
export async function runWithParts<T>(
  caller: Caller,
  keys: readonly Buffer[],
  { level = caller.writeLevel, call }: { readonly level?: ConsistencyLevel; readonly call: ClientCall },
  run: (parts: PartsOf) => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    const parts = new PartsOf(caller, level, tries, call)
    try {
      return await run(parts)
    } catch (error) {
      if (error instanceof LostPart && tries > 1) await removeLost(caller, error.parts, call)
      else if (!(error instanceof LostPart) && error !== PARTS_CHANGED) throw error
      if (tries >= MOST_TRIES) throw PARTS_CHANGED
    } finally {
      parts.release()
    }
    await refresh(caller, keys, call)
  }
}

/** No replica has it, and all have answered: it was replaced since the root was read, or it is lost. */
class LostPart extends RondoError {
  readonly parts: ReadParts

  constructor(parts: ReadParts) {
    super('OVERLOADED', 'No replica has a part of the collection. Try again.', { outcome: 'not-applied' })
    this.parts = parts
  }
}

/** Deletes a collection of which a part is lost, unless it has changed since: the part may have been replaced. */
async function removeLost(caller: Caller, { key, root }: ReadParts, call: ClientCall): Promise<void> {
  const { store } = caller
  const gone = { kind: 'write', records: [recordOf(null)] } as const
  const { before, after } = await transactKeys(
    store,
    [key],
    ([record]) => (record && root.equals(record.value) ? gone : { kind: 'keep' }),
    { requester: caller, call, level: 'quorum' },
  )
  if (before[0] === after[0]) return
  store.collections.lost()
  leaveParts(store, key, before[0]!, after[0]!)
}

/** A replica that has missed changes of these keys gets them by this. */
async function refresh(caller: Caller, keys: readonly Buffer[], call: ClientCall): Promise<void> {
  const options = { requester: caller, call, level: 'quorum' } as const
  await Promise.all(keys.map((key) => readRecord(caller.store, key, options)))
}

/** All operations of a command together have the time of one. @param dueAtMs if it has begun already */
export function oneCall({ store }: Pick<Caller, 'store'>, dueAtMs = store.collections.dueAtMs()): ClientCall {
  return { gone: false, dueAtMs }
}

/** Reads and stores the parts that one run of a command needs. */
export class PartsOf {
  /** So often what was read was replaced meanwhile. */
  readonly tries: number
  private readonly caller: Caller
  private readonly level: ConsistencyLevel
  readonly options: CallOptions & { readonly call: ClientCall }
  private bytes = 0
  private tableBytes = 0
  /** What this attempt has stored, and those before it. */
  private readonly stored: LeftPart[] = []
  private attempts = 0
  private readonly together: NewPart[] = []

  constructor(caller: Caller, level: ConsistencyLevel, tries: number, call: ClientCall) {
    this.caller = caller
    this.level = level
    this.tries = tries
    this.options = { requester: caller, level, call }
  }

  /** Of memory, until release(). @throws RondoError */
  private hold(bytes: number): void {
    this.bytes += bytes
    this.caller.account.add(bytes)
    if (this.bytes > this.caller.settings.maxCommandBytes) {
      const sentence = tooMuchOfCollections(this.caller.settings)
      throw new RondoError('BAD_REQUEST', sentence, { outcome: 'not-applied' })
    }
    if (this.caller.account.isRefused) throw this.caller.account.refusal()
  }

  /** Memory of what is made of large collections while a slow step runs: names, and where they are. @throws RondoError */
  private holdTables(before: readonly (Known | null)[]): void {
    let entries = 0
    for (const one of before) if (one && 'value' in one && one.parts) entries += countIn(one.value) ?? 0
    const bytes = entries * TABLE_BYTES
    if (bytes <= this.tableBytes) return
    this.caller.account.add(bytes - this.tableBytes)
    this.tableBytes = bytes
    if (this.caller.account.isRefused) throw this.caller.account.refusal()
  }

  release(): void {
    this.caller.account.add(-this.bytes - this.tableBytes)
    this.bytes = 0
    this.tableBytes = 0
  }

  /** Computes it, again with each of the parts that it turns out to need. @throws PARTS_CHANGED */
  *computed<T>(compute: () => T | Sliced<T>): Sliced<T> {
    const asked = new Set<ReadParts>()
    try {
      for (;;) {
        let wanted: Wanted
        try {
          const result = compute()
          yield UNITS_OF_A_COMPUTATION
          return isSliced(result) ? yield* result : result
        } catch (error) {
          if (error instanceof PartsChanged || error instanceof DamagedRoot) throw PARTS_CHANGED
          if (!isWanted(error)) throw error
          wanted = error
        }
        yield UNITS_OF_A_COMPUTATION
        yield* this.obtain(wanted)
        asked.add(wanted.parts)
        for (const parts of asked) parts.askAgain()
      }
    } finally {
      for (const parts of asked) parts.forgetComputed()
    }
  }

  private *obtain(wanted: Wanted): Sliced<void> {
    if (wanted instanceof WantedParts) yield* waitFor(this.read(wanted))
    else if (wanted instanceof WantedWhole) yield* this.join(wanted.parts)
    else wanted.parts.putComputed(yield* this.recomputed(wanted.compute))
  }

  /** What computes for long asks for parts alone. */
  private *recomputed<T>(compute: () => Sliced<T>): Sliced<T> {
    for (;;) {
      let wanted: WantedParts
      try {
        return yield* compute()
      } catch (error) {
        if (!(error instanceof WantedParts)) throw error
        wanted = error
      }
      yield* waitFor(this.read(wanted))
    }
  }

  /** Makes one piece of them. */
  private *join(parts: ReadParts): Sliced<void> {
    const { kind, root } = parts
    // Its bytes, and where each entry begins.
    this.hold(bytesIn(root) + PLACE_BYTES * countIn(root)!)
    parts.putWhole(yield* this.recomputed(() => flattenInSlices(kind, root, parts)))
  }

  private async read({ ids, parts }: WantedParts): Promise<void> {
    const { caller } = this
    const all = parts.named(ids)
    const named = ids.map((id) => all.get(id))
    this.hold(named.reduce((sum, part) => sum + (part?.bytes ?? 0), 0))
    const found = await allInSlices(caller, named.length, (i) => this.readOne(parts, named[i]))
    if (found.includes(null)) throw this.tries > 1 ? new LostPart(parts) : PARTS_CHANGED
    for (const [i, id] of ids.entries()) parts.put(id, found[i]!)
  }

  private async readOne(parts: ReadParts, named: NamedPart | undefined): Promise<Buffer | null> {
    if (!named) return null
    const key = parts.keyOf(named)
    const found = await this.valueOf(key, this.level)
    // Those that have answered may have missed it, or have evicted it.
    if (found || this.level === 'all') return found
    if (this.tries > 1) return this.valueOf(key, 'all')
    return this.level === 'one' ? this.valueOf(key, 'quorum') : null
  }

  private async valueOf(key: Buffer, level: ConsistencyLevel): Promise<Buffer | null> {
    const record = await readRecord(this.caller.store, key, { ...this.options, level })
    return this.caller.store.isLive(record) ? record.value : null
  }

  // ---- changes

  /** What a step has made of a key, so that the next one can be applied to it; or why it is refused. */
  *after(key: Buffer, before: Known | null, next: Held): Sliced<Held | Stepped> {
    const { kind, value } = next
    const others = next.parts as ReadParts | undefined
    const isMoved = others !== undefined && isRoot(kind, value) && !others.key.equals(key)
    if (!isMoved && before && 'value' in before && next.value === before.value) return next
    // The same entries under other names: as they are.
    if (isMoved) return held(next, yield* this.computed(() => others.movedTo(key)))
    if (isRoot(kind, value)) {
      const own = before && 'value' in before ? (before.parts as ReadParts | undefined) : undefined
      if (own && generationOf(own.root).equals(generationOf(value))) {
        return held(next, own.changed(value, next.changedParts ?? new Map()))
      }
    }
    const flat = isRoot(kind, value) ? (yield* this.flat(next)).value : value
    return yield* this.divided(key, { ...next, value: flat })
  }

  private *divided(key: Buffer, next: Held): Sliced<Held | Stepped> {
    const { kind, value } = next
    if (!isTooLong(next)) return held(next, undefined)
    const generation = Buffer.from(Array.from({ length: GENERATION_BYTES }, () => this.draw(BYTE_VALUES)))
    const made = yield* inParts(kind, value, generation)
    if ('reply' in made) return made
    const { root, parts } = made
    const known = new ReadParts(
      { key, kind: kind!, root },
      new Map<number, Buffer | null>(parts),
      new Set(parts.keys()),
    )
    return held({ ...next, value: root }, known)
  }

  /** What a script or another server gets: the collection in one piece. */
  *whole(one: Held | null): Sliced<Held | null> {
    return one?.parts ? yield* this.flat(one) : one
  }

  private *flat(one: Held): Sliced<Held> {
    const { kind, value, parts } = one
    const flat = yield* this.computed(() => inOnePiece(kind, value, parts))
    return held({ ...one, value: flat }, undefined)
  }

  /**
   * Applies a step to what its keys hold. In the result, `next` can be given to another step, or to `store`.
   */
  *applied(step: Step, before: readonly (Known | null)[], now: number): Sliced<Stepped | MoreKeys> {
    const stepped = yield* this.stepped(step, before, now)
    if (stepped instanceof MoreKeys || !stepped.next) return stepped
    const next: (Held | null | undefined)[] = []
    for (const [i, one] of stepped.next.entries()) {
      const made = one ? yield* this.after(step.keys[i]!, before[i]!, one) : one
      if (made && 'reply' in made) return made
      next.push(made)
    }
    return { ...stepped, next }
  }

  private *stepped(step: Step, before: readonly (Known | null)[], now: number): Sliced<Stepped | MoreKeys> {
    if (step.needs !== 'value') return applyTo(step, before, now)
    if (step.script) {
      const whole: (Held | null)[] = []
      for (const one of wholesOf(before)) whole.push(yield* this.whole(one))
      return yield* runScript(step, whole, now)
    }
    if (step.slow) this.holdTables(before)
    return yield* this.computed<Stepped>(() => {
      return step.slow ? step.slow.slices(wholesOf(before), now) : step.apply(wholesOf(before), now)
    })
  }

  /** Stores the parts of what a transaction has made of a key. @returns the root to store, which names them */
  *store(next: Held): Sliced<Held> {
    const parts = next.parts as ReadParts | undefined
    if (!parts || parts.fresh.size === 0) return next
    const stamp = this.draw(STAMPS)
    const root = restamped(parts.kind, parts.root, parts.fresh, stamp)
    const named = someNamedIn(parts.kind, root, parts.fresh)
    const writes: NewPart[] = []
    for (const id of parts.fresh) {
      const part = named.get(id)
      if (!part) continue
      const [value] = parts.get([id])
      const key = partKey(parts.key, generationOf(root), part)
      writes.push({ key, value: restampedPart(value!, stamp) })
    }
    const bytes = this.noted(writes)
    if (this.level === 'one' && writes.length <= MOST_TOGETHER && bytes <= MOST_BYTES_TOGETHER) {
      this.together.push(...writes)
    } else yield* waitFor(this.write(writes))
    return { ...next, value: root }
  }

  /** Small changes at `one`: their parts are sent with their roots, which are stored only where these are. */
  takeTogether(): readonly NewPart[] {
    return this.together.splice(0)
  }

  /** @returns their bytes */
  private noted(writes: readonly NewPart[]): number {
    this.attempts++
    for (const { value } of writes) {
      const refused = this.caller.store.checkValue(value.length)
      if (refused) throw refused
    }
    const bytes = writes.reduce((sum, { value }) => sum + value.length, 0)
    this.hold(bytes)
    this.stored.push(...writes.map(({ key, value }) => ({ key, bytes: value.length })))
    return bytes
  }

  private async write(writes: readonly NewPart[]): Promise<void> {
    const { caller, options } = this
    try {
      await allInSlices(caller, writes.length, (i) =>
        writeValue(caller.store, writes[i]!.key, writes[i]!.value, 0, options),
      )
    } catch (error) {
      if (!(error instanceof RondoError)) throw error
      // No root names them: whatever became of them, the collection is unchanged.
      throw new RondoError(error.code === 'OUTCOME_UNKNOWN' ? 'UNAVAILABLE' : error.code, error.message, {
        outcome: 'not-applied',
      })
    }
  }

  /** Of the parts that were stored for this collection, those of earlier attempts, which the stored root does not name. */
  orphansOf(root: Buffer, after: StoredRecord | null): LeftPart[] {
    if (this.attempts < 2) return []
    const named = namedKeysIn(root, after)
    return this.stored.filter(
      ({ key }) => rootOf(key).equals(root) && named?.has(key.toString('latin1')) === false,
    )
  }

  private draw(values: number): number {
    return this.caller.store.collections.draw(values)
  }
}

function held(next: Held, parts: ReadParts | undefined): Held {
  const { value, expiresAtMs, kind, tags } = next
  return {
    value,
    expiresAtMs,
    ...(kind !== undefined && { kind }),
    ...(tags && { tags }),
    ...(parts && { parts }),
  }
}

function isSliced<T>(result: T | Sliced<T>): result is Sliced<T> {
  return typeof result === 'object' && result !== null && Symbol.iterator in result && 'next' in result
}

export function isLarge(record: StoredRecord | null): boolean {
  return record !== null && isRoot(record.kind, record.value)
}

/** The parts that one record named and its successor does not: nobody will read them any more. */
export function leaveParts(
  store: Pick<KeyStore, 'collections'>,
  key: Buffer,
  before: StoredRecord | null,
  after: StoredRecord | null,
  parts: PartsOf | null = null,
): void {
  if (before === after) return
  const left = before && isLarge(before) ? leftBetween(key, before, after) : []
  left.push(...(parts?.orphansOf(key, after) ?? []))
  if (left.length > 0) store.collections.leave(key, left)
}

function leftBetween(key: Buffer, before: StoredRecord, after: StoredRecord | null): LeftPart[] {
  try {
    const generation = generationOf(before.value)
    return partsLeftBy(before, after).map((part) => ({
      key: partKey(key, generation, part),
      bytes: part.bytes,
    }))
  } catch (error) {
    if (error instanceof DamagedRoot) return []
    throw error
  }
}
