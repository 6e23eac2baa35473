/**
 * `npm run bench`: Rondo side by side with its peers, in one run, on this machine.
 *
 *   npm run bench                              about six minutes: both servers
 *   npm run bench -- --servers resp              the Redis protocol alone (resp.ts)
 *   npm run bench -- --only rondo --ops GET    one target, one operation
 *   npm run bench -- --profile /tmp/profiles   a CPU profile of every Node.js target after its rounds
 *   npm run bench -- --memory                  instead: what short-lived values cost in memory (memory.ts)
 *   npm run bench -- --moving                  instead: how fast keys move to a node that joins (moving.ts)
 *   npm run bench -- --wal                     instead: what it costs to keep memory nodes on disk (wal.ts)
 *   npm run bench -- --types                   instead: data types, scripts, queues and channels (types.ts)
 *   npm run bench -- --near                    instead: GETs with the near cache, beside those without it (near.ts)
 *
 * Turn by turn: in each round every target gets the same load for the same time, one after the other, so that what the
 * machine does besides hits all of them alike. Medians of the rounds are shown; a ratio is the median of the ratios
 * within each round. What was stored is read back and compared before anything is printed.
 *
 * It does not promise that the figures of two machines or two runs compare; the ratios of one run are what counts.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { findRedisServer } from '../scripts/find-redis-server.mjs'
import { KEYS, OPS, REPLICAS, requestFile, VALUE_BYTES, type Op } from './dataset.ts'
import { chooseGenerator, CONNECTIONS, run, type Generator, type Load, type Measure } from './load.ts'
import { measureMemory } from './memory.ts'
import { measureMoving } from './moving.ts'
import { measureNear } from './near.ts'
import { profileDuring, summarise } from './profile/profile.ts'
import { ratiosOf, ratioTableOf, tableOf, warningsOf, type Series } from './report.ts'
import { measureResp, type RespPlan } from './resp.ts'
import { measureTypes } from './types.ts'
import { measureWal } from './wal.ts'
import { startTarget, TARGET_NAMES, type Target, type TargetName } from './targets.ts'

const WARM_UP_SECONDS = 3
const SETTLE_MS = 250
const PROFILED_FUNCTIONS = 25
const MAX_SECONDS = 60
const MAX_ROUNDS = 50

const SERVERS = ['http', 'resp'] as const

const HELP = `npm run bench -- [options]
  --seconds <n>     of each round, target and operation (default 4)
  --rounds <n>      (default 5)
  --servers <servers>   comma-separated: ${SERVERS.join(', ')} (default both; the other options are about http)
  --only <targets>  comma-separated: ${TARGET_NAMES.join(', ')}
  --ops <ops>       comma-separated: ${OPS.join(', ')}
  --generator <g>   wrk or autocannon (default: wrk where it is installed)
  --profile <dir>   write CPU profiles there and print the functions with the most self time
  --json <file>     write everything that was measured
  --memory          instead: keys and memory held, against a plain Redis, under values of a short TTL (--ttl, default 10 s)
  --moving          instead: keys moved per second to a node that joins, against MIGRATE (--keys, default 200000)
  --near            instead: GETs drawn by Zipf, with the near cache and without it
  --types           instead: data types, scripts, queues and channels, against nutcracker and a plain Redis (--seconds, --rounds,
                    --pipeline, and --rows <texts>: those whose name has one of them)
  --wal             instead: stores a second on memory nodes with DATA_DIR, for each DATA_FSYNC, against a Redis with the
                    same appendfsync (--seconds, --rounds)
`

interface Plan extends RespPlan {
  readonly servers: readonly (typeof SERVERS)[number][]
  readonly only: readonly TargetName[]
  readonly ops: readonly Op[]
  readonly generator: Generator
  readonly profileFolder: string | null
  readonly jsonFile: string | null
}

/** One target under one operation: what is repeated every round. */
interface Phase {
  readonly target: Target
  readonly op: Op
  readonly file: string
  readonly rounds: Measure[]
  /** Requests answered so far; the next round goes on from there. */
  walked: number
}

