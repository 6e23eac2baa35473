/** A moment of what `npm run fuzz` does for ten minutes. */
import { expect } from 'chai'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'
import { seeds } from '../support/random.ts'
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
