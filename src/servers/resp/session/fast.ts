/**
 * Fast path for GET, and for SET without conditions, which are nearly all traffic: no promise and no closure between
 * socket and node. All other commands are steps (keyed.ts).
 */
import type { ReadDone, WriteDone } from '../../../coordinator/api.ts'
import type { StoredRecord } from '../../../core/codec.ts'
import type { RondoError } from '../../../core/errors.ts'
import { storedKey } from '../../../core/keys.ts'
import { tokenOf } from '../../../core/token.ts'
import type { Client, Command } from '../model.ts'
import { errorOf } from '../../../commands/errors.ts'
import type { Output } from '../wire/output.ts'
import { encodeReply, OK } from '../../../commands/reply.ts'
import { ReplySlot } from '../connection/slot.ts'

const FRAME_BYTES = 16
const encodedNull = { 2: encodeReply(null, 2), 3: encodeReply(null, 3) }
const encodedOk = encodeReply(OK, 2)

export function get(client: Client, args: readonly Buffer[], command: Command): void {
  const key = args[1]!
  const { store, settings } = client
  const slot = new GetSlot(client, command)
  client.add(slot)
  const unusable = store.checkKey(key)
  if (unusable) slot.failed(unusable)
  else store.read(storedKey(settings.database, key), slot, client.readLevel)
}

/** @param expiresAtMs cluster time, 0 = never */
export function set(client: Client, command: Command, key: Buffer, value: Buffer, expiresAtMs: number): void {
  const { store, settings, writeLevel } = client
  const slot = new SetSlot(client, command)
  client.add(slot)
  const unusable = store.checkKey(key) ?? store.checkValue(value.length)
  if (unusable) {
    slot.failed(unusable)
    return
  }
  const stored = storedKey(settings.database, key)
  // At `one` later commands of this connection go the same way, in order; at other levels they could overtake this one.
  if (writeLevel !== 'one') slot.claim([tokenOf(stored)])
  store.write(stored, value, expiresAtMs, slot, writeLevel)
}

class GetSlot extends ReplySlot implements ReadDone {
  declare readonly owner: Client
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
    if (this.owner.store.isLive(record)) {
      this.value = record.value
      this.hits = 1
      this.complete(this.value.length + FRAME_BYTES)
    } else {
      this.encoded = encodedNull[this.owner.protocol]
      this.misses = 1
      this.complete(FRAME_BYTES)
    }
  }
}

class SetSlot extends ReplySlot implements WriteDone {
  declare readonly owner: Client
  private claimed: readonly number[] | null = null

  claim(tokens: readonly number[]): void {
    this.claimed = tokens
    this.owner.claim(tokens)
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
    if (this.claimed) this.owner.released(this.claimed)
  }
}
