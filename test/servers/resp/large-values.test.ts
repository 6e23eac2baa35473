// Pipelines of large values: they take their time, and nobody pays for it with an error.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect } from 'chai'
import { command, RawResp } from '../../support/raw-resp.ts'
import { startRedisCluster, type RedisServer } from '../../../scripts/redis-server.ts'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'

const MEGABYTE = 1_000_000

/** Sends all at once, and compares what comes with these replies, byte by byte, as it comes. */
class Pipeline {
  private readonly socket: Socket
  private readonly expected: readonly Buffer[]
  private index = 0
  private at = 0

  private constructor(socket: Socket, expected: readonly Buffer[]) {
    this.socket = socket
    this.expected = expected
  }

  /** How many replies have come; all that were expected, unless one was another or the connection ended. */
  static async run(port: number, commands: readonly Buffer[], expected: readonly Buffer[]): Promise<number> {
    const socket = connect({ port, host: '127.0.0.1' })
    const pipeline = new Pipeline(socket, expected)
    const closed = once(socket, 'close')
    socket.on('data', (chunk) => pipeline.onData(chunk))
    for (const bytes of commands) socket.write(bytes)
    await closed
    return pipeline.index
  }

  private onData(chunk: Buffer): void {
    for (let from = 0; from < chunk.length && this.index < this.expected.length;) {
      const reply = this.expected[this.index]!
      const length = Math.min(chunk.length - from, reply.length - this.at)
      if (chunk.compare(reply, this.at, this.at + length, from, from + length) !== 0) {
        this.socket.destroy(new Error(`reply ${this.index}: ${chunk.toString('latin1', from, from + 200)}`))
        return
      }
      from += length
      this.at += length
      if (this.at < reply.length) continue
      this.index++
      this.at = 0
    }
    if (this.index === this.expected.length) this.socket.destroy()
  }
}

/** The largest by default. */
const LARGEST = 8 * 1024 * 1024
/** Above a node's data, and far less than all replies together. */
const ROOM = 128 * 1024 * 1024

