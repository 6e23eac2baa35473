/**
 * Workloads on collections. Each takes the places of operations on values, with their times, clients and coordinators, so that
 * plots of faults fit as well.
 */
import type { Random } from '../support/random.ts'
import { BOARD, HASH, QUEUE } from './collections.ts'
import { OF_TYPES, type Operation, type QuorumKind, type Schedule } from './schedule.ts'
import { STREAM } from './streams.ts'
import { isWait, type WaitKind } from './waiting.ts'

export interface Workload {
  readonly key: string
  readonly kinds: readonly QuorumKind[]
  /** What has to be there first. */
  readonly first?: QuorumKind
  /** Most operations, where a number cannot take more. */
  readonly most: number
}

/** With more, too many of them end as unknown to find out what happened. */
const FEW = 24

const ON_QUEUES: Workload = {
  key: QUEUE,
  kinds: ['push', 'push', 'push', 'push', 'push', 'pop', 'elements', 'wait-pop', 'wait-pop', 'wait-pop', 'wait-pop'],
  most: FEW,
} // prettier-ignore
const ON_STREAMS: Workload = {
  key: STREAM,
  kinds: ['append', 'append', 'append', 'append', 'deliver', 'deliver-some', 'acknowledge', 'acknowledge', 'claim', 'entries', 'wait-deliver', 'wait-deliver'],
  first: 'group',
  most: FEW,
} // prettier-ignore
/** Without clients that wait, and with more that is pending. */
export const STREAM_IN_PARTS: Workload = {
  key: STREAM,
  kinds: ['append', 'append', 'append', 'append', 'append', 'deliver', 'deliver', 'deliver-some', 'acknowledge', 'acknowledge', 'claim', 'entries'],
  first: 'group',
  most: 2 * FEW,
} // prettier-ignore
const ON_BOARDS: Workload = {
  key: BOARD,
  kinds: ['score', 'score', 'score', 'score', 'scores', 'pop-lowest', 'wait-lowest', 'wait-lowest'],
  most: FEW,
}
const ON_COUNTERS: Workload = {
  key: HASH,
  kinds: ['count-field', 'count-field', 'count-field', 'set-field', 'drop-field', 'fields', 'fields'],
  most: 2 * FEW,
}
const IN_MULTI: Workload = { key: OF_TYPES[0]!, kinds: ['multi', 'multi', 'multi-total'], most: 26 }

/** Clients keep what they have read. */
export const KEPT = 'kept'
const CACHED: Workload = {
  key: KEPT,
  kinds: ['write', 'incr', 'delete', 'cached-read', 'cached-read', 'cached-read', 'cached-read', 'cached-read', 'cached-read', 'cached-read', 'cached-read', 'cached-read', 'cached-read', 'cached-read'],
  most: 2 * FEW,
} // prettier-ignore

export const WORKLOADS: readonly Workload[] = [
  ON_QUEUES, ON_QUEUES, ON_QUEUES, ON_STREAMS, ON_STREAMS, ON_STREAMS, ON_BOARDS, ON_COUNTERS, IN_MULTI, CACHED, CACHED,
] // prettier-ignore

/** 0 = until the client goes away. */
const WAITS_MS = [0, 100, 400, 1500]
const FIRST_WAITING_CLIENT = 300
const WAITING_CLIENTS = 5

/** @param slots other operations, in whose place these come */
export function typedOperations(
  random: Random,
  { key, kinds, first, most }: Workload,
  slots: readonly Operation[],
): Operation[] {
  const made = slots.slice(0, most).map((slot, i): Operation => {
    const kind = random.pick(kinds)
    const value = kind === 'multi' || kind === 'multi-total' ? 3 ** i : slot.value + 1
    const one: Operation = { ...slot, key, kind, value, ttlMs: 0 }
    return isWait(kind) ? { ...one, ...patience(random) } : one
  })
  if (!first) return made
  const { coordinator, client, level } = slots[0] ?? { coordinator: 0, client: 0, level: 'quorum' }
  return [{ at: 0, client, coordinator, level, key, kind: first, value: 1, ttlMs: 0 }, ...made]
}

function patience(random: Random): Pick<Operation, 'client' | 'waitMs' | 'leavesMs'> {
  const client = FIRST_WAITING_CLIENT + random.below(WAITING_CLIENTS)
  const waitMs = random.pick(WAITS_MS)
  const leaves = waitMs === 0 || random.chance(0.3)
  return { client, waitMs, ...(leaves && { leavesMs: 1 + random.below(700) }) }
}

