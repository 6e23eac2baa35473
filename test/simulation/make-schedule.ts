/** Schedules from seeds: which operations, in bursts, and which faults, by chance or by a plot (plots.ts). */
import { seeded, type Random } from '../support/random.ts'
import {
  CHANGE_PLOTS,
  FAILOVER_PLOTS,
  REMOVAL_PLOTS,
  replacedAsleep,
  type ChangePlot,
} from './change-plots.ts'
import { BOARD, FIRST_IN_PARTS, HASH, isOnCollection, LIST, type CollectionKind } from './collections.ts'
import { STREAM } from './streams.ts'
import { STREAM_IN_PARTS, typedOperations, WORKLOADS } from './typed.ts'
import { CROWDED, EXPIRING, PLOTS, QUIET, shuffled, slowRounds, WEAK, type Plot, type Size } from './plots.ts'
import {
  ACCOUNTS,
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
  /** Members join and leave. */
  readonly changes?: boolean
  /** Members die, and are removed. */
  readonly removals?: boolean
  /** Sentinels make other servers the primaries of members. */
  readonly failovers?: boolean
  /** Keys are deleted by their prefix, in the background. */
  readonly jobs?: boolean
  /** All keys are deleted, some times. */
  readonly flushes?: boolean
  /** Values have a tag, which is invalidated. */
  readonly tags?: boolean
  /** Queues with clients that wait, streams, leaderboards, counters, MULTI: in all runs, or in every fourth one. */
  readonly types?: 'all' | 'some'
  /** Collections are stored in parts. */
  readonly parts?: boolean
  /** Coordinators have a near cache. */
  readonly near?: boolean
}

const LASTS_MS = 2500
const CROWD_LASTS_MS = 1200
/** Values that expire in the middle, and values that are there to the end. */
const LIVES_MS = [50, 50, 20_000]
/** 3 to the power of more, and of those after healing, would be too much for a number. */
export const MAX_MOVES = 26

export function makeSchedule(seed: number, options: ProfileOptions = {}): Schedule {
  const hasTypes = options.types === 'all' || (options.types === 'some' && seed % 4 === 3)
  if (hasTypes && !options.beyond && !options.flushes && !options.tags)
    return typed({ ...byChance(seed, options) })
  if (options.removals) return seed % 4 === 0 ? removing(seed) : plotted(seed, REMOVAL_PLOTS)
  if (options.failovers) return { ...plotted(seed, FAILOVER_PLOTS), areWatched: true }
  if (options.jobs) return withJobs(byChance(seed, options))
  if (options.near) return near(byChance(seed, { ...options, changes: seed % 5 === 0 }))
  if (options.parts) return inParts(byChance(seed, options))
  if (options.tags) return tagged(byChance(seed, options))
  if (options.flushes) return flushed(byChance(seed, options))
  if (!options.changes || options.beyond) return byChance(seed, options)
  // Most runs of changes have a plot, which is short.
  if (seed % 3 !== 0) return plotted(seed, CHANGE_PLOTS)
  return seed % 9 === 6 ? plotted(seed, [replacedAsleep]) : byChance(seed, options)
}

/** At `quorum` only: what is promised at the weaker levels is checked without it. */
function flushed(schedule: Schedule): Schedule {
  const { seed, coordinators, healAt } = schedule
  const random = seeded(seed * 2 + 2_100_000_001)
  for (let i = 0; i < 3; i++) random.next()
  const single = schedule.operations.filter(
    ({ level, kind }) => level === 'quorum' && kind !== 'move' && kind !== 'total',
  )
  const lasts = Math.max(...single.map(({ at }) => at), healAt / 2)
  const flushes = Array.from({ length: 1 + random.below(4) }, (_, i): Operation => {
    const at = Math.floor(random.next() * lasts)
    const coordinator = random.below(coordinators)
    const who = { client: 90 + i, coordinator, key: single[0]?.key ?? 'q1', level: 'quorum' } as const
    return { at, ...who, kind: 'flush-all', value: -1 - i, ttlMs: 0 }
  })
  if (seed % 4 === 1) return flushedWhileSettled(random, schedule, single, flushes[0]!, lasts)
  const operations = [...single, ...flushes]
  let faults = schedule.faults
  const expires = single.some(({ ttlMs }) => ttlMs > 0) // then a majority of the clocks has to be right
  if (coordinators > 1 && !expires && random.chance(0.3)) {
    const plot = flushedAfterClocks(random, Math.floor(lasts * random.next()), operations)
    operations.push(...plot.operations)
    // Who starts after that cannot know of the time of before (docs/decisions/0041).
    faults = [...faults.filter(({ kind }) => kind !== 'kill'), plot.clocks]
  }
  const inOrder = (one: { at: number }, other: { at: number }) => one.at - other.at
  return { ...schedule, operations: operations.sort(inOrder), faults: [...faults].sort(inOrder) }
}