const bulk = (bytes: Buffer) =>
  Buffer.concat([Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n')])
const valueOf = (i: number, bytes: number) => Buffer.alloc(bytes, `value ${i}, `)

describe('pipelines of large values', function () {
  this.timeout(60_000)
  let servers: RedisServer[]
  let under: RondoUnderTest
  before(async () => {
    servers = await startRedisCluster(3)
    under = await RondoUnderTest.start(servers)
  })
  after(async () => {
    await under.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })
  /** A healthy node was not taken for a failed one. */
  afterEach(() => {
    const states = under.events.flatMap(({ event }) => (event.kind === 'node-state' ? [event] : []))
    expect(states.filter((event) => event.to !== 'up')).to.deep.equal([])
  })

  for (const [count, bytes] of [
    [150, MEGABYTE],
    [1000, 100_000],
  ] as const) {
    it(`${count} of ${bytes} bytes are stored and read back, in order`, async () => {
      const keys = Array.from({ length: 10 }, (_, i) => `large:${bytes}:${i}`)
      const values = keys.map((_, i) => valueOf(i, bytes))
      const nth = <T>(all: readonly T[], i: number) => all[i % all.length]!
      const sets = keys.map((key, i) => command('SET', key, values[i]!))
      const gets = keys.map((key) => command('GET', key))
      const each = Array.from({ length: count }, (_, i) => i)
      const oks = each.map(() => Buffer.from('+OK\r\n'))
      expect(
        await Pipeline.run(
          under.respPort,
          each.map((i) => nth(sets, i)),
          oks,
        ),
      ).to.equal(count)
      const replies = values.map(bulk)
      const found = await Pipeline.run(
        under.respPort,
        each.map((i) => nth(gets, i)),
        each.map((i) => nth(replies, i)),
      )
      expect(found).to.equal(count)
    })
  }

  it('are seen in order where large and small values of a key follow each other', async () => {
    const large = valueOf(1, 150_000)
    const commands: Buffer[] = []
    const replies: Buffer[] = []
    const ok = Buffer.from('+OK\r\n')
    for (let i = 0; i < 20; i++) {
      const key = `mixed:${i % 4}`
      const small = Buffer.from(`small ${i}`)
      commands.push(command('SET', key, large), command('GET', key), command('SET', key, small))
      commands.push(
        command('APPEND', key, '!'),
        command('GET', key),
        command('MSET', key, large, 'mixed:5', small),
      )
      commands.push(command('MGET', key, 'mixed:5'))
      const both = Buffer.concat([Buffer.from('*2\r\n'), bulk(large), bulk(small)])
      replies.push(ok, bulk(large), ok, Buffer.from(`:${small.length + 1}\r\n`))
      replies.push(bulk(Buffer.from(`small ${i}!`)), ok, both)
    }
    const others = [0, 1, 2, 3].map((other) => {
      const mine = commands.map((bytes) =>
        Buffer.from(bytes.toString('latin1').replaceAll('mixed', `mixe${other}`)),
      )
      return Pipeline.run(under.respPort, mine, replies)
    })
    const counts = await Promise.all([Pipeline.run(under.respPort, commands, replies), ...others])
    expect(counts).to.deep.equal([1, 2, 3, 4, 5].map(() => replies.length))
  })

  it('are fetched by many clients at once, 30 MB each, and no node is asked for too much', async () => {
    const keys = Array.from({ length: 30 }, (_, i) => `many:${i}`)
    const values = keys.map((_, i) => valueOf(i, MEGABYTE))
    const client = await RawResp.open(under.respPort)
    for (const [i, key] of keys.entries()) {
      expect(await client.ask('SET', key, values[i]!)).to.equal('+OK\r\n')
    }
    const reply = Buffer.concat([Buffer.from('*30\r\n'), ...values.map(bulk)])
    const most = { bytes: 0 }
    const look = setInterval(() => {
      for (const { node } of under.members) most.bytes = Math.max(most.bytes, node.load.largeBytes)
    }, 1)
    const clients = Array.from({ length: 16 }, () =>
      Pipeline.run(under.respPort, [command('MGET', ...keys)], [reply]),
    )
    expect(await Promise.all(clients)).to.deep.equal(clients.map(() => 1))
    clearInterval(look)
    expect(most.bytes).to.be.within(1, 8 * MEGABYTE)
    expect(under.members.map(({ node }) => node.load.largeBytes)).to.deep.equal([0, 0, 0])
    client.close()
  })

  it('do not keep others waiting for an error', async () => {
    const key = 'large:shared'
    const client = await RawResp.open(under.respPort)
    expect(await client.ask('SET', key, valueOf(0, MEGABYTE))).to.equal('+OK\r\n')
    let busy = true
    const reply = bulk(valueOf(0, MEGABYTE))
    const greedy = Promise.all(
      [1, 2, 3].map(() =>
        Pipeline.run(
          under.respPort,
          Array.from({ length: 60 }, () => command('GET', key)),
          Array.from({ length: 60 }, () => reply),
        ),
      ),
    ).finally(() => (busy = false))
    for (let i = 0; busy; i++) expect(await client.ask('SET', `small:${i}`, 'v')).to.equal('+OK\r\n')
    expect(await greedy).to.deep.equal([60, 60, 60])
    client.close()
  })
})

describe('values of MAX_VALUE_BYTES, of whose sizes a coordinator knows nothing yet', function () {
  this.timeout(120_000)
  let servers: RedisServer[]
  beforeEach(async () => (servers = await startRedisCluster(4)))
  afterEach(() => Promise.all(servers.map((server) => server.stop())))

  for (const [count, bytes] of [
    [64, LARGEST],
    [200, MEGABYTE],
  ] as const) {
    it(`${count} of ${bytes} bytes in one pipeline: no node fails, and none evicts a key`, async () => {
      const value = valueOf(0, bytes)
      const keys = Array.from({ length: 8 }, (_, i) => `large:${i}`)
      const nth = (i: number) => keys[i % keys.length]!
      const each = Array.from({ length: count }, (_, i) => i)
      const writer = await RondoUnderTest.start(servers)
      const oks = keys.map(() => Buffer.from('+OK\r\n'))
      const sets = keys.map((key) => command('SET', key, value))
      expect(await Pipeline.run(writer.respPort, sets, oks)).to.equal(keys.length)
      await writer.stop()
      const under = await RondoUnderTest.start(servers)
      const clients = servers.map((server) => under.client(server))
      for (const client of clients) {
        const used = Number(/used_memory:(\d+)/.exec(await client.info('memory'))![1])
        await client.config('SET', 'maxmemory', String(used + ROOM))
        await client.config('SET', 'maxmemory-policy', 'volatile-lru')
      }
      const gets = each.map((i) => command('GET', nth(i)))
      const reply = bulk(value)
      const replies = each.map(() => reply)
      expect(await Pipeline.run(under.respPort, gets, replies)).to.equal(count)
      for (const client of clients) expect(await client.info('stats')).to.include('evicted_keys:0\r\n')
      const states = [...writer.events, ...under.events].map(({ event }) => event)
      expect(states.filter((event) => event.kind === 'node-state' && event.to === 'down')).to.deep.equal([])
      await under.stop()
    })
  }
})
