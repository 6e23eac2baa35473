/**
 * The fuzzer as a command.
 *
 * Ends with 1, and the shortest stream that it can find, when the server answers what Redis does not, crashes, hangs, or
 * holds more and more memory.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { randomInt } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { optionsOf } from '../support/command-line.ts'
import { startRedis } from '../../scripts/redis-server.ts'
import type { Holdings } from './server-process.ts'
import { Fuzz, printed } from './fuzz.ts'
import { fuzzHttp } from './http/run.ts'
import { ORACLE_ARGS } from './oracle.ts'

const USAGE = `npm run fuzz -- [options]

Sends random bytes to one server, and ends with 1 when it crashes, hangs, leaks or answers wrongly.

  --server resp    or http
  --minutes 10     how long
  --seed 7         the same streams again`

const values = optionsOf(USAGE, {
  server: { type: 'string', default: 'resp' },
  minutes: { type: 'string', default: '10' },
  seed: { type: 'string' },
})
if (!['resp', 'http'].includes(values.server) || !(Number(values.minutes) > 0)) {
  console.error(`--server must be resp or http, and --minutes more than 0.\n\n${USAGE}`)
  process.exit(2)
}
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)
const limitMs = Number(values.minutes) * 60_000
if (values.server === 'http') {
  await fuzzHttp(seed, limitMs)
  process.exit()
}
const TOLD_EVERY_MS = 5000
/** What the heap may grow by, from a quarter of the time on. */
const MAX_GROWTH_BYTES = 16 * 1024 * 1024
/** Longer than any request may take. */
const AT_REST_MS = 15_000
const LOOK_AGAIN_MS = 100

const redis = await startRedis({ args: ORACLE_ARGS })
const server = fork(fileURLToPath(new URL('server-process.ts', import.meta.url)), {
  execArgv: ['--import', 'tsx', '--expose-gc'],
})
const crashed = once(server, 'exit').then(([code, signal]) => {
  throw new Error(`the server's process ended: code ${code}, signal ${signal}`)
})
const [{ port }] = (await Promise.race([once(server, 'message'), crashed])) as [{ port: number }]
const holdings = async () => {
  server.send('holdings')
  const [told] = (await once(server, 'message')) as [Holdings]
  return told
}

const startedAtMs = performance.now()
const fuzz = new Fuzz(port, redis.port)
let quarter: Holdings | null = null
const progress = () => {
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(0)
  const state = fuzz.failure ? `, making this shorter: ${fuzz.failure.problem}` : ''
  console.log(`${seconds} s: ${fuzz.streams} streams, ${fuzz.commands} commands${state}`)
}
const telling = setInterval(progress, TOLD_EVERY_MS)
const atQuarter = setTimeout(() => {
  holdings().then(
    (told) => (quarter = told),
    (error: unknown) => console.error(error),
  )
}, limitMs / 4)
console.log(`seed ${seed}, ${values.minutes} minutes, server on port ${port}, Redis on port ${redis.port}`)
try {
  await Promise.race([fuzz.run(seed, limitMs), crashed])
  progress()
  for (const [reason, count] of fuzz.meant) console.log(`meant to differ, ${count} times: ${reason}`)
  const problems = fuzz.failure ? [printed(fuzz.failure)] : await leaks()
  for (const problem of problems) console.error(`\n${problem}\n\nseed ${seed}`)
  if (problems.length > 0) process.exitCode = 1
} catch (error) {
  console.error(`${String(error)}\n\nseed ${seed}`)
  process.exitCode = 1
} finally {
  clearInterval(telling)
  clearTimeout(atQuarter)
  crashed.catch(() => undefined) // it is meant to end now
  server.kill()
  await redis.stop()
}

/** The last clients have left just now, and what they asked for may still be under way. */
async function holdingsAtRest(): Promise<Holdings> {
  const endMs = performance.now() + AT_REST_MS
  for (;;) {
    const told = await holdings()
    if (told.connections === 0 || performance.now() > endMs) return told
    await delay(LOOK_AGAIN_MS)
  }
}

async function leaks(): Promise<string[]> {
  const end = await holdingsAtRest()
  const mib = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MiB`
  console.log(
    `heap: ${quarter ? mib(quarter.heapBytes) : '?'} at a quarter, ${mib(end.heapBytes)} at the end`,
  )
  const problems: string[] = []
  if (end.connections > 0)
    problems.push(`${end.connections} connections are still open, and nobody is at the other end`)
  if (quarter && end.heapBytes - quarter.heapBytes > MAX_GROWTH_BYTES)
    problems.push('the heap grows and grows')
  return problems
}
