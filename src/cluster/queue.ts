/**
 * Changes of members that were asked for while another one is under way: they wait in the register (core/queued.ts), and
 * whoever drives changes begins the next one (repair/rebalance.ts). Those that join, leave, weigh or count copies begin as
 * one; a replacement and another address are a change of their own, in their turn.
 *
 * Each is checked when it is asked for, against what the ones before it lead to, and again when it begins: meanwhile the
 * change before may have been cancelled, or a node that joins may have been filled by somebody else.
 */
import { RondoError } from '../core/errors.ts'
import { viewOfQueued, type Asked, type Queued, type QueuedView } from '../core/queued.ts'
import { onlyIn, type Topology } from '../core/topology.ts'
import {
  appliedTo,
  askedOf,
  decided,
  NO_CHANGE,
  requestOf,
  UnderWay,
  type ChangeRequest,
  type Changes,
} from './changes.ts'
import type { Membership } from './membership.ts'

export interface ChangeQueueOptions {
  readonly changes: Changes
  readonly membership: Membership
  /** Cluster time. */
  readonly nowMs: () => number
  /** Returns a new random string. */
  readonly randomId: () => string
}

/** What becomes of a change that was asked for. */
export interface Begun {
  readonly topology: Topology
  /** Null = it has begun; otherwise it waits: 1 = it is the next one. */
  readonly queued: { readonly id: string; readonly place: number } | null
}

/** What became of the next one in turn. */
export type Turn =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'begun' }
  | { readonly kind: 'failed'; readonly item: Queued; readonly why: string; readonly isFinal: boolean }

const MAX_QUEUED = 16
/** The register is read with every ping. */
const MAX_QUEUED_BYTES = 32 * 1024
const ID_LENGTH = 8
/** It will not be possible later either; anything else may pass. */
const FINAL: readonly string[] = ['CONFLICT', 'MEMBER_NOT_FOUND']

export class ChangeQueue {
  private readonly options: ChangeQueueOptions

  constructor(options: ChangeQueueOptions) {
    this.options = options
  }

  /** As far as is known; the next one is the first. */
  get items(): readonly Queued[] {
    return this.options.membership.queue
  }

  get view(): readonly QueuedView[] {
    const nowMs = this.options.nowMs()
    return this.items.map((item) => viewOfQueued(item, nowMs))
  }

  /** @param waits while another one is under way; otherwise it is refused then @throws RondoError as Changes.request */
  request(some: Partial<ChangeRequest>, waits = true): Promise<Begun> {
    const asked = { ...NO_CHANGE, ...some }
    return this.ask(askedOf(asked), waits, () => this.options.changes.request(asked))
  }

  /** @throws RondoError as `request` */
  replace(id: string, url: string, dropData: boolean, waits = true): Promise<Begun> {
    const asked = { kind: 'replace', id, url, dropData } as const
    return this.ask(asked, waits, () => this.options.changes.replace(id, url, dropData))
  }

  /** @throws RondoError as `request` */
  move(id: string, url: string, waits = true): Promise<Begun> {
    return this.ask({ kind: 'move', id, url }, waits, () => this.options.changes.move(id, url))
  }

  /** Undoes the change that is under way. What waits goes on to wait. @throws RondoError CONFLICT, UNAVAILABLE */
  cancel(): Promise<Topology> {
    return this.options.changes.cancel()
  }

  /** @throws RondoError as Changes.recover */
  async recover(survivors: readonly string[], acceptLoss: boolean): Promise<Begun> {
    return { topology: await this.options.changes.recover(survivors, acceptLoss), queued: null }
  }

  /** Takes back what waits. @param id null = all @throws RondoError CONFLICT, UNAVAILABLE */
  async withdraw(id: string | null): Promise<void> {
    await decided(() =>
      this.options.membership.amend((held) => {
        if (id === null) return []
        if (held.some((one) => one.id === id)) return held.filter((one) => one.id !== id)
        throw new RondoError('CONFLICT', `No change ${id} waits: it has begun, or was taken back.`)
      }),
    )
  }

  /** Begins what waits, as much as can be one change. */
  async beginNext(): Promise<Turn> {
    const [first] = this.items
    if (!first) return { kind: 'nothing' }
    const next = this.items.findIndex(({ asked }) => asked.kind !== 'change')
    const together = next < 0 ? this.items : this.items.slice(0, Math.max(1, next))
    try {
      await this.begin(together).catch((error: unknown) => {
        // One of the others may be the reason.
        if (together.length === 1 || error instanceof UnderWay) throw error
        return this.begin([first])
      })
      return { kind: 'begun' }
    } catch (error) {
      if (error instanceof UnderWay) return { kind: 'nothing' }
      if (!(error instanceof RondoError)) throw error
      return { kind: 'failed', item: first, why: error.message, isFinal: FINAL.includes(error.code) }
    }
  }

