/**
 * Reads of several keys at once, for repairs: one plain command for each, in one call. A script that does the same costs
 * Redis twice as much, most of it for handing the bytes through Lua. And a page of names: here, and not on the control
 * path, because a change of members reads each name several times, and the general parser there costs more than all of
 * Redis's work on it.
 */
import { aboveFloor } from '../../core/floors.ts'
import {
  encodeCommand,
  LinkCall,
  REPLY_ARRAY,
  REPLY_BULK,
  REPLY_ERROR,
  REPLY_INTEGER,
  REPLY_TOO_LONG,
  type Link,
} from './link.ts'
import { NodeCallFailed } from '../failures.ts'
import type { Fence, KeyPage, LivesCall, NodeFailure, StartsCall } from '../node.ts'
import type { CallHost, DataCall } from './redis-calls.ts'

const GETRANGE_HEAD = Buffer.from('*4\r\n$8\r\nGETRANGE\r\n')
const PTTL_HEAD = Buffer.from('*2\r\n$4\r\nPTTL\r\n')
const NO_BYTES = Buffer.alloc(0)

export abstract class PendingEach extends LinkCall {
  protected readonly node: CallHost
  protected readonly keys: readonly Buffer[]
  /** Before the key, and behind it. */
  private readonly head: Buffer
  private readonly tail: Buffer
  protected abstract readonly call: DataCall
  private replies = 0
  private isValid = true

  constructor(node: CallHost, keys: readonly Buffer[], head: Buffer, tail: Buffer) {
    super(0)
    this.node = node
    this.keys = keys
    this.head = head
    this.tail = tail
  }

  encode(link: Link): void {
    for (const key of this.keys) {
      link.raw(this.head)
      link.bulk(key)
      link.raw(this.tail)
    }
  }

  override take(type: number, reply: Buffer | null): boolean {
    // The first one that is not valid decides.
    if (this.isValid && !this.takeOne(type, reply)) {
      this.isValid = false
      super.take(type, reply)
    }
    return ++this.replies === this.keys.length
  }

  override answered(fence: Fence): void {
    if (this.isValid) this.deliver(fence)
    else this.lost(this.node.judge(this.replyType, this.reply))
  }

  override lost(failure: NodeFailure): void {
    this.call.onFailure(this.node, failure)
  }

  /** False if it is no valid reply. */
  protected abstract takeOne(type: number, reply: Buffer | null): boolean
  protected abstract deliver(fence: Fence): void
}

export class PendingStarts extends PendingEach {
  protected readonly call: StartsCall
  private readonly mostBytes: number
  private readonly starts: (Buffer | null)[] = []

  constructor(node: CallHost, keys: readonly Buffer[], bytes: number, call: StartsCall) {
    const last = String(bytes - 1)
    super(node, keys, GETRANGE_HEAD, Buffer.from(`$1\r\n0\r\n$${last.length}\r\n${last}\r\n`))
    this.mostBytes = bytes
    this.call = call
  }

  protected override takeOne(type: number, reply: Buffer | null): boolean {
    const isOtherType = type === REPLY_ERROR && reply!.toString('latin1', 0, 9) === 'WRONGTYPE'
    if (!isOtherType && (type !== REPLY_BULK || reply!.length > this.mostBytes)) return false
    this.starts.push(isOtherType || reply!.length === 0 ? null : reply)
    return true
  }

  protected override deliver(fence: Fence): void {
    const shown = this.starts.map((start, i) => aboveFloor(fence.floors, this.keys[i]!, start))
    this.call.onStarts(this.node, shown, fence)
  }
}

export class PendingLives extends PendingEach {
  protected readonly call: LivesCall
  private readonly livesMs: number[] = []

  constructor(node: CallHost, keys: readonly Buffer[], call: LivesCall) {
    super(node, keys, PTTL_HEAD, NO_BYTES)
    this.call = call
  }

  protected override takeOne(type: number, reply: Buffer | null): boolean {
    const text = type === REPLY_INTEGER ? reply!.toString('latin1') : ''
    if (!/^(-[12]|\d{1,15})$/.test(text)) return false
    this.livesMs.push(Number(text))
    return true
  }

  protected override deliver(fence: Fence): void {
    this.call.onLives(this.node, this.livesMs, fence)
  }
}

/** Of a page. Redis returns all keys of a place in its table, so somewhat more than were asked for. */
const MOST_KEYS = 100_000
const MOST_PAGE_BYTES = 32 * 1024 * 1024
const CURSOR = /^\d{1,20}$/

/**
 * SCAN without TYPE, which would cost Redis one more look at each key: names of other types are included.
 *
 *     *2   $<cursor>   *<n>   $<key> … n times
 */
export class PendingKeys extends LinkCall {
  private readonly node: CallHost
  private readonly settle: { resolve(page: KeyPage): void; reject(why: Error): void }
  private readonly keys: Buffer[] = []
  private cursor: string | null = null
  /** Names that have not arrived; -1 = it is not known yet how many. */
  private left = -1
  private bytes = 0
  /** The reply has begun. */
  private isOpen = false

  constructor(node: CallHost, settle: PendingKeys['settle']) {
    super(0)
    this.node = node
    this.settle = settle
  }

  encode(link: Link, cursor: string, count: number): void {
    link.raw(encodeCommand(['SCAN', cursor, 'COUNT', String(count)]))
  }

  override takesArray(): boolean {
    return !this.isOpen || (this.cursor !== null && this.left < 0)
  }

  override take(type: number, reply: Buffer | null): boolean {
    if (!this.isOpen && type === REPLY_ERROR) return super.take(type, reply)
    if (this.takeNext(type, reply)) return this.left === 0
    // At once: what follows would be taken for the replies to other calls.
    this.node.judge(type === REPLY_ERROR ? REPLY_ARRAY : type, reply)
    return true
  }

  private takeNext(type: number, reply: Buffer | null): boolean {
    if (!this.isOpen) {
      this.isOpen = type === REPLY_ARRAY && reply!.toString('latin1') === '2'
      return this.isOpen
    }
    if (this.cursor === null) {
      this.cursor = type === REPLY_BULK ? reply!.toString('latin1') : ''
      return CURSOR.test(this.cursor)
    }
    if (this.left < 0) {
      const count = type === REPLY_ARRAY ? reply!.toString('latin1') : ''
      this.left = /^\d{1,6}$/.test(count) ? Number(count) : -1
      return this.left >= 0 && this.left <= MOST_KEYS
    }
    this.left--
    // Longer than a value may be: no key of Rondo.
    if (type === REPLY_TOO_LONG) return true
    this.bytes += reply?.length ?? 0
    if (type !== REPLY_BULK || this.bytes > MOST_PAGE_BYTES) return false
    this.keys.push(reply!)
    return true
  }

  override answered(): void {
    if (this.left === 0) this.settle.resolve({ cursor: this.cursor!, keys: this.keys })
    else this.lost(this.node.judge(this.replyType, this.reply))
  }

  override lost(failure: NodeFailure): void {
    this.settle.reject(new NodeCallFailed(failure.message))
  }
}
