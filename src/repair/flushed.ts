/**
 * Gives back the memory of what was flushed: removes from each member what is below the floors (core/floors.ts), page by page,
 * so that clients hardly notice. Nobody sees it before that either.
 *
 * One coordinator at a time does it, by lease. What it has done of a member stands in a note there: another one goes on with
 * the next, and a member that was away is looked at when it is back.
 */
import { z } from 'zod'
import { encodeMarker } from '../cluster/marker.ts'
import type { Member } from '../cluster/member.ts'
import { versionText } from '../core/clock.ts'
import type { Floors } from '../core/floors.ts'
import { leaseOnFirst, Periodic, reportFailure } from './background.ts'
import { LEASE_MS, type RepairContext } from './context.ts'
import { Note } from './notes.ts'
import { answerOf, RepairStopped } from './round/copy.ts'
import { Pace } from './round/pace.ts'

const PAUSE_MS = 1000
const LEASE = 'flushed'
/** A node blocks for half a millisecond. */
const PAGE_KEYS = 128
const KEYS_PER_SECOND = 20_000
const REPORT_EVERY_MS = 10_000

/** The floors below which nothing is left. On each member. */
const FLUSHED = new Note('flushed', z.object({ floors: z.array(z.string()) }))

export class Flushed {
  private readonly context: RepairContext
  private readonly periodic: Periodic
  private readonly pace: Pace
  /** By member: the floors for which it is done, as far as this coordinator knows. */
  private readonly known = new Map<Member, Floors>()
  private stopped = false

  constructor(context: RepairContext) {
    this.context = context
    const { timers, clock } = context
    this.pace = new Pace(KEYS_PER_SECOND, clock, timers)
    const failed = (error: unknown) => reportFailure(context, 'repair of what was flushed', error)
    this.periodic = new Periodic(
      timers,
      () => PAUSE_MS,
      () => this.check().catch(failed),
    )
  }

  start(): void {
    this.periodic.start()
  }

  /** Resolves when the present page is done; another coordinator goes on. */
  stop(): Promise<void> {
    this.stopped = true
    this.pace.stop()
    return this.periodic.stop()
  }

  private async check(): Promise<void> {
    const { cluster, owner } = this.context
    const { floors } = cluster
    if (floors === null) return
    for (const member of cluster.members) {
      if (this.stopped || !member.node.ready || member.marker === null) continue
      if (this.known.get(member) === floors) continue
      if (!(await leaseOnFirst(cluster, LEASE, owner, LEASE_MS))) return
      const done = (await FLUSHED.read(cluster, [member]))?.floors
      if (!namesOf(floors).every((name) => done?.includes(name))) await this.clean(member, floors)
      this.known.set(member, floors)
    }
  }

  /** @throws RepairStopped */
  private async clean(member: Member, floors: Floors): Promise<void> {
    const { cluster, clock, emit, owner } = this.context
    const marker = encodeMarker(member.marker!)
    const beganAtMs = clock.monotonicMs()
    let reportAtMs = beganAtMs + REPORT_EVERY_MS
    let renewAtMs = beganAtMs + LEASE_MS / 3
    let dropped = 0
    let told = 0
    const report = (finished: boolean) => {
      const seconds = (clock.monotonicMs() - beganAtMs) / 1000
      emit({ kind: 'flushed', node: member.id, dropped, more: dropped - told, seconds, finished })
      told = dropped
    }
    let cursor = '0'
    do {
      await this.pace.spend(PAGE_KEYS)
      if (this.stopped) throw new RepairStopped(member.node, 'this coordinator stops')
      const page = await answerOf(member.node, member.node.dropBelow(marker, floors, cursor, PAGE_KEYS))
      if (page === null) throw new RepairStopped(member.node, 'its marker has changed')
      cursor = page.cursor
      dropped += page.dropped
      const nowMs = clock.monotonicMs()
      if (nowMs >= renewAtMs) {
        renewAtMs = nowMs + LEASE_MS / 3
        const isOurs = await leaseOnFirst(cluster, LEASE, owner, LEASE_MS)
        if (!isOurs) throw new RepairStopped(member.node, 'another coordinator goes on')
      }
      if (nowMs < reportAtMs) continue
      reportAtMs = nowMs + REPORT_EVERY_MS
      report(false)
    } while (cursor !== '0')
    if (dropped > 0) report(true)
    await FLUSHED.write(cluster, { floors: namesOf(floors) }, [member])
  }
}

function namesOf({ all }: Floors): string[] {
  return all.map(({ database, version }) => `${database ?? 'all'} ${versionText(version)}`)
}
