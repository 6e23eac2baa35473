/**
 * Faults that chance alone brings together too rarely: what the rules are there for takes several of them, at the right
 * time, on different nodes.
 */
import type { Random } from '../support/random.ts'
import { ALL_SERVERS, FOREIGN_SERVER, type Fault, type Operation, type QuorumKind } from './schedule.ts'

/** What the faults are chosen for. */
export interface Size {
  servers: number
  coordinators: number
  durable: boolean
  beyond: boolean
  replicas: number
  /** Values expire: then a majority of the clocks has to be right. */
  withTtl: boolean
  operations: readonly Operation[]
}

export type Plot = (random: Random, lasts: number, size: Size) => Fault[]

/** One node misses what is written, another one forgets it, and the third one, which knows it, is silent. */
const missedForgottenSilent: Plot = (random, lasts, { servers, coordinators, operations, durable }) => {
  const [misses, forgets, silent] = shuffled(random, servers)
  const faults: Fault[] = []
  const writes = operations.filter(({ kind }) => kind !== 'read')
  for (let at = 0; at < lasts; at += 350 + random.next() * 400) {
    const write = writes.find((one) => one.at >= at)
    if (!write) break
    at = write.at
    const lostAt = at + 5 + random.below(40)
    faults.push(...missing(coordinators, misses!, Math.max(0, at - 1), lostAt))
    const server = forgets!
    const downMs = 1 + random.below(10)
    const how = random.next()
    if (how < 0.4) faults.push({ kind: 'flush', at: lostAt, server })
    else if (how < 0.6 || durable)
      faults.push({ kind: 'wipe', at: lostAt, forMs: downMs, server, noticed: true })
    else
      faults.push({
        kind: 'crash',
        at: lostAt,
        forMs: downMs,
        server,
        lostMs: lostAt - at + 1 + random.below(20),
        noticed: true,
      })
    faults.push({
      kind: 'pause',
      at: lostAt + random.below(20),
      forMs: 100 + random.below(180),
      server: silent!,
    })
  }
  return faults.sort((a, b) => a.at - b.at)
}

/** One node forgets again and again, also while it is filled, and the connections of all are cut now and then. */
const forgetsAgain: Plot = (random, lasts, { servers, coordinators }) => {
  const [forgets] = shuffled(random, servers)
  const faults: Fault[] = []
  for (let at = random.next() * 200; at < lasts + 1200; at += 150 + random.next() * 1200) {
    faults.push({
      kind: 'wipe',
      at: Math.floor(at),
      forMs: 2 + random.below(30),
      server: forgets!,
      noticed: random.chance(0.7),
    })
    const coordinator = random.below(coordinators)
    const server = random.below(servers)
    faults.push({
      kind: 'cut',
      at: Math.floor(at + random.next() * 300),
      forMs: 50 + random.below(600),
      coordinator,
      server,
      direction: random.pick(['to', 'from', 'both']),
    })
  }
  return faults.filter(({ at }) => at < lasts + 1300).sort((a, b) => a.at - b.at)
}

/** One node forgets, and again just when its filling comes to its end, which takes long, because everything is slow. */
const forgetsWhileFilled: Plot = (random, lasts, { servers, coordinators }) => {
  const [server] = shuffled(random, servers)
  if (random.chance(0.5)) {
    const at = random.below(Math.ceil(lasts * 0.7))
    const filler = random.below(coordinators)
    return [
      { kind: 'flush', at, server: server! },
      // Nobody but who fills it notices the second time.
      ...Array.from({ length: coordinators - 1 }, (_, i): Fault => {
        const coordinator = (filler + 1 + i) % coordinators
        return { kind: 'cut', at: at + 200, forMs: 3500, coordinator, server: server!, direction: 'both' }
      }),
      { kind: 'flush', at: at + 1, server: server!, whenBrought: true },
    ]
  }
  const faults = slowPaths(servers, coordinators, lasts + 1300, 20 + random.below(120))
  for (let at = random.next() * lasts * 0.5; at < lasts + 1200; at += 1150 + random.next() * 1000) {
    faults.push({ kind: 'flush', at: Math.floor(at), server: server! })
  }
  return faults
}

/** Everything is slow, though not too slow: what takes several rounds takes long, and others come in between. */
export const slowRounds: Plot = (random, lasts, { servers, coordinators }) => {
  return slowPaths(servers, coordinators, lasts + 800, 120 + random.below(60))
}

/** Nodes come and go, so that fallback replicas take copies. */
const fallbacks: Plot = (random, lasts, { servers, coordinators }) => {
  const faults: Fault[] = []
  for (let at = 0; at < lasts; at += 40 + random.next() * 250) {
    const server = random.below(servers)
    const forMs = 100 + random.below(900)
    for (let coordinator = 0; coordinator < coordinators; coordinator++) {
      if (random.chance(0.8))
        faults.push({ kind: 'cut', at: Math.floor(at), forMs, coordinator, server, direction: 'both' })
    }
    faults.push({
      kind: 'reset',
      at: Math.floor(at),
      coordinator: random.below(coordinators),
      server,
      loses: random.chance(0.5),
    })
  }
  return faults
}

