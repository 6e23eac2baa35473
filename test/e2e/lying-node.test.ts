/** A whole coordinator with one node that lies beside two good ones: it serves on, and what it shows stays small. */
import { expect } from 'chai'
import { TOPOLOGY_KEY } from '../../src/core/keys.ts'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'
import { ScriptedServer, type Answer } from '../support/scripted-server.ts'

const LONG = 'e'.repeat(3_000_000)
const MAX_STATUS_CHARACTERS = 10_000
/** In REDIS_URLS it is the third. */
const LIAR = 'redis-3'

const LIES: [string, (command: string[]) => Answer][] = [
  ['is an HTTP server', () => 'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'],
  ['echoes', (command) => command.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join('')],
  ['pushes', () => '>1\r\n_\r\n'],
  ['says nil to everything', () => '$-1\r\n'],
  ['says OK to everything', () => '+OK\r\n'],
  ['answers everything twice', () => '$-1\r\n$-1\r\n'],
  ['announces 30 million elements', () => '*30000000\r\n'],
  ['says errors of 3 MB', () => `-ERR ${LONG}\r\n`],
  ['says long errors', () => `-ERR ${LONG.slice(0, 15_000)}\r\n`],
  ['is part of a Redis Cluster', () => '-MOVED 1234 127.0.0.1:1\r\n'],
  ['says nothing', () => null],
]

describe('one node of three', () => {
  let good: RedisServer[]
  let liar: ScriptedServer | null = null
  let under: RondoUnderTest | null = null
  const escaped: unknown[] = []
  const onEscaped = (error: unknown) => void escaped.push(error)

  before(async () => {
    good = await Promise.all([startRedis(), startRedis()])
    process.on('uncaughtException', onEscaped)
    process.on('unhandledRejection', onEscaped)
  })
  afterEach(async () => {
    await under?.stop()
    await liar?.stop()
    under = null
    liar = null
  })
  after(async () => {
    process.off('uncaughtException', onEscaped)
    process.off('unhandledRejection', onEscaped)
    await Promise.all(good.map((server) => server.stop()))
  })

  async function expectServes(): Promise<void> {
    const { rondo } = under!
    for (let i = 0; i < 10; i++) {
      expect((await under!.put(`k${i}`, 'v')).result).to.equal('ok')
      expect((await under!.get(`k${i}`)).result).to.equal('v')
    }
    expect(Number.isFinite(rondo.cluster.time.nowMs())).to.equal(true)
    expect((await (await fetch(`${under!.url}/status`)).text()).length).to.be.below(MAX_STATUS_CHARACTERS)
    expect(escaped).to.deep.equal([])
  }

  for (const [what, answer] of LIES) {
    it(`${what}: it is down with a sentence, and the others serve`, async () => {
      liar = await ScriptedServer.start(answer)
      const urls = [...good.map(({ port }) => port), liar.port].map(
        (port, i) => `redis-${i + 1}=127.0.0.1:${port}`,
      )
      under = await RondoUnderTest.start(good, {
        REDIS_URLS: urls.join(','),
        NODE_TIMEOUT_MS: '200',
        CONNECT_TIMEOUT_MS: '200',
      })
      const member = under.rondo.cluster.members.find(({ id }) => id === LIAR)!
      await until('it is down', () => member.health.state === 'down')
      expect(member.lastError!.length).to.be.within(1, 500)
      await expectServes()
    })
  }

  const DAMAGE: [string, (server: RedisServer) => Promise<unknown>][] = [
    ['text', (server) => under!.client(server).set(TOPOLOGY_KEY, '{"cluster":')],
    ['another type', (server) => under!.client(server).lpush(TOPOLOGY_KEY, 'x')],
    ['2 MB', (server) => under!.client(server).set(TOPOLOGY_KEY, Buffer.alloc(2_000_000))],
  ]
  for (const [what, damage] of DAMAGE) {
    it(`has ${what} for its topology: the start goes on with the others, and the node is named`, async () => {
      const third = await startRedis()
      try {
        const all = [...good, third]
        await Promise.all(all.map((server) => server.restart({ wipe: true })))
        under = await RondoUnderTest.start(all)
        await until('all are in use', () => under!.members.every(({ takesValues }) => takesValues))
        await under.client(third).del(TOPOLOGY_KEY)
        await damage(third)
        await under.stop()
        under = await RondoUnderTest.start(all)
        const member = under.member(third)
        await until('it is down', () => member.health.state === 'down')
        expect(member.lastError).to.match(/__rondo:topology|bulk string of 2000000 bytes/)
        await expectServes()
        await under.client(third).del(TOPOLOGY_KEY)
        await under.used(third)
      } finally {
        await third.stop()
      }
    }).timeout(20_000)
  }
})
