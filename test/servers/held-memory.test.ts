// Every way in which clients can make the process hold memory is a row: the greedy ones wait, are refused or are cut, a small
// client is served meanwhile, and in the end nothing is left in the account.
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { IDLE_BYTES, type Account } from '../../src/servers/ledger.ts'
import { imbalanceOf } from '../support/ledger.ts'
import { requestBytes } from '../support/raw-http.ts'
import { command, RawResp } from '../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../support/rondo.ts'

const MIB = 1024 * 1024
const LIMIT = 16 * MIB
const VALUE = Buffer.alloc(256 * 1024, 'v')

interface Way {
  readonly over: 'resp' | 'http'
  readonly connections: number
  /** What each sends; nothing that comes back is read. */
  readonly sent: () => Iterable<Buffer>
  /** What is kept is copied out of the chunks, and is little. */
  readonly isCopied?: true
}

const bulks = (count: number) => Array.from({ length: count }, () => '$1\r\na\r\n').join('')
const get = requestBytes('GET', '/api/v1/keys/large')
const repeat = (bytes: Buffer, times: number) => Buffer.concat(Array.from({ length: times }, () => bytes))

const WAYS: Record<string, Way> = {
  'replies that nobody reads': {
    over: 'resp',
    connections: 12,
    sent: () => [repeat(command('GET', 'large'), 100)],
  },
  'arrays of values that nobody reads': {
    over: 'resp',
    connections: 12,
    sent: () => [command('MGET', ...Array.from({ length: 30 }, () => 'large'))],
  },
  'values that are collected for one command': {
    over: 'resp',
    connections: 12,
    sent: () => [command('MGET', ...Array.from({ length: 100 }, (_, i) => `large${i % 20}`))],
  },
  'half commands': {
    over: 'resp',
    connections: 12,
    sent: () => [Buffer.from('*3\r\n$3\r\nSET\r\n$1\r\na\r\n$3900000\r\n'), Buffer.alloc(3_800_000, 'x')],
  },
  'arguments of a command that is not whole': {
    over: 'resp',
    connections: 12,
    sent: () => [Buffer.from(`*40000\r\n$4\r\nMGET\r\n${bulks(35_000)}`)],
  },
  'transactions that do not end': {
    over: 'resp',
    connections: 12,
    sent: () => [command('MULTI'), ...Array.from({ length: 15 }, (_, i) => command('SET', `{t}${i}`, VALUE))],
  },
  'places in which clients wait': {
    over: 'resp',
    connections: 24,
    sent: () => [command('BLPOP', ...Array.from({ length: 999 }, (_, i) => `none${i}`), '0')],
  },
  'a few bytes of each chunk in a transaction': {
    isCopied: true,
    over: 'resp',
    connections: 12,
    *sent() {
      yield command('MULTI')
      for (let i = 0; i < 64; i++)
        yield Buffer.concat([command('ECHO', 'ab'), Buffer.alloc(64 * 1024 - 22, '\r\n')])
    },
  },
  'request bodies that are not whole': {
    over: 'http',
    connections: 12,
    sent: () => [
      Buffer.from(
        'POST /api/v1/mset HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n',
      ),
      Buffer.alloc(3_900_000, ' '),
    ],
  },
  'HTTP answers that nobody reads': {
    over: 'http',
    connections: 40,
    sent: () => [repeat(get, 40)],
  },
}

