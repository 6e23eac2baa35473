/**
 * One command of a connection, from when it is read to when its reply is written. The slots of a connection form a
 * queue: commands are carried out side by side, and replies leave in the order in which the commands came.
 */
import type { Asker } from '../../../coordinator/api.ts'
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

/** Above this an answer is not put together, but sent part by part. */
const WORTH_PARTS_BYTES = 64 * 1024

/** The connection that a slot is a part of. */
export interface SlotOwner extends Asker {
  readonly protocol: Protocol
  /** When the bytes came in that are being looked at, as Slot.startedUs. */
  readonly readAtUs: number
  readonly work: Work
  /** @param replyBytes about */
  completed(slot: Slot, replyBytes: number): void
}

export abstract class Slot {
  next: Slot | null = null
  done = false
  /** CLIENT REPLY: the client does not want its reply. */
  unsaid = false
  /** What it takes in memory, about: its arguments, then its reply. */
  bytes = 0
  /** For the metrics: the reply is an error. */
  isError = false
  readonly owner: SlotOwner
  /** Which row of the metrics it counts in. */
  readonly index: number
  /** In microseconds of the monotonic clock, 31 bits of them. */
  readonly startedUs: number

  constructor(owner: SlotOwner, { index }: { readonly index: number }) {
    this.owner = owner
    this.index = index
    this.startedUs = owner.readAtUs
  }

  abstract write(output: Output): void

  /** @param replyBytes about */
  protected complete(replyBytes: number): void {
    this.done = true
    this.owner.completed(this, replyBytes)
  }
}

/** A slot for any reply. */
export class ReplySlot extends Slot {
  protected encoded: Buffer | null = null
  /** Instead of `encoded`: of a long reply, which is encoded in slices, or where to put them together would copy much. */
  private encodedParts: readonly Buffer[] | null = null

  get asker(): Asker {
    return this.owner
  }

  /** Exactly once. */
  answer(reply: Reply): void {
    this.isError = reply instanceof RespError
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
    work.carryOut(encodeInSlices(reply, protocol), encoded, (error) => this.answer(replyOf(error)))
  }

  write(output: Output): void {
    if (this.encodedParts) for (const part of this.encodedParts) output.raw(part)
    else output.raw(this.encoded!)
  }
}
