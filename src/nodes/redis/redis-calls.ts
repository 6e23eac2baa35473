/**
 * Calls of the data path to a Redis: how each is encoded, and how its reply is handled.
 */
import { EXPIRY_AT, FLAGS_AT, HEAD_BYTES, holdsValue, REPLACED_AT, type NewRecord } from '../../core/codec.ts'
import { compareVersions, VERSION_BYTES, VERSION_ZERO, type Version } from '../../core/clock.ts'
import { aboveFloor, type Floors } from '../../core/floors.ts'
import { FAR_END_MS } from '../../core/lifetime.ts'
import type { Part } from '../../core/part.ts'
import { isPartKey } from '../../core/part-keys.ts'
import { hintsKey, MARKER_KEY } from '../../core/keys.ts'
import type { Epochs } from '../../core/replica-set.ts'
import {
  isDigit,
  isHeld,
  isOtherEpoch,
  isTooLate,
  lifeOf,
  prepareOutcome,
  storeAllOutcome,
  storeOutcomes,
  type PrepareOutcome,
} from './data-replies.ts'
import { errorReason } from './error-replies.ts'
import { hintsFull, OTHER_EPOCH, TOO_LATE, WRONG_TYPE } from '../failures.ts'
import {
  LinkCall,
  REPLY_ARRAY,
  REPLY_BULK,
  REPLY_ERROR,
  REPLY_INTEGER,
  REPLY_NIL,
  REPLY_SIMPLE,
  REPLY_TOO_LONG,
  type Link,
} from './link.ts'
import { SMALL_BYTES } from '../load.ts'
import type { ReadDump } from './options.ts'
import type { Ask } from '../near/near-cache.ts'
import type {
  Fence,
  GetCall,
  HintCall,
  Node,
  NodeFailure,
  PeekCall,
  PrepareCall,
  StoreAllCall,
  StoreAllMode,
  StoreAllWrite,
  StoreCall,
  StoreCondition,
} from '../node.ts'
import type { Resends } from './resends.ts'
import { ACCEPT, headsOf, HINT, PREPARE, STORE, STORE_ALL, type ScriptHeads } from './scripts.ts'

/** By number of keys. */
const STORE_HEADS: ScriptHeads[] = []
const MAX_STORES_PER_CALL = 32
const MAX_STORE_BYTES_PER_CALL = 16 * 1024
/** By number of keys. */
const PREPARE_HEADS: ScriptHeads[] = []
const MAX_PREPARES_PER_CALL = 64
/** By number of keys, for as many as are usual. */
const STORE_ALL_HEADS: ScriptHeads[] = []
const USUAL_KEYS = 64
const ACCEPT_HEADS = headsOf(ACCEPT, 5, 2)
/** Stores on condition of an epoch are sent alone. */
const EPOCH_STORE_HEADS = headsOf(STORE, 7, 2)
const HINT_HEADS = headsOf(HINT, 3)
const SET_HEAD = Buffer.from('*6\r\n$3\r\nSET\r\n')
const IF_ABSENT = Buffer.from('$2\r\nNX\r\n$2\r\nPX\r\n')
export const GET_HEAD = Buffer.from('*2\r\n$3\r\nGET\r\n')
const NO_BYTES = Buffer.alloc(0)
const HELD = Buffer.from('held')
const PROMISED = Buffer.from('promised')

/** The node whose calls these are. */
export interface CallHost extends Node {
  /** GRACE_SECONDS in milliseconds, encoded for the scripts. */
  readonly grace: Buffer
  /** Of the node's epoch; null = none. */
  readonly floors: Floors | null
  /** Encoded for the script. */
  readonly maxHints: Buffer
  readonly resends: Resends
  /** @param repetitions how often it was repeated before (resends.ts) */
  get(key: Buffer, call: GetCall, expectedBytes?: number, repetitions?: number): void
  /** The same. */
  peek(key: Buffer, part: Part, call: PeekCall, expectedBytes?: number, repetitions?: number): void
  /** Like Node.peek with a part of the value: head and part are read atomically. */
  peekByScript(key: Buffer, part: Part, call: PeekCall, expectedBytes?: number, repetitions?: number): void
  /** NOSCRIPT: the call was certainly not applied, so in this case it is sent again. */
  sendWithText(pending: Resendable): void
  /** The key of a new part held something: the call was certainly not applied, and is sent again as a comparing one. */
  storeByScript(entry: StoreEntry): void
  /** What an error reply (or a reply of the wrong type) means for the call and the node. */
  judge(replyType: number, reply: Buffer | null): NodeFailure
  /** Null: collections of other programs are not read (foreign.ts). */
  readonly readDump: ReadDump | null
  readonly maxValueBytes: number
  send(pending: PendingScript, call: DataCall): void
  /** Reads a key of another type than string, or what type it is. */
  lookAtForeign(key: Buffer, part: 'head' | 'whole', fence: Fence, done: ForeignDone): void
  /** Makes it a record at version zero. */
  adoptForeign(key: Buffer, done: ForeignDone): void
}

