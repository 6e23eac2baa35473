/**
 * The load: a generator in a process of its own, the same one for every target of a run.
 *
 * wrk is preferred where it is installed: it costs a fraction of the CPU of what it measures. autocannon comes with npm,
 * and costs more than a fast coordinator does, so that on few cores it is what limits; the run then says so.
 */
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import type { Op } from './dataset.ts'
import { cpuSeconds, start } from './processes.ts'

export const CONNECTIONS = 50
const SAMPLE_EVERY_MS = 50
const REPLY_LIMIT_SECONDS = 5
/** Beyond the duration of the load; then the generator is ended and the run fails. */
const OVERTIME_MS = 20_000

export interface Load {
  readonly url: string
  readonly op: Op
  readonly file: string
  /** Where in the file to begin. */
  readonly first: number
  readonly seconds: number
}

/** One measured stretch of load on one target. */
export interface Measure {
  readonly requests: number
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p95Ms: number
  readonly p99Ms: number
  readonly errors: number
  /** Of the coordinator process, user and system. */
  readonly cpuMicrosPerRequest: number
  /** Shares of one core: 1 = a whole one. */
  readonly coordinatorCores: number
  readonly generatorCores: number
  readonly nodesCores: number
}

export interface Generator {
  readonly name: string
  readonly command: (load: Load) => readonly [string, ...string[]]
}

const wrk: Generator = {
  name: 'wrk',
  command: ({ url, op, file, first, seconds }) => [
    'wrk',
    '--threads=1', // wrk.lua walks the whole file in each
    `--connections=${CONNECTIONS}`,
    `--duration=${seconds}s`,
    `--timeout=${REPLY_LIMIT_SECONDS}s`,
    `--script=${localFile('./load/wrk.lua')}`,
    url,
    '--',
    op,
    file,
    String(first),
  ],
}

const autocannon: Generator = {
  name: 'autocannon',
  command: ({ url, op, file, first, seconds }) => [
    process.execPath,
    localFile('./load/autocannon.mjs'),
    url,
    op,
    file,
    String(first),
    String(CONNECTIONS),
    String(seconds),
  ],
}

/** @param wanted `wrk` or `autocannon`; without it, wrk where it is installed */
export function chooseGenerator(wanted: string | undefined): Generator {
  if (wanted === 'autocannon') return autocannon
  if (onPath('wrk')) return wrk
  if (wanted === 'wrk') throw new Error('wrk is not on PATH (Debian: apt-get install wrk).')
  return autocannon
}

/** Runs the load to its end. */
export async function run(
  generator: Generator,
  load: Load,
  pids: { coordinator: number; nodes: readonly number[] },
): Promise<Measure> {
  const [command, ...args] = generator.command(load)
  const coordinatorBefore = cpuSeconds(pids.coordinator)
  const nodesBefore = sumOfCpu(pids.nodes)
  const child = start(command, args)
  const generatorCpu = watchCpu(child.pid)
  const overtime = setTimeout(() => void child.end(), load.seconds * 1000 + OVERTIME_MS)
  const text = await child.finished.finally(() => {
    clearTimeout(overtime)
    generatorCpu.stop()
  })
  const coordinatorSeconds = cpuSeconds(pids.coordinator) - coordinatorBefore
  const nodesSeconds = sumOfCpu(pids.nodes) - nodesBefore
  const result = parse(text)
  return {
    requests: result.requests,
    requestsPerSecond: result.requests / result.seconds,
    p50Ms: result.p50Ms,
    p95Ms: result.p95Ms,
    p99Ms: result.p99Ms,
    errors: result.errors,
    cpuMicrosPerRequest: (coordinatorSeconds * 1e6) / result.requests,
    coordinatorCores: coordinatorSeconds / result.seconds,
    generatorCores: generatorCpu.seconds() / result.seconds,
    nodesCores: nodesSeconds / result.seconds,
  }
}

interface Result {
  requests: number
  seconds: number
  p50Ms: number
  p95Ms: number
  p99Ms: number
  errors: number
}

function parse(text: string): Result {
  const line = text.split('\n').findLast((candidate) => candidate.startsWith('{'))
  if (line === undefined) throw new Error(`the load generator printed no result:\n${text}`)
  const result = JSON.parse(line) as Result
  if (!(result.requests > 0)) throw new Error('the load generator got no answer at all')
  return result
}

/** A process that has ended no longer tells what it used: look again and again while it runs. */
function watchCpu(pid: number): { stop(): void; seconds(): number } {
  let seconds = 0
  const stopped = new AbortController()
  const look = async () => {
    while (!stopped.signal.aborted) {
      const used = cpuSeconds(pid)
      if (used > seconds) seconds = used
      await delay(SAMPLE_EVERY_MS, undefined, { signal: stopped.signal }).catch(() => undefined)
    }
  }
  void look()
  return { stop: () => stopped.abort(), seconds: () => seconds }
}

function sumOfCpu(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
}

/** The path of a program, or null. */
export function onPath(program: string): string | null {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    if (folder === '') continue
    const path = join(folder, program)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // not in this folder
    }
  }
  return null
}

function localFile(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url))
}
