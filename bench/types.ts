/**
 * `npm run bench -- --types`: the data types, scripts, queues and channels, beside nutcracker (twemproxy, C) and a plain Redis.
 *
 *   npm run bench -- --types                         about eight minutes
 *   npm run bench -- --types --rows GET,EVALSHA --rounds 9    rows whose names have one of these texts
 *   npm run bench -- --types --pipeline 16
 *
 * Rondo keeps three copies on four Redis, at level `one`; nutcracker one copy on four; Redis is one server. Commands come from
 * redis-benchmark, 50 connections, keys drawn at random; queues and channels from generators of our own (load/), as
 * nutcracker has neither. Turn by turn: ratios are medians of the ratios within each round. CPU is per command: that of the
 * process which clients talk to, and that of all its nodes together.
 *
 * A change of a hash always brings another value, so that nothing is answered as unchanged. LPUSH and RPOP are as many, so
 * that lists keep their length.
 */
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ChainableCommander, Redis } from 'ioredis'
import { onPath } from './load.ts'
import { start } from './processes.ts'
import { align, median } from './report.ts'
import {
  clientOf,
  cpuOf,
  endTargets,
  PEER,
  redisBenchmark,
  startNutcracker,
  startPlain,
  startRondo,
  type RespRound,
  type RespTarget,
} from './resp-targets.ts'

const RONDO = 'Rondo N=3'
const REDIS = 'one Redis'
const WARM_UP_REQUESTS = 5000
const SETTLE_MS = 250
const FILL_BATCH = 50
const SUBSCRIBERS = 100
const ACQUAINTED_LIMIT_MS = 60_000
const HANDED_OVER_MS = 300
/** Of __rand_int__ by redis-benchmark. */
const number = (i: number) => String(i).padStart(12, '0')
const RANDOM = '__rand_int__'
const STRING = `${RANDOM}${'v'.repeat(88)}`
const ELEMENT = 'e'.repeat(100)
const RATE_LIMIT_WINDOW_MS = '60000'
/** More than a round takes of either, on lists that keep about this many elements for each key. */
const LIST_ELEMENTS = 50
const LIST_KEYS = 1000

interface Filled {
  readonly range: number
  readonly key: (i: number) => string
  readonly store: (to: ChainableCommander, key: string) => unknown
  /** What is wrong with it after the run, or ''. */
  readonly check: (client: Redis, key: string) => Promise<string>
}

const FILLS: Readonly<Record<string, Filled>> = {
  string: {
    range: 10_000,
    key: (i) => `string:${number(i)}`,
    store: (to, key) => to.set(key, STRING),
    check: async (client, key) => expected((await client.get(key))?.length, 100),
  },
  hash10: hash(10, 1000),
  hash1000: hash(1000, 200),
  board: {
    range: 200,
    key: (i) => `board:${number(i)}`,
    store: (to, key) =>
      to.zadd(key, ...Array.from({ length: 1000 }, (_, i) => [i * 7, `player:${number(i)}`]).flat()),
    check: async (client, key) => expected(await client.zcard(key), 1000),
  },
  list: {
    range: LIST_KEYS,
    key: (i) => `list:${number(i)}`,
    store: (to, key) => to.rpush(key, ...Array.from({ length: LIST_ELEMENTS }, () => ELEMENT)),
    check: async (client, key) => expected((await client.lindex(key, 0))?.length, 100),
  },
  set: {
    range: 10_000,
    key: (i) => `set:${number(i)}`,
    store: (to, key) => to.sadd(key, ...Array.from({ length: 10 }, (_, i) => `member:${number(i)}`)),
    check: async (client, key) => expected(await client.sismember(key, `member:${number(9)}`), 1),
  },
  stream: {
    range: 1000,
    key: (i) => `stream:${number(i)}`,
    store: (to, key) => to.xadd(key, '*', 'field', ELEMENT),
    check: async (client, key) => expected((await client.xlen(key)) > 1, true),
  },
  none: { range: 10_000, key: () => '', store: () => undefined, check: () => Promise.resolve('') },
}