export interface ForeignDone extends DataCall {
  /** @param record at version zero; null = nothing is there, or what is below the floor of its key */
  onFound(record: Buffer | null, fence: Fence): void
  /** There is a string by now, perhaps a record. */
  onString(): void
}

/** How often a key is looked at again that is of another type each time. */
const MOST_LOOKS = 8

export function isOfOtherType({ replyType, reply }: LinkCall): boolean {
  return replyType === REPLY_ERROR && errorReason(reply!.toString('latin1')) === 'wrong-type'
}

/** The completion object of a call. */
export type DataCall = Pick<GetCall, 'onFailure'>

interface ForeignRead {
  readonly key: Buffer
  readonly part: 'head' | 'whole'
  /** How often the read was repeated before. */
  readonly repetitions: number
  /** Reads as before: it is a string by now, or something that was sent before may have been sent again. */
  readonly again: () => void
}

/** Goes on with a read that has met another type than string. */
export function readForeign(
  node: CallHost,
  { key, part, repetitions, again }: ForeignRead,
  fence: Fence,
  done: Pick<ForeignDone, 'onFound' | 'onFailure'>,
): void {
  const since = node.resends.count
  const repeats = () => {
    if (repetitions < MOST_LOOKS) again()
    else done.onFailure(node, WRONG_TYPE)
  }
  node.lookAtForeign(key, part, fence, {
    onFound: (record, found) => {
      if (node.resends.mustRepeat(key, since, repetitions)) repeats()
      else done.onFound(record, found)
    },
    onString: repeats,
    onFailure: (_, failure) => done.onFailure(node, failure),
  })
}

export class PendingGet extends LinkCall {
  private readonly node: CallHost
  private readonly key: Buffer
  private readonly call: GetCall
  /** As in resends.ts. */
  private readonly since: number
  private readonly repetitions: number
  /** Null: its reply is not kept. */
  private readonly ask: Ask | null

  constructor(
    node: CallHost,
    key: Buffer,
    call: GetCall,
    expectedBytes: number,
    ask: Ask | null,
    repetitions: number,
  ) {
    super(expectedBytes)
    this.node = node
    this.key = key
    this.call = call
    this.since = node.resends.count
    this.repetitions = repetitions
    this.ask = ask
  }

  override answered(fence: Fence): void {
    const { node, key, since, repetitions } = this
    const bytes = this.replyType === REPLY_BULK ? aboveFloor(fence.floors, key, this.reply) : null
    this.ask?.answered(node.resends.areOvertaken(key, since) ? null : bytes, fence)
    if (node.resends.mustRepeat(key, since, repetitions)) {
      node.get(key, this.call, this.valueBytes, repetitions + 1)
    } else if (this.replyType === REPLY_BULK) this.call.onRecord(this.node, bytes, fence)
    else if (this.replyType === REPLY_NIL) this.call.onRecord(this.node, null, fence)
    else if (this.replyType === REPLY_TOO_LONG) this.call.onFailure(this.node, TOO_LONG)
    else if (isOfOtherType(this)) this.lookAtForeign(fence)
    else this.call.onFailure(this.node, this.node.judge(this.replyType, this.reply))
  }

  private lookAtForeign(fence: Fence): void {
    const { node, key, call, repetitions, valueBytes } = this
    const again = () => node.get(key, call, valueBytes, repetitions + 1)
    readForeign(node, { key, part: 'whole', repetitions, again }, fence, {
      onFound: (record, found) => call.onRecord(node, record, found),
      onFailure: (_, failure) => call.onFailure(node, failure),
    })
  }

  override lost(failure: NodeFailure): void {
    this.ask?.lost()
    this.call.onFailure(this.node, failure)
  }
}

/** A script call that can be resent with the script's text. */
export interface Resendable extends LinkCall {
  readonly heads: ScriptHeads
  /** Keys and arguments. */
  encode(link: Link): void
}

