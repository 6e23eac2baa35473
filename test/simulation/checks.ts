/**
 * What must be true. At quorum: each key linearizable. At the weaker levels: no lie about what is there. Everywhere: no
 * request outlives its deadline, nothing ends twice, not a byte is written to somebody else's Redis; and after healing
 * operations succeed again, and, where asked for, all replicas are equal.
 */
import { compareVersions, versionText } from '../../src/core/clock.ts'
import { EPOCH_MS } from './host.ts'
import type { Faults } from './faults.ts'
import type { Process, Server } from './server.ts'
import { isHeldBy, type Homes } from './topologies.ts'
import { epochOf as epochOfMarker } from '../../src/cluster/marker.ts'
import { registeredIn } from '../../src/cluster/register.ts'
import { TOPOLOGY_KEY } from '../../src/core/keys.ts'
import type { Topology } from '../../src/core/topology.ts'
import { checkLinearizable, type HistoryEntry } from './linearizable.ts'
import { NODE_TIMEOUT_MS } from './link.ts'
import { ALL_SERVERS, keysOf, type Schedule } from './schedule.ts'
import { PUSHES_AT_LAST } from './typed.ts'
import { isWait } from './waiting.ts'
import { nameOf, onlyReads, type Done, type Watch } from './workload.ts'
import { QUEUE_TIMEOUT_MS, REQUEST_TIMEOUT_MS, type World } from './world.ts'

/** What exists to be checked. */
export interface Expectations {
  /** After healing and enough time: every node clean, no hints left, all home replicas of a key equal. */
  readonly converge: boolean
}

/** A deadline is kept to the millisecond, and a turn of the event loop lies between it and the answer. */
const DEADLINE_SLACK_MS = 5
/** Half of the longest round trip of a ping, twice: two coordinators' cluster times may differ by this. */
export const CLOCK_ERROR_MS = 2 * NODE_TIMEOUT_MS

interface Fill {
  readonly process: Process
  readonly token: string
  /** When the marker said first that it is being filled: when its token was set. */
  readonly sinceMs: number
  /** In which epoch. */
  readonly epoch: number
  /** In which epoch its marker said that it is clean. */
  readonly cleanEpoch: number
}

export class Checks implements Watch {
  undecided = 0
  private readonly world: World
  private readonly faults: Faults
  private readonly schedule: Schedule
  private healed = false

  constructor(world: World, faults: Faults, schedule: Schedule) {
    this.world = world
    this.faults = faults
    this.schedule = schedule
    this.names = new Set(schedule.operations.flatMap(keysOf))
    this.expiring = new Set(schedule.operations.flatMap(({ ttlMs, key }) => (ttlMs > 0 ? [key] : [])))
    world.onMarked = (server) => this.marked(server)
    world.onStep = (topology) => this.stepTaken(topology)
  }

  /** From now on every operation has to succeed. */
  afterHealing(): void {
    this.healed = true
  }

  // ---- while it runs

  began(done: Done): void {
    const { operation } = done
    done.seenAtStart.clean.push(...this.cleanServers())
    done.seenAtStart.epoch = this.epochOf(done)
    if (operation.level === 'quorum') return
    const key = Buffer.from(operation.key)
    const { all, receiving } = this.world.topologies.homesOf(operation.key)
    // Those that are still receiving need not know.
    const clean = all.filter((home) => !receiving.includes(home) && home.process?.isClean)
    if (clean.every((home) => home.process!.record(key))) {
      done.seenAtStart.cleanHolders.push(...clean.map((home) => home.index))
    }
    if (operation.level === 'all' && operation.kind === 'read') {
      ;(done.seenAtStart as { mustBeAtLeast: Buffer | null }).mustBeAtLeast =
        this.newestAcked.get(operation.key) ?? null
    }
  }

  private readonly newestAcked = new Map<string, Buffer>()
  /** Of the same; 0 = never. */
  private readonly newestExpiresAtMs = new Map<string, number>()