interface Row {
  readonly name: string
  readonly fill: keyof typeof FILLS
  readonly args: readonly string[]
  /** The same number for each target, instead of as many as fit into a round. */
  readonly requests?: number
}

const script = rateLimitScript()
const LIST_REQUESTS = (LIST_KEYS * LIST_ELEMENTS) / 2
const ROWS: readonly Row[] = [
  { name: 'SET', fill: 'string', args: ['SET', `string:${RANDOM}`, STRING] },
  { name: 'GET', fill: 'string', args: ['GET', `string:${RANDOM}`] },
  hashRow('HSET of 10 fields', 'hash10', 10),
  hashRow('HGET of 10 fields', 'hash10', 10),
  hashRow('HSET of 1,000 fields', 'hash1000', 1000),
  hashRow('HGET of 1,000 fields', 'hash1000', 1000),
  {
    name: 'ZADD to 1,000',
    fill: 'board',
    args: ['ZADD', `board:${RANDOM}`, `${RANDOM}37`, `player:${RANDOM}`],
  },
  { name: 'ZRANGE 0 9 of 1,000', fill: 'board', args: ['ZRANGE', `board:${RANDOM}`, '0', '9'] },
  { name: 'LPUSH', fill: 'list', args: ['LPUSH', `list:${RANDOM}`, ELEMENT], requests: LIST_REQUESTS },
  { name: 'RPOP', fill: 'list', args: ['RPOP', `list:${RANDOM}`], requests: LIST_REQUESTS },
  { name: 'SADD', fill: 'set', args: ['SADD', `set:${RANDOM}`, `member:${RANDOM}`] },
  { name: 'SISMEMBER', fill: 'set', args: ['SISMEMBER', `set:${RANDOM}`, `member:${RANDOM}`] },
  {
    name: 'XADD MAXLEN ~ 100',
    fill: 'stream',
    args: ['XADD', `stream:${RANDOM}`, 'MAXLEN', '~', '100', '*', 'field', ELEMENT],
  },
  {
    name: 'EVALSHA of rate-limit-redis',
    fill: 'none',
    args: [
      'EVALSHA',
      createHash('sha1').update(script).digest('hex'),
      '1',
      `rl:${RANDOM}`,
      RATE_LIMIT_WINDOW_MS,
    ],
  },
]

/** Loads of a generator of ours; `isAcross`: the other end at another coordinator. */
interface OwnRow {
  readonly name: string
  readonly file: string
  readonly isAcross: boolean
  readonly args: (seconds: number) => readonly number[]
}

const OWN_ROWS: readonly OwnRow[] = [false, true].flatMap((isAcross) => {
  const queue = (lanes: number): OwnRow => ({
    name: `BLPOP, ${lanes === 1 ? '1 worker' : `${lanes} workers`}${isAcross ? ', pushed elsewhere' : ''}`,
    file: 'queue.mjs',
    isAcross,
    args: (seconds) => [lanes, seconds],
  })
  const channel = (window: number): OwnRow => ({
    name: `PUBLISH to ${SUBSCRIBERS}, ${window} at a time${isAcross ? ', elsewhere' : ''}`,
    file: 'fanout.mjs',
    isAcross,
    args: (seconds) => [SUBSCRIBERS, window, seconds],
  })
  return [queue(1), queue(50), channel(1), channel(16)]
})

/** What is aimed at. `over` is another target in the same row, or another row of ours. */
const AIMS: readonly {
  readonly row: string
  readonly over: { readonly target: string } | { readonly row: string }
  readonly of: 'rate' | 'nodes'
  readonly atLeast?: number
  readonly atMost?: number
}[] = [
  { row: 'HGET of 10 fields', over: { row: 'GET' }, of: 'rate', atLeast: 0.9 },
  { row: 'HSET of 10 fields', over: { row: 'SET' }, of: 'nodes', atMost: 2.5 },
  { row: 'HSET of 1,000 fields', over: { row: 'SET' }, of: 'nodes', atMost: 2.5 },
  { row: 'EVALSHA of rate-limit-redis', over: { target: REDIS }, of: 'rate', atLeast: 1 / 6 },
]

