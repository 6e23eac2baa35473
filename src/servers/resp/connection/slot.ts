/**
 * One command of a connection, from when it is read to when its reply is written. The slots of a connection form a
 * queue: commands are carried out side by side, and replies leave in the order in which the commands came.
 */
import type { Asker } from '../../../coordinator/asker.ts'
import type { Command } from '../command.ts'
import type { Connection } from './connection.ts'
import { replyOf } from '../../../commands/errors.ts'
import type { Output } from '../wire/output.ts'
import { encodeInSlices, encodeParts, isLong, RespError, type Reply } from '../../../commands/reply.ts'

/** Above this an answer is not put together, but sent part by part. */
const WORTH_PARTS_BYTES = 64 * 1024

export abstract class Slot {
  next: Slot | null = null
  done = false
  /** CLIENT REPLY: the client does not want its reply. */
  unsaid = false
  /** What it takes in memory, about: its arguments, then its reply. */
  bytes = 0
  /** For the metrics: the reply is an error. */
  isError = false
  readonly connection: Connection
  readonly command: Command
  /** In microseconds of the monotonic clock, 31 bits of them. */
  readonly startedUs: number

  constructor(connection: Connection, command: Command) {
    this.connection = connection
    this.command = command
    this.startedUs = connection.readAtUs
  }

  abstract write(output: Output): void

  /** @param replyBytes about */
  protected complete(replyBytes: number): void {
    this.done = true
    this.connection.completed(this, replyBytes)
  }
}

/** A slot for any reply. */
export class ReplySlot extends Slot {
  protected encoded: Buffer | null = null
  /** Instead of `encoded`: of a long reply, which is encoded in slices, or where to put them together would copy much. */
  private encodedParts: readonly Buffer[] | null = null

  get asker(): Asker {
    return this.connection
  }

  /** Exactly once. */
  answer(reply: Reply): void {
    this.isError = reply instanceof RespError
    if (isLong(reply)) {
      this.encodeInSlices(reply)
      return
    }
    const parts = encodeParts(reply, this.connection.protocol)
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
    const { door, protocol } = this.connection
    const encoded = (parts: readonly Buffer[]) => {
      this.encodedParts = parts
      this.complete(parts.reduce((sum, part) => sum + part.length, 0))
    }
    door.work.carryOut(encodeInSlices(reply, protocol), encoded, (error) => this.answer(replyOf(error)))
  }

  write(output: Output): void {
    if (this.encodedParts) for (const part of this.encodedParts) output.raw(part)
    else output.raw(this.encoded!)
  }
}
