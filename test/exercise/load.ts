/**
 * Clients of the exercise. Each key has one writer, which knows what it may hold (values.ts), and judges every reply:
 *
 *   missing       nothing was found, and something must be there
 *   resurrected   something was found, and nothing can be there
 *   wrong         another reply than any that is possible
 *   absent        a key that exists was not found at `one`; what is found there may be older, which is counted
 */
import { setTimeout as delay } from 'node:timers/promises'
import { seeded, type Random } from '../support/random.ts'
import type { ExerciseCluster } from './cluster.ts'
import { KINDS, pair, readOf, type Kind, type Level, type Step } from './steps.ts'
import { afterReply, afterUnknown, holds, type Held } from './values.ts'

export interface LoadOptions {
  readonly keys: number
  readonly clients: number
  readonly operationsPerSecond: number
  readonly seed: number
}

interface Key {
  readonly name: string
  readonly kind: Kind
  possible: readonly Held[]
}

export interface Measured {
  readonly ms: number
  readonly level: Level
  readonly isDuring: boolean
}

const REQUEST_TIMEOUT_MS = 1000
const LOADED_TOGETHER = 400
const NOBODY_UP_MS = 20
/** What an operation of an unknown outcome may need until it is done. */
const LATE_MS = 2000
/** Of failed operations and wrong replies, for telling. */
const MOST_TOLD = 20

export class Load {
  operations = 0
  failed = 0
  unknown = 0
  olderAtOne = 0
  readonly counts = { missing: 0, resurrected: 0, wrong: 0, absent: 0, late: 0 }
  readonly told: string[] = []
  readonly errors = new Map<string, number>()
  readonly measured: Measured[] = []
  /** Operations that fail while this is so are of a coordinator that was killed. */
  isCutOff = false
  /** A change of members is under way. */
  isDuring = false
  readonly keys: readonly Key[]
  private readonly cluster: ExerciseCluster
  private readonly options: LoadOptions
  private clients: Promise<void>[] = []
  private isStopped = false

  constructor(cluster: ExerciseCluster, options: LoadOptions) {
    this.cluster = cluster
    this.options = options
    this.keys = Array.from({ length: options.keys }, (_, i) => {
      const kind = KINDS[i % KINDS.length]!
      return { name: `{k${i}}`, kind, possible: holds(kind.first) }
    })
  }

  /** Gives every key its first value; what is not confirmed on a busy machine is written again. */
  async fill(): Promise<void> {
    for (let from = 0; from < this.keys.length; from += LOADED_TOGETHER) {
      const some = this.keys.slice(from, from + LOADED_TOGETHER)
      while (!(await this.fillSome(some))) await delay(NOBODY_UP_MS)
    }
  }

  private async fillSome(keys: readonly Key[]): Promise<boolean> {
    const pipeline = this.cluster.clientsOf(0)!.redis('quorum').pipeline()
    for (const { name, kind } of keys) {
      if (kind === pair) pipeline.mset(`${name}:a`, '0', `${name}:b`, '0')
      else pipeline.set(name, kind.first)
    }
    return (await pipeline.exec())!.every(([error]) => error === null)
  }

  start(): void {
    const { clients } = this.options
    this.clients = Array.from({ length: clients }, (_, i) =>
      this.run(
        i,
        this.keys.filter((_, at) => at % clients === i),
      ),
    )
  }

  /** Every client ends after its operation. */
  async stop(): Promise<void> {
    this.isStopped = true
    await Promise.all(this.clients)
  }

  get bad(): number {
    const { missing, resurrected, wrong, absent } = this.counts
    return missing + resurrected + wrong + absent
  }

