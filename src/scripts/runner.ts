/**
 * Where scripts run: one after the other, in a thread of their own, so that none of them, endless ones included, holds up
 * anything but other scripts.
 *
 *   run() ──▶ waits ──▶ sent (a few ahead, so that the thread has no pause) ──▶ its outcome
 *                          └── the first of these runs now
 *
 * How long a script may run, in one rule: until its own command has to be answered (REQUEST_TIMEOUT_MS); then the thread is
 * ended, and a new one goes on with the next. While one has run for longer than SCRIPT_TIME_LIMIT_MS, other scripts are not
 * left waiting, but refused (BUSY), and SCRIPT KILL ends it at once. It has changed nothing by then, so it can always be ended.
 */
import { RespError } from '../commands/reply.ts'
import type { Code, Running } from '../commands/scripts/api.ts'
import type { Timers } from '../core/clock.ts'
import type { Outcome, Task } from './job.ts'

/** A thread, or what stands for one. */
export interface ScriptThread {
  /** Outcomes come in the order of the tasks. */
  send(task: Task): void
  /** Whatever it runs is lost. */
  end(): void
}

export interface ThreadCalls {
  /** It has started, and carries out tasks from now on. @param metered the engine's module with a meter, if it is wanted */
  ready(metered: WebAssembly.Module | null): void
  outcome(outcome: Outcome): void
  /** It has ended by itself. @param why a sentence */
  failed(why: string): void
}

export interface RunnerOptions {
  /** @param wantsMetered see ready() */
  readonly start: (calls: ThreadCalls, wantsMetered: boolean) => ScriptThread
  /** Told once. */
  readonly metered: (module: WebAssembly.Module) => void
  /** From when on a script is too slow for others to wait. */
  readonly timeLimitMs: number
  readonly monotonicMs: () => number
  readonly timers: Timers
}

interface Waiting {
  readonly task: Task
  readonly command: readonly Buffer[]
  readonly bytes: number
  readonly dueAtMs: number
  readonly done: (outcome: Outcome) => void
  isAnswered: boolean
}

/** Sent ahead: so many, as long as they bring few bytes. */
const MOST_SENT = 32
const MOST_SENT_BYTES = 1024 * 1024
const MOST_WAITING = 4096
const CHECK_MS = 10
const LONGEST_START_MS = 10_000
/** A script that comes late to its turn does not cost the thread. */
const LEAST_MS = 20

export class Runner {
  private readonly options: RunnerOptions
  private thread: ScriptThread | null = null
  private readonly sent: Waiting[] = []
  private sentBytes = 0
  private waiting: Waiting[] = []
  /** When the first that was sent has started; Infinity = not yet. */
  private startedAtMs = Infinity
  private isReady = false
  private starting: Promise<void> | null = null
  private onReady: () => void = () => undefined
  private checks = false
  private wantsMetered = true

  constructor(options: RunnerOptions) {
    this.options = options
  }

  /** Errors are replies. */
  run(task: Task, command: readonly Buffer[], dueAtMs: number): Promise<Outcome> {
    if (this.busy) return Promise.resolve({ reply: this.busy })
    if (this.waiting.length >= MOST_WAITING) {
      const text = `OVERLOADED ${MOST_WAITING} scripts wait for their turn already.`
      return Promise.resolve({ reply: new RespError(text, true) })
    }
    return new Promise((done) => {
      this.waiting.push({ task, command, bytes: bytesOf(task), dueAtMs, done, isAnswered: false })
      this.sendNext()
    })
  }

  /** Resolves when the thread has started, or takes too long for it. */
  ready(): Promise<void> {
    this.threadNow()
    if (this.isReady) return Promise.resolve()
    return (this.starting ??= new Promise((resolve) => {
      this.onReady = resolve
      this.options.timers.setTimeout(resolve, LONGEST_START_MS)
    }))
  }

  /** Why no other script can run now; null = it can. */
  get busy(): RespError | null {
    const now = this.running
    if (!now || now.ms <= this.options.timeLimitMs) return null
    const kill = now.code.functionName === null ? 'SCRIPT' : 'FUNCTION'
    return new RespError(
      `BUSY Redis is busy running a script. You can only call ${kill} KILL or SHUTDOWN NOSAVE.`,
    )
  }

  get running(): Running | null {
    const [first] = this.sent
    if (!first || !this.isReady) return null
    const ms = Math.round(this.options.monotonicMs() - this.startedAtMs)
    return { code: codeOf(first.task), command: first.command, ms }
  }

