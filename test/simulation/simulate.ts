/**
 * One run: found a cluster, let clients and faults loose on it, heal, look whether it works again, and judge.
 *
 *   0            founded                    healAt              + 2 s             + 10 s
 *   ├────────────┼──────────────────────────┼───────────────────┼─────────────────┤
 *    calm         operations and faults      calm again          every operation    settled, if expected:
 *                                                                must succeed       converged
 *
 * Where members change, the last change must end after that, and every operation must succeed once more.
 */
import { Checks, type Expectations } from './checks.ts'
import { sizes } from '../../src/commands/collections/large/sizes.ts'
import { leftovers } from '../../src/repair/round/leftovers.ts'
import { withSizes } from '../support/large.ts'
import { BOARD, HASH, LIST, QUEUE } from './collections.ts'
import type { Counters } from './coverage.ts'
import { Faults } from './faults.ts'
import { MAX_MOVES } from './make-schedule.ts'
import { ACCOUNTS, OF_TYPES, type Operation, type QuorumKind, type Schedule } from './schedule.ts'
import { STREAM } from './streams.ts'
import {
  awaited,
  KEPT,
  LOST_FROM_MS,
  LOST_UNTIL_MS,
  readByAllThatKeep,
  servedAtLast,
  servedAtOnce,
  WAKES_SETTLED_MS,
} from './typed.ts'
import { Workload, type Done } from './workload.ts'
import { REQUEST_TIMEOUT_MS, World } from './world.ts'

export interface RunOptions {
  readonly expect?: Partial<Expectations>
  readonly tracing?: boolean
}

export interface RunResult {
  readonly schedule: Schedule
  readonly hash: string
  readonly events: number
  readonly violations: readonly string[]
  readonly undecided: number
  readonly counters: Counters
  readonly history: readonly Done[]
  readonly trace: readonly string[] | null
  /** Virtual time at which the schedule's time 0 was. */
  readonly foundedAtMs: number
}

const BACK_IN_SERVICE_MS = 2000
const YOUNG_MS = 1100
const ANTI_ENTROPY_MS = 10_000
const CONVERGED_MS = 60_000
/** Within which a change of members ends, once nothing fails any more. */
const CHANGED_MS = 30_000
/** Within which delete jobs end: a lease, and what is left of them. */
const JOBS_END_MS = 20_000

/** What is switched on for every run, as the repairs that it needs come to be. */
export const EXPECT: Expectations = { converge: false }

export async function simulate(schedule: Schedule, options: RunOptions = {}): Promise<RunResult> {
  const { partBytes = IN_PARTS.partBytes } = schedule
  const inParts = schedule.isInParts
    ? { ...IN_PARTS, partBytes }
    : { largeFrom: sizes.largeFrom, partBytes: sizes.partBytes }
  return withSizes(inParts, () => simulateRun(schedule, options))
}

/** Of two entries or three. */
const IN_PARTS = { largeFrom: 16, partBytes: 12 }
/** While operations run, so often is a round of anti-entropy asked for. */
const ROUND_EVERY_MS = 300
const LEFT_AFTER_MS = 200

async function simulateRun(schedule: Schedule, options: RunOptions): Promise<RunResult> {
  leftovers.afterMs = LEFT_AFTER_MS
  const expect = { ...EXPECT, ...options.expect }
  const world = new World({
    ...schedule,
    spares: schedule.spares ?? 0,
    checksIn: awaited(schedule).length > 0,
    tracing: options.tracing ?? false,
    antiEntropyMs: expect.converge ? ANTI_ENTROPY_MS : 0,
  })
  const { scheduler } = world
  const faults = new Faults(world, schedule)
  const checks = new Checks(world, faults, schedule)
  const workload = new Workload(world, checks, checks.stalledMs)
  let foundedAtMs = 0
  try {
    await world.found()
    // While it is young, a node without a marker may be one that its founder has not marked yet.
    await scheduler.runUntil(scheduler.nowMs + YOUNG_MS)
    const fromMs = scheduler.nowMs
    foundedAtMs = fromMs
    world.setCalm(false)
    faults.begin(fromMs)
    workload.schedule(schedule.operations, fromMs)
    if (schedule.isInParts) askForRounds(world, schedule)
    await scheduler.runUntil(fromMs + schedule.healAt)

    faults.heal()
    workload.over()
    world.setCalm(true)
    await scheduler.runUntil(scheduler.nowMs + BACK_IN_SERVICE_MS)
    if (schedule.spares) {
      const untilMs = scheduler.nowMs + CHANGED_MS
      while (!world.sparesOne && scheduler.nowMs < untilMs) await scheduler.runUntil(scheduler.nowMs + 250)
    }
    await untilJobsEnd(world, workload)
    checks.afterHealing()
    // Half of what must become equal is not written again: that would hide what a repair has left.
    const isLeft = expect.converge && schedule.seed % 2 === 0
    const last = lastOperations(schedule).filter(({ kind }) => !isLeft || kind === 'read')
    workload.schedule(last, scheduler.nowMs)
    await scheduler.runUntil(scheduler.nowMs + 3 * REQUEST_TIMEOUT_MS)
    checks.checkNobodyWaits(workload.running)
    if (schedule.spares) {
      await untilStable(world)
      if (!world.isStable && world.isRefusing) {
        faults.cancel()
        await untilStable(world)
      }
      if (!schedule.beyond) checks.checkStable()
      workload.schedule(lastOperations(schedule, 1), scheduler.nowMs)
      await scheduler.runUntil(scheduler.nowMs + 3 * REQUEST_TIMEOUT_MS)
      checks.checkNobodyWaits(workload.running)
    }
    if (expect.converge) {
      await scheduler.runUntil(scheduler.nowMs + CONVERGED_MS)
      if (!schedule.beyond) checks.checkConverged(workload.done)
    }
    if (!schedule.beyond) await checkWaiters(world, workload, checks, schedule)
    if (schedule.operations.some(({ key }) => key === KEPT)) {
      workload.schedule(readByAllThatKeep(schedule.coordinators), scheduler.nowMs)
      await scheduler.runUntil(scheduler.nowMs + 2 * REQUEST_TIMEOUT_MS)
    }
    checks.checkForeignUntouched()
    checks.checkHistories(workload.done)
    checks.checkTotals(workload.done)
    checks.checkTypes(workload.done)
    checks.checkAtOne(workload.done)
  } catch (error) {
    world.fault(`the run broke: ${(error as Error).stack ?? String(error)}`)
  }
  return {
    schedule,
    hash: scheduler.hash,
    events: scheduler.events,
    violations: world.violations,
    undecided: checks.undecided,
    counters: world.counters,
    history: workload.done,
    trace: scheduler.lines,
    foundedAtMs,
  }
}

