/**
 * The clients: each does its operations one after the other, at their times or as soon as it is free, and writes down
 * what came of them.
 */
import { KIND_VALUE, type PeekedRecord, type RecordHead, type StoredRecord } from '../../src/core/codec.ts'
import type { ReadDone } from '../../src/coordinator/api.ts'
import type { Failing, ServedBy } from '../../src/coordinator/context.ts'
import type { Coordinator } from '../../src/coordinator/coordinator.ts'
import type { ModifyAll, TransactDone } from '../../src/coordinator/transact/transact.ts'
import type { UpdateDone } from '../../src/coordinator/update/update.ts'
import { RondoError } from '../../src/core/errors.ts'
import { tagKey } from '../../src/core/tags.ts'
import { putIf } from '../../src/servers/http/condition.ts'
import { increment, take } from '../support/steps.ts'
import { changeKey } from '../../src/commands/run/one-key.ts'
import { readRecord } from '../../src/coordinator/promises.ts'
import { isRoot } from '../../src/core/large-root.ts'
import { replyToRecord } from '../../src/commands/run/keyed.ts'
import { MEETS_PARTS, oneCall } from '../../src/commands/run/parts.ts'
import { runTogether } from '../../src/commands/run/together.ts'
import {
  collectionStep,
  isOnCollection,
  lookAt,
  onlyLooks,
  toldBy,
  type CollectionKind,
} from './collections.ts'
import { Caching } from './caching.ts'
import { Jobs } from './jobs.ts'
import { addToAll, totalOfAll } from './multi.ts'
import type { Told } from './told.ts'
import { NearChecks } from './near-checks.ts'
import { isByScript, keysOf, type Operation } from './schedule.ts'
import { callerOf, moveByScript } from './scripts.ts'
import { isWait, Waits, type BeginPart } from './waiting.ts'
import type { Running, World } from './world.ts'

const THINKS_MS = 0.05
/** Of all values that have one. */
const TAG = tagKey(0, Buffer.from('tag'))
/** Of a value: all of it. */
const WHOLE = { from: 0, to: -1 }

export interface Done {
  readonly operation: Operation
  readonly start: number
  readonly startMs: number
  /** When its coordinator began with it, after it had waited for room: only then its deadline runs. */
  admittedMs: number
  end: number
  endMs: number
  /** ok: it took effect, or told what is there. unknown: nobody can say. none: it certainly did nothing. */
  outcome: 'running' | 'ok' | 'unknown' | 'none'
  /** Undefined = it was done, and nobody was told what came of it. */
  result: Told | undefined
  /** What the operation concerns (collections.ts). */
  about: string | null
  /** move, total: what is there now, by key (schedule.ts). */
  balances: readonly (number | null)[]
  expected: number | null
  /** delete-job: when it was confirmed. */
  madeAt: number
  expiresAtMs: number
  /** What it wrote ends by itself, also where that is the end of the value that it changed. */
  expires: boolean
  version: Buffer | null
  error: string | null
  /** What the checks of the weak levels need to know of the moment it began. */
  readonly seenAtStart: {
    cleanHolders: number[]
    clean: number[]
    mustBeAtLeast: Buffer | null
    epoch: number
  }
}

/** Told of every operation's beginning and end. */
export interface Watch {
  began(done: Done): void
  ended(done: Done): void
}

interface Client {
  busy: boolean
  readonly waiting: Operation[]
  /** What it last saw under each key: what compare-and-set goes by. */
  readonly seen: Map<string, { value: number; version: Buffer }>
  /** The entry of a stream that was delivered to it last, the last of them. */
  delivered: string | null
}

type Asking = Required<Pick<Failing, 'requester' | 'failed'>>

export class Workload {
  readonly done: Done[] = []
  private readonly world: World
  private readonly watch: Watch
  private readonly clients = new Map<number, Client>()
  private readonly waits: Waits
  private readonly caching: Caching
  private readonly jobs: Jobs
  private readonly near: NearChecks
  private readonly inFlight = new Map<Done, { client: Client; running: Running }>()
  /** By how much coordinators are late, all stops together. */
  private readonly stalledMs: number
  private clockTicks = 0
  private looks = 0
  private isOver = false

