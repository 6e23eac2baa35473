/**
 * Plots for changes of members: short runs with one key, in which most of a key's home replicas are replaced, and what is
 * needed to break a rule comes right around the steps. There N of the members are all of them, so that every member is a
 * home replica of every key.
 */
import type { Random } from '../support/random.ts'
import type { Fault, Operation, QuorumKind, Schedule } from './schedule.ts'

type Planned = Pick<
  Schedule,
  'servers' | 'spares' | 'replicas' | 'coordinators' | 'healAt' | 'operations' | 'faults'
>
export type ChangePlot = (random: Random) => Planned

/** The epochs of the first change. */
const BOTH = 2
const SWITCHED = 3
const ENDED = 4
/** Until the members that gain keys are filled: the request timeout, and the pause of the repairer. */
const FILLED_MS = 1000

/** Of three members two leave, and two of the spare servers come in their place. */
interface Replacement {
  readonly change: Extract<Fault, { kind: 'change' }>
  readonly leaving: readonly number[]
  readonly kept: number
  readonly joining: readonly number[]
}

function replacement(random: Random, at: number, coordinator: number): Replacement {
  const first = random.below(3)
  const pick = (first << 4) | random.below(2)
  return {
    change: { kind: 'change', at, coordinator, join: 2, leave: 2, replicas: null, pick },
    leaving: [first, (first + 1) % 3],
    kept: (first + 2) % 3,
    joining: [3, 4],
  }
}

interface Burst {
  readonly epoch?: number
  readonly from: number
  readonly within: number
  readonly count: number
  readonly coordinators: readonly number[]
  readonly kinds: readonly QuorumKind[]
  readonly key?: string
  readonly level?: Operation['level']
}

const CLIENTS = 8
const MIX: readonly QuorumKind[] = ['write', 'write', 'incr', 'read', 'read', 'read']

/** Bursts of operations, each of its own value. */
function bursts(random: Random, all: readonly Burst[]): Operation[] {
  let value = 0
  return all.flatMap(({ epoch, from, within, count, coordinators, kinds, key = 'q1', level = 'quorum' }) =>
    Array.from({ length: count }, () => ({
      at: Math.max(0, Math.round(from + random.next() * within)),
      ...(epoch !== undefined && { epoch }),
      client: random.below(CLIENTS),
      coordinator: random.pick(coordinators),
      ...{ key, level, ttlMs: 0 },
      kind: random.pick(kinds),
      value: ++value * 1000,
    })),
  )
}

type Cut = Extract<Fault, { kind: 'cut' }>

function cut(coordinator: number, server: number, at: number, forMs: number, more: Partial<Cut> = {}): Cut {
  const times = { at: Math.round(at), forMs: Math.round(forMs) }
  return { kind: 'cut', ...times, coordinator, server, direction: 'to', ...more }
}

const FIVE = { servers: 3, spares: 2, replicas: 3, coordinators: 2 }

/** A coordinator sleeps while most home replicas are replaced: when it wakes up it works by the former ones. */
const asleep: ChangePlot = (random) => {
  const { change, kept } = replacement(random, 10 + random.below(20), 0)
  // In each phase, and after the change: its steps wait for who has not heard of them, for some seconds.
  const wakes = random.pick([1700, 2600, 3500, 5600, 6000, 6400]) + random.below(300)
  const onWaking = { from: wakes - 15, within: 18, coordinators: [1] }
  const isBehindKept = random.chance(0.6)
  return {
    ...FIVE,
    operations: bursts(random, [
      { from: 0, within: 10, count: 4, coordinators: [0, 1], kinds: MIX },
      { from: wakes - 60, within: 40, count: 4, coordinators: [0], kinds: ['write', 'incr'] },
      { ...onWaking, count: 6, kinds: MIX },
      { from: wakes, within: 60, count: 8, coordinators: [0], kinds: ['read', 'read', 'incr'] },
      { ...{ epoch: ENDED, from: 0, within: 30, count: 3 }, ...atOne, coordinators: [0], kinds: ['write'] },
      { ...onWaking, ...atOne, count: 3, kinds: ['read'] },
    ]),
    faults: [
      change,
      { kind: 'stall', at: 12, forMs: wakes - 12, coordinator: 1 },
      ...(isBehindKept ? [cut(1, kept, wakes - 5, 60)] : []),
    ],
    healAt: wakes + 400,
  }
}
const atOne = { key: 'one-kept', level: 'one' } as const

