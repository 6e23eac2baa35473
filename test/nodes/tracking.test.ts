// The connection that keeps the near cache honest (nodes/redis/tracking.ts), against a server that answers as it is told, and
// its reader.
import type { Socket } from 'node:net'
import { expect } from 'chai'
import { NearCache, type NearNode } from '../../src/nodes/near/near-cache.ts'
import { ErrorReply, Push, Resp3Parser, type Value } from '../../src/nodes/redis/resp3.ts'
import { Tracker } from '../../src/nodes/redis/tracking.ts'
import { realClock, realTimers } from '../support/real-time.ts'
import { ScriptedServer, type Answer } from '../support/scripted-server.ts'

const BOUND_MS = 300
const RUN = 'a'.repeat(40)
const HELLO = '%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n'
const PUSH = '>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n'

function infoOf(runId: string): string {
  const text = `# Server\r\nrun_id:${runId}\r\n`
  return `=${text.length + 4}\r\ntxt:${text}\r\n`
}

describe('tracking', () => {
  let server: ScriptedServer
  let tracker: Tracker
  let cache: NearCache
  /** What the tracker told the near cache, and the log. */
  let told: string[]
  let wake: () => void
  let pings: Socket[]
  let special: (command: string[]) => Answer | undefined

  async function until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => (wake = resolve))
  }

  beforeEach(async () => {
    told = []
    pings = []
    wake = () => undefined
    special = () => undefined
    server = await ScriptedServer.start((command, socket) => {
      const answer = special(command)
      if (answer !== undefined) return answer
      if (command[0] === 'HELLO') return HELLO
      if (command[0] === 'INFO') return infoOf(RUN)
      if (command[0] === 'CLIENT') return '+OK\r\n'
      pings.push(socket)
      wake()
      return null
    })
    cache = new NearCache({ maxBytes: 1024 * 1024, maxStalenessMs: BOUND_MS, clock: realClock })
    const tell = (what: string) => {
      told.push(what)
      wake()
    }
    const near = {
      trackingBegan: () => tell('began'),
      proven: (sinceMs: number) => tell(sinceMs <= realClock.monotonicMs() ? 'proven' : 'in the future'),
      invalidated: (keys: readonly Buffer[] | null) => tell(`changed ${keys?.join() ?? 'all'}`),
      trackingEnded: (cause: string) => tell(`ended ${cause}`),
      ended: () => undefined,
    }
    tracker = new Tracker(
      {
        address: { host: '127.0.0.1', port: server.port, tls: false, password: 'secret' },
        ...{ connectTimeoutMs: 500, nodeTimeoutMs: 500, clock: realClock, timers: realTimers },
        maxStalenessMs: cache.maxStalenessMs,
        onTracking: (why) => tell(`log: ${why}`),
      },
      () => ({}),
      near as unknown as NearNode,
    )
    tracker.begin(RUN)
  })

  afterEach(async () => {
    tracker.end()
    await server.stop()
  })

  it('logs in with RESP3, asks for every key, and is told of them and of a flush', async () => {
    await until(() => pings.length === 1)
    expect(server.commands.slice(0, 3).map((command) => command.replaceAll(',', ' '))).to.deep.equal([
      'HELLO 3 AUTH default secret',
      'INFO server',
      'CLIENT TRACKING ON BCAST',
    ])
    pings[0]!.write(`${PUSH}>2\r\n$10\r\ninvalidate\r\n_\r\n`)
    await until(() => told.includes('changed all'))
    expect(told.slice(-2)).to.deep.equal(['changed k', 'changed all'])
  })

  it('takes a PONG as a proof only for what was written before the PING before', async () => {
    await until(() => pings.length === 1)
    const afterFirst = realClock.monotonicMs()
    let proven = -1
    ;(tracker as unknown as { near: { proven(ms: number): void } }).near.proven = (ms) => {
      proven = ms
      wake()
    }
    pings[0]!.write('+PONG\r\n')
    await until(() => pings.length === 2)
    expect(proven).to.equal(-1)
    pings[1]!.write('+PONG\r\n')
    await until(() => proven >= 0)
    expect(proven).to.be.at.most(afterFirst)
  })

  it('drops everything of a node that is silent, and connects again', async () => {
    await until(() => pings.length === 1)
    const sentAt = realClock.monotonicMs()
    await until(() => told.includes('ended tracking'))
    expect(realClock.monotonicMs() - sentAt).to.be.within(BOUND_MS - 20, BOUND_MS + 400)
    await until(() => pings.length === 2)
    expect(told.filter((what) => what.startsWith('log'))).to.deep.equal([])
  })

  it('says why once if it is refused, and once that it is not any more', async () => {
    tracker.end()
    told.length = 0
    let tries = 0
    special = ([name]) => {
      if (name !== 'CLIENT' || ++tries > 2) return undefined
      return "-NOPERM User secret has no permissions to run the 'client|tracking' command\r\n"
    }
    tracker.begin(RUN)
    await until(() => told.includes('began'))
    expect(told.filter((what) => what.startsWith('log'))).to.deep.equal([
      "log: the node refused CLIENT: NOPERM User (hidden) has no permissions to run the 'client|tracking' command",
      'log: null',
    ])
  })

  for (const [what, answer, said] of [
    ['another process', { INFO: infoOf('b'.repeat(40)) }, 'another process answered'],
    [
      'a server before RESP3',
      { HELLO: '-ERR unknown command\r\n' },
      'the node refused HELLO: ERR unknown command',
    ],
    ['something that is no HELLO', { HELLO: '+OK\r\n' }, 'the node answered HELLO with something else'],
    [
      'a push in a reply',
      { CLIENT: `*2\r\n+OK\r\n${PUSH}` },
      'the node sent a push in the middle of a reply',
    ],
    ['no RESP', { CLIENT: 'HTTP/1.1 400\r\n' }, 'the node sent a value that begins with byte 72'],
    ['an invalidation of no keys', { CLIENT: '+OK\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n*0\r\n' }, null],
    ['an answer to nothing', { CLIENT: '+OK\r\n+PONG\r\n+PONG\r\n' }, null],
  ] as const) {
    it(`keeps nothing of ${what}`, async () => {
      tracker.end()
      told.length = 0
      special = ([name]) => (answer as Record<string, string>)[name!]
      tracker.begin(RUN)
      await until(() => told.some((one) => one.startsWith('log: ') || one === 'ended tracking'))
      expect(told).not.to.include('proven')
      if (said !== null) expect(told).to.include(`log: ${said}`).and.not.include('began')
    })
  }
})

