/**
 * What large values cost: memory of the coordinator and of the nodes, and the latency of other clients.
 *
 *     npm run build && npx tsx bench/large-values.ts            # 64 values of 8 MiB, then 200 of 1 MB
 *     npx tsx bench/large-values.ts 1MiB 200                    # MAX_VALUE_BYTES=1MiB, 200 values of that size
 *
 * It starts four Redis and the program, stores a hundred small values and the large ones, and starts the program again, so
 * that it knows the size of none. Then one client asks for all large values in one pipeline, and reads the replies as fast
 * as it can, while another one reads small values, one after the other. Said of the time until the last reply: the peak
 * of the program's resident memory, the peak of what a node uses on top of its data, the latency of the small reads (and
 * without the large ones), nodes that were taken for failed, and keys that were evicted.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import { helpIfAsked, numberAt } from './arguments.ts'
import { startRedisCluster, type RedisServer } from '../scripts/redis-server.ts'

const MIB = 1024 ** 2
const SMALL_KEYS = 100
const DISTINCT = 16
const NODES = 4
const QUIET_MS = 2000
/** Above the data, less than all replies together: keys are evicted if a node's output buffers grow. */
const ROOM_BYTES = 128 * MIB
const main = fileURLToPath(new URL('../dist/main.js', import.meta.url))

interface Program {
  readonly child: ChildProcess
  readonly port: number
  readonly log: { text: string }
}

helpIfAsked(import.meta.url)
const given = process.argv.slice(2)
if (given.length > 0 && !/^[1-9]\d{0,2}MiB$/.test(given[0]!)) {
  process.stderr.write(
    `MAX_VALUE_BYTES is a whole number of MiB, as 8MiB, not ${JSON.stringify(given[0])}; --help tells more.\n`,
  )
  process.exit(2)
}
const runs: [string, number, number][] =
  given.length > 0
    ? [[given[0]!, Number.parseInt(given[0]!) * MIB, numberAt(1, 'The number of values', 64)]]
    : [
        ['8MiB', 8 * MIB, 64],
        ['8MiB', 1_000_000, 200],
      ]
for (const [maxValueBytes, bytes, count] of runs) await measure(maxValueBytes, bytes, count)
process.exit(0)