/** Writes around the steps reach too few of one of the sets, and others read what these hold. */
const aroundTheSteps: ChangePlot = (random) => {
  const { change, kept, leaving, joining } = replacement(random, 5 + random.below(20), 0)
  const faults: Fault[] = [change]
  const writer = random.below(2)
  const from = FILLED_MS - 100 + random.next() * 250
  for (const server of random.pick([joining, joining, [...leaving], [kept, joining[0]!], [joining[1]!]]))
    faults.push(cut(writer, server, from, 150 + random.below(500), { epoch: BOTH }))
  if (random.chance(0.5)) faults.push(cut(1 - writer, kept, 0, 20 + random.below(150), { epoch: SWITCHED }))
  for (const server of leaving)
    if (random.chance(0.3))
      faults.push(
        cut(random.below(2), server, 0, 50 + random.below(300), { epoch: random.pick([BOTH, SWITCHED]) }),
      )
  const coordinators = [0, 1]
  return {
    ...FIVE,
    operations: bursts(random, [
      { from: 0, within: 60, count: 10, coordinators, kinds: MIX },
      { epoch: BOTH, from: FILLED_MS - 20, within: 600, count: 24, coordinators, kinds: MIX },
      { epoch: SWITCHED, from: 0, within: 80, count: 12, coordinators, kinds: MIX },
      { epoch: ENDED, from: 0, within: 60, count: 10, coordinators, kinds: MIX },
    ]),
    faults,
    healAt: 2600,
  }
}

/**
 * Whoever drives the change reaches the nodes that leave only when it reads them, and has not marked them: they take writes
 * of a coordinator that has heard of nothing.
 */
const unmarkedSources: ChangePlot = (random) => {
  const { change, leaving } = replacement(random, 5 + random.below(20), 0)
  const forMs = FILLED_MS + 150 + random.below(700)
  const times = { epoch: BOTH, direction: random.pick(['to', 'from'] as const) }
  return {
    ...FIVE,
    operations: bursts(random, [
      { from: 0, within: 10, count: 3, coordinators: [0], kinds: ['write'] },
      {
        epoch: BOTH,
        from: forMs + random.below(60),
        within: 2,
        count: 4,
        coordinators: [1],
        kinds: ['write'],
      },
      { epoch: SWITCHED, from: 0, within: 50, count: 4, coordinators: [0], kinds: ['read'] },
    ]),
    faults: [change, ...leaving.map((server) => cut(0, server, 0, forMs, times))],
    healAt: 3200,
  }
}

/**
 * Three copies become two. A coordinator dies that has written without one of them, and nobody else knows; then one of the
 * two may lose its data.
 */
const fewerCopies: ChangePlot = (random) => {
  const misses = random.below(3)
  const at = 60 + random.below(40)
  const change: Fault = { ...{ kind: 'change', at, coordinator: 0, join: 0, leave: 0 }, replicas: 2, pick: 0 }
  const wiped = random.below(3)
  return {
    ...{ servers: 3, spares: 1, replicas: 3, coordinators: 2 },
    operations: bursts(random, [
      { from: 0, within: 40, count: 6, coordinators: [1], kinds: ['write', 'incr'] },
      { epoch: ENDED, from: 0, within: 100, count: 8, coordinators: [0], kinds: MIX },
    ]),
    faults: [
      change,
      cut(1, misses, 0, 4000),
      { kind: 'kill', at: at - 5, forMs: 3000, coordinator: 1 },
      { kind: 'wipe', at: random.below(300), epoch: ENDED, forMs: 5, server: wiped, noticed: true },
    ],
    healAt: 4500,
  }
}

/** Two coordinators are asked for different changes at once, and one of them loses the members between its two rounds. */
const twoProposers: ChangePlot = (random) => {
  const at = 5 + random.below(10)
  const { change } = replacement(random, at, 0)
  // Its way to them is slow, so that its two rounds are far apart.
  const lostAt = at + 90 + random.below(220)
  const beside: Fault = {
    ...{ kind: 'change', at: lostAt + random.below(300), coordinator: 1, join: 0, leave: 0, replicas: 2 },
    ...{ pick: 0, beside: true },
  }
  const direction = random.pick(['to', 'to', 'from', 'both'] as const)
  const lost = random.pick([
    [0, 1, 2],
    [0, 1, 2],
    [0, 1],
    [1, 2],
  ])
  const slow = [0, 1, 2].map((server): Fault => {
    return { kind: 'slow', at: 0, forMs: 600, coordinator: 0, server, extraMs: 60 }
  })
  const faults: Fault[] = [change, beside, ...slow]
  for (const server of lost) faults.push(cut(0, server, lostAt, 500 + random.below(600), { direction }))
  if (random.chance(0.3))
    faults.push({ kind: 'cancel', at: FILLED_MS + random.below(500), epoch: BOTH, coordinator: 1 })
  return {
    ...FIVE,
    operations: bursts(random, [{ from: 0, within: 1500, count: 6, coordinators: [1], kinds: MIX }]),
    faults,
    healAt: 2000,
  }
}

