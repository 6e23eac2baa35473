/** Constructors of commands on the connection or the server: synchronous ones, and those that walk the cluster. */
import type { Caller, Execute } from '../../../commands/model.ts'
import { claimEverything } from '../connection/claims.ts'
import { CONTROL } from '../../../commands/docs.ts'
import type { Client, Answer, Command, Subcommands } from '../model.ts'
import { replyOf } from '../../../commands/errors.ts'
import { RespError, type Reply } from '../../../commands/reply.ts'
import { ReplySlot } from '../connection/slot.ts'
import { CommandError } from '../../../commands/step.ts'
import { helpOf } from '../../../commands/subcommands.ts'

export { subcommandOf, wrongNumber } from '../../../commands/subcommands.ts'

/** A command before table.ts adds the rest. */
export type SessionCommand = Omit<Command, 'index' | 'handsOver' | 'takesOptions' | 'units'>

/** A command on the connection or the server, not on keys. */
export function controlCommand(
  name: string,
  arity: number,
  run: Command['run'],
  more: Partial<Command> = {},
): SessionCommand {
  return {
    name,
    nameBytes: Buffer.from(name),
    arity,
    flags: CONTROL[name]!.flags,
    firstKey: 0,
    lastKey: 0,
    keyStep: 0,
    control: true,
    open: false,
    run,
    ...more,
  }
}

/** Replies at once, and is allowed inside MULTI. */
export function immediate(
  name: string,
  arity: number,
  answer: Answer,
  more: Partial<Command> = {},
): SessionCommand {
  const reply = replying(answer)
  const alone = (client: Client, args: readonly Buffer[]) => Promise.resolve(reply(client, args))
  return controlCommand(name, arity, saying(reply), { control: false, alone, ...more })
}

/** Replies at once, is allowed inside MULTI, and needs no connection. */
export function withoutConnection(
  name: string,
  arity: number,
  answer: (caller: Caller, args: readonly Buffer[]) => Reply,
  { ofClient = answer, ...more }: Partial<Command> & { readonly ofClient?: Answer } = {},
): SessionCommand {
  const reply = replying(answer)
  return immediate(name, arity, ofClient, {
    ...more,
    execute: (caller, args) => Promise.resolve(reply(caller, args)),
  })
}

/** Replies at once, and is not allowed inside MULTI. */
export function outside(
  name: string,
  arity: number,
  answer: Answer,
  more: Partial<Command> = {},
): SessionCommand {
  return controlCommand(name, arity, saying(replying(answer)), { control: false, ...more })
}

/** Turns CommandErrors into replies. */
function replying<C>(answer: (client: C, args: readonly Buffer[]) => Reply) {
  return (client: C, args: readonly Buffer[]): Reply => {
    try {
      return answer(client, args)
    } catch (error) {
      if (error instanceof CommandError) return new RespError(error.message)
      throw error
    }
  }
}

function saying(reply: Answer): Command['run'] {
  return (client, args, command) => client.say(reply(client, args), command)
}

/**
 * A command over the keys of the whole cluster: starts when all earlier commands of the connection are answered, and later
 * ones wait for it. Inside MULTI it runs after the commands on keys.
 */
export function overall(
  name: string,
  arity: number,
  answer: OverallAnswer,
  more: Partial<Command> = {},
): SessionCommand {
  const alone = (client: Client, args: readonly Buffer[]) => answer(client, args).catch(replyOf)
  return overallOutside(name, arity, answer, { alone, ...more })
}

/** The same, not allowed inside MULTI. */
export function overallOutside(
  name: string,
  arity: number,
  answer: OverallAnswer,
  more: Partial<Command> = {},
): SessionCommand {
  const run: Command['run'] = (client, args, command) => {
    const slot = new ReplySlot(client, command)
    client.add(slot)
    slot.answerWith(answer(client, args).finally(claimEverything(client)))
  }
  return controlCommand(name, arity, run, { control: false, inTurn: true, ...more })
}

/** Like overall(), for one that needs no connection. */
export function overKeys(name: string, arity: number, answer: Execute): SessionCommand {
  return overall(name, arity, answer, { execute: repliesOf(answer) })
}

/** The same, not allowed inside MULTI. */
export function overKeysOutside(name: string, arity: number, answer: Execute): SessionCommand {
  return overallOutside(name, arity, answer, { execute: repliesOf(answer) })
}

function repliesOf(answer: Execute): Execute {
  return (caller, args) => answer(caller, args).catch(replyOf)
}

export type OverallAnswer = (client: Client, args: readonly Buffer[]) => Promise<Reply>

export function withHelp<A>(
  name: string,
  subcommands: Subcommands<A | Answer>,
  since = '5.0.0',
): Subcommands<A | Answer> {
  const flags = ['loading', 'stale']
  const help = { arity: 2, since, flags, summary: 'Shows this help.', answer: (): Reply => lines }
  const all = { ...subcommands, help }
  const lines: Reply = helpOf(name, all)
  return all
}
