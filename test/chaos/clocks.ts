/**
 * Wrong clocks on real processes, as a command. It needs Linux and a C compiler (`cc`), for wrong-clock.c: libfaketime and
 * the memory allocator of Redis do not get along.
 *
 *   npm run clocks
 *
 * Of four redis-server processes one has a clock that is a minute ahead or behind, from the start or all of a sudden; or
 * one of two coordinators has. Meanwhile clients write at quorum through that one, and read through both. It must hold:
 *
 *   - no acknowledged write is invisible, and no value expires early
 *   - the node's clock is told in /status, by a metric, and once in the log
 *
 * Exit code 1 when it does not hold, 2 without a compiler.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { optionsOf } from '../support/command-line.ts'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'

const USAGE = `npm run clocks

Runs real nodes and coordinators of which one has a wrong clock. Needs Linux and a C compiler (cc). Ends with 1 when a
promise is broken, with 2 without a compiler. There are no options.`
optionsOf(USAGE, {})

const SHIM = fileURLToPath(new URL('./wrong-clock.c', import.meta.url))
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
const KEYS = 200
const TTL_S = 4
/** An answer that was on its way when the value expired. */
const MARGIN_MS = 300

interface Case {
  readonly name: string
  readonly node: string
  /** Seconds into the run at which the node's clock becomes as above; 0 = from the start. */
  readonly stepAfterMs: number
  readonly coordinator: string
}

const CASES: readonly Case[] = [
  { name: 'a node a minute ahead', node: '+60', stepAfterMs: 0, coordinator: '+0' },
  { name: 'a node a minute behind', node: '-60', stepAfterMs: 0, coordinator: '+0' },
  { name: 'a node set a minute ahead', node: '+60', stepAfterMs: 1500, coordinator: '+0' },
  { name: 'a node set a minute back', node: '-60', stepAfterMs: 1500, coordinator: '+0' },
  { name: 'a coordinator a minute ahead', node: '+0', stepAfterMs: 0, coordinator: '+60' },
  { name: 'a coordinator a minute behind', node: '+0', stepAfterMs: 0, coordinator: '-60' },
]

const folder = mkdtempSync(join(tmpdir(), 'rondo-clocks-'))
const library = join(folder, 'wrong-clock.so')
async function tell(how: Case): Promise<void> {
  const complaints = await run(how)
  console.log(`${how.name}: ${complaints.length === 0 ? 'held' : complaints.slice(0, 5).join('; ')}`)
  if (complaints.length > 0) process.exitCode = 1
}

function wrong(file: string): Record<string, string> {
  return { LD_PRELOAD: library, WRONG_CLOCK_FILE: file }
}

async function run(how: Case): Promise<string[]> {
  const nodeClock = join(folder, 'node')
  const ownClock = join(folder, 'coordinator')
  setClock(nodeClock, how.stepAfterMs === 0 ? how.node : '+0')
  setClock(ownClock, how.coordinator)
  const servers: RedisServer[] = []
  const programs: Coordinator[] = []
  try {
    servers.push(await startRedis({ env: wrong(nodeClock) }))
    for (let i = 0; i < 3; i++) servers.push(await startRedis())
    programs.push(new Coordinator(servers, wrong(ownClock)), new Coordinator(servers, {}))
    const urls = await Promise.all(programs.map((program) => program.listening()))
    const step = how.stepAfterMs > 0 && delay(how.stepAfterMs).then(() => setClock(nodeClock, how.node))
    const complaints = await load(urls)
    await step
    if (how.node !== '+0') complaints.push(...(await told(urls[0]!, Number(how.node), programs[0]!)))
    return complaints
  } finally {
    await Promise.all(programs.map((program) => program.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  }
}

/** Written in place: whoever has mapped the file sees it. */
function setClock(file: string, seconds: string): void {
  const text = `${seconds}000`.padEnd(16, '\n')
  if (!existsSync(file)) writeFileSync(file, text)
  const opened = openSync(file, 'r+')
  writeSync(opened, text, 0)
  closeSync(opened)
}

/** Writes values with and without a ttl, some over others, and reads each until it should be gone. */
async function load(urls: readonly string[]): Promise<string[]> {
  const complaints: string[] = []
  const put = async (key: string, value: string, ttl: number) => {
    const answer = await fetch(`${urls[0]}/api/v1/keys/${key}?consistency=quorum`, {
      method: 'PUT',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ value, ttl }),
    })
    if (answer.status !== 200) complaints.push(`PUT ${key}: ${answer.status} ${await answer.text()}`)
    return performance.now()
  }
  let reads = 0
  const get = async (key: string) => {
    const answer = await fetch(`${urls[reads++ % urls.length]}/api/v1/keys/${key}?consistency=quorum`)
    if (answer.status === 404) return null
    return ((await answer.json()) as { value?: string }).value ?? `status ${answer.status}`
  }
  const follow = async (i: number) => {
    await delay(i * 10)
    const key = `k${i}`
    await put(key, 'before', 0)
    // The first one's expiry counts from before the write, the second one's from after it.
    const writtenFromMs = performance.now()
    const writtenMs = await put(key, 'v', TTL_S)
    await put(`${key}-kept`, 'v', 0)
    while (performance.now() - writtenFromMs < TTL_S * 1000 - MARGIN_MS) {
      const found = await get(key)
      if (found !== 'v' && performance.now() - writtenFromMs < TTL_S * 1000)
        complaints.push(`${key} is ${found} after ${Math.round(performance.now() - writtenFromMs)} ms`)
      await delay(250)
    }
    await delay(writtenMs + TTL_S * 1000 + MARGIN_MS - performance.now())
    const after = await get(key)
    if (after !== null) complaints.push(`${key} has not expired: ${after}`)
    const kept = await get(`${key}-kept`)
    if (kept !== 'v') complaints.push(`${key}-kept is ${kept}`)
  }
  await Promise.all(Array.from({ length: KEYS }, (_, i) => follow(i)))
  return complaints
}

