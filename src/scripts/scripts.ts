/** Scripts and functions, as commands use them (commands/scripts/api.ts): run in a thread, kept here and in the cluster. */
import { LRUCache } from 'lru-cache'
import type { RespError } from '../commands/reply.ts'
import type { Asker, Code, Job, Library, Running, Scripts } from '../commands/scripts/api.ts'
import { Namers } from '../commands/scripts/namers.ts'
import { CommandError, type Stepped, type Wanting } from '../commands/step.ts'
import type { Channels, Errand } from '../coordinator/api.ts'
import type { Timers } from '../core/clock.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import type { Emit } from '../core/events.ts'
import { printable } from '../core/printable.ts'
import type { LogLine, Outcome, Task } from './job.ts'
import { Runner, type RunnerOptions } from './runner.ts'
import { ShortRuns } from './short-runs.ts'
import {
  dropScripts,
  readLibraries,
  readScript,
  shaOf,
  storeScript,
  unlessTooFew,
  updateLibraries,
} from './stored.ts'

/** The other coordinators. */
export type Others = Pick<Channels, 'takeErrands' | 'errand'>

export interface ScriptsOptions {
  readonly others: Others
  readonly start: RunnerOptions['start']
  readonly scriptTimeLimitMs: number
  readonly requestTimeoutMs: number
  readonly monotonicMs: () => number
  readonly timers: Timers
  readonly emit: Emit
}

/** Of scripts that EVAL has brought or that were read from the cluster. */
const MOST_REMEMBERED = 5000
const MOST_REMEMBERED_BYTES = 32 * 1024 * 1024
const ENTRY_BYTES = 256
/** For how long libraries are not asked for again: what is loaded at another coordinator is known here by then. */
const FRESH_MS = 1000
/** Of REQUEST_TIMEOUT_MS, for storing the result. */
const SHARE_OF_STORING = 0.1

/** Whoever kills a script at another coordinator does not mean one that has just begun. */
const LEAST_KILLED_MS = 50

/** Lines that scripts may add to the log, in such a time. */
const MOST_TOLD = 100
const TOLD_MS = 10_000

const LASTING = { waiting: 0, begunAtMs: 0, gone: false, noneWaits: () => undefined }

interface Known {
  readonly libraries: readonly Library[]
  readonly atMs: number
}

export class ClusterScripts implements Scripts {
  private readonly options: ScriptsOptions
  readonly namers = new Namers()
  private readonly runner: Runner
  private readonly shortRuns: ShortRuns
  private readonly remembered = new LRUCache<string, Buffer>({
    max: MOST_REMEMBERED,
    maxSize: MOST_REMEMBERED_BYTES,
    sizeCalculation: (source) => source.length + ENTRY_BYTES,
  })
  /** How often all scripts were forgotten. */
  private forgotten = 0
  private takesErrands = false
  /** Lines of scripts, since then. */
  private toldLines = 0
  private toldSinceMs = -Infinity
  private known: Known | null = null
  private asking: Promise<readonly Library[]> | null = null

  constructor(options: ScriptsOptions) {
    this.options = options
    this.shortRuns = new ShortRuns(options.timers)
    const metered = (module: WebAssembly.Module) => this.shortRuns.begin(module)
    this.runner = new Runner({ ...options, timeLimitMs: options.scriptTimeLimitMs, metered })
  }

  // ---- running

  get busy(): RespError | null {
    return this.runner.busy
  }

  get running(): Running | null {
    return this.runner.running
  }

  ready(): Promise<void> {
    this.takeErrands()
    return this.runner.ready()
  }

  dueAtMs(): number {
    return this.options.monotonicMs() + this.options.requestTimeoutMs
  }

  run(job: Job, command: readonly Buffer[], dueAtMs: number): Stepped | Wanting | Promise<Stepped | Wanting> {
    return this.runShort(job) ?? this.runInThread(job, command, dueAtMs)
  }

  isShort(code: Code): boolean {
    return this.shortRuns.isShort(code)
  }

  beginShort(): Promise<void> | null {
    return this.shortRuns.enter()
  }

  endShort(): void {
    this.shortRuns.leave()
  }

  runShort(job: Job): Stepped | Wanting | null {
    const outcome = this.busy ? null : this.shortRuns.outcomeOf(job)
    return outcome && this.told(job, outcome)
  }

  private runInThread(job: Job, command: readonly Buffer[], dueAtMs: number): Promise<Stepped | Wanting> {
    return this.carriedOut({ kind: 'run', job }, command, dueAtMs).then((outcome) => {
      this.shortRuns.learn(job.code, outcome)
      return this.told(job, outcome)
    })
  }

  private told({ code }: Job, outcome: Outcome): Stepped | Wanting {
    if ('library' in outcome) throw new Error('a script was to run')
    if ('reply' in outcome && outcome.logs) for (const line of outcome.logs) this.tell(code.sha, line)
    return outcome
  }