  ended(done: Done): void {
    const { operation } = done
    if (isWait(operation.kind)) return // as long as it waits
    if (operation.kind === 'cached-read') return // caching.ts
    const tookMs = done.endMs - done.startMs
    // Alone on its connection it does not wait for room for much longer than the limit.
    // A value with a tag waits for the tag first, which is a read and one update or two.
    const timeoutMs = operation.kind === 'tag-write' ? 4 * REQUEST_TIMEOUT_MS : REQUEST_TIMEOUT_MS
    const mostMs = 2 * QUEUE_TIMEOUT_MS + timeoutMs
    if (operation.kind === 'invalidate' || operation.kind === 'delete-job') return // of no single key
    if (operation.kind === 'flush-all') return // it has a deadline for each of its steps, and may give up
    if (tookMs > mostMs + DEADLINE_SLACK_MS + this.stalledMs) {
      this.world.fault(`${nameOf(done)} took ${tookMs.toFixed(0)} ms`)
    }
    const workedMs = done.endMs - done.admittedMs
    if (workedMs > timeoutMs + DEADLINE_SLACK_MS + this.stalledMs) {
      this.world.fault(`${nameOf(done)} took ${workedMs.toFixed(0)} ms after it had begun`)
    }
    const isTorn = operation.isContended === true && done.outcome === 'unknown'
    if (isTorn) this.world.counters.count('unknown where coordinators meet, although nothing fails')
    const mustSucceed = this.healed && !this.schedule.beyond && !isTorn
    if (mustSucceed && done.outcome !== 'ok' && !this.maySeeLaterVersions(done)) {
      this.world.fault(`${nameOf(done)} failed after healing: ${done.error}`)
    }
    // Only where its coordinator was out of breath.
    if (done.outcome === 'unknown' && this.fills.some(({ sinceMs }) => sinceMs > done.admittedMs))
      this.world.counters.count('unknown, and a node was filled meanwhile')
    if (this.schedule.beyond) return
    if (operation.level === 'quorum') this.checkQuorum(done)
    else if (operation.level === 'one') this.checkOne(done)
    else if (operation.level === 'all') this.checkAll(done)
  }

  private readonly surprised = new Set<string>()

  /**
   * Where all clocks were set back, a write may meet a version later than any that its coordinator knows, once for each
   * key.
   */
  private maySeeLaterVersions({ operation, outcome }: Done): boolean {
    const setBack = this.schedule.faults.some(
      (fault) => fault.kind === 'clock' && fault.server === ALL_SERVERS,
    )
    const name = `${operation.coordinator} ${operation.key}`
    if (!setBack || outcome !== 'unknown' || this.surprised.has(name)) return false
    this.surprised.add(name)
    return true
  }

  /** A coordinator that was stalled answers late. */
  get stalledMs(): number {
    return this.schedule.faults.reduce((sum, fault) => sum + (fault.kind === 'stall' ? fault.forMs : 0), 0)
  }

  private checkQuorum(done: Done): void {
    const { operation, outcome, version, result } = done
    // One that was answered behind a pause of its coordinator tells of nodes as they were before.
    const isInTime = done.endMs - done.startMs <= REQUEST_TIMEOUT_MS
    const isFound = outcome === 'ok' && result !== null && !this.expiring.has(operation.key)
    const { kind } = operation
    // Of a collection in parts the history alone tells.
    if (onlyReads(kind) && kind !== 'total' && isFound && isInTime && version) this.checkHeld(done)
    if (kind === 'read' && outcome === 'ok') this.checkReadsWhatIsLeft(done)
    const refused = (kind === 'nx' || kind === 'cas' || kind === 'drop-field') && result === 0
    if (outcome !== 'ok' || !version || onlyReads(kind) || kind === 'take' || refused) return
    this.confirmed.push(done)
    for (const name of done.expires ? [] : keysOf(operation)) {
      const newest = this.newestConfirmed.get(name)
      if (!newest || compareVersions(version, newest.version!) > 0) this.newestConfirmed.set(name, done)
    }
    for (const fill of this.fills) this.checkFilled(fill, done)
    this.checkHeld(done)
  }