async function untilStable(world: World): Promise<void> {
  const { scheduler } = world
  const untilMs = scheduler.nowMs + CHANGED_MS
  while (!world.isStable && scheduler.nowMs < untilMs) await scheduler.runUntil(scheduler.nowMs + 250)
}

/** Another coordinator goes on with a job once the lease of the one that died is over. */
async function untilJobsEnd({ scheduler }: World, { running }: Workload): Promise<void> {
  const isRunning = () =>
    running.some(({ operation, end }) => operation.kind === 'delete-job' && end === Infinity)
  const untilMs = scheduler.nowMs + JOBS_END_MS
  while (isRunning() && scheduler.nowMs < untilMs) await scheduler.runUntil(scheduler.nowMs + 250)
}

/** Clients that wait are served by whatever coordinator stores something; and at once, when messages can be relied on. */
async function checkWaiters(
  world: World,
  workload: Workload,
  checks: Checks,
  schedule: Schedule,
): Promise<void> {
  const { scheduler } = world
  const kinds = awaited(schedule)
  if (kinds.length === 0) return
  workload.schedule(servedAtLast(kinds, schedule.coordinators), scheduler.nowMs)
  if (schedule.seed % 2 === 0) {
    scheduler.after(LOST_FROM_MS, () => (world.losesMessages = true))
    scheduler.after(LOST_UNTIL_MS, () => (world.losesMessages = false))
  }
  await scheduler.runUntil(scheduler.nowMs + WAKES_SETTLED_MS)
  const rounds = servedAtOnce(kinds, schedule.coordinators)
  workload.schedule(rounds, scheduler.nowMs)
  await scheduler.runUntil(scheduler.nowMs + Math.max(...rounds.map(({ at }) => at)) + REQUEST_TIMEOUT_MS)
  checks.checkNobodyWaits(workload.running)
  checks.checkServed(workload.done)
}

function askForRounds(world: World, { healAt, coordinators }: Schedule): void {
  for (let at = ROUND_EVERY_MS; at < healAt; at += ROUND_EVERY_MS) {
    world.scheduler.after(at, () => {
      const running = world.coordinators[Math.floor(at / ROUND_EVERY_MS) % coordinators]!
      running.host.enter(() => void running.antiEntropy.request().catch(() => undefined))
    })
  }
}

const LAST_KINDS: readonly QuorumKind[] = ['read', 'write', 'incr', 'write', 'read']
const LAST_KINDS_OF = new Map<string, readonly QuorumKind[]>([
  [LIST, ['elements', 'push', 'pop', 'push', 'elements']],
  [HASH, ['fields', 'set-field', 'drop-field', 'count-field', 'set-field', 'fields']],
  [QUEUE, ['elements', 'push', 'pop', 'push', 'elements']],
  [BOARD, ['scores', 'score', 'pop-lowest', 'score', 'scores']],
  [STREAM, ['entries', 'append', 'deliver', 'acknowledge', 'claim', 'acknowledge', 'deliver', 'entries']],
  [OF_TYPES[0]!, ['multi-total', 'multi', 'multi-total']],
])

/** After healing, through every coordinator: read what is there, write, update, write, read again, on every key. */
function lastOperations(schedule: Schedule, time = 0): Operation[] {
  const atQuorum = schedule.operations.filter(({ level }) => level === 'quorum').map(({ key }) => key)
  const keys = [...new Set(atQuorum.filter((key) => !ACCOUNTS.includes(key)))]
  const operations: Operation[] = []
  let at = 0
  let value = 1_000_000 * (1 + time)
  for (let coordinator = 0; coordinator < schedule.coordinators; coordinator++) {
    if (atQuorum.some((key) => ACCOUNTS.includes(key))) {
      for (const kind of ['total', 'move', 'total'] as const) {
        at += 15
        const key = ACCOUNTS[coordinator]!
        const amount = 3 ** (MAX_MOVES + coordinator + time * schedule.coordinators)
        operations.push({
          at,
          client: 1000,
          coordinator,
          key,
          level: 'quorum',
          kind,
          value: amount,
          ttlMs: 0,
        })
      }
    }
    for (const key of keys) {
      for (const kind of LAST_KINDS_OF.get(key) ?? LAST_KINDS) {
        value += 1000
        at += 15
        const amount = 3 ** (MAX_MOVES + coordinator + time * schedule.coordinators)
        const number = kind === 'multi' ? amount : value
        operations.push({
          at,
          client: 1000,
          coordinator,
          key,
          level: 'quorum',
          kind,
          value: number,
          ttlMs: 0,
        })
      }
    }
  }
  return operations
}