  private async run(client: number, keys: readonly Key[]): Promise<void> {
    const { clients, operationsPerSecond, seed } = this.options
    const random = seeded(seed + client)
    const everyMs = (1000 * clients) / operationsPerSecond
    let nextMs = performance.now() + random.next() * everyMs
    while (!this.isStopped) {
      const waitMs = nextMs - performance.now()
      if (waitMs > 0) await delay(waitMs)
      // What was late is made up for, but not all at once.
      nextMs = Math.max(nextMs, performance.now() - everyMs) + everyMs
      await this.perform(random.pick(keys), random)
    }
  }

  private async perform(key: Key, random: Random): Promise<void> {
    const text = key.possible.find((held) => held.text !== null)?.text ?? ''
    await this.send(key, key.kind.step(random, text), random.below(3))
  }

  private async send(key: Key, step: Step, coordinator: number): Promise<void> {
    const clients = this.cluster.clientsOf(coordinator)
    if (!clients) {
      await delay(NOBODY_UP_MS)
      return
    }
    const { level } = key.kind
    const startMs = performance.now()
    const { isDuring } = this
    this.operations++
    let reply: string | null
    try {
      reply = await step.send(clients, key.name, level)
    } catch (error) {
      this.noteFailure(key, step, startMs, error as Error)
      return
    }
    const endMs = performance.now()
    if (endMs - startMs > REQUEST_TIMEOUT_MS + LATE_MS) this.counts.late++
    this.measured.push({ ms: endMs - startMs, level, isDuring: isDuring || this.isDuring })
    if (level === 'one') this.judgeAtOne(key, step, reply)
    else this.judge(key, step, reply, startMs, endMs)
  }

  private judge(key: Key, step: Step, reply: string | null, startMs: number, endMs: number): void {
    const next = afterReply(key.possible, step.apply, reply, startMs, endMs)
    if (next.length === 0) {
      const texts = key.possible.map(({ text }) => text)
      const what =
        step.isRead === true && reply === null
          ? 'missing'
          : step.isRead === true && texts.every((text) => text === null)
            ? 'resurrected'
            : 'wrong'
      this.counts[what]++
      this.tell(`${what}: ${step.name} ${key.name}: ${reply}; possible was ${texts.join(' or ')}`)
      return
    }
    // Something of an unknown outcome may still be on its way: what a read has not seen may come.
    if (step.isRead !== true || key.possible.length === 1) key.possible = next
  }

  private judgeAtOne(key: Key, step: Step, reply: string | null): void {
    if (reply === null) {
      this.counts.absent++
      this.tell(`absent at one: ${step.name} ${key.name}`)
      return
    }
    const told = key.possible.map(({ text }) => step.apply(text))
    if (!told.some((effect) => effect.reply === reply)) this.olderAtOne++
    key.possible = told.slice(0, 1).flatMap(({ after }) => holds(after))
  }

  private noteFailure(key: Key, step: Step, startMs: number, error: Error): void {
    const latestMs = performance.now() + LATE_MS
    if (step.isRead !== true && key.kind.level !== 'one')
      key.possible = afterUnknown(key.possible, step.apply, startMs, latestMs)
    if (this.isCutOff) return
    this.failed++
    if (error.message.includes('UNKNOWN')) this.unknown++
    const why = `${step.name}: ${error.message.replace(/\d+/g, 'N').slice(0, 160)}`
    this.errors.set(why, (this.errors.get(why) ?? 0) + 1)
  }

  private tell(what: string): void {
    if (this.told.length < MOST_TOLD) this.told.push(what)
  }

  // ---- in the end

  /** Reads every key at its level, through every coordinator in turn. After `stop`. */
  async readAll(): Promise<void> {
    for (let from = 0; from < this.keys.length; from += LOADED_TOGETHER) {
      const some = this.keys.slice(from, from + LOADED_TOGETHER)
      await Promise.all(some.map((key, i) => this.send(key, readOf(key.kind), i % 3)))
    }
  }

  /** Keys that were there all the time, as SCAN tells them. */
  get staying(): ReadonlySet<string> {
    return new Set(this.keys.filter(({ kind }) => kind.stays).map(({ name }) => name))
  }
}