  private readonly confirmed: Done[] = []
  /** Since when each server has been filled: when its marker said so first. */
  private readonly fillingSince = new Map<number, Omit<Fill, 'process' | 'cleanEpoch'>>()

  /**
   * Of what was confirmed at quorum, a node that was filled holds
   *
   * - all that its coordinator began with before the token was set: the node may have been counted with data that it
   *   lost since. It ends before the merge begins, or is not confirmed
   * - all that was confirmed before the merge began, which is a request timeout after the token was set, or later
   *
   * The rest was confirmed by a majority without the node, or with what it holds now. An operation that waits for room
   * has not begun.
   */
  private marked(server: Server): void {
    const { marker } = server.process!
    const { topologies, scheduler } = this.world
    const known = this.fillingSince.get(server.index)
    if (marker?.state === 'filling' && marker.token !== known?.token) {
      const { token } = marker
      this.fillingSince.set(server.index, { token, sinceMs: scheduler.nowMs, epoch: topologies.epoch })
    }
    const since = this.fillingSince.get(server.index)
    if (marker?.state !== 'clean' || since === undefined) return
    this.fillingSince.delete(server.index)
    this.world.counters.count('nodes filled')
    if (this.schedule.beyond) return
    const fill = { process: server.process!, ...since, cleanEpoch: topologies.epoch }
    this.fills.push(fill)
    for (const done of this.confirmed) this.checkFilled(fill, done)
  }

  private readonly fills: Fill[] = []

  private checkFilled({ process, sinceMs, epoch, cleanEpoch }: Fill, done: Done): void {
    if (this.isFlushed(done)) return
    const mustHold = done.admittedMs < sinceMs || done.endMs < sinceMs + REQUEST_TIMEOUT_MS
    if (!mustHold || !process.isClean || done.expires) return
    for (const key of keysOf(done.operation)) {
      const wasHome = (at: number) => this.world.topologies.homesOf(key, at).all.includes(process.server)
      if (!wasHome(epoch) || !wasHome(cleanEpoch) || this.isGivenUp(done, key)) continue
      const record = process.record(Buffer.from(key))
      if (record && compareVersions(record.version, done.version!) >= 0) continue
      this.world.fault(`${process.server.id} was declared clean without what ${nameOf(done)} had confirmed`)
    }
  }

  private cleanServers(): number[] {
    return this.world.servers.filter((server) => server.process?.isClean).map((server) => server.index)
  }

  private checkOne(done: Done): void {
    const { operation, outcome, version } = done
    if (outcome !== 'ok') return
    if (operation.kind === 'read') {
      if (operation.key !== 'one-kept' || done.seenAtStart.cleanHolders.length === 0) return
      // Nothing is ever deleted there, and all home replicas that know hold it: nobody can say that there is nothing.
      if (version === null) this.world.fault(`${nameOf(done)} was told that there is nothing`)
      if (done.seenAtStart.epoch + 2 < this.world.topologies.epoch) {
        this.world.counters.count('read at one after a change that was slept through')
      }
      return
    }
    if (operation.kind === 'write' && operation.key === 'one-kept') {
      const newest = this.newestAtOne
      if (!newest || compareVersions(version!, newest.version!) > 0) this.newestAtOne = done
    }
    this.checkHeld(done)
  }

  private checkAll(done: Done): void {
    const { operation, outcome, version } = done
    if (outcome !== 'ok') return
    if (operation.kind === 'read') {
      const { mustBeAtLeast } = done.seenAtStart
      const expiresAtMs = this.newestExpiresAtMs.get(operation.key) ?? 0
      // The nodes drop a record some seconds after it has expired.
      if (!version && expiresAtMs > 0 && done.startMs > expiresAtMs) return
      if (mustBeAtLeast && (!version || compareVersions(version, mustBeAtLeast) < 0)) {
        this.world.fault(`${nameOf(done)} read something older than what all replicas had confirmed`)
      }
      return
    }
    this.checkHeld(done)
    const newest = this.newestAcked.get(operation.key)
    if (version && (!newest || compareVersions(version, newest) > 0)) {
      this.newestAcked.set(operation.key, version)
      this.newestExpiresAtMs.set(operation.key, done.expiresAtMs)
    }
  }

