/**
 * Members whose primary Sentinels decide about. Where Sentinels lead somewhere else than the register says, nothing follows
 * them by itself: the coordinator that notices first has a new life of the member decided (core/topology.ts), as if a
 * server had taken the place of another.
 *
 *   the Sentinels name ──▶ is it a primary, with the  ──▶ new life, in the register ──▶ all coordinators use that server:
 *   another server         member's data, or empty?       (register.ts)                 it counts once it is filled
 *
 * Why: Redis replicates asynchronously, so the promoted server may lack acknowledged writes; and the former one may not know
 * yet that it was demoted, nor may some coordinators. With a new life whoever still counts the former one finds too few
 * other nodes that do not refuse its operations, and the promoted one counts for nothing before the others have brought it
 * what it lacks, from nodes that do refuse them.
 *
 * In the first epoch nothing but what the founding registered says which server is meant: one that was not registered is
 * used if the marker on it was written for its present run. A replica has the marker of its primary, with another run.
 *
 * A server that was demoted and promoted again under the same address shows by its replication id (marker.ts, link.ts).
 */
import type { TimerHandle, Timers } from '../core/clock.ts'
import type { Emit } from '../core/events.ts'
import { sentenceOf } from '../core/sentence.ts'
import { failOver, membersOf, type Topology, type TopologyMember } from '../core/topology.ts'
import type { NodeReport } from '../nodes/node.ts'
import type { Identity } from './identity.ts'
import { decodeMarker } from './marker.ts'
import type { Member } from './member.ts'
import type { Membership } from './membership.ts'

export interface FailoversOptions {
  readonly membership: Membership
  readonly identity: Identity
  /** In use now. */
  readonly members: () => readonly Member[]
  /** @throws Error if its address cannot be used */
  readonly memberOf: (member: TopologyMember) => Member
  /** Before any connection is made. @throws Error if no node may be there */
  readonly checkAddress: (url: string) => Promise<void>
  /** Probes the member now. Never rejects. */
  readonly reprobe: (member: Member) => Promise<void>
  /** How often the Sentinels are asked, besides whenever they announce something. */
  readonly intervalMs: number
  readonly timers: Timers
  readonly emit: Emit
}

/** Between two questions, whatever is announced. */
const SOON_MS = 50
/** Another coordinator is often faster: so many attempts may come to nothing before that is told. */
const QUIET_TRIES = 3
/** More than Rondo itself may have on a server that is not marked. */
const MOST_INTERNAL_KEYS = 32

const TOO_FEW = 'a majority of all members has to agree, and too few of them can be asked'

export class Failovers {
  private readonly options: FailoversOptions
  private timer: TimerHandle | null = null
  private running: Promise<void> | null = null
  private again = false
  private stopped = false
  /** Members that are used only once a life with their server is decided. */
  private readonly undecided = new Set<Member>()
  /** By id, as reported: what is wrong with the answers of its Sentinels, and where a failover leads. */
  private readonly unclear = new Map<string, string>()
  private readonly noticed = new Map<string, string>()
  /** By id: attempts in a row that came to nothing. */
  private readonly tries = new Map<string, number>()

  constructor(options: FailoversOptions) {
    this.options = options
  }

  start(): void {
    this.schedule(0)
  }

  /** Resolves when what it was doing has ended. */
  async stop(): Promise<void> {
    this.stopped = true
    if (this.timer) this.options.timers.clearTimeout(this.timer)
    await this.running
  }

  /** Something has happened: asks the Sentinels now. */
  readonly soon = (): void => {
    if (this.running) this.again = true
    else this.schedule(SOON_MS)
  }

  // ---- what a probe has found

  /** @throws Error if the server is no primary any more: what it holds is another one's */
  checkRole(member: Member, { isReplica, replid }: NodeReport): void {
    if (!member.sentinel) return
    if (!isReplica && replid !== '') return
    const why = isReplica
      ? 'it is a replica of another server now: once the Sentinels name the new primary, that is used'
      : 'its INFO names no master_replid, without which a failover could be overlooked'
    member.shut(why)
    this.soon()
    throw new Error(why)
  }

  /** @throws Error if the member's server is not the one that the register means */
  checkPlace(member: Member): void {
    const { sentinel, report } = member
    const { identity } = this.options
    this.undecided.delete(member)
    if (!sentinel || identity.cluster === null || identity.waitsForFounder(member)) return
    const registered = this.registered(member.id)
    if (registered !== null) {
      if (registered === sentinel.address) return
      sentinel.moveTo(registered)
      throw this.unusable(member, `the register says that ${registered} is its primary`)
    }
    if (identity.isFounding(member)) return
    const marker = report!.marker && decodeMarker(report!.marker)
    const isForeign =
      report!.marker !== null && (marker?.cluster !== identity.cluster || marker.id !== member.id)
    if (isForeign || marker?.runId === report!.runId) return // the former is refused by its marker
    this.undecided.add(member)
    throw this.unusable(member, 'the members have not agreed yet that this server is its primary')
  }

