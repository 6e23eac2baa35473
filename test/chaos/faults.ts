/**
 * What goes wrong, one node at a time: what a fault does, how long it lasts, how it is undone.
 *
 * A node that is cut off or paused loses nothing, so such faults may overlap. A fault that loses data waits until every
 * other node is whole again: at no time has more than one node lost what it had acknowledged. Another server in the place
 * of a member (changes.ts) has lost everything in this sense, until it is filled.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { FAIR, WEATHER } from '../support/fault-proxy.ts'
import { seeded, type Random } from '../support/random.ts'
import { Changes, planChange, type PlannedChange } from './changes.ts'
import { COORDINATORS, forgetAll, type ChaosCluster, type ChaosNode } from './cluster.ts'
import type { Stalls } from './stalls.ts'

export const FAULT_KINDS = [
  'kill, back empty',
  'kill, back with old data',
  'flush',
  'pause',
  'swap, another cluster',
  'swap, another member',
  'cut',
  'blackhole',
  'partition',
  'lose requests',
  'lose replies',
  'slow',
] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

const LOSES_DATA: ReadonlySet<FaultKind> = new Set<FaultKind>([
  'kill, back empty',
  'kill, back with old data',
  'flush',
])

const SHARES: Record<FaultKind, number> = {
  'kill, back empty': 14,
  'kill, back with old data': 14,
  flush: 10,
  pause: 18,
  'swap, another cluster': 6,
  'swap, another member': 5,
  cut: 8,
  blackhole: 6,
  partition: 7,
  'lose requests': 4,
  'lose replies': 5,
  slow: 5,
}

/** As drawn from the seed. */
export interface PlannedFault {
  readonly kind: FaultKind
  /** Which of those that are members then, from 0 up to but without 1. */
  readonly node: number
  /** Whose connections to it. */
  readonly coordinators: readonly number[]
  readonly forMs: number
  /** Until the next one is looked at. */
  readonly thenMs: number
  /** The next one need not wait until all is well again. */
  readonly overlaps: boolean
  /** More chance, for what the kind needs. */
  readonly chance: number
}

export interface Incident {
  readonly kind: FaultKind
  /** The name of the server. */
  readonly node: string
  readonly coordinators: readonly number[]
  readonly fromMs: number
  /** The fault itself is over. */
  undoneAtMs: number
  /** The node is whole again, and every coordinator uses it. */
  wholeAtMs: number
}

export interface Detection {
  readonly kind: 'killed' | 'paused'
  readonly node: string
  readonly coordinator: number
  /** Null: not within the time that the fault lasted. */
  readonly afterMs: number | null
  /** Of that, how long this whole process stood still. */
  readonly stalledMs: number
  readonly lastedMs: number
}

export function planFaults(count: number, random: Random): PlannedFault[] {
  const all = Array.from({ length: COORDINATORS }, (_, i) => i)
  return Array.from({ length: count }, () => {
    const kind = pickKind(random)
    const one = random.below(COORDINATORS)
    const whose = random.pick([all, all, [one], [one], [one], all.filter((i) => i !== one)])
    return {
      kind,
      node: random.next(),
      coordinators: isOfNetwork(kind) ? whose : all,
      forMs: durationMs(kind, random),
      thenMs: random.below(400),
      overlaps: random.chance(0.25),
      chance: random.next(),
    }
  })
}

/** Faults, and in the place of this share of them a change of the members. */
export function planRun(
  count: number,
  changesPercent: number,
  seed: number,
): (PlannedFault | PlannedChange)[] {
  const random = seeded(seed + 2)
  return planFaults(count, seeded(seed)).map((fault) => {
    const change = planChange(random)
    return random.chance(changesPercent / 100) ? change : fault
  })
}

function pickKind(random: Random): FaultKind {
  let at = random.below(Object.values(SHARES).reduce((a, b) => a + b, 0))
  for (const kind of FAULT_KINDS) {
    if (at < SHARES[kind]) return kind
    at -= SHARES[kind]
  }
  return 'pause'
}

function durationMs(kind: FaultKind, random: Random): number {
  switch (kind) {
    case 'flush':
      return 0
    case 'kill, back empty':
    case 'kill, back with old data':
      return 100 + random.below(900)
    case 'pause':
      return random.chance(0.3) ? 100 + random.below(300) : 500 + random.below(1500)
    default:
      return 200 + random.below(1800)
  }
}

/** Between the coordinators and a node, not in the node. */
function isOfNetwork(kind: FaultKind): boolean {
  return !LOSES_DATA.has(kind) && kind !== 'pause'
}

const WHOLE_WITHIN_MS = 45_000
const LOOK_EVERY_MS = 40

export class Faults {
  readonly incidents: Incident[] = []
  readonly detections: Detection[] = []
  /** What should not have happened, apart from what the history tells. */
  readonly complaints: string[] = []
  readonly changes: Changes
  private readonly cluster: ChaosCluster
  private readonly stalls: Stalls
  private readonly endAtMs: number
  /** By node: the faults that last, and have not been got over. */
  private readonly open: ReadonlyMap<ChaosNode, Set<Promise<void>>>