  constructor(world: World, watch: Watch, stalledMs = 0) {
    this.stalledMs = stalledMs
    this.world = world
    this.watch = watch
    this.waits = new Waits(world)
    this.caching = new Caching(world)
    this.jobs = new Jobs(world)
    this.near = new NearChecks(world)
    world.onKilled = (running) => this.lost(running)
  }

  get running(): readonly Done[] {
    return [...this.inFlight.keys()]
  }

  schedule(operations: readonly Operation[], fromMs: number): void {
    for (const operation of operations) {
      const { epoch, at } = operation
      if (epoch === undefined) this.scheduleAt(operation, fromMs + at)
      else {
        this.world.whenMarked(epoch, (atMs) => {
          if (!this.isOver) this.scheduleAt(operation, atMs + at)
        })
      }
    }
  }

  private scheduleAt(operation: Operation, atMs: number): void {
    this.world.scheduler.at(atMs, () => {
      const client = this.client(operation.client)
      client.waiting.push(operation)
      this.next(client)
    })
  }

  /** Operations that wait for an epoch come no more. */
  over(): void {
    this.isOver = true
  }

  private client(number: number): Client {
    let client = this.clients.get(number)
    if (!client) this.clients.set(number, (client = newClient()))
    return client
  }

  private next(client: Client): void {
    while (!client.busy && client.waiting.length > 0) this.start(client, client.waiting.shift()!)
  }

  private start(client: Client, operation: Operation): void {
    const running = this.world.coordinators[operation.coordinator]!
    if (!running.host.alive) return // nobody listens there: the client gets no connection
    const known = client.seen.get(operation.key)
    if (operation.kind === 'cas' && !known) return
    const about = operation.kind === 'acknowledge' ? client.delivered : null
    if (operation.kind === 'acknowledge' && !about) return
    const done = this.begin(client, running, operation, about)
    if (operation.kind === 'cas') done.expected = known!.value
    // A request reaches the process as input: in a turn of its own.
    running.host.enter(() => this.issue(running, done, known?.version ?? null))
  }

  private begin(client: Client, running: Running, operation: Operation, about: string | null): Done {
    const done: Done = {
      operation,
      start: ++this.clockTicks,
      startMs: this.world.scheduler.nowMs,
      admittedMs: Infinity,
      end: Infinity,
      endMs: Infinity,
      outcome: 'running',
      result: null,
      about,
      balances: [],
      expected: null,
      madeAt: Infinity,
      expiresAtMs: 0,
      expires: operation.ttlMs > 0,
      version: null,
      error: null,
      seenAtStart: { cleanHolders: [], clean: [], mustBeAtLeast: null, epoch: 1 },
    }
    client.busy = true
    this.done.push(done)
    this.inFlight.set(done, { client, running })
    this.world.note(`c${operation.coordinator} ${operation.kind}`, () => `${nameOf(done)} begins`)
    this.watch.began(done)
    return done
  }

