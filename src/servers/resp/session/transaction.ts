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
import { ARGUMENT_BYTES, COMMAND_BYTES } from '../../ledger.ts'
import { claimEverything, claimKeys } from '../connection/claims.ts'
import { MANY_ARGUMENTS } from '../../../commands/model.ts'
import { Transaction, Watch, type Client, type Command, type Queued } from '../model.ts'
import { errorOf } from '../../../commands/errors.ts'
import { nowMs, readNeeded } from '../../../commands/run/held.ts'
import { LEFT_OUT, oneByOne } from '../../../commands/run/one-by-one.ts'
import { NULL_ARRAY, OK, RespError, Simple, type Reply } from '../../../commands/reply.ts'
import { controlCommand, subcommandOf } from './session-command.ts'
import { ReplySlot } from '../connection/slot.ts'
import { CommandError, distinctInSlices } from '../../../commands/step.ts'
import { CROSS_SET, isStep, paceOf, runSteps, transact, type Queue } from '../../../commands/run/together.ts'
import { inOneGo, type Sliced } from '../../../core/work.ts'

const QUEUED = new Simple('QUEUED')
/** What a transaction may hold; how many keys it may touch, where it is one, is MAX_BATCH_KEYS. */
const MAX_COMMANDS = 100_000
// ---- commands

function multi(client: Client, _args: readonly Buffer[], command: Command): void {
  if (client.transaction) {
    client.say(new RespError('ERR MULTI calls can not be nested'), command)
    return
  }
  client.transaction = new Transaction(client.account)
  client.say(OK, command)
}

/** A command that came after MULTI. */
export function queue(client: Client, command: Command, args: readonly Buffer[]): void {
  const transaction = client.transaction!
  const { maxBatchBytes } = client.server.options
  const bytes = args.reduce((sum, arg) => sum + arg.length, 0)
  transaction.bytes += bytes
  const isTooLong = transaction.queued.length >= MAX_COMMANDS || transaction.bytes > maxBatchBytes
  const why = isTooLong
    ? `ERR a transaction may hold ${MAX_COMMANDS} commands of ${maxBatchBytes} bytes together (MAX_BATCH_BYTES)`
    : refusalOf(command, args)
  if (why !== null) {
    refuse(client, command, why)
    return
  }
  if (client.account.isRefused) {
    refuse(client, command, errorOf(client.account.refusal()).text)
    // It will not be carried out, and nothing of it is needed.
    transaction.drop()
    return
  }
  transaction.add(command, args, bytes + args.length * ARGUMENT_BYTES + COMMAND_BYTES)
  if (args.length > MANY_ARGUMENTS) transaction.hasMany = true
  client.say(QUEUED, command)
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
  const keys = args.slice(1)
  const watched = (client.watch ??= new Watch(client.account))
  const isTooMany = watched.size + keys.length > maxBatchKeys
  const unusable = isTooMany ? null : keys.map((key) => store.checkKey(key)).find((error) => error !== null)
  if (unusable || isTooMany) {
    const sentence = `ERR at most ${maxBatchKeys} keys can be watched (MAX_BATCH_KEYS)`
    client.say(unusable ? errorOf(unusable) : new RespError(sentence), command)
    return
  }
  const slot = new ReplySlot(client, command)
  client.add(slot)
  const reads = keys.map((key) => {
    const version = readNeeded(client, key, 'head', client.writeLevel).then((record) =>
      versionSeen(record, nowMs(store)),
    )
    watched.add(key, version)
    return version
  })
  // What the client itself changes from now on counts as a change.
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
  if (transaction.isLong) {
    const released = claimEverything(client)
    const prepared = client.work.outcomeOf(job)
    const answer = prepared.then(({ steps, keys }) => execSteps(client, transaction, steps, keys, watch))
    slot.answerWith(answer.finally(() => endOf(transaction, released)))
    return
  }
  const { steps, keys } = inOneGo(job)
  // Commands without keys change, or tell, what concerns all that follows.
  const released = steps.includes(null) ? claimEverything(client) : claimKeys(client, keys)
  const answer = execSteps(client, transaction, steps, keys, watch)
  slot.answerWith(answer.finally(() => endOf(transaction, released)))
}

function endOf(transaction: Transaction, released: () => void): void {
  transaction.release()
  released()
}

/** What its commands do, and all its keys, those that are watched too. */
function* prepare(
  client: Client,
  { queued }: Transaction,
  watch: Watch | null,
): Sliced<{ steps: Queue; keys: Buffer[] }> {
  const steps: Queue[number][] = []
  const mentions: Buffer[] = watch?.all.map(({ key }) => key) ?? []
  for (const { command, args } of queued) {
    const step =
      args.length > MANY_ARGUMENTS && command.stepInSlices !== undefined
        ? yield* command.stepInSlices(client, args)
        : (command.step?.(client, args) ?? null)
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
  controlCommand('unwatch', 1, (client, _args, command) => client.say(unwatch(client), command), {
    control: false,
    alone: (client) => Promise.resolve(unwatch(client)),
  }),
]

// ---- carrying out

async function execSteps(
  client: Client,
  transaction: Transaction,
  steps: Queue,
  keys: readonly Buffer[],
  watch: Watch | null,
): Promise<Reply> {
  const { store } = client
  const { maxBatchKeys } = client.settings
  const { crossSetMulti } = client.server.options
  const isTooLarge = keys.length > maxBatchKeys
  if (!isTooLarge && store.sharesReplicaSet(keys)) {
    return asOne(client, transaction, steps, keys, watch)
  }
  if (isTooLarge && crossSetMulti === 'refuse') {
    return new RespError(
      `ERR this transaction touches ${keys.length} keys; at most ${maxBatchKeys} are allowed (MAX_BATCH_KEYS)`,
    )
  }
  client.server.onCrossSet(crossSetMulti)
  if (crossSetMulti === 'refuse') return new RespError(CROSS_SET)
  return inParts(client, transaction, steps, watch)
}

async function asOne(
  client: Client,
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
  await transact(client, keys, paceOf(steps), function* (current, now) {
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
    const reply = await aside(client, queued[i]!)
    bytes += answerBytes(reply)
    replies[i] = bytes > MAX_ANSWER_BYTES ? new RespError(LEFT_OUT) : reply
    await client.work.breathe(queued[i]!.command.units)
  }
  return replies
}

/** Keys on different replica sets, or too many of them: each command by itself. */
async function inParts(
  client: Client,
  { queued }: Transaction,
  steps: Queue,
  watch: Watch | null,
): Promise<Reply> {
  const { store } = client
  for (const { key, version } of watch?.all ?? []) {
    const now = await readNeeded(client, key, 'head', client.writeLevel)
    if (compareVersions(await version, versionSeen(now, nowMs(store))) !== 0) return NULL_ARRAY
  }
  return oneByOne(client, steps, (place) => {
    const { command, args } = queued[place]!
    return steps[place] === null ? aside(client, queued[place]!) : command.alone!(client, args)
  })
}

/** A command without keys. Its reply is a part of EXEC's. */
async function aside(client: Client, { command, args }: Queued): Promise<Reply> {
  const reply = await command.alone!(client, args)
  // CLIENT REPLY SKIP leaves out its own reply and the next; here it is not one of its own that comes next.
  if (client.unsaidReplies === 2) client.unsaidReplies = 1
  return reply
}

/** The version of a live value; what is deleted, expired or absent is all the same to a user. */
function versionSeen(record: RecordHead | null, now: number): Version {
  return record?.isLive(now) ? Buffer.from(record.version) : VERSION_ZERO
}