interface Phase {
  readonly row: Row | OwnRow
  readonly target: RespTarget
  requests: number
  readonly rounds: RespRound[]
}

interface Plan {
  readonly seconds: number
  readonly rounds: number
  readonly pipeline: number
  readonly rows: string
}

export async function measureTypes(args: string[]): Promise<void> {
  const plan = planFrom(args)
  if (onPath('redis-benchmark') === null)
    throw new Error('redis-benchmark is not on PATH (Debian: apt-get install redis-tools)')
  const texts = plan.rows.toUpperCase().split(',')
  const isChosen = ({ name }: { name: string }) => texts.some((text) => name.toUpperCase().includes(text))
  const rows = ROWS.filter(isChosen)
  const ownRows = plan.pipeline === 1 ? OWN_ROWS.filter(isChosen) : []
  if (rows.length + ownRows.length === 0) throw new Error(`no row has ${plan.rows} in its name`)
  const targets: RespTarget[] = []
  try {
    targets.push(await startRondo(3, true), ...(await startNutcracker()), await startPlain())
    const fills = new Set(rows.map(({ fill }) => fill))
    for (const target of targets) {
      say(`filling ${target.label}`)
      for (const fill of fills) if (carries(target, fill)) await store(target, FILLS[fill]!)
      await loadScript(target)
    }
    if (ownRows.length > 0) await acquainted(targets[0]!)
    const phases = await phasesOf(rows, ownRows, targets, plan)
    for (let round = 1; round <= plan.rounds; round++) {
      for (const phase of phases) {
        const measured = await load(phase, plan)
        phase.rounds.push(measured)
        say(`round ${round}/${plan.rounds}  ${shown(phase, measured)}`)
      }
    }
    for (const target of targets) {
      for (const fill of fills) if (carries(target, fill)) await verify(target, FILLS[fill]!)
    }
    process.stdout.write(`${report(plan, phases)}\n`)
  } finally {
    await endTargets(targets)
  }
}

/** nutcracker has no streams. */
function carries({ label }: RespTarget, fill: string): boolean {
  return label !== PEER || fill !== 'stream'
}

/** The two coordinators know of each other once an element is handed over at once. */
async function acquainted({ port, second }: RespTarget): Promise<void> {
  const [worker, client] = [clientOf(port), clientOf(second!.port)]
  try {
    for (const endMs = performance.now() + ACQUAINTED_LIMIT_MS; performance.now() < endMs;) {
      const popped = worker.blpop('bench:hello', 10)
      await delay(SETTLE_MS)
      const startedAtMs = performance.now()
      await client.rpush('bench:hello', 'x')
      await popped
      if (performance.now() - startedAtMs < HANDED_OVER_MS) return
    }
    throw new Error('the coordinators did not get to know each other')
  } finally {
    worker.disconnect()
    client.disconnect()
  }
}

/** With those that are carried by their target, warmed up. */
async function phasesOf(
  rows: readonly Row[],
  ownRows: readonly OwnRow[],
  targets: readonly RespTarget[],
  plan: Plan,
): Promise<Phase[]> {
  const phases: Phase[] = []
  for (const row of rows) {
    for (const target of targets.filter((one) => carries(one, row.fill))) {
      say(`warming up ${target.label} ${row.name}`)
      const phase: Phase = { row, target, requests: row.requests ?? WARM_UP_REQUESTS, rounds: [] }
      const { perSecond } = await load(phase, plan)
      if (row.requests === undefined)
        phase.requests = Math.max(WARM_UP_REQUESTS, Math.round(perSecond * plan.seconds))
      phases.push(phase)
    }
  }
  for (const row of ownRows) {
    for (const target of targets.filter(
      ({ label, second }) => label !== PEER && (second !== null || !row.isAcross),
    ))
      phases.push({ row, target, requests: 0, rounds: [] })
  }
  return phases
}