/** All is slow, so that copies are missed and settled by repairs; nothing that is written later hides what these bring back. */
function flushedWhileSettled(
  random: Random,
  schedule: Schedule,
  single: readonly Operation[],
  flush: Operation,
  lasts: number,
): Schedule {
  const at = Math.floor(lasts * (0.3 + 0.7 * random.next()))
  const around = single
    .filter(({ key }) => /^q[0-9]$/.test(key))
    .map((one): Operation => {
      const kind = one.at > at ? 'read' : ['take', 'delete'].includes(one.kind) ? 'write' : one.kind
      return { ...one, kind, ttlMs: 0 }
    })
  const operations = [...around, { ...flush, at }].sort((one, other) => one.at - other.at)
  return { ...schedule, operations, faults: slowRounds(random, lasts, { ...schedule, withTtl: false }) }
}

/** Written at `all` and `one`, and read at `one`. */
const NEAR = 'near'

/** Hot keys are read at `one`; the connections on which near caches hear of changes fail more often than others. */
function near(schedule: Schedule): Schedule {
  const { seed, servers, spares = 0, coordinators, operations } = schedule
  const random = seeded(seed * 2 + 2_500_000_001)
  for (let i = 0; i < 3; i++) random.next()
  const lasts = Math.max(...operations.map(({ at }) => at), 1500)
  const keys = random.pick([[NEAR], [NEAR, 'q1'], ['q1', NEAR, NEAR]])
  const more: Operation[] = []
  const add = (from: number, kind: QuorumKind, key: string, level: Operation['level']) => {
    const coordinator = random.below(coordinators)
    const client = 300 + 3 * coordinator + random.below(3)
    more.push({
      at: Math.round(from),
      client,
      coordinator,
      key,
      level,
      kind,
      value: NEAR_VALUES + more.length,
      ttlMs: 0,
    })
  }
  const readGapMs = random.pick([5, 10])
  for (let at = 0; at < lasts + 800; at += 2 * readGapMs * random.next())
    add(at, 'read', random.pick(keys), 'one')
  // Also longer apart than a value may be old.
  const writeGapMs = random.pick([60, 250, 700])
  for (let at = 0; at < lasts; at += 2 * writeGapMs * random.next()) {
    add(at, random.pick(['write', 'write', 'write', 'delete']), NEAR, random.pick(['all', 'all', 'one']))
  }
  const disturbed = Array.from({ length: 2 + random.below(8) }, (): Fault => {
    const [coordinator, server] = [random.below(coordinators), random.below(servers + spares)]
    const which = { kind: 'tracking', coordinator, server } as const
    if (random.chance(0.5)) {
      const how = random.pick(['to', 'from', 'slow', 'reset'] as const)
      return { ...which, at: random.below(lasts), forMs: Math.floor(20 * 60 ** random.next()), how }
    }
    // What the node tells of a write does not arrive, or very late.
    const write = random.pick(more.filter(({ kind }) => kind !== 'read'))
    return { ...which, at: write.at + random.below(150), forMs: 200 + random.below(1000), how: 'from' }
  })
  const inOrder = (one: { at: number }, other: { at: number }) => one.at - other.at
  const isCalm = spares === 0 && random.chance(0.4)
  return {
    ...schedule,
    healAt: Math.max(schedule.healAt, lasts + 1500),
    operations: [...operations, ...more].sort(inOrder),
    faults: [...(isCalm ? [] : schedule.faults), ...disturbed].sort(inOrder),
    isNear: true,
  }
}

