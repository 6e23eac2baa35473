/**
 * Joins servers that a DNS name leads to, such as that of a headless service (DISCOVERY_URL):
 *
 *   an address that is new, and stays for the delay → joins, as by POST /members/join; those that are due, as one change
 *   one that may not join                           → told with the reason, and tried again after a pause that grows
 *   a member's address that the name loses          → told, with what to do: DNS removes nobody
 *
 * Every coordinator resolves the name, and waits by its own clock. A lease keeps them from joining the same servers at once;
 * nothing breaks if two do, because the register has each member once.
 */
import { askedOf, NO_CHANGE, type Joining } from '../cluster/changes.ts'
import { RondoError } from '../core/errors.ts'
import { sentenceOf } from '../core/sentence.ts'
import type { Topology, TopologyMember } from '../core/topology.ts'
import { leaseOnFirst, Periodic, reportFailure } from './background.ts'
import { LEASE_MS, type RepairContext } from './context.ts'

/** Places are host:port, with IP addresses. */
export interface Names {
  /** Where the name leads now. @throws Error if it leads nowhere, or that cannot be told */
  find(): Promise<readonly string[]>
  /** The places of a member at this url, whose host may be a name; empty = not known. Never rejects. */
  placesOf(url: string): Promise<readonly string[]>
}

export interface DiscoveryOptions {
  readonly names: Names
  /** For people. */
  readonly name: string
  readonly tls: boolean
  /** How long a new address has to stay. */
  readonly delayMs: number
}

interface Newcomer {
  readonly sinceMs: number
  tries: number
  notBeforeMs: number
  /** As reported; null = nothing is wrong with it. */
  why: string | null
}

/** Of a member that the name has led to. */
interface Absence {
  /** Null = the name leads to it. */
  sinceMs: number | null
  isTold: boolean
}

const RESOLVE_MS = 5000
const FIRST_PAUSE_MS = 10_000
const LONGEST_PAUSE_MS = 10 * 60_000
const LEASE = 'discovery'

export class Discovery {
  private readonly context: RepairContext
  private readonly options: DiscoveryOptions
  private readonly periodic: Periodic
  /** By place: what the name leads to, and is no member. */
  private readonly newcomers = new Map<string, Newcomer>()
  /** By id. */
  private readonly absences = new Map<string, Absence>()
  /** As reported; null = the name can be resolved. */
  private unresolved: string | null = null

  constructor(context: RepairContext, options: DiscoveryOptions) {
    this.context = context
    this.options = options
    const failed = (error: unknown) => reportFailure(context, 'discovery', error)
    this.periodic = new Periodic(
      context.timers,
      () => RESOLVE_MS,
      () => this.check().catch(failed),
    )
  }

  start(): void {
    this.periodic.start()
  }

  /** Resolves when the running check has ended. */
  stop(): Promise<void> {
    return this.periodic.stop()
  }

  private async check(): Promise<void> {
    const found = await this.find()
    const { topology } = this.context.cluster.membership
    if (!found || !topology) return
    this.noteAbsences(topology, found)
    const due = this.due(found)
    if (due.length === 0) return
    const { cluster, owner } = this.context
    if (await leaseOnFirst(cluster, LEASE, owner, LEASE_MS)) await this.join(topology, due)
  }

  /** Null = it cannot be told. */
  private async find(): Promise<ReadonlySet<string> | null> {
    try {
      const found = new Set(await this.options.names.find())
      this.tellResolved(null)
      return found
    } catch (error) {
      this.tellResolved(sentenceOf(error))
      return null
    }
  }

  private tellResolved(why: string | null): void {
    const isNews = (why === null) !== (this.unresolved === null)
    this.unresolved = why
    if (isNews) this.context.emit({ kind: 'discovery-name', name: this.options.name, why })
  }

  // ---- what has gone

  private noteAbsences({ layout, next }: Topology, found: ReadonlySet<string>): void {
    const { members } = next ?? layout
    for (const id of this.absences.keys()) {
      if (!members.some((member) => member.id === id)) this.absences.delete(id)
    }
    for (const member of members) {
      if (found.has(placeOf(member))) this.absences.set(member.id, { sinceMs: null, isTold: false })
      else this.noteAbsence(member)
    }
  }

