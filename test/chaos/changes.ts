/**
 * Changes of members among the faults: over HTTP, at any coordinator, while nodes and coordinators fail.
 *
 *   join      a spare server, emptied, becomes a member
 *   leave     a member leaves; its server is a spare one then, and keeps its data
 *   replace   a spare server takes the place of a member, which may be dead
 *
 * Some spare servers are asked to join as they are, with the data of the member that they were: that must be refused. In
 * some changes the coordinator that works on it is killed, and started again later: another one must go on.
 *
 * A request that is refused for the moment (409, 503) is made again; refused for another reason, it is a complaint.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Rondo } from '../../src/app/rondo.ts'
import { leaseKey } from '../../src/core/keys.ts'
import type { Topology } from '../../src/core/topology.ts'
import { WEATHER, FAIR } from '../support/fault-proxy.ts'
import type { Random } from '../support/random.ts'
import { ALL_IDS, COORDINATORS, forgetAll, type ChaosCluster, type ChaosNode } from './cluster.ts'

export const CHANGE_KINDS = ['join', 'leave', 'replace'] as const
export type ChangeKind = (typeof CHANGE_KINDS)[number]

/** As drawn from the seed; what cannot be then (nobody may leave, nobody is spare) becomes its opposite. */
export interface PlannedChange {
  readonly change: ChangeKind
  /** Which member, which spare server: from 0 up to but without 1. */
  readonly member: number
  readonly spare: number
  /** Where it is asked for. */
  readonly coordinator: number
  /** Null: no coordinator is killed. */
  readonly killAfterMs: number | null
  readonly downMs: number
  /** replace: the member is killed first. */
  readonly isDead: boolean
  /** The spare server is asked to join with its old data first. */
  readonly isUsedFirst: boolean
  readonly emptiedByCommand: boolean
  readonly thenMs: number
  readonly overlaps: boolean
}

/** With the nodes that take part. */
export interface Change extends Omit<PlannedChange, 'change' | 'member' | 'spare'> {
  readonly kind: ChangeKind
  readonly id: string
  readonly member: ChaosNode | null
  readonly spare: ChaosNode | null
}

export interface ChangeRun {
  readonly kind: ChangeKind
  readonly id: string
  readonly fromMs: number
  /** Infinity: it was never accepted. */
  begunMs: number
  endedMs: number
  /** The epoch at which it has ended; null = not known, nobody answered. */
  waitFor: number | null
  outcome: 'running' | 'ended' | 'refused' | 'open'
  /** A coordinator was killed then, before the end. */
  killedMs: number | null
  keysMoved: number
}

export interface CoordinatorDown {
  readonly coordinator: number
  readonly fromMs: number
  untilMs: number
}

interface Answer {
  readonly status: number
  readonly text: string
  readonly json: Record<string, unknown>
}

const MOST_MEMBERS = 6
const LEAST_MEMBERS = 4
/** A killed coordinator is followed by another one within ten seconds, and then it takes what it takes. */
const ENDS_WITHIN_MS = 60_000
const ASKED_FOR_MS = 20_000
const ASK_AGAIN_MS = 250
const ANSWER_WITHIN_MS = 15_000
const LOOK_EVERY_MS = 40
/** What nobody has answered may still be begun until then. */
const OPEN_FOR_MS = 4000

/** Refusals that say: not now. */
const NOT_NOW: readonly (readonly [RegExp, string])[] = [
  [/all members that stay must be clean and reachable/, 'a member is not clean or not reachable'],
  [/Too few members could be asked/, 'too few members could be asked'],
  [/Another change (is under way|was made)/, 'another change is under way, or was made meanwhile'],
  [/cannot be used/, 'the node cannot be used'],
  [/are not known yet/, 'the members are not known yet'],
  [/was (a )?node|must be empty/, 'the server is not empty'],
]
const MUST_BE_EMPTY = /holds the data of|was (a )?node|must be empty/

const IS_DONE = /is a member already|There is no member/

export function planChange(random: Random): PlannedChange {
  return {
    change: random.pick(CHANGE_KINDS),
    member: random.next(),
    spare: random.next(),
    coordinator: random.below(COORDINATORS),
    killAfterMs: random.chance(0.4) ? random.below(1500) : null,
    downMs: 300 + random.below(3000),
    isDead: random.chance(0.4),
    isUsedFirst: random.chance(0.4),
    emptiedByCommand: random.chance(0.5),
    thenMs: random.below(400),
    overlaps: random.chance(0.5),
  }
}

