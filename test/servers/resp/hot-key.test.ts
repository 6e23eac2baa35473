// Fifty clients that change one key at the same time: none of them is refused, and nothing is lost.
import { expect } from 'chai'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RedisServer, startRedisCluster } from '../../../scripts/redis-server.ts'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'

const CLIENTS = 50
const TIMES = 20
const LEVELS = ['one', 'quorum', 'all'] as const

describe('a key that many change, over the Redis protocol', function () {
  this.timeout(30_000)
  let servers: RedisServer[]
  let coordinators: RondoUnderTest[]
  before(async () => {
    servers = await startRedisCluster(3)
    // What is wrong here ends in an error at the deadline, and what is only slow does not.
    const env = { REQUEST_TIMEOUT_MS: '5000' }
    coordinators = [await RondoUnderTest.start(servers, env), await RondoUnderTest.start(servers, env)]
  })
  after(async () => {
    for (const coordinator of coordinators) await coordinator.stop()
    for (const server of servers) await server.stop()
  })

  /** Every client sends this so many times, each time when the last was answered. @returns all replies */
  async function clients(
    through: readonly RondoUnderTest[],
    level: string,
    commands: readonly string[][],
  ): Promise<string[]> {
    const replies = await Promise.all(
      Array.from({ length: CLIENTS }, async (_, i) => {
        const client = await RawResp.open(through[i % through.length]!.respPort)
        await client.ask('RONDO', 'CONSISTENCY', level)
        const mine: string[] = []
        for (let n = 0; n < TIMES; n++) {
          client.send(Buffer.concat(commands.map((words) => command(...words))))
          mine.push(...(await client.replies(commands.length)))
        }
        client.close()
        return mine
      }),
    )
    return replies.flat()
  }

  /** At level all. */
  async function ask(...words: string[]): Promise<string> {
    const client = await RawResp.open(coordinators[0]!.respPort)
    await client.ask('RONDO', 'CONSISTENCY', 'all')
    const reply = await client.ask(...words)
    client.close()
    return reply
  }

  const total = CLIENTS * TIMES
  const numbers = Array.from({ length: total }, (_, i) => `:${i + 1}\r\n`)
  const inOrder = (replies: readonly string[]) =>
    replies.toSorted((a, b) => Number(a.slice(1)) - Number(b.slice(1)))

  const limiterCounts = (replies: readonly string[]) => {
    const executed = replies.filter((_, i) => i % 4 === 3)
    return executed.map((reply) => /^\*2\r\n(:\d+\r\n):1\r\n$/.exec(reply)?.[1] ?? reply)
  }
  const limiter = (name: string) => [['MULTI'], ['INCR', name], ['EXPIRE', name, '60'], ['EXEC']]

  const cases = [
    ...LEVELS.map((level) => ({ through: 1, level })),
    // Two coordinators at other levels: below.
    { through: 2, level: 'one' },
  ]
  for (const { through, level } of cases) {
    const all = () => coordinators.slice(0, through)

    describe(`through ${through === 1 ? 'one coordinator' : 'two coordinators'}, at ${level}`, () => {
      const key = (name: string) => `${name}:${through}:${level}`

      it('INCR answers each number once', async () => {
        const replies = await clients(all(), level, [['INCR', key('count')]])
        expect(inOrder(replies)).to.deep.equal(numbers)
      })

      it('APPEND answers each length once', async () => {
        const replies = await clients(all(), level, [['APPEND', key('log'), 'x']])
        expect(inOrder(replies)).to.deep.equal(numbers)
      })

      it('MULTI, INCR, EXPIRE, EXEC answers each number once', async () => {
        const replies = await clients(all(), level, limiter(key('limit')))
        expect(inOrder(limiterCounts(replies))).to.deep.equal(numbers)
      })

      it('SET XX KEEPTTL and EXPIRE are never refused', async () => {
        const name = key('kept')
        await ask('SET', name, '0', 'EX', '100')
        const replies = await clients(all(), level, [
          ['SET', name, '1', 'XX', 'KEEPTTL'],
          ['EXPIRE', name, '100'],
        ])
        expect(new Set(replies)).to.deep.equal(new Set(['+OK\r\n', ':1\r\n']))
        expect(await ask('GET', name)).to.equal('$1\r\n1\r\n')
      })
    })
  }

  // Where two coordinators meet between the two rounds, some replicas may have taken what the others refused: nobody can
  // say then whether the other one has built on it.
  for (const level of ['quorum', 'all']) {
    it(`through two coordinators, at ${level}, no number is answered twice, and what is not answered is unknown`, async () => {
      for (const [name, counts] of [
        [`count:2:${level}`, await clients(coordinators, level, [['INCR', `count:2:${level}`]])],
        [`limit:2:${level}`, limiterCounts(await clients(coordinators, level, limiter(`limit:2:${level}`)))],
      ] as const) {
        const told = counts.filter((reply) => reply.startsWith(':'))
        expect(new Set(told).size).to.equal(told.length)
        const others = counts.filter((reply) => !reply.startsWith(':'))
        expect(others.filter((reply) => !reply.startsWith('-UNKNOWN'))).to.deep.equal([])
        const sum = Number((await ask('GET', name)).split('\r\n')[1])
        expect(sum).to.be.within(told.length, total)
      }
    })
  }
})
