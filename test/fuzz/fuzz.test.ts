/** A moment of what `npm run fuzz` does for ten minutes. */
import { expect } from 'chai'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'
import { seeds } from '../support/random.ts'
import { compare } from './compare.ts'
import { Fuzz, printed } from './fuzz.ts'
import { DOOR_ENV, ORACLE_ARGS } from './oracle.ts'

const LIMIT_MS = 2000

describe('random bytes to the Redis protocol server', function () {
  this.timeout(60_000) // for making a failure short
  let redis: RedisServer
  let running: RunningRondo

  before(async () => {
    redis = await startRedis({ args: ORACLE_ARGS })
    running = await startRondo(DOOR_ENV)
  })
  after(async () => {
    await running.stop()
    await redis.stop()
  })

  it('are answered as a real Redis answers them, and nobody else is disturbed', async () => {
    const [seed] = seeds(1)
    const fuzz = new Fuzz(running.rondo.respServer.port, redis.port)
    await fuzz.run(seed!, LIMIT_MS)
    expect(fuzz.failure && `${printed(fuzz.failure)}\nRONDO_SEED=${seed}`).to.equal(null)
    expect(fuzz.streams).to.be.above(20)
  })
})

describe('what may differ from Redis', () => {
  const verdictOf = (ours: string, theirs: string) => {
    const answered = (text: string) => ({ bytes: Buffer.from(text, 'latin1'), reset: false })
    return compare('damaged', Buffer.from('x'), answered(ours), answered(theirs)).is
  }

  it('keys that do not share a hash tag any more, by themselves and within EXEC', () => {
    expect(verdictOf('-CROSSSLOT Keys …\r\n', ':1\r\n')).to.equal('meant')
    expect(verdictOf('*3\r\n+OK\r\n-CROSSSLOT Keys …\r\n:0\r\n', '*3\r\n+OK\r\n:1\r\n:1\r\n')).to.equal(
      'meant',
    )
  })

  it('nothing before such a reply, and no value that looks like one', () => {
    expect(verdictOf('*2\r\n:2\r\n-CROSSSLOT Keys …\r\n', '*2\r\n:1\r\n:1\r\n')).to.equal('wrong')
    expect(verdictOf('*1\r\n$13\r\n\r\n-CROSSSLOT \r\n', '*1\r\n:1\r\n')).to.equal('wrong')
  })

  it('nothing in two answers of TIME that are near each other, by themselves and within EXEC', () => {
    const time = (s: number, us: number) => `*2\r\n$10\r\n${s}\r\n$${String(us).length}\r\n${us}\r\n`
    expect(verdictOf(time(1796017822, 779724), time(1796017822, 779518))).to.equal('equal')
    expect(verdictOf(`*1\r\n${time(1796017823, 12)}`, `*1\r\n${time(1796017822, 999518)}`)).to.equal('equal')
    expect(verdictOf(time(1796017822, 1), time(1796018822, 1))).to.equal('wrong')
  })

  it('what follows a bulk without its CRLF, unanswered by a server that may not reply', () => {
    const verdictAfter = (asked: string) => {
      const sent = Buffer.from(`${asked}\r\n*2\r\n$3\r\nGET\r\n$1\r\n12\r\nd\r\n`)
      const [mine, theirs] = ['', '-ERR unknown command\r\n'].map((text) => Buffer.from(text))
      return compare('damaged', sent, { bytes: mine!, reset: false }, { bytes: theirs!, reset: false }).is
    }
    expect(verdictAfter('CLIENT REPLY SKIP')).to.equal('meant')
    expect(verdictAfter('CLIENT REPLY ON')).to.equal('wrong')
  })
})