  private unusable(member: Member, why: string): Error {
    member.shut(why)
    this.soon()
    return new Error(why)
  }

  /** Where the members have agreed that it is; null = they have not. */
  private registered(id: string): string | null {
    const { membership, identity } = this.options
    const topology = membership.current?.topology ?? identity.foundation
    return (topology && memberIn(topology, id)?.primary) ?? null
  }

  // ---- asking

  private schedule(ms: number): void {
    const { timers } = this.options
    if (this.stopped) return
    if (this.timer) timers.clearTimeout(this.timer)
    this.timer = timers.setTimeout(() => {
      this.timer = null
      this.running = this.lookAtAll().finally(() => {
        this.running = null
        this.schedule(this.again ? SOON_MS : this.options.intervalMs)
        this.again = false
      })
    }, ms)
  }

  /** Never rejects. */
  private async lookAtAll(): Promise<void> {
    for (const member of this.options.members()) if (member.sentinel && !this.stopped) await this.look(member)
  }

  private async look(member: Member): Promise<void> {
    const { identity, members, reprobe } = this.options
    const sentinel = member.sentinel!
    let named: string
    try {
      named = await sentinel.ask()
    } catch (error) {
      this.tellUnclear(member.id, sentenceOf(error))
      return
    }
    this.tellUnclear(member.id, null)
    if (this.stopped || !members().includes(member)) return
    const used = this.registered(member.id) ?? sentinel.address
    if (used === null || identity.cluster === null) {
      if (sentinel.address === named) return
      sentinel.moveTo(named)
      void reprobe(member)
    } else if (named !== used || this.undecided.has(member)) {
      await this.decide(member.id, used, named)
    } else {
      this.noticed.delete(member.id)
      this.tries.delete(member.id)
    }
  }

  private tellUnclear(node: string, why: string | null): void {
    if ((this.unclear.get(node) ?? null) === why) return
    if (why === null) this.unclear.delete(node)
    else this.unclear.set(node, why)
    this.options.emit({ kind: 'sentinels-unclear', node, why })
  }

  // ---- deciding

  /** One attempt; the next question to the Sentinels leads to the next one. */
  private async decide(id: string, from: string, to: string): Promise<void> {
    const { membership, memberOf, members, checkAddress } = this.options
    const base = membership.topology
    const known = base && memberIn(base, id)
    if (!known) return
    this.tell(id, from, to, null)
    let candidate: Member | null = null
    try {
      await checkAddress(`redis://${to}`)
      candidate = memberOf({ ...known, primary: to })
      await this.checkPromoted(candidate)
      const decided = await membership.change((now) => {
        return now.epoch === base.epoch ? failOver(now, id, to) : now
      })
      const tries = decided ? 0 : (this.tries.get(id) ?? 0) + 1
      this.tries.set(id, tries)
      if (tries > QUIET_TRIES) this.tell(id, from, to, TOO_FEW)
      else if (tries > 0) this.again = true
    } catch (error) {
      this.tell(id, from, to, sentenceOf(error))
    } finally {
      if (candidate && !members().includes(candidate)) void candidate.node.close()
    }
  }

  /** @throws Error a sentence that says why the server cannot be used */
  private async checkPromoted({ id, node }: Member): Promise<void> {
    const { identity, members } = this.options
    const report = await node.probe()
    if (report.isReplica) throw new Error('it is still a replica')
    const other = members().find((one) => one.id !== id && one.report?.runId === report.runId)
    if (other)
      throw new Error(`it is ${other.id}, and a server counts once: correct what the Sentinels watch`)
    const marker = report.marker && decodeMarker(report.marker)
    const isForeign = report.marker !== null && (marker?.cluster !== identity.cluster || marker.id !== id)
    if (isForeign || (report.marker === null && report.keys > MOST_INTERNAL_KEYS)) {
      throw new Error(
        `it holds other data than that of ${id}: correct what the Sentinels watch, or empty it (FLUSHALL)`,
      )
    }
  }

  private tell(node: string, from: string, to: string, why: string | null): void {
    const known = this.noticed.get(node)
    const said = `${to} ${why ?? ''}`
    if (known === said || (why === null && known?.startsWith(`${to} `))) return
    this.noticed.set(node, said)
    this.options.emit({ kind: 'failover', node, from, to, state: why === null ? 'noticed' : 'waiting', why })
  }
}

function memberIn(topology: Topology, id: string): TopologyMember | undefined {
  return membersOf(topology).find((one) => one.id === id)
}