async function load({ row, target, requests }: Phase, { seconds, pipeline }: Plan): Promise<RespRound> {
  if ('fill' in row)
    return redisBenchmark(target, requests, { pipeline, range: FILLS[row.fill]!.range, args: row.args })
  const file = fileURLToPath(new URL(`./load/${row.file}`, import.meta.url))
  const before = cpuOf(target)
  const ports = [target.port, row.isAcross ? target.second!.port : target.port]
  const child = start(process.execPath, [file, ...[...ports, ...row.args(seconds)].map(String)])
  const measured = JSON.parse(await child.finished) as RespRound & { count: number; lost?: number }
  const after = cpuOf(target)
  await delay(SETTLE_MS)
  if (measured.lost) throw new Error(`${target.label} lost ${measured.lost} of ${row.name}`)
  return {
    ...measured,
    cpuMicros: ((after.own - before.own) * 1e6) / measured.count,
    nodesCpuMicros: ((after.nodes - before.nodes) * 1e6) / measured.count,
  }
}

async function store({ port }: RespTarget, { range, key, store: storeOne }: Filled): Promise<void> {
  const client = clientOf(port)
  try {
    for (let from = 0; from < range; from += FILL_BATCH) {
      const pipeline = client.pipeline()
      for (let i = from; i < Math.min(from + FILL_BATCH, range); i++) storeOne(pipeline, key(i))
      const failed = (await pipeline.exec())!.find(([error]) => error)
      if (failed) throw failed[0]!
    }
  } finally {
    client.disconnect()
  }
}

/** redis-benchmark takes any answer: so what is there afterwards is looked at. */
async function verify({ label, port }: RespTarget, { range, key, check }: Filled): Promise<void> {
  const client = clientOf(port)
  try {
    for (let i = 0; i < range; i += range / 50) {
      const wrong = await check(client, key(i))
      if (wrong !== '') throw new Error(`${label}: ${key(i)} is wrong: ${wrong}`)
    }
  } finally {
    client.disconnect()
  }
}

/** nutcracker does not know SCRIPT: its nodes do. */
async function loadScript({ label, port, nodes }: RespTarget): Promise<void> {
  for (const at of label === PEER ? nodes.map((node) => node.port) : [port]) {
    const client = clientOf(at)
    await client.script('LOAD', script)
    client.disconnect()
  }
}

function rateLimitScript(): string {
  const file = createRequire(import.meta.url).resolve('rate-limit-redis')
  const [, source] = /increment: `(.*?)`/s.exec(readFileSync(file, 'utf8'))!
  return source!.replaceAll(/^\s+/gm, '').trim()
}

function hash(fields: number, range: number): Filled {
  return {
    range,
    key: (i) => `hash:${fields}:${number(i)}`,
    store: (to, key) =>
      to.hset(
        key,
        ...Array.from({ length: fields }, (_, i) => [`field:${number(i)}`, `value:${number(0)}`]).flat(),
      ),
    check: async (client, key) => expected(await client.hlen(key), fields),
  }
}

function hashRow(name: string, fill: string, fields: number): Row {
  const isChange = name.startsWith('HSET')
  return {
    name,
    fill,
    args: [
      isChange ? 'HSET' : 'HGET',
      `hash:${fields}:${RANDOM}`,
      `field:${fields === 10 ? number(5) : RANDOM}`,
      ...(isChange ? [`value:${RANDOM}`] : []),
    ],
  }
}

function expected(found: unknown, value: unknown): string {
  return found === value ? '' : `${String(found)} instead of ${String(value)}`
}

