// Real redis-server processes for tests.
//
//   const redis = await startRedis({ args: ['--appendonly', 'yes'] })
//   await redis.kill()                    // as if the machine had died
//   await redis.restart({ wipe: true })   // the same port, nothing remembered
//   await redis.stop()
//
// Each server listens on 127.0.0.1 only, keeps nothing on disk unless its arguments say so, and has a
// folder of its own. It counts as started when the process that answers PING is the one we started.
//
// Nothing outlives the tests. stop() ends a server; when this process exits, an exit handler kills what is
// left; and when this process is itself killed, a small shell that waits for the end of our pipe does it.
// All of it goes by process id, with SIGKILL, which ends a stopped (SIGSTOP) process too.
//
// Ports lie below the range from which the system takes the ports of outgoing connections. A client that
// keeps reconnecting to a dead server on a port within that range sooner or later connects to itself, and
// then the server cannot come back.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { findRedisServer } from './find-redis-server.mjs'

export interface RedisOptions {
  /** A fixed port; without it a free one is found. */
  port?: number
  /** Arguments of redis-server; they win over the defaults (`--save '' --appendonly no`). */
  args?: readonly string[]
  /** A file that it reads first, and may rewrite: a Sentinel needs one. */
  configFile?: string
  /** Beside the environment of this process. */
  env?: Readonly<Record<string, string>>
  /** The folder for its files; without it a temporary one, removed by stop(). */
  dir?: string
}

export interface RedisServer {
  readonly port: number
  readonly dir: string
  /** `redis://127.0.0.1:port` */
  readonly url: string
  /** The process id; undefined while the server is down. */
  readonly pid: number | undefined
  /** Ends the process, by default with SIGKILL, and waits until it is gone. */
  kill(signal?: NodeJS.Signals): Promise<void>
  /** SIGSTOP: connections stay open, and nothing answers. */
  pause(): Promise<void>
  /** SIGCONT. */
  resume(): void
  /** Down (SIGTERM, if it is up) and up again on the same port and folder; `wipe` empties the folder. */
  restart(how?: { wipe?: boolean }): Promise<void>
  /** Ends the process and removes its temporary folder. */
  stop(): Promise<void>
  /** The last lines of what the server wrote, for error messages. */
  logTail(): string
}

const host = '127.0.0.1'
const lowestPort = 20_000
const highestPort = 32_000
const startTimeoutMs = 10_000
const probeTimeoutMs = 1_000
const probeEveryMs = 5
const conflictTries = 20
const logLines = 40
const bindFailed =
  /Failed listening on port|Could not create server TCP listening socket|Address already in use/

/** Starts a server and waits until it answers. Throws with the tail of its log when it does not. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const dir = options.dir ?? (await mkdtemp(join(temporaryRoot(), 'node-')))
  for (let tries = 1; ; tries++) {
    const server = new RealRedis(options.port ?? (await freePort()), dir, options)
    try {
      await server.start()
      return server
    } catch (error) {
      // Another process took the port between our look and the server's bind: take another one.
      const retry = options.port === undefined && error instanceof PortTaken && tries < conflictTries
      if (retry) continue
      await server.stop()
      throw error
    }
  }
}

/** Starts `count` servers side by side; when one does not start, none stays. */
export async function startRedisCluster(count: number, options: Omit<RedisOptions, 'port' | 'dir'> = {}) {
  const started = await Promise.allSettled(Array.from({ length: count }, () => startRedis(options)))
  const servers = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = started.find((result) => result.status === 'rejected')
  if (failed === undefined) return servers
  await Promise.all(servers.map((server) => server.stop()))
  throw failed.reason
}

