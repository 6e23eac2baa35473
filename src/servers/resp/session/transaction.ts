/**
 * MULTI, EXEC, DISCARD, WATCH and UNWATCH.
 *
 * EXEC builds one function from the current values of all keys to their new values and the replies: the steps of the
 * commands, in order, over a copy. The coordinator reads the keys, runs the function, and stores the result only if nothing
 * has changed meanwhile (Coordinator.transact); otherwise it retries. So a transaction is atomic and isolated. All keys must
 * share a replica set, as keys with the same {hash tag} do. The commands of others are executed one by one, or, with
 * RESP_CROSS_SET_MULTI=refuse, refused with CROSSSLOT, as in Redis Cluster.
 *
 * WATCH records the versions of the keys; EXEC proceeds only if they have not changed (hasChanged). They are among the keys
 * of the transaction, so check and change are one step. Commands that run one by one could not keep that promise: between
 * the check and the last of them another client may write. So EXEC after WATCH is a transaction or an error, whatever
 * RESP_CROSS_SET_MULTI says.
 */
import { compareVersions, VERSION_ZERO } from '../../../core/clock.ts'
import type { RecordHead } from '../../../core/codec.ts'
import type { CrossSetOutcome } from '../../../core/events.ts'
import { storedKey } from '../../../core/keys.ts'
import { ARGUMENT_BYTES, COMMAND_BYTES } from '../../ledger.ts'
import { claimEverything, claimKeys } from '../connection/claims.ts'
import { MANY_ARGUMENTS } from '../../../commands/model.ts'
import { Transaction, Watch, type Client, type Command, type Queued, type Seen } from '../model.ts'
import { errorOf } from '../../../commands/errors.ts'
import { nowMs, readNeeded } from '../../../commands/run/held.ts'
import { OK, RespError, Simple, type Reply } from '../../../commands/reply.ts'
import { trySelect } from './select.ts'
import { controlCommand, subcommandOf } from './session-command.ts'
import { keepsTransaction, noteTransaction } from './tracking.ts'
import { ReplySlot } from '../connection/slot.ts'
import { CommandError, distinctInSlices } from '../../../commands/step.ts'
import { countLookups, type Lookups } from '../../../commands/run/lookups.ts'
import { runQueue, type HasChanged } from '../../../commands/run/queue.ts'
import { isStep, type Queue } from '../../../commands/run/together.ts'
import { inOneGo, type Sliced } from '../../../core/work.ts'

const QUEUED = new Simple('QUEUED')

// ---- commands

function multi(client: Client, _args: readonly Buffer[], command: Command): void {
  if (client.transaction) {
    client.say(new RespError('ERR MULTI calls can not be nested'), command)
    return
  }
  client.transaction = new Transaction(client.account)
  client.say(OK, command)
}

/** Queues a command that was sent after MULTI. */
export function queue(client: Client, command: Command, args: readonly Buffer[]): void {
  const transaction = client.transaction!
  const bytes = args.reduce((sum, arg) => sum + arg.length, 0)
  transaction.bytes += bytes
  const why = tooLong(client, transaction) ?? refusalOf(command, args)
  if (why !== null) {
    refuse(client, command, why)
    return
  }
  if (client.account.isRefused) {
    refuse(client, command, errorOf(client.account.refusal()).text)
    // EXEC will fail, so the queue is no longer needed.
    transaction.drop()
    return
  }
  transaction.add(command, args, bytes + args.length * ARGUMENT_BYTES + COMMAND_BYTES)
  if (args.length > MANY_ARGUMENTS) transaction.hasMany = true
  client.say(QUEUED, command)
}

/** MAX_BATCH_KEYS limits the keys of an atomic transaction. */
function tooLong({ server }: Client, { queued, bytes }: Transaction): string | null {
  const { maxTransactionCommands, maxBatchBytes } = server.options
  if (queued.length >= maxTransactionCommands)
    return `ERR A transaction may have ${maxTransactionCommands} commands (MAX_TRANSACTION_COMMANDS).`
  if (bytes > maxBatchBytes)
    return `ERR The commands of a transaction may have ${maxBatchBytes} bytes together (MAX_BATCH_BYTES).`
  return null
}

/** Null, or the reason why a command cannot be queued. As in Redis, a subcommand's arity is checked too. */
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

/** Refuses a command. Inside MULTI this aborts the transaction; a refused EXEC discards it. */
export function refuse(client: Client, command: Command, text: string): void {
  if (command.name === 'exec') {
    client.forgetTransaction()
    const why = text.replace(/^ERR /, '')
    client.say(new RespError(`EXECABORT Transaction discarded because of: ${why}`), command)
    return
  }
  if (client.transaction) client.transaction.aborted = true
  client.say(new RespError(text), command)
}

function discard(client: Client, _args: readonly Buffer[], command: Command): void {
  if (!client.transaction) {
    client.say(new RespError('ERR DISCARD without MULTI'), command)
    return
  }
  client.forgetTransaction()
  client.say(OK, command)
}

function watch(client: Client, args: readonly Buffer[], command: Command): void {
  if (client.transaction) {
    client.say(new RespError('ERR WATCH inside MULTI is not allowed'), command)
    return
  }
  const { store, settings } = client
  const { maxBatchKeys } = settings
  const names = args.slice(1)
  const watched = (client.watch ??= new Watch(client.account))
  const isTooMany = watched.size + names.length > maxBatchKeys
  const unusable = isTooMany ? null : names.map((key) => store.checkKey(key)).find((error) => error !== null)
  if (unusable || isTooMany) {
    const sentence = `ERR at most ${maxBatchKeys} keys can be watched (MAX_BATCH_KEYS)`
    client.say(unusable ? errorOf(unusable) : new RespError(sentence), command)
    return
  }
  const slot = new ReplySlot(client, command)
  client.add(slot)
  const keys = names.map((key) => storedKey(settings.database, key))
  const reads = keys.map((key) => {
    const seen = readNeeded(client, key, 'head', client.writeLevel).then((record) =>
      seenOf(record, nowMs(store)),
    )
    watched.add(key, seen)
    return seen
  })
  // Later changes by the client itself count too.
  const released = claimKeys(client, keys)
  const seen = Promise.all(reads).then(() => OK)
  slot.answerWith(seen.finally(released))
}