function isNoScript({ replyType, reply }: LinkCall): boolean {
  return replyType === REPLY_ERROR && reply!.toString('latin1', 0, 8) === 'NOSCRIPT'
}

/** A script call. After NOSCRIPT it is resent with the script's text. */
export abstract class PendingScript extends LinkCall implements Resendable {
  protected readonly node: CallHost
  /** The first of its keys. */
  protected readonly key: Buffer
  abstract readonly heads: ScriptHeads
  protected abstract readonly call: DataCall

  constructor(node: CallHost, key: Buffer, valueBytes: number) {
    super(valueBytes)
    this.node = node
    this.key = key
  }

  abstract encode(link: Link): void
  /** The script refused it because of the node's epoch. */
  protected isOtherEpoch(): boolean {
    return this.replyType === REPLY_BULK && isOtherEpoch(this.reply!)
  }
  /** False, before any caller is answered, if the reply is invalid. */
  protected abstract replied(fence: Fence): boolean

  override answered(fence: Fence): void {
    if (this.replyType !== REPLY_ERROR && this.replied(fence)) return
    if (isNoScript(this)) this.node.sendWithText(this)
    else this.lost(this.node.judge(this.replyType, this.reply))
  }

  override lost(failure: NodeFailure): void {
    this.call.onFailure(this.node, failure)
  }
}

export interface StoreEntry {
  readonly key: Buffer
  readonly record: NewRecord
  readonly lifeMs: number
  readonly call: StoreCall
}

/**
 * Stores of one turn that share a script call: a call costs more than the work for one record. Each has its own outcome.
 */
export class PendingStores extends LinkCall implements Resendable {
  private readonly node: CallHost
  private readonly condition: StoreCondition | undefined
  private readonly entries: StoreEntry[] = []

  constructor(node: CallHost, condition?: StoreCondition) {
    super(0)
    this.node = node
    this.condition = condition
  }

  add(entry: StoreEntry): void {
    this.entries.push(entry)
    this.valueBytes += entry.record.value.length
  }

  /** Whether another one with this time limit may be added. */
  isUntil(untilMs: number | undefined): boolean {
    return this.condition?.untilMs === untilMs
  }

  get isFull(): boolean {
    return this.entries.length === MAX_STORES_PER_CALL || this.valueBytes >= MAX_STORE_BYTES_PER_CALL
  }

  get heads(): ScriptHeads {
    if (this.condition?.epochs) return EPOCH_STORE_HEADS
    const keys = this.entries.length
    return (STORE_HEADS[keys] ??= headsOf(STORE, 4 + 3 * keys, keys))
  }

  encode(link: Link): void {
    for (const { key } of this.entries) link.bulk(key)
    const { onlyIf, untilMs, epochs } = this.condition ?? {}
    if (epochs) link.bulk(MARKER_KEY)
    link.bulk(this.node.grace)
    link.bulk(onlyIf ? condition(onlyIf, this.node.floors, this.entries[0]!.key) : NO_BYTES)
    link.bulk(untilMs === undefined ? NO_BYTES : Buffer.from(String(untilMs)))
    link.bulk(encoded(epochs))
    for (const { record, lifeMs } of this.entries) {
      const { head, value } = record
      link.bulkOfTwo(head, 0, REPLACED_AT, NO_BYTES)
      link.bulkOfTwo(head, EXPIRY_AT, HEAD_BYTES, value)
      link.bulk(decimal(lifeMs))
    }
  }

  override answered(fence: Fence): void {
    const { replyType, reply } = this
    if (replyType === REPLY_INTEGER && isDigit(reply!, 1)) {
      for (const { call, lifeMs } of this.entries) call.onApplied(this.node, fence, lifeMs)
    } else if (replyType === REPLY_BULK) this.eachOf(reply!, fence)
    else if (isNoScript(this)) this.node.sendWithText(this)
    else this.lost(this.node.judge(replyType, reply))
  }

  override lost(failure: NodeFailure): void {
    for (const { call } of this.entries) call.onFailure(this.node, failure)
  }

