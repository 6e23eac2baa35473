/**
 * Fast path for GET, and for SET without conditions, which are nearly all traffic: no promise and no closure between
 * socket and node. All other commands are steps (keyed.ts).
 */
import type { ReadDone, WriteDone } from '../../../coordinator/api.ts'
import { KIND_VALUE, type StoredRecord } from '../../../core/codec.ts'
import type { RondoError } from '../../../core/errors.ts'
import type { ConsistencyLevel } from '../../../core/consistency.ts'
import { storedKey } from '../../../core/keys.ts'
import { tokenOf } from '../../../core/token.ts'
import type { LoadDone, ReadThrough } from '../../../loader/api.ts'
import type { Client, Command } from '../model.ts'
import { errorOf } from '../../../commands/errors.ts'
import type { Output } from '../wire/output.ts'
import { encodeReply, OK } from '../../../commands/reply.ts'
import { WRONG_TYPE } from '../../../commands/step.ts'
import { ReplySlot } from '../connection/slot.ts'

const FRAME_BYTES = 16
const encodedNull = { 2: encodeReply(null, 2), 3: encodeReply(null, 3) }
const encodedOk = encodeReply(OK, 2)

export function get(client: Client, args: readonly Buffer[], command: Command): void {
  const key = args[1]!
  const { store, settings, loader } = client
  const slot = loader === null ? new GetSlot(client, command) : new LoadingSlot(client, command, key, loader)
  client.add(slot)
  const unusable = store.checkKey(key)
  if (unusable) {
    // No such key can be stored.
    if (unusable.code === 'KEY_TOO_LONG') slot.absent()
    else slot.failed(unusable)
    return
  }
  const stored = storedKey(settings.database, key)
  // At other levels than `one` it may ask twice, and must not see what follows in the pipeline.
  if (client.readLevel !== 'one') slot.claim([tokenOf(stored)], command)
  store.read(stored, slot, client.readLevel)
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

/** A slot that may claim its key until it is answered. */
abstract class ClaimingSlot extends ReplySlot {
  declare readonly owner: Client
  private claimed: readonly number[] | null = null
  private by: Command | undefined = undefined
  override readonly isOneOperation = true

  claim(tokens: readonly number[], by?: Command): void {
    this.claimed = tokens
    this.by = by
    this.owner.claim(tokens, by)
  }

  failed(error: RondoError): void {
    this.answer(errorOf(error))
    this.release()
  }

  protected release(): void {
    if (this.claimed) this.owner.released(this.claimed, this.by)
  }
}

class GetSlot extends ClaimingSlot implements ReadDone {
  private value: Buffer | null = null

  override write(output: Output): void {
    if (this.value) output.bulk(this.value)
    else super.write(output)
  }

  isFollowed(): boolean {
    return this.next !== null
  }

  read(record: StoredRecord | null): void {
    if (this.owner.store.isLive(record)) this.found(record)
    else this.absent()
  }

  protected found(record: StoredRecord): void {
    this.owner.server.stats.lookedUpOne(this.index, true)
    if (record.kind !== KIND_VALUE) {
      this.answer(WRONG_TYPE.reply)
      this.release()
      return
    }
    this.value = record.value
    this.complete(this.value.length + FRAME_BYTES)
    this.release()
  }

  absent(): void {
    this.encoded = encodedNull[this.owner.protocol]
    this.owner.server.stats.lookedUpOne(this.index, false)
    this.complete(FRAME_BYTES)
    this.release()
  }
}

/** Of a GET that loads what is not there. */
class LoadingSlot extends GetSlot implements LoadDone {
  private readonly loader: ReadThrough
  private readonly stored: Buffer
  private readonly level: ConsistencyLevel

  constructor(owner: Client, command: Command, key: Buffer, loader: ReadThrough) {
    super(owner, command)
    this.loader = loader
    // A copy: the key is a view of what the client has sent, and loading may take long.
    this.stored = Buffer.from(storedKey(owner.settings.database, key))
    this.level = owner.readLevel
  }

  override read(record: StoredRecord | null): void {
    if (this.owner.store.isLive(record)) this.found(record)
    else this.loader.load(this.stored, record, this.level, this)
  }

  loaded(record: StoredRecord | null): void {
    if (record) this.found(record)
    else this.absent()
  }
}

class SetSlot extends ClaimingSlot implements WriteDone {
  written(): void {
    this.encoded = encodedOk
    this.complete(FRAME_BYTES)
    this.release()
  }
}
