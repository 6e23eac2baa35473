/**
 * One command of a connection, from reading it to writing its reply. The slots of a connection form a queue: commands run
 * concurrently, and replies are written in the order of the commands.
 */
import type { Requester } from '../../../coordinator/api.ts'
import type { Work } from '../../../core/work.ts'
import { replyOf } from '../../../commands/errors.ts'
import type { Output } from '../wire/output.ts'
import {
  encodeInSlices,
  encodeParts,
  isLong,
  RespError,
  type Protocol,
  type Reply,
} from '../../../commands/reply.ts'

/** Longer replies are not concatenated, but written part by part. */
const WORTH_PARTS_BYTES = 64 * 1024

/** The connection of a slot. */
export interface SlotOwner extends Requester {
  /** Of the client. */
  readonly address: string
  readonly port: number
  readonly name: string
  readonly protocol: Protocol
  readonly authenticated: boolean
  /** When the bytes that are being parsed were read, in the unit of Slot.startedUs. */
  readonly readAtUs: number
  readonly work: Work
  /** @param replyBytes about */
  completed(slot: Slot, replyBytes: number): void
}

export abstract class Slot {
  next: Slot | null = null
  done = false
  /** CLIENT REPLY: the reply is not written. */
  suppressed = false
  /** Its command hands something over (commands/hand-over.ts). */
  handsOver = false
  /** Its approximate memory: of its arguments, then of its reply. */
  bytes = 0
  /** It is not the reply to a command. */
  readonly isPush: boolean = false
  /** For the metrics and the log: the reply is an error. */
  error: RespError | null = null
  /** Whether it is in the statistics of its command, and in the slow log if it was slow. */
  isMeasured: boolean
  /** Its command is one operation: when that has begun, nothing more of it will. */
  readonly isOneOperation: boolean = false
  readonly owner: SlotOwner
  /** Its row in the metrics. */
  readonly index: number
  /** Microseconds of the monotonic clock, as 32-bit integer. */
  startedUs: number

  constructor(owner: SlotOwner, { index }: { readonly index: number }) {
    this.owner = owner
    this.index = index
    this.startedUs = owner.readAtUs
    this.isMeasured = owner.authenticated
  }

  abstract write(output: Output): void

  /** Its connection is closed before it was written. */
  dropped(): void {
    // Nothing is lost with most replies.
  }

  /** @param replyBytes about */
  protected complete(replyBytes: number): void {
    this.done = true
    this.owner.completed(this, replyBytes)
  }
}

/** A slot for any reply. */
export class ReplySlot extends Slot {
  protected encoded: Buffer | null = null
  /** Instead of `encoded`, for a long reply, which is encoded in slices, or would be costly to concatenate. */
  private encodedParts: readonly Buffer[] | null = null

  get requester(): Requester {
    return this.owner
  }

  /** Exactly once. */
  answer(reply: Reply): void {
    if (reply instanceof RespError) this.error = reply
    if (isLong(reply)) {
      this.encodeInSlices(reply)
      return
    }
    const parts = encodeParts(reply, this.owner.protocol)
    let bytes = 0
    for (const part of parts) bytes += part.length
    if (parts.length === 1) this.encoded = parts[0]!
    else if (bytes < WORTH_PARTS_BYTES) this.encoded = Buffer.concat(parts, bytes)
    else this.encodedParts = parts
    this.complete(bytes)
  }

  answerWith(reply: Promise<Reply>): void {
    reply.then(
      (value) => this.answer(value),
      (error: unknown) => this.answer(replyOf(error)),
    )
  }

  private encodeInSlices(reply: Reply): void {
    const { work, protocol } = this.owner
    const encoded = (parts: readonly Buffer[]) => {
      this.encodedParts = parts
      this.complete(parts.reduce((sum, part) => sum + part.length, 0))
    }
    work.run(encodeInSlices(reply, protocol), encoded, (error) => this.answer(replyOf(error)))
  }

  write(output: Output): void {
    if (this.encodedParts) for (const part of this.encodedParts) output.raw(part)
    else output.raw(this.encoded!)
  }
}