describe('the reader of RESP3', () => {
  const limits = { lineBytes: 64, bulkBytes: 100, valueBytes: 200, elements: 10, depth: 3 }
  const stream =
    `+OK\r\n:12\r\n$3\r\na\r\n\r\n$-1\r\n_\r\n*0\r\n%1\r\n$1\r\na\r\n*2\r\n:1\r\n#t\r\n-ERR no\r\n${PUSH}` +
    '=7\r\ntxt:a\r\n\r\n,1.5\r\n'

  function plain(value: Value): unknown {
    if (value instanceof ErrorReply) return { error: value.message }
    if (value instanceof Push) return { push: value.items.map(plain) }
    if (value instanceof Buffer) return { bulk: value.toString() }
    return Array.isArray(value) ? (value as readonly Value[]).map(plain) : value
  }

  function read(pieces: readonly Buffer[]): unknown[] {
    const seen: unknown[] = []
    const parser = new Resp3Parser(limits)
    for (const piece of pieces) {
      parser.feed(piece)
      for (let value = parser.next(); value !== undefined; value = parser.next()) seen.push(plain(value))
    }
    if (parser.problem !== null) seen.push(parser.problem)
    return seen
  }

  it('reads the same wherever the bytes are cut', () => {
    const bytes = Buffer.from(stream)
    const whole = read([bytes])
    expect(whole).to.deep.equal([
      ...['OK', 12, { bulk: 'a\r\n' }, null, null, []],
      [{ bulk: 'a' }, [1, 't']],
      { error: 'ERR no' },
      { push: [{ bulk: 'invalidate' }, [{ bulk: 'k' }]] },
      ...[{ bulk: 'txt:a\r\n' }, '1.5'],
    ])
    for (let at = 1; at < bytes.length; at++) {
      expect(read([bytes.subarray(0, at), bytes.subarray(at)])).to.deep.equal(whole)
    }
    expect(read([...bytes].map((byte) => Buffer.from([byte])))).to.deep.equal(whole)
  })

  for (const [text, problem] of [
    ['$101\r\n', 'a bulk of an impossible length'],
    ['$x\r\n', 'a number that is none'],
    ['$-2\r\n', 'a bulk of an impossible length'],
    [':1.5\r\n', 'a number that is none'],
    ['$1\r\nabc', 'a bulk of another length than it said'],
    ['*11\r\n', 'too many elements'],
    ['*9999999999\r\n', 'too many elements'],
    ['*x\r\n', 'a number that is none'],
    ['*-2\r\n', 'too many elements'],
    ['*1\r\n*1\r\n*1\r\n*1\r\n', 'too many levels'],
    [`*3\r\n${`$99\r\n${'x'.repeat(99)}\r\n`.repeat(3)}`, 'too much at once'],
    ['+'.repeat(70), 'an endless line'],
    ['+a\rb', 'a line without an end'],
    ['?\r\n', 'a value that begins with byte 63'],
    [`*1\r\n${PUSH}`, 'a push in the middle of a reply'],
  ] as const) {
    it(`refuses ${JSON.stringify(text.slice(0, 24))}`, () => {
      expect(read([Buffer.from(text)]).at(-1)).to.equal(problem)
    })
  }
})