  /**
   * As many home replicas as the level says held it, under one of the epochs that its coordinator worked by meanwhile. One
   * that lost data since may not show it, but one that was being filled all the time has not counted, unless the change
   * of members made it one.
   */
  private checkHeld(done: Done): void {
    for (const key of keysOf(done.operation)) this.checkKeyHeld(done, key)
  }

  /** All keys were deleted since, or are about to be: nobody needs to hold it. */
  private isFlushed({ version }: Done): boolean {
    const { floors = [] } = this.world.topologies.newest
    return floors.some((floor) => version !== null && versionText(version) <= floor.version)
  }

  private checkKeyHeld(done: Done, name: string): void {
    if (this.isFlushed(done) || this.isGivenUp(done, name)) return
    const { topologies, servers } = this.world
    const { level } = done.operation
    const isPossible = (server: Server) => this.mayHold(done, server, Buffer.from(name))
    if (level === 'one') {
      // Fallback replicas as well.
      if (!servers.some(isPossible)) this.notHeld(done, 0)
      return
    }
    const heldUnder = (homes: Homes) =>
      isHeldBy(
        homes,
        (server) =>
          isPossible(server) || (homes.receiving.includes(server) && this.faults.touched.has(server.index)),
        level,
      )
    let isHeld = false
    for (let epoch = this.epochOf(done); epoch >= done.seenAtStart.epoch && !isHeld; epoch--) {
      isHeld = heldUnder(topologies.homesOf(name, epoch))
    }
    // Whatever its coordinator works by: those that vote now know it. What has taken another one's place votes when it is filled.
    const { voters } = topologies.homesOf(name)
    const mayKnow = (server: Server) =>
      isPossible(server) || (this.faults.replacements.has(server) && !server.process?.isClean)
    if (!isHeld || !isHeldBy({ voters, others: null }, mayKnow)) {
      this.notHeld(done, servers.filter(isPossible).length)
    }
  }

  // ---- at each step of a change of members

  /**
   * What was confirmed before is held by a majority of those that vote from now on. And those that voted two epochs ago
   * have heard of the last one, most of them: what is planned under the epoch before that is refused.
   */
  private stepTaken(topology: Topology): void {
    const { epoch } = topology
    if (this.schedule.beyond) return
    this.noteGivenUp(topology)
    this.countCrossed(topology)
    this.checkKept(topology)
    this.checkBroughtAtOne(topology)
    const { topologies } = this.world
    for (const [name, done] of this.newestConfirmed) {
      if (this.isGivenUp(done, name)) continue
      const { voters } = topologies.homesOf(name)
      const isPossible = (server: Server) =>
        this.faults.touched.has(server.index) || this.mayHold(done, server, Buffer.from(name))
      if (this.isFlushed(done) || isHeldBy({ voters, others: null }, isPossible)) continue
      const holding = voters.filter(isPossible).map(({ id }) => id)
      this.world.fault(
        `epoch ${epoch} begins: of ${voters.map(({ id }) => id).join(' ')} only ${holding.join(' ') || 'none'} hold what ${nameOf(done)} had confirmed`,
      )
    }
    // A new generation does not go by what the members that are given up have heard of.
    for (const name of epoch < 3 || topologies.phaseOf(epoch - 1) === null ? [] : this.names) {
      const [before, last] = [topologies.homesOf(name, epoch - 2), topologies.homesOf(name, epoch - 1)]
      if (last.others !== null && areSame(last.voters, last.others)) continue
      const hasHeard = ({ process, index }: Server) =>
        !process?.marker || this.faults.touched.has(index) || epochOfMarker(process.marker) >= epoch - 1
      if (isHeldBy({ voters: before.voters, others: null }, hasHeard)) continue
      const deaf = before.voters.filter((server) => !hasHeard(server)).map(({ id }) => id)
      this.world.fault(`epoch ${epoch} begins: ${deaf.join(' ')} have not heard of epoch ${epoch - 1}`)
    }
  }

