/**
 * Fast path for GET, and for SET without conditions, which are nearly all traffic: no promise and no closure between
 * socket and node. All other commands are steps (keyed.ts). Those that read one key go the way of GET between the step
 * and its reply.
 */
import type { ReadDone, WriteDone } from '../../../coordinator/api.ts'
import { KIND_VALUE, type PeekedRecord, type StoredRecord } from '../../../core/codec.ts'
import type { RondoError } from '../../../core/errors.ts'
import type { ConsistencyLevel } from '../../../core/consistency.ts'
import { storedKey } from '../../../core/keys.ts'
import { tokenOf } from '../../../core/token.ts'
import type { LoadDone, ReadThrough } from '../../../loader/api.ts'
import type { Client, Command } from '../model.ts'
import { errorOf, replyOf } from '../../../commands/errors.ts'
import type { Output } from '../wire/output.ts'
import { encodeReply, OK, type Reply } from '../../../commands/reply.ts'
import { replyToRecord, shortReply } from '../../../commands/run/keyed.ts'
import { countLookups, lookupsOf } from '../../../commands/run/lookups.ts'
import { WRONG_TYPE, type Step } from '../../../commands/step.ts'
import { ReplySlot } from '../connection/slot.ts'

const FRAME_BYTES = 16
const encodedNull = { 2: encodeReply(null, 2), 3: encodeReply(null, 3) }
const encodedOk = encodeReply(OK, 2)
const encodedBits = [encodeReply(0, 2), encodeReply(1, 2)] as const

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

/** @param step one read of one key (isOneRead) */
export function readOne(client: Client, command: Command, step: Step): void {
  const { store, readLevel } = client
  const key = step.keys[0]!
  const slot = new ReadSlot(client, command, step)
  client.add(slot)
  if (readLevel !== 'one') slot.claim([tokenOf(key)], command)
  if (step.needs === 'value') store.read(key, slot, readLevel)
  else store.peek(key, step.needs, slot, readLevel)
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

/** Of a read that replies with the bytes of a value as they are. */
abstract class ValueSlot extends ClaimingSlot {
  private value: Buffer | null = null

  override write(output: Output): void {
    if (this.value) output.bulk(this.value)
    else super.write(output)
  }

  isFollowed(): boolean {
    return this.next !== null
  }

  protected completeWith(value: Buffer): void {
    this.value = value
    this.complete(value.length + FRAME_BYTES)
  }
}

class GetSlot extends ValueSlot implements ReadDone {
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
    this.completeWith(record.value)
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

/** Of a step that is one read of one key. */
class ReadSlot extends ValueSlot implements ReadDone<StoredRecord | PeekedRecord> {
  private readonly command: Command
  private readonly step: Step
  private readonly dueAtMs: number

  constructor(owner: Client, command: Command, step: Step) {
    super(owner, command)
    this.command = command
    this.step = step
    this.dueAtMs = owner.store.collections.dueAtMs()
  }

  read(stored: StoredRecord | PeekedRecord | null): void {
    const { owner, step, command } = this
    const record = owner.store.isLive(stored) ? stored : null
    let reply: Reply | undefined
    try {
      reply = shortReply(owner, step, record)
    } catch (error) {
      reply = replyOf(error)
    }
    if (reply === undefined) {
      const answer = replyToRecord(owner, step, command.name, record, this.dueAtMs)
      this.answerWith(answer.finally(() => this.release()))
      return
    }
    if (step.lookedUp === undefined) owner.server.stats.lookedUpOne(this.index, record !== null)
    else countLookups(owner, command.name, lookupsOf(step, [record]))
    this.replied(reply)
    this.release()
  }

  private replied(reply: Reply): void {
    if (Buffer.isBuffer(reply)) {
      this.completeWith(reply)
      return
    }
    if (reply === null) this.encoded = encodedNull[this.owner.protocol]
    else if (reply === 0 || reply === 1) this.encoded = encodedBits[reply]
    else {
      this.answer(reply)
      return
    }
    this.complete(FRAME_BYTES)
  }
}

class SetSlot extends ClaimingSlot implements WriteDone {
  written(): void {
    this.encoded = encodedOk
    this.complete(FRAME_BYTES)
    this.release()
  }
}
