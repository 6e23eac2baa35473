/**
 * Commands of the Redis protocol for servers that speak another one. The Redis protocol's server has the table of all
 * commands and what they share in a process (flushes, cursors of SCAN, the slice of the thread); other servers run those of
 * them that need no connection of that protocol. What is not marked so is refused: sessions, MULTI, CLIENT, AUTH, RONDO.
 */
import type { Caller, CommandSettings, Execute, FlushProgress } from '../commands/model.ts'
import type { RespError } from '../commands/reply.ts'
import type { Step } from '../commands/step.ts'
import type { Flushes } from '../commands/keys/flushes.ts'
import type { ScanCursors } from '../commands/keys/scan-cursor.ts'
import type { CrossSetPolicy } from '../commands/run/queue.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import type { Sliced, Work } from '../core/work.ts'

/** A command that any caller can run. */
export interface OfferedCommand {
  /** Lower case. */
  readonly name: string
  /** As Redis names them: `readonly` = it changes nothing. */
  readonly flags: readonly string[]
  /** Errors are replies. */
  readonly execute: Execute
  /** It may not be part of a transaction (FLUSHALL). */
  readonly onlyAlone: boolean
  /** For commands on keys; see Command of resp/model.ts. */
  step?(caller: Caller, args: readonly Buffer[]): Step | RespError | null
  stepInSlices?(caller: Caller, args: readonly Buffer[]): Sliced<Step | RespError>
}

export interface CommandHost extends Pick<CrossSetPolicy, 'onCrossSet'> {
  readonly options: Pick<CrossSetPolicy, 'crossSetMulti'> & {
    readonly loader: Caller['loader']
    readonly readConsistency: ConsistencyLevel
    readonly writeConsistency: ConsistencyLevel
    /** Of all arguments of one command, and of a transaction. */
    readonly maxBatchBytes: number
    readonly maxTransactionCommands: number
  }
  readonly settings: CommandSettings
  readonly work: Work
  readonly cursors: ScanCursors
  readonly flushes: Flushes
  readonly scripts: Caller['scripts']
  onFlush(progress: FlushProgress): void
  /** The command that these arguments call, or the error of the Redis protocol, if they call none. */
  offered(args: readonly Buffer[]): OfferedCommand | RespError
}

/** They touch no key. Whatever is neither named here nor flagged `readonly` counts as a write. */
const WITHOUT_KEYS = new Set(['echo', 'ping', 'time'])

/** It cannot change anything. */
export function isRead({ name, flags }: Pick<OfferedCommand, 'name' | 'flags'>): boolean {
  return flags.includes('readonly') || WITHOUT_KEYS.has(name)
}