export class Changes {
  readonly runs: ChangeRun[] = []
  readonly downs: CoordinatorDown[] = []
  /** By reason: how often a request was refused. */
  readonly refusals = new Map<string, number>()
  /** Of servers with the data of a member that they were. */
  usedRefused = 0
  private readonly cluster: ChaosCluster
  private readonly complaints: string[]
  private running: Promise<void> = Promise.resolve()

  constructor(cluster: ChaosCluster, complaints: string[]) {
    this.cluster = cluster
    this.complaints = complaints
  }

  /** Resolves when none is under way. */
  over(): Promise<void> {
    return this.running
  }

  /** Says who takes part. None is under way. */
  prepare(planned: PlannedChange): Change {
    const { change, member, spare, ...rest } = planned
    const { members, nodes } = this.cluster
    const spares = nodes.filter(({ id }) => id === null)
    const canJoin = members.length < MOST_MEMBERS
    const kind =
      change === 'join' && !canJoin
        ? 'leave'
        : change === 'leave' && members.length <= LEAST_MEMBERS
          ? 'join'
          : change
    const leaver = kind === 'join' ? null : members[Math.floor(member * members.length)]!
    const joiner = kind === 'leave' ? null : spares[Math.floor(spare * spares.length)]!
    const free = ALL_IDS.find((id) => members.every((one) => one.id !== id))!
    return { ...rest, kind, id: leaver?.id ?? free, member: leaver, spare: joiner }
  }

  /** Resolves when it has ended, or was given up. */
  run(change: Change): Promise<void> {
    const { kind, id } = change
    const run: ChangeRun = {
      kind,
      id,
      fromMs: performance.now(),
      begunMs: Infinity,
      endedMs: Infinity,
      waitFor: null,
      outcome: 'running',
      killedMs: null,
      keysMoved: 0,
    }
    this.runs.push(run)
    this.running = this.perform(change, run).catch((error: unknown) => {
      this.complaints.push(`${kind} ${id} could not be done: ${String(error)}`)
    })
    return this.running
  }

  private async perform(change: Change, run: ChangeRun): Promise<void> {
    const { kind, member, spare, isDead } = change
    if (spare) await this.makeReady(change, spare)
    const dies = kind === 'replace' && isDead
    if (dies) {
      await member!.server.kill()
      await Promise.all(member!.allProxies.map((proxy) => proxy.set(WEATHER.cut)))
    }
    const killing = change.killAfterMs === null ? null : this.killDriver(change, change.killAfterMs, run)
    await this.ask(change, run)
    if (run.outcome === 'running') await this.untilEnded(change, run)
    await killing
    if (dies) {
      await member!.server.restart()
      await Promise.all(member!.allProxies.map((proxy) => proxy.set(FAIR)))
    }
    if (run.outcome !== 'ended' && run.outcome !== 'running') await this.followOpen(run)
    // The former server of a member that is not replaced after all has only been restarted.
    if (dies && member!.id !== null) await this.until(() => this.cluster.isWhole(member!), 'whole', run)
  }

  // ---- a server that is to join

  private async makeReady(change: Change, spare: ChaosNode): Promise<void> {
    if (!spare.isUsed) return
    // A server without a file has lost everything when it was restarted.
    const holds = await spare.ask((client) => client.dbsize())
    if (change.isUsedFirst && holds > 0) await this.mustBeRefused(change, spare)
    // The file of a server that appends may lose its end later, and with it the FLUSHALL.
    if (change.emptiedByCommand && spare.persistence !== 'everysec') {
      await spare.ask((client) => client.flushall())
      if (spare.persistence === 'snapshots') await spare.ask((client) => client.save())
    } else {
      await spare.server.kill()
      await forgetAll(spare.server)
      await spare.server.restart()
    }
    spare.isUsed = false
  }