describe('memory that clients make the process hold', function () {
  this.timeout(180_000)
  let running: RunningRondo
  let small: RawResp
  before(async () => {
    running = await startWithValues()
    small = await RawResp.open(running.rondo.respServer.port)
  })
  after(async () => {
    small.close()
    await running.stop()
  })
  afterEach(() => expect(imbalanceOf(running.rondo.ledger)).to.equal(null))

  // Side by side, each with a process of its own to fill: what is stuck is given five seconds.
  const failures = new Map<string, Promise<unknown>>()
  before(() => {
    for (const [what, way] of Object.entries(WAYS)) failures.set(what, failureOf(tryWay(way)))
  })
  for (const what of Object.keys(WAYS)) {
    it(`${what}: bounded, and nobody else pays`, async () => {
      const failure = await failures.get(what)
      if (failure) throw failure as Error
    })
  }

  it('a client that takes what it asked for leaves nothing in its account', async () => {
    const client = await RawResp.open(running.rondo.respServer.port)
    const commands = [
      command('MULTI'),
      command('SET', '{l}a', 'v'),
      command('GET', '{l}a'),
      command('EXEC'),
      command('WATCH', '{l}a'),
      command('UNWATCH'),
      command('MULTI'),
      command('SET', '{l}a', 'v'),
      command('DISCARD'),
      command('MGET', 'large', 'large1', 'absent'),
      command('NOSUCH', 'x'),
      command('APPEND', 'app', VALUE),
      Buffer.from('PING inline\r\n'),
    ]
    for (let i = 0; i < 3; i++) {
      client.send(Buffer.concat(commands))
      await client.replies(commands.length)
    }
    const account = accountOf(client)
    await until(() => account.bytes === IDLE_BYTES)
    client.close()
  })

  it('one that writes its whole pipeline before it reads gets all replies', async () => {
    const client = connect(running.rondo.respServer.port, '127.0.0.1')
    client.pause()
    const gets = 30_000
    // 30 bytes a GET, 3 MiB of replies and more of overhead: within a connection's share of what may be held.
    const sent = new Promise<void>((resolve) =>
      client.write(repeat(command('GET', 'small1'), gets), () => resolve()),
    )
    await small.ask('SET', 'small1', Buffer.alloc(80, 's'))
    await sent
    let received = 0
    client.on('data', (chunk: Buffer) => (received += chunk.length))
    client.resume()
    await until(() => received >= gets * '$1\r\na\r\n'.length)
    client.destroy()
    await until(() => running.rondo.ledger.accounts === 1)
  })

  function accountOf(client: RawResp): Account {
    const port = client.socket.localPort
    return [...running.rondo.respServer.connections].find(({ socket }) => socket.remotePort === port)!.account
  }
})

/** What is stuck is given five seconds, one connection after the other: with twelve of them, a minute. */
async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 20_000; tries++) {
    if (holds()) return
    await delay(5)
  }
  throw new Error('it did not come true')
}

/** With room for 16 MiB, and 21 values of 256 KiB in it. */
async function startWithValues(): Promise<RunningRondo> {
  const running = await startRondo({
    MAX_CLIENT_MEMORY: String(LIMIT),
    MAX_VALUE_BYTES: '1MiB',
    MEMORY_NODE_MAX_BYTES: '64MiB',
  })
  const client = await RawResp.open(running.rondo.respServer.port)
  expect(await client.ask('SET', 'large', VALUE)).to.equal('+OK\r\n')
  for (let i = 0; i < 20; i++) expect(await client.ask('SET', `large${i}`, VALUE)).to.equal('+OK\r\n')
  client.close()
  await until(() => running.rondo.ledger.accounts === 0)
  return running
}

function failureOf(tried: Promise<void>): Promise<unknown> {
  return tried.then(
    () => null,
    (error: unknown) => error,
  )
}

async function tryWay(way: Way): Promise<void> {
  const running = await startWithValues()
  const { ledger, respServer } = running.rondo
  const small = await RawResp.open(respServer.port)
  const [smallOne] = respServer.connections
  const sockets: Socket[] = []
  let most = 0
  const port = way.over === 'resp' ? respServer.port : running.ports.socket
  try {
    for (let i = 0; i < way.connections; i++) {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => undefined) // it may be cut
      sockets.push(socket)
      socket.pause()
      for (const bytes of way.sent()) socket.write(bytes)
    }
    const refusedBefore = ledger.refused
    // A hundred rounds of a small client, while the others send whatever they can.
    for (let i = 0; i < 100; i++) {
      expect(await small.ask('SET', `small${i % 10}`, String(i))).to.equal('+OK\r\n')
      expect(await small.ask('GET', `small${i % 10}`)).to.equal(`$${String(i).length}\r\n${i}\r\n`)
      most = Math.max(most, ledger.used)
      expect(imbalanceOf(ledger)).to.equal(null)
      await delay(5)
    }
    // What nodes answer in one turn comes on top, before the largest are cut.
    expect(most).to.be.below(LIMIT * 3)
    const counted = most > LIMIT / 8 || ledger.refused > refusedBefore
    expect(counted, `${most} at most`).to.equal(!way.isCopied)
    expect(respServer.connections.has(smallOne!)).to.equal(true)
    for (const socket of sockets) socket.destroy()
    await until(() => ledger.accounts === 1)
    await until(() => ledger.used === IDLE_BYTES)
  } finally {
    for (const socket of sockets) socket.destroy()
    small.close()
    await running.stop()
  }
}
