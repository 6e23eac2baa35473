/**
 * GET, and SET without conditions: the two commands that nearly all traffic is made of, without a promise or a closure
 * between socket and node. Everything else goes through steps (keyed.ts).
 */
import type { ReadDone } from '../../../coordinator/read/read.ts'
import type { WriteDone } from '../../../coordinator/write/write.ts'
import type { StoredRecord } from '../../../core/codec.ts'
import type { RondoError } from '../../../core/errors.ts'
import { tokenOf } from '../../../core/token.ts'
import type { Command } from '../command.ts'
import type { Connection } from '../connection/connection.ts'
import { errorOf } from '../../../commands/errors.ts'
import type { Output } from '../wire/output.ts'
import { encodeReply, OK } from '../../../commands/reply.ts'
import { ReplySlot } from '../connection/slot.ts'

const FRAME_BYTES = 16
const encodedNull = { 2: encodeReply(null, 2), 3: encodeReply(null, 3) }
const encodedOk = encodeReply(OK, 2)

export function get(connection: Connection, args: readonly Buffer[], command: Command): void {
  const key = args[1]!
  const { coordinator } = connection.door.options
  const slot = new GetSlot(connection, command)
  connection.add(slot)
  const unusable = coordinator.checkKey(key)
  if (unusable) slot.failed(unusable)
  else coordinator.read(key, slot, connection.readLevel)
}

/** @param expiresAtMs cluster time, 0 = never */
export function set(
  connection: Connection,
  command: Command,
  key: Buffer,
  value: Buffer,
  expiresAtMs: number,
): void {
  const { coordinator } = connection.door.options
  const { writeLevel } = connection
  const slot = new SetSlot(connection, command)
  connection.add(slot)
  const unusable = coordinator.checkKey(key) ?? coordinator.checkValue(value.length)
  if (unusable) {
    slot.failed(unusable)
    return
  }
  // At `one` whatever follows on this connection takes the same way; at the other levels it might be quicker.
  if (writeLevel !== 'one') slot.claim([tokenOf(key)])
  coordinator.write(key, value, expiresAtMs, slot, writeLevel)
}

class GetSlot extends ReplySlot implements ReadDone {
  private value: Buffer | null = null

  failed(error: RondoError): void {
    this.answer(errorOf(error))
  }

  override write(output: Output): void {
    if (this.value) output.bulk(this.value)
    else super.write(output)
  }

  isFollowed(): boolean {
    return this.next !== null
  }

  read(record: StoredRecord | null): void {
    if (this.connection.door.options.coordinator.isLive(record)) {
      this.value = record.value
      this.complete(this.value.length + FRAME_BYTES)
    } else {
      this.encoded = encodedNull[this.connection.protocol]
      this.complete(FRAME_BYTES)
    }
  }
}

class SetSlot extends ReplySlot implements WriteDone {
  private claimed: readonly number[] | null = null

  claim(tokens: readonly number[]): void {
    this.claimed = tokens
    this.connection.claim(tokens)
  }

  written(): void {
    this.encoded = encodedOk
    this.complete(FRAME_BYTES)
    this.release()
  }

  failed(error: RondoError): void {
    this.answer(errorOf(error))
    this.release()
  }

  private release(): void {
    if (this.claimed) this.connection.released(this.claimed)
  }
}