async function main(): Promise<void> {
  const args = process.argv.slice(2)
  if (args.includes('--memory')) {
    await measureMemory(args)
    return
  }
  if (args.includes('--moving')) {
    await measureMoving(args)
    return
  }
  if (args.includes('--near')) {
    await measureNear(args)
    return
  }
  if (args.includes('--types')) {
    await measureTypes(args)
    return
  }
  if (args.includes('--wal')) {
    await measureWal(args)
    return
  }
  const plan = planFrom(args)
  const machine = await machineOf(plan.generator)
  say(`${machine.join('; ')}`)
  if (plan.servers.includes('http')) await measureHttp(plan, machine)
  if (plan.servers.includes('resp')) {
    const text = await measureResp(plan, say)
    process.stdout.write(`\n${plan.servers.includes('http') ? '' : `${machine.join('\n')}\n\n`}${text}\n`)
  }
}

async function measureHttp(plan: Plan, machine: readonly string[]): Promise<void> {
  const targets: Target[] = []
  try {
    await startAll(plan, targets)
    const phases = await warmUp(plan, targets)
    await measure(plan, phases)
    await verify(targets, phases)
    const profiles = await profile(plan, phases)
    report(plan, machine, phases, profiles)
  } finally {
    await Promise.all(targets.map((target) => target.end()))
  }
}

async function startAll(plan: Plan, targets: Target[]): Promise<void> {
  for (const name of plan.only) {
    say(`starting ${name} and its Redis servers`)
    const target = await startTarget(name, plan)
    if (target) targets.push(target)
    else process.stdout.write(`${name} is not on PATH: left out (Debian: apt-get install ${name})\n`)
  }
  for (const target of targets) {
    say(`filling ${target.name} with ${KEYS} keys`)
    await target.fill()
    await delay(SETTLE_MS)
    await target.verify(['fill'])
  }
}

async function warmUp(plan: Plan, targets: readonly Target[]): Promise<Phase[]> {
  const phases: Phase[] = []
  for (const op of plan.ops) {
    for (const target of targets.filter(({ ops }) => ops.includes(op))) {
      const file = await requestFile(target.name, op, target.pathOf)
      const phase: Phase = { target, op, file, rounds: [], walked: 0 }
      phases.push(phase)
      say(`warming up ${target.name} ${op}`)
      await runOn(plan.generator, phase, WARM_UP_SECONDS)
    }
  }
  return phases
}

async function measure(plan: Plan, phases: readonly Phase[]): Promise<void> {
  for (let round = 1; round <= plan.rounds; round++) {
    for (const phase of phases) {
      const measured = await runOn(plan.generator, phase, plan.seconds)
      phase.rounds.push(measured)
      const { requestsPerSecond, cpuMicrosPerRequest, errors } = measured
      say(
        `round ${round}/${plan.rounds}  ${phase.target.name} ${phase.op}  ${requestsPerSecond.toFixed(0)}/s  ` +
          `${cpuMicrosPerRequest.toFixed(1)} µs  ${errors} errors`,
      )
    }
  }
}

async function runOn(generator: Generator, phase: Phase, seconds: number): Promise<Measure> {
  const { target, op, file } = phase
  const load: Load = { url: target.url, op, file, first: phase.walked % KEYS, seconds }
  const measured = await run(generator, load, {
    coordinator: target.coordinator.pid,
    nodes: target.nodes.map(({ pid }) => pid ?? 0),
  })
  phase.walked += measured.requests
  // Replication that nobody waited for must not run into the next target's turn.
  await delay(SETTLE_MS)
  return measured
}

async function verify(targets: readonly Target[], phases: readonly Phase[]): Promise<void> {
  for (const target of targets) {
    const puts = phases.find((phase) => phase.target === target && phase.op === 'PUT')?.walked ?? 0
    // The end of a round cuts up to 50 requests off: only the second time round has every key been written.
    await target.verify(puts === 0 ? ['fill'] : puts < 2 * KEYS ? ['fill', 'load'] : ['load'])
  }
}

async function profile(plan: Plan, phases: readonly Phase[]): Promise<string[]> {
  if (plan.profileFolder === null) return []
  const summaries: string[] = []
  const written = new Map<TargetName, number>()
  for (const phase of phases) {
    const { name, coordinator } = phase.target
    if (name === 'webdis') continue
    const count = (written.get(name) ?? 0) + 1
    written.set(name, count)
    const file = join(plan.profileFolder, `${name}-${count}.cpuprofile`)
    say(`profiling ${name} ${phase.op}`)
    await profileDuring(coordinator.pid, file, () => runOn(plan.generator, phase, plan.seconds))
    summaries.push(
      `${phase.target.label} ${phase.op}, self time (${file}):\n${summarise(file, PROFILED_FUNCTIONS)}`,
    )
  }
  return summaries
}

