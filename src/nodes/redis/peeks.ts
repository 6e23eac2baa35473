/**
 * Calls that read records without their values.
 *
 * The head alone takes two plain commands, which cost Redis half of what a script does:
 *
 *     GETRANGE key 0 42   head    → the record's head
 *     EXISTS key          0 | 1   → needed only because an empty reply may be an empty string stored by another program
 *
 * They are not atomic. An empty reply and 0: absent at the second. An empty reply and 1: an empty string, or written in
 * between; then the script (peek.lua) reads again. A length or a range always uses the script.
 */
import { HEAD_WITH_PROMISE_BYTES, PeekedRecord, StoredRecord } from '../../core/codec.ts'
import { aboveFloor } from '../../core/floors.ts'
import type { Part } from '../../core/part.ts'
import { LinkCall, REPLY_BULK, REPLY_INTEGER, REPLY_NIL, REPLY_TOO_LONG, type Link } from './link.ts'
import type { Fence, NodeFailure, PeekCall } from '../node.ts'
import { isOfOtherType, PendingScript, readForeign, TOO_LONG, type CallHost } from './redis-calls.ts'
import { headsOf, PEEK } from './scripts.ts'

const GETRANGE_HEAD = Buffer.from('*4\r\n$8\r\nGETRANGE\r\n')
const HEAD_RANGE = Buffer.from(`$1\r\n0\r\n$2\r\n${HEAD_WITH_PROMISE_BYTES - 1}\r\n`)
const EXISTS_HEAD = Buffer.from('*2\r\n$6\r\nEXISTS\r\n')
const PEEK_HEADS = headsOf(PEEK, 2)
const LENGTH_BYTES = 6
const NO_BYTES = Buffer.alloc(0)
const ZERO = 0x30
const ONE = 0x31

/** Both commands for the head of a record. */
export function enqueueHead(
  link: Link,
  node: CallHost,
  key: Buffer,
  call: PeekCall,
  repetitions: number,
): void {
  const head = new PendingHead()
  link.raw(GETRANGE_HEAD)
  link.bulk(key)
  link.raw(HEAD_RANGE)
  link.enqueue(head)
  link.raw(EXISTS_HEAD)
  link.bulk(key)
  link.enqueue(new PendingExists(node, key, call, head, repetitions))
}

/** Completes before the next command, which answers the caller. They may be in different batches. */
class PendingHead extends LinkCall {
  failure: NodeFailure | null = null

  constructor() {
    super(0)
  }

  override answered(): void {
    // Evaluated together with the next reply.
  }

  override lost(failure: NodeFailure): void {
    this.failure = failure
  }
}

class PendingExists extends LinkCall {
  private readonly node: CallHost
  private readonly key: Buffer
  private readonly call: PeekCall
  private readonly head: PendingHead
  /** As in resends.ts. */
  private readonly since: number
  private readonly repetitions: number

  constructor(node: CallHost, key: Buffer, call: PeekCall, head: PendingHead, repetitions: number) {
    super(0)
    this.node = node
    this.key = key
    this.call = call
    this.head = head
    this.since = node.resends.count
    this.repetitions = repetitions
  }

  override answered(fence: Fence): void {
    const { since, repetitions } = this
    const { failure, replyType, reply } = this.head
    if (failure) this.lost(failure)
    else if (this.node.resends.mustRepeat(this.key, since, repetitions)) {
      this.node.peek(this.key, 'head', this.call, 0, repetitions + 1)
    } else if (isOfOtherType(this.head)) this.lookAtForeign(fence)
    else if (replyType !== REPLY_BULK || reply!.length > HEAD_WITH_PROMISE_BYTES) {
      this.lost(this.node.judge(replyType, reply))
    } else if (!this.isFlag) this.lost(this.node.judge(this.replyType, this.reply))
    else if (reply!.length > 0) {
      const head = aboveFloor(fence.floors, this.key, reply)
      this.call.onPeeked(this.node, head && new PeekedRecord(head), fence)
    } else if (this.reply![0] === ZERO) this.call.onPeeked(this.node, null, fence)
    else this.node.peekByScript(this.key, 'head', this.call)
  }