/** What is told of the first node, whose clock is so many seconds off. */
async function told(url: string, offS: number, program: Coordinator): Promise<string[]> {
  const complaints: string[] = []
  const near = (seconds: number) => Math.abs(seconds - offS) < 1
  await delay(1500) // more than a ping interval
  const status = (await (await fetch(`${url}/status`)).json()) as Record<string, Record<string, unknown>>
  const node = Object.values(status).find(({ id }) => id === 'redis-1')!
  if (!near(Number(node.clockOffMs) / 1000)) complaints.push(`/status tells ${String(node.clockOffMs)} ms`)
  const metrics = await (await fetch(`${url}/metrics`)).text()
  const metric = /^rondo_node_clock_offset_seconds\{node="redis-1"\} (\S+)$/m.exec(metrics)?.[1]
  if (!near(Number(metric))) complaints.push(`the metric tells ${metric} s`)
  const lines = program.log.split('\n').filter((line) => line.includes('the clock of node'))
  if (lines.length !== 1 || !lines[0]!.includes('redis-1'))
    complaints.push(`${lines.length} log lines: ${lines.join()}`)
  return complaints
}

/** The program from its sources, as a process of its own. */
class Coordinator {
  log = ''
  private stdout = ''
  private readonly child: ChildProcess

  constructor(servers: readonly RedisServer[], env: Record<string, string>) {
    this.child = spawn(process.execPath, ['--import', 'tsx', MAIN], {
      env: {
        PATH: process.env.PATH,
        REDIS_URLS: servers.map(({ url }, i) => `redis-${i + 1}=${url}`).join(','),
        PORT: '0',
        RESP_PORT: '0',
        PING_INTERVAL_SECONDS: '1',
        // A busy machine is not what this is about.
        NODE_TIMEOUT_MS: '3000',
        REQUEST_TIMEOUT_MS: '5000',
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.log += text))
  }

  async listening(): Promise<string> {
    for (let tries = 0; tries < 1000 && this.child.exitCode === null; tries++) {
      const found = /listens on (http:\/\/\S+:\d+)$/m.exec(this.stdout)?.[1]
      if (found !== undefined) return found
      await delay(10)
    }
    throw new Error(`the program did not start:\n${this.stdout}\n${this.log}`)
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return
    const ended = new Promise((resolve) => this.child.once('close', resolve))
    this.child.kill('SIGTERM')
    await ended
  }
}

try {
  const built = spawnSync('cc', ['-shared', '-fPIC', '-O2', '-o', library, SHIM], { encoding: 'utf8' })
  if (built.status === 0) for (const each of CASES) await tell(each)
  else {
    console.error(`wrong-clock.c could not be compiled: ${built.error?.message ?? built.stderr}`)
    process.exitCode = 2
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
