/** What the door knows of a command: what COMMAND INFO tells of it, and how it is carried out. */
import { CONTROL } from '../../commands/docs.ts'
import type { Connection } from './connection/connection.ts'
import type { Named } from './wire/parser.ts'
import type { Reply, RespError } from '../../commands/reply.ts'
import type { Subcommands } from './session/session-command.ts'
import type { Step } from '../../commands/step.ts'
import type { Sliced } from '../../core/work.ts'

/** A command with more of them is prepared in slices, and by itself: what else its connection has sent waits. */
export const MANY_ARGUMENTS = 1000

export interface Command extends Named {
  /** Lower case. */
  readonly name: string
  /** As Redis has it: the count of arguments with the name; negative = at least. */
  readonly arity: number
  /** With the name. Where each is a key or belongs to one, only the length of the request limits them. */
  readonly maxArguments: number
  /** As COMMAND INFO tells them. */
  readonly flags: readonly string[]
  /** What it costs to begin it (work.ts). */
  readonly units: number
  /** Places of its keys among its arguments, as COMMAND INFO tells them; 0 = none. */
  readonly firstKey: number
  /** Negative = counted from the end. */
  readonly lastKey: number
  readonly keyStep: number
  /** What it is made of. */
  readonly subcommands?: Subcommands<unknown>
  /** Its place in the metrics. */
  readonly index: number
  /** Reads and changes its one key, whatever its arguments are. */
  readonly updates?: boolean
  /** Carried out by itself, also inside MULTI. */
  readonly control: boolean
  /** May be sent before the client has shown its password. */
  readonly open: boolean
  /** Begins when all that came before it on its connection is answered. */
  readonly inTurn?: boolean
  run(connection: Connection, args: Buffer[], command: Command): void
  /** For commands on keys: what it does, or why it cannot. */
  step?(connection: Connection, args: readonly Buffer[]): Step | RespError
  /** The same, for very many arguments. */
  stepInSlices?(connection: Connection, args: readonly Buffer[]): Sliced<Step | RespError>
  /** Carries it out without a place in the order of replies; errors are replies. What lacks it has no place inside MULTI. */
  alone?(connection: Connection, args: readonly Buffer[]): Promise<Reply>
}

export type Run = Command['run']
/** Before it has its place in the table. */
export type Unlisted = Omit<Command, 'index' | 'maxArguments' | 'units'>

/** A command on the connection or the server, not on keys. */
export function controlCommand(name: string, arity: number, run: Run, more: Partial<Command> = {}): Unlisted {
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