  private issue(running: Running, done: Done, version: Buffer | null): void {
    const { coordinator } = running
    const { kind, level, ttlMs } = done.operation
    const key = Buffer.from(done.operation.key)
    const value = Buffer.from(String(done.operation.value))
    const nowMs = () => coordinator.nowMs()
    const expiresAtMs = ttlMs === 0 ? 0 : Math.ceil(nowMs() + ttlMs)
    if (ttlMs > 0) done.expiresAtMs = this.world.scheduler.nowMs + ttlMs
    const failing = this.failingOf(done)
    const written = { written: (at: Uint8Array) => this.ended(done, null, Buffer.from(at)), ...failing }
    const updated = (
      result: (before: StoredRecord | null, after: StoredRecord | null) => number | null,
    ): UpdateDone => ({
      updated: (before, after) => {
        const now = after && coordinator.isLive(after) ? after : null
        if (after && after.expiresAtMs > 0) done.expires = true
        this.ended(
          done,
          result(before, after),
          now && Buffer.from(now.version),
          now && Number(now.value.toString()),
        )
      },
      ...failing,
    })
    switch (kind) {
      case 'read': {
        const ended = (record: RecordHead | null, value: () => Buffer) => {
          const live = coordinator.isLive(record) ? Number(value().toString()) : null
          this.ended(done, live, record && Buffer.from(record.version), live)
        }
        const read = (record: StoredRecord | null, by?: ServedBy) => {
          if (by && 'ageMs' in by && record)
            this.near.check(running, done, by.id, Buffer.from(record.version))
          ended(record, () => record!.value)
        }
        const peeked = (record: PeekedRecord | null) => ended(record, () => record!.part(WHOLE))
        if (this.world.options.isNear && level === 'one') {
          this.readNear(running, done, { read, ...failing })
          return
        }
        // Every other one as a look at a part, which here is all of it.
        if (this.looks++ % 2 === 0) coordinator.read(key, { read, ...failing }, level)
        else coordinator.peek(key, WHOLE, { read: peeked, ...failing }, level)
        return
      }
      case 'write':
        coordinator.write(key, value, expiresAtMs, written, level)
        return
      case 'flush-all':
        coordinator.flush(null).then(
          // What could not be decided may have been begun.
          (isDone) => (isDone ? this.ended(done, null, null) : this.finish(done, 'unknown')),
          (error: unknown) => this.failed(done, error as RondoError),
        )
        return
      case 'delete':
        coordinator.remove(key, written, level)
        return
      case 'tag-write':
        coordinator.tagging(
          [TAG],
          expiresAtMs,
          { tagging: (tags) => coordinator.write(key, value, expiresAtMs, written, level, tags), ...failing },
          level,
        )
        return
      case 'invalidate':
        coordinator.remove(TAG, written, level)
        return
      case 'nx':
        coordinator.update(
          key,
          putIf({ kind: 'absent' }, value, expiresAtMs, nowMs),
          updated(() => 1),
          level,
        )
        return
      case 'cas': {
        const condition = { kind: 'version', version: version! } as const
        coordinator.update(
          key,
          putIf(condition, value, expiresAtMs, nowMs),
          updated(() => 1),
          level,
        )
        return
      }
      case 'incr':
        coordinator.update(
          key,
          increment(nowMs),
          updated((_before, after) => Number(after!.value.toString())),
          level,
        )
        return
      case 'take': {
        const before = (record: StoredRecord | null) =>
          coordinator.isLive(record) ? Number(record.value.toString()) : null
        coordinator.update(key, take(nowMs), updated(before), level)
        return
      }
      case 'move':
        if (isByScript(done.operation)) this.issueScript(coordinator, done, failing)
        else this.issueTransaction(coordinator, done, failing)
        return
      case 'total':
        this.issueTransaction(coordinator, done, failing)
        return
      case 'delete-job':
        this.jobs
          .run(running, () => (done.madeAt = ++this.clockTicks))
          .then(
            () => this.ended(done, null, null),
            (error: unknown) => this.failedAs(done, error, (known) => this.failed(done, known)),
          )
        return
      case 'cached-read':
        this.issueCached(running, done, failing)
        return
      case 'multi':
      case 'multi-total':
        this.issueMulti(running, done, failing)
        return
      default:
        if (isWait(kind)) this.issueWait(running, done, failing)
        else this.issueOnCollection(coordinator, done, kind, failing)
    }
  }

  /** Every other one by the bytes of a request, as far as it can be answered like that. */
  private readNear(running: Running, done: Done, asked: ReadDone): void {
    const { key, level } = done.operation
    const found = this.looks++ % 2 === 0 ? this.near.find(running, done) : null
    if (!found) {
      running.coordinator.read(Buffer.from(key), asked, level)
      return
    }
    this.near.check(running, done, found.id, found.version)
    this.ended(done, found.value, found.version, found.value)
  }

  private issueCached(running: Running, done: Done, { requester, failed }: Asking): void {
    const live = (record: StoredRecord | null) =>
      running.coordinator.isLive(record) ? Number(record.value.toString()) : null
    this.caching.read(running, done, requester, this.done, this.stalledMs).then(
      (record) => this.ended(done, live(record), record && Buffer.from(record.version)),
      (error: unknown) => this.failedAs(done, error, failed),
    )
  }

