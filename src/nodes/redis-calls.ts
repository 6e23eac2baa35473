/**
 * Calls of the data path on their way to a Redis and back: how each is encoded, and what becomes of its reply.
 */
import { VERSION_BYTES } from '../core/clock.ts'
import { EXPIRY_AT, HEAD_BYTES, REPLACED_AT, REPLACED_BYTES, type NewRecord } from '../core/codec.ts'
import { hintsKey } from '../core/keys.ts'
import { hintsFull, TOO_LATE, WRONG_TYPE } from './failures.ts'
import {
  LinkCall,
  REPLY_BULK,
  REPLY_ERROR,
  REPLY_INTEGER,
  REPLY_NIL,
  REPLY_TOO_LONG,
  type Link,
} from './link.ts'
import type {
  Fence,
  GetCall,
  HintCall,
  NodeFailure,
  PrepareCall,
  StoreAllCall,
  StoreAllMode,
  StoreAllWrite,
  StoreCall,
  StoreCondition,
} from './node.ts'
import type { RedisNode } from './redis.ts'
import { ACCEPT, headsOf, HINT, PREPARE, STORE, STORE_ALL, type ScriptHeads } from './scripts.ts'

/** By how many keys. */
const STORE_HEADS: ScriptHeads[] = []
const MAX_STORES_PER_CALL = 32
const MAX_STORE_BYTES_PER_CALL = 16 * 1024
const PREPARE_HEADS = headsOf(PREPARE, 2)
const ACCEPT_HEADS = headsOf(ACCEPT, 4)
const HINT_HEADS = headsOf(HINT, 3)
export const GET_HEAD = Buffer.from('*2\r\n$3\r\nGET\r\n')
const NO_BYTES = Buffer.alloc(0)
const HELD = Buffer.from('held')
const PROMISED = Buffer.from('promised')
export const PLUS = 0x2b
export const ZERO = 0x30
const APPLIED_MARK = 0x41 // A
const LONGER_MARK = 0x4c // L
const STALE_MARK = 0x53 // S
const PROMISED_MARK = 0x50 // P
const TOO_LATE_MARK = 0x54 // T
const ONE = 0x31

/** Whoever waits for a call. */
export type DataCall = Pick<GetCall, 'onFailure'>

export class PendingGet extends LinkCall {
  private readonly node: RedisNode
  private readonly call: GetCall

  constructor(node: RedisNode, call: GetCall, expectedBytes: number) {
    super(expectedBytes)
    this.node = node
    this.call = call
  }

  override answered(fence: Fence): void {
    if (this.replyType === REPLY_BULK) this.call.onRecord(this.node, this.reply, fence)
    else if (this.replyType === REPLY_NIL) this.call.onRecord(this.node, null, fence)
    else if (this.replyType === REPLY_TOO_LONG) this.call.onFailure(this.node, TOO_LONG)
    else this.call.onFailure(this.node, this.node.judge(this.replyType, this.reply))
  }

  override lost(failure: NodeFailure): void {
    this.call.onFailure(this.node, failure)
  }
}

/** A call of a script that can be made once more, with the script's text. */
export interface Resendable extends LinkCall {
  readonly heads: ScriptHeads
  /** Keys and arguments. */
  encode(link: Link): void
}

function isNoScript({ replyType, reply }: LinkCall): boolean {
  return replyType === REPLY_ERROR && reply!.toString('latin1', 0, 8) === 'NOSCRIPT'
}

/** A script. A node that has forgotten it gets the call once more, with its text. */
export abstract class PendingScript extends LinkCall implements Resendable {
  protected readonly node: RedisNode
  /** The first of its keys. */
  protected readonly key: Buffer
  abstract readonly heads: ScriptHeads
  protected abstract readonly call: DataCall

  constructor(node: RedisNode, key: Buffer, valueBytes: number) {
    super(valueBytes)
    this.node = node
    this.key = key
  }

  abstract encode(link: Link): void
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

interface StoreEntry {
  readonly key: Buffer
  readonly record: NewRecord
  readonly lifeMs: number
  readonly call: StoreCall
}

/**
 * Stores of one turn that go to the script together: one call of it costs more than what it does for one record. Each
 * has its own outcome.
 */
export class PendingStores extends LinkCall implements Resendable {
  private readonly node: RedisNode
  private readonly condition: StoreCondition | undefined
  private readonly entries: StoreEntry[] = []

