/**
 * MULTI, EXEC, DISCARD, WATCH, UNWATCH; and commands that change several keys together.
 *
 * What EXEC carries out is one function from what all keys hold to what they shall hold and what each command answers: the
 * steps of the commands, one after the other, over a copy. The coordinator reads the keys, runs it, and stores the outcome
 * only if nothing has changed meanwhile (Coordinator.transact); otherwise it runs again. So nobody sees half of it, and
 * no other command comes in between. For that all keys must share a replica set: keys with the same {hash tag} do. Others
 * are refused with CROSSSLOT, as Redis Cluster does, or, with RESP_CROSS_SET_MULTI=unordered, are carried out one by one.
 *
 * WATCH notes the versions that the keys have; EXEC goes ahead only while they still have them.
 */
import { compareVersions, VERSION_ZERO, type Version } from '../../core/clock.ts'
import type { StoredRecord } from '../../core/codec.ts'
import { tokenOf } from '../../core/token.ts'
import { controlCommand, type Command } from './command.ts'
import type { Connection } from './connection.ts'
import { errorOf } from './errors.ts'
import { nowMs, readRecord } from './held.ts'
import { NULL_ARRAY, OK, RespError, Simple, type Reply } from './reply.ts'
import { ReplySlot } from './slot.ts'
import { distinct } from './step.ts'
import { CROSS_SET, isStep, runSteps, transact, type Queue } from './together.ts'

const QUEUED = new Simple('QUEUED')

interface Queued {
  readonly command: Command
  readonly args: readonly Buffer[]
}

/** What a client has sent since its MULTI. */
export class Transaction {
  readonly queued: Queued[] = []
  bytes = 0
  /** A command was refused: EXEC will refuse them all. */
  aborted = false
}

interface Watched {
  readonly key: Buffer
  readonly version: Promise<Version>
}

/** The keys that a connection watches. */
export class Watch {
  private readonly keys = new Map<string, Watched>()

  get size(): number {
    return this.keys.size
  }

  add(key: Buffer, version: Promise<Version>): void {
    const name = key.toString('latin1')
    // The first WATCH of a key counts: it may have changed since.
    if (!this.keys.has(name)) this.keys.set(name, { key: Buffer.from(key), version })
  }

  get all(): readonly Watched[] {
    return [...this.keys.values()]
  }
}

// ---- commands

function multi(connection: Connection, _args: readonly Buffer[], command: Command): void {
  if (connection.transaction) {
    connection.say(new RespError('ERR MULTI calls can not be nested'), command)
    return
  }
  connection.transaction = new Transaction()
  connection.say(OK, command)
}

/** A command that came after MULTI. */
export function queue(connection: Connection, command: Command, args: readonly Buffer[]): void {
  const transaction = connection.transaction!
  const { maxBatchKeys, maxBatchBytes } = connection.door.options
  transaction.bytes += args.reduce((sum, arg) => sum + arg.length, 0)
  if (transaction.queued.length >= maxBatchKeys || transaction.bytes > maxBatchBytes) {
    const sentence = `ERR a transaction may hold ${maxBatchKeys} commands (MAX_BATCH_KEYS) of ${maxBatchBytes} bytes (MAX_BATCH_BYTES)`
    refuseQueued(connection, command, sentence)
    return
  }
  if (!command.step && !command.reply) {
    refuseQueued(connection, command, `ERR Command '${command.name}' not allowed inside a transaction`)
    return
  }
  transaction.queued.push({ command, args })
  connection.say(QUEUED, command)
}

export function refuseQueued(connection: Connection, command: Command, text: string): void {
  connection.transaction!.aborted = true
  connection.say(new RespError(text), command)
}

function discard(connection: Connection, _args: readonly Buffer[], command: Command): void {
  if (!connection.transaction) {
    connection.say(new RespError('ERR DISCARD without MULTI'), command)
    return
  }
  connection.transaction = null
  connection.watch = null
  connection.say(OK, command)
}

function watch(connection: Connection, args: readonly Buffer[], command: Command): void {
  if (connection.transaction) {
    connection.say(new RespError('ERR WATCH inside MULTI is not allowed'), command)
    return
  }
  const { coordinator, maxBatchKeys } = connection.door.options
  const keys = args.slice(1)
  const unusable = keys.map((key) => coordinator.checkKey(key)).find((error) => error !== null)
  const watched = (connection.watch ??= new Watch())
  if (unusable || watched.size + keys.length > maxBatchKeys) {
    const sentence = `ERR at most ${maxBatchKeys} keys can be watched (MAX_BATCH_KEYS)`
    connection.say(unusable ? errorOf(unusable) : new RespError(sentence), command)
    return
  }
  const slot = new ReplySlot(connection, command)
  connection.add(slot)
  const reads = keys.map((key) => {
    const version = readRecord(connection, key, connection.writeLevel).then((record) =>
      versionSeen(record, nowMs(coordinator)),
    )
    watched.add(key, version)
    return version
  })
  // What the client itself changes from now on counts as a change.
  const tokens = keys.map((key) => tokenOf(key))
  for (const token of tokens) connection.claim(token)
  const released = () => {
    for (const token of tokens) connection.released(token)
  }
  const seen = Promise.all(reads).then(() => OK)
  slot.answerWith(seen.finally(released))
}

