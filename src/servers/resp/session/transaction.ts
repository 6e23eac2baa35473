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
import { compareVersions, VERSION_ZERO, type Version } from '../../../core/clock.ts'
import type { RecordHead } from '../../../core/codec.ts'
import { RondoError } from '../../../core/errors.ts'
import { answerBytes, MAX_ANSWER_BYTES } from '../../../commands/run/answer-limit.ts'
import { ARGUMENT_BYTES, COMMAND_BYTES, type Account } from '../../ledger.ts'
import { claimEverything, claimKeys } from '../connection/claims.ts'
import { controlCommand, MANY_ARGUMENTS, type Command } from '../command.ts'
import { compacted } from '../connection/compact.ts'
import type { Connection } from '../connection/connection.ts'
import { errorOf } from '../../../commands/errors.ts'
import { nowMs, readNeeded } from '../../../commands/run/held.ts'
import { LEFT_OUT, oneByOne } from '../../../commands/run/one-by-one.ts'
import { NULL_ARRAY, OK, RespError, Simple, type Reply } from '../../../commands/reply.ts'
import { subcommandOf } from './session-command.ts'
import { ReplySlot } from '../connection/slot.ts'
import { CommandError, distinctInSlices } from '../../../commands/step.ts'
import { CROSS_SET, isStep, paceOf, runSteps, transact, type Queue } from '../../../commands/run/together.ts'
import { inOneGo, type Sliced } from '../../../core/work.ts'

const QUEUED = new Simple('QUEUED')
/** What a transaction may hold; how many keys it may touch, where it is one, is MAX_BATCH_KEYS. */
const MAX_COMMANDS = 100_000
/** One of more is prepared in slices. */
const MANY_COMMANDS = 256

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
  /** A command has very many arguments. */
  hasMany = false

  /** It is prepared in slices. */
  get isLong(): boolean {
    return this.hasMany || this.queued.length > MANY_COMMANDS
  }

  /** What it takes in memory. */
  private heldBytes = 0
  private readonly account: Account

  constructor(account: Account) {
    this.account = account
  }

  add(command: Command, args: readonly Buffer[], bytes: number): void {
    this.queued.push({ command, args: compacted(args) })
    this.heldBytes += bytes
    this.account.add(bytes)
  }

  drop(): void {
    this.queued.length = 0
    this.release()
  }

  /** Nothing of it is needed any more. */
  release(): void {
    this.account.add(-this.heldBytes)
    this.heldBytes = 0
  }
}

interface Watched {
  readonly key: Buffer
  readonly version: Promise<Version>
}

/** The keys that a connection watches. */
export class Watch {
  private readonly keys = new Map<string, Watched>()
  private readonly account: Account
  private heldBytes = 0

  constructor(account: Account) {
    this.account = account
  }

  get size(): number {
    return this.keys.size
  }

  add(key: Buffer, version: Promise<Version>): void {
    const name = key.toString('latin1')
    // The first WATCH of a key counts: it may have changed since.
    if (this.keys.has(name)) return
    this.keys.set(name, { key: Buffer.from(key), version })
    const bytes = 2 * key.length + COMMAND_BYTES
    this.heldBytes += bytes
    this.account.add(bytes)
  }