  /** Ends what runs now; its caller is told so. */
  kill(): void {
    this.endFirst('Script killed by user with SCRIPT KILL...')
  }

  /** Ends the thread. */
  stop(): void {
    const all = [...this.sent.splice(0), ...this.waiting.splice(0)]
    this.sentBytes = 0
    this.thread?.end()
    this.thread = null
    for (const one of all) answer(one, { reply: new RespError('ERR Rondo is stopping.', true) })
  }

  private sendNext(): void {
    while (this.sent.length < MOST_SENT && this.sentBytes < MOST_SENT_BYTES) {
      const next = this.waiting.shift()
      if (!next) return
      if (next.isAnswered) continue
      const thread = this.threadNow()
      if (this.sent.length === 0 && this.isReady) this.startedAtMs = this.options.monotonicMs()
      this.sent.push(next)
      this.sentBytes += next.bytes
      this.checkSoon()
      thread.send(next.task)
    }
  }

  private threadNow(): ScriptThread {
    if (this.thread) return this.thread
    this.isReady = false
    this.startedAtMs = Infinity
    const calls: ThreadCalls = {
      ready: (metered) => {
        if (metered && this.wantsMetered) this.options.metered(metered)
        if (metered) this.wantsMetered = false
        this.isReady = true
        this.startedAtMs = this.options.monotonicMs()
        this.starting = null
        this.onReady()
      },
      outcome: (outcome) => {
        if (this.thread === thread) this.onOutcome(outcome)
      },
      failed: (why) => {
        if (this.thread === thread) this.endFirst(why)
      },
    }
    const thread = this.options.start(calls, this.wantsMetered)
    return (this.thread = thread)
  }

  private onOutcome(outcome: Outcome): void {
    const first = this.sent.shift()
    this.sentBytes -= first?.bytes ?? 0
    this.startedAtMs = this.options.monotonicMs()
    if (first) answer(first, outcome)
    this.sendNext()
  }

  /** Those that were sent behind it have changed nothing, and begin again in a new thread. */
  private endFirst(why: string): void {
    const [first, ...others] = this.sent.splice(0)
    this.sentBytes = 0
    const { isReady } = this
    this.thread?.end()
    this.thread = null
    this.starting = null
    this.onReady()
    if (first) {
      const { sha, functionName } = codeOf(first.task)
      const where = functionName === null ? `${sha}, on @user_script` : `${functionName}, on @user_function`
      answer(first, { reply: new RespError(`ERR ${why} script: ${where}.`) })
    }
    this.waiting = [...others, ...this.waiting]
    // The next one need not wait for all of the start. One that cannot start is not started again and again.
    if (isReady) this.threadNow()
    this.sendNext()
  }

  private checkSoon(): void {
    if (this.checks) return
    this.checks = true
    this.options.timers.setTimeout(() => {
      this.checks = false
      this.check()
    }, CHECK_MS)
  }

  private check(): void {
    const [first, ...behind] = this.sent
    if (!first) return
    const nowMs = this.options.monotonicMs()
    const { busy } = this
    // While the thread starts, none runs yet.
    for (const one of [...(this.isReady ? [] : [first]), ...behind, ...this.waiting]) {
      if (busy) answer(one, { reply: busy })
      else if (nowMs >= one.dueAtMs) answer(one, { reply: TOO_LATE })
    }
    this.waiting = this.waiting.filter(({ isAnswered }) => !isAnswered)
    if (this.isReady && nowMs >= first.dueAtMs && nowMs >= this.startedAtMs + LEAST_MS)
      this.endFirst('Script has run for too long (REQUEST_TIMEOUT_MS).')
    if (this.sent.length > 0) this.checkSoon()
  }
}

const TOO_LATE = new RespError(
  'ERR The script has waited for its turn for too long. Nothing was changed.',
  true,
)

/** Of what can be large: values and arguments. */
function bytesOf(task: Task): number {
  if (task.kind !== 'run') return task.source.length
  const { held, args, code } = task.job
  let bytes = code.source.length
  for (const one of held) bytes += one?.value.length ?? 0
  for (const one of args) bytes += one.length
  return bytes
}

function codeOf(task: Task): Code {
  return task.kind === 'run' ? task.job.code : { ...task, functionName: null }
}

function answer(waiting: Waiting, outcome: Outcome): void {
  if (waiting.isAnswered) return
  waiting.isAnswered = true
  waiting.done(outcome)
}