function unwatch(connection: Connection): Reply {
  connection.watch = null
  return OK
}

function exec(connection: Connection, _args: readonly Buffer[], command: Command): void {
  const { transaction, watch } = connection
  if (!transaction) {
    connection.say(new RespError('ERR EXEC without MULTI'), command)
    return
  }
  connection.transaction = null
  connection.watch = null
  if (transaction.aborted) {
    const sentence = 'EXECABORT Transaction discarded because of previous errors.'
    connection.say(new RespError(sentence), command)
    return
  }
  const slot = new ReplySlot(connection, command)
  connection.add(slot)
  const steps = transaction.queued.map(({ command, args }) =>
    command.step ? command.step(connection, args) : command.reply!(connection, args),
  )
  const { released, keys } = claimAll(connection, steps, watch)
  const answer = execSteps(connection, transaction, steps, keys, watch).finally(released)
  slot.answerWith(answer)
}

export const TRANSACTION_COMMANDS = [
  controlCommand('multi', 1, multi),
  controlCommand('exec', 1, exec),
  controlCommand('discard', 1, discard),
  controlCommand('watch', -2, watch, { firstKey: 1, lastKey: -1, keyStep: 1 }),
  // Inside MULTI it waits for its turn as any other, and then there is nothing left to forget.
  controlCommand('unwatch', 1, (connection, _args, command) => connection.say(unwatch(connection), command), {
    control: false,
    reply: unwatch,
    alone: (connection) => Promise.resolve(unwatch(connection)),
  }),
]

// ---- carrying out

function claimAll(connection: Connection, steps: Queue, watch: Watch | null) {
  const watched = watch?.all.map(({ key }) => key) ?? []
  const { keys } = distinct([...steps.filter(isStep).flatMap((step) => [...step.keys]), ...watched])
  const tokens = keys.map((key) => tokenOf(key))
  for (const token of tokens) connection.claim(token)
  const released = () => {
    for (const token of tokens) connection.released(token)
  }
  return { keys, released }
}

async function execSteps(
  connection: Connection,
  transaction: Transaction,
  steps: Queue,
  keys: readonly Buffer[],
  watch: Watch | null,
): Promise<Reply> {
  const { coordinator, crossSetMulti } = connection.door.options
  if (!coordinator.sharesReplicaSet(keys)) {
    connection.door.onCrossSet(crossSetMulti)
    if (crossSetMulti === 'refuse') return new RespError(CROSS_SET)
    return oneByOne(connection, transaction, watch)
  }
  const watched = await Promise.all(
    (watch?.all ?? []).map(async ({ key, version }) => ({ key, version: await version })),
  )
  const places = watched.map(({ key }) => keys.findIndex((other) => other.equals(key)))
  let replies: readonly Reply[] | null = null
  await transact(connection, keys, (current, now) => {
    const changed = watched.some(({ version }, i) => {
      return compareVersions(version, versionSeen(current[places[i]!]!, now)) !== 0
    })
    if (changed) {
      replies = null
      return null
    }
    const outcome = runSteps(steps, keys, current, now)
    replies = outcome.replies
    return outcome.next
  })
  return replies ?? NULL_ARRAY
}

/** Keys on different replica sets: each command by itself, as if there were no MULTI. */
async function oneByOne(
  connection: Connection,
  { queued }: Transaction,
  watch: Watch | null,
): Promise<Reply> {
  const { coordinator } = connection.door.options
  for (const { key, version } of watch?.all ?? []) {
    const now = await readRecord(connection, key, connection.writeLevel)
    if (compareVersions(await version, versionSeen(now, nowMs(coordinator))) !== 0) return NULL_ARRAY
  }
  const replies: Reply[] = []
  for (const { command, args } of queued) replies.push(await command.alone!(connection, args))
  return replies
}

/** The version of a live value; what is deleted, expired or absent is all the same to a user. */
function versionSeen(record: StoredRecord | null, now: number): Version {
  return record?.isLive(now) ? Buffer.from(record.version) : VERSION_ZERO
}
