/**
 * EVAL, EVALSHA and FCALL: a script is one more step (step.ts). It runs over what its keys hold, and what it has changed is
 * stored only if these hold the same by then; otherwise it runs again. So it is atomic at every level of consistency, a part
 * of a transaction like any other, and no node runs it.
 */
import { storedKey } from '../../core/keys.ts'
import { parseInteger } from '../arguments.ts'
import { errorOf, replyOf } from '../errors.ts'
import type { ClientCall } from '../../coordinator/api.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { Caller } from '../model.ts'
import { RespError, type Reply } from '../reply.ts'
import { changeKey } from '../run/one-key.ts'
import { MEETS_PARTS, oneCall, PartsAreNeeded } from '../run/parts.ts'
import { publish } from '../run/publications.ts'
import { runTogether } from '../run/together.ts'
import {
  CommandError,
  NOT_INTEGER,
  distinct,
  refused,
  type Held,
  type KeepReads,
  type Publication,
  type StepOf,
  type Stepped,
} from '../step.ts'
import type { Code, Job, JobSettings } from './api.ts'
import { shebangOf } from './shebang.ts'

/** How a command calls a script. */
export interface ScriptCommand {
  readonly by: 'source' | 'sha' | 'function'
  readonly readOnly: boolean
}

/** By lower-case name. */
export const SCRIPT_COMMANDS: Readonly<Record<string, ScriptCommand>> = {
  eval: { by: 'source', readOnly: false },
  eval_ro: { by: 'source', readOnly: true },
  evalsha: { by: 'sha', readOnly: false },
  evalsha_ro: { by: 'sha', readOnly: true },
  fcall: { by: 'function', readOnly: false },
  fcall_ro: { by: 'function', readOnly: true },
}

const NO_SCRIPT = 'NOSCRIPT No matching script. Please use EVAL.'
const BAD_COUNT = 'ERR Bad number of keys provided'
const NO_FUNCTION = 'ERR Function not found'
const HAS_WRITE_FLAG = 'ERR Can not execute a script with write flag using *_ro command.'
const SEEDS = 2 ** 32
const SHA = /^[0-9a-f]{40}$/i

/** What it runs, and whether it may write. */
interface Found {
  readonly code: Code
  readonly readOnly: boolean
}

interface Call {
  readonly command: readonly Buffer[]
  readonly keys: readonly Buffer[]
  readonly args: readonly Buffer[]
  /** Asked for once. @throws CommandError */
  readonly found: () => Promise<Found>
  /** Once it has been found. */
  foundBefore: Found | null
  readonly seed: number
  dueAtMs: number
  /** It has been tried as a short one: its time runs. */
  isBegun: boolean
  /** Null: its client does not keep what it reads. */
  keep: KeepReads | null
}

/** Runs the command by itself. Rejects as other commands do. */
export async function callScript(
  caller: Caller,
  args: readonly Buffer[],
  { by, readOnly }: ScriptCommand,
  keep: KeepReads | null = null,
): Promise<Reply> {
  const called = callOf(caller, args, { by, readOnly })
  if (called instanceof RespError) return called
  const { call, stored } = called
  call.keep = keep
  // What a reader sees is as current as other reads of the caller.
  const level = levelOf(caller, readOnly)
  const deadline = oneCall(caller)
  const short = await runShort(caller, call, stored, { level, deadline })
  if (typeof short !== 'string') return short.reply
  const name = args[0]!.toString('latin1').toLowerCase()
  const isPutOff = short === 'put off'
  const left = isPutOff ? deadline : null
  return runTogether(caller, stepWith(caller, call, stored), name, level, left, isPutOff, false)
}

/**
 * A short script of one key is an update of it, as INCR is: those that wait for the key run together.
 *
 * @returns 'not short' = it is not tried; 'put off' = it was (Modified)
 */
async function runShort(
  caller: Caller,
  call: Call,
  stored: readonly Buffer[],
  { level, deadline }: { readonly level: ConsistencyLevel; readonly deadline: ClientCall },
): Promise<{ readonly reply: Reply } | 'not short' | 'put off'> {
  const { store, scripts } = caller
  const [key] = stored
  if (!key || stored.length > 1 || store.collections.isLarge(key)) return 'not short'
  const found = call.foundBefore ?? (await call.found().catch(() => null))
  if (!found || !scripts.isShort(found.code) || scripts.namers.runsOf(found.code) > 0) return 'not short'
  let published: readonly Publication[] = []
  const apply = (held: readonly (Held | null)[], nowMs: number): Stepped => {
    if (held[0]?.parts) throw new PartsAreNeeded()
    const outcome = scripts.runShort(jobOf(caller, call, found, { stored, held, nowMs }))
    if (!outcome || 'wants' in outcome) throw new PartsAreNeeded()
    published = outcome.published ?? []
    return outcome
  }
  call.isBegun = true
  await scripts.beginShort()
  call.keep?.(stored)
  try {
    const step = { needs: 'value', keys: stored, reads: true, writes: true, lookedUp: [], apply } as const
    const { reply } = await changeKey(store, step, { requester: caller, level, call: deadline })
    await publish(caller, published)
    return { reply }
  } catch (error) {
    if (error === MEETS_PARTS) return 'put off'
    throw error
  } finally {
    scripts.endShort()
  }
}

/** The step of the command, or why there is none. */
export function scriptStep(
  caller: Caller,
  args: readonly Buffer[],
  command: ScriptCommand,
): StepOf<'value', Held> | RespError {
  const called = callOf(caller, args, command)
  return called instanceof RespError ? called : stepWith(caller, called.call, called.stored)
}