const NEAR_VALUES = 80_000_000

/** Keys are written, read and deleted at `quorum`, without an end of their own, and by jobs. */
function withJobs(schedule: Schedule): Schedule {
  const { seed, coordinators, healAt } = schedule
  const random = seeded(seed * 2 + 2_400_000_001)
  for (let i = 0; i < 3; i++) random.next()
  const single = schedule.operations
    .filter(({ level, key }) => level === 'quorum' && /^q[0-9]$/.test(key))
    .map((operation): Operation => {
      const kind = ['read', 'write', 'delete'].includes(operation.kind)
        ? operation.kind
        : random.pick(['write', 'write', 'read'] as const)
      return { ...operation, kind, ttlMs: 0 }
    })
  const lasts = Math.max(...single.map(({ at }) => at), healAt / 2)
  const jobs = Array.from({ length: 1 + random.below(2) }, (_, i): Operation => {
    const at = Math.floor(random.next() * 0.7 * lasts)
    const who = {
      client: 90 + i,
      coordinator: random.below(coordinators),
      key: 'q1',
      level: 'quorum',
    } as const
    return { at, ...who, kind: 'delete-job', value: -1 - i, ttlMs: 0 }
  })
  const inOrder = (one: { at: number }, other: { at: number }) => one.at - other.at
  // Who starts after all clocks were set back cannot know of the time of before (docs/decisions/0083).
  const isSetBack = schedule.faults.some(
    (fault) => fault.kind === 'clock' && fault.server === ALL_SERVERS && fault.offMs < 0,
  )
  const faults = schedule.faults.filter(({ kind }) => !isSetBack || kind !== 'kill')
  const [first] = jobs
  if (!schedule.spares && random.chance(0.25)) {
    // Nothing that is written later hides what a job has left.
    const before = single.filter(({ at, kind }) => at < first!.at || kind === 'read')
    const cuts = outOfReach(random, schedule, first!.at + random.below(80))
    return { ...schedule, faults: cuts, operations: [...before, first!].sort(inOrder) }
  }
  return { ...schedule, faults, operations: [...single, ...jobs].sort(inOrder) }
}

/** Most home replicas of some keys cannot be reached for a while, by nobody. */
function outOfReach(random: Random, { servers, coordinators }: Schedule, at: number): Fault[] {
  const forMs = 1200 + random.below(1200)
  return shuffled(random, servers)
    .slice(0, 2)
    .flatMap((server) =>
      Array.from({ length: coordinators }, (_, coordinator): Fault => {
        return { kind: 'cut', at, forMs, coordinator, server, direction: 'both' }
      }),
    )
}

/** Many values have a tag. At `quorum` only, and without what reads a value and writes one without its tags. */
function tagged(schedule: Schedule): Schedule {
  const { seed, coordinators, healAt } = schedule
  const random = seeded(seed * 2 + 2_200_000_001)
  for (let i = 0; i < 3; i++) random.next()
  const single = schedule.operations
    .filter(({ level, kind }) => level === 'quorum' && !['move', 'total', 'cas'].includes(kind))
    .map((operation): Operation => {
      const isTagged = operation.kind === 'write' && random.chance(0.8)
      return { ...operation, ttlMs: 0, ...(isTagged && { kind: 'tag-write' }) }
    })
  const lasts = Math.max(...single.map(({ at }) => at), healAt / 2)
  const invalidations = Array.from({ length: 2 + random.below(8) }, (_, i): Operation => {
    const at = Math.floor(random.next() * lasts)
    const coordinator = random.below(coordinators)
    const who = { client: 90 + (i % 3), coordinator, key: single[0]?.key ?? 'q1', level: 'quorum' } as const
    return { at, ...who, kind: 'invalidate', value: -1 - i, ttlMs: 0 }
  })
  const inOrder = (one: { at: number }, other: { at: number }) => one.at - other.at
  return { ...schedule, operations: [...single, ...invalidations].sort(inOrder) }
}

