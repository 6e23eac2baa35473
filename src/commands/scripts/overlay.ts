/**
 * The keys of a script while it runs: what they hold, and what its commands have made of it. A command is made a step
 * (step.ts) as anywhere else, and its result is seen by the commands that follow. Nothing else is read or changed: what the
 * script has changed is stored when it has ended.
 *
 *   redis.call('INCR', KEYS[1]) ──▶ step ──▶ are its keys known? ──no──▶ noted; they are taken for absent
 *                                                 └──yes──▶ applied to what they hold ──▶ its reply
 *
 * A run that has met a key which is not known is only a guess from there on: nothing of it counts but the keys that it names
 * on the way, which are then read together. Most names do not depend on what other such keys hold, so a script that names
 * thirty keys has them in its second run.
 */
import { Signal } from '../../core/errors.ts'
import { checkKey } from '../../core/key-names.ts'
import { chanceFrom } from '../../core/chance.ts'
import { inOneGo } from '../../core/work.ts'
import { cString, word } from '../arguments.ts'
import { parseDouble } from '../doubles.ts'
import { databaseArgument } from '../keys/database.ts'
import { Lazy, Packed, RespError, Simple, OK, type Reply } from '../reply.ts'
import { answerBytes } from '../run/answer-limit.ts'
import { applyTo, bytesOf, wholesOf, type Known } from '../run/known.ts'
import { usable, type StepContext } from '../run/keyed.ts'
import {
  CommandError,
  tooLong,
  type Held,
  type Publication,
  type Step,
  type Stepped,
  type Wanting,
} from '../step.ts'
import { KEY_COMMANDS, type KeyCommand } from '../table.ts'
import type { Job } from './api.ts'

/** Redis's own words. */
const UNKNOWN = 'ERR Unknown Redis command called from script'
const WRONG_NUMBER = 'ERR Wrong number of args calling Redis command from script'
const NOT_ALLOWED = 'ERR This Redis command is not allowed from script'
const READ_ONLY = 'ERR Write commands are not allowed from read-only scripts.'

/** Commands that Redis refuses in scripts, and does so with these words. */
const REFUSED = new Set(
  (
    'acl auth bgrewriteaof bgsave blmove blpop brpop brpoplpush bzpopmax bzpopmin client cluster config debug discard eval eval_ro evalsha evalsha_ro exec failover fcall ' +
    'fcall_ro function hello info latency migrate module monitor multi psubscribe psync punsubscribe quit readonly ' +
    'readwrite replicaof reset restore-asking rondo save script shutdown slaveof slowlog subscribe ssubscribe sunsubscribe sync ' +
    'unsubscribe unwatch wait waitaof watch'
  ).split(' '),
)
/** Commands that walk the cluster, which a script cannot do as a part of a change. */
const OVER_ALL_KEYS = new Set(
  'dbsize flushall flushdb keys randomkey scan command lolwut memory object pubsub role swapdb'.split(' '),
)
const notHere = (name: string) =>
  `${NOT_ALLOWED} (Rondo: a script sees its own keys, and ${name.toUpperCase()} is not about these)`

/** They change no key, and yet Redis refuses them in scripts that only read. */
const LIKE_WRITES = new Set(['blmpop', 'bzmpop', 'pfcount', 'publish', 'spublish'])

/** Of a run: each costs some microseconds at least. */
const MOST_COMMANDS = 1_000_000
const MOST_PUBLISHED = 10_000

const byName = new Map(KEY_COMMANDS.map((command) => [command.name, command]))

/** Of a run that is only a guess: so much more it may do. It may be a loop that ends once the key has a value. */
const MOST_GUESSED_COMMANDS = 10_000
const MOST_GUESSED_TICKS = 100
const MOST_WANTED = 10_000

