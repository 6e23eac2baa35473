/** Carries out one task with an engine, in this thread. */
import type { Job, Library } from '../commands/scripts/api.ts'
import { chanceFrom } from '../core/chance.ts'
import { sentenceOf } from '../core/sentence.ts'
import { word } from '../commands/arguments.ts'
import { RespError, type Reply } from '../commands/reply.ts'
import { answerBytes, replyTooLarge } from '../commands/run/answer-limit.ts'
import { isCommand, Overlay, type Budget } from '../commands/scripts/overlay.ts'
import type { Stepped, Wanting } from '../commands/step.ts'

export type LogLevel = 'debug' | 'verbose' | 'notice' | 'warning'

export interface LogLine {
  readonly level: LogLevel
  readonly text: string
}

/** To run a script, to compile one, or to find out what a library registers. */
export type Task =
  | { readonly kind: 'run'; readonly job: Job }
  | { readonly kind: 'check' | 'library'; readonly source: Buffer; readonly sha: string }

/** Of whatever kind; errors are replies. */
export type Outcome =
  | (Stepped & {
      readonly logs?: readonly LogLine[]
      /** Whether its run has taken little time, if that was looked at. */
      readonly isShort?: boolean
    })
  | Wanting
  | { readonly library: Library }

export interface EngineRun {
  readonly source: Buffer
  /** Of the source. */
  readonly sha: string
  /** Of the library that the source is; null = the source is a script. */
  readonly functionName: string | null
  readonly keys: readonly Buffer[]
  readonly args: readonly Buffer[]
  readonly readOnly: boolean
  /** In [0, 1). */
  readonly random: () => number
  /** Runs a command. What it throws ends the run, whatever the script does. */
  readonly call: (command: readonly Buffer[]) => Reply
  /** `redis.acl_check_cmd`; null = there is no such command. */
  readonly mayRun: (command: readonly Buffer[]) => boolean | null
  /** Called every few thousand instructions. What it throws ends the run. */
  readonly onTick: () => void
  readonly log: (level: LogLevel, text: string) => void
}

export interface Engine {
  /** Errors of the script are replies. */
  run(run: EngineRun): Reply
  /** Null, or why it cannot be compiled, as Redis says it. */
  check(source: Buffer): string | null
  /** What the library registers, or why it cannot be loaded. */
  libraryOf(source: Buffer, sha: string): Omit<Library, 'source' | 'sha'> | string
}

const MOST_LOGS = 20
const MOST_LOG_CHARACTERS = 1024

export function carryOut(engine: Engine, task: Task): Outcome {
  if (task.kind === 'run') return runJob(engine, task.job, null)
  const { kind, source, sha } = task
  if (kind === 'check') {
    const why = engine.check(source)
    return { reply: why === null ? null : new RespError(why) }
  }
  const library = engine.libraryOf(source, sha)
  return typeof library === 'string'
    ? { reply: new RespError(library) }
    : { library: { ...library, source, sha } }
}

/** @param budget of a run that is meant to be short: throws NotShort, or what the engine throws, if it is not */
export function runJob(engine: Engine, job: Job, budget: Budget | null): Outcome {
  const { code, keys, args, readOnly, settings } = job
  const overlay = new Overlay(job, budget)
  const logs: LogLine[] = []
  let reply: Reply
  try {
    reply = engine.run({
      // One by one: spreading objects into this one took a fifth of a short run.
      source: code.source,
      sha: code.sha,
      functionName: code.functionName,
      keys,
      args,
      readOnly,
      random: chanceFrom(job.seed),
      call: (command) => overlay.call(command),
      onTick: () => overlay.tick(),
      mayRun: ([name]) => (isCommand(word(name!).toLowerCase()) ? true : null),
      log: (level, text) => {
        if (logs.length < MOST_LOGS) logs.push({ level, text: text.slice(0, MOST_LOG_CHARACTERS) })
      },
    })
  } catch (error) {
    if (budget) throw error
    if (overlay.wanting) return overlay.wanting
    return { reply: new RespError(`ERR The script has failed: ${sentenceOf(error)}.`) }
  }
  if (overlay.wanting) return overlay.wanting
  if (answerBytes(reply) > settings.maxReplyBytes) return { reply: new RespError(replyTooLarge(settings)) }
  // As in Redis, what a script has changed stays changed if it ends in an error.
  const { next, published } = overlay
  if (published.length + logs.length === 0) return overlay.hasChanged ? { reply, next } : { reply }
  return {
    reply,
    ...(overlay.hasChanged && { next }),
    ...(published.length > 0 && { published }),
    ...(logs.length > 0 && { logs }),
  }
}