/** At `quorum` only, with operations on collections in place of those on values, at the same times. */
function typed(schedule: Schedule): Schedule {
  const { seed } = schedule
  const random = seeded(seed * 2 + 2_300_000_001)
  for (let i = 0; i < 3; i++) random.next()
  const which = random.pick(WORKLOADS)
  const isPlain = ({ level, kind }: Operation) => level === 'quorum' && kind !== 'move' && kind !== 'total'
  const slots = schedule.operations.filter((one) => isPlain(one) && !isOnCollection(one.kind))
  return { ...schedule, operations: typedOperations(random, which, slots) }
}

/** All clocks are set back, and before a coordinator notices it, it goes on writing, and another one deletes all. */
function flushedAfterClocks(random: Random, at: number, others: readonly Operation[]) {
  const who = { key: others[0]?.key ?? 'q1', level: 'quorum', ttlMs: 0 } as const
  const [writes, deletes] = random.chance(0.5) ? [0, 1] : [1, 0]
  const operations = Array.from({ length: 12 }, (_, i): Operation => {
    const change = {
      client: 80 + (i % 3),
      coordinator: writes,
      kind: 'incr',
      value: 70_000_000 + i,
    } as const
    return { ...who, ...change, at: at + 1 + random.below(200) }
  })
  for (let i = 0; i < 2; i++) {
    const flush = { client: 95 + i, coordinator: deletes, kind: 'flush-all', value: -11 - i } as const
    operations.push({ ...who, ...flush, at: at + 20 + random.below(150) })
  }
  const offMs = -2000 - random.below(8000)
  return { operations, clocks: { kind: 'clock', at, server: ALL_SERVERS, offMs } as const }
}

function plotted(seed: number, plots: readonly ChangePlot[]): Schedule {
  const random = seeded(seed * 2 + 1_500_000_001)
  for (let i = 0; i < 3; i++) random.next()
  const planned = random.pick(plots)(random)
  const inOrder = (one: { at: number }, other: { at: number }) => one.at - other.at
  return {
    ...planned,
    ...{ seed, durable: false, beyond: false },
    operations: [...planned.operations].sort(inOrder),
    faults: [...planned.faults].sort(inOrder),
  }
}

function byChance(seed: number, options: ProfileOptions): Schedule {
  const random = seeded(seed * 2 + 1)
  for (let i = 0; i < 3; i++) random.next()
  const replicas = random.chance(0.85) ? 3 : 5
  const servers = replicas === 5 ? 5 : random.pick([3, 3, 4, 5])
  const coordinators = random.pick([2, 2, 3])
  const durable = random.chance(0.15)
  const beyond = options.beyond ?? false
  const plot = random.chance(0.6) ? random.pick(PLOTS) : null
  const crowded = plot !== null && CROWDED.has(plot)
  const changing = options.changes ? changesOf(seed, coordinators) : null
  const shorter = 0.2 + 0.8 * random.next()
  const lasts = changing?.lasts ?? (crowded ? CROWD_LASTS_MS : LASTS_MS) * shorter
  const count = (options.operations ?? 30 + random.below(16)) + (changing ? 30 : 0)
  const operations = operationsOf(random, count, lasts, coordinators, plot)
  const size: Size = {
    servers: servers + (changing?.spares ?? 0),
    coordinators,
    durable,
    beyond,
    replicas,
    withTtl: operations.some(({ ttlMs }) => ttlMs > 0),
    operations,
  }
  const plotted = plot ? plot(random, lasts, size) : []
  return {
    seed,
    servers,
    ...(changing && { spares: changing.spares }),
    replicas,
    coordinators,
    durable,
    healAt: Math.max(
      lasts + 1500,
      ...[...plotted, ...(changing?.steps ?? [])].map(
        (fault) => fault.at + ('forMs' in fault ? fault.forMs : 0) + 100,
      ),
    ),
    operations: [
      ...(plot && QUIET.has(plot) ? quiet(operations, plotted) : operations),
      ...movesOf(seed, lasts, coordinators),
      ...onCollectionsOf(seed, lasts, coordinators),
    ].sort((a, b) => a.at - b.at),
    faults: [
      ...(changing?.steps ?? []),
      ...(plotted.length > 0 ? plotted : faultsOf(random, lasts, size)),
    ].sort((a, b) => a.at - b.at),
    beyond,
  }
}