/** Somebody exchanges the addresses of nodes, again and again, also with one of somebody else's, and a third one is away. */
const exchanged: Plot = (random, lasts, { servers, coordinators }) => {
  const faults: Fault[] = []
  for (let at = 0; at < lasts; at += 150 + random.next() * 500) {
    const [server, other, away] = shuffled(random, servers)
    const foreign = random.chance(0.3) // it says that it is s0
    faults.push({
      kind: 'swap',
      at: Math.floor(at),
      forMs: 150 + random.below(500),
      server: foreign ? 0 : server!,
      other: foreign ? FOREIGN_SERVER : other!,
    })
    const coordinator = random.below(coordinators)
    faults.push({
      kind: 'cut',
      at: Math.floor(at + 100),
      forMs: 50 + random.below(400),
      coordinator,
      server: away!,
      direction: 'both',
    })
  }
  return faults.sort((a, b) => a.at - b.at)
}

/** All clocks are set back, and coordinators that know nothing of what was before begin; their own clocks are wrong. */
const clocksSetBack: Plot = (random, lasts, { coordinators, withTtl, servers }) => {
  const at = Math.floor(lasts * (0.3 + 0.5 * random.next()))
  const server = withTtl ? random.below(servers) : ALL_SERVERS
  const faults: Fault[] = [{ kind: 'clock', at, server, offMs: -60_000 }]
  for (let coordinator = 0; coordinator < coordinators; coordinator++) {
    if (random.chance(0.7))
      faults.push({ kind: 'kill', at: at + 1 + random.below(100), forMs: 5 + random.below(100), coordinator })
  }
  return faults.sort((a, b) => a.at - b.at)
}

/**
 * A coordinator is out of breath while one node that had confirmed loses its data and is filled again, before another one
 * gets the write and confirms it too: two confirmations, of which the first is worth nothing any more.
 */
const outOfBreath: Plot = (random, lasts, { coordinators, servers }) => {
  const [forgets, misses, late] = shuffled(random, servers)
  const at = Math.floor(random.next() * lasts * 0.5) + 1
  const coordinator = random.below(coordinators)
  // The one that forgets is filled again within two seconds.
  const before = at - 1
  return [
    {
      kind: 'cut',
      at: before,
      forMs: 3500 + random.below(1000),
      coordinator,
      server: misses!,
      direction: 'to',
    },
    { kind: 'cut', at: before, forMs: 1950 + random.below(500), coordinator, server: late!, direction: 'to' },
    { kind: 'stall', at: at + 3 + random.below(3), forMs: 2600 + random.below(500), coordinator },
    { kind: 'flush', at: at + 8 + random.below(40), server: forgets! },
  ]
}

/** Whoever updates dies between its two rounds, everything is slow, and one node has missed the write before. */
const promisesInTheWay: Plot = (random, lasts, { servers, coordinators, operations }) => {
  const faults = slowPaths(servers, coordinators, lasts + 800, 100 + random.below(100))
  const updates = operations.filter(({ level, kind }) => level === 'quorum' && UPDATES.includes(kind))
  for (let at = 100 + random.next() * 300; at < lasts; at += 500 + random.next() * 500) {
    const update = updates.find((one) => one.at >= at)
    if (!update) break
    at = update.at
    const [misses] = shuffled(random, servers)
    faults.push(...missing(coordinators, misses!, Math.max(0, at - 300), at - 1))
    const forMs = 5 + random.below(100)
    faults.push({ kind: 'kill', at: at + 10 + random.below(180), forMs, coordinator: update.coordinator })
  }
  return faults.sort((a, b) => a.at - b.at)
}

/**
 * A coordinator is out of breath, not for too long, while a node that has confirmed forgets and is filled again, and
 * before the other nodes get the same write, late or never.
 */
const lateCopies: Plot = (random, lasts, { servers, operations }) => {
  const [forgets, late, ...others] = shuffled(random, servers)
  const faults: Fault[] = []
  const writes = operations.filter(({ level, kind }) => level === 'quorum' && kind === 'write')
  for (let at = random.next() * 300; at < lasts; at += 1300 + random.next() * 300) {
    const write = writes.find((one) => one.at >= at)
    if (!write) break
    at = write.at
    const { coordinator } = write
    const before = Math.max(0, at - 1)
    const stalledMs = 500 + random.below(450)
    const lateMs = Math.floor(stalledMs * (0.3 + 0.6 * random.next()))
    faults.push({ kind: 'stall', at: at + 1 + random.below(3), forMs: stalledMs, coordinator })
    faults.push({ kind: 'flush', at: at + 5 + random.below(25), server: forgets! })
    faults.push({ kind: 'cut', at: before, forMs: lateMs, coordinator, server: late!, direction: 'to' })
    for (const server of others) {
      if (random.chance(0.5))
        faults.push({ kind: 'cut', at: before, forMs: lateMs, coordinator, server, direction: 'to' })
      else faults.push(...missing([coordinator], server, before, at + stalledMs))
    }
  }
  return faults.sort((a, b) => a.at - b.at)
}

