/**
 * The targets: each a coordinator process with Redis servers of its own, so that none sees what another stored. Only one
 * of them is under load at a time; the others cost nothing meanwhile but their pings.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import { freePort, startRedisCluster, type RedisServer } from '../scripts/redis-server.ts'
import { keyAt, KEYS, pathInApi, REPLICAS, VALUE_BYTES, valueAt, type Op, type Writer } from './dataset.ts'
import { onPath } from './load.ts'
import { portSaidBy, start, temporaryFolder, type Child } from './processes.ts'

const NODES = 4
const FILL_PARALLEL = 32
const CHECKED_KEYS = 200
const READY_LIMIT_MS = 20_000
const CALL_LIMIT_MS = 10_000
/** One worker thread, beside the one that accepts: one core for the answers, as the others have. More were slower here. */
const WEBDIS_THREADS = 1

export type TargetName = 'rondo' | 'express' | 'webdis'
export const TARGET_NAMES: readonly TargetName[] = ['rondo', 'express', 'webdis']

export interface Target {
  readonly name: TargetName
  readonly label: string
  readonly ops: readonly Op[]
  readonly url: string
  readonly coordinator: Child
  readonly nodes: readonly RedisServer[]
  readonly pathOf: (key: string) => string
  /** Stores all keys. */
  fill(): Promise<void>
  /** Throws when a key does not hold, byte for byte and alike on as many nodes as it should, what one of these stored. */
  verify(writers: readonly Writer[]): Promise<void>
  end(): Promise<void>
}

export interface TargetOptions {
  /** Where CPU profiles go; null = the profiler is not loaded. */
  readonly profileFolder: string | null
}

/** Null when the program is not installed here. */
export function startTarget(name: TargetName, options: TargetOptions): Promise<Target | null> {
  if (name === 'rondo') return startRondo(options)
  if (name === 'express') return startExpress(options)
  return startWebdis()
}

async function startRondo(options: TargetOptions): Promise<Target> {
  const nodes = await startRedisCluster(NODES)
  const main = localFile('../dist/main.js')
  const coordinator = start(process.execPath, [...profiler(options), main], {
    env: {
      NODE_ENV: 'production',
      REDIS_URLS: urlsOf(nodes),
      PORT: '0',
      RESP_PORT: '0',
      ...profileEnv('rondo', options),
    },
  })
  const port = await portSaidBy(coordinator, /listens on http:\/\/[^:]+:(\d+)/)
  const url = `http://127.0.0.1:${port}`
  await untilOk(`${url}/readyz`)
  return apiTarget({ name: 'rondo', label: 'Rondo', url, coordinator, nodes })
}

async function startExpress(options: TargetOptions): Promise<Target> {
  const nodes = await startRedisCluster(NODES)
  const peer = localFile('./peers/express-ioredis/server.mjs')
  const coordinator = start(process.execPath, [...profiler(options), peer], {
    env: { NODE_ENV: 'production', REDIS_URLS: urlsOf(nodes), PORT: '0', ...profileEnv('express', options) },
  })
  const port = await portSaidBy(coordinator, /listening on http:\/\/[^:]+:(\d+)/)
  const url = `http://127.0.0.1:${port}`
  await untilOk(`${url}/ping`)
  return apiTarget({ name: 'express', label: 'Express + ioredis', url, coordinator, nodes })
}

/** webdis: C, one Redis, no ring and no replicas; it is asked for values only. */
async function startWebdis(): Promise<Target | null> {
  const program = onPath('webdis')
  if (program === null) return null
  const nodes = await startRedisCluster(1)
  const node = nodes[0]!
  const port = await freePort()
  const config = {
    redis_host: '127.0.0.1',
    redis_port: node.port,
    redis_auth: null,
    http_host: '127.0.0.1',
    http_port: port,
    threads: WEBDIS_THREADS,
    daemonize: false,
    database: 0,
    acl: [{ disabled: ['DEBUG'] }],
    verbosity: 0, // errors only
    logfile: join(temporaryFolder(), 'webdis.log'),
  }
  const file = join(temporaryFolder(), 'webdis.json')
  await writeFile(file, JSON.stringify(config))
  const coordinator = start(program, [file])
  const url = `http://127.0.0.1:${port}`
  await untilOk(`${url}/PING`)
  const pathOf = (key: string) => `/GET/${encodeURIComponent(key)}`
  return {
    name: 'webdis',
    label: `webdis (${WEBDIS_THREADS} thread)`,
    ops: ['GET'],
    url,
    coordinator,
    nodes,
    pathOf,
    async fill() {
      await withRedis(nodes, async ([client]) => {
        const writes = client!.pipeline()
        for (let i = 0; i < KEYS; i++) writes.set(keyAt(i), valueAt(i, 'fill'))
        await writes.exec()
      })
    },
    async verify(writers) {
      for (const i of checkedKeys()) {
        const body = await getJson(url + pathOf(keyAt(i)))
        expectOneOf('webdis', i, body.GET, writers)
      }
    },
    end: () => endAll(coordinator, nodes),
  }
}

