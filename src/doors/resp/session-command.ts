/** How commands on the connection or the server are made: those that answer at once, and those that take a while. */
import { word } from './arguments.ts'
import { controlCommand, type Command } from './command.ts'
import { EVERYTHING, type Connection } from './connection.ts'
import { RespError, Simple, type Reply } from './reply.ts'
import { ReplySlot } from './slot.ts'
import { CommandError } from './step.ts'

export type SessionCommand = Omit<Command, 'index'>
/** May throw a CommandError. */
export type Answer = (connection: Connection, args: readonly Buffer[]) => Reply

/** Answers at once, and may stand inside MULTI. */
export function immediate(
  name: string,
  arity: number,
  answer: Answer,
  more: Partial<Command> = {},
): SessionCommand {
  const reply = replying(answer)
  const alone = (connection: Connection, args: readonly Buffer[]) => Promise.resolve(reply(connection, args))
  return controlCommand(name, arity, saying(reply), { control: false, reply, alone, ...more })
}

/** Answers at once, and has no place inside MULTI. */
export function outside(
  name: string,
  arity: number,
  answer: Answer,
  more: Partial<Command> = {},
): SessionCommand {
  return controlCommand(name, arity, saying(replying(answer)), { control: false, ...more })
}

/** Its CommandErrors as replies. */
function replying(answer: Answer): Answer {
  return (connection, args) => {
    try {
      return answer(connection, args)
    } catch (error) {
      if (error instanceof CommandError) return new RespError(error.message)
      throw error
    }
  }
}

function saying(reply: Answer): Command['run'] {
  return (connection, args, command) => connection.say(reply(connection, args), command)
}

/**
 * Looks at keys all over the cluster: begins when all that this connection has sent before is answered, and what it sends
 * later waits for it.
 */
export function overall(
  name: string,
  arity: number,
  answer: (connection: Connection, args: readonly Buffer[]) => Promise<Reply>,
  more: Partial<Command> = {},
): SessionCommand {
  const run: Command['run'] = (connection, args, command) => {
    const slot = new ReplySlot(connection, command)
    connection.add(slot)
    connection.claim(EVERYTHING)
    slot.answerWith(answer(connection, args).finally(() => connection.released(EVERYTHING)))
  }
  return controlCommand(name, arity, run, { control: false, inTurn: true, ...more })
}

export interface Subcommand<A = Answer> {
  /** As Redis counts: the command's name and its own included; negative = at least. */
  readonly arity: number
  /** For HELP: what follows its name. */
  readonly usage?: string
  readonly help: string
  readonly answer: A
}

/** By lower-case name. */
export type Subcommands<A = Answer> = Readonly<Record<string, Subcommand<A>>>

/** A command that is made of others: CLIENT, COMMAND. HELP comes by itself. */
export function container(
  name: string,
  subcommands: Subcommands,
  more: Partial<Command> = {},
): SessionCommand {
  const all = withHelp(name, subcommands)
  return immediate(
    name,
    -2,
    (connection, args) => subcommandOf(name, all, args).answer(connection, args),
    more,
  )
}

export function withHelp<A>(name: string, subcommands: Subcommands<A | Answer>): Subcommands<A | Answer> {
  const help = { arity: 2, help: 'Print this help.', answer: (): Reply => lines }
  const all = { ...subcommands, help }
  const lines: Reply = helpOf(name, all)
  return all
}

/** @throws CommandError */
export function subcommandOf<A>(
  name: string,
  subcommands: Subcommands<A>,
  args: readonly Buffer[],
): Subcommand<A> {
  const given = word(args[1]!).toLowerCase()
  if (!Object.hasOwn(subcommands, given)) {
    const shown = args[1]!.subarray(0, 128).toString()
    throw new CommandError(`ERR unknown subcommand '${shown}'. Try ${name.toUpperCase()} HELP.`)
  }
  const subcommand = subcommands[given]!
  const { arity } = subcommand
  if (arity > 0 ? args.length !== arity : args.length < -arity) throw wrongNumber(`${name}|${given}`)
  return subcommand
}

export function wrongNumber(name: string): CommandError {
  return new CommandError(`ERR wrong number of arguments for '${name}' command`)
}

function helpOf(name: string, subcommands: Subcommands<unknown>): Reply {
  const lines = [`${name.toUpperCase()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`]
  for (const [subcommand, { usage, help }] of Object.entries(subcommands)) {
    lines.push([subcommand.toUpperCase(), ...(usage ? [usage] : [])].join(' '), `    ${help}`)
  }
  return lines.map((line) => new Simple(line))
}
