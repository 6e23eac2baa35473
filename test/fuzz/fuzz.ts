/**
 * Random streams to the Redis protocol server, and to a real Redis beside it: equal answers, no fault, no connection that
 * hangs, and others are served on all the while.
 */
import { seeded } from '../support/random.ts'
import { RawResp } from '../support/raw-resp.ts'
import { compare, split, type Answered } from './compare.ts'
import { bytesOf, exchange } from './exchange.ts'
import { shrink } from './shrink.ts'
import { keysOf, Streams, type Stream } from './streams.ts'

const WORKERS = 6
const WITNESS_LIMIT_MS = 20_000
/** A failure that comes once in so many tries is shown as it came. */
const TRIES = 3
/** In every key that was not damaged. */
const TAG = /k[0-9a-z]{7}/
/** For making it shorter. */
const SHRINK_MS = 15_000

export interface Failure {
  readonly problem: string
  /** The shortest that still fails. */
  readonly stream: Stream
  /** False: it failed once, and not again. */
  readonly repeats: boolean
}

export class Fuzz {
  streams = 0
  commands = 0
  /** How often which difference was met that is meant. */
  readonly meant = new Map<string, number>()
  failure: Failure | null = null
  private readonly port: number
  private readonly redisPort: number
  private tags = 0
  private running = true

  constructor(port: number, redisPort: number) {
    this.port = port
    this.redisPort = redisPort
  }

  /** Until the time is over, or something is wrong. */
  async run(seed: number, limitMs: number): Promise<void> {
    const endMs = performance.now() + limitMs
    const witness = this.watch()
    const workers = Array.from({ length: WORKERS }, (_, worker) => this.work(seed * WORKERS + worker, endMs))
    await Promise.all(workers).finally(() => (this.running = false))
    await witness
  }

  private async work(seed: number, endMs: number): Promise<void> {
    const streams = new Streams(seeded(seed))
    const cleaner = await RawResp.open(this.redisPort)
    try {
      while (performance.now() < endMs && !this.failure) {
        const stream = streams.next()
        const problem = await this.judge(stream, cleaner, true)
        if (problem === null || (stream.kind === 'damaged' && (await this.wasLeftOver(stream, cleaner))))
          continue
        await this.failed(stream, problem, cleaner)
      }
    } finally {
      cleaner.close()
    }
  }

  /**
   * A damaged key may be that of another damaged stream as well, and after a difference that is meant one side holds it
   * and the other does not. Without all such keys, does it still fail?
   */
  private async wasLeftOver(stream: Stream, cleaner: RawResp): Promise<boolean> {
    const server = await RawResp.open(this.port)
    try {
      const strays = [...(await strayKeys(cleaner)), ...(await strayKeys(server))]
      for (const key of strays) {
        await cleaner.ask('DEL', key)
        await server.ask('DEL', key)
      }
      if (strays.length === 0 || (await this.judge(stream, cleaner, false)) !== null) return false
    } finally {
      server.close()
    }
    const reason = 'a damaged key was that of another stream, too'
    this.meant.set(reason, (this.meant.get(reason) ?? 0) + 1)
    return true
  }

  private async failed(stream: Stream, problem: string, cleaner: RawResp): Promise<void> {
    if (this.failure) return
    this.failure = { problem, stream, repeats: false }
    const endMs = performance.now() + SHRINK_MS
    const fails = async (candidate: Stream) => {
      for (let tries = 0; tries < TRIES && performance.now() < endMs; tries++) {
        const found = await this.judge(candidate, cleaner, false)
        if (found === null) continue
        this.failure = { problem: found, stream: candidate, repeats: true }
        return true
      }
      return false
    }
    if (await fails(stream)) await shrink(stream, fails, endMs)
  }

