/** Schedules from seeds: which operations, in bursts, and which faults, by chance or by a plot (plots.ts). */
import { seeded, type Random } from '../support/random.ts'
import { PLOTS, type Size } from './plots.ts'
import {
  ALL_SERVERS,
  FOREIGN_SERVER,
  type Fault,
  type FaultKind,
  type Operation,
  type QuorumKind,
  type Schedule,
} from './schedule.ts'

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
  const plot = random.chance(0.6) ? random.pick(PLOTS)(random, lasts, size) : []
  return {
    seed,
    servers,
    replicas,
    coordinators,
    durable,
    healAt: Math.max(
      lasts + 1500,
      ...plot.map((fault) => fault.at + ('forMs' in fault ? fault.forMs : 0) + 100),
    ),
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
  ['incr', 'incr', 'incr', 'read', 'read', 'read'],
  ['write', 'cas', 'cas', 'read'],
  ['write', 'read', 'delete', 'nx', 'cas', 'incr', 'take'],
]

function operationsOf(random: Random, count: number, lasts: number, coordinators: number): Operation[] {
  const clients = 3 + random.below(3)
  const keys = random.pick([['q1'], ['q1'], ['q1', 'q2']])
  const withTtl = random.chance(0.3)
  const mixes = keys.map(() => random.pick(MIXES))
  const weak = random.chance(0.45)
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

function faultsOf(random: Random, lasts: number, size: Size): Fault[] {
  const faults: Fault[] = []
  const number = random.pick([0, 1, 2, 3, 5, 8])
  // Data may be lost on one node (until it is filled again, faults.ts), and one clock may be wrong.
  const victim = random.below(size.servers)
  for (let i = 0; i < number; i++) {
    const kind = random.chance(0.25)
      ? random.pick(LOSING)
      : random.pick(size.beyond ? [...HARMLESS, 'evict' as const] : HARMLESS)
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
      return {
        kind,
        at,
        forMs,
        server: size.durable ? server : loser,
        lostMs: size.durable ? 0 : Math.floor(2 * 500 ** random.next()),
        noticed: random.chance(0.6),
      }
    case 'wipe':
      return { kind, at, forMs, server: loser, noticed: random.chance(0.6) }
    case 'flush':
      return { kind, at, server: loser }
    case 'swap':
      return {
        kind,
        at,
        forMs,
        server,
        other: random.chance(0.5)
          ? FOREIGN_SERVER
          : (server + 1 + random.below(size.servers - 1)) % size.servers,
      }
    case 'refuse':
      return { kind, at, forMs, server, reason: random.pick(['out-of-memory', 'read-only']) }
    case 'evict':
      return { kind, at, server, key: random.pick(['q1', 'q2']) }
    case 'clock':
      return {
        kind,
        at,
        server: size.withTtl || random.chance(0.5) ? loser : ALL_SERVERS,
        offMs: random.pick([-60_000, -5000, 5000, 60_000, 0]),
      }
    case 'wall':
      return { kind, at, coordinator, offMs: random.pick([-60_000, -1000, 1000, 60_000]) }
    case 'stall':
      return { kind, at, forMs: Math.min(forMs, 500), coordinator }
    case 'kill':
      return { kind, at, forMs, coordinator }
  }
}