function report(
  plan: Plan,
  machine: readonly string[],
  phases: readonly Phase[],
  profiles: readonly string[],
): void {
  const series: Series[] = phases.map(({ target, op, rounds }) => ({
    target: target.name,
    label: target.label,
    op,
    rounds,
  }))
  const ratios = ratiosOf(series)
  const warnings = warningsOf(series, plan.generator.name)
  const setting =
    `${CONNECTIONS} connections, ${KEYS} keys, values of ${VALUE_BYTES} bytes, N=${REPLICAS} on four Redis (webdis: one); ` +
    `medians of ${plan.rounds} rounds of ${plan.seconds} s, turn by turn`
  const parts = [
    [...machine, setting].join('\n'),
    tableOf(series),
    ...(ratios.length > 0 ? [ratioTableOf(ratios)] : []),
    ...warnings,
    ...profiles,
  ]
  process.stdout.write(`\n${parts.join('\n\n')}\n`)
  if (plan.jsonFile !== null) {
    const everything = { at: new Date().toISOString(), machine, setting, series, ratios, warnings }
    writeFileSync(plan.jsonFile, `${JSON.stringify(everything, null, 2)}\n`)
  }
  const errors = series.flatMap(({ rounds }) => rounds).reduce((sum, one) => sum + one.errors, 0)
  if (errors > 0) {
    process.stderr.write(`${errors} requests failed: these figures are not worth comparing.\n`)
    process.exitCode = 1
  }
}

async function machineOf(generator: Generator): Promise<string[]> {
  const redis = await findRedisServer()
  const redisVersion = /v=(\S+)/.exec(execFileSync(redis, ['--version'], { encoding: 'utf8' }))?.[1] ?? '?'
  const versionOf = (name: string) =>
    (createRequire(import.meta.url)(`${name}/package.json`) as { version: string }).version
  const versions = ['express', 'ioredis'].map((name) => `${name} ${versionOf(name)}`)
  return [
    `${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), load average ${loadavg()[0]!.toFixed(1)} before the run`,
    `Node.js ${process.version}, redis ${redisVersion}, ${versions.join(', ')}, load from ${generator.name}`,
  ]
}

function planFrom(args: string[]): Plan {
  const { values } = parseArgs({
    args,
    options: {
      seconds: { type: 'string', default: '4' },
      rounds: { type: 'string', default: '5' },
      servers: { type: 'string', default: SERVERS.join(',') },
      only: { type: 'string', default: TARGET_NAMES.join(',') },
      ops: { type: 'string', default: OPS.join(',') },
      generator: { type: 'string' },
      profile: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    process.exit(0)
  }
  const { generator, profile, json } = values
  if (generator !== undefined && generator !== 'wrk' && generator !== 'autocannon') {
    throw new Error('--generator is wrk or autocannon')
  }
  if (profile !== undefined) mkdirSync(profile, { recursive: true })
  return {
    seconds: wholeNumber('--seconds', values.seconds, MAX_SECONDS),
    rounds: wholeNumber('--rounds', values.rounds, MAX_ROUNDS),
    servers: someOf('--servers', values.servers, SERVERS),
    only: someOf('--only', values.only, TARGET_NAMES),
    ops: someOf('--ops', values.ops.toUpperCase(), OPS),
    generator: chooseGenerator(generator),
    profileFolder: profile === undefined ? null : resolve(profile),
    jsonFile: json === undefined ? null : resolve(json),
  }
}

function wholeNumber(name: string, text: string, max: number): number {
  const number = Number(text)
  if (Number.isInteger(number) && number >= 1 && number <= max) return number
  throw new Error(`${name} is a whole number from 1 to ${max}`)
}

function someOf<T extends string>(name: string, text: string, known: readonly T[]): T[] {
  const chosen = text.split(',').map((word) => word.trim())
  const unknown = chosen.find((word) => !(known as readonly string[]).includes(word))
  if (unknown !== undefined) throw new Error(`${name} knows ${known.join(', ')}, not ${unknown}`)
  return known.filter((word) => chosen.includes(word))
}

function say(line: string): void {
  process.stderr.write(`bench: ${line}\n`)
}

main().catch((error: unknown) => {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1) // the exit handlers end what still runs
})
