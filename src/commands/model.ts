/**
 * What commands need, and what they are made of, without a socket: whoever can be a Caller (a connection of the Redis
 * protocol, an HTTP request) can run them.
 */
import type { Asker, KeyStore } from '../coordinator/api.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import type { RondoError } from '../core/errors.ts'
import type { Work } from '../core/work.ts'
import type { Reply } from './reply.ts'
import type { ScanCursors } from './keys/scan-cursor.ts'
import type { StepLimits } from './step.ts'

/** A command with more arguments is prepared in slices, alone: later commands of its connection wait. */
export const MANY_ARGUMENTS = 1000

/** Limits and switches from the configuration. */
export interface CommandSettings extends StepLimits {
  readonly maxKeyBytes: number
  /** Keys that one transaction may touch where it is atomic, and one connection may watch. */
  readonly maxBatchKeys: number
  /** KEYS, FLUSHALL, FLUSHDB. */
  readonly allowDangerousCommands: boolean
}

/** Counts what the caller makes the process hold (servers/ledger.ts). */
export interface MemoryAccount {
  /** It is not to be read from until less is held. */
  readonly mustWait: boolean
  /** Commands that would make it hold more are refused. */
  readonly isRefused: boolean
  /** @param bytes negative: no longer held */
  add(bytes: number): void
  /** Counts the refusal, and says why. */
  refusal(): RondoError
}

/** Whoever runs a command. */
export interface Caller extends Asker {
  readonly store: KeyStore
  readonly readLevel: ConsistencyLevel
  readonly writeLevel: ConsistencyLevel
  readonly settings: CommandSettings
  readonly account: MemoryAccount
  readonly work: Work
  readonly cursors: ScanCursors
  /** Commands received so far. A read is not hedged once another command has followed it. */
  readonly added: number
}

/** Runs a command and resolves to its reply; errors are replies. */
export type Execute = (caller: Caller, args: readonly Buffer[]) => Promise<Reply>

/** What COMMAND INFO and COMMAND DOCS tell of a command, beside docs.ts. */
export interface CommandDescription {
  /** Lower case. */
  readonly name: string
  /** As in Redis: number of arguments, the name included; negative = at least. */
  readonly arity: number
  readonly flags: readonly string[]
  /** Places of its keys among its arguments; 0 = none. */
  readonly firstKey: number
  /** Negative = counted from the end. */
  readonly lastKey: number
  readonly keyStep: number
  /** By lower-case name. */
  readonly subcommands?: Readonly<Record<string, SubcommandDescription>>
}

export interface SubcommandDescription {
  /** As in Redis: the command's name and its own included; negative = at least. */
  readonly arity: number
  /** The version of Redis that first had it. */
  readonly since: string
  /** What follows its name, as docs-syntax.ts reads it. */
  readonly syntax?: string
  readonly flags: readonly string[]
  readonly summary: string
}
