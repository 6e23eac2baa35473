/**
 * Reads of several keys at once, for repairs: one plain command for each, in one call. A script that does the same costs
 * Redis twice as much, most of it for handing the bytes through Lua.
 */
import { aboveFloor } from '../../core/floors.ts'
import { REPLY_BULK, REPLY_ERROR, REPLY_INTEGER, LinkCall, type Link } from './link.ts'
import type { Fence, LivesCall, NodeFailure, StartsCall } from '../node.ts'
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