  private eachOf(bytes: Buffer, fence: Fence): void {
    if (this.condition?.untilMs !== undefined && isTooLate(bytes)) {
      this.lost(TOO_LATE)
      return
    }
    if (this.condition?.epochs && isOtherEpoch(bytes)) {
      this.lost(OTHER_EPOCH)
      return
    }
    const outcomes = storeOutcomes(bytes, this.entries)
    if (!outcomes) {
      this.lost(this.node.judge(this.replyType, bytes))
      return
    }
    for (const [i, { call, lifeMs }] of this.entries.entries()) {
      const outcome = outcomes[i]!
      if (outcome.kind === 'applied') call.onApplied(this.node, fence, outcome.keptMs ?? lifeMs)
      else if (outcome.kind === 'stale') call.onStale(this.node, outcome.held, fence)
      else call.onFailure(this.node, WRONG_TYPE)
    }
  }
}

/**
 * The store of a part of a large collection (core/part-keys.ts), by a plain SET. A script would move its bytes through Lua,
 * where they cost the node ten times as much. Under its name there is nothing to compare it with: nothing else is ever
 * stored there. If there is something, the same part as a rule, the script has the last word.
 */
export class PendingNewPart extends LinkCall {
  private readonly node: CallHost
  private readonly entry: StoreEntry

  constructor(node: CallHost, entry: StoreEntry) {
    super(entry.record.value.length)
    this.node = node
    this.entry = entry
  }

  /** Whether the script would store nothing else than a plain SET: a value that is not kept for the sake of another one. */
  static fits(key: Buffer, { head }: NewRecord, lifeMs: number): boolean {
    return isPartKey(key) && holdsValue(head[FLAGS_AT]!) && lifeMs === FAR_END_MS
  }

  encode(link: Link): void {
    const { key, record, lifeMs } = this.entry
    link.raw(SET_HEAD)
    link.bulk(key)
    link.bulkOfTwo(record.head, 0, HEAD_BYTES, record.value)
    link.raw(IF_ABSENT)
    link.bulk(decimal(lifeMs))
  }

  override answered(fence: Fence): void {
    const { replyType, reply, entry } = this
    if (replyType === REPLY_SIMPLE && reply!.toString('latin1') === 'OK') {
      entry.call.onApplied(this.node, fence, entry.lifeMs)
    } else if (replyType === REPLY_NIL) this.node.storeByScript(entry)
    else this.lost(this.node.judge(replyType, reply))
  }

  override lost(failure: NodeFailure): void {
    this.entry.call.onFailure(this.node, failure)
  }
}

/** The second round of a two-round write. */
export class PendingAccept extends PendingScript {
  readonly heads = ACCEPT_HEADS
  protected readonly call: StoreCall
  private readonly record: NewRecord
  private readonly lifeMs: number
  private readonly epochs: Epochs | undefined

  constructor(
    node: CallHost,
    key: Buffer,
    record: NewRecord,
    lifeMs: number,
    call: StoreCall,
    epochs: Epochs | undefined,
  ) {
    super(node, key, record.value.length)
    this.record = record
    this.lifeMs = lifeMs
    this.call = call
    this.epochs = epochs
  }

  override encode(link: Link): void {
    const { head, value } = this.record
    link.bulk(this.key)
    link.bulk(MARKER_KEY)
    link.bulk(head.subarray(0, REPLACED_AT))
    link.bulkOfTwo(head, EXPIRY_AT, HEAD_BYTES, value)
    link.bulk(decimal(this.lifeMs))
    link.bulk(this.node.grace)
    link.bulk(encoded(this.epochs))
  }

  protected override replied(fence: Fence): boolean {
    const reply = this.reply!
    if (this.replyType === REPLY_INTEGER) {
      const keptMs = isDigit(reply, 1) ? this.lifeMs : lifeOf(reply)
      if (keptMs === null || keptMs < this.lifeMs) return false
      this.call.onApplied(this.node, fence, keptMs)
    } else if (this.replyType === REPLY_BULK && isHeld(reply)) this.call.onStale(this.node, reply, fence)
    else if (this.isOtherEpoch()) this.lost(OTHER_EPOCH)
    else return false
    return true
  }
}

export class PendingStoreAll extends PendingScript {
  readonly heads: ScriptHeads
  protected readonly call: StoreAllCall
  private readonly writes: readonly StoreAllWrite[]
  private readonly mode: StoreAllMode
  private readonly epochs: Epochs | undefined

  constructor(
    node: CallHost,
    writes: readonly StoreAllWrite[],
    mode: StoreAllMode,
    call: StoreAllCall,
    epochs: Epochs | undefined,
  ) {
    const valueBytes = writes.reduce((sum, { record }) => sum + (record?.value.length ?? 0), 0)
    super(node, writes[0]!.key, valueBytes)
    this.heads = storeAllHeads(writes.length)
    this.writes = writes
    this.mode = mode
    this.call = call
    this.epochs = epochs
  }