/** What Rondo and the Express peer have in common: the keys API. */
function apiTarget(given: {
  name: TargetName
  label: string
  url: string
  coordinator: Child
  nodes: readonly RedisServer[]
}): Target {
  const { name, url, coordinator, nodes } = given
  return {
    ...given,
    ops: ['GET', 'PUT'],
    pathOf: pathInApi,
    async fill() {
      let next = 0
      const worker = async () => {
        for (let i = next++; i < KEYS; i = next++) {
          const answer = await fetch(url + pathInApi(keyAt(i)), {
            method: 'PUT',
            signal: AbortSignal.timeout(CALL_LIMIT_MS),
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({ value: valueAt(i, 'fill') }),
          })
          const text = await answer.text()
          if (!answer.ok) throw new Error(`${name}: PUT answered ${answer.status}: ${text}`)
        }
      }
      await Promise.all(Array.from({ length: FILL_PARALLEL }, worker))
    },
    async verify(writers) {
      for (const i of checkedKeys()) {
        const body = await getJson(url + pathInApi(keyAt(i)))
        expectOneOf(name, i, body.value, writers)
      }
      await withRedis(nodes, (clients) => verifyCopies(name, clients, writers))
    },
    end: () => endAll(coordinator, nodes),
  }
}

/** Every checked key is on as many nodes as it should be, and all copies end with the same value's bytes. */
async function verifyCopies(
  name: string,
  clients: readonly Redis[],
  writers: readonly Writer[],
): Promise<void> {
  for (const i of checkedKeys()) {
    const held = await Promise.all(clients.map((client) => client.getBuffer(keyAt(i))))
    const values = held
      .filter((bytes) => bytes !== null)
      .map((bytes) => bytes.toString('latin1').slice(-VALUE_BYTES))
    for (const value of values) expectOneOf(name, i, value, writers)
    if (values.length !== REPLICAS || new Set(values).size !== 1) {
      const found = `${values.length} copies, ${new Set(values).size} different ones`
      throw new Error(`${name}: ${keyAt(i)} has ${found}, instead of ${REPLICAS} alike.`)
    }
  }
}

function* checkedKeys(): Generator<number> {
  for (let i = 0; i < KEYS; i += KEYS / CHECKED_KEYS) yield i
}

function expectOneOf(name: string, i: number, found: unknown, writers: readonly Writer[]): void {
  if (writers.some((writer) => found === valueAt(i, writer))) return
  throw new Error(`${name}: ${keyAt(i)} holds ${JSON.stringify(found)}, which was not stored last.`)
}

async function getJson(url: string): Promise<Record<string, unknown>> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(CALL_LIMIT_MS) })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${text}`)
  return JSON.parse(text) as Record<string, unknown>
}

async function untilOk(url: string): Promise<void> {
  const deadline = performance.now() + READY_LIMIT_MS
  for (;;) {
    const ok = await fetch(url, { signal: AbortSignal.timeout(CALL_LIMIT_MS) }).then(
      async (answer) => {
        await answer.text()
        return answer.ok
      },
      () => false,
    )
    if (ok) return
    if (performance.now() > deadline) throw new Error(`${url} did not answer with success in time`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function withRedis<T>(
  nodes: readonly RedisServer[],
  use: (clients: Redis[]) => Promise<T>,
): Promise<T> {
  const clients = nodes.map(({ url }) => new Redis(url))
  try {
    return await use(clients)
  } finally {
    for (const client of clients) client.disconnect()
  }
}

async function endAll(coordinator: Child, nodes: readonly RedisServer[]): Promise<void> {
  await coordinator.end()
  await Promise.all(nodes.map((node) => node.stop()))
}

function urlsOf(nodes: readonly RedisServer[]): string {
  return nodes.map(({ url }) => url).join(',')
}

function profiler({ profileFolder }: TargetOptions): string[] {
  return profileFolder === null ? [] : ['--import', localFile('./profile/preload.mjs')]
}

function profileEnv(name: string, { profileFolder }: TargetOptions): Record<string, string> {
  return profileFolder === null ? {} : { BENCH_PROFILE: join(profileFolder, name) }
}

function localFile(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url))
}