/** @returns with the names that its keys have on the nodes, or why it cannot be called */
function callOf(
  caller: Caller,
  args: readonly Buffer[],
  { by, readOnly }: ScriptCommand,
): { readonly call: Call; readonly stored: readonly Buffer[] } | RespError {
  const { scripts, store, settings } = caller
  if (scripts.busy) return scripts.busy
  const count = keyCount(args, by)
  if (count instanceof RespError) return count
  if (count > settings.maxBatchKeys) {
    return new RespError(`ERR at most ${settings.maxBatchKeys} keys can be used by a script (MAX_BATCH_KEYS)`)
  }
  const keys = args.slice(3, 3 + count)
  for (const key of keys) {
    const unusable = store.checkKey(key)
    if (unusable) return errorOf(unusable)
  }
  let found: Promise<Found> | null = null
  const call: Call = {
    command: args,
    keys,
    args: args.slice(3 + count),
    found: () => (found ??= finding(caller, args[1]!, by, readOnly).then((it) => (call.foundBefore = it))),
    foundBefore: null,
    seed: Math.floor(settings.random() * SEEDS),
    dueAtMs: scripts.dueAtMs(),
    isBegun: false,
    keep: null,
  }
  return { call, stored: distinct(keys.map((key) => storedKey(settings.database, key))).keys }
}

function keyCount(args: readonly Buffer[], by: ScriptCommand['by']): number | RespError {
  const count = parseInteger(args[2]!)
  if (count === null) return new RespError(by === 'function' ? BAD_COUNT : NOT_INTEGER)
  if (count > args.length - 3) return new RespError("ERR Number of keys can't be greater than number of args")
  if (count < 0) return new RespError("ERR Number of keys can't be negative")
  return Number(count)
}

async function finding(
  caller: Caller,
  named: Buffer,
  by: ScriptCommand['by'],
  readOnly: boolean,
): Promise<Found> {
  if (by === 'function') return findFunction(caller, named, readOnly)
  const { scripts } = caller
  const sha = by === 'source' ? scripts.sha(named) : named.toString('latin1').toLowerCase()
  const stored = () => scripts.sourceOf(caller, sha, levelOf(caller, readOnly))
  const source = by === 'source' ? named : SHA.test(sha) ? await stored() : null
  if (!source) throw new CommandError(NO_SCRIPT)
  if (by === 'source') scripts.remember(sha, source)
  const { flags } = shebangOf(source)
  if (readOnly && flags && !flags.includes('no-writes')) throw new CommandError(HAS_WRITE_FLAG)
  return {
    code: { sha, source, functionName: null },
    readOnly: readOnly || (flags?.includes('no-writes') ?? false),
  }
}

function levelOf({ readLevel, writeLevel }: Caller, readOnly: boolean): ConsistencyLevel {
  return readOnly ? readLevel : writeLevel
}

async function findFunction(caller: Caller, named: Buffer, readOnly: boolean): Promise<Found> {
  const name = named.toString('latin1')
  const libraries = await caller.scripts.libraries(caller, levelOf(caller, readOnly))
  for (const { functions, source, sha } of libraries) {
    const about = functions.find((one) => one.name.toLowerCase() === name.toLowerCase())
    if (!about) continue
    const isReader = about.flags.includes('no-writes')
    if (readOnly && !isReader) throw new CommandError(HAS_WRITE_FLAG)
    return { code: { sha, source, functionName: about.name }, readOnly: readOnly || isReader }
  }
  throw new CommandError(NO_FUNCTION)
}

function stepWith(caller: Caller, call: Call, stored: readonly Buffer[]): StepOf<'value', Held> {
  const { scripts } = caller
  return {
    needs: 'value',
    keys: stored,
    reads: true,
    writes: true,
    lookedUp: [],
    leavesAbsent: !caller.settings.loads,
    apply: () => refused('ERR This Redis command is not allowed from script'),
    script: {
      ready: async () => {
        await scripts.ready()
        if (!call.isBegun) call.dueAtMs = scripts.dueAtMs()
      },
      get dueAtMs() {
        return call.dueAtMs
      },
      run: (held, nowMs) => {
        const failed = (error: unknown) => ({ reply: replyOf(error) })
        const runFound = (found: Found) =>
          scripts.run(jobOf(caller, call, found, { stored, held, nowMs }), call.command, call.dueAtMs)
        const { foundBefore } = call
        if (!foundBefore) return call.found().then(runFound).catch(failed)
        const outcome = runFound(foundBefore)
        return outcome instanceof Promise ? outcome.catch(failed) : outcome
      },
      keepReads: (keep) => {
        call.keep = keep
      },
      reads: () => call.keep?.(stored),
      namesKeys: async () => {
        const found = await call.found().catch(() => null)
        return found === null ? 0 : scripts.namers.runsOf(found.code)
      },
      hasNamedKeys: (runs) => {
        void call.found().then(({ code }) => scripts.namers.add(code, runs))
      },
      withKeys: (further) => stepWith(caller, call, distinct([...stored, ...further]).keys),
    },
  }
}

function jobOf(
  { settings }: Caller,
  call: Call,
  { code, readOnly }: Found,
  { stored, held, nowMs }: Pick<Job, 'stored' | 'held' | 'nowMs'>,
): Job {
  const { keys, args, seed } = call
  return { code, keys, args, readOnly, stored, held, nowMs, seed, settings: settingsOf(settings) }
}

/** The rest of the configuration stays in this thread. */
function settingsOf(settings: JobSettings): JobSettings {
  const { database, databases, defaultTtlMs, maxValueBytes, maxKeyBytes, maxCommandBytes, maxReplyBytes } =
    settings
  return {
    database,
    databases,
    defaultTtlMs,
    maxValueBytes,
    maxKeyBytes,
    maxCommandBytes,
    maxReplyBytes,
  }
}
