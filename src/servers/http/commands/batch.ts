/**
 * Many commands in one request: each by itself (a pipeline), or all as one transaction, by the rules of MULTI in Rondo
 * (commands/run/queue.ts). Commands of a pipeline on different keys run at once, those on one key in their order.
 */
import { codedErrorOf } from '../../../commands/errors.ts'
import { HANDS_OVER } from '../../../commands/hand-over.ts'
import { MANY_ARGUMENTS } from '../../../commands/model.ts'
import { RespError, type Reply } from '../../../commands/reply.ts'
import { answerBytes } from '../../../commands/run/answer-limit.ts'
import { countLookups, type Lookups } from '../../../commands/run/lookups.ts'
import { oneByOne } from '../../../commands/run/one-by-one.ts'
import { runQueue } from '../../../commands/run/queue.ts'
import { isStep, type Queue } from '../../../commands/run/together.ts'
import { distinctInSlices } from '../../../commands/step.ts'
import { RondoError } from '../../../core/errors.ts'
import type { Sliced } from '../../../core/work.ts'
import { isRead, type CommandHost, type OfferedCommand } from '../../command-host.ts'
import { COMMAND_BYTES } from '../../ledger.ts'
import type { Exchange } from '../exchange.ts'
import { Pieces } from '../json-text.ts'
import type { Work } from '../turns.ts'
import { argumentsOf } from './arguments.ts'
import type { RequestCaller } from './caller.ts'
import type { TextForm } from './reply-json.ts'
import { orLost, pushResult, sendJson } from './run.ts'

export interface Queued {
  /** Or why there is none. */
  readonly command: OfferedCommand | RespError
  readonly args: readonly Buffer[]
}

/** @throws RondoError BAD_REQUEST, or OVERLOADED */
export async function queuedOf(
  exchange: Exchange,
  list: unknown,
  host: CommandHost,
  work: Work,
): Promise<Queued[]> {
  if (!Array.isArray(list)) {
    throw new RondoError(
      'BAD_REQUEST',
      'The body must be an array of commands: [["SET", "key", "value"], …].',
    )
  }
  const { maxTransactionCommands } = host.options
  if (list.length > maxTransactionCommands) {
    const sentence = `There are ${list.length} commands; at most ${maxTransactionCommands} are allowed (MAX_TRANSACTION_COMMANDS).`
    throw new RondoError('BAD_REQUEST', sentence)
  }
  const refused = exchange.hold(list.length * COMMAND_BYTES)
  if (refused) throw refused
  const queued: Queued[] = []
  for (const one of list as unknown[]) {
    const args = await argumentsOf(exchange, one, work)
    queued.push({ command: host.offered(args), args })
  }
  return queued
}

/** Each command by itself; errors are among the replies. */
export async function pipeline(caller: RequestCaller, queued: readonly Queued[]): Promise<Reply> {
  const { steps } = await caller.work.outcomeOf(prepare(caller, queued))
  return oneByOne(caller, steps, {
    execute: (place) => execute(caller, queued[place]!),
    handsOver: handingOver(queued),
  })
}

/** All or nothing. A command that cannot be queued discards the transaction, as in Redis. */
export async function transaction(
  exchange: Exchange,
  caller: RequestCaller,
  queued: readonly Queued[],
  host: CommandHost,
): Promise<Reply> {
  for (const { command } of queued) {
    const why = refusalOf(command)
    if (why === null) continue
    return new RespError(`EXECABORT Transaction discarded because of: ${why.replace(/^ERR /, '')}`)
  }
  const { steps, keys } = await caller.work.outcomeOf(prepare(caller, queued))
  const commands = {
    steps,
    keys,
    execute: (place: number) => execute(caller, queued[place]!, true),
    handsOver: handingOver(queued),
    lookedUp: (place: number, found: Lookups) => {
      const { command } = queued[place]!
      if (!(command instanceof RespError)) countLookups(caller, command.name, found)
    },
    hold: (bytes: number) => void exchange.hold(bytes),
  }
  const { crossSetMulti } = host.options
  return runQueue(caller, commands, { crossSetMulti, onCrossSet: (then) => host.onCrossSet(then) })
}

function refusalOf(command: OfferedCommand | RespError): string | null {
  if (command instanceof RespError) return command.text
  return command.onlyAlone ? `Command '${command.name}' not allowed inside a transaction` : null
}

function handingOver(queued: readonly Queued[]): (place: number) => boolean {
  return (place) => {
    const { command } = queued[place]!
    return !(command instanceof RespError) && HANDS_OVER.has(command.name)
  }
}

/** The steps of the commands, and their keys. */
function* prepare(
  caller: RequestCaller,
  queued: readonly Queued[],
): Sliced<{ steps: Queue; keys: readonly Buffer[] }> {
  const steps: Queue[number][] = []
  const mentions: Buffer[] = []
  for (const { command, args } of queued) {
    const step = command instanceof RespError ? command : yield* stepOf(caller, command, args)
    steps.push(step)
    if (isStep(step)) for (const key of step.keys) mentions.push(key)
    yield 1
  }
  return { steps, keys: (yield* distinctInSlices(mentions)).keys }
}

function* stepOf(
  caller: RequestCaller,
  command: OfferedCommand,
  args: readonly Buffer[],
): Sliced<Queue[number]> {
  if (args.length > MANY_ARGUMENTS && command.stepInSlices) return yield* command.stepInSlices(caller, args)
  return command.step?.(caller, args) ?? null
}

function execute(caller: RequestCaller, { command, args }: Queued, inTransaction = false): Promise<Reply> {
  return command instanceof RespError
    ? Promise.resolve(command)
    : command.execute(caller, args, inTransaction)
}

/** `[{"result": …}, {"error": "…"}, …]`. @throws RondoError if all of it has failed */
export async function sendResults(
  exchange: Exchange,
  queued: readonly Queued[],
  reply: Reply,
  form: TextForm,
  work: Work,
): Promise<void> {
  if (reply instanceof RespError) throw codedErrorOf(reply)
  const replies = reply as readonly Reply[]
  const isOfReads = queued.every(({ command }) => command instanceof RespError || isRead(command))
  await orLost(isOfReads, async () => {
    const refused = exchange.hold(answerBytes(replies))
    if (refused) throw refused
    const pieces = new Pieces()
    pieces.push('[')
    for (const [i, one] of replies.entries()) {
      if (i > 0) pieces.push(',')
      await pushResult(pieces, one, form, work)
    }
    pieces.push(']')
    await sendJson(exchange, pieces)
  })
}