  private noteAbsence(member: TopologyMember): void {
    const absence = this.absences.get(member.id)
    if (!absence || absence.isTold) return
    const nowMs = this.context.clock.monotonicMs()
    absence.sinceMs ??= nowMs
    if (nowMs - absence.sinceMs < this.options.delayMs) return
    absence.isTold = true
    const { name } = this.options
    this.context.emit({ kind: 'discovery-gone', node: member.id, address: placeOf(member), name })
  }

  // ---- what is new

  /** Places that have been new for long enough, and are not put off. */
  private due(found: ReadonlySet<string>): string[] {
    const nowMs = this.context.clock.monotonicMs()
    const known = this.known()
    for (const place of this.newcomers.keys()) {
      if (!found.has(place) || known.has(place)) this.newcomers.delete(place)
    }
    for (const place of found) {
      if (known.has(place) || this.newcomers.has(place)) continue
      this.newcomers.set(place, { sinceMs: nowMs, tries: 0, notBeforeMs: 0, why: null })
    }
    const isDue = ({ sinceMs, notBeforeMs }: Newcomer) =>
      nowMs - sinceMs >= this.options.delayMs && nowMs >= notBeforeMs
    return [...this.newcomers].filter(([, newcomer]) => isDue(newcomer)).map(([place]) => place)
  }

  /** Places of members, and of nodes that are to become members. */
  private known(): Set<string> {
    return new Set(this.urls().map((url) => placeOf({ url })))
  }

  private urls(): string[] {
    const { cluster } = this.context
    const { layout, next } = cluster.membership.topology ?? {}
    const registered = [...(layout?.members ?? []), ...(next?.members ?? [])]
    const waiting = cluster.queue.items.flatMap(({ asked }) =>
      asked.kind === 'change' ? asked.join.map(({ url }) => url) : asked.url,
    )
    // Where this coordinator reaches them may be another address than the registered one.
    const reached = cluster.members.map(({ node }) => `redis://${node.address}`)
    return [...registered.map(({ url }) => url), ...waiting, ...reached].filter((url) => url !== null)
  }

  private async join(topology: Topology, due: readonly string[]): Promise<void> {
    const { cluster, emit } = this.context
    const members = new Set(
      (await Promise.all(this.urls().map((url) => this.options.names.placesOf(url)))).flat(),
    )
    const joining: Joining[] = []
    for (const place of due) {
      if (members.has(place)) {
        this.putOff(place) // a member that is known by a name
        continue
      }
      const one = { id: place, url: this.urlOf(place), weight: 1, zone: null }
      const isFit = cluster.changes.rehearse(topology, askedOf({ ...NO_CHANGE, join: [one] }))
      await isFit.then(
        () => joining.push(one),
        (error: unknown) => this.refused(place, error),
      )
    }
    if (joining.length === 0) return
    const nodes = joining.map(({ id }) => id)
    try {
      const { queued } = await cluster.queue.request({ join: joining })
      emit({ kind: 'discovered', name: this.options.name, nodes, waits: queued !== null })
    } catch (error) {
      for (const place of nodes) this.refused(place, error)
    }
  }

  private urlOf(place: string): string {
    return `${this.options.tls ? 'rediss' : 'redis'}://${place}`
  }

  private refused(place: string, error: unknown): void {
    if (!(error instanceof RondoError)) throw error
    if (this.known().has(place)) return // another coordinator was faster
    const newcomer = this.putOff(place)
    if (newcomer.why === error.message) return
    newcomer.why = error.message
    const { name } = this.options
    this.context.emit({ kind: 'discovery-refused', address: place, name, why: error.message })
  }

  private putOff(place: string): Newcomer {
    const newcomer = this.newcomers.get(place)!
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** newcomer.tries)
    newcomer.tries++
    newcomer.notBeforeMs = this.context.clock.monotonicMs() + pauseMs
    return newcomer
  }
}

function placeOf({ url }: { readonly url: string | null }): string {
  return url?.replace(/^.*:\/\//, '') ?? ''
}