// ---- after healing

/** When whoever was not told of a change shows it. */
const TOLD_WITHIN_MS = 1600

/** All keep the value, one changes it, and all are asked again. */
export function readByAllThatKeep(coordinators: number): Operation[] {
  const one = { key: KEPT, level: 'quorum', ttlMs: 0, client: WAITS_AT_LAST - 2 } as const
  const reads = (from: number, at: number) =>
    Array.from({ length: coordinators }, (_, coordinator): Operation => {
      return { ...one, kind: 'cached-read', coordinator, at, value: from + coordinator }
    })
  return [
    ...reads(400_000_000, 0),
    { ...one, kind: 'write', coordinator: 0, at: 100, value: 401_000_000 },
    ...reads(402_000_000, 100 + TOLD_WITHIN_MS),
  ]
}

/** What adds an element for whoever waits. */
const ADDS: Readonly<Record<WaitKind, QuorumKind>> = {
  'wait-pop': 'push',
  'wait-lowest': 'score',
  'wait-deliver': 'append',
}
const KEYS: Readonly<Record<WaitKind, string>> = {
  'wait-pop': QUEUE,
  'wait-lowest': BOARD,
  'wait-deliver': STREAM,
}
export const PUSHES_AT_LAST = 3000
const WAITS_AT_LAST = 2000
/** A look comes once a second, and takes a moment. */
const BY_A_LOOK_MS = 1500
const BY_A_MESSAGE_MS = 100
/** In some runs messages are lost once all wait, and before there is something for them: then only looks help. */
export const LOST_FROM_MS = 450
export const LOST_UNTIL_MS = 3000
/** All coordinators know of each other, and of all nodes that carry messages. */
export const WAKES_SETTLED_MS = 9000
const PATIENT_MS = 5000

export function awaited({ operations }: Schedule): WaitKind[] {
  return [...new Set(operations.map(({ kind }) => kind).filter(isWait))]
}

/** All wait, and then there is something for each, all of it from one coordinator: its own clients need no message. */
export function servedAtLast(kinds: readonly WaitKind[], coordinators: number): Operation[] {
  return kinds.flatMap((kind, place) => {
    const of = operationsOn(kind, 200_000_000 + place * 1_000_000)
    return [
      ...emptied(kind, of),
      ...Array.from({ length: coordinators }, (_, c) => of.waits(c, c, 200, BY_A_LOOK_MS)),
      ...Array.from({ length: coordinators }, (_, c) => of.adds(c, 0, 500)),
    ].map((operation) => ({ ...operation, isContended: true }))
  })
}

/** One after the other, each for a client of another coordinator. */
export function servedAtOnce(kinds: readonly WaitKind[], coordinators: number): Operation[] {
  return kinds.flatMap((kind, place) => {
    const of = operationsOn(kind, 300_000_000 + place * 1_000_000)
    return [
      ...emptied(kind, of),
      ...Array.from({ length: coordinators }, (_, c) => [
        of.waits(c, c, 200 + 400 * c, BY_A_MESSAGE_MS),
        of.adds(c, (c + 1) % coordinators, 400 + 400 * c),
      ]).flat(),
    ]
  })
}

type Maker = ReturnType<typeof operationsOn>

function operationsOn(kind: WaitKind, from: number) {
  const common = { key: KEYS[kind], level: 'quorum', ttlMs: 0 } as const
  return {
    waits: (number: number, coordinator: number, at: number, mustBeServedMs: number): Operation => {
      const patient = { waitMs: PATIENT_MS, mustBeServedMs }
      return {
        ...common,
        ...patient,
        at,
        kind,
        client: WAITS_AT_LAST + number,
        coordinator,
        value: from + number,
      }
    },
    adds: (number: number, coordinator: number, at: number): Operation => {
      return { ...common, at, kind: ADDS[kind], client: PUSHES_AT_LAST, coordinator, value: from + number }
    },
    other: (other: QuorumKind, at: number): Operation => {
      return { ...common, at, kind: other, client: WAITS_AT_LAST - 1, coordinator: 0, value: from + 900 + at }
    },
  }
}

function emptied(kind: WaitKind, of: Maker): Operation[] {
  return [of.other('delete', 0), ...(kind === 'wait-deliver' ? [of.other('group', 50)] : [])]
}