  constructor(node: RedisNode, condition?: StoreCondition) {
    super(0)
    this.node = node
    this.condition = condition
  }

  add(entry: StoreEntry): void {
    this.entries.push(entry)
    this.valueBytes += entry.record.value.length
  }

  get isFull(): boolean {
    return this.entries.length === MAX_STORES_PER_CALL || this.valueBytes >= MAX_STORE_BYTES_PER_CALL
  }

  get heads(): ScriptHeads {
    const keys = this.entries.length
    return (STORE_HEADS[keys] ??= headsOf(STORE, 3 + 3 * keys, keys))
  }

  encode(link: Link): void {
    for (const { key } of this.entries) link.bulk(key)
    link.bulk(this.node.grace)
    const { onlyIf, untilMs } = this.condition ?? {}
    link.bulk(onlyIf ? Buffer.from(onlyIf) : NO_BYTES)
    link.bulk(untilMs === undefined ? NO_BYTES : Buffer.from(String(untilMs)))
    for (const { record, lifeMs } of this.entries) {
      const { head, value } = record
      link.bulkOfTwo(head, 0, REPLACED_AT, NO_BYTES)
      link.bulkOfTwo(head, EXPIRY_AT, HEAD_BYTES, value)
      link.bulk(decimal(lifeMs))
    }
  }

  override answered(fence: Fence): void {
    if (this.replyType === REPLY_INTEGER) {
      for (const { call, lifeMs } of this.entries) call.onApplied(this.node, fence, lifeMs)
    } else if (this.replyType === REPLY_BULK) this.eachOf(this.reply!, fence)
    else if (isNoScript(this)) this.node.sendWithText(this)
    else this.lost(this.node.judge(this.replyType, this.reply))
  }

  override lost(failure: NodeFailure): void {
    for (const { call } of this.entries) call.onFailure(this.node, failure)
  }

  /** An outcome for each entry (store.lua tells how they are written). */
  private eachOf(outcomes: Buffer, fence: Fence): void {
    if (outcomes[0] === TOO_LATE_MARK) {
      this.lost(TOO_LATE)
      return
    }
    let at = 0
    for (const { call, lifeMs } of this.entries) {
      switch (outcomes[at++]) {
        case APPLIED_MARK:
          call.onApplied(this.node, fence, lifeMs)
          break
        case LONGER_MARK:
          call.onApplied(this.node, fence, outcomes.readUIntBE(at, 6))
          at += 6
          break
        case STALE_MARK:
          call.onStale(this.node, outcomes.subarray(at, (at += VERSION_BYTES + REPLACED_BYTES)), fence)
          break
        case PROMISED_MARK:
          call.onStale(this.node, outcomes.subarray(at, (at += VERSION_BYTES)), fence)
          break
        default:
          call.onFailure(this.node, WRONG_TYPE)
      }
    }
  }
}

/** The second round of a two-round write. */
export class PendingAccept extends PendingScript {
  readonly heads = ACCEPT_HEADS
  protected readonly call: StoreCall
  private readonly record: NewRecord
  private readonly lifeMs: number

  constructor(node: RedisNode, key: Buffer, record: NewRecord, lifeMs: number, call: StoreCall) {
    super(node, key, record.value.length)
    this.record = record
    this.lifeMs = lifeMs
    this.call = call
  }

  override encode(link: Link): void {
    const { head, value } = this.record
    link.bulk(this.key)
    link.bulk(head.subarray(0, REPLACED_AT))
    link.bulkOfTwo(head, EXPIRY_AT, HEAD_BYTES, value)
    link.bulk(decimal(this.lifeMs))
    link.bulk(this.node.grace)
  }