  private issueMulti({ coordinator, host }: Running, done: Done, { requester, failed }: Asking): void {
    const { kind, level, value } = done.operation
    const caller = callerOf(coordinator, host, requester, level)
    const run = kind === 'multi' ? addToAll(caller, value) : totalOfAll(caller)
    run.then(
      (balances) => {
        done.balances = balances
        this.ended(done, null, null)
      },
      (error: unknown) => this.failedAs(done, error, failed),
    )
  }

  /** Each attempt of a client that waits is an operation of its own. */
  private issueWait(running: Running, done: Done, { requester, failed }: Asking): void {
    const { operation } = done
    const begin: BeginPart = (kind, value, about) => {
      const part = this.begin(newClient(), running, { ...operation, kind, value, ttlMs: 0 }, about)
      return {
        told: (result) => this.ended(part, result, null),
        ended: () => this.ended(part, undefined, null),
        failed: (error) => this.failedAs(part, error, (known) => this.failed(part, known)),
      }
    }
    this.waits.wait(running, done, requester, begin).then(
      (told) => {
        if (told !== null) this.ended(done, told, null)
        else this.finish(done, 'none')
      },
      (error: unknown) => this.failedAs(done, error, failed),
    )
  }

  private failedAs(done: Done, error: unknown, failed: (error: RondoError) => void): void {
    if (error instanceof RondoError) failed(error)
    else this.world.fault(`${nameOf(done)}: ${(error as Error).stack}`)
  }

  /** Each operation comes on a connection of its own. */
  private failingOf(done: Done): Asking {
    const admitted = () => (done.admittedMs = this.world.scheduler.nowMs)
    admitted() // unless it waits
    return {
      requester: { waiting: 0, begunAtMs: 0, gone: false, noneWaits: admitted },
      failed: (error) => this.failed(done, error),
    }
  }

  private issueTransaction(coordinator: Coordinator, done: Done, failing: Failing): void {
    const { kind, level, value } = done.operation
    const keys = keysOf(done.operation)
    const balance = (record: StoredRecord | null) =>
      coordinator.isLive(record) ? Number(record.value.toString()) : null
    const account = (amount: number) => ({
      kind: KIND_VALUE,
      value: Buffer.from(String(amount)),
      expiresAtMs: 0,
    })
    const move: ModifyAll = (current) => {
      const [from, to] = current.map((record) => balance(record) ?? 0)
      return { kind: 'write', records: [account(from! - value), account(to! + value)] }
    }
    const answer: TransactDone = {
      transacted: (_before, after) => {
        done.balances = after.map(balance)
        this.ended(done, null, after[0] ? Buffer.from(after[0].version) : null)
      },
      ...failing,
    }
    coordinator.transact(
      keys.map((key) => Buffer.from(key)),
      kind === 'move' ? move : () => ({ kind: 'keep' }),
      answer,
      level,
    )
  }

  private issueScript(coordinator: Coordinator, done: Done, { requester, failed }: Asking): void {
    const { level, value } = done.operation
    const { host } = this.world.coordinators[done.operation.coordinator]!
    moveByScript(coordinator, host, requester, level, keysOf(done.operation), value).then(
      (balances) => {
        done.balances = balances
        this.ended(done, null, null)
      },
      (error: unknown) => this.failedAs(done, error, failed),
    )
  }

  private issueOnCollection(
    coordinator: Coordinator,
    done: Done,
    kind: CollectionKind,
    { requester, failed }: Asking,
  ): void {
    const { key, value, level } = done.operation
    const step = collectionStep(kind, key, value, done.about, Math.ceil(coordinator.nowMs()))
    const { host } = this.world.coordinators[done.operation.coordinator]!
    const caller = callerOf(coordinator, host, requester, level)
    const call = oneCall(caller)
    const seen = async (): Promise<[Told, StoredRecord | null]> => {
      if (!step.writes) {
        const record = await readRecord(coordinator, Buffer.from(key), { requester, level })
        const live = coordinator.isLive(record) ? record : null
        if (!live || !isRoot(live.kind, live.value)) return [toldBy(kind, lookAt(step, live)), record]
        return [toldBy(kind, await replyToRecord(caller, step, kind, live, call.dueAtMs)), null]
      }
      try {
        const { reply, after } = await changeKey(coordinator, step, { requester, level })
        return [toldBy(kind, reply), after]
      } catch (error) {
        if (error !== MEETS_PARTS) throw error
        this.world.counters.count('changes of parts')
        return [toldBy(kind, await runTogether(caller, step, kind, level, call)), null]
      }
    }
    seen().then(
      ([told, record]) => {
        this.ended(done, told, coordinator.isLive(record) ? Buffer.from(record.version) : null)
      },
      (error: unknown) => this.failedAs(done, error, failed),
    )
  }