  /** By node: the last fault that lost data; resolved once the node is whole again. */
  private readonly losing = new Map<ChaosNode, Promise<void>>()

  /** @param endAtMs no new fault begins after this */
  constructor(cluster: ChaosCluster, stalls: Stalls, endAtMs: number) {
    this.stalls = stalls
    this.cluster = cluster
    this.endAtMs = endAtMs
    this.open = new Map(cluster.nodes.map((node) => [node, new Set()]))
    this.changes = new Changes(cluster, this.complaints)
  }

  /** Resolves when the last one is over and all nodes are whole. */
  async run(plan: readonly (PlannedFault | PlannedChange)[]): Promise<void> {
    for (const step of plan) {
      if (performance.now() > this.endAtMs) break
      const over = 'change' in step ? await this.beginChange(step) : await this.beginFault(step)
      if (this.complaints.length > 0) break // a node that does not come back: nothing after that would be fair
      if (!step.overlaps) await over()
      await delay(step.thenMs)
    }
    await this.settled(this.cluster.nodes)
    await this.changes.over()
  }

  /** Resolves, when it has begun, with how to wait for its end. */
  private async beginFault(fault: PlannedFault): Promise<() => Promise<void>> {
    const node = await this.subjectOf(fault)
    if (this.complaints.length > 0) return () => Promise.resolve()
    return this.track(node, this.execute(fault, node), LOSES_DATA.has(fault.kind))
  }

  private track(node: ChaosNode, over: Promise<void>, losesData: boolean): () => Promise<void> {
    if (losesData) this.losing.set(node, over)
    const open = this.open.get(node)!
    open.add(over)
    void over.then(() => open.delete(over))
    return () => over
  }

  /**
   * One change at a time. Another server in the place of a member is empty: as long as it is not filled, no other node may
   * lose data. The servers that take part are at no other fault when it is asked for.
   */
  private async beginChange(planned: PlannedChange): Promise<() => Promise<void>> {
    await this.changes.over()
    const change = this.changes.prepare(planned)
    const { spare, member } = change
    await this.settled([spare, member].filter((node) => node !== null))
    if (change.kind !== 'replace') {
      const over = this.changes.run(change)
      return () => over
    }
    await this.noOtherLoses(spare!)
    if (this.complaints.length > 0) return () => Promise.resolve()
    return this.track(spare!, this.changes.run(change), true)
  }

  /** Waits until a fault may begin: a node has one at a time, two nodes at most have one, and only one has lost data. */
  private async subjectOf({ kind, node: at }: PlannedFault): Promise<ChaosNode> {
    for (;;) {
      const { members } = this.cluster
      const node = members[Math.floor(at * members.length)]!
      await this.settled([node])
      const others = this.cluster.nodes.filter((one) => one !== node)
      const busy = others.filter((one) => this.open.get(one)!.size > 0)
      if (busy.length > 1) await this.settled(others)
      if (LOSES_DATA.has(kind)) await this.noOtherLoses(node)
      if (node.id !== null || this.complaints.length > 0) return node
    }
  }

  private async noOtherLoses(node: ChaosNode): Promise<void> {
    // One that is about to lose data may still look whole.
    await Promise.all([...this.losing].filter(([one]) => one !== node).map(([, over]) => over))
    // Another fault that lasts is fine, as long as its node has lost nothing: a paused one is asked when it goes on.
    await this.untilWhole(this.cluster.members.filter((one) => one !== node))
  }

  private async settled(nodes: readonly ChaosNode[]): Promise<void> {
    await Promise.all(nodes.flatMap((node) => [...this.open.get(node)!]))
  }

  private async untilWhole(nodes: readonly ChaosNode[]): Promise<void> {
    const limitMs = performance.now() + WHOLE_WITHIN_MS
    for (const node of nodes) {
      while (!(await this.holdsAll(node))) {
        if (performance.now() > limitMs || this.complaints.length > 0) return
        await delay(LOOK_EVERY_MS)
      }
    }
  }

  /** Its marker says clean, as the coordinators know; it may be out of reach for some of them. */
  private async holdsAll(node: ChaosNode): Promise<boolean> {
    if (node.id === null) return true // it has left
    const found = await node.marker()
    return found?.marker.state === 'clean' && found.current
  }

  private async execute(fault: PlannedFault, node: ChaosNode): Promise<void> {
    const incident: Incident = {
      kind: fault.kind,
      node: node.name,
      coordinators: fault.coordinators,
      fromMs: performance.now(),
      undoneAtMs: Infinity,
      wholeAtMs: Infinity,
    }
    this.incidents.push(incident)
    try {
      await this.harm(fault, node)
    } catch (error) {
      this.complaints.push(`"${fault.kind}" of ${node.name} could not be done: ${String(error)}`)
    }
    incident.undoneAtMs = performance.now()
    const limitMs = incident.undoneAtMs + WHOLE_WITHIN_MS
    while (!(await this.cluster.isWhole(node))) {
      if (performance.now() > limitMs) {
        this.complaints.push(
          `node ${node.name} (member ${node.id}) was not whole ${WHOLE_WITHIN_MS} ms after "${fault.kind}"`,
        )
        return
      }
      await delay(LOOK_EVERY_MS)
    }
    incident.wholeAtMs = performance.now()
  }