/**
 * One coordinator makes the next members vote, while another one, which reaches only those that leave, cancels the change:
 * they promise it to the second one after they have promised it to the first.
 */
const cancelledAtTheStep: ChangePlot = (random) => {
  const { change, leaving, kept, joining } = replacement(random, 5 + random.below(20), 0)
  // The step waits until nothing more is heard of who is cut off: about two seconds.
  const from = 1300
  // The two rounds of the first one are far apart there.
  const slow = leaving.map((server): Fault => {
    return { kind: 'slow', at: from, epoch: BOTH, forMs: 4000, coordinator: 0, server, extraMs: 60 }
  })
  return {
    ...FIVE,
    operations: bursts(random, [
      { epoch: BOTH, from, within: 1500, count: 12, coordinators: [0, 1], kinds: MIX },
    ]),
    faults: [
      change,
      ...slow,
      ...[kept, ...joining].map((server) => cut(1, server, from, 4000, { epoch: BOTH, direction: 'both' })),
      { kind: 'cancel', at: from + 1000 + random.below(600), epoch: BOTH, coordinator: 1 },
    ],
    healAt: 6500,
  }
}

/** Those that join, or leave, lose their data on the way. */
const lossesOnTheWay: ChangePlot = (random) => {
  const { change, leaving, joining } = replacement(random, 5 + random.below(20), 0)
  const faults: Fault[] = [change]
  const victim = random.pick([...leaving, ...joining])
  const losses = 1 + random.below(2)
  for (let i = 0; i < losses; i++) {
    const when = { at: random.below(1600), epoch: random.pick([BOTH, BOTH, SWITCHED]) }
    if (random.chance(0.5)) faults.push({ kind: 'flush', ...when, server: victim })
    else faults.push({ kind: 'wipe', ...when, forMs: 1 + random.below(30), server: victim, noticed: true })
  }
  return {
    ...FIVE,
    operations: bursts(random, [
      { from: 0, within: 30, count: 6, coordinators: [0, 1], kinds: MIX },
      { epoch: BOTH, from: 0, within: 1800, count: 20, coordinators: [0, 1], kinds: MIX },
      { epoch: SWITCHED, from: 0, within: 60, count: 8, coordinators: [0, 1], kinds: MIX },
      { epoch: ENDED, from: 0, within: 60, count: 8, coordinators: [0, 1], kinds: MIX },
    ]),
    faults,
    healAt: 3600,
  }
}

/** A coordinator dies that has written at `one`; one of the nodes that leave is the only one that got it. */
const onlyTheLeaverHasIt: ChangePlot = (random) => {
  const { change, leaving, joining, kept } = replacement(random, 5 + random.below(20), 0)
  const others = [leaving[1]!, kept, ...joining]
  const from = FILLED_MS + 250 + random.below(400)
  return {
    ...FIVE,
    operations: bursts(random, [
      { epoch: BOTH, from: 20, within: 60, count: 2, coordinators: [1], kinds: ['read'] },
      { ...atOne, from: 0, within: 10, count: 2, coordinators: [0], kinds: ['write'] },
      {
        ...{ ...atOne, epoch: BOTH, from: from + 5, within: 5 },
        count: 2,
        coordinators: [1],
        kinds: ['write'],
      },
    ]),
    faults: [
      change,
      ...others.map((server) => cut(1, server, from, 4000, { epoch: BOTH })),
      { kind: 'kill', at: from + 40, epoch: BOTH, forMs: 3000, coordinator: 1 },
    ],
    healAt: 4600,
  }
}

