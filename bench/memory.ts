/**
 * `npm run bench -- --memory`: what a cache of short-lived values costs in keys and memory, over plain Redis.
 *
 *   npm run bench -- --memory                    about 100 seconds
 *   npm run bench -- --memory --ttl 30           values of another TTL, in seconds
 *
 * Fresh keys all the time, the worst case: a key that is written again takes the place of its old record and costs
 * nothing more. The same keys and values go through a coordinator to three Redis with three copies, so that each of them
 * holds every key, and straight to a plain Redis with `SET … PX`. Once as many keys go as come, what each server holds
 * (DBSIZE, used_memory, less what it held before) is looked at every second, and the means are compared.
 *
 * Redis takes expired keys away in portions, so a plain one holds more than rate × TTL, too. How long Rondo keeps a value
 * beyond its end is decided in src/core/lifetime.ts.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { startRedis, startRedisCluster, type RedisServer } from '../scripts/redis-server.ts'
import { VALUE_BYTES } from './dataset.ts'
import { httpOf, startCoordinator } from './processes.ts'
import { align } from './report.ts'

const NODES = 3
const KEYS_PER_SECOND = 1000
const KEYS_PER_BATCH = 50
const BATCH_EVERY_MS = (1000 * KEYS_PER_BATCH) / KEYS_PER_SECOND
/** Beyond the TTL: the longest that a value may outlive it, and room for Redis to take it away. */
const SETTLE_SECONDS = 70
const LOOK_SECONDS = 15
const MAX_TTL_SECONDS = 60
const AIM = 1.3
const CALL_LIMIT_MS = 5000
/** Every so many batches one key is read back. */
const CHECKED_BATCHES = 20

interface Watched {
  readonly name: string
  readonly client: Redis
  readonly before: Held
  readonly seen: Held[]
}

interface Held {
  readonly keys: number
  readonly bytes: number
}

