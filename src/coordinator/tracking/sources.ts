/**
 * What the nodes tell of changed keys: a connection to each member, made again whenever it was lost.
 *
 *   opened  what is changed on it from now on is told
 *   gap     what has changed on it may not have been told: when its connection ends, when it is open again, and when a node
 *           without one is used
 *
 * A key is covered if each of its home replicas that this coordinator reads from tells of changes. A write that one of them gets
 * is told then, and one that only others get is as good as not there yet, for whoever reads: it is told when it is copied.
 */
import type { Cluster } from '../../cluster/cluster.ts'
import type { Member } from '../../cluster/member.ts'
import type { TimerHandle, Timers } from '../../core/clock.ts'
import type { Emit } from '../../core/events.ts'
import { READ_NEVER } from '../../core/plan.ts'
import type { Subscription } from '../../nodes/node.ts'

const RETRY_MS = 250
const NO_CHANGES = 'its driver does not tell which keys change'

export interface SourcesOptions {
  readonly cluster: Pick<Cluster, 'placement'>
  readonly timers: Timers
  readonly emit: Emit
  readonly changed: (keys: readonly Buffer[] | null, member: Member) => void
  readonly gap: (member: Member) => void
}

class Source {
  readonly member: Member
  isOpen = false
  /** It was opened, or could not be. */
  isTried = false
  /** As of the last beat: read from, without being told. */
  isUncovered = false
  private readonly options: SourcesOptions
  private subscription: Subscription | null = null
  private retry: TimerHandle | null = null
  private isTold = false
  private isFirst: boolean
  private isClosed = false
  private readonly onTried: () => void

  /** @param isFirst nothing was read before it is open, or could not be opened */
  constructor(member: Member, options: SourcesOptions, onTried: () => void, isFirst: boolean) {
    this.member = member
    this.options = options
    this.onTried = onTried
    this.isFirst = isFirst
    this.connect()
  }

  close(): void {
    this.isClosed = true
    this.isOpen = false
    if (this.retry) this.options.timers.clearTimeout(this.retry)
    this.subscription?.close()
    this.subscription = null
  }

  private connect(): void {
    this.retry = null
    const { member, options } = this
    if (!member.node.changes) {
      this.tried(NO_CHANGES)
      return
    }
    this.subscription = member.node.changes({
      opened: () => {
        const { isFirst } = this
        this.isOpen = true
        this.tried(null)
        if (!isFirst) options.gap(member)
      },
      changed: (keys) => options.changed(keys, member),
      ended: (why) => this.onEnded(why),
    })
  }

  private onEnded(why: string): void {
    const wasOpen = this.isOpen
    this.isOpen = false
    this.subscription = null
    if (this.isClosed) return
    this.retry = this.options.timers.setTimeout(() => this.connect(), RETRY_MS)
    // One that was lost is opened again, and that is all, as a rule; that a node is down is told elsewhere.
    if (!wasOpen) this.tried(this.member.node.ready ? why : null, this.member.node.ready)
    if (wasOpen) this.options.gap(this.member)
  }

  private tried(why: string | null, isWorthTelling = true): void {
    this.isTried = true
    this.isFirst = false
    this.onTried()
    if (!isWorthTelling || (why === null) === !this.isTold) return
    this.isTold = why !== null
    this.options.emit({ kind: 'tracking-unavailable', node: this.member.id, why })
  }
}

export class Sources {
  private readonly options: SourcesOptions
  private readonly all = new Map<Member, Source>()
  private waiting: (() => void)[] = []
  /** As of the last look: all members are covered. */
  private areAllOpen = false

  constructor(options: SourcesOptions) {
    this.options = options
  }

  get open(): number {
    let open = 0
    for (const source of this.all.values()) if (source.isOpen) open++
    return open
  }

  /** Resolves when each member was reached, or could not be; null = they were. */
  start(): Promise<void> | null {
    this.follow(this.all.size === 0)
    if (this.areTried) return null
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  private get areTried(): boolean {
    for (const { member, isTried } of this.all.values()) {
      if (!isTried && member.readRank !== READ_NEVER) return false
    }
    return true
  }

  private readonly onTried = (): void => {
    this.look()
    if (this.waiting.length === 0 || !this.areTried) return
    const waiting = this.waiting
    this.waiting = []
    for (const resolve of waiting) resolve()
  }

  /** The members as they are now. */
  private follow(isFirst = false): void {
    const members = new Set(this.options.cluster.placement.members)
    for (const [member, source] of this.all) {
      if (members.has(member)) continue
      source.close()
      this.all.delete(member)
    }
    for (const member of members) {
      if (this.all.has(member)) continue
      this.all.set(member, new Source(member, this.options, this.onTried, isFirst))
    }
    this.look()
  }

  private look(): void {
    this.areAllOpen = [...this.all.values()].every(({ isOpen }) => isOpen)
  }

  /** Called ten times a second. */
  beat(): void {
    this.follow()
    this.onTried()
    for (const source of this.all.values()) {
      const isUncovered = !source.isOpen && source.member.readRank !== READ_NEVER
      if (isUncovered && !source.isUncovered) this.options.gap(source.member)
      source.isUncovered = isUncovered
    }
  }

  /** Whether what is read of this key may be kept. */
  covers(key: Buffer): boolean {
    if (this.areAllOpen) return true
    return this.options.cluster.placement
      .replicaSetOf(key)
      .homes.every((member) => member.readRank === READ_NEVER || this.all.get(member)?.isOpen)
  }

  stop(): void {
    for (const source of this.all.values()) source.close()
    this.all.clear()
    for (const resolve of this.waiting.splice(0)) resolve()
  }
}