  override encode(link: Link): void {
    for (const { key } of this.writes) link.bulk(key)
    link.bulk(MARKER_KEY)
    link.bulk(this.node.grace)
    link.bulk(this.mode === 'if-held' ? HELD : PROMISED)
    link.bulk(encoded(this.epochs))
    for (const { key, record, lifeMs, onlyIf } of this.writes) {
      link.bulk(record ? record.head.subarray(0, REPLACED_AT) : NO_BYTES)
      if (record) link.bulkOfTwo(record.head, EXPIRY_AT, HEAD_BYTES, record.value)
      else link.bulk(NO_BYTES)
      link.bulk(decimal(lifeMs))
      link.bulk(condition(onlyIf, this.node.floors, key))
    }
  }

  protected override replied(fence: Fence): boolean {
    if (this.isOtherEpoch()) {
      this.lost(OTHER_EPOCH)
      return true
    }
    const outcome = this.replyType === REPLY_BULK ? storeAllOutcome(this.reply!, this.writes) : null
    if (!outcome) return false
    if (outcome.ok) this.call.onApplied(this.node, fence, outcome.keptMs)
    else this.call.onStale(this.node, outcome.held, fence)
    return true
  }
}

export class PendingHint extends PendingScript {
  readonly heads = HINT_HEADS
  protected readonly call: HintCall
  private readonly target: string
  private readonly field: Buffer
  private readonly version: Buffer

  constructor(node: CallHost, target: string, key: Buffer, version: Buffer, call: HintCall) {
    super(node, hintsKey(target), 0)
    this.target = target
    this.field = key
    this.version = version
    this.call = call
  }

  override encode(link: Link): void {
    link.bulk(this.key)
    link.bulk(this.field)
    link.bulk(this.version)
    link.bulk(this.node.maxHints)
  }

  protected override replied(fence: Fence): boolean {
    if (this.replyType !== REPLY_INTEGER) return false
    if (isDigit(this.reply!, 1)) this.call.onApplied(this.node, fence)
    else if (isDigit(this.reply!, 0)) this.call.onFailure(this.node, hintsFull(this.target))
    else return false
    return true
  }
}

function storeAllHeads(keys: number): ScriptHeads {
  const heads = STORE_ALL_HEADS[keys] ?? headsOf(STORE_ALL, 3 + 4 * keys, keys + 1)
  if (keys <= USUAL_KEYS) STORE_ALL_HEADS[keys] = heads
  return heads
}

/** Of a promise: the record that it returns exceeds the limit. */
const IS_TOO_LONG = { kind: 'too-long' } as const

interface PrepareEntry {
  readonly key: Buffer
  readonly ballot: Buffer
  readonly call: PrepareCall
  readonly expectedBytes: number
  /** How often it has met a collection of another program. */
  readonly adoptions?: number
}

/**
 * First rounds of one turn that share a script call: the keys of a transaction, or updates of several keys. Each has its
 * own outcome, which comes as a reply of its own, in an array if there are several:
 *
 *     *3   $+<record>   $0   $-<version>
 *
 * What is expected to be large is sent alone.
 */
export class PendingPrepares extends LinkCall implements Resendable {
  private readonly node: CallHost
  private readonly entries: PrepareEntry[]
  private readonly outcomes: (PrepareOutcome | typeof IS_TOO_LONG)[] = []
  /** Outcomes that have not arrived; -1 = their number has not either. */
  private missing = -1
  private isValid = true

  constructor(node: CallHost, entries: PrepareEntry[] = []) {
    super(0)
    this.node = node
    this.entries = entries
    for (const { expectedBytes } of entries) this.counts(expectedBytes)
  }

  add(entry: PrepareEntry): void {
    this.entries.push(entry)
    this.counts(entry.expectedBytes)
  }

  private counts(expectedBytes: number): void {
    this.valueBytes += expectedBytes
    this.isOfSmall = expectedBytes <= SMALL_BYTES
  }

  get isFull(): boolean {
    return this.entries.length === MAX_PREPARES_PER_CALL || !this.isOfSmall
  }

  get heads(): ScriptHeads {
    const keys = this.entries.length
    return (PREPARE_HEADS[keys] ??= headsOf(PREPARE, 1 + keys, keys))
  }