  private async harm({ kind, coordinators, forMs, chance }: PlannedFault, node: ChaosNode): Promise<void> {
    const { server } = node
    const proxies = node.proxiesOf(coordinators)
    const during = async (begin: () => Promise<unknown>, end: () => unknown) => {
      await begin()
      await delay(forMs)
      await end()
    }
    const weather = (name: keyof typeof WEATHER) =>
      during(
        () => Promise.all(proxies.map((proxy) => proxy.set(WEATHER[name]))),
        () => Promise.all(proxies.map((proxy) => proxy.set(FAIR))),
      )
    switch (kind) {
      case 'flush':
        await node.ask((client) => client.flushall())
        return
      case 'kill, back empty':
        await this.kill(node, forMs)
        await forgetAll(server)
        await this.comeBack(node)
        return
      case 'kill, back with old data': {
        if (node.persistence === 'snapshots') {
          await node.ask((client) => client.save())
          await delay(200 + chance * 1000) // writes that the snapshot lacks
        }
        await this.kill(node, forMs)
        if (node.persistence === 'everysec' && chance < 0.7) await node.loseTail(Math.floor(chance * 20_000))
        await this.comeBack(node)
        return
      }
      case 'pause':
        await this.pause(node, forMs)
        return
      case 'swap, another cluster':
        await during(
          () => Promise.resolve(proxies.forEach((proxy) => proxy.aim(this.cluster.foreign.port))),
          () => proxies.forEach((proxy) => proxy.aim(server.port)),
        )
        return
      case 'swap, another member': {
        const others = this.cluster.members.filter((other) => other !== node)
        const other = others[Math.floor(chance * others.length)]!
        await during(
          () => Promise.resolve(proxies.forEach((proxy) => proxy.aim(other.server.port))),
          () => proxies.forEach((proxy) => proxy.aim(server.port)),
        )
        return
      }
      case 'cut':
        return weather('cut')
      case 'blackhole':
        return weather('blackhole')
      case 'partition':
        return weather('partition')
      case 'lose requests':
        return weather('lose-requests')
      case 'lose replies':
        return weather('lose-replies')
      case 'slow': {
        const slow = { ...FAIR, delayMs: 5 + chance * 100 }
        await during(
          () => Promise.all(proxies.map((proxy) => proxy.set(slow))),
          () => Promise.all(proxies.map((proxy) => proxy.set(FAIR))),
        )
      }
    }
  }

  /** The process dies and its machine lives on: connections end, and new ones are refused. */
  private async kill(node: ChaosNode, forMs: number): Promise<void> {
    const noticed = this.whenNoticed(node, 'killed')
    await node.server.kill()
    await Promise.all(node.allProxies.map((proxy) => proxy.set(WEATHER.cut)))
    await delay(forMs)
    noticed()
  }

  private async comeBack({ server, allProxies }: ChaosNode): Promise<void> {
    await server.restart()
    await Promise.all(allProxies.map((proxy) => proxy.set(FAIR)))
  }

  private async pause(node: ChaosNode, forMs: number): Promise<void> {
    const { server } = node
    const noticed = this.whenNoticed(node, 'paused')
    await server.pause()
    await delay(forMs)
    noticed()
    server.resume()
  }

  /** From now until the returned function is called: when does each coordinator that uses the node stop doing so? */
  private whenNoticed({ id, name }: ChaosNode, kind: Detection['kind']): () => void {
    const fromMs = performance.now()
    const memberAt = (i: number) => (this.cluster.isUp(i) ? this.cluster.member(i, id!) : undefined)
    const watched = this.cluster.rondos.flatMap((_, coordinator) => {
      const member = memberAt(coordinator)
      const uses = member?.health.state === 'up' && member.node.ready
      return uses ? [{ coordinator, member, rank: member.readRank, afterMs: null as number | null }] : []
    })
    const look = () => {
      for (const entry of watched) {
        const { member } = entry
        if (entry.afterMs === null && (member.health.state !== 'up' || member.readRank !== entry.rank)) {
          entry.afterMs = performance.now() - fromMs
        }
      }
    }
    const timer = setInterval(look, 1)
    return () => {
      look()
      clearInterval(timer)
      const lastedMs = performance.now() - fromMs
      for (const { coordinator, member, afterMs } of watched) {
        if (memberAt(coordinator) !== member) continue // it has left, or this coordinator was killed
        const stalledMs = afterMs === null ? 0 : this.stalls.betweenMs(fromMs, fromMs + afterMs)
        this.detections.push({ kind, node: name, coordinator, afterMs, stalledMs, lastedMs })
      }
    }
  }
}
