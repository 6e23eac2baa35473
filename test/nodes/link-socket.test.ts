import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import {
  encodeCommand,
  Link,
  LinkCall,
  REPLY_BULK,
  REPLY_ERROR,
  REPLY_INTEGER,
  REPLY_NIL,
  REPLY_SIMPLE,
  REPLY_TOO_LONG,
  type LinkOptions,
} from '../../src/nodes/redis/link.ts'
import { NodeLoad } from '../../src/nodes/load.ts'
import type { Fence, NodeFailure } from '../../src/nodes/node.ts'
import { realClock, realTimers } from '../support/real-time.ts'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { until } from '../support/rondo-under-test.ts'
import { inPieces, ScriptedServer, type Answer } from '../support/scripted-server.ts'

const MARKER = '{"marker":1}'
const FENCE: Fence = { marker: Buffer.from(MARKER), runId: 'run-1', clean: true, epoch: 1 }
const bulk = (text: string) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`
const RUN = bulk('# Server\r\nrun_id:run-1\r\ntcp_port:1\r\n')

/** Answers the handshake and the marker; everything else is the test's. */
const sound =
  (rest: (command: string[]) => Answer = () => ':1\r\n') =>
  (command: string[]): Answer => {
    const [name, key] = command
    if (name === 'AUTH') return '+OK\r\n'
    if (name === 'INFO') return RUN
    if (name === 'GET' && key === '__rondo:node') return bulk(MARKER)
    return rest(command)
  }

type Reply = [type: number, reply: string | null] | NodeFailure

class Call extends LinkCall {
  readonly ended: Promise<Reply>
  times = 0
  private end!: (reply: Reply) => void
  constructor(valueBytes = 0) {
    super(valueBytes)
    this.ended = new Promise((resolve) => (this.end = resolve))
  }
  override answered(): void {
    this.times++
    this.end([this.replyType, this.reply?.toString('latin1') ?? null])
  }
  override lost(failure: NodeFailure): void {
    this.times++
    this.end(failure)
  }
}

describe('the link to a node', () => {
  let server: ScriptedServer
  let link: Link
  let broken: NodeFailure[]
  let foreign: number
  let load: NodeLoad

  const real = { clock: realClock, timers: realTimers }
  function makeLink(options: Partial<LinkOptions> = {}, fence = FENCE, deps = real): Link {
    broken = []
    load = new NodeLoad()
    foreign = 0
    link = new Link(
      {
        host: '127.0.0.1',
        port: options.port ?? server.port,
        tls: null,
        connectTimeoutMs: 1000,
        callTimeoutMs: 1000,
        maxInFlight: 1000,
        maxUnsentBytes: 1 << 26,
        maxReplyBytes: 1 << 20,
        ...options,
      },
      fence,
      { ...deps, load },
      { onBroken: (failure) => void broken.push(failure), onOtherMarker: () => (foreign++, null) },
    )
    return link
  }
  async function connected(
    answer: ScriptedServer['answer'] = sound(),
    options: Partial<LinkOptions> = {},
    deps = real,
  ) {
    server.answer = answer
    await makeLink(options, FENCE, deps).connect()
    server.commands.length = 0
    server.pieces.length = 0
  }
  const call = (...args: string[]) => {
    const made = new Call()
    link.raw(Buffer.from(`*${args.length}\r\n`))
    for (const arg of args) link.bulk(Buffer.from(arg))
    link.enqueue(made)
    return made
  }
  const whyNot = (connecting: Promise<void>) =>
    connecting.then(
      () => 'connected',
      (error: Error) => error.message,
    )

  beforeEach(async () => {
    server = await ScriptedServer.start(sound())
  })
  afterEach(async () => {
    link.destroy({ kind: 'unknown', reason: 'closed', message: 'the test is over' })
    await server.stop()
  })

  describe('connecting', () => {
    it('sees the process and the marker first', async () => {
      await makeLink().connect()
      expect(link.ready).to.equal(true)
      expect(server.commands).to.deep.equal(['INFO server', 'GET __rondo:node'])
    })

    it('shows its password, and its name where it has one', async () => {
      await makeLink({ password: 'geheim' }).connect()
      link.destroy({ kind: 'unknown', reason: 'closed', message: '' })
      await makeLink({ username: 'me', password: 'geheim' }).connect()
      expect(server.commands.filter((command) => command.startsWith('AUTH'))).to.deep.equal([
        'AUTH geheim',
        'AUTH me geheim',
      ])
    })

    it("fails with the node's own words, and without the password, when it is wrong", async () => {
      server.answer = ([name]) => (name === 'AUTH' ? '-WRONGPASS invalid password\r\n' : '-NOAUTH\r\n')
      const why = await whyNot(makeLink({ password: 'geheim' }).connect())
      expect(why).to.equal('the node refused the user or password (WRONGPASS)')
      expect(link.ready).to.equal(false)
      expect(broken).to.deep.equal([]) // it never was whole
    })

    it('repeats neither user nor password, whatever the node says', async () => {
      for (const [refused, said] of [
        ['AUTH', "-ERR unknown command 'AUTH', with args beginning with: 'me' 'geheim'\r\n"],
        ['AUTH', '-geheim me\r\n'],
        ['INFO', '-ERR you are me with geheim\r\n'],
      ] as const) {
        server.answer = ([name]) => (name === refused ? said : '+OK\r\n')
        const why = await whyNot(makeLink({ username: 'me', password: 'geheim' }).connect())
        expect(why).to.match(/^the node refused/)
        expect(why).not.to.match(/geheim|'me'/)
      }
    })

    for (const [what, answer] of [
      ['another marker', bulk('{"marker":2}')],
      ['no marker', '$-1\r\n'],
      ['a longer marker', bulk(`${MARKER} `)],
    ] as const) {
      it(`fails, and says so, where there is ${what}`, async () => {
        server.answer = ([name]) => (name === 'INFO' ? RUN : answer)
        expect(await whyNot(makeLink().connect())).to.include('expected marker')
        expect(foreign).to.equal(1)
      })
    }

    it('fails where another process has the same marker: it was restarted, and may lack data', async () => {
      server.answer = (command) => (command[0] === 'INFO' ? bulk('run_id:run-2\r\n') : sound()(command))
      expect(await whyNot(makeLink().connect())).to.match(/not the one in its marker/)
      expect(foreign).to.equal(1)
    })

    it('fails in time where nobody answers', async () => {
      server.answer = () => null
      expect(await whyNot(makeLink({ connectTimeoutMs: 50 }).connect())).to.equal('no handshake within 50 ms')
      await until('the socket is closed', () => server.sockets.size === 0)
    })

    it('fails where the connection is closed, or refused', async () => {
      server.answer = (_command, socket) => {
        socket.destroy()
        return null
      }
      expect(await whyNot(makeLink().connect())).to.match(/closed|ECONNRESET/)
      const { port } = server
      await server.stop()
      expect(await whyNot(makeLink({ port }).connect())).to.match(/ECONNREFUSED/)
      server = await ScriptedServer.start(sound())
    })

    it('takes a handshake in any pieces', async () => {
      const bytes = Buffer.from(`+OK\r\n${RUN}${bulk(MARKER)}`)
      for (let end = 1; end < bytes.length; end += 3) {
        server.answer = ([name]) => (name === 'AUTH' ? bytes : null)
        server.send = (answer, socket) => inPieces(answer, [end], socket)
        await makeLink({ password: 'p' }).connect()
        link.destroy({ kind: 'unknown', reason: 'closed', message: '' })
      }
    })
  })

  describe('batches', () => {
    it('leave in one piece a turn of the event loop, and end by asking for the marker', async () => {
      await connected()
      const first = [call('SET', 'a', '1'), call('SET', 'b', '2')]
      await Promise.all(first.map(({ ended }) => ended))
      expect(server.commands).to.deep.equal(['SET a 1', 'SET b 2', 'GET __rondo:node'])
      expect(server.pieces).to.have.length(1)
      await call('SET', 'c', '3').ended
      expect(server.commands.slice(3)).to.deep.equal(['SET c 3', 'GET __rondo:node'])
    })

    it('get each its own answers, in order, of every type', async () => {
      const answers: Record<string, string> = {
        bulk: bulk('x\r\ny'),
        empty: bulk(''),
        nil: '$-1\r\n',
        int: ':-42\r\n',
        error: '-OOM not now\r\n',
        simple: '+OK\r\n',
      }
      await connected(sound(([name]) => answers[name!]!))
      const calls = Object.keys(answers).map((name) => call(name))
      expect(await Promise.all(calls.map(({ ended }) => ended))).to.deep.equal([
        [REPLY_BULK, 'x\r\ny'],
        [REPLY_BULK, ''],
        [REPLY_NIL, null],
        [REPLY_INTEGER, '-42'],
        [REPLY_ERROR, 'OOM not now'],
        [REPLY_SIMPLE, 'OK'],
      ])
    })

    it('many at a time are all answered, each once, and room is made again', async () => {
      await connected(
        sound(([, key]) => bulk(key!)),
        { maxInFlight: 5000 },
      )
      const calls: Call[] = []
      for (let batch = 0; batch < 200; batch++) {
        for (let i = 0; i < 20; i++) calls.push(call('GET', `${batch}:${i}`))
        if (batch % 3 === 0) await turn()
      }
      const replies = await Promise.all(calls.map(({ ended }) => ended))
      replies.forEach((reply, i) =>
        expect(reply).to.deep.equal([REPLY_BULK, `${Math.floor(i / 20)}:${i % 20}`]),
      )
      expect(calls.every(({ times }) => times === 1)).to.equal(true)
      expect(link.refusal()).to.equal(null)
    })

    it('may be split anywhere on their way back', async () => {
      await connected(
        sound(([name]) => (name === 'nil' ? '$-1\r\n' : name === 'err' ? '-ERR x\r\n' : bulk('ab\r\ncd'))),
      )
      const length = Buffer.byteLength(
        bulk('ab\r\ncd') + '$-1\r\n-ERR x\r\n' + bulk('ab\r\ncd') + bulk(MARKER),
      )
      const expected = [
        [REPLY_BULK, 'ab\r\ncd'],
        [REPLY_NIL, null],
        [REPLY_ERROR, 'ERR x'],
        [REPLY_BULK, 'ab\r\ncd'],
      ]
      const everyByte = Array.from({ length }, (_, i) => i)
      for (const ends of [
        ...everyByte.map((end) => [end]),
        ...everyByte.map((end) => [end, end + 1]),
        everyByte,
      ]) {
        server.send = (bytes, socket) => inPieces(bytes, ends, socket)
        const calls = [call('a'), call('nil'), call('err'), call('d')]
        expect(await Promise.all(calls.map(({ ended }) => ended)), ends.join()).to.deep.equal(expected)
      }
    }).timeout(20_000)

    it('that are large may be split anywhere as well', async () => {
      const text = Array.from({ length: 20_000 }, (_, i) => String(i).padStart(5)).join('')
      await connected(sound(([name]) => (name === 'err' ? '-ERR x\r\n' : bulk(text))))
      const first = Buffer.byteLength(bulk(text))
      const near = [
        1,
        8,
        9,
        100,
        16_384,
        65_535,
        65_536,
        65_537,
        first - 16_385,
        first - 16_384,
        first - 16_383,
      ]
      const ends = [...near, first - 3, first - 2, first - 1, first, first + 1, first + 8, first + 9]
      const expected = [
        [REPLY_BULK, text],
        [REPLY_ERROR, 'ERR x'],
        [REPLY_BULK, text],
      ]
      for (const split of [...ends.map((end) => [end]), ends, ends.map((end) => end + 8)]) {
        const inOrder = [...split].sort((a, b) => a - b)
        server.send = (bytes, socket) => inPieces(bytes, inOrder, socket)
        const calls = [call('a'), call('err'), call('b')]
        const replies = await Promise.all(calls.map(({ ended }) => ended))
        expect(isDeepStrictEqual(replies, expected), inOrder.join()).to.equal(true)
      }
    }).timeout(20_000)

    it('are not answered before the marker is there', async () => {
      await connected()
      let release = () => undefined as void
      server.send = (bytes, socket) => {
        const markerAt = bytes.indexOf(bulk(MARKER))
        socket.write(bytes.subarray(0, markerAt))
        release = () => void socket.write(bytes.subarray(markerAt))
      }
      const made = call('SET', 'a', '1')
      await until('the answer is on its way', () => server.commands.length === 2)
      for (let i = 0; i < 20; i++) await turn()
      expect(made.times).to.equal(0)
      release()
      expect(await made.ended).to.deep.equal([REPLY_INTEGER, '1'])
    })

    for (const [what, answer] of [
      ['another', bulk('{"marker":2}')],
      ['none', '$-1\r\n'],
      ['a number', ':1\r\n'],
    ] as const) {
      it(`count for nothing under a foreign marker (${what})`, async () => {
        await connected()
        server.answer = ([name]) => (name === 'GET' ? answer : ':1\r\n')
        const calls = [call('SET', 'a', '1'), call('SET', 'b', '1')]
        for (const { ended } of calls) expect(await ended).to.include({ kind: 'unknown', reason: 'marker' })
        expect(foreign).to.equal(1)
      })
    }

    it('that have grown large leave at once, each with a marker of its own', async () => {
      await connected()
      let markers = 0
      server.answer = (command) => {
        // Only the first is good.
        return command[0] === 'SET' ? ':1\r\n' : markers++ === 0 ? sound()(command) : bulk('another')
      }
      const calls = Array.from({ length: 200 }, (_, i) => call('SET', String(i), '1'))
      const large = call('SET', 'large', 'v'.repeat(20_000))
      const ends = await Promise.all([...calls, large].map(({ ended }) => ended))
      const good = ends.findIndex((end) => !Array.isArray(end))
      expect(good).to.be.within(1, 100)
      for (const end of ends.slice(0, good)) expect(end).to.deep.equal([REPLY_INTEGER, '1'])
      for (const end of ends.slice(good)) expect(end).to.include({ kind: 'unknown', reason: 'marker' })
      expect(server.commands.slice(0, 200).filter((command) => command.startsWith('GET')).length).to.be.above(
        1,
      )
    })

    it('that are refused as a whole were refused, and what was carried out in them is unknown', async () => {
      await connected()
      server.answer = ([name]) => (name === 'SET' ? ':1\r\n' : '-BUSY running a script\r\n')
      const [carriedOut, refused] = [call('SET', 'a', '1'), call('EVALSHA', 'x')]
      expect(await carriedOut.ended).to.include({ kind: 'unknown', reason: 'error' })
      expect(await refused.ended).to.deep.equal([REPLY_ERROR, 'BUSY running a script'])
      expect(foreign).to.equal(0)
      expect(link.ready).to.equal(true)
    })

    it('keep the marker that was expected when they were sent', async () => {
      await connected()
      const before = call('SET', 'a', '1')
      link.expect({ ...FENCE, marker: Buffer.from('next') })
      const after = call('SET', 'b', '1')
      expect(await before.ended).to.deep.equal([REPLY_INTEGER, '1'])
      expect(await after.ended).to.include({ reason: 'marker' })
    })
  })

  describe('when the node fails', () => {
    const silent = () =>
      connected(
        sound(() => null),
        { callTimeoutMs: 60 },
      )

    it('destroys a socket that is overdue, and everything in flight is unknown', async () => {
      await silent()
      server.answer = () => null
      const first = call('SET', 'a', '1')
      await turn()
      const second = call('SET', 'b', '1')
      await turn()
      for (const { ended } of [first, second]) {
        expect(await ended).to.deep.equal({
          kind: 'unknown',
          reason: 'timeout',
          message: 'no answer within 60 ms',
        })
      }
      expect(broken).to.have.length(1)
      expect(link.ready).to.equal(false)
      expect(link.refusal()).to.include({ kind: 'not-sent' })
      await until('the socket is closed', () => server.sockets.size === 0)
    })

    it('knows what was not sent yet', async () => {
      await connected()
      server.answer = () => null
      const sent = call('SET', 'a', '1')
      await turn()
      const unsent = call('SET', 'b', '1')
      link.destroy({ kind: 'unknown', reason: 'closed', message: 'test' })
      expect(await sent.ended).to.include({ kind: 'unknown' })
      expect(await unsent.ended).to.include({ kind: 'not-sent' })
    })

    it('does not call a batch overdue that is younger than the deadline', async () => {
      await connected(sound(), { callTimeoutMs: 150 })
      const held: (() => void)[] = []
      server.send = (bytes, socket) => void held.push(() => socket.write(bytes))
      const first = call('SET', 'a', '1')
      await until('it came', () => held.length === 1)
      await new Promise((resolve) => setTimeout(resolve, 100))
      const second = call('SET', 'b', '1')
      held[0]!()
      expect(await first.ended).to.deep.equal([REPLY_INTEGER, '1'])
      await new Promise((resolve) => setTimeout(resolve, 80)) // past the deadline that the first one had
      expect(second.times).to.equal(0)
      held[1]!()
      expect(await second.ended).to.deep.equal([REPLY_INTEGER, '1'])
    })

    describe('that delivers a piece from time to time', () => {
      const [pieces, pauseMs] = [6, 100]
      const inPieces: ScriptedServer['send'] = (bytes, socket) => {
        const size = Math.ceil(bytes.length / pieces)
        for (let i = 0; i < pieces; i++) {
          setTimeout(() => socket.write(bytes.subarray(i * size, (i + 1) * size)), i * pauseMs)
        }
      }
      const connectedTo = async (value: string) => {
        await connected(
          sound(() => bulk(value)),
          { callTimeoutMs: 300, maxReplyBytes: 20_000_000 },
        )
        server.send = inPieces
      }

      it('is not overdue as long as it delivers megabytes', async () => {
        const value = 'v'.repeat(10_000_000)
        await connectedTo(value)
        const [type, reply] = (await call('GET', 'a').ended) as [number, string]
        expect([type, reply === value]).to.deep.equal([REPLY_BULK, true])
        expect(broken).to.deep.equal([])
      })

      it('is overdue when its time is over and it was too little', async () => {
        await connectedTo('v'.repeat(100_000))
        expect(await call('GET', 'a').ended).to.include({ kind: 'unknown', reason: 'timeout' })
        expect(broken).to.have.length(1)
      })
    })

    it('is not overdue while it is still being sent megabytes, and cannot answer before it has them', async () => {
      let nowMs = 0
      let checks = 0
      const clock = { ...realClock, monotonicMs: () => nowMs }
      const setTimeout = (run: () => void, ms: number) =>
        realTimers.setTimeout(
          () => {
            checks++
            run()
          },
          nowMs === 0 ? ms : 1,
        )
      await connected(
        sound(() => ':1\r\n'),
        { callTimeoutMs: 100 },
        { clock, timers: { ...realTimers, setTimeout } },
      )
      // Of ten megabytes beyond the first, it may take 2 s at the least rate that counts.
      server.send = (bytes, socket) => {
        nowMs = 1000
        const before = checks
        void until('its silence was looked at', () => checks > before + 1).then(() => socket.write(bytes))
      }
      expect(await call('SET', 'a', 'v'.repeat(11_000_000)).ended).to.deep.equal([REPLY_INTEGER, '1'])
      expect(broken).to.deep.equal([])
    })

    it('sends nothing twice, whatever becomes of it', async () => {
      await connected(
        sound(() => null),
        { callTimeoutMs: 30 },
      )
      const lost = call('SET', 'a', 'zombie')
      await lost.ended
      server.answer = sound()
      await makeLink().connect()
      expect(await call('SET', 'b', '1').ended).to.deep.equal([REPLY_INTEGER, '1'])
      expect(server.commands.filter((command) => command.includes('zombie'))).to.have.length(1)
    })

    it('ends calls once when the connection breaks, and tells once', async () => {
      await connected()
      server.answer = (command, socket) => {
        if (command[1] === 'b') socket.destroy()
        return null
      }
      const calls = ['a', 'b', 'c'].map((key) => call('SET', key, '1'))
      for (const { ended } of calls) expect(await ended).to.include({ kind: 'unknown', reason: 'closed' })
      for (let i = 0; i < 10; i++) await turn()
      expect(calls.map(({ times }) => times)).to.deep.equal([1, 1, 1])
      expect(broken).to.have.length(1)
    })

    const garbage: [string, string][] = [
      ['an unknown type', '!boo\r\n'],
      ['a page', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
      ['an array', '*1\r\n$1\r\na\r\n'],
      ['a bulk of no length', '$\r\n'],
      ['a bulk of a strange length', '$12x\r\n'],
      ['a bulk of less than none', '$-2\r\n'],
      ['a bulk of a length beyond measure', `$${'9'.repeat(30)}\r\n`],
      ['zeros', '\0\0\0\0\r\n'],
    ]
    for (const [what, bytes] of garbage) {
      it(`trusts nothing more after ${what}`, async () => {
        await connected(sound(() => bytes))
        expect(await call('GET', 'a').ended).to.include({ kind: 'unknown', reason: 'error' })
        expect(broken).to.have.length(1)
        expect(link.ready).to.equal(false)
      })
    }

    it('trusts nothing more after an answer to nothing', async () => {
      await connected(sound(() => ':1\r\n:1\r\n'))
      await call('GET', 'a').ended
      await until('it is destroyed', () => !link.ready)
      expect(broken).to.have.length(1)
    })

    it('gives up a line that never ends', async () => {
      await connected(
        sound(() => `+${'x'.repeat(5000)}`),
        { maxReplyBytes: 1000 },
      )
      expect(await call('GET', 'a').ended).to.include({ kind: 'unknown', reason: 'error' })
    })

    it('refuses calls beyond those it may have in flight, and bytes beyond those it may keep', async () => {
      await connected(
        sound(() => null),
        { maxInFlight: 3, maxUnsentBytes: 1000, callTimeoutMs: 5000 },
      )
      for (let i = 0; i < 3; i++) call('GET', 'a')
      expect(link.refusal()).to.include({ kind: 'not-sent', reason: 'too-much-in-flight' })
      link.destroy({ kind: 'unknown', reason: 'closed', message: '' })
      await makeLink({ maxUnsentBytes: 1000 }).connect()
      for (const socket of server.sockets) socket.pause()
      link.bulk(Buffer.alloc(1 << 25))
      link.enqueue(new Call())
      await turn()
      await turn()
      expect(link.refusal()).to.include({ kind: 'not-sent', reason: 'too-much-in-flight' })
    })
  })

  describe('large values', () => {
    it('too long to be taken are read past, and harm nobody', async () => {
      await connected(
        sound(([, key]) => bulk(key === 'large' ? 'x'.repeat(100_000) : 'v')),
        { maxReplyBytes: 1000 },
      )
      for (const ends of [[], [7], [50_000], [100_009], [100_010]]) {
        server.send = (bytes, socket) => inPieces(bytes, ends, socket)
        const calls = ['small', 'large', 'large', 'small'].map((key) => call('GET', key))
        expect(await Promise.all(calls.map(({ ended }) => ended))).to.deep.equal([
          [REPLY_BULK, 'v'],
          [REPLY_TOO_LONG, null],
          [REPLY_TOO_LONG, null],
          [REPLY_BULK, 'v'],
        ])
      }
    })
  })

  it('speaks TLS, and trusts only whom it is told to', async function () {
    const dir = mkdtempSync(join(tmpdir(), 'rondo-tls-'))
    try {
      try {
        execFileSync(
          'openssl',
          [
            'req',
            '-x509',
            '-newkey',
            'ec',
            '-pkeyopt',
            'ec_paramgen_curve:prime256v1',
            '-nodes',
            '-days',
            '1',
          ].concat(
            ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
            ['-keyout', join(dir, 'key.pem'), '-out', join(dir, 'cert.pem')],
          ),
          { stdio: 'pipe' },
        )
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        this.test!.title += ' (skipped: there is no openssl to make a certificate with)'
        this.skip()
      }
      const [cert, key] = [readFileSync(join(dir, 'cert.pem')), readFileSync(join(dir, 'key.pem'))]
      const secure = await ScriptedServer.start(
        sound(([, text]) => bulk(text!)),
        { cert, key },
      )
      const { port } = secure
      await makeLink({ port, tls: { servername: 'localhost', ca: cert } }).connect()
      const large = 'x'.repeat(300_000)
      const calls = [call('GET', 'a'), call('GET', large), call('GET', 'b')]
      expect(await Promise.all(calls.map(({ ended }) => ended))).to.deep.equal([
        [REPLY_BULK, 'a'],
        [REPLY_BULK, large],
        [REPLY_BULK, 'b'],
      ])
      link.destroy({ kind: 'unknown', reason: 'closed', message: '' })
      expect(await whyNot(makeLink({ port, tls: { servername: 'localhost' } }).connect())).to.match(
        /self.signed/,
      )
      const elsewhere = { servername: 'elsewhere.example', ca: cert }
      expect(await whyNot(makeLink({ port, tls: elsewhere }).connect())).to.match(/altnames/)
      expect(await whyNot(makeLink({ port, connectTimeoutMs: 100 }).connect())).not.to.equal('connected')
      await secure.stop()
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
})

describe('the link to a real server', () => {
  let redis: RedisServer
  let client: Redis
  let link: Link
  let broken: NodeFailure[]

  before(async () => {
    redis = await startRedis()
    client = new Redis(redis.port, '127.0.0.1')
  })
  after(async () => {
    client.disconnect()
    await redis.stop()
  })
  beforeEach(async () => {
    await client.flushall()
    await client.set('__rondo:node', MARKER)
  })
  const close = () => link.destroy({ kind: 'unknown', reason: 'closed', message: 'the test is over' })
  afterEach(close)

  /** @param callTimeoutMs by default longer than any answer takes, also where others use the machine */
  const open = async (callTimeoutMs = 15_000) => {
    const runId = /run_id:(\w+)/.exec(await client.info('server'))![1]!
    broken = []
    link = new Link(
      {
        host: '127.0.0.1',
        port: redis.port,
        tls: null,
        connectTimeoutMs: 5000,
        callTimeoutMs,
        maxInFlight: 1000,
        maxUnsentBytes: 1 << 28,
        maxReplyBytes: 1 << 26,
      },
      { ...FENCE, runId },
      { clock: realClock, timers: realTimers, load: new NodeLoad() },
      { onBroken: (failure) => void broken.push(failure), onOtherMarker: () => null },
    )
    await link.connect()
  }

  const send = (encode: () => void): Call => {
    encode()
    const made = new Call()
    link.enqueue(made)
    return made
  }
  const SET = Buffer.from('*3\r\n$3\r\nSET\r\n')
  const block = (ms: number) => {
    const endMs = performance.now() + ms
    while (performance.now() < endMs);
  }

  it('is not blamed for our own busy event loop', async () => {
    await open(120)
    for (let i = 0; i < 3; i++) {
      const made = send(() => link.raw(encodeCommand(['GET', 'nothing'])))
      await turn() // it is sent
      block(300) // the answer arrives, and we do not look; the deadline passes
      expect(await made.ended).to.deep.equal([REPLY_NIL, null])
    }
    expect(broken).to.deep.equal([])
    expect(link.ready).to.equal(true)
  })

  it('is blamed for its own silence, however busy we are', async () => {
    await open(120)
    await redis.pause()
    const made = send(() => link.raw(encodeCommand(['GET', 'nothing'])))
    await turn()
    block(300)
    expect(await made.ended).to.include({ kind: 'unknown', reason: 'timeout' })
    redis.resume()
  })

  it('brings values of every size there and back as they were, copied or by reference', async () => {
    await open()
    const sizes = [0, 1, 1023, 1024, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 200_000, 3_000_000]
    const values = sizes.map((size) => randomBytes(size))
    const head = randomBytes(40)
    const twice = [0, 1].flatMap((round) =>
      values.map((value, i) => ({ key: Buffer.from(`${round}:${i}`), value })),
    )
    const sets = twice.map(({ key, value }, i) =>
      send(() => {
        link.raw(SET)
        link.bulk(key)
        if (i < values.length) link.bulk(value)
        else link.bulkOfTwo(head, 3, 33, value)
      }),
    )
    for (const { ended } of sets) expect(await ended).to.deep.equal([REPLY_SIMPLE, 'OK'])
    for (const [i, { key, value }] of twice.entries()) {
      const expected = i < values.length ? value : Buffer.concat([head.subarray(3, 33), value])
      expect((await client.getBuffer(key))!.equals(expected), `${expected.length} bytes`).to.equal(true)
      const got = send(() => link.raw(encodeCommand(['GET', key])))
      const [type, reply] = (await got.ended) as [number, string]
      expect(type).to.equal(REPLY_BULK)
      expect(Buffer.from(reply, 'latin1').equals(expected)).to.equal(true)
    }
  })

  it('keeps what was sent as it was, though the memory it was encoded in is used again', async () => {
    await open()
    const expected: string[] = []
    for (let batch = 0; batch < 300; batch++) {
      const calls: Call[] = []
      for (let i = 0; i < 1 + (batch % 7); i++) {
        const value = `${batch}:${i}:`.padEnd(
          20 + ((batch * 7919) % 20_000),
          String.fromCharCode(97 + (batch % 26)),
        )
        expected.push(value)
        calls.push(
          send(() => {
            link.raw(SET)
            link.bulk(Buffer.from(`k${expected.length - 1}`))
            link.bulk(Buffer.from(value))
          }),
        )
      }
      if (batch % 5 === 0) await Promise.all(calls.map(({ ended }) => ended))
      else await turn()
    }
    await until('all is there', async () => (await client.exists(`k${expected.length - 1}`)) === 1)
    const found = await client.mget(expected.map((_, i) => `k${i}`))
    found.forEach((value, i) => expect(value === expected[i], `k${i}`).to.equal(true))
  })
})
