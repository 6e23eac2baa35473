/**
 * Interfaces of commands, independent of any socket: every Caller (a Redis protocol connection, an HTTP request) can run
 * them.
 */
import type { Requester, KeyStore } from '../coordinator/api.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import type { RondoError } from '../core/errors.ts'
import type { ReadThrough } from '../loader/api.ts'
import type { Work } from '../core/work.ts'
import type { Reply } from './reply.ts'
import type { Flushes } from './keys/flushes.ts'
import type { ScanCursors } from './keys/scan-cursor.ts'
import type { KeyPlaces, StepLimits, SubcommandDescription } from './step.ts'
import type { Scripts } from './scripts/api.ts'

/** A command with more arguments than this is prepared in slices, and later commands of its connection wait. */
export const MANY_ARGUMENTS = 1000

/** Limits and switches from the configuration. */
export interface CommandSettings extends StepLimits {
  readonly maxKeyBytes: number
  /** Most keys of an atomic transaction, and most watched keys of a connection. */
  readonly maxBatchKeys: number
  /** Of the reply to one command or transaction, which is held in memory until the client has read it. */
  readonly maxReplyBytes: number
  /** Of the values that one command or transaction may work on. */
  readonly maxCommandBytes: number
  /** KEYS, FLUSHALL, FLUSHDB. */
  readonly allowDangerousCommands: boolean
}

/** Counts the memory that a caller uses (servers/ledger.ts). */
export interface MemoryAccount {
  /** The caller must not be read from until it uses less. */
  readonly mustWait: boolean
  /** Commands that need more memory are refused. */
  readonly isRefused: boolean
  /** @param bytes negative = released */
  add(bytes: number): void
  /** Counts a refusal, and returns its error. */
  refusal(): RondoError
}

/** Keys that were looked up and held something, and others (run/lookups.ts). */
export interface Lookups {
  readonly hits: number
  readonly misses: number
}

/** How far FLUSHALL or FLUSHDB has come. */
export interface FlushProgress {
  /** Null = all. */
  readonly database: number | null
  readonly deleted: number
  readonly failed: number
  readonly seconds: number
  readonly finished: boolean
  /** Why it ended before the last key; null = it did not. */
  readonly stopped: string | null
}

/** The caller of a command. */
export interface Caller extends Requester {
  readonly store: KeyStore
  /** Null: nothing is loaded. */
  readonly loader: ReadThrough | null
  readonly readLevel: ConsistencyLevel
  readonly writeLevel: ConsistencyLevel
  /** With its database. */
  readonly settings: CommandSettings
  readonly account: MemoryAccount
  readonly work: Work
  readonly cursors: ScanCursors
  readonly flushes: Flushes
  readonly scripts: Scripts
  /** Called when a flush has taken some seconds, and when it has ended after that. */
  onFlush(progress: FlushProgress): void
  /** Counts the keys that a command has looked up. @param command lower case */
  lookedUp(command: string, found: Lookups): void
  /** It is about to read keys that its command did not name; by their names on the nodes. */
  readsFurther?(keys: readonly Buffer[]): void
  /** Nobody waits for what is read: a walk may stop. */
  readonly unheard: boolean
  /** Commands received so far. A read is no longer hedged once another command follows it. */
  readonly added: number
}

/** Runs a command and resolves to its reply; errors are replies. In a transaction it loads nothing. */
export type Execute = (caller: Caller, args: readonly Buffer[], inTransaction?: boolean) => Promise<Reply>

/** What COMMAND INFO and COMMAND DOCS show of a command, together with docs.ts. */
export interface CommandDescription extends KeyPlaces {
  /** Lower case. */
  readonly name: string
  /** As in Redis: number of arguments, the name included; negative = at least. */
  readonly arity: number
  readonly flags: readonly string[]
  /** By lower-case name. */
  readonly subcommands?: Readonly<Record<string, SubcommandDescription>>
}
