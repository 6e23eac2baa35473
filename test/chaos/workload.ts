/**
 * The clients: each works through one coordinator, does one operation after the other at quorum, and writes down what
 * came of it. Keys are in use for a while and then left alone: what was acknowledged must outlive all later faults.
 */
import type { UpdateDone } from '../../src/coordinator/update/update.ts'
import type { StoredRecord } from '../../src/core/codec.ts'
import type { RondoError } from '../../src/core/errors.ts'
import type { Rondo } from '../../src/app/rondo.ts'
import { putIf } from '../../src/servers/http/condition.ts'
import type { Random } from '../support/random.ts'
import { increment, take } from '../support/steps.ts'

export type Kind = 'read' | 'write' | 'delete' | 'nx' | 'cas' | 'incr' | 'take'

export interface Operation {
  readonly client: number
  readonly coordinator: number
  readonly key: string
  readonly kind: Kind
  /** What it writes; a multiple of a thousand, so that sums of increments stay apart. */
  readonly value: number
  /** cas: the value under the version that it expects. */
  readonly expected: number | null
  /** Order of beginnings and ends. */
  readonly start: number
  readonly startMs: number
  end: number
  endMs: number
  /** ok: it took effect or told what is there. none: certainly without effect. unknown: nobody can say. */
  outcome: 'running' | 'ok' | 'none' | 'unknown'
  /** read, take: what was there. nx, cas: 1 done, 0 refused. incr: the sum. */
  result: number | null
  /** Of the record read or written. */
  version: Buffer | null
  error: string | null
}

export interface WorkloadOptions {
  readonly clientsPerCoordinator: number
  readonly operationsPerSecond: number
  readonly keys: number
  /** After so many operations a key is left alone, and a new one takes its place. */
  readonly operationsPerKey: number
}

const MIX: readonly (readonly [Kind, number])[] = [
  ['read', 40],
  ['write', 24],
  ['cas', 12],
  ['incr', 8],
  ['delete', 6],
  ['nx', 6],
  ['take', 4],
]
const HOT_KEYS = 4
const HOT_SHARE = 0.4
const AT_ONCE_SHARE = 0.2

interface Seen {
  readonly value: number
  readonly version: Buffer
}

/** Where the clients go: a coordinator that was killed has none until it is back. */
export interface ClientsOf {
  readonly rondos: readonly Rondo[]
  isUp(coordinator: number): boolean
}

const COORDINATOR_DOWN_MS = 20

export class Workload {
  readonly history: Operation[] = []
  /** Every key that was ever used. */
  readonly keys: string[] = []
  private readonly cluster: ClientsOf
  private readonly options: WorkloadOptions
  private readonly random: Random
  private readonly live: { name: string; uses: number }[] = []
  private order = 0
  private lastValue = 0
  private stopping = false
  private clients: Promise<void>[] = []

  constructor(cluster: ClientsOf, options: WorkloadOptions, random: Random) {
    this.cluster = cluster
    this.options = options
    this.random = random
    for (let i = 0; i < options.keys; i++) this.live.push(this.newKey())
  }

  start(): void {
    const { clientsPerCoordinator } = this.options
    this.clients = this.cluster.rondos.flatMap((_, coordinator) =>
      Array.from({ length: clientsPerCoordinator }, (_, i) =>
        this.runClient(coordinator * clientsPerCoordinator + i, coordinator),
      ),
    )
  }

  /** Every client ends after its operation. */
  async stop(): Promise<void> {
    this.stopping = true
    await Promise.all(this.clients)
  }

  /** Reads every key through every coordinator. */
  async readAll(): Promise<void> {
    for (const key of this.keys) {
      for (let i = 0; i < this.cluster.rondos.length; i++)
        await this.perform(this.begin(1000 + i, i, key, 'read', null), null)
    }
  }

  private newKey(): { name: string; uses: number } {
    const name = `key-${this.keys.length}`
    this.keys.push(name)
    return { name, uses: 0 }
  }

  private async runClient(client: number, coordinator: number): Promise<void> {
    const { clientsPerCoordinator, operationsPerSecond } = this.options
    const intervalMs = (1000 * clientsPerCoordinator * this.cluster.rondos.length) / operationsPerSecond
    const seen = new Map<string, Seen>()
    let key = this.pickKey()
    while (!this.stopping) {
      if (!this.random.chance(AT_ONCE_SHARE)) {
        key = this.pickKey()
        // The share that goes at once is made up for by longer pauses.
        await pause((intervalMs * (0.5 + this.random.next())) / (1 - AT_ONCE_SHARE))
        if (this.stopping) return
      }
      if (!this.cluster.isUp(coordinator)) {
        await pause(COORDINATOR_DOWN_MS)
        continue
      }
      const known = seen.get(key) ?? null
      const kind = this.pickKind(known !== null)
      const operation = this.begin(client, coordinator, key, kind, known)
      const now = await this.perform(operation, known)
      if (now) seen.set(key, now)
      else if (operation.outcome === 'ok' && (kind === 'delete' || kind === 'take')) seen.delete(key)
    }
  }