/** A run that is meant to be short: one command may do so much. */
const SHORT_COMMANDS = 100
const SHORT_ARGUMENTS = 64
const SHORT_BYTES = 16 * 1024
/** What commands cost it, in steps of about 25 ns: the bytes of arguments and values, and what Lua is given. */
const BYTES_A_STEP = 8
/** Each element of a reply becomes a value of JavaScript and one of Lua. */
const ELEMENT_STEPS = 8
const ELEMENT_BYTES_A_STEP = 2
/** Where the time does not depend on these: it counts 16,384 registers. */
const FIXED_STEPS: ReadonlyMap<string, number> = new Map([['pfcount', 4000]])

/** A run is not as short as it was meant to be, and has to be made where it may take long. */
export class NotShort extends Signal {}

/** What the commands of a short run may cost together. */
export interface Budget {
  steps: number
}

/** A run that is only a guess has gone on for long enough. Nothing in the script may catch it. */
class GuessedEnough extends Signal {}

export class Overlay {
  private readonly missing: Buffer[] = []
  /** As many of them are needed whatever the others hold. */
  private certain = 0
  private guessed = 0
  private ticks = 0
  readonly published: Publication[] = []
  private readonly job: Job
  private readonly held: Map<string, Held | null>
  private readonly changed = new Set<string>()
  private context: StepContext
  private commands = 0
  /** Bytes of values that were read and made. */
  private touched = 0
  private publishedBytes = 0

  private readonly budget: Budget | null

  /** @param budget what goes beyond it, or computes in slices, throws NotShort; null = without a limit */
  constructor(job: Job, budget: Budget | null = null) {
    this.job = job
    this.budget = budget
    this.held = new Map(job.stored.map((key, i) => [nameOf(key), job.held[i]!]))
    const { settings, nowMs } = job
    this.context = {
      settings: { ...settings, random: chanceFrom(job.seed), inScript: true },
      store: { nowMs: () => nowMs, checkKey: (key) => checkKey(key, settings.maxKeyBytes) },
    }
  }

  get hasChanged(): boolean {
    return this.changed.size > 0
  }

  /** In the order of the job's keys. */
  get next(): readonly (Held | null | undefined)[] {
    return this.job.stored.map((key) => {
      const name = nameOf(key)
      return this.changed.has(name) ? this.held.get(name) : undefined
    })
  }

  /** What the run has shown to be missing: it has no other result then, whatever the script did about it. */
  get wanting(): Wanting | null {
    return this.missing.length === 0 ? null : { wants: this.missing, certain: this.certain }
  }

  /** Called every few thousand instructions. @throws if the run has no use any more */
  tick(): void {
    if (this.missing.length > 0 && ++this.ticks > MOST_GUESSED_TICKS) throw new GuessedEnough()
  }

  /** Runs a command; errors are replies. @throws if the run has no use any more, or is not short */
  call(args: readonly Buffer[]): Reply {
    if (this.missing.length > 0 && ++this.guessed > MOST_GUESSED_COMMANDS) throw new GuessedEnough()
    if (this.budget) this.spend(this.budget, stepsOfCommand(args, this.commands))
    if (++this.commands > MOST_COMMANDS) {
      return new RespError(`ERR A script may call ${MOST_COMMANDS} commands at most.`)
    }
    const name = word(args[0]!).toLowerCase()
    try {
      const command = byName.get(name)
      const reply = command ? this.run(command, args) : this.runOther(name, args)
      if (this.budget) this.spend(this.budget, stepsOfReply(reply))
      return reply
    } catch (error) {
      if (error instanceof CommandError) return new RespError(error.message)
      throw error
    }
  }

  private spend(budget: Budget, steps: number): void {
    budget.steps -= steps
    if (budget.steps < 0) throw new NotShort()
  }