  private failed(done: Done, error: RondoError): void {
    const { kind } = done.operation
    if (error.code === 'PRECONDITION_FAILED') {
      this.ended(done, 0, null)
      return
    }
    done.error = `${error.code}: ${error.message}`
    this.finish(done, onlyReads(kind) || error.details.outcome === 'not-applied' ? 'none' : 'unknown')
  }

  private ended(done: Done, result: Told | undefined, version: Buffer | null, value?: number | null): void {
    if (done.outcome !== 'running') {
      if (!this.inFlight.has(done) && done.error !== 'killed') this.world.fault(`${nameOf(done)} ended twice`)
      return
    }
    const { kind } = done.operation
    done.result = result
    done.version = version
    const { client } = this.inFlight.get(done)!
    if (isDelivery(kind) && typeof result === 'string' && result.includes('='))
      client.delivered = result.split(',').at(-1)!
    const sees = value ?? (kind === 'write' || kind === 'tag-write' ? done.operation.value : null)
    if (version && sees !== null) client.seen.set(done.operation.key, { value: sees, version })
    this.finish(done, 'ok')
  }

  private finish(done: Done, outcome: Done['outcome']): void {
    const entry = this.inFlight.get(done)
    if (!entry) {
      if (done.error !== 'killed') this.world.fault(`${nameOf(done)} ended twice`)
      return
    }
    this.inFlight.delete(done)
    done.outcome = outcome
    done.end = ++this.clockTicks
    done.endMs = this.world.scheduler.nowMs
    this.world.note(
      `c${done.operation.coordinator} ends ${done.operation.value} ${outcome} ${done.result}`,
      () => `${nameOf(done)} ${done.error ?? ''}`,
    )
    this.world.counters.count(`${done.operation.level} ${done.operation.kind} ${outcome}`)
    this.watch.ended(done)
    this.near.ended(done, entry.running)
    // The client gets its answer, and comes back with the next request, over a network.
    this.world.scheduler.after(THINKS_MS, () => {
      entry.client.busy = false
      this.next(entry.client)
    })
  }

  /** The coordinator has died under them. */
  private lost(running: Running): void {
    for (const [done, entry] of [...this.inFlight]) {
      if (entry.running !== running) continue
      done.error = 'killed'
      this.finish(done, onlyReads(done.operation.kind) ? 'none' : 'unknown')
    }
  }
}

export function onlyReads(kind: Operation['kind']): boolean {
  return (
    kind === 'read' || kind === 'total' || kind === 'multi-total' || kind === 'cached-read' || onlyLooks(kind)
  )
}

function isDelivery(kind: Operation['kind']): boolean {
  return kind === 'deliver' || kind === 'deliver-some' || kind === 'claim' || kind === 'wait-deliver'
}

function newClient(): Client {
  return { busy: false, waiting: [], seen: new Map(), delivered: null }
}

export function nameOf({ operation }: Done): string {
  const { client, kind, key, value, level, ttlMs } = operation
  const what =
    kind === 'write' ||
    kind === 'tag-write' ||
    kind === 'nx' ||
    kind === 'cas' ||
    kind === 'move' ||
    kind === 'multi' ||
    isWait(kind) ||
    isOnCollection(kind)
      ? ` ${value}`
      : ''
  return `client ${client}: ${kind} ${key}${what}${ttlMs > 0 ? ` for ${ttlMs} ms` : ''}${level === 'quorum' ? '' : ` at ${level}`}`
}
