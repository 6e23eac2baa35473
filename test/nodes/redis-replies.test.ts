/**
 * What the Redis node makes of answers that a real server gives too seldom, or in pieces that nobody chooses: it talks
 * to a server that says exactly what a test tells it to. The socket alone is in link-socket.test.ts.
 */
import net from 'node:net'
import { expect } from 'chai'
import fc from 'fast-check'
import { RedisNode } from '../../src/nodes/redis/redis-node.ts'
import {
  accept,
  get,
  hint,
  peek,
  prepare,
  record,
  store,
  version,
  type CallResult,
} from '../support/node-calls.ts'
import { realClock, realTimers } from '../support/real-time.ts'
import { GRACE_MS, HeardListener, MARKER } from '../../src/library/node-contract/contract.ts'

const FENCE = { marker: MARKER, runId: 'this-run', clean: true, epoch: 1 }
const MAX_VALUE_BYTES = 100
/** Surely longer than what is taken. */
const LARGE = Buffer.alloc(40_000, '$5\r\nhello\r\n')
const NIL = Buffer.from('$-1\r\n')
const ONE = Buffer.from(':1\r\n')
const NOT_LOADED = error('LOADING Redis is loading the dataset in memory')
const BUSY = error('BUSY Redis is busy running a script.')

function bulk(bytes: Buffer | string): Buffer {
  const body = Buffer.from(bytes)
  return Buffer.concat([Buffer.from(`$${body.length}\r\n`), body, Buffer.from('\r\n')])
}

function error(text: string): Buffer {
  return Buffer.from(`-${text}\r\n`)
}

const INFO = (runId: string) => bulk(`# Server\r\nredis_version:7.0.15\r\nrun_id:${runId}\r\ntcp_port:1\r\n`)
const GREETING = [INFO(FENCE.runId), bulk(MARKER)]

/** Each connection is greeted with `greeting`; whatever else it sends is counted in commands, and answered by hand. */
class ScriptedServer {
  greeting: Buffer[] = GREETING
  private readonly server = net.createServer((socket) => this.onConnection(socket))
  private socket: net.Socket | null = null
  private commands = 0
  private awaited: { commands: number; resolve: () => void } | null = null

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    return (this.server.address() as net.AddressInfo).port
  }

  async close(): Promise<void> {
    this.socket?.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  /** Until so many commands have come since the greeting, or the last time. */
  received(commands: number): Promise<void> {
    return new Promise((resolve) => {
      this.awaited = { commands, resolve }
      this.check()
    })
  }

  async say(...pieces: Buffer[]): Promise<void> {
    for (const piece of pieces) {
      await new Promise((resolve) => this.socket!.write(piece, resolve))
      await new Promise((resolve) => setImmediate(resolve)) // lets it be read before the next one comes
    }
  }

  private onConnection(socket: net.Socket): void {
    this.socket = socket.setNoDelay(true)
    this.commands = -this.greeting.length
    socket.on('error', () => undefined) // the other side is destroyed in mid-sentence, on purpose
    socket.on('data', (bytes) => {
      const greeted = this.commands < 0
      this.commands += bytes.toString('latin1').split(/\*\d+\r\n/).length - 1
      if (greeted && this.commands >= 0) socket.write(Buffer.concat(this.greeting))
      this.check()
    })
  }

  private check(): void {
    if (!this.awaited || this.commands < this.awaited.commands) return
    this.commands -= this.awaited.commands
    this.awaited.resolve()
    this.awaited = null
  }
}