/** Nothing fails, though one coordinator is slow: then no two increments at `one` give the same. */
const undisturbedAtOne: ChangePlot = (random) => {
  const { change } = replacement(random, 5 + random.below(20), 0)
  const counts = { key: 'one-count', level: 'one', kinds: ['incr'] } as const
  const extraMs = 20 + random.below(60)
  const slow = [0, 1, 2, 3, 4].map((server): Fault => {
    return { kind: 'slow', at: 0, forMs: 3000, coordinator: 1, server, extraMs }
  })
  return {
    ...FIVE,
    operations: bursts(random, [
      { from: 0, within: 60, count: 4, coordinators: [0, 1], ...counts },
      { epoch: BOTH, from: FILLED_MS, within: 600, count: 40, coordinators: [1], ...counts },
      { epoch: SWITCHED, from: 0, within: 60, count: 20, coordinators: [0], ...counts },
      { epoch: ENDED, from: 0, within: 60, count: 8, coordinators: [0, 1], ...counts },
    ]),
    faults: [change, ...slow],
    healAt: 3100,
  }
}

/**
 * Whoever drives the change is a step ahead, and cannot reach those that decided before: another coordinator still asks
 * these.
 */
const aStepAhead: ChangePlot = (random) => {
  const { change, leaving } = replacement(random, 5 + random.below(20), 0)
  const then = { epoch: SWITCHED, from: 252, within: 60 }
  return {
    ...FIVE,
    operations: bursts(random, [
      { epoch: BOTH, from: 20, within: 60, count: 3, coordinators: [1], kinds: ['read'] },
      { ...then, ...atOne, count: 3, coordinators: [0], kinds: ['write'] },
      { ...then, ...atOne, count: 6, coordinators: [1], kinds: ['read'] },
    ]),
    faults: [change, ...leaving.map((server) => cut(0, server, 0, 600, { epoch: SWITCHED }))],
    healAt: 3000,
  }
}

/**
 * A coordinator sleeps while another server takes the place of a member. When it wakes up, it works on with the former one,
 * which runs as before, and with one of the others. The other coordinator reads from the new one and the third.
 */
export const replacedAsleep: ChangePlot = (random) => {
  const replaced = random.below(3)
  const [reached, third] = random.chance(0.5) ? [replaced + 1, replaced + 2] : [replaced + 2, replaced + 1]
  const at = 10 + random.below(20)
  const wakes = random.pick([200, 1500, 1700, 2100]) + random.below(300)
  const onWaking = { from: wakes - 15, within: 18, coordinators: [1] }
  return {
    ...{ servers: 3, spares: 1, replicas: 3, coordinators: 2 },
    operations: bursts(random, [
      { from: 0, within: 10, count: 4, coordinators: [0, 1], kinds: MIX },
      { from: wakes - 60, within: 40, count: 4, coordinators: [0], kinds: ['write', 'incr'] },
      { ...onWaking, count: 6, kinds: ['write', 'write', 'incr', 'read'] },
      { from: wakes, within: 60, count: 10, coordinators: [0], kinds: ['read', 'read', 'incr'] },
      { from: wakes + 100, within: 300, count: 6, coordinators: [0, 1], kinds: MIX },
    ]),
    faults: [
      { kind: 'replace', at, coordinator: 0, pick: replaced },
      { kind: 'stall', at: at - 1, forMs: wakes - at + 1, coordinator: 1 },
      cut(1, third % 3, wakes - 5, 60),
      ...(random.chance(0.5)
        ? [cut(0, reached % 3, wakes, 30 + random.below(60), { direction: 'both' })]
        : []),
    ],
    healAt: wakes + 500,
  }
}