function report({ seconds, rounds, pipeline }: Plan, phases: readonly Phase[]): string {
  const find = (row: string, target: string) =>
    phases.find((phase) => phase.row.name === row && phase.target.label === target)
  const table = phases.map((phase) => {
    const redis =
      phase.target.label === RONDO ? (find(phase.row.name, REDIS) ?? homeOf(phase, find)) : undefined
    const peer = phase.target.label === RONDO ? find(phase.row.name, PEER) : undefined
    return [
      ...cellsOf(phase),
      ...[peer, redis].map((other) => (other ? `${ratio(phase, other, perSecond).median.toFixed(2)}×` : '')),
    ]
  })
  const head = [
    'op',
    'target',
    'a second',
    'p50 ms',
    'p99 ms',
    'CPU µs',
    'nodes µs',
    'to nutcracker',
    'to Redis',
  ]
  const setting =
    `Data types: pipelines of ${pipeline}, three copies on four Redis at level one; medians of ${rounds} rounds of about ` +
    `${seconds} s, turn by turn; of PUBLISH, deliveries are counted`
  return [setting, align([head, ...table], 2), ...aimsOf(find)].join('\n\n')
}

/** Redis has no other coordinator: it is compared with itself. */
function homeOf({ row }: Phase, find: (row: string, target: string) => Phase | undefined) {
  return find(row.name.replace(/, (pushed )?elsewhere$/, ''), REDIS)
}

function aimsOf(find: (row: string, target: string) => Phase | undefined): string[] {
  const rows = AIMS.flatMap(({ row, over, of, atLeast, atMost }) => {
    const ours = find(row, RONDO)
    const other = 'row' in over ? find(over.row, RONDO) : find(row, over.target)
    if (!ours || !other) return []
    const { median: value, rounds } = ratio(ours, other, of === 'rate' ? perSecond : nodesCpuMicros)
    const isReached = atLeast === undefined ? value <= atMost! : value >= atLeast
    return [
      [
        `${row} / ${'row' in over ? over.row : over.target}, ${of === 'rate' ? 'a second' : 'CPU of the nodes'}`,
        `${value.toFixed(2)}×`,
        atLeast === undefined ? `≤ ${atMost}×` : `≥ ${atLeast.toFixed(2)}×`,
        isReached ? 'reached' : 'missed',
        rounds.map((one) => one.toFixed(2)).join(' '),
      ],
    ]
  })
  return rows.length === 0 ? [] : [align([['ratio', 'median', 'aim', '', 'round by round'], ...rows], 1)]
}

const perSecond = (round: RespRound) => round.perSecond
const nodesCpuMicros = (round: RespRound) => round.nodesCpuMicros

function ratio(ours: Phase, theirs: Phase, pick: (round: RespRound) => number) {
  const rounds = ours.rounds.map((mine, i) => pick(mine) / pick(theirs.rounds[i]!))
  return { median: median(rounds), rounds }
}

function cellsOf({ row, target, rounds }: Phase): string[] {
  const of = (pick: (round: RespRound) => number, digits: number) => median(rounds.map(pick)).toFixed(digits)
  return [
    ...[row.name, target.label, of(perSecond, 0)],
    ...[of((one) => one.p50Ms, 2), of((one) => one.p99Ms, 2)],
    ...[of((one) => one.cpuMicros, 1), of(nodesCpuMicros, 1)],
  ]
}

function shown({ row, target }: Phase, measured: RespRound): string {
  const { cpuMicros } = measured
  return `${target.label} ${row.name}  ${measured.perSecond.toFixed(0)}/s  ${cpuMicros.toFixed(1)} µs`
}

function planFrom(args: string[]): Plan {
  const { values } = parseArgs({
    args,
    options: {
      types: { type: 'boolean' },
      seconds: { type: 'string', default: '2' },
      rounds: { type: 'string', default: '3' },
      pipeline: { type: 'string', default: '1' },
      rows: { type: 'string', default: '' },
    },
  })
  const whole = (name: string, text: string, max: number) => {
    if (/^[1-9]\d{0,3}$/.test(text) && Number(text) <= max) return Number(text)
    throw new Error(`--${name} is a whole number from 1 to ${max}`)
  }
  return {
    seconds: whole('seconds', values.seconds, 60),
    rounds: whole('rounds', values.rounds, 50),
    pipeline: whole('pipeline', values.pipeline, 1000),
    rows: values.rows,
  }
}

function say(line: string): void {
  process.stderr.write(`bench: ${line}\n`)
}
