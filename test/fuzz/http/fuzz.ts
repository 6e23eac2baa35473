/**
 * Random bytes to the HTTP server: well-formed answers with expected statuses, nothing without its token, no connection
 * that hangs, and a client that behaves is served all the while.
 */
import { connect } from 'node:net'
import { call } from '../../support/raw-http.ts'
import { seeded } from '../../support/random.ts'
import { shorter } from '../shrink.ts'
import { CUT_SHORT, judge } from './judge.ts'
import { Streams, TOKENS, type Stream } from './streams.ts'

const WORKERS = 6
/** A connection that has not ended by then, though its client has, hangs. */
const LIMIT_MS = 20_000
/** A failure that comes once in so many tries is shown as it came. */
const TRIES = 3
/** How long a client waits for more before it leaves. */
const QUIET_MS = 10
/** The second time, where it seems to have left too early: the machine may be busy. */
const LONG_QUIET_MS = 5000
const SHRINK_MS = 15_000
const OPEN_PATHS = ['/', '/ping', '/livez', '/readyz']

export interface Failure {
  readonly problem: string
  readonly stream: Stream | null
  /** False: it failed once, and not again. */
  readonly repeats: boolean
}

export class Fuzz {
  streams = 0
  requests = 0
  /** How often each status was answered. */
  readonly statuses = new Map<string, number>()
  /** Answers that did not arrive whole, and did when the client was given more time. */
  cutShort = 0
  failure: Failure | null = null
  private readonly port: number
  private openBodies: string[] = []
  private running = true
  private connections = 0

  constructor(port: number) {
    this.port = port
  }

  /** Until the time is over, or something is wrong. */
  async run(seed: number, limitMs: number): Promise<void> {
    const endMs = performance.now() + limitMs
    this.openBodies = await Promise.all(
      OPEN_PATHS.map(async (path) => (await call(this.port, 'GET', path)).text),
    )
    const witness = this.watch()
    const workers = Array.from({ length: WORKERS }, (_, worker) => this.work(seed * WORKERS + worker, endMs))
    await Promise.all(workers).finally(() => (this.running = false))
    await witness
  }

  private async work(seed: number, endMs: number): Promise<void> {
    const streams = new Streams(seeded(seed))
    while (performance.now() < endMs && !this.failure) {
      const stream = streams.next()
      this.streams++
      this.requests += stream.pieces.length
      const problem = await this.tried(stream)
      if (problem !== null) await this.failed(stream, problem)
    }
  }

  private async failed(stream: Stream, problem: string): Promise<void> {
    if (this.failure) return
    this.failure = { problem, stream, repeats: false }
    const endMs = performance.now() + SHRINK_MS
    const fails = async (pieces: readonly Buffer[]) => {
      for (let tries = 0; tries < TRIES && performance.now() < endMs; tries++) {
        const candidate = { ...stream, pieces }
        const found = await this.tried(candidate)
        if (found === null) continue
        this.failure = { problem: found, stream: candidate, repeats: true }
        return true
      }
      return false
    }
    if (await fails(stream.pieces)) await shorter(stream.pieces, fails, endMs)
  }

  /** Null, or what is wrong. */
  private async tried(stream: Stream, quietMs = QUIET_MS): Promise<string | null> {
    try {
      const bytes = await this.send(stream, quietMs)
      for (const [, status] of bytes.toString('latin1').matchAll(/^HTTP\/1\.1 (\d{3}) /gm))
        this.statuses.set(status!, (this.statuses.get(status!) ?? 0) + 1)
      const problem = stream.leaves ? null : judge(stream, bytes, this.openBodies)
      if (!problem?.startsWith(CUT_SHORT) || quietMs > QUIET_MS) return problem
      this.cutShort++
      let again: string | null = problem
      for (let tries = 0; again?.startsWith(CUT_SHORT) && tries < TRIES; tries++)
        again = await this.tried(stream, LONG_QUIET_MS)
      return again
    } catch (error) {
      return String(error)
    }
  }

  private send({ pieces, writes, leaves }: Stream, quietMs: number): Promise<Buffer> {
    const bytes = Buffer.concat(pieces)
    // Wrong tokens are counted by address.
    const n = this.connections++
    const localAddress = `127.${1 + ((n >> 16) % 250)}.${(n >> 8) & 255}.${n & 255}`
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = []
      const socket = connect({ port: this.port, host: '127.0.0.1', localAddress, noDelay: true })
      const limit = setTimeout(() => {
        const last = Buffer.concat(chunks).toString('latin1').slice(-300)
        reject(new Error(`the connection did not end within ${LIMIT_MS} ms; last answers: ${last}`))
        socket.destroy()
      }, LIMIT_MS)
      // Node answers nothing more once a client has shut its side: it does so when nothing comes any more.
      let quiet: NodeJS.Timeout | undefined
      const waitQuiet = () => {
        clearTimeout(quiet)
        quiet = setTimeout(() => socket.end(), quietMs)
      }
      socket.on('data', (chunk) => {
        chunks.push(chunk)
        if (quiet) waitQuiet()
      })
      socket.on('error', () => undefined) // 'close' follows
      socket.on('close', () => {
        clearTimeout(limit)
        clearTimeout(quiet)
        resolve(Buffer.concat(chunks))
      })
      const size = Math.max(1, Math.ceil(bytes.length / writes))
      let at = 0
      const next = () => {
        if (socket.destroyed) return
        if (at < bytes.length) {
          socket.write(bytes.subarray(at, (at += size)))
          setImmediate(next)
        } else if (leaves) socket.destroy()
        else waitQuiet()
      }
      socket.on('connect', next)
    })
  }

  /** Somebody who behaves: served all the while, and finds what it wrote. */
  private async watch(): Promise<void> {
    const headers = { Authorization: `Bearer ${TOKENS.data}` }
    for (let n = 0; this.running && !this.failure; n++) {
      const path = '/api/v1/keys/witness'
      const told = (async () => {
        const put = await call(this.port, 'PUT', path, { headers, body: { value: `v${n}` } })
        if (put.status !== 200) return `PUT: ${put.status} ${put.text}`
        const { text } = await call(this.port, 'GET', path, { headers })
        return text.includes(`"value":"v${n}"`) ? null : `wrote v${n} and read ${text}`
      })()
      const problem = await Promise.race([told, after(LIMIT_MS)]).catch(String)
      if (problem)
        this.failure ??= { problem: `a client that behaves: ${problem}`, stream: null, repeats: false }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}

function after(ms: number): Promise<string> {
  return new Promise((resolve) => setTimeout(() => resolve(`not served within ${ms} ms`), ms).unref())
}

/** For people, and to be put into a test: one line a piece. */
export function printed({ problem, stream, repeats }: Failure): string {
  if (!stream) return problem
  const lines = stream.pieces.map((piece) => `  ${JSON.stringify(piece.toString('latin1'))}`)
  const head = `by ${stream.sender}, in ${stream.writes} writes${repeats ? '' : ' (did not fail again)'}`
  return [problem, head, ...lines].join('\n')
}