async function measure(maxValueBytes: string, bytes: number, count: number): Promise<void> {
  const servers = await startRedisCluster(NODES)
  const nodes = servers.map(({ port }) => new Redis(port))
  const before = await start(servers, maxValueBytes)
  await store(before.port, bytes)
  await stop(before)
  const dataBytes = await Promise.all(nodes.map(usedBytes))
  for (const [i, node] of nodes.entries()) {
    await node.config('SET', 'maxmemory', String(dataBytes[i]! + ROOM_BYTES))
    await node.config('SET', 'maxmemory-policy', 'volatile-lru')
  }
  const program = await start(servers, maxValueBytes)
  const quiet = await smallReads(program.port, delay(QUIET_MS))
  const peak = { rss: 0, node: 0 }
  const startRss = residentBytes(program)
  const look = setInterval(() => {
    peak.rss = Math.max(peak.rss, residentBytes(program))
    for (const [i, node] of nodes.entries())
      void usedBytes(node).then((used) => (peak.node = Math.max(peak.node, used - dataBytes[i]!)))
  }, 20)
  const beganMs = performance.now()
  const fetched = fetchAll(program.port, bytes, count)
  const busy = await smallReads(program.port, fetched)
  const seconds = ((await fetched) - beganMs) / 1000
  clearInterval(look)
  const evicted = await Promise.all(nodes.map(evictedKeys))
  const failures = program.log.text.split('\n').filter((line) => line.includes('→ suspect')).length
  const lines = [
    `${count} GETs of ${bytes} bytes in one pipeline, MAX_VALUE_BYTES=${maxValueBytes}, ${NODES} Redis:`,
    `  ${seconds.toFixed(1)} s, ${((count * bytes) / MIB / seconds).toFixed(0)} MiB/s`,
    `  resident memory of the coordinator: ${mib(startRss)} before, ${mib(peak.rss)} at most`,
    `  memory of a node beyond its data: ${mib(peak.node)} at most`,
    `  small reads meanwhile: ${busy} (without the large ones: ${quiet})`,
    `  nodes taken for failed: ${failures}; keys evicted: ${evicted.reduce((sum, keys) => sum + keys, 0)}`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
  for (const node of nodes) node.disconnect()
  await stop(program)
  await Promise.all(servers.map((server) => server.stop()))
}

async function start(servers: readonly RedisServer[], maxValueBytes: string): Promise<Program> {
  const child = spawn(process.execPath, [main], {
    env: {
      PATH: process.env.PATH,
      PORT: '0',
      RESP_PORT: '0',
      MAX_VALUE_BYTES: maxValueBytes,
      REDIS_URLS: servers.map(({ port }, i) => `redis-${i + 1}=127.0.0.1:${port}`).join(','),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  process.on('exit', () => child.kill('SIGKILL'))
  const log = { text: '' }
  child.stderr.setEncoding('utf8').on('data', (text: string) => (log.text += text))
  let said = ''
  const port = await new Promise<number>((resolve, reject) => {
    child.once('close', () => reject(new Error(log.text)))
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
      const found = /Redis client on \S+:(\d+)/.exec(said)
      if (found) resolve(Number(found[1]))
    })
  })
  return { child, port, log }
}

async function stop({ child }: Program): Promise<void> {
  child.kill('SIGTERM')
  await once(child, 'close')
}

async function store(port: number, bytes: number): Promise<void> {
  const client = new Redis(port)
  for (let i = 0; i < SMALL_KEYS; i++) await client.set(`small:${i}`, 'v'.repeat(100))
  for (let i = 0; i < DISTINCT; i++) await client.set(`large:${i}`, Buffer.alloc(bytes, `value ${i} `))
  client.disconnect()
}

/** @returns when the last reply was read */
async function fetchAll(port: number, bytes: number, count: number): Promise<number> {
  const socket = connect({ port, host: '127.0.0.1' })
  const total = count * (`$${bytes}\r\n`.length + bytes + 2)
  let received = 0
  let first = ''
  const all = new Promise<number>((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      first ||= chunk.toString('latin1', 0, 100)
      received += chunk.length
      const at = chunk[0] === 0x2d ? 0 : chunk.indexOf('\r\n-')
      if (at >= 0) reject(new Error(chunk.toString('latin1', at, at + 200)))
      if (received === total) resolve(performance.now())
    })
    socket.once('close', () => reject(new Error(`closed after ${received} of ${total} bytes: ${first}`)))
    setTimeout(
      () => reject(new Error(`${received} of ${total} bytes after a minute: ${first}`)),
      60_000,
    ).unref()
  })
  const asked = Array.from({ length: count }, (_, i) => `GET large:${i % DISTINCT}\r\n`)
  socket.write(asked.join(''))
  return all.finally(() => socket.destroy())
}

/** Reads small values, one after the other, until then. */
async function smallReads(port: number, until: Promise<unknown>): Promise<string> {
  let over = false
  const end = until.finally(() => (over = true))
  end.catch(() => undefined)
  const client = new Redis(port)
  const took: number[] = []
  for (let i = 0; !over; i++) {
    const beganMs = performance.now()
    await client.get(`small:${i % SMALL_KEYS}`)
    took.push(performance.now() - beganMs)
  }
  client.disconnect()
  took.sort((a, b) => a - b)
  const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))]!.toFixed(1)
  await end
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms`
}

async function usedBytes(node: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await node.info('memory'))![1])
}

async function evictedKeys(node: Redis): Promise<number> {
  return Number(/evicted_keys:(\d+)/.exec(await node.info('stats'))![1])
}

function residentBytes({ child }: Program): number {
  const [, pages] = readFileSync(`/proc/${child.pid}/statm`, 'utf8').split(' ')
  return Number(pages) * 4096
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`
}
