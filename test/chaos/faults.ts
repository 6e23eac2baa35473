/**
 * What goes wrong, one node at a time: what a fault does, how long it lasts, how it is undone.
 *
 * A node that is cut off or paused loses nothing, so such faults may overlap. A fault that loses data waits until every
 * other node is whole again: at no time has more than one node lost what it had acknowledged.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { FAIR, WEATHER } from '../support/fault-proxy.ts'
import type { Random } from '../support/random.ts'
import { COORDINATORS, forgetAll, NODE_IDS, type ChaosCluster, type NodeId } from './cluster.ts'
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
  readonly node: NodeId
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
  readonly node: NodeId
  readonly coordinators: readonly number[]
  readonly fromMs: number
  /** The fault itself is over. */
  undoneAtMs: number
  /** The node is whole again, and every coordinator uses it. */
  wholeAtMs: number
}

export interface Detection {
  readonly kind: 'killed' | 'paused'
  readonly node: NodeId
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
      node: random.pick(NODE_IDS),
      coordinators: isOfNetwork(kind) ? whose : all,
      forMs: durationMs(kind, random),
      thenMs: random.below(400),
      overlaps: random.chance(0.25),
      chance: random.next(),
    }
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
  private readonly cluster: ChaosCluster
  private readonly stalls: Stalls
  private readonly endAtMs: number
  /** By node: the faults that last, and have not been got over. */
  private readonly open = new Map<NodeId, Set<Promise<void>>>()

  /** By node: the last fault that lost data; resolved once the node is whole again. */
  private readonly losing = new Map<NodeId, Promise<void>>()

  /** @param endAtMs no new fault begins after this */
  constructor(cluster: ChaosCluster, stalls: Stalls, endAtMs: number) {
    this.stalls = stalls
    this.cluster = cluster
    this.endAtMs = endAtMs
    for (const id of NODE_IDS) this.open.set(id, new Set())
  }

  /** Resolves when the last one is over and all nodes are whole; tells how many there were. */
  async run(plan: readonly PlannedFault[]): Promise<number> {
    let done = 0
    for (const fault of plan) {
      if (performance.now() > this.endAtMs) break
      await this.waitFor(fault)
      if (this.complaints.length > 0) break // a node that does not come back: nothing after that would be fair
      const over = this.execute(fault)
      if (LOSES_DATA.has(fault.kind)) this.losing.set(fault.node, over)
      const open = this.open.get(fault.node)!
      open.add(over)
      void over.then(() => open.delete(over))
      done++
      if (!fault.overlaps) await over
      await delay(fault.thenMs)
    }
    await this.settled(NODE_IDS)
    return done
  }

  /** A node has one fault at a time, two nodes at most have one, and only one has lost data. */
  private async waitFor({ kind, node }: PlannedFault): Promise<void> {
    await this.settled([node])
    const others = NODE_IDS.filter((id) => id !== node)
    const busy = others.filter((id) => this.open.get(id)!.size > 0)
    if (busy.length > 1) await this.settled(others)
    if (!LOSES_DATA.has(kind)) return
    // One that is about to lose data may still look whole.
    await Promise.all([...this.losing].filter(([id]) => id !== node).map(([, over]) => over))
    // Another fault that lasts is fine, as long as its node has lost nothing: a paused one is asked when it goes on.
    await this.untilWhole(others)
  }

  private async settled(ids: readonly NodeId[]): Promise<void> {
    await Promise.all(ids.flatMap((id) => [...this.open.get(id)!]))
  }

  private async untilWhole(ids: readonly NodeId[]): Promise<void> {
    const limitMs = performance.now() + WHOLE_WITHIN_MS
    for (const id of ids) {
      while (!(await this.holdsAll(id))) {
        if (performance.now() > limitMs || this.complaints.length > 0) return
        await delay(LOOK_EVERY_MS)
      }
    }
  }

  /** Its marker says clean, as the coordinators know; it may be out of reach for some of them. */
  private async holdsAll(id: NodeId): Promise<boolean> {
    const found = await this.cluster.node(id).marker()
    return found?.marker.state === 'clean' && found.current
  }

  private async execute(fault: PlannedFault): Promise<void> {
    const incident: Incident = {
      kind: fault.kind,
      node: fault.node,
      coordinators: fault.coordinators,
      fromMs: performance.now(),
      undoneAtMs: Infinity,
      wholeAtMs: Infinity,
    }
    this.incidents.push(incident)
    try {
      await this.harm(fault)
    } catch (error) {
      this.complaints.push(`"${fault.kind}" of ${fault.node} could not be done: ${String(error)}`)
    }
    incident.undoneAtMs = performance.now()
    const limitMs = incident.undoneAtMs + WHOLE_WITHIN_MS
    while (!(await this.cluster.isWhole(fault.node))) {
      if (performance.now() > limitMs) {
        this.complaints.push(`node ${fault.node} was not whole ${WHOLE_WITHIN_MS} ms after "${fault.kind}"`)
        return
      }
      await delay(LOOK_EVERY_MS)
    }
    incident.wholeAtMs = performance.now()
  }

  private async harm({ kind, node: id, coordinators, forMs, chance }: PlannedFault): Promise<void> {
    const node = this.cluster.node(id)
    const { server } = node
    const proxies = coordinators.map((i) => node.proxies[i]!)
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
        await this.kill(id, forMs)
        await forgetAll(server)
        await this.comeBack(id)
        return
      case 'kill, back with old data': {
        if (id === 'b' || id === 'd') {
          await node.ask((client) => client.save())
          await delay(200 + chance * 1000) // writes that the snapshot lacks
        }
        await this.kill(id, forMs)
        if (id === 'a' && chance < 0.7) await node.loseTail(Math.floor(chance * 20_000))
        await this.comeBack(id)
        return
      }
      case 'pause':
        await this.pause(id, forMs)
        return
      case 'swap, another cluster':
        await during(
          () => Promise.resolve(proxies.forEach((proxy) => proxy.aim(this.cluster.foreign.port))),
          () => proxies.forEach((proxy) => proxy.aim(server.port)),
        )
        return
      case 'swap, another member': {
        const others = NODE_IDS.filter((other) => other !== id)
        const other = this.cluster.node(others[Math.floor(chance * others.length)]!)
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
  private async kill(id: NodeId, forMs: number): Promise<void> {
    const { server, proxies } = this.cluster.node(id)
    const noticed = this.whenNoticed(id, 'killed')
    await server.kill()
    await Promise.all(proxies.map((proxy) => proxy.set(WEATHER.cut)))
    await delay(forMs)
    noticed()
  }

  private async comeBack(id: NodeId): Promise<void> {
    const { server, proxies } = this.cluster.node(id)
    await server.restart()
    await Promise.all(proxies.map((proxy) => proxy.set(FAIR)))
  }

  private async pause(id: NodeId, forMs: number): Promise<void> {
    const { server } = this.cluster.node(id)
    const noticed = this.whenNoticed(id, 'paused')
    await server.pause()
    await delay(forMs)
    noticed()
    server.resume()
  }

  /** From now until the returned function is called: when does each coordinator that uses the node stop doing so? */
  private whenNoticed(id: NodeId, kind: Detection['kind']): () => void {
    const fromMs = performance.now()
    const watched = this.cluster.rondos.flatMap((_, coordinator) => {
      const member = this.cluster.member(coordinator, id)
      const uses = member.health.state === 'up' && member.node.ready
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
      for (const { coordinator, afterMs } of watched) {
        const stalledMs = afterMs === null ? 0 : this.stalls.betweenMs(fromMs, fromMs + afterMs)
        this.detections.push({ kind, node: id, coordinator, afterMs, stalledMs, lastedMs })
      }
    }
  }
}