  private begin(items: readonly Queued[]): Promise<Topology> {
    const { changes } = this.options
    const taken = items.map(({ id }) => id)
    const { asked } = items[0]!
    if (asked.kind === 'replace') return changes.replace(asked.id, asked.url, asked.dropData, taken)
    if (asked.kind === 'move') return changes.move(asked.id, asked.url, taken)
    const all = items.flatMap(({ asked }) => (asked.kind === 'change' ? [requestOf(asked)] : []))
    return changes.requestAll(all, taken)
  }

  private async ask(asked: Asked, waits: boolean, begin: () => Promise<Topology>): Promise<Begun> {
    if (this.items.length === 0 || !waits) {
      try {
        return { topology: await begin(), queued: null }
      } catch (error) {
        if (!waits || !this.mayPass(error)) throw error
      }
    }
    return this.enqueue(asked)
  }

  /** Another change is the reason, or that a server is still being filled that took a member's place. */
  private mayPass(error: unknown): boolean {
    if (error instanceof UnderWay) return true
    const isUnavailable = error instanceof RondoError && error.code === 'UNAVAILABLE'
    return isUnavailable && this.options.membership.isRefilling
  }

  private async enqueue(asked: Asked): Promise<Begun> {
    const { changes, membership, nowMs, randomId } = this.options
    const id = randomId().slice(0, ID_LENGTH)
    const item = { id, askedAtMs: nowMs(), asked }
    const rehearsed = membership.topology
    if (rehearsed) await changes.rehearse(afterAll(rehearsed, this.items, asked), asked)
    const held = await decided(() =>
      membership.amend((held, topology) => {
        if (held.some((one) => one.id === id)) return held // an attempt that seemed to fail
        appliedTo(afterAll(topology, held, asked), asked)
        return checkRoom([...held, item])
      }),
    )
    const place = held.findIndex((one) => one.id === id) + 1
    return { topology: membership.topology!, queued: { id, place } }
  }
}

/** What the change under way and those that wait lead to, for another one. @throws RondoError CONFLICT */
function afterAll(topology: Topology, held: readonly Queued[], asked: Asked): Topology {
  const { next, layout } = topology
  if (next)
    checkContradiction('the change that is under way', onlyIn(next, layout), onlyIn(layout, next), asked)
  for (const { id, asked: earlier } of held) {
    if (earlier.kind !== 'change') continue
    const joining = earlier.join.map((one) => one.id)
    checkContradiction(`the change ${id}, which waits`, joining, earlier.leave, asked)
  }
  const after: Topology = { ...topology, phase: 'stable', layout: next ?? layout, next: null }
  return held.reduce((from, one) => {
    try {
      return { ...appliedTo(from, one.asked), epoch: after.epoch }
    } catch (error) {
      if (error instanceof RondoError) return from // it has become impossible: whoever begins it tells
      throw error
    }
  }, after)
}

/** They could not be one change, nor does one make sense after the other. @throws RondoError CONFLICT */
function checkContradiction(
  earlier: string,
  joining: readonly string[],
  leaving: readonly string[],
  asked: Asked,
): void {
  const named = asked.kind === 'change' ? asked.leave : [asked.id]
  const again = asked.kind === 'change' ? asked.join.map(({ id }) => id) : []
  const reason =
    sentence(named, leaving, 'is to leave') ??
    sentence(named, joining, 'is to join') ??
    sentence(again, leaving, 'is to leave') ??
    sentence(again, joining, 'is to join')
  if (reason === undefined) return
  throw new RondoError(
    'CONFLICT',
    `${reason} by ${earlier}: wait until /cluster shows that it has ended, or undo it (POST /rebalance/cancel, or DELETE /topology/changes for what waits).`,
  )
}

function sentence(ids: readonly string[], known: readonly string[], what: string): string | undefined {
  const both = ids.find((id) => known.includes(id))
  return both === undefined ? undefined : `${both} ${what}`
}

/** @throws RondoError CONFLICT */
function checkRoom(items: readonly Queued[]): readonly Queued[] {
  if (items.length <= MAX_QUEUED && JSON.stringify(items).length <= MAX_QUEUED_BYTES) return items
  throw new RondoError(
    'CONFLICT',
    `${items.length - 1} changes wait already, and no more can: wait until they have begun, or take some back (DELETE /topology/changes).`,
  )
}
