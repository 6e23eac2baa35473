/**
 * Probes every member at its interval: one probe of a member at a time, and the next one when that has ended.
 *
 *   up and in use                    → the ping interval
 *   up, not usable or writable yet   → 250 ms
 *   not up                           → soon, then less often (health.ts); at most 100 ms while more than half of the
 *                                      members seem down, because then it may be our own network
 *   waiting for its founder's mark   → 50 ms
 */
import type { TimerHandle, Timers } from '../core/clock.ts'
import type { Member } from './member.ts'

export interface ProberOptions {
  readonly pingIntervalMs: number
  readonly timers: Timers
  /** All members, as of now. */
  readonly members: () => readonly Member[]
  /** One probe, start to end. Never rejects. */
  readonly probe: (member: Member) => Promise<void>
  /** Whether the member waits for the founder of the cluster. */
  readonly waitsForFounder: (member: Member) => boolean
}

interface Probe {
  timer: TimerHandle | null
  running: Promise<void> | null
  /** Something changed while a probe was running: probe again at once. */
  again: boolean
}

const OWN_NETWORK_PROBE_MS = 100
/** Probe interval while a node answers but is not usable yet. */
const UNSETTLED_PROBE_MS = 250
export const FOUNDING_PROBE_MS = 50

export class Prober {
  private readonly options: ProberOptions
  private readonly probes = new Map<Member, Probe>()
  private stopped = false

  constructor(options: ProberOptions) {
    this.options = options
  }

  /** Probes the member now, and from now on. Resolves when that probe has ended; never rejects. */
  probe(member: Member): Promise<void> {
    if (this.stopped) return Promise.resolve()
    const probe = this.probeOf(member)
    if (probe.running) {
      probe.again = true
      return probe.running
    }
    if (probe.timer) this.options.timers.clearTimeout(probe.timer)
    probe.timer = null
    probe.running = this.options.probe(member).finally(() => this.onEnded(member, probe))
    return probe.running
  }

  /** The running probe of this member is followed by another one at once. */
  again(member: Member): void {
    this.probeOf(member).again = true
  }

  /** No more probes of this member. */
  forget(member: Member): void {
    const probe = this.probes.get(member)
    this.probes.delete(member)
    if (probe?.timer) this.options.timers.clearTimeout(probe.timer)
  }

  stop(): void {
    this.stopped = true
    for (const member of [...this.probes.keys()]) this.forget(member)
  }

  private probeOf(member: Member): Probe {
    let probe = this.probes.get(member)
    if (!probe) this.probes.set(member, (probe = { timer: null, running: null, again: false }))
    return probe
  }

  private onEnded(member: Member, probe: Probe): void {
    probe.running = null
    if (this.probes.get(member) !== probe) return
    const delayMs = probe.again ? 1 : this.delayMs(member)
    probe.again = false
    probe.timer = this.options.timers.setTimeout(() => void this.probe(member), delayMs)
  }

  private delayMs(member: Member): number {
    const { health, report, unwritable, node } = member
    const delayMs = health.nextProbeMs(this.options.pingIntervalMs)
    if (health.state !== 'up' && this.suspectsOwnNetwork) return Math.min(delayMs, OWN_NETWORK_PROBE_MS)
    if (report && this.options.waitsForFounder(member)) return Math.min(delayMs, FOUNDING_PROBE_MS)
    const unsettled = health.state === 'up' && (unwritable !== null || !node.ready)
    return unsettled ? Math.min(delayMs, UNSETTLED_PROBE_MS) : delayMs
  }

  /** More than half of the members seem down. */
  private get suspectsOwnNetwork(): boolean {
    const members = this.options.members()
    return members.filter(({ health }) => health.state === 'down').length * 2 > members.length
  }
}
