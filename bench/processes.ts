/**
 * Child processes of a run: started, watched for the CPU time they use, and ended by their id, whatever happens.
 *
 * Three ways out, as for the tests' Redis servers: end() in the ordinary case; an exit handler when this process stops
 * early; and a small shell at the end of a pipe, for when this process is itself killed.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const START_LIMIT_MS = 20_000
const END_LIMIT_MS = 5000
const LOG_BYTES = 8000
/** USER_HZ, the unit of /proc/<pid>/stat: 100 on every Linux in use. */
const TICKS_PER_SECOND = 100

export interface Child {
  readonly pid: number
  /** The end of what it wrote, for error messages. */
  readonly tail: () => string
  /** Resolves with what it wrote to stdout; rejects when it failed. */
  readonly finished: Promise<string>
  /** SIGTERM, then SIGKILL, and waits until it is gone. */
  end(): Promise<void>
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

/** Starts a program with nothing of our environment but the PATH and its own variables. */
export function start(command: string, args: readonly string[], options: StartOptions = {}): Child {
  const env = { PATH: process.env.PATH ?? '', ...options.env }
  const child = spawn(command, args, {
    cwd: options.cwd ?? temporaryFolder(),
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const { pid } = child
  let stdout = ''
  let tail = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout = (stdout + text).slice(-LOG_BYTES)
    tail = (tail + text).slice(-LOG_BYTES)
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => (tail = (tail + text).slice(-LOG_BYTES)))
  if (pid !== undefined) remember(pid)
  const finished = new Promise<string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (pid !== undefined) forget(pid)
      if (code === 0) resolve(stdout)
      else reject(new Error(`${command} ended with ${signal ?? `code ${code}`}:\n${tail}`))
    })
  })
  finished.catch(() => undefined) // whoever waits for it is told; a server that we end tells nobody
  return { pid: pid ?? 0, tail: () => tail, finished, end: () => end(child, finished) }
}

/** Waits until a child has said where it listens, and gives the port. */
export async function portSaidBy(child: Child, pattern: RegExp): Promise<number> {
  let failure: unknown = null
  child.finished.then(
    () => (failure = new Error(`it ended at once:\n${child.tail()}`)),
    (error: unknown) => (failure = error),
  )
  for (const deadline = performance.now() + START_LIMIT_MS; performance.now() < deadline; await delay(20)) {
    if (failure) throw failure instanceof Error ? failure : new Error('it did not start')
    const port = pattern.exec(child.tail())?.[1]
    if (port !== undefined) return Number(port)
  }
  throw new Error(`it did not say where it listens:\n${child.tail()}`)
}

/** A coordinator of the build over these Redis, with the defaults: three copies of each key. */
export function startCoordinator(urls: readonly string[]): Child {
  const program = fileURLToPath(new URL('../dist/main.js', import.meta.url))
  const nodes = urls.map((url, i) => `redis-${i + 1}=${url}`).join(',')
  return start(process.execPath, [program], {
    env: { NODE_ENV: 'production', REDIS_URLS: nodes, PORT: '0', RESP_PORT: '0' },
  })
}

/** Where its HTTP API is. */
export async function httpOf(coordinator: Child): Promise<string> {
  return `http://127.0.0.1:${await portSaidBy(coordinator, /listens on http:\/\/[^:]+:(\d+)/)}`
}

/** User and system time of a process since its start, all threads; NaN where there is no /proc. */
export function cpuSeconds(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name stands in brackets and may hold spaces; utime and stime are the 12th and 13th field behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  } catch {
    return NaN
  }
}

async function end(child: ChildProcess, finished: Promise<unknown>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  const gone = finished.then(
    () => true,
    () => true,
  )
  if (await Promise.race([gone, delay(END_LIMIT_MS, false)])) return
  child.kill('SIGKILL')
  await gone
}

// --- nothing outlives the run ---

const livePids = new Set<number>()
let folder: string | undefined
let watchdog: ChildProcess | undefined

// Each line is the whole list of pids; at the end of the pipe, however we ended, the last list counts.
const WATCHDOG = `
last=
while read -r line; do last=$line; done
[ -z "$last" ] || kill -9 $last
rm -rf -- "$1"`

/** This run's own folder; gone when the run is over. */
export function temporaryFolder(): string {
  if (folder !== undefined) return folder
  folder = mkdtempSync(join(tmpdir(), 'rondo-bench-'))
  watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'watchdog', folder], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true, // Ctrl-C is for us, not for it
  })
  watchdog.on('error', () => undefined) // the exit handler is still there
  watchdog.stdin?.on('error', () => undefined)
  watchdog.unref()
  ;(watchdog.stdin as Socket | null)?.unref()
  process.on('exit', cleanUpNow)
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.once(signal, () => process.exit(code))
  }
  return folder
}

function remember(pid: number): void {
  temporaryFolder()
  livePids.add(pid)
  tellWatchdog()
}

function forget(pid: number): void {
  livePids.delete(pid)
  tellWatchdog()
}

function tellWatchdog(): void {
  watchdog?.stdin?.write(`${[...livePids].join(' ')}\n`)
}

function cleanUpNow(): void {
  for (const pid of livePids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // it has just ended by itself
    }
  }
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
}