/** At `quorum` a coordinator writes something right before it is stalled, and only reads follow. */
function quiet(operations: readonly Operation[], faults: readonly Fault[]): Operation[] {
  const stall = faults.find((fault) => fault.kind === 'stall')!
  const at = stall.at - 3
  const last = { at, client: 70, coordinator: stall.coordinator, key: 'q1', level: 'quorum' } as const
  const reads = operations.map((one): Operation => {
    return one.level === 'quorum' && one.at > at ? { ...one, kind: 'read', ttlMs: 0 } : one
  })
  return [...reads, { ...last, kind: 'write', value: (operations.length + 1) * 1000, ttlMs: 0 }]
}

/** A change, from its request to its end, takes two seconds at least. */
const CHANGE_LASTS_MS = 6500

/** How the members change, from a random source of its own. */
function changesOf(
  seed: number,
  coordinators: number,
): { readonly spares: number; readonly lasts: number; readonly steps: readonly Fault[] } {
  const random = seeded(seed * 2 + 2_000_000_001)
  for (let i = 0; i < 3; i++) random.next()
  const lasts = CHANGE_LASTS_MS * (0.4 + 0.6 * random.next())
  const steps: Fault[] = []
  const number = 1 + random.below(3)
  for (let i = 0; i < number; i++) {
    const at = Math.floor(i === 0 ? random.next() * 800 : random.next() * lasts)
    const [join, leave, replicas] = random.pick(CHANGES)
    const coordinator = random.below(coordinators)
    steps.push({
      kind: 'change',
      at,
      coordinator,
      join,
      leave,
      replicas: replicas ? random.pick([2, 3, 3, 4, 5]) : null,
      pick: random.below(1 << 16),
    })
    if (random.chance(0.2)) {
      steps.push({
        kind: 'cancel',
        at: at + 50 + random.below(2000),
        coordinator: random.below(coordinators),
      })
    }
    // Whoever drives it dies, or sleeps through it.
    if (random.chance(0.3)) {
      const from = at + 50 + random.below(2500)
      if (random.chance(0.5))
        steps.push({ kind: 'kill', at: from, forMs: 10 + random.below(2000), coordinator })
      else {
        const asleep = random.below(coordinators)
        steps.push({ kind: 'stall', at: from, forMs: 200 + random.below(3500), coordinator: asleep })
      }
    }
  }
  const spares = 1 + random.below(3)
  if (random.chance(0.4)) steps.push(...sleepsThroughIt(random, coordinators))
  for (let i = random.below(3); i > 0; i--) {
    const at = Math.floor(random.next() * lasts)
    const pick = random.below(1 << 16)
    steps.push({ kind: 'replace', at, coordinator: random.below(coordinators), pick })
  }
  return { spares, lasts, steps: [...steps, ...newAddressesOf(seed, lasts, coordinators)] }
}

/** In some runs members get other addresses, by a random source of its own. */
function newAddressesOf(seed: number, lasts: number, coordinators: number): Fault[] {
  const random = seeded(seed * 2 + 2_050_000_001)
  for (let i = 0; i < 3; i++) random.next()
  if (!random.chance(0.4)) return []
  return Array.from({ length: 1 + random.below(4) }, (): Fault => {
    const coordinator = random.below(coordinators)
    return { kind: 'move', at: Math.floor(random.next() * lasts), coordinator, pick: random.below(1 << 16) }
  })
}

/** Most home replicas are replaced while one coordinator sleeps: when it wakes up it works by the former ones. */
function sleepsThroughIt(random: Random, coordinators: number): Fault[] {
  const at = random.below(300)
  const coordinator = random.below(coordinators)
  const sleeper = (coordinator + 1 + random.below(coordinators - 1)) % coordinators
  const pick = random.below(1 << 16)
  return [
    { kind: 'change', at, coordinator, join: 2, leave: 2, replicas: null, pick },
    {
      kind: 'stall',
      at: at + 20 + random.below(1500),
      forMs: 1500 + random.below(3500),
      coordinator: sleeper,
    },
  ]
}