function unwatch(client: Client): Reply {
  client.forgetWatch()
  return OK
}

function exec(client: Client, _args: readonly Buffer[], command: Command): void {
  const { transaction, watch } = client
  if (!transaction) {
    client.say(new RespError('ERR EXEC without MULTI'), command)
    return
  }
  if (transaction.aborted) {
    client.forgetTransaction()
    const sentence = 'EXECABORT Transaction discarded because of previous errors.'
    client.say(new RespError(sentence), command)
    return
  }
  client.transaction = null
  client.forgetWatch()
  const slot = new ReplySlot(client, command)
  client.add(slot)
  const job = prepare(client, transaction, watch)
  const tracking = keepsTransaction(client, transaction.queued)
  const begin = ({ steps, keys }: { steps: Queue; keys: Buffer[] }) => {
    if (tracking)
      noteTransaction(
        tracking,
        transaction.queued,
        steps.map((step) => (isStep(step) ? step : null)),
      )
    return execSteps(client, transaction, steps, keys, watch)
  }
  if (transaction.isLong) {
    const released = claimEverything(client)
    const answer = client.work.outcomeOf(job).then(begin)
    slot.answerWith(answer.finally(() => endOf(transaction, released)))
    return
  }
  const { steps, keys } = inOneGo(job)
  // Commands without keys may affect all later commands.
  const released = steps.includes(null) ? claimEverything(client) : claimKeys(client, keys)
  const answer = begin({ steps, keys })
  slot.answerWith(answer.finally(() => endOf(transaction, released)))
}

function endOf(transaction: Transaction, released: () => void): void {
  transaction.release()
  released()
}

/** The steps of its commands, and all its keys, including watched ones. */
function* prepare(
  client: Client,
  { queued }: Transaction,
  watch: Watch | null,
): Sliced<{ steps: Queue; keys: Buffer[] }> {
  const steps: Queue[number][] = []
  const mentions: Buffer[] = watch?.all.map(({ key }) => key) ?? []
  // As the client will be after the SELECTs among them.
  let view = client
  for (const { command, args } of queued) {
    const step =
      args.length > MANY_ARGUMENTS && command.stepInSlices !== undefined
        ? yield* command.stepInSlices(view, args)
        : (command.step?.(view, args) ?? null)
    steps.push(step)
    if (command.name === 'select') {
      if (view === client) view = Object.create(client) as Client
      trySelect(view, args)
    }
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
  // Inside MULTI it is queued like any other command, and then has no effect.
  controlCommand('unwatch', 1, (client, _args, command) => client.say(unwatch(client), command), {
    control: false,
    alone: (client) => Promise.resolve(unwatch(client)),
  }),
]

// ---- execution

function execSteps(
  client: Client,
  transaction: Transaction,
  steps: Queue,
  keys: readonly Buffer[],
  watch: Watch | null,
): Promise<Reply> {
  const { queued } = transaction
  const { server } = client
  const commands = {
    steps,
    keys,
    execute: (place: number) => {
      const { command, args } = queued[place]!
      return steps[place] === null ? aside(client, queued[place]!) : command.alone!(client, args)
    },
    handsOver: (place: number) => queued[place]!.command.handsOver,
    lookedUp: (place: number, found: Lookups) => countLookups(client, queued[place]!.command.name, found),
    hold: (bytes: number) => transaction.hold(bytes),
  }
  const policy = {
    crossSetMulti: server.options.crossSetMulti,
    onCrossSet: (then: CrossSetOutcome) => server.onCrossSet(then),
  }
  return runQueue(client, commands, policy, watch && (() => changedSince(watch, keys)))
}

async function changedSince(watch: Watch, keys: readonly Buffer[]): Promise<HasChanged> {
  const watched = await Promise.all(watch.all.map(async ({ key, seen }) => ({ key, seen: await seen })))
  const places = watched.map(({ key }) => keys.findIndex((other) => other.equals(key)))
  return (current, now) => watched.some(({ seen }, i) => hasChanged(seen, seenOf(current[places[i]!]!, now)))
}

/** Runs a command without keys; its reply is part of EXEC's. */
async function aside(client: Client, { command, args }: Queued): Promise<Reply> {
  const reply = await command.alone!(client, args)
  // CLIENT REPLY SKIP suppresses its own reply and the next; here its own reply is part of EXEC's.
  if (client.suppressedReplies === 2) client.suppressedReplies = 1
  return reply
}

function seenOf(record: RecordHead | null, now: number): Seen {
  if (!record) return { version: VERSION_ZERO, isLive: false }
  return { version: Buffer.from(record.version), isLive: record.isLive(now) }
}

/**
 * As in Redis, a key that was absent has changed if it was set and deleted meanwhile: the tombstone is newer than what was
 * seen. An older record, or none, means that a tombstone or an expired value has been removed from the node, which changes
 * nothing for a user. After GRACE_SECONDS nothing tells of a key that was set and deleted.
 */
function hasChanged(seen: Seen, now: Seen): boolean {
  if (seen.isLive !== now.isLive) return true
  const order = compareVersions(now.version, seen.version)
  return now.isLive ? order !== 0 : order > 0
}