  private async mustBeRefused(change: Change, spare: ChaosNode): Promise<void> {
    const limitMs = performance.now() + ASKED_FOR_MS
    while (performance.now() < limitMs) {
      const answer = await this.post(change, spare, false)
      if (answer && answer.status < 300) {
        this.complaints.push(`${change.kind} ${change.id}: server ${spare.name} was taken with its old data`)
        return
      }
      if (answer?.status === 409 && MUST_BE_EMPTY.test(answer.text)) {
        this.usedRefused++
        return
      }
      if (answer) this.checkRefusal(change, answer)
      await delay(ASK_AGAIN_MS)
    }
  }

  // ---- asking

  /** Asks until it is accepted, or for long enough. */
  private async ask(change: Change, run: ChangeRun): Promise<void> {
    const { kind, member, spare, id } = change
    const limitMs = performance.now() + ASKED_FOR_MS
    let dropData = false
    for (let tries = 0; performance.now() < limitMs && this.complaints.length === 0; tries++) {
      const answer = await this.post(change, spare, dropData)
      if (!answer) {
        run.outcome = 'open'
        return
      }
      if (answer.status === 202) {
        run.begunMs = performance.now()
        run.waitFor = Number(answer.json.waitFor)
        if (kind === 'replace') member!.id = null
        if (spare) Object.assign(spare, { id, hasJoined: true, isUsed: true })
        return
      }
      // A coordinator that was killed refuses what it may have begun: the next one asked finds it done.
      if (tries > 0 && IS_DONE.test(answer.text)) {
        run.outcome = 'open'
        return
      }
      this.checkRefusal(change, answer)
      // It was emptied: what it holds is the vote for a change that died with its coordinator.
      dropData ||= spare !== null && MUST_BE_EMPTY.test(answer.text)
      await delay(ASK_AGAIN_MS)
    }
    run.outcome = 'refused'
  }

  /** Null: nobody can say whether it was begun. */
  private async post(
    { kind, id, coordinator }: Change,
    spare: ChaosNode | null,
    dropData: boolean,
  ): Promise<Answer | null> {
    const query = dropData ? '?adopt=drop' : ''
    const url = `redis://127.0.0.1:${spare?.shared.port}`
    const at = await this.coordinatorUp(coordinator)
    switch (kind) {
      case 'join':
        return this.call(at, 'POST', `/members/join${query}`, { url, id })
      case 'leave':
        return this.call(at, 'POST', `/members/${id}/leave`, {})
      case 'replace':
        return this.call(at, 'POST', `/members/${id}/replace${query}`, { url })
    }
  }