  protected override replied(fence: Fence): boolean {
    const reply = this.reply!
    if (this.replyType === REPLY_INTEGER) {
      const asAsked = reply[0] === ONE && reply.length === 1
      this.call.onApplied(this.node, fence, asAsked ? this.lifeMs : Number(reply.toString('latin1')))
    } else if (this.replyType === REPLY_BULK) this.call.onStale(this.node, reply, fence)
    else return false
    return true
  }
}

export class PendingStoreAll extends PendingScript {
  readonly heads: ScriptHeads
  protected readonly call: StoreAllCall
  private readonly writes: readonly StoreAllWrite[]
  private readonly mode: StoreAllMode

  constructor(node: RedisNode, writes: readonly StoreAllWrite[], mode: StoreAllMode, call: StoreAllCall) {
    const valueBytes = writes.reduce((sum, { record }) => sum + (record?.value.length ?? 0), 0)
    super(node, writes[0]!.key, valueBytes)
    this.heads = headsOf(STORE_ALL, 2 + 4 * writes.length, writes.length)
    this.writes = writes
    this.mode = mode
    this.call = call
  }

  override encode(link: Link): void {
    for (const { key } of this.writes) link.bulk(key)
    link.bulk(this.node.grace)
    link.bulk(this.mode === 'if-held' ? HELD : PROMISED)
    for (const { record, lifeMs, onlyIf } of this.writes) {
      link.bulk(record ? record.head.subarray(0, REPLACED_AT) : NO_BYTES)
      if (record) link.bulkOfTwo(record.head, EXPIRY_AT, HEAD_BYTES, record.value)
      else link.bulk(NO_BYTES)
      link.bulk(decimal(lifeMs))
      link.bulk(Buffer.from(onlyIf))
    }
  }

  protected override replied(fence: Fence): boolean {
    if (this.replyType !== REPLY_BULK) return false
    const rest = this.reply!.subarray(1)
    if (this.reply![0] === PLUS) {
      this.call.onApplied(this.node, fence, rest.toString('latin1').split(' ').map(Number))
    } else this.call.onStale(this.node, refusals(rest), fence)
    return true
  }
}

/** One for each key: a byte that tells the length, and what follows it. */
function refusals(bytes: Buffer): (Buffer | null)[] {
  const held: (Buffer | null)[] = []
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + bytes[at]!
    held.push(bytes[at] === 0 ? null : bytes.subarray(at + 1, end))
    at = end
  }
  return held
}

export class PendingHint extends PendingScript {
  readonly heads = HINT_HEADS
  protected readonly call: HintCall
  private readonly target: string
  private readonly field: Buffer
  private readonly version: Buffer

  constructor(node: RedisNode, target: string, key: Buffer, version: Buffer, call: HintCall) {
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
    if (this.reply![0] === ZERO) this.call.onFailure(this.node, hintsFull(this.target))
    else this.call.onApplied(this.node, fence)
    return true
  }
}

export class PendingPrepare extends PendingScript {
  readonly heads = PREPARE_HEADS
  protected readonly call: PrepareCall
  private readonly ballot: Buffer

  constructor(node: RedisNode, key: Buffer, ballot: Buffer, call: PrepareCall, expectedBytes: number) {
    super(node, key, expectedBytes)
    this.ballot = ballot
    this.call = call
  }

  override encode(link: Link): void {
    link.bulk(this.key)
    link.bulk(this.ballot)
    link.bulk(this.node.grace)
  }

  protected override replied(fence: Fence): boolean {
    if (this.replyType !== REPLY_BULK) return false
    const answer = this.reply!
    const rest = answer.subarray(1)
    if (answer[0] === PLUS) this.call.onPromised(this.node, rest, fence)
    else if (answer[0] === ZERO) this.call.onPromised(this.node, null, fence)
    else this.call.onRefused(this.node, rest, fence)
    return true
  }
}

export const TOO_LONG: NodeFailure = {
  kind: 'refused',
  reason: 'error',
  message: 'the stored value is larger than MAX_VALUE_BYTES allows',
}

const DECIMALS = new Map<number, Buffer>()

/** Lives repeat (no expiry, or the same TTL again and again): most are encoded once. */
function decimal(n: number): Buffer {
  let bytes = DECIMALS.get(n)
  if (!bytes) {
    bytes = Buffer.from(String(n))
    if (DECIMALS.size < 1024) DECIMALS.set(n, bytes)
  }
  return bytes
}
