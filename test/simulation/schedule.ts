/**
 * A run as data: what clients do, what goes wrong, and the seed of everything else (delays, turns). It is made from one
 * seed, and can be cut down entry by entry (shrink.ts) and read by a person (print.ts).
 *
 * Times are virtual milliseconds since the cluster stood.
 */
import { seeded, type Random } from '../support/random.ts'

export type QuorumKind = 'read' | 'write' | 'delete' | 'nx' | 'cas' | 'incr' | 'take'

export interface Operation {
  readonly at: number
  readonly client: number
  /** Which coordinator it asks. */
  readonly coordinator: number
  readonly key: string
  readonly level: 'one' | 'quorum' | 'all'
  readonly kind: QuorumKind
  /** Unique in the run. */
  readonly value: number
  readonly ttlMs: number
}

export type Fault =
  | { readonly kind: 'cut'; at: number; forMs: number; coordinator: number; server: number; direction: 'to' | 'from' | 'both' }
  | { readonly kind: 'reset'; at: number; coordinator: number; server: number; loses: boolean }
  | { readonly kind: 'slow'; at: number; forMs: number; coordinator: number; server: number; extraMs: number }
  | { readonly kind: 'pause'; at: number; forMs: number; server: number }
  | { readonly kind: 'crash'; at: number; forMs: number; server: number; lostMs: number; noticed: boolean }
  | { readonly kind: 'wipe'; at: number; forMs: number; server: number; noticed: boolean }
  | { readonly kind: 'flush'; at: number; server: number }
  | { readonly kind: 'swap'; at: number; forMs: number; server: number; other: number }
  | { readonly kind: 'refuse'; at: number; forMs: number; server: number; reason: 'out-of-memory' | 'read-only' }
  | { readonly kind: 'evict'; at: number; server: number; key: string }
  /** @param server ALL_SERVERS: somebody has set all of them wrong */
  | { readonly kind: 'clock'; at: number; server: number; offMs: number }
  | { readonly kind: 'wall'; at: number; coordinator: number; offMs: number }
  | { readonly kind: 'stall'; at: number; forMs: number; coordinator: number }
  | { readonly kind: 'kill'; at: number; forMs: number; coordinator: number }

export type FaultKind = Fault['kind']

export interface Schedule {
  readonly seed: number
  readonly servers: number
  readonly replicas: number
  readonly coordinators: number
  /** appendfsync always, on all of them. */
  readonly durable: boolean
  /** When the last fault must have ended; then the network is calm. */
  readonly healAt: number
  readonly operations: readonly Operation[]
  readonly faults: readonly Fault[]
  /** More replicas than a quorum can spare may lose data: only crashes and stuck requests are looked for. */
  readonly beyond: boolean
}

/** At the address of another server: a Redis of another cluster. */
export const FOREIGN_SERVER = -1
export const ALL_SERVERS = -2

export interface ProfileOptions {
  readonly beyond?: boolean
  readonly operations?: number
}

const LASTS_MS = 2500

export function makeSchedule(seed: number, options: ProfileOptions = {}): Schedule {
  const random = seeded(seed * 2 + 1)
  for (let i = 0; i < 3; i++) random.next()
  const replicas = random.chance(0.85) ? 3 : 5
  const servers = replicas === 5 ? 5 : random.pick([3, 3, 4, 5])
  const coordinators = random.pick([2, 2, 3])
  const durable = random.chance(0.15)
  const beyond = options.beyond ?? false
  const lasts = LASTS_MS * (0.2 + 0.8 * random.next())
  const operations = operationsOf(random, options.operations ?? 30 + random.below(16), lasts, coordinators)
  const size: Size = {
    servers,
    coordinators,
    durable,
    beyond,
    replicas,
    withTtl: operations.some(({ ttlMs }) => ttlMs > 0),
    operations,
  }
  const plot = random.chance(0.4) ? random.pick(PLOTS)(random, lasts, size) : []
  return {
    seed,
    servers,
    replicas,
    coordinators,
    durable,
    healAt: lasts + 1500,
    operations,
    faults: plot.length > 0 ? plot : faultsOf(random, lasts, size),
    beyond,
  }
}