  encode(link: Link): void {
    for (const { key } of this.entries) link.bulk(key)
    link.bulk(this.node.grace)
    for (const { ballot } of this.entries) link.bulk(ballot)
  }

  override takesArray(): boolean {
    return this.missing < 0 && this.entries.length > 1
  }

  override take(type: number, reply: Buffer | null): boolean {
    if (this.entries.length === 1) {
      this.takeOne(type, reply)
      return super.take(type, reply)
    }
    if (this.missing < 0) {
      if (type !== REPLY_ARRAY) return super.take(type, reply)
      this.missing = lifeOf(reply!) ?? 0
      if (this.missing === this.entries.length) return false
      // At once: what follows would be taken for the replies to other calls.
      this.node.judge(type, reply)
      return true
    }
    // The first one that is not valid decides. An error among them is none of Redis's.
    if (this.isValid && !this.takeOne(type, reply)) {
      this.isValid = false
      super.take(type === REPLY_ERROR ? REPLY_ARRAY : type, reply)
    }
    return --this.missing === 0
  }

  private takeOne(type: number, reply: Buffer | null): boolean {
    const outcome =
      type === REPLY_BULK ? prepareOutcome(reply!) : type === REPLY_TOO_LONG ? IS_TOO_LONG : null
    if (!outcome) return false
    this.outcomes.push(outcome)
    return true
  }

  override answered(fence: Fence): void {
    if (this.outcomes.length === this.entries.length) this.deliver(fence)
    else if (isNoScript(this)) this.node.sendWithText(this)
    else this.lost(this.node.judge(this.replyType, this.reply))
  }

  override lost(failure: NodeFailure): void {
    for (const { call } of this.entries) call.onFailure(this.node, failure)
  }

  private deliver(fence: Fence): void {
    const again: PrepareEntry[] = []
    for (let i = 0; i < this.entries.length; i++) {
      const entry = this.entries[i]!
      const { key, call } = entry
      const outcome = this.outcomes[i]!
      if (outcome.kind === 'promised') {
        call.onPromised(this.node, aboveFloor(fence.floors, key, outcome.record), fence)
      } else if (outcome.kind === 'refused') call.onRefused(this.node, outcome.newest, fence)
      else if (outcome.kind === 'other-type') this.adopt(entry)
      else if (outcome.kind === 'too-long') call.onFailure(this.node, PROMISED_TOO_LONG)
      else again.push(entry)
    }
    // Certainly not applied, as after NOSCRIPT.
    if (again.length > 0) this.node.sendWithText(new PendingPrepares(this.node, again))
  }

  /** A promise needs a record to stand in. */
  private adopt(entry: PrepareEntry): void {
    const { node } = this
    const { key, call, adoptions = 0 } = entry
    const again = () => {
      const next = { ...entry, adoptions: adoptions + 1 }
      node.sendWithText(new PendingPrepares(node, [next]))
    }
    if (adoptions === MOST_LOOKS) call.onFailure(node, WRONG_TYPE)
    else {
      const onFailure = (_: Node, failure: NodeFailure) => call.onFailure(node, failure)
      node.adoptForeign(key, { onFound: again, onString: again, onFailure })
    }
  }
}

export const TOO_LONG: NodeFailure = {
  kind: 'refused',
  reason: 'too-long',
  message: 'the stored value is larger than MAX_VALUE_BYTES allows',
}

/** It may have been promised. */
const PROMISED_TOO_LONG: NodeFailure = { ...TOO_LONG, kind: 'unknown' }

/** Nothing, or what is below the key's floor: its version with one byte more, as the scripts take it. */
function condition(onlyIf: Version, floors: Floors | null, key: Buffer): Buffer {
  const floor = floors?.of(key) ?? VERSION_ZERO
  const isNothing = compareVersions(onlyIf, VERSION_ZERO) === 0
  if (!isNothing || floor === VERSION_ZERO) return Buffer.from(onlyIf)
  return Buffer.concat([floor], VERSION_BYTES + 1)
}

export function encoded(epochs: Epochs | undefined): Buffer {
  return epochs ? Buffer.from(`${epochs.since} ${epochs.epoch}`) : NO_BYTES
}

const DECIMALS = new Map<number, Buffer>()

/** Cache of encoded TTLs: they repeat. */
export function decimal(n: number): Buffer {
  let bytes = DECIMALS.get(n)
  if (!bytes) {
    bytes = Buffer.from(String(n))
    if (DECIMALS.size < 1024) DECIMALS.set(n, bytes)
  }
  return bytes
}