  /** A change that is cancelled, although some had accepted its next step. */
  private countCrossed({ phase, epoch }: Topology): void {
    const { servers, topologies, counters } = this.world
    if (phase !== 'stable' || topologies.phaseOf(epoch - 1) !== 'both') return
    const accepting = servers.filter(({ process }) => {
      const accepted = registeredIn(process?.engine.storage.get(TOPOLOGY_KEY) ?? null)
      if (accepted === null || accepted === 'damaged' || accepted.kind !== 'topology') return false
      return accepted.topology.epoch === epoch && accepted.topology.phase === 'switched'
    })
    if (accepting.length > 1) counters.count('change: cancelled against a step that some had accepted')
  }

  /** Keys of which most home replicas are gone for good, and since when what is written to them counts again. */
  private readonly givenUpAt = new Map<string, number>()

  /** By key, of what those home replicas hold that are left. */
  private readonly keptWithKeysGone = new Map<string, Buffer>()

  /** What a home replica that is left holds of such a key is not given up. */
  private checkKept({ phase, epoch }: Topology): void {
    for (const [name, version] of phase === 'both' ? [] : this.keptWithKeysGone) {
      const { voters } = this.world.topologies.homesOf(name)
      const holds = ({ process }: Server) => {
        const record = process?.record(Buffer.from(name))
        return record ? compareVersions(record.version, version) >= 0 : false
      }
      if (isHeldBy({ voters, others: null }, holds)) continue
      this.world.fault(`epoch ${epoch} begins: what was left of ${name} is gone as well`)
    }
  }

  /** And it is read from then on, unless something newer is there. */
  private checkReadsWhatIsLeft(done: Done): void {
    const { key } = done.operation
    const version = this.keptWithKeysGone.get(key)
    if (!version || this.isGivenUp(done, key) || this.expiring.has(key)) return
    this.world.counters.count('read of a key with what was left')
    if (done.version && compareVersions(done.version, version) >= 0) return
    this.world.fault(`${nameOf(done)} did not find what was left`)
  }

  private noteGivenUp({ epoch, layout: { members, lost = [] }, phase }: Topology): void {
    if (phase !== 'both' || lost.length === 0) return
    const { topologies, scheduler, counters } = this.world
    const gone = members.filter(({ id }) => lost.includes(id)).map((member) => this.world.serverOf(member))
    let isAny = false
    for (const name of this.names) {
      const { voters } = topologies.homesOf(name, epoch - 1)
      if (isHeldBy({ voters, others: null }, (server) => !gone.includes(server))) continue
      this.givenUpAt.set(name, scheduler.nowMs)
      isAny = true
      const kept = voters.flatMap((server) => server.process?.record(Buffer.from(name)) ?? [])
      const [newest] = kept.sort((a, b) => compareVersions(b.version, a.version))
      if (newest) this.keptWithKeysGone.set(name, Buffer.from(newest.version))
      else this.keptWithKeysGone.delete(name)
    }
    counters.count(isAny ? 'keys are given up' : 'no key is given up with the members')
  }

  /** It was acknowledged by nodes that were given up since, or may have been. */
  private isGivenUp({ startMs }: Done, name: string): boolean {
    return startMs <= (this.givenUpAt.get(name) ?? -1)
  }

  /**
   * What one of the former home replicas alone had acknowledged at `one` is brought to the new ones, before these stand
   * alone: where that one could be reached all the time.
   */
  private checkBroughtAtOne({ phase, epoch }: Topology): void {
    const isReached = this.schedule.faults.every((fault) => {
      const isOfOther = (fault.kind === 'cut' || fault.kind === 'kill') && fault.coordinator === 1
      return fault.kind === 'change' || isOfOther
    })
    const newest = this.newestAtOne
    if (phase !== 'stable' || !newest || !isReached) return
    if (newest.endMs > (this.world.markedAtMs(epoch - 1) ?? 0)) return
    this.world.counters.count('brought at one')
    const { voters } = this.world.topologies.homesOf(newest.operation.key)
    const key = Buffer.from(newest.operation.key)
    if (voters.some((server) => this.mayHold(newest, server, key))) return
    this.world.fault(`epoch ${epoch} begins: nobody holds what ${nameOf(newest)} had confirmed`)
  }