const MIXES: readonly (readonly QuorumKind[])[] = [
  ['write', 'write', 'read', 'read', 'read'],
  ['write', 'write', 'read', 'read', 'delete'],
  ['write', 'delete', 'nx', 'read', 'read'],
  ['nx', 'delete', 'read'],
  ['incr', 'incr', 'read'],
  ['write', 'cas', 'cas', 'read'],
  ['write', 'read', 'delete', 'nx', 'cas', 'incr', 'take'],
]

function operationsOf(random: Random, count: number, lasts: number, coordinators: number): Operation[] {
  const clients = 3 + random.below(3)
  const keys = random.pick([['q1'], ['q1'], ['q1', 'q2']])
  const withTtl = random.chance(0.2)
  const mixes = keys.map(() => random.pick(MIXES))
  const weak = random.chance(0.35)
  const operations: Operation[] = []
  // They come in bursts: nothing is learned of operations that do not overlap.
  let at = 0
  const gapMs = lasts / count
  const burst = random.next()
  for (let i = 0; i < count; i++) {
    at += random.chance(burst) ? random.next() * 2 : random.next() * 2 * gapMs
    const which = random.below(keys.length)
    let key = keys[which]!
    let level: Operation['level'] = 'quorum'
    let kind = random.pick(mixes[which]!)
    if (weak && random.chance(0.3)) {
      level = random.pick(['one', 'all'])
      key = level === 'one' ? random.pick(['one-kept', 'one-deleted']) : 'all'
      kind = random.pick(key === 'one-kept' ? ['write', 'read'] : ['write', 'read', 'read', 'delete'])
    }
    const sets = kind === 'write' || kind === 'nx' || kind === 'cas'
    operations.push({
      at: Math.round(at),
      client: random.below(clients),
      coordinator: random.below(coordinators),
      key,
      level,
      kind,
      value: (i + 1) * 1000,
      ttlMs: withTtl && sets && key !== 'one-kept' && random.chance(0.5) ? 50 + random.below(1500) : 0,
    })
  }
  return operations.sort((a, b) => a.at - b.at)
}

const HARMLESS: readonly FaultKind[] = [
  'cut', 'cut', 'cut', 'reset', 'reset', 'reset', 'slow', 'pause', 'pause', 'swap', 'refuse', 'clock', 'wall', 'stall', 'kill', 'kill',
] // prettier-ignore
const LOSING: readonly FaultKind[] = ['crash', 'crash', 'wipe', 'flush']

interface Size {
  servers: number
  coordinators: number
  durable: boolean
  beyond: boolean
  replicas: number
  /** Values expire: then a majority of the clocks has to be right. */
  withTtl: boolean
  operations: readonly Operation[]
}

function faultsOf(random: Random, lasts: number, size: Size): Fault[] {
  const faults: Fault[] = []
  const number = random.pick([0, 1, 2, 3, 5, 8])
  // Data may be lost on one node (until it is filled again, faults.ts), and one clock may be wrong.
  const victim = random.below(size.servers)
  for (let i = 0; i < number; i++) {
    const kind = random.chance(0.25) ? random.pick(LOSING) : random.pick(size.beyond ? [...HARMLESS, 'evict' as const] : HARMLESS)
    const server = random.below(size.servers)
    const coordinator = random.below(size.coordinators)
    const at = Math.floor(random.next() * lasts)
    const forMs = Math.floor(20 * 75 ** random.next())
    const loser = size.beyond ? server : victim
    faults.push(faultOf(random, kind, { at, forMs, server, coordinator, loser, size }))
  }
  return faults.sort((a, b) => a.at - b.at)
}

interface Where {
  at: number
  forMs: number
  server: number
  coordinator: number
  loser: number
  size: Size
}