/** Whatever else happens, one member or two die, one after the other, and are removed. */
function removing(seed: number): Schedule {
  const schedule = byChance(seed, { changes: true })
  const random = seeded(seed * 2 + 2_350_000_001)
  for (let i = 0; i < 3; i++) random.next()
  const { servers, coordinators, healAt } = schedule
  const deaths = Array.from({ length: 1 + random.below(2) }, (): Fault[] => {
    const at = Math.floor(random.next() * 0.7 * healAt)
    const server = random.below(servers)
    const noticed = random.chance(0.7)
    const asked = { at: at + random.below(1500), coordinator: random.below(coordinators) }
    return [
      { kind: 'die', at, server, noticed, isLoss: false, returns: random.chance(0.5) },
      { kind: 'remove', ...asked, servers: [server], acceptsLoss: false },
    ]
  }).flat()
  const faults = [...schedule.faults, ...deaths].sort((a, b) => a.at - b.at)
  return { ...schedule, spares: Math.max(2, schedule.spares ?? 0), faults }
}

/** How many join, how many leave, whether N changes. */
const CHANGES: readonly (readonly [number, number, boolean])[] = [
  [1, 0, false], [1, 0, false], [1, 0, false], [0, 1, false], [0, 1, false], [1, 1, false], [1, 1, false], [2, 0, false], [0, 2, false], [2, 2, false], [0, 0, true], [0, 0, true], [1, 0, true],
] // prettier-ignore

const MIXES: readonly (readonly QuorumKind[])[] = [
  ['write', 'write', 'read', 'read', 'read'],
  ['write', 'write', 'read', 'read', 'delete'],
  ['write', 'delete', 'nx', 'read', 'read'],
  ['nx', 'delete', 'read'],
  ['incr', 'incr', 'read'],
  ['write', 'incr', 'incr', 'read', 'read'],
  ['incr', 'incr', 'incr', 'read', 'read', 'read'],
  ['write', 'cas', 'cas', 'read'],
  ['write', 'read', 'delete', 'nx', 'cas', 'incr', 'take'],
]

const CROWDS_MIXES: readonly (readonly QuorumKind[])[] = [
  ['write', 'incr', 'incr', 'read', 'read'],
  ['write', 'cas', 'incr', 'take', 'read', 'read'],
  ['nx', 'nx', 'delete', 'read', 'read'],
]

function operationsOf(
  random: Random,
  count: number,
  lasts: number,
  coordinators: number,
  plot: Plot | null,
): Operation[] {
  const crowded = plot !== null && CROWDED.has(plot)
  const clients = crowded ? 10 : 3 + random.below(3)
  const keys = random.pick(crowded ? [['q1']] : [['q1'], ['q1'], ['q1', 'q2']])
  const withTtl = random.chance(plot !== null && EXPIRING.has(plot) ? 1 : 0.3)
  const mixes = keys.map(() => random.pick(crowded ? CROWDS_MIXES : MIXES))
  const weakShares = plot !== null && WEAK.has(plot) ? [0.7] : [0, 0, 0.3, 0.7]
  const weakShare = random.pick(crowded ? [0] : weakShares)
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
    if (random.chance(weakShare)) {
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
      ttlMs:
        withTtl && sets && key !== 'one-kept' && random.chance(0.5)
          ? random.pick(LIVES_MS) + random.below(1500)
          : 0,
    })
  }
  return operations.sort((a, b) => a.at - b.at)
}

/**
 * In some runs: transactions beside the other operations. From a random source of their own, so that those stay what they
 * are. The amounts are powers of three: what a sum is off by then tells which moves were made by halves.
 */
function movesOf(seed: number, lasts: number, coordinators: number): Operation[] {
  const random = seeded(seed * 2 + 1_000_000_001)
  for (let i = 0; i < 3; i++) random.next()
  if (!random.chance(0.25)) return []
  const count = 12 + random.below(MAX_MOVES - 12)
  // Close together, so that they meet.
  const from = random.next() * 0.5 * lasts
  const within = random.pick([20, 200, lasts])
  return Array.from({ length: count }, (_, i) => ({
    at: Math.round(from + random.next() * within),
    client: 100 + random.below(4),
    coordinator: random.below(coordinators),
    key: random.pick(ACCOUNTS),
    level: 'quorum' as const,
    kind: random.pick(['move', 'move', 'total']),
    value: 3 ** i,
    ttlMs: 0,
  }))
}