  private run(command: KeyCommand, args: readonly Buffer[]): Reply {
    const { arity, flags } = command
    if (this.budget) this.spend(this.budget, FIXED_STEPS.get(command.name) ?? 0)
    if (isWrong(arity, args)) return new RespError(WRONG_NUMBER)
    if (flags.includes('noscript')) return new RespError(NOT_ALLOWED)
    if (this.refusesWrites(command.name, flags)) return new RespError(READ_ONLY)
    if (flags.includes('blocking') && waits(args)) {
      return new RespError(
        `ERR ${cString(args[0]!).toString()} command is not allowed with BLOCK option from scripts`,
      )
    }
    let step: Step | RespError = command.step(this.context, args)
    if (step instanceof RespError) return step
    if (step.needs === 'value' && step.follow) {
      const next = step.follow(wholesOf(this.of(step)))
      if (!('keys' in next)) return next.reply
      step = usable(this.context, next, command)
      if (step instanceof RespError) return step
    }
    return this.apply(step)
  }

  private refusesWrites(name: string, flags: readonly string[]): boolean {
    return this.job.readOnly && (flags.includes('write') || LIKE_WRITES.has(name))
  }

  private apply(step: Step): Reply {
    const before = this.of(step)
    if (this.budget) this.spend(this.budget, stepsOfValues(before))
    const { reply, next = [] } = this.stepped(step, before)
    if (this.budget) this.spend(this.budget, stepsOfValues(next))
    let touched = this.touched
    for (const [i, one] of before.entries()) touched += bytesOf(one) + bytesOf(next[i] ?? null)
    const { maxCommandBytes, maxValueBytes } = this.job.settings
    if (touched > maxCommandBytes) {
      const sentence = `The commands of a script may work on ${maxCommandBytes} bytes of values together (MAX_COMMAND_BYTES).`
      return new RespError(`ERR ${sentence}`)
    }
    const large = next.find((one) => one && one.value.length > maxValueBytes)
    if (large) return new RespError(`ERR ${tooLong(large.value.length, this.context.settings)}`)
    this.touched = touched
    for (const [i, key] of step.keys.entries()) {
      const after = next[i]
      if (after === undefined) continue
      const name = nameOf(key)
      this.held.set(name, after)
      this.changed.add(name)
    }
    return reply
  }

  private stepped(step: Step, before: readonly (Held | null)[]): Stepped {
    const { nowMs } = this.job
    if (step.needs !== 'value' || !step.slow) return applyTo(step, before, nowMs)
    if (this.budget) throw new NotShort()
    // This thread is the script's own: nobody waits for it.
    return inOneGo(step.slow.slices(before, nowMs))
  }

  private of({ keys }: Step): (Held | null)[] {
    const missing = keys.filter((key) => !this.held.has(nameOf(key)))
    if (missing.length > 0) this.want(missing)
    return keys.map((key) => this.held.get(nameOf(key))!)
  }

  private want(keys: readonly Buffer[]): void {
    if (this.missing.length + keys.length > MOST_WANTED && this.missing.length > 0) throw new GuessedEnough()
    if (this.missing.length === 0) this.certain = keys.length
    this.missing.push(...keys)
    for (const key of keys) this.held.set(nameOf(key), null)
  }

  private runOther(name: string, args: readonly Buffer[]): Reply {
    const other = Object.hasOwn(OTHERS, name) ? OTHERS[name]! : null
    if (other) {
      const [arity, answer] = other
      if (isWrong(arity, args)) return new RespError(WRONG_NUMBER)
      return this.refusesWrites(name, []) ? new RespError(READ_ONLY) : answer(this, args)
    }
    if (OVER_ALL_KEYS.has(name)) return new RespError(notHere(name))
    return new RespError(REFUSED.has(name) ? NOT_ALLOWED : UNKNOWN)
  }

  select(index: Buffer): Reply {
    const { settings } = this.context
    this.context = { ...this.context, settings: { ...settings, database: databaseArgument(index, settings) } }
    return OK
  }

  /** The time of the whole run. */
  get time(): Reply {
    const seconds = Math.floor(this.job.nowMs / 1000)
    return [String(seconds), String((this.job.nowMs % 1000) * 1000)]
  }

