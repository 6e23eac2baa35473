/**
 * What commands need of whoever runs scripts (src/scripts/): the engine, and where scripts and libraries are kept.
 *
 * A job is all that a run depends on, so that it can run in another thread and gives the same there: the script, its
 * arguments, what its keys hold, the time and a seed.
 */
import type { KeyStore, Requester } from '../../coordinator/api.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { RespError } from '../reply.ts'
import type { Namers } from './namers.ts'
import type { Held, StepLimits, Stepped, Wanting } from '../step.ts'

/** A function of a library. */
export interface Code {
  /** Of the source, 40 hex digits. */
  readonly sha: string
  readonly source: Buffer
  /** Null: the source is a script, and not a library. */
  readonly functionName: string | null
}

/** What of the settings a run depends on. */
export interface JobSettings extends Pick<
  StepLimits,
  'database' | 'databases' | 'defaultTtlMs' | 'maxValueBytes'
> {
  readonly maxKeyBytes: number
  readonly maxCommandBytes: number
  readonly maxReplyBytes: number
}

export interface Job {
  readonly code: Code
  /** As the client named them. */
  readonly keys: readonly Buffer[]
  readonly args: readonly Buffer[]
  /** It changes nothing. */
  readonly readOnly: boolean
  /** What these keys hold, by their names on the nodes. No other key is known. */
  readonly stored: readonly Buffer[]
  readonly held: readonly (Held | null)[]
  /** Cluster time; it stands still during a run. */
  readonly nowMs: number
  readonly seed: number
  readonly settings: JobSettings
}

/** A function, as its library has registered it. */
export interface FunctionAbout {
  readonly name: string
  readonly description: string | null
  /** `no-writes` and so on. */
  readonly flags: readonly string[]
}

export interface Library {
  readonly name: string
  readonly engine: string
  readonly functions: readonly FunctionAbout[]
  readonly source: Buffer
  readonly sha: string
}

/** What runs now. */
export interface Running {
  readonly code: Code
  /** The command as it was called. */
  readonly command: readonly Buffer[]
  readonly ms: number
}

/** Whoever asks for what is stored. */
export interface Asker extends Requester {
  readonly store: KeyStore
}

export interface Scripts {
  sha(source: Buffer): string
  /** Remembers a script, so that EVALSHA knows it here. */
  remember(sha: string, source: Buffer): void
  /**
   * Of a script that is remembered here; otherwise of one that is stored in the cluster.
   *
   * @param asked at `one`, a single replica will do while too few can be asked
   */
  sourceOf(asker: Asker, sha: string, asked: ConsistencyLevel): Promise<Buffer | null>
  /** Stores a script in the cluster. @throws CommandError if it cannot be compiled */
  load(asker: Asker, source: Buffer): Promise<string>
  /** Forgets the scripts at all coordinators, and deletes those that are stored. */
  flush(asker: Asker): Promise<void>
  /** The libraries, as they are stored; at most `FRESH_MS` old. @param asked as of sourceOf */
  libraries(asker: Asker, asked: ConsistencyLevel): Promise<readonly Library[]>
  /** The same, as they are stored now. */
  newestLibraries(asker: Asker): Promise<readonly Library[]>
  /** What a source registers. @throws CommandError */
  libraryOf(source: Buffer): Promise<Library>
  /** Changes the stored libraries. @param change pure @throws CommandError that `change` throws */
  changeLibraries(asker: Asker, change: (all: readonly Library[]) => readonly Library[]): Promise<void>

  /** Those that have named keys which they were not given. */
  readonly namers: Namers
  /** Cannot run now, and why: one has run for too long. */
  readonly busy: RespError | null
  /** Resolves when scripts can run, or will not for long; the first one has to wait for that. */
  ready(): Promise<void>
  /** When a command that comes now has to be answered. */
  dueAtMs(): number
  /** Whether it is known to be short, and may run here and now. */
  isShort(code: Code): boolean
  /** Resolves when another short one may read its key: what is read then is run over at once, in the turn that it arrives. */
  beginShort(): Promise<void> | null
  /** For each of these, once it is stored. */
  endShort(): void
  /** Runs one that is. @returns null = it is not short this time, and nothing is known of what it would do */
  runShort(job: Job): Stepped | Wanting | null
  /** Runs a script, at once if it is known to be short. Errors are replies. @param command as it was called */
  run(job: Job, command: readonly Buffer[], dueAtMs: number): Stepped | Wanting | Promise<Stepped | Wanting>
  /** What runs now; null = nothing. */
  readonly running: Running | null
  /** Ends what runs now, at all coordinators. @returns false if there is nothing, or something of the other kind */
  kill(what: 'script' | 'function'): Promise<boolean>
}
