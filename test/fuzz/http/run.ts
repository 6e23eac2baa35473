/**
 * The fuzzer of the HTTP server as a command: `npm run fuzz -- --server http`, options as those of ../run.ts.
 *
 * Ends with 1, and the shortest stream that it can find, when the server crashes, hangs, answers what is not HTTP or not
 * for the sender, keeps connections open, or holds more and more memory.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Holdings } from '../server-process.ts'
import { Fuzz, printed } from './fuzz.ts'

const TOLD_EVERY_MS = 5000
/** What the heap may grow by, from a quarter of the time on. */
const MAX_GROWTH_BYTES = 16 * 1024 * 1024
/** Sockets that are over take the server a moment. */
const CLOSING_MS = 3000

export async function fuzzHttp(seed: number, limitMs: number): Promise<void> {
  const server = fork(fileURLToPath(new URL('server-process.ts', import.meta.url)), {
    execArgv: ['--import', 'tsx', '--expose-gc'],
  })
  const crashed = once(server, 'exit').then(([code, signal]) => {
    throw new Error(`the server's process ended: code ${code}, signal ${signal}`)
  })
  const holdings = async () => {
    server.send('holdings')
    const [told] = (await once(server, 'message')) as [Holdings]
    return told
  }
  try {
    const [{ port }] = (await Promise.race([once(server, 'message'), crashed])) as [{ port: number }]
    console.log(`seed ${seed}, ${limitMs / 60_000} minutes, HTTP on port ${port}`)
    const fuzz = new Fuzz(port)
    const telling = setInterval(
      () => console.log(`${fuzz.streams} streams, ${fuzz.requests} pieces`),
      TOLD_EVERY_MS,
    )
    const quarter = delay(limitMs / 4).then(holdings)
    try {
      await Promise.race([fuzz.run(seed, limitMs), crashed])
    } finally {
      clearInterval(telling)
    }
    const statuses = [...fuzz.statuses].sort().map(([status, count]) => `${status}: ${count}`)
    console.log(
      `${fuzz.streams} streams, ${fuzz.requests} pieces; answers ${statuses.join(', ')}; ${fuzz.cutShort} cut short once`,
    )
    const problems = fuzz.failure ? [printed(fuzz.failure)] : await leaks(await quarter, holdings)
    for (const problem of problems) console.error(`\n${problem}\n\nseed ${seed}`)
    if (problems.length > 0) process.exitCode = 1
  } catch (error) {
    console.error(`${String(error)}\n\nseed ${seed}`)
    process.exitCode = 1
  } finally {
    crashed.catch(() => undefined) // it is meant to end now
    server.kill()
  }
}

async function leaks(quarter: Holdings, holdings: () => Promise<Holdings>): Promise<string[]> {
  const endMs = performance.now() + CLOSING_MS
  let end = await holdings()
  while (end.connections > 0 && performance.now() < endMs) end = await holdings()
  const mib = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MiB`
  console.log(`heap: ${mib(quarter.heapBytes)} at a quarter, ${mib(end.heapBytes)} at the end`)
  const problems: string[] = []
  if (end.connections > 0)
    problems.push(`${end.connections} connections are still open, and nobody is at the other end`)
  if (end.heapBytes - quarter.heapBytes > MAX_GROWTH_BYTES) problems.push('the heap grows and grows')
  return problems
}