/** A port that nothing listens on at this moment. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 1_000; tries++) {
    const port = lowestPort + Math.floor(Math.random() * (highestPort - lowestPort))
    if (await canListen(port)) return port
  }
  throw new Error(`no free port between ${lowestPort} and ${highestPort}`)
}

class PortTaken extends Error {}

class RealRedis implements RedisServer {
  readonly port: number
  readonly dir: string
  readonly #options: RedisOptions
  #child: ChildProcess | undefined
  #gone: Promise<void> = Promise.resolve()
  #log: string[] = []

  constructor(port: number, dir: string, options: RedisOptions) {
    this.port = port
    this.dir = dir
    this.#options = options
  }

  get url() {
    return `redis://${host}:${this.port}`
  }

  get pid() {
    return this.#child?.pid
  }

  logTail() {
    return this.#log.join('\n')
  }

  async start() {
    const binary = await findRedisServer()
    const fixed = ['--port', String(this.port), '--bind', host, '--dir', this.dir]
    const { configFile } = this.#options
    const args = [
      ...(configFile === undefined ? [] : [configFile]),
      ...fixed,
      '--save',
      '',
      '--appendonly',
      'no',
      ...(this.#options.args ?? []),
    ]
    this.#log = []
    const child = spawn(binary, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.#options.env },
    })
    this.#child = child
    this.#gone = new Promise((resolve) => {
      const ended = () => {
        if (child.pid !== undefined) forget(child.pid)
        if (this.#child === child) this.#child = undefined
        resolve()
      }
      child.once('close', ended) // not 'exit': the last words must have been read
      child.once('error', (error) => {
        this.#log.push(String(error))
        ended()
      })
    })
    if (child.pid !== undefined) remember(child.pid)
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#log = [...this.#log, ...text.trimEnd().split('\n')].slice(-logLines)
      })
    }
    await this.#untilReady(child)
  }

  async #untilReady(child: ChildProcess) {
    const deadline = performance.now() + startTimeoutMs
    while (this.#child === child) {
      if (await Promise.race([answers(this.port, child.pid), this.#gone.then(() => false)])) return
      if (performance.now() > deadline) {
        await this.kill()
        throw new Error(`redis-server on port ${this.port} did not answer:\n${this.logTail()}`)
      }
      await Promise.race([delay(probeEveryMs), this.#gone])
    }
    const message = `redis-server on port ${this.port} ended while starting:\n${this.logTail()}`
    throw bindFailed.test(this.logTail()) ? new PortTaken(message) : new Error(message)
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL') {
    const child = this.#child
    if (child === undefined) return
    child.kill(signal)
    if (signal !== 'SIGKILL') child.kill('SIGCONT') // a stopped process sees no other signal
    await this.#gone
  }

  async pause() {
    const pid = this.#running()
    process.kill(pid, 'SIGSTOP')
    await untilStopped(pid)
  }

  resume() {
    process.kill(this.#running(), 'SIGCONT')
  }

  async restart({ wipe = false }: { wipe?: boolean } = {}) {
    await this.kill('SIGTERM')
    if (wipe) await rm(this.dir, { recursive: true, force: true })
    await mkdir(this.dir, { recursive: true })
    for (let tries = 1; ; tries++) {
      try {
        await this.start()
        return
      } catch (error) {
        // Sockets of the previous life may hold the port for a moment.
        if (!(error instanceof PortTaken) || tries === conflictTries) throw error
        await delay(50)
      }
    }
  }

  async stop() {
    await this.kill()
    if (this.#options.dir === undefined) await rm(this.dir, { recursive: true, force: true })
  }

  #running(): number {
    if (this.pid === undefined) throw new Error(`redis-server on port ${this.port} is down`)
    return this.pid
  }
}

// --- readiness ---

/** Whether PING is answered there, and by this process: another one may hold the port. */
function answers(port: number, pid: number | undefined): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host })
    let reply = ''
    const end = (ready: boolean) => {
      socket.destroy()
      resolve(ready)
    }
    socket.setTimeout(probeTimeoutMs, () => end(false))
    socket.on('error', () => end(false))
    socket.on('close', () => end(false))
    socket.on('connect', () => socket.write('PING\r\nINFO server\r\n'))
    socket.setEncoding('utf8').on('data', (text: string) => {
      reply += text
      // With a password set there is no INFO without it; the port's owner is then taken on trust.
      if (reply.startsWith('-NOAUTH')) end(true)
      else if (reply.startsWith('-')) end(false)
      const owner = /^\+PONG\r\n[^]*\r\nprocess_id:(\d+)\r\n/.exec(reply)?.[1]
      if (owner !== undefined) end(Number(owner) === pid)
    })
  })
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, host, () => probe.close(() => resolve(true)))
  })
}

/** The signal is delivered in its own time: wait until the system shows the process as stopped. */
async function untilStopped(pid: number) {
  for (let tries = 0; tries < 200; tries++) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
    if (stat === undefined) return // no /proc on this system
    if (stat.includes(') T ')) return
    await delay(probeEveryMs)
  }
  throw new Error(`process ${pid} did not stop`)
}

// --- nothing outlives the tests ---

const livePids = new Set<number>()
let root: string | undefined
let watchdog: ChildProcess | undefined

// Each line is the whole list of pids; at the end of the pipe, however we ended, the last list counts.
const watchdogScript = `
last=
while read -r line; do last=$line; done
[ -z "$last" ] || kill -9 $last
rm -rf -- "$1"`

/** The folder of this process's servers. With the first one, the two cleaners start. */
function temporaryRoot(): string {
  if (root !== undefined) return root
  root = mkdtempSync(join(tmpdir(), 'rondo-redis-'))
  process.on('exit', cleanUpNow)
  watchdog = spawn('/bin/sh', ['-c', watchdogScript, 'watchdog', root], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true, // Ctrl-C is for us, not for it
  })
  watchdog.on('error', () => undefined) // the exit handler is still there
  watchdog.stdin?.on('error', () => undefined)
  // It must not keep the tests from ending. (A child's stdin is a socket, which the types do not say.)
  watchdog.unref()
  ;(watchdog.stdin as Socket | null)?.unref()
  return root
}

function remember(pid: number) {
  temporaryRoot()
  livePids.add(pid)
  tellWatchdog()
}

function forget(pid: number) {
  livePids.delete(pid)
  tellWatchdog()
}

function tellWatchdog() {
  watchdog?.stdin?.write(`${[...livePids].join(' ')}\n`)
}

function cleanUpNow() {
  for (const pid of livePids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // it has just ended by itself
    }
  }
  if (root !== undefined) rmSync(root, { recursive: true, force: true })
}