/** A member dies, and is removed; another server may join later. Of three members two are left, which both have to agree. */
const diesAndIsRemoved: ChangePlot = (random) => {
  const servers = random.pick([3, 3, 4, 5])
  const dies = random.below(servers)
  const at = 20 + random.below(60)
  const asked = at + random.pick([5, 60, 400])
  const coordinators = [0, 1]
  const faults: Fault[] = [
    {
      kind: 'die',
      at,
      server: dies,
      noticed: random.chance(0.7),
      isLoss: false,
      returns: random.chance(0.5),
    },
    { kind: 'remove', at: asked, coordinator: random.below(2), servers: [dies], acceptsLoss: false },
  ]
  if (random.chance(0.4)) {
    faults.push({ kind: 'stall', at: at - 3, forMs: 1200 + random.below(2500), coordinator: random.below(2) })
  }
  // Who writes reaches too few of those that are left.
  const kept = [0, 1, 2, 3, 4].slice(0, servers).filter((server) => server !== dies)
  for (const epoch of random.pick([[BOTH], [SWITCHED], [BOTH, SWITCHED], []])) {
    faults.push(cut(random.below(2), random.pick(kept), random.below(900), 50 + random.below(400), { epoch }))
  }
  if (random.chance(0.5)) {
    const join = { kind: 'change', coordinator: 0, join: 1, leave: 0, replicas: null, pick: 0 } as const
    faults.push({ ...join, at: random.below(300), ...(random.chance(0.7) && { epoch: ENDED }) })
  }
  if (random.chance(0.3)) {
    faults.push({ kind: 'kill', at: at + random.below(2500), forMs: 10 + random.below(500), coordinator: 1 })
  }
  return {
    ...{ servers, spares: 1, replicas: 3, coordinators: 2 },
    operations: bursts(random, [
      { from: 0, within: at, count: 8, coordinators, kinds: MIX },
      { from: at, within: 200, count: 8, coordinators, kinds: MIX },
      { epoch: BOTH, from: 0, within: 1500, count: 16, coordinators, kinds: MIX },
      { epoch: SWITCHED, from: 0, within: 100, count: 8, coordinators, kinds: MIX },
      { epoch: ENDED, from: 0, within: 200, count: 8, coordinators, kinds: MIX },
    ]),
    faults,
    healAt: 4500,
  }
}

const MANY_KEYS = ['q1', 'q2', 'q3', 'q4', 'q5', 'q6']

/** With two of five members, or three, most copies of some keys are gone, and somebody accepts that. */
const goneWithKeys: ChangePlot = (random) => {
  const isMajority = random.chance(0.5)
  const servers = isMajority ? random.pick([3, 5]) : 5
  const first = random.below(servers)
  const count = isMajority ? (servers + 1) / 2 : 2
  const dead = Array.from({ length: count }, (_, i) => (first + i * (random.chance(0.5) ? 1 : 2)) % servers)
  const at = 40 + random.below(60)
  const asked = at + random.pick([25, 100, 700])
  const coordinators = [0, 1]
  const faults: Fault[] = [...new Set(dead)].map((server) => {
    const dies = { kind: 'die', isLoss: true, noticed: random.chance(0.7) } as const
    return { ...dies, at: at + random.below(20), server, returns: random.chance(0.5) }
  })
  const remove = { kind: 'remove', at: asked, coordinator: random.below(2), servers: dead } as const
  const dies = random.chance(0.7) ? { diesMs: 3 + random.below(15) } : {}
  faults.push({ ...remove, acceptsLoss: true, ...dies })
  if (random.chance(0.3)) {
    faults.push({ kind: 'stall', at: at - 3, forMs: 1200 + random.below(2000), coordinator: random.below(2) })
  }
  if (random.chance(0.3)) {
    faults.push({ kind: 'kill', at: at + random.below(3500), forMs: 10 + random.below(500), coordinator: 1 })
  }
  const kinds = ['write', 'write', 'read', 'read', 'read'] as const
  const of = (key: string, burst: Pick<Burst, 'from' | 'within' | 'count'>) => {
    return { ...burst, coordinators, kinds, key }
  }
  return {
    ...{ servers, spares: 1, replicas: 3, coordinators: 2 },
    operations: bursts(
      random,
      MANY_KEYS.flatMap((key) => [
        of(key, { from: 0, within: at, count: 3 }),
        of(key, { from: at, within: 400, count: 2 }),
        of(key, { from: asked + 300, within: 2500, count: 6 }),
        of(key, { from: asked + 2500, within: 1500, count: 4 }),
      ]),
    ),
    faults,
    healAt: 9500,
  }
}

/**
 * Sentinels promote a replica that lacks the last writes, and perhaps the former primary again at once. A coordinator sleeps, or
 * does not reach one of the others: it may still count the former one, which runs on.
 */