describe('the redis node, told by a script', () => {
  let server: ScriptedServer
  let node: RedisNode
  let listener: HeardListener

  const opening = (fence = FENCE) =>
    node.open(fence).then(
      () => 'opened',
      (error: Error) => error.message,
    )
  const shown = (result: CallResult) =>
    result.kind === 'failed' ? `${result.failure.kind}: ${result.failure.reason}` : result.kind
  const all = async (calls: Promise<CallResult>[]) => (await Promise.all(calls)).map(shown)

  beforeEach(async () => {
    server = new ScriptedServer()
    node = new RedisNode({
      id: 'r',
      address: { host: '127.0.0.1', port: await server.listen(), tls: false },
      graceMs: GRACE_MS,
      nodeTimeoutMs: 2000,
      connectTimeoutMs: 2000,
      maxValueBytes: MAX_VALUE_BYTES,
      clock: realClock,
      timers: realTimers,
    })
    listener = new HeardListener()
    node.listener = listener
  })
  afterEach(async () => {
    await node.close()
    await server.close()
  })

  describe('when it is opened', () => {
    it('takes the run and the marker that it expects', async () => {
      expect(await opening()).to.equal('opened')
      expect(node.ready).to.equal(true)
    })

    const refusals: [string, Buffer[], RegExp, string[]][] = [
      ['another run', [INFO('another-run'), bulk(MARKER)], /not the one in its marker/, ['foreign marker']],
      [
        'a run that begins alike',
        [INFO('this-run-2'), bulk(MARKER)],
        /not the one in its marker/,
        ['foreign marker'],
      ],
      [
        'no run at all',
        [bulk('# Server\r\n'), bulk(MARKER)],
        /not the one in its marker/,
        ['foreign marker'],
      ],
      ['an endless INFO', [bulk(LARGE), bulk(MARKER)], /not the one in its marker/, ['foreign marker']],
      ['another marker', [GREETING[0]!, bulk('x')], /expected marker/, ['foreign marker']],
      ['no marker', [GREETING[0]!, NIL], /expected marker/, ['foreign marker']],
      ['an endless marker', [GREETING[0]!, bulk(LARGE)], /expected marker/, ['foreign marker']],
      ['a marker it may not see', [GREETING[0]!, NOT_LOADED], /refused the handshake: LOADING/, []],
      ['an INFO it may not see', [error('NOPERM no'), bulk(MARKER)], /refused the handshake: NOPERM/, []],
    ]
    for (const [what, greeting, message, heard] of refusals) {
      it(`refuses ${what}`, async () => {
        server.greeting = greeting
        expect(await opening()).to.match(message)
        expect(node.ready).to.equal(false)
        expect(listener.heard).to.deep.equal(heard)
      })
    }

    it('stays open to the same run under another marker, and connects anew for another run', async () => {
      await opening()
      expect(await opening({ ...FENCE, marker: Buffer.from('next') })).to.equal('opened')
      server.greeting = [INFO('next-run'), bulk('next')]
      expect(await opening({ ...FENCE, marker: Buffer.from('next'), runId: 'next-run' })).to.equal('opened')
      expect(listener.heard).to.deep.equal([])
    })
  })

  describe('when the node does not show its marker', () => {
    const calls = () => [
      get(node, 'a'),
      store(node, 'b', record(5)),
      get(node, 'c'),
      store(node, 'd', record(5)),
      prepare(node, 'e', version({ ms: 5 })),
    ]

    for (const [what, refusal, reason] of [
      ['is busy', BUSY, 'busy'],
      ['is loading', NOT_LOADED, 'loading'],
    ] as const) {
      it(`because it ${what}: refused is what it refused, and the rest is unknown`, async () => {
        await opening()
        const results = all(calls())
        await server.received(6)
        await server.say(Buffer.concat([NIL, ONE, refusal, refusal, bulk('0'), refusal]))
        expect(await results).to.deep.equal([
          'unknown: error',
          'unknown: error',
          `refused: ${reason}`,
          `refused: ${reason}`,
          'unknown: error',
        ])
        expect(listener.heard).to.deep.equal([`unwritable: ${reason}`, `unwritable: ${reason}`])
        expect(node.ready).to.equal(true)
      })
    }

    it('says so once when it shows another, and none of the answers counts', async () => {
      await opening()
      const results = all(calls())
      await server.received(6)
      await server.say(Buffer.concat([NIL, ONE, BUSY, ONE, bulk('0'), NIL]))
      expect(await results).to.deep.equal(Array.from({ length: 5 }, () => 'unknown: marker'))
      expect(listener.heard).to.deep.equal(['foreign marker'])
    })

    it('answers the next batch', async () => {
      await opening()
      const results = all([get(node, 'a')])
      await server.received(2)
      await server.say(BUSY, BUSY)
      expect(await results).to.deep.equal(['refused: busy'])
      const next = all([get(node, 'a')])
      await server.received(2)
      await server.say(NIL, bulk(MARKER))
      expect(await next).to.deep.equal(['absent'])
    })
  })

  describe('looking at a part of a record', () => {
    const head = Buffer.concat([record(5).head])
    /** As peek.lua puts it. */
    const told = (stored: number, ...rest: Buffer[]) => {
      const length = Buffer.alloc(6)
      length.writeUIntBE(stored, 0, 6)
      return bulk(Buffer.concat([length, ...rest]))
    }
    const RANGE = { from: 2, to: 4 }
    const VALUE = Buffer.from('0123456789abcdef')
    const STORED = head.length + VALUE.length
    const first = Buffer.concat([head, VALUE.subarray(0, 12)])

    const scripted: [string, 'length' | typeof RANGE, Buffer, string][] = [
      ['the length', 'length', told(STORED, first), 'found'],
      ['a range', RANGE, told(STORED, first, VALUE.subarray(2, 5)), 'found'],
      ['a range behind the end', { from: 20, to: 30 }, told(STORED, first), 'found'],
      ['nothing', RANGE, NIL, 'absent'],
      ['a range too long to be taken', { from: 0, to: -1 }, bulk(LARGE), 'refused: too-long'],
      ['fewer bytes than were asked for', RANGE, told(STORED, first, VALUE.subarray(2, 4)), 'unknown: error'],
      ['more bytes than were asked for', RANGE, told(STORED, first, VALUE), 'unknown: error'],
      ['bytes that nobody asked for', 'length', told(STORED, first, VALUE), 'unknown: error'],
      ['a head that is cut', 'length', told(STORED, head), 'unknown: error'],
      ['a length beyond all', 'length', told(2 ** 48 - 1, head), 'unknown: error'],
      ['five bytes', 'length', bulk('12345'), 'unknown: error'],
      ['no bytes', 'length', bulk(''), 'unknown: error'],
      ['a number', RANGE, ONE, 'unknown: error'],
      ['a simple string', RANGE, Buffer.from('+OK\r\n'), 'unknown: error'],
      ['an error', RANGE, error('ERR no'), 'refused: error'],
    ]
    for (const [what, part, reply, expected] of scripted) {
      it(`takes ${what} for what it is: ${expected}`, async () => {
        await opening()
        const results = all([peek(node, 'k', part), get(node, 'other')])
        await server.received(3)
        await server.say(reply, NIL, bulk(MARKER))
        expect(await results).to.deep.equal([expected, 'absent'])
      })
    }

    const plain: [string, Buffer, Buffer, string][] = [
      ['a head', bulk(head), ONE, 'found'],
      ['a head that has gone since', bulk(head), Buffer.from(':0\r\n'), 'found'],
      ['an error behind a head', bulk(head), error('ERR no'), 'refused: error'],
      ['nothing, twice', bulk(''), Buffer.from(':0\r\n'), 'absent'],
      ['more than was asked for', bulk(Buffer.alloc(44)), ONE, 'unknown: error'],
      ['nil', NIL, ONE, 'unknown: error'],
      ['an error', error('ERR no'), ONE, 'refused: error'],
      ['an error behind nothing', bulk(''), error('ERR no'), 'refused: error'],
      ['a count behind nothing', bulk(''), Buffer.from(':2\r\n'), 'unknown: error'],
      ['a word behind nothing', bulk(''), Buffer.from('+OK\r\n'), 'unknown: error'],
    ]
    for (const [what, range, exists, expected] of plain) {
      it(`takes, asked for the head alone, ${what} for what it is: ${expected}`, async () => {
        await opening()
        const results = all([peek(node, 'k', 'head'), get(node, 'other')])
        await server.received(4)
        await server.say(range, exists, NIL, bulk(MARKER))
        expect(await results).to.deep.equal([expected, 'absent'])
      })
    }

    it('looks once more, by the script, where nothing was read and something was there', async () => {
      await opening()
      const results = all([peek(node, 'k', 'head')])
      await server.received(3)
      await server.say(bulk(''), ONE, bulk(MARKER))
      await server.received(2)
      await server.say(told(0), bulk(MARKER))
      expect(await results).to.deep.equal(['found'])
    })

    it('fails as a whole where one half of it went under another marker', async () => {
      await opening()
      // The batch is full between the two commands.
      const results = all([...Array.from({ length: 63 }, () => get(node, 'a')), peek(node, 'k', 'head')])
      await server.received(66)
      await server.say(
        ...Array.from({ length: 63 }, () => NIL),
        bulk(head),
        bulk('another'),
        ONE,
        bulk(MARKER),
      )
      expect((await results).at(-1)).to.equal('unknown: marker')
    })
  })

  it('takes answers in whatever pieces they come, and steps over those that are too long', async () => {
    const held = Buffer.concat([version({ ms: 9 }), Buffer.alloc(8)])
    const said = [
      bulk('value'),
      NIL,
      bulk(LARGE),
      bulk(Buffer.concat([Buffer.from('AS'), held])), // two stores in one call
      bulk(LARGE),
      error('WRONGTYPE Operation against a key holding the wrong kind of value'),
      // Three prepares in one call.
      Buffer.from('*3\r\n'),
      bulk('+before'),
      bulk(Buffer.concat([Buffer.from('+'), LARGE])),
      bulk(`-${'v'.repeat(12)}`),
      Buffer.from(':0\r\n'),
      bulk(''),
      bulk(MARKER),
    ]
    const replies = Buffer.concat(said)
    const ends = said.map((_, i) => Buffer.concat(said.slice(0, i + 1)).length)
    const anywhere = fc.integer({ min: 0, max: replies.length })
    const nearAnEnd = fc
      .tuple(fc.constantFrom(0, ...ends), fc.integer({ min: -4, max: 12 }))
      .map(([end, off]) => Math.min(Math.max(end + off, 0), replies.length))
    const cuts = fc.array(fc.oneof(nearAnEnd, anywhere), { maxLength: 30, size: 'max' })
    await opening()
    await fc.assert(
      fc.asyncProperty(cuts, async (cuts) => {
        const calls: Promise<CallResult>[] = [
          get(node, 'a'),
          get(node, 'b'),
          get(node, 'large'),
          store(node, 'c', record(5)),
          store(node, 'd', record(5)),
          get(node, 'large'),
          accept(node, 'e', record(5)),
          prepare(node, 'g', version({ ms: 5 })),
          prepare(node, 'large', version({ ms: 5 })),
          prepare(node, 'i', version({ ms: 5 })),
          hint(node, 'b', 'f', version({ ms: 5 })),
          get(node, 'h'),
        ]
        await server.received(calls.length - 2) // stores are one, prepares are one, and the marker is asked for
        const sorted = [0, ...[...cuts].sort((a, b) => a - b), replies.length]
        await server.say(...sorted.slice(1).map((to, i) => replies.subarray(sorted[i], to)))
        const results = await Promise.all(calls)
        expect(results.map(shown)).to.deep.equal([
          'found',
          'absent',
          'refused: too-long',
          'applied',
          'stale',
          'refused: too-long',
          'refused: wrong-type',
          'promised',
          'unknown: too-long',
          'refused',
          'refused: error',
          'found',
        ])
        expect(results[0]).to.deep.include({ bytes: Buffer.from('value') })
        expect(results[4]).to.deep.include({ held })
        expect(results[7]).to.deep.include({ bytes: Buffer.from('before') })
        expect(results[9]).to.deep.include({ newest: Buffer.from('v'.repeat(12)) })
      }),
      { numRuns: 60 },
    )
    expect(listener.heard).to.deep.equal([])
  })
})