  /** What is sent once the script has ended is kept until then. */
  publish(kind: Publication['kind'], [, channel, message]: readonly Buffer[]): Reply {
    const { maxReplyBytes } = this.job.settings
    const bytes = this.publishedBytes + channel!.length + message!.length
    if (this.published.length === MOST_PUBLISHED || bytes > maxReplyBytes) {
      const sentence = `A script may publish ${MOST_PUBLISHED} messages at most, of ${maxReplyBytes} bytes together (MAX_REPLY_BYTES).`
      return new RespError(`ERR ${sentence}`)
    }
    this.publishedBytes = bytes
    this.published.push({ kind, channel: channel!, message: message! })
    // Who gets it is known when it is sent, and then the script has ended.
    return 0
  }
}

function stepsOfCommand(args: readonly Buffer[], before: number): number {
  if (before === SHORT_COMMANDS || args.length > SHORT_ARGUMENTS) return Infinity
  let bytes = 0
  for (const arg of args) bytes += arg.length
  return bytes <= SHORT_BYTES ? bytes / BYTES_A_STEP : Infinity
}

function stepsOfValues(values: readonly (Known | null | undefined)[]): number {
  let bytes = 0
  for (const one of values) bytes += bytesOf(one ?? null)
  return bytes / BYTES_A_STEP
}

function stepsOfReply(reply: Reply): number {
  if (Buffer.isBuffer(reply)) return reply.length / BYTES_A_STEP
  if (typeof reply !== 'object') return 0
  return elementsOf(reply) * ELEMENT_STEPS + answerBytes(reply) / ELEMENT_BYTES_A_STEP
}

function elementsOf(reply: Reply): number {
  if (Array.isArray(reply)) return reply.length
  if (reply instanceof Packed) return reply.texts.length
  return reply instanceof Lazy ? reply.items.length : 0
}

/** Whether XREAD or XREADGROUP has BLOCK. */
function waits(args: readonly Buffer[]): boolean {
  for (let at = 1; at < args.length; at += 2) {
    const option = word(args[at]!)
    if (option === 'BLOCK') return true
    if (option === 'STREAMS') return false
    if (option === 'GROUP') at++
    if (option === 'NOACK') at--
  }
  return false
}

/** Whether there is such a command, be it one that scripts may not call. */
export function isCommand(name: string): boolean {
  return byName.has(name) || Object.hasOwn(OTHERS, name) || REFUSED.has(name) || OVER_ALL_KEYS.has(name)
}

type Answer = (overlay: Overlay, args: readonly Buffer[]) => Reply

/** It does not wait: nothing can change while a script runs. */
function withoutWaiting(name: string): Answer {
  return (overlay, args) => {
    const timeout = parseDouble(args[1]!)
    if (timeout === null) return new RespError('ERR timeout is not a float or out of range')
    if (timeout < 0) return new RespError('ERR timeout is negative')
    return overlay.call([Buffer.from(name), ...args.slice(2)])
  }
}

/** Commands that are no steps: arity, and what they answer. */
const OTHERS: Readonly<Record<string, readonly [number, Answer]>> = {
  blmpop: [-5, withoutWaiting('lmpop')],
  bzmpop: [-5, withoutWaiting('zmpop')],
  ping: [-1, (_, args) => args[1] ?? new Simple('PONG')],
  echo: [2, (_, args) => args[1]!],
  time: [1, (overlay) => overlay.time],
  select: [2, (overlay, args) => overlay.select(args[1]!)],
  publish: [3, (overlay, args) => overlay.publish('channel', args)],
  spublish: [3, (overlay, args) => overlay.publish('shard', args)],
}

function isWrong(arity: number, { length }: readonly Buffer[]): boolean {
  return arity > 0 ? length !== arity : length < -arity
}

function nameOf(key: Buffer): string {
  return key.toString('latin1')
}