function faultOf(random: Random, kind: FaultKind, where: Where): Fault {
  const { at, forMs, server, coordinator, loser, size } = where
  switch (kind) {
    case 'cut':
      return { kind, at, forMs, coordinator, server, direction: random.pick(['to', 'from', 'both']) }
    case 'reset':
      return { kind, at, coordinator, server, loses: random.chance(0.5) }
    case 'slow':
      return { kind, at, forMs, coordinator, server, extraMs: 50 + random.below(500) }
    case 'pause':
      return { kind, at, forMs, server }
    case 'crash':
      return { kind, at, forMs, server: size.durable ? server : loser, lostMs: size.durable ? 0 : Math.floor(2 * 500 ** random.next()), noticed: random.chance(0.6) }
    case 'wipe':
      return { kind, at, forMs, server: loser, noticed: random.chance(0.6) }
    case 'flush':
      return { kind, at, server: loser }
    case 'swap':
      return { kind, at, forMs, server, other: random.chance(0.5) ? FOREIGN_SERVER : (server + 1 + random.below(size.servers - 1)) % size.servers }
    case 'refuse':
      return { kind, at, forMs, server, reason: random.pick(['out-of-memory', 'read-only']) }
    case 'evict':
      return { kind, at, server, key: random.pick(['q1', 'q2']) }
    case 'clock':
      return { kind, at, server: size.withTtl || random.chance(0.5) ? loser : ALL_SERVERS, offMs: random.pick([-60_000, -5000, 5000, 60_000, 0]) }
    case 'wall':
      return { kind, at, coordinator, offMs: random.pick([-60_000, -1000, 1000, 60_000]) }
    case 'stall':
      return { kind, at, forMs: Math.min(forMs, 500), coordinator }
    case 'kill':
      return { kind, at, forMs, coordinator }
  }
}

/**
 * Faults that chance alone brings together too rarely: what the rules are there for takes several of them, at the right
 * time, on different nodes.
 */
type Plot = (random: Random, lasts: number, size: Size) => Fault[]

/** One node misses what is written, another one forgets it, and the third one, which knows it, is silent. */
const missedForgottenSilent: Plot = (random, lasts, { servers, coordinators, operations }) => {
  const [misses, forgets, silent] = shuffled(random, servers)
  const faults: Fault[] = []
  const writes = operations.filter(({ kind }) => kind !== 'read')
  for (let at = 0; at < lasts; at += 350 + random.next() * 400) {
    const write = writes.find((one) => one.at >= at)
    if (!write) break
    at = write.at
    const lostAt = at + 5 + random.below(40)
    for (let coordinator = 0; coordinator < coordinators; coordinator++) {
      const server = misses!
      faults.push({ kind: 'cut', at: Math.max(0, at - 1), forMs: lostAt - at + 2, coordinator, server, direction: 'to' })
      faults.push({ kind: 'reset', at: lostAt, coordinator, server, loses: true })
    }
    const server = forgets!
    const downMs = 1 + random.below(10)
    const how = random.next()
    if (how < 0.4) faults.push({ kind: 'flush', at: lostAt, server })
    else if (how < 0.6) faults.push({ kind: 'wipe', at: lostAt, forMs: downMs, server, noticed: true })
    else faults.push({ kind: 'crash', at: lostAt, forMs: downMs, server, lostMs: lostAt - at + 1 + random.below(20), noticed: true })
    faults.push({ kind: 'pause', at: lostAt + random.below(20), forMs: 100 + random.below(180), server: silent! })
  }
  return faults.sort((a, b) => a.at - b.at)
}

/** One node forgets again and again, also while it is filled, and the connections of all are cut now and then. */
const forgetsAgain: Plot = (random, lasts, { servers, coordinators }) => {
  const [forgets] = shuffled(random, servers)
  const faults: Fault[] = []
  for (let at = random.next() * 200; at < lasts + 1200; at += 150 + random.next() * 1200) {
    faults.push({ kind: 'wipe', at: Math.floor(at), forMs: 2 + random.below(30), server: forgets!, noticed: random.chance(0.7) })
    const coordinator = random.below(coordinators)
    const server = random.below(servers)
    faults.push({ kind: 'cut', at: Math.floor(at + random.next() * 300), forMs: 50 + random.below(600), coordinator, server, direction: random.pick(['to', 'from', 'both']) })
  }
  return faults.filter(({ at }) => at < lasts + 1300).sort((a, b) => a.at - b.at)
}