  private newestAtOne: Done | null = null
  private readonly newestConfirmed = new Map<string, Done>()
  private readonly names: ReadonlySet<string>
  /** Keys of which a version may go by itself. */
  private readonly expiring: ReadonlySet<string>

  /** By which epoch its coordinator works now. */
  private epochOf({ operation }: Done): number {
    return this.world.coordinators[operation.coordinator]!.cluster.placement.epoch
  }

  private mayHold(done: Done, server: Server, key: Buffer): boolean {
    const record = server.process?.record(key)
    const holds = record && compareVersions(record.version, done.version!) >= 0
    const wasClean = done.seenAtStart.clean.includes(server.index) || (server.process?.isClean ?? false)
    if (this.faults.touched.has(server.index)) return wasClean || done.operation.level === 'one'
    return (holds ?? false) || !server.process // down: it is on disk
  }

  private notHeld(done: Done, possible: number): void {
    this.world.fault(`${nameOf(done)} was confirmed, but ${possible} replicas hold it`)
  }

  // ---- at the end

  checkNobodyWaits(running: readonly Done[]): void {
    for (const done of running) this.world.fault(`${nameOf(done)} never ended`)
  }

  checkStable(): void {
    const { coordinators, topologies, isStable } = this.world
    if (isStable) return
    const seen = coordinators.map(({ cluster }) => cluster.placement.epoch)
    this.world.fault(
      `the change of members has not ended: epoch ${topologies.epoch} ${topologies.newest.phase}, coordinators in ${seen.join(', ')}`,
    )
  }

  checkForeignUntouched(): void {
    const { process } = this.world.foreign
    const keys = process!.engine.storage.page(0, 1000).entries.map(({ key }) => key.toString())
    if (keys.length !== 2 || process!.marker?.cluster !== 'another') {
      this.world.fault(`a Redis of somebody else was written to: ${keys.join(', ')}`)
    }
  }

  checkHistories(history: readonly Done[]): void {
    if (this.schedule.beyond) return
    const keys = new Set(history.flatMap((done) => keysOf(done.operation)))
    for (const key of keys) {
      const ofKey = history.filter(
        ({ operation }) =>
          !isWait(operation.kind) &&
          operation.kind !== 'cached-read' &&
          (isOfAll(operation.kind) || (keysOf(operation).includes(key) && operation.level === 'quorum')),
      )
      if (ofKey.length === 0) continue
      const verdict = checkLinearizable(
        ofKey
          .filter((done) => done.outcome !== 'none')
          .map((done) => ({
            ...entryOf(done, key),
            mayBeGone: isOvertaken(done, ofKey),
            ...(done.operation.kind === 'delete-job' && { stays: writtenAfter(done, ofKey) }),
          }))
          // Of what was done before it was given up all that is known is what may have been tried.
          .map((entry) => {
            const isGone = entry.startMs <= (this.givenUpAt.get(key) ?? -1)
            return isGone ? { ...entry, known: false, end: Infinity, endMs: Infinity } : entry
          }),
        CLOCK_ERROR_MS,
      )
      if (verdict === 'undecided') this.undecided++
      if (verdict === 'violated') this.world.fault(`the history of ${key} is not linearizable`)
    }
  }

  /** At `one` nothing is promised while nodes fail. But while members change and nothing fails … */
  checkAtOne(history: readonly Done[]): void {
    const { faults } = this.schedule
    const atOne = history.filter(({ operation, outcome }) => operation.level === 'one' && outcome === 'ok')
    if (faults.every(({ kind }) => kind === 'change' || kind === 'slow')) this.checkIncrements(atOne)
    const isAhead = faults.every((fault) => {
      return fault.kind === 'change' || (fault.kind === 'cut' && fault.coordinator === 0 && fault.epoch === 3)
    })
    if (isAhead) this.checkNothing(atOne)
  }