  release(): void {
    this.account.add(-this.heldBytes)
    this.heldBytes = 0
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
  connection.transaction = new Transaction(connection.account)
  connection.say(OK, command)
}

/** A command that came after MULTI. */
export function queue(connection: Connection, command: Command, args: readonly Buffer[]): void {
  const transaction = connection.transaction!
  const { maxBatchBytes } = connection.door.options
  const bytes = args.reduce((sum, arg) => sum + arg.length, 0)
  transaction.bytes += bytes
  const isTooLong = transaction.queued.length >= MAX_COMMANDS || transaction.bytes > maxBatchBytes
  const why = isTooLong
    ? `ERR a transaction may hold ${MAX_COMMANDS} commands of ${maxBatchBytes} bytes together (MAX_BATCH_BYTES)`
    : refusalOf(command, args)
  if (why !== null) {
    refuse(connection, command, why)
    return
  }
  if (connection.account.isRefused) {
    refuse(connection, command, errorOf(connection.account.refusal()).text)
    // It will not be carried out, and nothing of it is needed.
    transaction.drop()
    return
  }
  transaction.add(command, args, bytes + args.length * ARGUMENT_BYTES + COMMAND_BYTES)
  if (args.length > MANY_ARGUMENTS) transaction.hasMany = true
  connection.say(QUEUED, command)
}

/** Null, or why a command cannot be queued. Beside its own arguments, Redis counts those of a subcommand. */
function refusalOf(command: Command, args: readonly Buffer[]): string | null {
  const { name, subcommands } = command
  if (!command.alone) return `ERR Command '${name}' not allowed inside a transaction`
  try {
    if (subcommands && args.length > 1) subcommandOf(name, subcommands, args)
  } catch (error) {
    if (error instanceof CommandError) return error.message
    throw error
  }
  return null
}

/** A command that is not carried out, whatever it is: it spoils a transaction, and EXEC ends one. */
export function refuse(connection: Connection, command: Command, text: string): void {
  if (command.name === 'exec') {
    connection.forgetTransaction()
    const why = text.replace(/^ERR /, '')
    connection.say(new RespError(`EXECABORT Transaction discarded because of: ${why}`), command)
    return
  }
  if (connection.transaction) connection.transaction.aborted = true
  connection.say(new RespError(text), command)
}

function discard(connection: Connection, _args: readonly Buffer[], command: Command): void {
  if (!connection.transaction) {
    connection.say(new RespError('ERR DISCARD without MULTI'), command)
    return
  }
  connection.forgetTransaction()
  connection.say(OK, command)
}

function watch(connection: Connection, args: readonly Buffer[], command: Command): void {
  if (connection.transaction) {
    connection.say(new RespError('ERR WATCH inside MULTI is not allowed'), command)
    return
  }
  const { coordinator, maxBatchKeys } = connection.door.options
  const keys = args.slice(1)
  const watched = (connection.watch ??= new Watch(connection.account))
  const isTooMany = watched.size + keys.length > maxBatchKeys
  const unusable = isTooMany
    ? null
    : keys.map((key) => coordinator.checkKey(key)).find((error) => error !== null)
  if (unusable || isTooMany) {
    const sentence = `ERR at most ${maxBatchKeys} keys can be watched (MAX_BATCH_KEYS)`
    connection.say(unusable ? errorOf(unusable) : new RespError(sentence), command)
    return
  }
  const slot = new ReplySlot(connection, command)
  connection.add(slot)
  const reads = keys.map((key) => {
    const version = readNeeded(connection, key, 'head', connection.writeLevel).then((record) =>
      versionSeen(record, nowMs(coordinator)),
    )
    watched.add(key, version)
    return version
  })
  // What the client itself changes from now on counts as a change.
  const released = claimKeys(connection, keys)
  const seen = Promise.all(reads).then(() => OK)
  slot.answerWith(seen.finally(released))
}

function unwatch(connection: Connection): Reply {
  connection.forgetWatch()
  return OK
}

function exec(connection: Connection, _args: readonly Buffer[], command: Command): void {
  const { transaction, watch } = connection
  if (!transaction) {
    connection.say(new RespError('ERR EXEC without MULTI'), command)
    return
  }
  if (transaction.aborted) {
    connection.forgetTransaction()
    const sentence = 'EXECABORT Transaction discarded because of previous errors.'
    connection.say(new RespError(sentence), command)
    return
  }
  connection.transaction = null
  connection.forgetWatch()
  const slot = new ReplySlot(connection, command)
  connection.add(slot)
  const job = prepare(connection, transaction, watch)
  if (transaction.isLong) {
    const released = claimEverything(connection)
    const prepared = connection.door.work.outcomeOf(job)
    const answer = prepared.then(({ steps, keys }) => execSteps(connection, transaction, steps, keys, watch))
    slot.answerWith(answer.finally(() => endOf(transaction, released)))
    return
  }
  const { steps, keys } = inOneGo(job)
  // Commands without keys change, or tell, what concerns all that follows.
  const released = steps.includes(null) ? claimEverything(connection) : claimKeys(connection, keys)
  const answer = execSteps(connection, transaction, steps, keys, watch)
  slot.answerWith(answer.finally(() => endOf(transaction, released)))
}

function endOf(transaction: Transaction, released: () => void): void {
  transaction.release()
  released()
}

/** What its commands do, and all its keys, those that are watched too. */
function* prepare(
  connection: Connection,
  { queued }: Transaction,
  watch: Watch | null,
): Sliced<{ steps: Queue; keys: Buffer[] }> {
  const steps: Queue[number][] = []
  const mentions: Buffer[] = watch?.all.map(({ key }) => key) ?? []
  for (const { command, args } of queued) {
    const step =
      args.length > MANY_ARGUMENTS && command.stepInSlices !== undefined
        ? yield* command.stepInSlices(connection, args)
        : (command.step?.(connection, args) ?? null)
    steps.push(step)
    if (isStep(step)) for (const key of step.keys) mentions.push(key)
    yield 1
  }
  return { steps, keys: (yield* distinctInSlices(mentions)).keys }
}

export const TRANSACTION_COMMANDS = [
  controlCommand('multi', 1, multi),
  controlCommand('exec', 1, exec),
  controlCommand('discard', 1, discard),
  controlCommand('watch', -2, watch, { firstKey: 1, lastKey: -1, keyStep: 1 }),
  // Inside MULTI it waits for its turn as any other, and then there is nothing left to forget.
  controlCommand('unwatch', 1, (connection, _args, command) => connection.say(unwatch(connection), command), {
    control: false,
    alone: (connection) => Promise.resolve(unwatch(connection)),
  }),
]

// ---- carrying out

async function execSteps(
  connection: Connection,
  transaction: Transaction,
  steps: Queue,
  keys: readonly Buffer[],
  watch: Watch | null,
): Promise<Reply> {
  const { coordinator, crossSetMulti, maxBatchKeys } = connection.door.options
  const isTooLarge = keys.length > maxBatchKeys
  if (!isTooLarge && coordinator.sharesReplicaSet(keys)) {
    return asOne(connection, transaction, steps, keys, watch)
  }
  if (isTooLarge && crossSetMulti === 'refuse') {
    return new RespError(
      `ERR this transaction touches ${keys.length} keys; at most ${maxBatchKeys} are allowed (MAX_BATCH_KEYS)`,
    )
  }
  connection.door.onCrossSet(crossSetMulti)
  if (crossSetMulti === 'refuse') return new RespError(CROSS_SET)
  return inParts(connection, transaction, steps, watch)
}

async function asOne(
  connection: Connection,
  { queued }: Transaction,
  steps: Queue,
  keys: readonly Buffer[],
  watch: Watch | null,
): Promise<Reply> {
  const watched = await Promise.all(
    (watch?.all ?? []).map(async ({ key, version }) => ({ key, version: await version })),
  )
  const places = watched.map(({ key }) => keys.findIndex((other) => other.equals(key)))
  const done: { replies: Reply[] | null } = { replies: null }
  await transact(connection, keys, paceOf(steps), function* (current, now) {
    done.replies = null
    const changed = watched.some(({ version }, i) => {
      return compareVersions(version, versionSeen(current[places[i]!]!, now)) !== 0
    })
    if (changed) return null
    const outcome = yield* runSteps(steps, keys, current, now)
    if (outcome instanceof RondoError) return outcome
    done.replies = outcome.replies
    return outcome.next
  })
  const { replies } = done
  if (!replies) return NULL_ARRAY
  // Once, although the steps may have run several times; and only now that nothing can stop the transaction any more.
  let bytes = 0
  for (const [i, step] of steps.entries()) {
    if (step !== null) continue
    const reply = await aside(connection, queued[i]!)
    bytes += answerBytes(reply)
    replies[i] = bytes > MAX_ANSWER_BYTES ? new RespError(LEFT_OUT) : reply
    await connection.door.work.breathe(queued[i]!.command.units)
  }
  return replies
}

/** Keys on different replica sets, or too many of them: each command by itself. */
async function inParts(
  connection: Connection,
  { queued }: Transaction,
  steps: Queue,
  watch: Watch | null,
): Promise<Reply> {
  const { coordinator } = connection.door.options
  for (const { key, version } of watch?.all ?? []) {
    const now = await readNeeded(connection, key, 'head', connection.writeLevel)
    if (compareVersions(await version, versionSeen(now, nowMs(coordinator))) !== 0) return NULL_ARRAY
  }
  return oneByOne(connection, steps, (place) => {
    const { command, args } = queued[place]!
    return steps[place] === null ? aside(connection, queued[place]!) : command.alone!(connection, args)
  })
}

/** A command without keys. Its reply is a part of EXEC's. */
async function aside(connection: Connection, { command, args }: Queued): Promise<Reply> {
  const reply = await command.alone!(connection, args)
  // CLIENT REPLY SKIP leaves out its own reply and the next; here it is not one of its own that comes next.
  if (connection.unsaidReplies === 2) connection.unsaidReplies = 1
  return reply
}

/** The version of a live value; what is deleted, expired or absent is all the same to a user. */
function versionSeen(record: RecordHead | null, now: number): Version {
  return record?.isLive(now) ? Buffer.from(record.version) : VERSION_ZERO
}