const ON_LISTS: readonly CollectionKind[] = ['push', 'push', 'push', 'pop', 'pop', 'elements']
const ON_HASHES: readonly CollectionKind[] = ['set-field', 'set-field', 'drop-field', 'fields']
const FIRST_ELEMENT = 50_000_000

/** In some runs: a list and a hash, from a random source of their own, too. */
function onCollectionsOf(seed: number, lasts: number, coordinators: number): Operation[] {
  const random = seeded(seed * 2 + 500_000_001)
  for (let i = 0; i < 3; i++) random.next()
  if (!random.chance(0.25)) return []
  const count = 10 + random.below(15)
  const from = random.next() * 0.5 * lasts
  const within = random.pick([20, 200, lasts])
  const keys = random.pick([[LIST], [LIST], [HASH], [LIST, HASH]])
  return Array.from({ length: count }, (_, i) => {
    const key = random.pick(keys)
    return {
      at: Math.round(from + random.next() * within),
      client: 200 + random.below(4),
      coordinator: random.below(coordinators),
      key,
      level: 'quorum' as const,
      kind: random.pick(key === LIST ? ON_LISTS : ON_HASHES),
      value: FIRST_ELEMENT + i,
      ttlMs: 0,
    }
  })
}

const ON_BOARDS: readonly CollectionKind[] = ['score', 'score', 'score', 'pop-lowest', 'scores']
const KINDS_ON = new Map([
  [LIST, ON_LISTS],
  [HASH, ON_HASHES],
  [BOARD, ON_BOARDS],
])

/** In every fourth run. */
function streamInParts(schedule: Schedule): Schedule {
  const { seed, coordinators, operations } = schedule
  const random = seeded(seed * 2 + 2_300_000_001)
  for (let i = 0; i < 3; i++) random.next()
  const slots = operations.map(({ at }, i): Operation => {
    const client = 200 + random.below(4)
    const coordinator = random.below(coordinators)
    const value = FIRST_IN_PARTS + i
    return { at, client, coordinator, key: STREAM, level: 'quorum', kind: 'entries', value, ttlMs: 0 }
  })
  // Parts of one entry each, or of some, and the latest in the root.
  const partBytes = random.pick([12, 80])
  return {
    ...schedule,
    operations: typedOperations(random, STREAM_IN_PARTS, slots),
    isInParts: true,
    partBytes,
  }
}

/** Operations on collections instead of others. */
function inParts(schedule: Schedule): Schedule {
  const { seed, coordinators, operations } = schedule
  if (seed % 4 === 3) return streamInParts(schedule)
  const random = seeded(seed * 2 + 2_200_000_001)
  for (let i = 0; i < 3; i++) random.next()
  const keys = random.pick([[LIST], [HASH], [BOARD], [LIST, HASH, BOARD]])
  const made = operations.map(({ at }, i): Operation => {
    const key = random.pick(keys)
    return {
      at,
      client: 200 + random.below(3),
      coordinator: random.below(coordinators),
      key,
      level: 'quorum',
      kind: random.chance(0.04) ? 'delete' : random.pick(KINDS_ON.get(key)!),
      value: FIRST_IN_PARTS + i,
      ttlMs: 0,
    }
  })
  return { ...schedule, operations: made, isInParts: true }
}

type ByChance = Exclude<
  FaultKind,
  'change' | 'cancel' | 'replace' | 'move' | 'die' | 'remove' | 'failover' | 'tracking'
>

const HARMLESS: readonly ByChance[] = [
  'cut', 'cut', 'cut', 'reset', 'reset', 'reset', 'slow', 'pause', 'pause', 'swap', 'refuse', 'refuse', 'clock', 'wall', 'stall', 'kill', 'kill',
] // prettier-ignore
const LOSING: readonly ByChance[] = ['crash', 'crash', 'wipe', 'flush']

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

function faultOf(random: Random, kind: ByChance, where: Where): Fault {
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
