// Commands sent without waiting: replies in the order of the commands, and each command sees those before it.
import { once } from 'node:events'
import { connect } from 'node:net'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { Admission } from '../../../src/coordinator/admission/admission.ts'
import { COMMANDS } from '../../../src/servers/resp/table.ts'
import { STEPS } from '../../../src/commands/specs.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { seeded, seeds } from '../../support/random.ts'
import { type RedisServer, startRedisCluster } from '../../../scripts/redis-server.ts'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const LEVELS = ['one', 'quorum', 'all']
const bulk = (text: string) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`

describe('pipelines of the Redis protocol', () => {
  it('what is taken for an update of one key is one, so that reads behind it wait', () => {
    const ordinary = ['k', '1', '1']
    const others: Readonly<Record<string, readonly string[]>> = {
      linsert: ['k', 'BEFORE', '1', '1'],
    }
    const key = Buffer.from('k')
    const limits = { maxValueBytes: 1024, defaultTtlMs: 0, database: 0, databases: 16, random: Math.random }
    for (const { name, nameBytes, arity } of COMMANDS.filter(({ updates }) => updates)) {
      const args = (others[name] ?? ordinary).map((text) => Buffer.from(text))
      const step = STEPS[name]!.make([nameBytes, ...args].slice(0, Math.abs(arity)), 0, limits)
      expect(step, name).to.include({ reads: true, writes: true })
      expect(step.keys, name).to.deep.equal([key])
    }
  })

  describe('on memory nodes', () => {
    let running: RunningRondo
    let client: RawResp
    before(async () => (running = await startRondo()))
    after(() => running.stop())
    beforeEach(async () => (client = await RawResp.open(running.rondo.respServer.port)))
    afterEach(() => client.close())

    for (const level of LEVELS) {
      it(`commands on a few keys see each other, cut anywhere, at ${level}`, async () => {
        const seed = seeds(1)[0]!
        const random = seeded(seed)
        await client.ask('RONDO', 'CONSISTENCY', level)
        for (let round = 0; round < 10; round++) {
          const { sent, replies } = randomCommands(random, `${seed}:${round}:`, 300)
          const bytes = Buffer.concat(sent)
          for (let at = 0; at < bytes.length;) {
            const end = at + 1 + random.below(2000)
            client.send(bytes.subarray(at, end))
            at = end
            await new Promise((resolve) => setImmediate(resolve)) // a chunk of its own
          }
          expect(await client.replies(replies.length), `seed ${seed}`).to.deep.equal(replies)
        }
      })
    }

    it('a change of the level, or of the protocol, counts for what comes behind it', async () => {
      const lines = [
        'SET level 1',
        'RONDO CONSISTENCY all',
        'INCR level',
        'RONDO CONSISTENCY one',
        'GET level',
      ]
      client.send(lines.map((line) => `${line}\r\n`).join(''))
      expect(await client.replies(5)).to.deep.equal(['+OK\r\n', '+OK\r\n', ':2\r\n', '+OK\r\n', bulk('2')])
    })

    it('10,000 in one go come back in order', async () => {
      client.send(
        Buffer.concat(Array.from({ length: 10_000 }, (_, i) => command('SET', `many:${i}`, String(i)))),
      )
      expect(new Set(await client.replies(10_000))).to.deep.equal(new Set(['+OK\r\n']))
      client.send(Buffer.concat(Array.from({ length: 10_000 }, (_, i) => command('GET', `many:${i}`))))
      expect(await client.replies(10_000)).to.deep.equal(
        Array.from({ length: 10_000 }, (_, i) => bulk(String(i))),
      )
    })

    it('a read of many keys sees none of what was sent behind it', async () => {
      const keys = Array.from({ length: 600 }, (_, i) => `read:${i}`)
      const last = keys.at(-1)!
      client.send(Buffer.concat(keys.map((key) => command('SET', key, 'old'))))
      await client.replies(keys.length)
      client.send(
        Buffer.concat([
          command('MGET', ...keys),
          command('SET', last, 'new'),
          command('EXISTS', ...keys),
          command('DEL', last),
          command('GET', last),
        ]),
      )
      const [mget, ...others] = await client.replies(5)
      expect(mget).to.equal(`*600\r\n${bulk('old').repeat(600)}`)
      expect(others).to.deep.equal(['+OK\r\n', ':600\r\n', ':1\r\n', '$-1\r\n'])
    })

    describe('where a node has no room', () => {
      const ALL_ROOM_BYTES = 2 ** 30
      /** How many of these reads of one key begin in the moment in which its nodes have room again. */
      async function beginAtOnce(...commands: Buffer[]): Promise<number> {
        const { cluster, coordinator } = running.rondo
        const { admission } = coordinator as unknown as { admission: Admission }
        await client.ask('MSET', 'k', 'v', 'k2', 'v')
        let begun = 0
        const own = new Map(cluster.members.map(({ node }) => [node, node.get.bind(node)]))
        for (const [node, get] of own) {
          node.get = (...args) => {
            begun++
            get(...args)
          }
          node.load.smallBytes += ALL_ROOM_BYTES
        }
        client.send(Buffer.concat(commands))
        while (admission.waiting === 0) await new Promise((resolve) => setImmediate(resolve))
        expect(begun).to.equal(0)
        for (const node of own.keys()) node.load.less(0, ALL_ROOM_BYTES)
        const atOnce = begun
        await client.replies(commands.length)
        for (const [node, get] of own) node.get = get
        return atOnce
      }
      const get = command('GET', 'k')

      it('a pipeline of single reads goes on as soon as there is room, not one of them per turn', async () => {
        expect(await beginAtOnce(...Array.from({ length: 20 }, () => get))).to.equal(20)
      })

      it('what follows a read of several keys begins in a later turn: more of that may have to begin first', async () => {
        expect(await beginAtOnce(command('MGET', 'k', 'k2'), get, get)).to.be.below(3)
      })
    })

    it('a client that closed its end and reads late gets all, and then the end', async () => {
      await client.ask('SET', 'large', Buffer.alloc(1_000_000, 'v'))
      const late = connect({ port: running.rondo.respServer.port, host: '127.0.0.1' })
      let bytes = 0
      late.on('data', (chunk) => (bytes += chunk.length))
      const mget = command('MGET', ...Array.from({ length: 9 }, () => 'large'))
      const replyBytes = 4 + 9 * (1_000_000 + 12)
      for (let i = 1; i <= 8; i++) {
        late.write(mget)
        while (bytes < i * replyBytes) await once(late, 'data')
      }
      late.pause()
      const before = [command('SET', 'n', '4'), command('INCR', 'n'), command('GET', 'n')]
      late.end(Buffer.concat([...before, mget, mget, mget, mget]))
      await new Promise((resolve) => setTimeout(resolve, 200)) // the kernel has taken what it can
      late.resume()
      await once(late, 'end')
      expect(bytes).to.equal('+OK\r\n:5\r\n$1\r\n5\r\n'.length + 12 * replyBytes)
    })

    it('what a client sent before it closed its end is answered', async () => {
      client.send(
        Buffer.concat([command('SET', 'end', 'v'), command('APPEND', 'end', 'w'), command('GET', 'end')]),
      )
      client.socket.end()
      expect(await client.rest()).to.equal(`+OK\r\n:2\r\n${bulk('vw')}`)
    })
  })

  describe('on Redis servers', function () {
    this.timeout(20_000)
    let servers: RedisServer[]
    let under: RondoUnderTest
    beforeEach(async () => {
      servers = await startRedisCluster(3)
      under = await RondoUnderTest.start(servers, { REPLICATION_FACTOR: '1', MAX_TRIES: '1' })
    })
    afterEach(async () => {
      await under.stop()
      await Promise.all(servers.map((server) => server.stop()))
    })

    it('updates of one key gather: a thousand need a few stores', async () => {
      const client = await RawResp.open(under.respPort)
      client.send(Buffer.concat(Array.from({ length: 1000 }, () => command('INCR', 'gathered'))))
      const replies = await client.replies(1000)
      expect(replies).to.deep.equal(Array.from({ length: 1000 }, (_, i) => `:${i + 1}\r\n`))
      client.close()
      const stats = await Promise.all(
        servers.map(async ({ port }) => {
          const direct = await RawResp.open(port)
          const told = await direct.ask('INFO', 'commandstats')
          direct.close()
          return told
        }),
      )
      const calls = [...stats.join().matchAll(/cmdstat_evalsha:calls=(\d+)/g)].map(([, count]) =>
        Number(count),
      )
      expect(calls.reduce((sum, count) => sum + count)).to.be.within(1, 100)
    })

    for (const end of ['is killed', 'hangs'] as const) {
      it(`when a node ${end} in the middle, only its own commands fail, and all replies are in their places`, async () => {
        const client = await RawResp.open(under.respPort)
        const keys = Array.from({ length: 300 }, (_, i) => `key:${i}`)
        client.send(Buffer.concat(keys.map((key, i) => command('SET', key, `value ${i}`))))
        await client.replies(keys.length)
        const [victim] = servers
        if (end === 'hangs') await victim!.pause()
        client.send(Buffer.concat(keys.map((key) => command('GET', key))))
        if (end === 'is killed') await victim!.kill()
        client.send(Buffer.concat(keys.map((key) => command('STRLEN', key))))
        const replies = await client.replies(2 * keys.length)
        let failed = 0
        for (const [i, reply] of replies.entries()) {
          const value = `value ${i % keys.length}`
          const right = i < keys.length ? bulk(value) : `:${value.length}\r\n`
          if (under.serversOf(keys[i % keys.length]!)[0] !== victim) expect(reply).to.equal(right)
          else if (reply !== right) {
            expect(reply).to.match(/^-NOREPLICAS /)
            failed++
          }
        }
        expect(failed).to.be.above(0)
        expect(await client.ask('PING')).to.equal('+PONG\r\n')
        client.close()
      })
    }
  })

  describe('on Redis servers, at quorum', function () {
    this.timeout(20_000)
    let servers: RedisServer[]
    let nodes: Redis[]
    let under: RondoUnderTest
    let client: RawResp
    before(async () => {
      servers = await startRedisCluster(4)
      nodes = servers.map(({ url }) => new Redis(url))
      under = await RondoUnderTest.start(servers)
      client = await RawResp.open(under.respPort)
    })
    after(async () => {
      client.close()
      await under.stop()
      for (const node of nodes) node.disconnect()
      await Promise.all(servers.map((server) => server.stop()))
    })

    it('a read does not see what follows it', async () => {
      await client.ask('RONDO', 'CONSISTENCY', 'quorum')
      const keys = Array.from({ length: 1000 }, (_, i) => `followed:${i}`)
      const reads: ((key: string) => [string[], string])[] = [
        (key) => [['GET', key], '$-1\r\n'],
        (key) => [['EXISTS', key], ':0\r\n'],
        (key) => [['MGET', key], '*1\r\n$-1\r\n'],
        (key) => [['STRLEN', key], ':0\r\n'],
      ]
      const expected: string[] = []
      const sent = keys.flatMap((key, i) => {
        const [read, reply] = reads[i % reads.length]!(key)
        expected.push(':1\r\n', reply, '+OK\r\n')
        return [command('DEL', key), command(...read), command('SET', key, 'later')]
      })
      client.send(Buffer.concat(keys.map((key) => command('SET', key, 'v'))))
      await client.replies(keys.length)
      client.send(Buffer.concat(sent))
      expect(await client.replies(sent.length)).to.deep.equal(expected)
    })

    it('a flush deletes what was acknowledged, though a copy is still on its way', async () => {
      await client.ask('RONDO', 'CONSISTENCY', 'quorum')
      for (let round = 0; round < 12; round++) {
        const key = `flushed:${round}`
        await nodes[round % nodes.length]!.call('CLIENT', 'PAUSE', '100', 'WRITE')
        expect(await client.ask('INCR', key)).to.equal(':1\r\n')
        expect(await client.ask('FLUSHDB')).to.equal('+OK\r\n')
        expect(await client.ask('GET', key), `round ${round}`).to.equal('$-1\r\n')
      }
    })
  })
})

/** Commands on five keys, and what they answer when they are carried out one after the other. */
function randomCommands(random: ReturnType<typeof seeded>, prefix: string, count: number) {
  const held = new Map<string, string>()
  const sent: Buffer[] = []
  const replies: string[] = []
  const say = (args: string[], reply: string) => {
    sent.push(command(...args))
    replies.push(reply)
  }
  for (let i = 0; i < count; i++) {
    const key = `${prefix}${random.below(5)}`
    const value = held.get(key)
    switch (random.below(7)) {
      case 0:
      case 1:
        say(['SET', key, String(i)], '+OK\r\n')
        held.set(key, String(i))
        break
      case 2:
        say(['GET', key], value === undefined ? '$-1\r\n' : bulk(value))
        break
      case 3:
        say(['INCRBY', key, '7'], `:${Number(value ?? 0) + 7}\r\n`)
        held.set(key, String(Number(value ?? 0) + 7))
        break
      case 4: {
        const other = `${prefix}${random.below(5)}`
        const found = new Set([key, other].filter((one) => held.has(one)))
        say(['DEL', key, other], `:${found.size}\r\n`)
        for (const one of found) held.delete(one)
        break
      }
      case 5: {
        const keys = [key, `${prefix}${random.below(5)}`, `${prefix}${random.below(5)}`]
        const values = keys.map((one) => (held.has(one) ? bulk(held.get(one)!) : '$-1\r\n'))
        say(['MGET', ...keys], `*3\r\n${values.join('')}`)
        break
      }
      case 6: {
        const other = `${prefix}${random.below(5)}`
        say(['MSET', key, '1', other, '2'], '+OK\r\n')
        held.set(key, '1')
        held.set(other, '2')
      }
    }
  }
  return { sent, replies }
}