  private pickKey(): string {
    const { keys, operationsPerKey } = this.options
    const index = this.random.chance(HOT_SHARE)
      ? this.random.below(Math.min(HOT_KEYS, keys))
      : this.random.below(keys)
    let key = this.live[index]!
    if (key.uses >= operationsPerKey) this.live[index] = key = this.newKey()
    key.uses++
    return key.name
  }

  private pickKind(canCompare: boolean): Kind {
    const sum = MIX.reduce((total, [, share]) => total + share, 0)
    let at = this.random.below(sum)
    for (const [kind, share] of MIX) {
      if (at < share) return kind === 'cas' && !canCompare ? 'read' : kind
      at -= share
    }
    return 'read'
  }

  private begin(client: number, coordinator: number, key: string, kind: Kind, known: Seen | null): Operation {
    this.lastValue += 1000
    const operation: Operation = {
      client,
      coordinator,
      key,
      kind,
      value: this.lastValue,
      expected: kind === 'cas' ? known!.value : null,
      start: ++this.order,
      startMs: performance.now(),
      end: Infinity,
      endMs: Infinity,
      outcome: 'running',
      result: null,
      version: null,
      error: null,
    }
    this.history.push(operation)
    return operation
  }

  /** Resolves with what is there afterwards, where that is known. */
  private perform(operation: Operation, known: Seen | null): Promise<Seen | null> {
    const { coordinator } = this.cluster.rondos[operation.coordinator]!
    const { kind, value } = operation
    const key = Buffer.from(operation.key)
    const bytes = Buffer.from(String(value))
    const nowMs = () => coordinator.nowMs()
    const numberIn = (record: StoredRecord | null) =>
      coordinator.isLive(record) ? Number(record.value.toString('latin1')) : null
    return new Promise((resolve) => {
      const finish = (outcome: 'ok' | 'none' | 'unknown', now: Seen | null) => {
        if (operation.outcome !== 'running') throw new Error(`${nameOf(operation)} ended twice`)
        operation.outcome = outcome
        operation.end = ++this.order
        operation.endMs = performance.now()
        resolve(now)
      }
      const ok = (result: number | null, version: Uint8Array | null, value: number | null) => {
        operation.result = result
        operation.version = version && Buffer.from(version)
        finish('ok', version && value !== null ? { value, version: Buffer.from(version) } : null)
      }
      const failed = (error: RondoError) => {
        if (error.code === 'PRECONDITION_FAILED') {
          ok(0, null, null)
          return
        }
        operation.error = `${error.code}: ${error.message}`
        finish(kind === 'read' || error.details.outcome === 'not-applied' ? 'none' : 'unknown', null)
      }
      const updated = (
        result: (before: StoredRecord | null, after: StoredRecord | null) => number | null,
      ): UpdateDone => ({
        updated: (before, after) => ok(result(before, after), versionIn(after), numberIn(after)),
        failed,
      })
      switch (kind) {
        case 'read':
          coordinator.read(key, { read: (r) => ok(numberIn(r), versionIn(r), numberIn(r)), failed }, 'quorum')
          return
        case 'write':
          coordinator.write(
            key,
            bytes,
            0,
            { written: (version) => ok(null, version, value), failed },
            'quorum',
          )
          return
        case 'delete':
          coordinator.remove(key, { written: (version) => ok(null, version, null), failed }, 'quorum')
          return
        case 'nx':
          coordinator.update(
            key,
            putIf({ kind: 'absent' }, bytes, 0, nowMs),
            updated(() => 1),
            'quorum',
          )
          return
        case 'cas': {
          const condition = { kind: 'version', version: known!.version } as const
          coordinator.update(
            key,
            putIf(condition, bytes, 0, nowMs),
            updated(() => 1),
            'quorum',
          )
          return
        }
        case 'incr':
          coordinator.update(
            key,
            increment(nowMs),
            updated((_, after) => numberIn(after)),
            'quorum',
          )
          return
        case 'take':
          coordinator.update(
            key,
            take(nowMs),
            updated((before) => numberIn(before)),
            'quorum',
          )
      }
    })
  }
}

/** Null for a record without a version: nothing but a promise, or nothing at all. */
function versionIn(record: StoredRecord | null): Buffer | null {
  if (!record?.versioned || record.version.every((byte) => byte === 0)) return null
  return Buffer.from(record.version)
}

export function nameOf(operation: Operation): string {
  const { client, coordinator, kind, key, value, expected, outcome, result, error } = operation
  const what =
    kind === 'write' || kind === 'nx' ? ` ${value}` : kind === 'cas' ? ` ${expected} → ${value}` : ''
  return `client ${client} (coordinator ${coordinator}): ${kind} ${key}${what}: ${outcome} ${result ?? ''}${error ?? ''}`
}

/** Whether it writes a value, or nothing. */
export function isDelete(kind: Kind): boolean {
  return kind === 'delete' || kind === 'take'
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