export async function measureMemory(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { memory: { type: 'boolean' }, ttl: { type: 'string', default: '10' } },
  })
  const ttlSeconds = Number(values.ttl)
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > MAX_TTL_SECONDS) {
    throw new Error(`--ttl is a whole number of seconds from 1 to ${MAX_TTL_SECONDS}`)
  }
  const ends: (() => Promise<void>)[] = []
  try {
    const plain = await startRedis()
    ends.push(() => plain.stop())
    const nodes = await startRedisCluster(NODES)
    ends.push(...nodes.map((node) => () => node.stop()))
    const coordinator = startCoordinator(nodes.map(({ url }) => url))
    ends.push(() => coordinator.end())
    const api = `${await httpOf(coordinator)}/api/v1`
    await untilWritable(api)
    const watched = await Promise.all(
      [plain, ...nodes].map((server, i) => watch(server, i === 0 ? 'plain Redis' : `Rondo, copy ${i}`)),
    )
    ends.push(
      ...watched.map(
        ({ client }) =>
          () =>
            Promise.resolve(client.disconnect()),
      ),
    )
    await load(api, watched, ttlSeconds)
    report(watched, ttlSeconds)
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

/** Writes for as long as all takes, and looks in its last seconds. */
async function load(api: string, watched: readonly Watched[], ttlSeconds: number): Promise<void> {
  const plain = watched[0]!.client
  const seconds = ttlSeconds + SETTLE_SECONDS + LOOK_SECONDS
  const batches = (seconds * 1000) / BATCH_EVERY_MS
  const lookedFrom = batches - (LOOK_SECONDS * 1000) / BATCH_EVERY_MS
  const startedAt = performance.now()
  for (let batch = 0; batch < batches; batch++) {
    const lateMs = performance.now() - startedAt - batch * BATCH_EVERY_MS
    if (lateMs < 0) await delay(-lateMs)
    else if (lateMs > CALL_LIMIT_MS)
      throw new Error(`this machine does not keep up ${KEYS_PER_SECOND} keys a second`)
    const keys = Array.from({ length: KEYS_PER_BATCH }, (_, i) => `bench:short:${batch}:${i}`)
    const value = String(batch).padEnd(VALUE_BYTES, 'abcdefghijklmnopqrstuvwxyz0123456789')
    const writes = plain.pipeline()
    for (const key of keys) writes.set(key, value, 'PX', ttlSeconds * 1000)
    const [answer] = await Promise.all([
      post(`${api}/mset`, { items: keys.map((key) => ({ key, value, ttl: ttlSeconds })) }),
      writes.exec(),
    ])
    const refused = answer.results.filter(({ error }) => error !== undefined).length
    if (refused > 0) throw new Error(`${refused} of ${keys.length} writes failed: ${JSON.stringify(answer)}`)
    if (batch % CHECKED_BATCHES === 0) await verify(api, keys[0]!, value, batch, ttlSeconds)
    if (batch >= lookedFrom && (batch * BATCH_EVERY_MS) % 1000 === 0) {
      for (const one of watched) one.seen.push(await held(one.client))
    }
    if ((batch * BATCH_EVERY_MS) % 10_000 === 0) {
      const { keys: held } = await heldBeyond(watched[1]!)
      process.stderr.write(
        `bench: ${(batch * BATCH_EVERY_MS) / 1000} of ${seconds} s, ${held} keys on ${watched[1]!.name}\n`,
      )
    }
  }
}

/** The key just written is there, and one whose time is over is not. */
async function verify(
  api: string,
  key: string,
  value: string,
  batch: number,
  ttlSeconds: number,
): Promise<void> {
  const here = await fetch(`${api}/keys/${encodeURIComponent(key)}`)
  const found = (await here.json()) as { value?: string }
  if (found.value !== value) throw new Error(`${key} is not what was written: ${JSON.stringify(found)}`)
  const past =
    batch - CHECKED_BATCHES * Math.ceil(((ttlSeconds + 1) * 1000) / BATCH_EVERY_MS / CHECKED_BATCHES)
  if (past < 0) return
  const gone = await fetch(`${api}/keys/${encodeURIComponent(`bench:short:${past}:0`)}`)
  await gone.text()
  if (gone.status !== 404) throw new Error(`a value that had ended was answered with ${gone.status}`)
}

async function post(
  url: string,
  body: unknown,
): Promise<{ results: readonly { readonly error?: unknown }[] }> {
  const answer = await fetch(url, {
    method: 'POST',
    signal: AbortSignal.timeout(CALL_LIMIT_MS),
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}: ${text}`)
  return JSON.parse(text) as { results: readonly { readonly error?: unknown }[] }
}

/** A cluster is founded once all of its nodes take writes. */
async function untilWritable(api: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await post(`${api}/mset?consistency=all`, { items: [{ key: 'bench:first', value: 'x', ttl: 1 }] })
      return
    } catch (error) {
      if (tries === 100) throw error
      await delay(100)
    }
  }
}

async function watch(server: RedisServer, name: string): Promise<Watched> {
  const client = new Redis(server.url)
  return { name, client, before: await held(client), seen: [] }
}

async function held(client: Redis): Promise<Held> {
  const bytes = Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))?.[1])
  return { keys: await client.dbsize(), bytes }
}

async function heldBeyond({ client, before }: Watched): Promise<Held> {
  const now = await held(client)
  return { keys: now.keys - before.keys, bytes: now.bytes - before.bytes }
}

function report(watched: readonly Watched[], ttlSeconds: number): void {
  const means = watched.map(({ name, before, seen }) => ({
    name,
    keys: mean(seen.map(({ keys }) => keys)) - before.keys,
    bytes: mean(seen.map(({ bytes }) => bytes)) - before.bytes,
  }))
  const plain = means[0]!
  const rows = means.map(({ name, keys, bytes }) => [
    name,
    keys.toFixed(0),
    `${(keys / plain.keys).toFixed(2)}×`,
    (bytes / 1024 / 1024).toFixed(2),
    `${(bytes / plain.bytes).toFixed(2)}×`,
    (bytes / keys).toFixed(0),
  ])
  const worst = Math.max(...means.map(({ keys }) => keys / plain.keys))
  const table = align([['', 'keys held', 'of plain', 'MiB', 'of plain', 'bytes a key'], ...rows], 1)
  const verdict = `keys held: ${worst.toFixed(2)}× plain Redis, aim at most ${AIM}×: ${worst <= AIM ? 'reached' : 'above'}`
  process.stdout.write(
    `\n${KEYS_PER_SECOND} fresh keys a second, values of ${VALUE_BYTES} bytes that live ${ttlSeconds} s, N=${NODES} on ${NODES} Redis; ` +
      `means of ${LOOK_SECONDS} looks, a second apart\n\n${table}\n\n${verdict}\n`,
  )
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