  /** As Redis by default, without what is for debugging. */
  private tell(sha: string, { level, text }: LogLine): void {
    if (level === 'debug' || level === 'verbose') return
    const nowMs = this.options.monotonicMs()
    if (nowMs - this.toldSinceMs > TOLD_MS) {
      this.toldSinceMs = nowMs
      this.toldLines = 0
    }
    if (++this.toldLines > MOST_TOLD) return
    this.options.emit({ kind: 'script-log', sha, level, text: printable(text) })
  }

  async kill(what: 'script' | 'function'): Promise<boolean> {
    const isKilledHere = this.killHere(what, 0)
    const asked = this.options.others.errand(what === 'script' ? 'end-script' : 'end-function')
    if (!isKilledHere) return (await asked) > 0
    // Whoever cannot be asked does not make this undone.
    await asked.catch(() => 0)
    return true
  }

  private killHere(what: 'script' | 'function', leastMs: number): boolean {
    const now = this.running
    if (!now || now.ms < leastMs || (now.code.functionName === null) !== (what === 'script')) return false
    this.runner.kill()
    return true
  }

  /** From the first script on: before, there is nothing to end or to forget. */
  private takeErrands(): void {
    if (this.takesErrands) return
    this.takesErrands = true
    const does: Readonly<Record<Errand, () => boolean>> = {
      'forget-scripts': () => (this.forget(), true),
      'end-script': () => this.killHere('script', LEAST_KILLED_MS),
      'end-function': () => this.killHere('function', LEAST_KILLED_MS),
    }
    this.options.others.takeErrands((errand) => does[errand]())
  }

  stop(): void {
    this.runner.stop()
  }

  private async outcomeOf(task: Task): Promise<Outcome> {
    await this.ready()
    return this.carriedOut(task, [], this.dueAtMs())
  }

  private carriedOut(task: Task, command: readonly Buffer[], dueAtMs: number): Promise<Outcome> {
    return this.runner.run(task, command, dueAtMs - this.options.requestTimeoutMs * SHARE_OF_STORING)
  }

  // ---- scripts

  sha(source: Buffer): string {
    return shaOf(source)
  }

  remember(sha: string, source: Buffer): void {
    this.takeErrands()
    if (!this.remembered.has(sha)) this.remembered.set(sha, Buffer.from(source))
  }

  async sourceOf(asker: Asker, sha: string, asked: ConsistencyLevel): Promise<Buffer | null> {
    const here = this.remembered.get(sha)
    if (here) return here
    const { forgotten } = this
    const stored = await unlessTooFew(asked, (level) => readScript(asker, sha, level))
    // What was read before a flush is gone.
    if (stored && forgotten === this.forgotten) this.remember(sha, stored)
    return stored
  }

  async load(asker: Asker, source: Buffer): Promise<string> {
    const sha = shaOf(source)
    const outcome = await this.outcomeOf({ kind: 'check', source, sha })
    throwError(outcome)
    await storeScript(asker, sha, source)
    this.remember(sha, source)
    return sha
  }

  async flush(asker: Asker): Promise<void> {
    await dropScripts(asker)
    this.forget()
    await this.options.others.errand('forget-scripts')
  }

  private forget(): void {
    this.forgotten++
    this.remembered.clear()
  }

  // ---- libraries

  libraries(asker: Asker, asked: ConsistencyLevel): Promise<readonly Library[]> {
    const { known } = this
    if (known && this.options.monotonicMs() - known.atMs < FRESH_MS) return Promise.resolve(known.libraries)
    return unlessTooFew(asked, (level) => {
      return level === 'one' ? readLibraries(asker, level) : this.librariesForAll(asker)
    })
  }

  /** That ask now, whoever of them goes. */
  private librariesForAll({ store }: Asker): Promise<readonly Library[]> {
    const asking = { ...LASTING, store }
    return (this.asking ??= this.newestLibraries(asking).finally(() => (this.asking = null)))
  }

  async newestLibraries(asker: Asker): Promise<readonly Library[]> {
    const atMs = this.options.monotonicMs()
    return this.learn(await readLibraries(asker), atMs)
  }

  async libraryOf(source: Buffer): Promise<Library> {
    const outcome = await this.outcomeOf({ kind: 'library', source, sha: shaOf(source) })
    throwError(outcome)
    if (!('library' in outcome)) throw new Error('a library was to be loaded')
    return outcome.library
  }

  async changeLibraries(
    asker: Asker,
    change: (all: readonly Library[]) => readonly Library[],
  ): Promise<void> {
    const atMs = this.options.monotonicMs()
    this.learn(await updateLibraries(asker, change), atMs)
  }

  private learn(libraries: readonly Library[], atMs: number): readonly Library[] {
    if (!this.known || this.known.atMs <= atMs) this.known = { libraries, atMs }
    return libraries
  }
}

/** @throws CommandError */
function throwError(outcome: Outcome): void {
  if (!('reply' in outcome) || outcome.reply === null) return
  throw new CommandError((outcome.reply as RespError).text)
}