  private checkRefusal({ kind, id }: Change, { status, text }: Answer): void {
    const [, known] = NOT_NOW.find(([words]) => words.test(text)) ?? []
    const reason = `${status} ${known ?? text.replace(/\d+/g, 'N').slice(0, 160)}`
    this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1)
    if (status !== 409 && status !== 503) this.complaints.push(`${kind} ${id} was refused: ${status} ${text}`)
  }

  /** This one, or the next one that is not killed. */
  private async coordinatorUp(wanted: number): Promise<number> {
    for (;;) {
      const all = Array.from({ length: COORDINATORS }, (_, i) => (wanted + i) % COORDINATORS)
      const up = all.find((i) => this.cluster.isUp(i))
      if (up !== undefined) return up
      await delay(LOOK_EVERY_MS)
    }
  }

  private async call(at: number, method: string, path: string, body?: unknown): Promise<Answer | null> {
    try {
      const response = await fetch(`${this.cluster.urlOf(at)}${path}`, {
        method,
        headers: { 'Content-Type': 'application/json' },
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      const json = (await response.json()) as Record<string, unknown>
      return { status: response.status, text: JSON.stringify(json.error ?? ''), json }
    } catch {
      return null // the coordinator was killed meanwhile, or is too slow: whoever asks looks for what came of it
    }
  }

  // ---- the end

  private async untilEnded(change: Change, run: ChangeRun): Promise<void> {
    const { kind, member, spare, id } = change
    const atEnd = async (i: number) => {
      const answer = this.cluster.isUp(i) ? await this.call(i, 'GET', '/cluster') : null
      const { epoch, phase } = answer?.json ?? {}
      return phase === 'stable' && Number(epoch) >= run.waitFor!
    }
    const hasEnded = async () => {
      for (let i = 0; i < COORDINATORS; i++) if (this.cluster.isUp(i) && !(await atEnd(i))) return false
      // Another server in the place of a member has to be filled.
      return kind !== 'replace' || this.cluster.isWhole(spare!)
    }
    if (!(await this.until(hasEnded, `at its end (epoch ${run.waitFor})`, run))) return
    run.endedMs = performance.now()
    run.outcome = 'ended'
    if (kind === 'leave') member!.id = null
    this.checkMembers()
    const at = await this.coordinatorUp(0)
    const rebalance = await this.call(at, 'GET', '/rebalance')
    const report = rebalance?.json.report as { epoch: number; moved: number } | null | undefined
    if (kind !== 'replace' && report?.epoch === run.waitFor) run.keysMoved = report.moved
    const isIn = this.cluster.members.some((node) => node.id === id)
    if (isIn !== (kind !== 'leave')) this.complaints.push(`${kind} ${id} ended with other members`)
  }

  /** The members are those that were asked for, as every coordinator sees them. */
  private checkMembers(): void {
    const expected = idsOf(this.cluster.members)
    for (const [i, { cluster }] of this.cluster.rondos.entries()) {
      if (!this.cluster.isUp(i)) continue
      const found = idsOf(cluster.members)
      if (found !== expected) {
        this.complaints.push(`coordinator ${i} has the members ${found} instead of ${expected}`)
      }
    }
  }

  /** Nobody has answered: it is begun all the same, or it is not. */
  private async followOpen(run: ChangeRun): Promise<void> {
    await delay(OPEN_FOR_MS)
    const newest = () => {
      const all = this.cluster.rondos.flatMap(({ cluster }, i) =>
        this.cluster.isUp(i) && cluster.membership.topology ? [cluster.membership.topology] : [],
      )
      return all.reduce<Topology | null>((one, two) => (one && one.epoch >= two.epoch ? one : two), null)
    }
    const isStable = () => Promise.resolve(newest()?.phase === 'stable')
    await this.until(isStable, 'at its end, of which nobody knows whether it was begun', run)
    const topology = newest()
    if (topology) this.cluster.follow(topology)
    run.endedMs = performance.now()
  }

  /** False, with a complaint: not within the time. */
  private async until(is: () => Promise<boolean>, what: string, { kind, id }: ChangeRun): Promise<boolean> {
    const limitMs = performance.now() + ENDS_WITHIN_MS
    while (!(await is())) {
      if (performance.now() > limitMs) {
        this.complaints.push(`${kind} ${id} was not ${what} within ${ENDS_WITHIN_MS} ms`)
        return false
      }
      await delay(LOOK_EVERY_MS)
    }
    return true
  }

  // ---- coordinators that die

  private async killDriver({ coordinator, downMs }: Change, afterMs: number, run: ChangeRun): Promise<void> {
    await delay(afterMs)
    const driver = run.waitFor === null ? coordinator : ((await this.driver()) ?? coordinator)
    if (!this.cluster.isUp(driver)) return
    if (run.outcome === 'running') run.killedMs = performance.now()
    const down: CoordinatorDown = { coordinator: driver, fromMs: performance.now(), untilMs: Infinity }
    this.downs.push(down)
    this.cluster.killCoordinator(driver)
    await delay(downMs)
    await this.cluster.restartCoordinator(driver)
    down.untilMs = performance.now()
  }

  /** Who holds the lease on filling a node, or else on the change. */
  private async driver(): Promise<number | null> {
    const owners = this.cluster.rondos.map(ownerOf)
    for (const lease of ['fill', 'rebalance']) {
      for (const node of this.cluster.members) {
        // A node that is paused or down names nobody.
        const holder = await node.ask((client) => client.get(leaseKey(lease))).catch(() => null)
        const at = owners.findIndex((owner) => owner === holder)
        if (at >= 0) return at
      }
    }
    return null
  }
}

/** Its name in leases, which no API tells. */
function ownerOf(rondo: Rondo): string {
  return (rondo as unknown as { readonly rebalance: { readonly context: { readonly owner: string } } })
    .rebalance.context.owner
}

function idsOf(nodes: readonly { readonly id: string | null }[]): string {
  return nodes
    .map(({ id }) => id)
    .sort()
    .join()
}