  /** … no two increments give the same. */
  private checkIncrements(atOne: readonly Done[]): void {
    const { counters } = this.world
    if (['timeouts', 'event: node-behind'].some((what) => counters.counts.has(what))) return
    counters.count('undisturbed at one')
    const made = new Map<Done['result'], Done>()
    for (const done of atOne.filter(({ operation }) => operation.kind === 'incr')) {
      if (made.has(done.result)) this.world.fault(`${nameOf(done)} made ${done.result}, as another one did`)
      made.set(done.result, done)
    }
  }

  /** … what was written is there, also for a coordinator that is a step behind the one that cannot reach some nodes. */
  private checkNothing(atOne: readonly Done[]): void {
    const ofKey = atOne.filter(({ operation }) => operation.key === 'one-kept')
    const writes = ofKey.filter(({ operation }) => operation.kind === 'write')
    for (const done of ofKey) {
      const isNothing = done.operation.kind === 'read' && done.version === null
      if (!isNothing || !writes.some(({ end }) => end < done.start)) continue
      this.world.fault(`${nameOf(done)} was told that there is nothing, after a write had been confirmed`)
    }
  }

  /**
   * A move takes from one account what it gives to another, both or neither, so the sum over all is 0 whenever they are
   * read in one transaction. Only of a move whose outcome is unknown one half may stand without the other
   * (transact-quorum.ts): then the sum is off by its amount, this way or that. The amounts are powers of three, so what
   * the sum is off by can be made of them in one way only.
   */
  checkTotals(history: readonly Done[]): void {
    if (this.schedule.beyond) return
    const moves = history.filter(({ operation }) => operation.kind === 'move')
    for (const total of history.filter(({ operation }) => operation.kind === 'total')) {
      if (total.outcome !== 'ok') continue
      const byHalves = moves.filter((move) => move.outcome === 'unknown' && move.start < total.end)
      const amounts = new Set(byHalves.map(({ operation }) => operation.value))
      const sum = total.balances.reduce<number>((before, balance) => before + (balance ?? 0), 0)
      if (!isMadeOf(sum, amounts)) this.world.fault(`${nameOf(total)} finds accounts that add up to ${sum}`)
    }
  }

  /** MULTI adds to a list, a hash and a sorted set, to all or none: see checkTotals. */
  checkTypes(history: readonly Done[]): void {
    if (this.schedule.beyond) return
    const multis = history.filter(({ operation }) => operation.kind === 'multi')
    for (const total of history.filter(({ operation }) => operation.kind === 'multi-total')) {
      if (total.outcome !== 'ok') continue
      const byHalves = multis.filter((one) => one.outcome === 'unknown' && one.start < total.end)
      const amounts = new Set(byHalves.map(({ operation }) => operation.value))
      const [first, ...others] = total.balances.map((balance) => balance ?? 0) as [number, ...number[]]
      if (others.every((other) => isMadeOf(first - other, amounts))) continue
      this.world.fault(
        `${nameOf(total)} finds ${total.balances.join(', ')} in the list, the hash and the scores`,
      )
    }
  }

  /** Whoever waits while nothing fails is served: by a look at the latest, and by a message, once these get through. */
  checkServed(history: readonly Done[]): void {
    for (const waiting of history.filter(({ operation }) => isWait(operation.kind))) {
      const { mustBeServedMs, value, isContended } = waiting.operation
      if (mustBeServedMs === undefined) continue
      const isTorn = (done: Done) => done.operation.isContended === true && done.outcome === 'unknown'
      if (isContended && history.some(isTorn)) continue
      const pushed = history.find(
        ({ operation }) => operation.value === value && operation.client === PUSHES_AT_LAST,
      )!
      const tookMs = waiting.endMs - Math.max(waiting.startMs, pushed.endMs)
      if (waiting.outcome === 'ok' && tookMs <= mustBeServedMs) continue
      const got = waiting.outcome === 'ok' ? `after ${tookMs.toFixed(0)} ms` : 'never'
      this.world.fault(`${nameOf(waiting)} was served ${got}, although an element was there`)
    }
  }