/** What a coordinator sends reaches one node only, and that one is silent now and then. */
const reachesOneOnly: Plot = (random, lasts, { servers, operations }) => {
  const faults: Fault[] = []
  const changes = operations.filter(({ level, kind }) => level === 'quorum' && kind !== 'read')
  for (let at = random.next() * 200; at < lasts; at += 300 + random.next() * 500) {
    const change = changes.find((one) => one.at >= at)
    if (!change) break
    at = change.at
    const [reached, ...others] = shuffled(random, servers)
    for (const server of others) {
      faults.push(...missing([change.coordinator], server, Math.max(0, at - 1), at + 5 + random.below(60)))
    }
    if (random.chance(0.7)) {
      faults.push({
        kind: 'pause',
        at: at + 50 + random.below(400),
        forMs: 100 + random.below(150),
        server: reached!,
      })
    }
  }
  return faults.sort((a, b) => a.at - b.at)
}

/** A coordinator reaches only one node, and that one has just lost everything. */
const aloneWithABlankOne: Plot = (random, lasts, { servers, coordinators }) => {
  const faults: Fault[] = []
  const [blank] = shuffled(random, servers)
  for (let at = 200 + random.next() * 500; at < lasts; at += 1500 + random.next() * 500) {
    const coordinator = random.below(coordinators)
    const forMs = 900 + random.below(600)
    for (let server = 0; server < servers; server++) {
      if (server !== blank) {
        faults.push({ kind: 'cut', at: Math.floor(at), forMs, coordinator, server, direction: 'both' })
      }
    }
    faults.push({ kind: 'flush', at: Math.floor(at + random.next() * 100), server: blank! })
  }
  return faults.sort((a, b) => a.at - b.at)
}

/** The coordinators' own clocks are wrong, each in its own way. */
const wrongOwnClocks: Plot = (random, lasts, { coordinators }) => {
  const faults: Fault[] = []
  for (let coordinator = 0; coordinator < coordinators; coordinator++) {
    for (let at = random.next() * 300; at < lasts; at += 300 + random.next() * 2000) {
      const offMs = random.pick([-60_000, -5000, 5000, 60_000])
      faults.push({ kind: 'wall', at: Math.floor(at), coordinator, offMs })
    }
  }
  return faults.sort((a, b) => a.at - b.at)
}

const UPDATES: readonly QuorumKind[] = ['nx', 'cas', 'incr', 'take']

/** What is sent to the server from one time to the other never arrives. */
function missing(
  coordinators: number | readonly number[],
  server: number,
  fromMs: number,
  toMs: number,
): Fault[] {
  const which =
    typeof coordinators === 'number' ? Array.from({ length: coordinators }, (_, i) => i) : coordinators
  return which.flatMap((coordinator) => [
    { kind: 'cut', at: fromMs, forMs: toMs - fromMs + 2, coordinator, server, direction: 'to' },
    { kind: 'reset', at: toMs, coordinator, server, loses: true },
  ])
}

function slowPaths(servers: number, coordinators: number, forMs: number, extraMs: number): Fault[] {
  return Array.from({ length: servers * coordinators }, (_, i) => {
    const path = { coordinator: Math.floor(i / servers), server: i % servers }
    return { kind: 'slow', at: 0, forMs: Math.floor(forMs), ...path, extraMs }
  })
}

/** How often each of them is chosen. */
const WEIGHTS: readonly (readonly [number, Plot])[] = [
  [5, missedForgottenSilent],
  [1, forgetsAgain],
  [2, forgetsWhileFilled],
  [2, reachesOneOnly],
  [2, slowRounds],
  [1, promisesInTheWay],
  [1, fallbacks],
  [1, exchanged],
  [1, clocksSetBack],
  [1, wrongOwnClocks],
  [2, outOfBreath],
  [2, lateCopies],
  [1, aloneWithABlankOne],
]

export const PLOTS: readonly Plot[] = WEIGHTS.flatMap(([weight, plot]) => Array<Plot>(weight).fill(plot))

/** Show something only where many clients want the same key at the same time. */
export const CROWDED: ReadonlySet<Plot> = new Set([slowRounds, promisesInTheWay, reachesOneOnly])
/** Show something only where values expire. */
export const EXPIRING: ReadonlySet<Plot> = new Set([wrongOwnClocks])
/** Show something only of what is written right before a coordinator is stalled, and not replaced after that. */
export const QUIET: ReadonlySet<Plot> = new Set([outOfBreath])
/** Show something only to reads at `one`. */
export const WEAK: ReadonlySet<Plot> = new Set([aloneWithABlankOne])

export function shuffled(random: Random, count: number): number[] {
  const numbers = Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[numbers[i], numbers[j]] = [numbers[j]!, numbers[i]!]
  }
  return numbers
}