/** Everything is slow, though not too slow: what takes several rounds takes long. */
const slowRounds: Plot = (random, lasts, { servers, coordinators }) => {
  const faults: Fault[] = []
  for (let coordinator = 0; coordinator < coordinators; coordinator++) {
    for (let server = 0; server < servers; server++) {
      faults.push({ kind: 'slow', at: 0, forMs: Math.floor(lasts + 800), coordinator, server, extraMs: 100 + random.below(60) })
    }
  }
  return faults
}

/** Nodes come and go, so that stand-ins take copies. */
const standIns: Plot = (random, lasts, { servers, coordinators }) => {
  const faults: Fault[] = []
  for (let at = 0; at < lasts; at += 40 + random.next() * 250) {
    const server = random.below(servers)
    const forMs = 100 + random.below(900)
    for (let coordinator = 0; coordinator < coordinators; coordinator++) {
      if (random.chance(0.8)) faults.push({ kind: 'cut', at: Math.floor(at), forMs, coordinator, server, direction: 'both' })
    }
    faults.push({ kind: 'reset', at: Math.floor(at), coordinator: random.below(coordinators), server, loses: random.chance(0.5) })
  }
  return faults
}

/** Somebody exchanges the addresses of nodes, again and again, and a third one is away. */
const exchanged: Plot = (random, lasts, { servers, coordinators }) => {
  const faults: Fault[] = []
  for (let at = 0; at < lasts; at += 150 + random.next() * 500) {
    const [server, other, away] = shuffled(random, servers)
    faults.push({ kind: 'swap', at: Math.floor(at), forMs: 150 + random.below(500), server: server!, other: other! })
    const coordinator = random.below(coordinators)
    faults.push({ kind: 'cut', at: Math.floor(at + 100), forMs: 50 + random.below(400), coordinator, server: away!, direction: 'both' })
  }
  return faults.sort((a, b) => a.at - b.at)
}

/** All clocks are set back, and coordinators that know nothing of what was before begin. */
const clocksSetBack: Plot = (random, lasts, { coordinators, withTtl, servers }) => {
  const at = Math.floor(lasts * (0.3 + 0.5 * random.next()))
  const server = withTtl ? random.below(servers) : ALL_SERVERS
  const faults: Fault[] = [{ kind: 'clock', at, server, offMs: -60_000 }]
  for (let coordinator = 0; coordinator < coordinators; coordinator++) {
    if (random.chance(0.7)) faults.push({ kind: 'kill', at: at + 1 + random.below(100), forMs: 5 + random.below(100), coordinator })
  }
  return faults.sort((a, b) => a.at - b.at)
}

/** A coordinator is out of breath while a node loses its data: what it then takes for confirmed is long gone. */
const outOfBreath: Plot = (random, lasts, { coordinators, servers, operations }) => {
  const [forgets, misses] = shuffled(random, servers)
  const write = operations.find(({ kind, at }) => kind === 'write' && at > random.next() * lasts * 0.5)
  const at = write?.at ?? 50
  const coordinator = write?.coordinator ?? random.below(coordinators)
  return [
    { kind: 'cut', at: Math.max(0, at - 1), forMs: 20 + random.below(300), coordinator, server: misses!, direction: 'to' },
    { kind: 'stall', at: at + 1 + random.below(4), forMs: 1200 + random.below(1500), coordinator },
    { kind: 'flush', at: at + 5 + random.below(40), server: forgets! },
  ]
}

const PLOTS: readonly Plot[] = [exchanged, clocksSetBack, outOfBreath, missedForgottenSilent, missedForgottenSilent, missedForgottenSilent, forgetsAgain, slowRounds, standIns]

function shuffled(random: Random, count: number): number[] {
  const numbers = Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[numbers[i], numbers[j]] = [numbers[j]!, numbers[i]!]
  }
  return numbers
}
