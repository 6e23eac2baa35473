/**
 * What the near cache promises (docs/decisions/0067): what it answers is what the node held at most
 * NEAR_CACHE_MAX_STALENESS_MS ago. So what was confirmed at `all` longer ago is seen through every coordinator; and what a
 * coordinator has confirmed at `all` itself is seen through it at once.
 */
import { compareVersions } from '../../src/core/clock.ts'
import { StoredRecord } from '../../src/core/codec.ts'
import { MAX_STALENESS_MS } from './near.ts'
import type { Process, Server } from './server.ts'
import { nameOf, type Done } from './workload.ts'
import type { Running, World } from './world.ts'

/** A server held this version until then. */
interface Span {
  readonly version: Buffer
  readonly value: string
  /** By itself: then the reader says when. */
  readonly expires: boolean
  untilMs: number
}

/** What each server held of each key, and until when. */
export class Held {
  /** By server, then by key. */
  private readonly spans = new Map<Server, Map<string, Span[]>>()

  /** A process of the server begins. */
  began(process: Process): void {
    const { server } = process
    const { storage } = process.engine
    for (const { key } of storage.page(0, 1_000_000).entries) this.note(process, key.toString('latin1'))
    storage.watchers.add({
      // The storage is in the middle of its change, and must not be asked.
      changed: (name) => process.atEndOfTurn(() => server.process === process && this.note(process, name)),
      cleared: () => {
        if (server.process === process) this.ended(server)
      },
    })
  }

  /** It holds nothing from now on. */
  ended(server: Server): void {
    for (const spans of this.spans.get(server)?.values() ?? []) this.close(server, spans)
  }

  of(server: Server, key: string): readonly Span[] {
    return this.spans.get(server)?.get(key) ?? []
  }

  private note({ server, engine }: Process, name: string): void {
    let byKey = this.spans.get(server)
    if (!byKey) this.spans.set(server, (byKey = new Map<string, Span[]>()))
    let spans = byKey.get(name)
    if (!spans) byKey.set(name, (spans = []))
    const bytes = engine.storage.get(Buffer.from(name, 'latin1'))
    if (!bytes || name.startsWith('__rondo')) {
      this.close(server, spans)
      return
    }
    const { version, value, expiresAtMs } = new StoredRecord(bytes)
    const last = spans.at(-1)
    if (last?.untilMs === Infinity && last.version.equals(version)) return
    this.close(server, spans)
    spans.push({
      version: Buffer.from(version),
      value: value.toString(),
      expires: expiresAtMs > 0,
      untilMs: Infinity,
    })
  }

  private close({ scheduler }: Server, spans: readonly Span[]): void {
    const last = spans.at(-1)
    if (last?.untilMs === Infinity) last.untilMs = scheduler.nowMs
  }
}

interface Found {
  /** Of the node. */
  readonly id: string
  readonly value: number
  readonly version: Buffer
}

interface Confirmed {
  readonly done: Done
  readonly running: Running
}

export class NearChecks {
  private readonly world: World
  /** What was confirmed at `all`. */
  private readonly confirmed: Confirmed[] = []

  constructor(world: World) {
    this.world = world
  }

  ended(done: Done, running: Running): void {
    const { level, kind } = done.operation
    if (level !== 'all' || kind === 'read' || done.outcome !== 'ok' || !done.version) return
    this.confirmed.push({ done, running })
  }

  /** A read asks the near cache as a server does, by the bytes of a request; null = it is not answered by that. */
  find(running: Running, done: Done): Found | null {
    const { coordinator, cluster } = running
    const key = Buffer.from(done.operation.key)
    const { near } = coordinator
    if (!near) return null
    near.begin()
    const reply = near.find(0, key, 0, key.length)
    if (!reply) return null
    const value = reply.toString('latin1', 0, reply.length - 2)
    const [first] = cluster.placement.replicaSetOf(key).homes
    const span = this.spansOf(running, first!.id, done).findLast((one) => one.value === value)
    this.world.counters.count('near: hit by the bytes of a request')
    if (span) return { id: first!.id, value: Number(value), version: span.version }
    this.world.fault(`${nameOf(done)} was answered with ${value}, which ${first!.id} never held`)
    return null
  }

  /** A read was answered with this version, of this node. */
  check(running: Running, done: Done, id: string, version: Buffer): void {
    const { scheduler, counters } = this.world
    const { nowMs } = scheduler
    counters.count('near: hit')
    const spans = this.spansOf(running, id, done)
    const span = spans.findLast((one) => one.version.equals(version))
    if (span?.expires) return
    const agoMs = nowMs - (span?.untilMs ?? -Infinity)
    if (agoMs > 0) counters.count('near: a value that the node does not hold any more')
    if (agoMs > MAX_STALENESS_MS + ROUNDING_MS) {
      this.world.fault(`${nameOf(done)} got what ${id} has not held for ${agoMs.toFixed(1)} ms`)
    }
    for (const other of this.confirmed) {
      const { operation, endMs, end } = other.done
      if (operation.key !== done.operation.key || compareVersions(other.done.version!, version) <= 0) continue
      const isOwn = other.running === running && end < done.start
      if (!isOwn && nowMs - endMs <= MAX_STALENESS_MS + ROUNDING_MS) continue
      const when = `${(nowMs - endMs).toFixed(0)} ms ago${isOwn ? ' through the same coordinator' : ''}`
      this.world.fault(`${nameOf(done)} was answered from before ${nameOf(other.done)}, confirmed ${when}`)
      return
    }
  }

  /**
   * Of the server that the coordinator reads under this id. Where another one takes its place, the link to that one is made
   * and opened before the coordinator works by the epoch that says so.
   */
  private spansOf({ cluster, links }: Running, id: string, { operation }: Done): readonly Span[] {
    const { preference } = cluster.placement.replicaSetOf(Buffer.from(operation.key))
    const address = preference.find((member) => member.id === id)?.node.address
    const link = links.findLast((one) => one.id === id && one.address === address)
    return link ? this.world.held!.of(link.server, operation.key) : []
  }
}

const ROUNDING_MS = 0.001