const failsOver: ChangePlot = (random) => {
  const server = random.below(3)
  const [reached, third] = random.chance(0.5)
    ? [(server + 1) % 3, (server + 2) % 3]
    : [(server + 2) % 3, (server + 1) % 3]
  const at = 60 + random.below(100)
  const coordinators = [0, 1]
  const runsMs = random.pick([0, 30, 300, 1500, 1500, null])
  const lostMs = random.pick([0, 5, 30, 100])
  const faults: Fault[] = [{ kind: 'failover', at, server, lostMs, runsMs }]
  const isBack = random.chance(0.4)
  const backAt = at + random.pick([3, 10, 30, 100, 1500]) + (runsMs ?? 1000)
  if (isBack) faults.push({ kind: 'failover', at: backAt, server, lostMs: random.below(40), runsMs: 0 })
  const sleeper = random.below(2)
  const wakes = at + random.pick([30, 150, 500, 1400])
  if (random.chance(0.6)) {
    faults.push({ kind: 'stall', at: at - random.below(10), forMs: wakes - at + 10, coordinator: sleeper })
    if (random.chance(0.6)) faults.push(cut(sleeper, third, wakes - 5, 100 + random.below(200)))
    if (random.chance(0.4))
      faults.push(cut(1 - sleeper, reached, wakes, 30 + random.below(80), { direction: 'both' }))
  } else if (random.chance(0.5)) {
    faults.push(cut(random.below(2), random.pick([reached, third]), at - 20, 100 + random.below(600)))
  }
  if (random.chance(0.2)) {
    faults.push({ kind: 'failover', at: backAt + 1500, server: third, lostMs: random.below(40), runsMs: 200 })
  }
  return {
    ...{ servers: 3, spares: 1, replicas: 3, coordinators: 2 },
    operations: bursts(random, [
      { from: 0, within: at, count: 8, coordinators, kinds: MIX },
      { from: at - 20, within: 80, count: 12, coordinators, kinds: ['write', 'incr', 'read'] },
      {
        from: wakes - 15,
        within: 30,
        count: 6,
        coordinators: [sleeper],
        kinds: ['write', 'write', 'incr', 'read'],
      },
      { from: wakes, within: 120, count: 12, coordinators: [1 - sleeper], kinds: ['read', 'read', 'incr'] },
      { from: at, within: 2000, count: 16, coordinators, kinds: MIX },
    ]),
    faults,
    healAt: 4000,
  }
}

/**
 * The last writes reached the primary and one other member, and the promoted replica has none of them. Perhaps the former primary
 * is promoted again at once. Who reads then does not reach that other member.
 */
const lacksTheLast: ChangePlot = (random) => {
  const server = random.below(3)
  const [has, lacks] = random.chance(0.5) ? [1, 2] : [2, 1]
  const at = 100 + random.below(40)
  const isBack = random.chance(0.5)
  const backAt = at + 2 + random.below(12)
  const then = isBack ? { at: backAt + random.below(60) } : { at: random.below(60), epoch: BOTH }
  const runsMs = isBack ? 0 : random.pick([0, 100, 1500])
  const onlyReads = { within: 250, count: 12, coordinators: [1], kinds: ['read'] } as const
  return {
    ...{ servers: 3, spares: 1, replicas: 3, coordinators: 2 },
    operations: bursts(random, [
      { from: 0, within: 30, count: 3, coordinators: [0, 1], kinds: ['write', 'read'] },
      { from: at - 50, within: 40, count: 5, coordinators: [0], kinds: ['write', 'incr'] },
      { ...onlyReads, from: then.at, ...(then.epoch && { epoch: then.epoch }) },
      { from: at + 1500, within: 500, count: 6, coordinators: [0, 1], kinds: MIX },
    ]),
    faults: [
      cut(0, (server + lacks) % 3, at - 55, 4000),
      { kind: 'failover', at, server, lostMs: 60, runsMs },
      ...(isBack ? [{ kind: 'failover', at: backAt, server, lostMs: 0, runsMs: 0 } as const] : []),
      cut(1, (server + has) % 3, then.at - 2, 300, {
        direction: 'both',
        ...(then.epoch && { epoch: then.epoch }),
      }),
    ],
    healAt: 4500,
  }
}

export const FAILOVER_PLOTS: readonly ChangePlot[] = [failsOver, failsOver, lacksTheLast]

export const REMOVAL_PLOTS: readonly ChangePlot[] = [diesAndIsRemoved, diesAndIsRemoved, goneWithKeys]

export const CHANGE_PLOTS: readonly ChangePlot[] = [
  asleep,
  asleep,
  aroundTheSteps,
  aroundTheSteps,
  unmarkedSources,
  onlyTheLeaverHasIt,
  onlyTheLeaverHasIt,
  fewerCopies,
  twoProposers,
  twoProposers,
  cancelledAtTheStep,
  cancelledAtTheStep,
  lossesOnTheWay,
  undisturbedAtOne,
  undisturbedAtOne,
  aStepAhead,
]