  checkConverged(history: readonly Done[]): void {
    for (const server of this.world.servers) {
      if (!this.world.topologies.isMember(server)) continue
      if (!server.process?.isClean) this.world.fault(`${server.id} is not clean`)
      const hinted = server.process?.hinted ?? []
      if (hinted.length > 0) this.world.fault(`${server.id} still keeps hints for ${hinted.join(', ')}`)
    }
    for (const key of new Set(history.flatMap((done) => keysOf(done.operation)))) {
      const homes = this.world.homesOf(key)
      // What has ended for users goes from each node in its own time: nothing, deleted and expired are the same.
      const nowMs = EPOCH_MS + this.world.scheduler.nowMs
      const held = homes.map((home) => {
        const record = home.process?.record(Buffer.from(key)) ?? null
        return record?.isLive(nowMs) ? record : null
      })
      const same = held.every((record) => {
        const first = held[0]
        if (!record || !first) return record === first
        return compareVersions(record.version, first.version) === 0 && record.value.equals(first.value)
      })
      if (!same) {
        const seen = homes.map((home, i) => `${home.id}: ${held[i]?.value.toString() ?? 'nothing'}`)
        this.world.fault(`the replicas of ${key} differ: ${seen.join(', ')}`)
      }
    }
  }
}

/** Whether a sum is made of some of these powers of three, each added or taken away at most once. */
function isMadeOf(sum: number, amounts: ReadonlySet<number>): boolean {
  let left = sum
  for (let power = 1; left !== 0; power *= 3) {
    const digit = [-1, 0, 1].find((one) => (left - one * power) % (3 * power) === 0)
    if (digit === undefined || (digit !== 0 && !amounts.has(power))) return false
    left -= digit * power
  }
  return true
}

/** Concerns all keys. */
function isOfAll(kind: Done['operation']['kind']): boolean {
  return kind === 'flush-all' || kind === 'invalidate' || kind === 'delete-job'
}

/** The tag was invalidated between the start of a write with it and its end. */
function isOvertaken(done: Done, others: readonly Done[]): boolean {
  const end = done.outcome === 'ok' ? done.end : Infinity
  return others.some(({ operation, outcome, start, ...other }) => {
    const isMaybe = operation.kind === 'invalidate' && outcome !== 'none'
    return isMaybe && start < end && (outcome === 'ok' ? other.end : Infinity) > done.start
  })
}

/** Values that were written after a delete job had been confirmed. */
function writtenAfter({ madeAt }: Done, others: readonly Done[]): ReadonlySet<number> {
  const writes = others.filter(({ operation, start }) => operation.kind === 'write' && start > madeAt)
  return new Set(writes.map(({ operation }) => operation.value))
}

/** What an operation did to one of its keys. */
function entryOf(done: Done, key: string): HistoryEntry {
  const known = done.outcome === 'ok'
  return {
    ...effectOn(done, key),
    expected: done.expected,
    about: done.about,
    start: done.start,
    end: known ? done.end : Infinity,
    known,
    expiresAtMs: done.expiresAtMs,
    startMs: done.startMs,
    endMs: known ? done.endMs : Infinity,
  }
}

function effectOn(done: Done, key: string): Pick<HistoryEntry, 'kind' | 'value' | 'result'> {
  const { operation, result } = done
  const { kind, value } = operation
  const place = keysOf(operation).indexOf(key)
  const balance = done.balances[place] ?? null
  if (kind === 'multi-total') return { kind: 'read', value: 0, result: balance }
  if (kind === 'multi') return { kind: 'add', value, result: balance }
  if (kind === 'total') return { kind: 'read', value: 0, result: balance }
  if (kind === 'move') return { kind: 'add', value: place === 0 ? -value : value, result: balance }
  return { kind: kind === 'flush-all' ? 'delete' : (kind as HistoryEntry['kind']), value, result }
}

function areSame(one: readonly Server[], two: readonly Server[]): boolean {
  return one.length === two.length && one.every((server) => two.includes(server))
}