  /** The type alone. */
  private lookAtForeign(fence: Fence): void {
    const { node, key, call, repetitions } = this
    const again = () => node.peek(key, 'head', call, 0, repetitions + 1)
    readForeign(node, { key, part: 'head', repetitions, again }, fence, {
      onFound: (record, found) => call.onPeeked(node, record && new PeekedRecord(record), found),
      onFailure: (_, failure) => call.onFailure(node, failure),
    })
  }

  /** 0 or 1, the reply of EXISTS. */
  private get isFlag(): boolean {
    const { replyType, reply } = this
    return replyType === REPLY_INTEGER && reply!.length === 1 && (reply![0] === ZERO || reply![0] === ONE)
  }

  override lost(failure: NodeFailure): void {
    this.call.onFailure(this.node, this.head.failure ?? failure)
  }
}

export class PendingPeek extends PendingScript {
  readonly heads = PEEK_HEADS
  protected readonly call: PeekCall
  private readonly part: Part
  /** As in resends.ts. */
  private readonly since: number
  private readonly repetitions: number

  constructor(
    node: CallHost,
    key: Buffer,
    part: Part,
    call: PeekCall,
    expectedBytes: number,
    repetitions: number,
  ) {
    super(node, key, expectedBytes)
    this.part = part
    this.call = call
    this.since = node.resends.count
    this.repetitions = repetitions
  }

  override encode(link: Link): void {
    link.bulk(this.key)
    if (typeof this.part === 'string') {
      link.bulk(NO_BYTES)
      link.bulk(NO_BYTES)
    } else {
      link.bulk(Buffer.from(String(this.part.from)))
      link.bulk(Buffer.from(String(this.part.to)))
    }
  }

  override answered(fence: Fence): void {
    if (isOfOtherType(this)) this.lookAtForeign(fence)
    else super.answered(fence)
  }

  private lookAtForeign(fence: Fence): void {
    const { node, key, part, call, valueBytes, repetitions } = this
    const again = () => node.peekByScript(key, part, call, valueBytes, repetitions + 1)
    readForeign(node, { key, part: part === 'head' ? part : 'whole', repetitions, again }, fence, {
      onFound: (record, found) =>
        call.onPeeked(node, record && PeekedRecord.of(new StoredRecord(record), part), found),
      onFailure: (_, failure) => call.onFailure(node, failure),
    })
  }

  protected override replied(fence: Fence): boolean {
    const { node, key, since, repetitions } = this
    if (node.resends.mustRepeat(key, since, repetitions)) {
      node.peekByScript(key, this.part, this.call, this.valueBytes, repetitions + 1)
      return true
    }
    if (this.replyType === REPLY_NIL) {
      this.call.onPeeked(this.node, null, fence)
      return true
    }
    if (this.replyType === REPLY_TOO_LONG) {
      this.call.onFailure(this.node, TOO_LONG)
      return true
    }
    const record = this.replyType === REPLY_BULK ? peekedIn(this.reply!, this.part) : null
    if (!record) return false
    this.call.onPeeked(this.node, aboveFloor(fence.floors, this.key, record.bytes) && record, fence)
    return true
  }
}

/** Parses the reply of peek.lua; null if it is invalid. */
function peekedIn(reply: Buffer, part: Part): PeekedRecord | null {
  if (reply.length < LENGTH_BYTES) return null
  const stored = reply.readUIntBE(0, LENGTH_BYTES)
  const partAt = LENGTH_BYTES + Math.min(stored, HEAD_WITH_PROMISE_BYTES)
  if (reply.length < partAt) return null
  const head = reply.subarray(LENGTH_BYTES, partAt)
  // In the same form as from the two commands.
  if (part === 'head') return reply.length === partAt ? new PeekedRecord(head) : null
  const record = new PeekedRecord(head, stored, reply.subarray(partAt), part)
  return record.isWhole ? record : null
}