  /** Null, or what is wrong. */
  private async judge(stream: Stream, cleaner: RawResp, counted: boolean): Promise<string | null> {
    const tag = `k${(this.tags++).toString(36).padStart(7, '0')}`
    const bytes = bytesOf(stream, tag)
    if (counted) {
      this.streams++
      this.commands += stream.pieces.length
    }
    try {
      const ours = exchange(this.port, 'server', stream, bytes)
      if (stream.kind === 'hostile') return stream.leaves ? (await ours, null) : soundness(await ours)
      const [mine, theirs] = await Promise.all([ours, exchange(this.redisPort, 'redis', stream, bytes)])
      await cleaner.ask('DEL', ...keysOf(tag, true), ...keysOf(tag, false))
      const verdict = compare(stream.kind, bytes, mine, theirs)
      if (verdict.is === 'wrong') return verdict.problem
      if (verdict.is === 'meant') this.meant.set(verdict.reason, (this.meant.get(verdict.reason) ?? 0) + 1)
      return faultIn(mine.bytes)
    } catch (error) {
      return String(error)
    }
  }

  /** Somebody who behaves: served all the while, and finds what it wrote. */
  private async watch(): Promise<void> {
    const witness = await RawResp.open(this.port)
    for (let n = 0; this.running && !this.failure; n++) {
      const late = setTimeout(() => witness.close(), WITNESS_LIMIT_MS)
      const value = `v${n}`
      const problem = await witness.ask('SET', 'witness', value).then(
        async () => {
          const reply = await witness.ask('GET', 'witness')
          return reply.endsWith(`\r\n${value}\r\n`)
            ? null
            : `wrote ${value} and read ${JSON.stringify(reply)}`
        },
        (error: unknown) => `was not served: ${String(error)}`,
      )
      clearTimeout(late)
      if (problem)
        this.failure ??= { problem: `a client that behaves ${problem}`, stream: NOTHING, repeats: false }
      await new Promise(setImmediate)
    }
    witness.close()
  }
}

/** Keys that bear no stream's tag. */
async function strayKeys(client: RawResp): Promise<string[]> {
  const strays: string[] = []
  let cursor = '0'
  do {
    const [next, ...keys] = bulksIn(await client.ask('SCAN', cursor, 'COUNT', '1000'))
    cursor = next!
    strays.push(...keys.filter((key) => key !== 'witness' && !TAG.test(key)))
  } while (cursor !== '0')
  return strays
}

/** The bulks of a reply, whatever arrays they stand in. */
function bulksIn(reply: string): string[] {
  const bulks: string[] = []
  for (let at = 0; at < reply.length;) {
    const end = reply.indexOf('\r\n', at)
    const from = end + 2
    if (reply[at] !== '$') at = from
    else {
      const length = Number(reply.slice(at + 1, end))
      bulks.push(reply.slice(from, from + length))
      at = from + length + 2
    }
  }
  return bulks
}

const NOTHING: Stream = { kind: 'talk', protocol: 2, level: 'one', pieces: [], writes: 1, leaves: false }

function soundness({ bytes, reset }: Answered): string | null {
  const { rest } = split(bytes)
  return rest === '' || reset
    ? faultIn(bytes)
    : `what came last is no reply: ${JSON.stringify(rest.slice(0, 300))}`
}

/** The server has met an exception that it did not expect. */
function faultIn(bytes: Buffer): string | null {
  const at = bytes.indexOf('A fault of Rondo')
  return at === -1 ? null : bytes.toString('latin1', at, at + 300)
}

/** For people, and to be put into a test: one line a piece. */
export function printed({ problem, stream, repeats }: Failure): string {
  const { kind, protocol, level, writes, leaves, pieces } = stream
  const head = `${kind}, RESP${protocol}, level ${level}, in ${writes} writes${leaves ? ', and the client leaves' : ''}`
  const lines = pieces.map((piece) => `  ${JSON.stringify(piece.toString('latin1'))}`)
  return [problem, repeats ? head : `${head} (did not fail again)`, ...lines].join('\n')
}
