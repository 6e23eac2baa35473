/**
 * Faults that chance alone brings together too rarely: what the rules are there for takes several of them, at the right
 * time, on different nodes.
 */
import type { Random } from '../support/random.ts'
import { ALL_SERVERS, type Fault, type Operation } from './schedule.ts'

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

type Plot = (random: Random, lasts: number, size: Size) => Fault[]

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
    for (let coordinator = 0; coordinator < coordinators; coordinator++) {
      const server = misses!
      faults.push({
        kind: 'cut',
        at: Math.max(0, at - 1),
        forMs: lostAt - at + 2,
        coordinator,
        server,
        direction: 'to',
      })
      faults.push({ kind: 'reset', at: lostAt, coordinator, server, loses: true })
    }
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

/** One node forgets, and again just when its filling comes to its end, while another one is slow. */
const forgetsWhileFilled: Plot = (random, lasts, { servers, coordinators }) => {
  const [server, slow] = shuffled(random, servers)
  const faults: Fault[] = []
  for (let coordinator = 0; coordinator < coordinators; coordinator++) {
    const forMs = Math.floor(lasts + 1000)
    faults.push({ kind: 'slow', at: 0, forMs, coordinator, server: slow!, extraMs: random.below(500) })
  }
  for (let at = random.next() * lasts * 0.7; at < lasts + 1200; at += 1100 + random.next() * 500) {
    faults.push({ kind: 'flush', at: Math.floor(at), server: server! })
  }
  return faults
}

/** Everything is slow, though not too slow: what takes several rounds takes long. */
const slowRounds: Plot = (random, lasts, { servers, coordinators }) => {
  const faults: Fault[] = []
  for (let coordinator = 0; coordinator < coordinators; coordinator++) {
    for (let server = 0; server < servers; server++) {
      faults.push({
        kind: 'slow',
        at: 0,
        forMs: Math.floor(lasts + 800),
        coordinator,
        server,
        extraMs: 100 + random.below(60),
      })
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

/** Somebody exchanges the addresses of nodes, again and again, and a third one is away. */
const exchanged: Plot = (random, lasts, { servers, coordinators }) => {
  const faults: Fault[] = []
  for (let at = 0; at < lasts; at += 150 + random.next() * 500) {
    const [server, other, away] = shuffled(random, servers)
    faults.push({
      kind: 'swap',
      at: Math.floor(at),
      forMs: 150 + random.below(500),
      server: server!,
      other: other!,
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
const outOfBreath: Plot = (random, lasts, { coordinators, servers, operations }) => {
  const [forgets, misses, late] = shuffled(random, servers)
  const from = random.next() * lasts * 0.5
  const write = operations.find((one) => one.kind === 'write' && one.level === 'quorum' && one.at > from)
  const at = write?.at ?? 50
  const coordinator = write?.coordinator ?? random.below(coordinators)
  const before = Math.max(0, at - 1)
  return [
    {
      kind: 'cut',
      at: before,
      forMs: 3000 + random.below(1000),
      coordinator,
      server: misses!,
      direction: 'to',
    },
    { kind: 'cut', at: before, forMs: 1700 + random.below(500), coordinator, server: late!, direction: 'to' },
    { kind: 'stall', at: at + 1 + random.below(4), forMs: 2300 + random.below(500), coordinator },
    { kind: 'flush', at: at + 5 + random.below(40), server: forgets! },
  ]
}

export const PLOTS: readonly Plot[] = [
  missedForgottenSilent,
  missedForgottenSilent,
  missedForgottenSilent,
  missedForgottenSilent,
  missedForgottenSilent,
  forgetsAgain,
  forgetsWhileFilled,
  slowRounds,
  slowRounds,
  standIns,
  exchanged,
  clocksSetBack,
  outOfBreath,
  outOfBreath,
]

function shuffled(random: Random, count: number): number[] {
  const numbers = Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[numbers[i], numbers[j]] = [numbers[j]!, numbers[i]!]
  }
  return numbers
}
