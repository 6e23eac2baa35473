// rate-limiter-flexible: with a script, and without.
import { Redis } from 'ioredis-5'
import { RateLimiterRedis, RateLimiterRedisNonAtomic } from 'rate-limiter-flexible'
import { end, lacks, password, port, same } from './job.mjs'

const options = { storeClient: new Redis(port, { password }), points: 3, duration: 600 }
const limiter = new RateLimiterRedisNonAtomic(options)
const left = async () => (await limiter.consume('ada').catch((refused) => refused)).remainingPoints
same([2, 1, 0, 0], [await left(), await left(), await left(), await left()])
same(true, (await limiter.get('ada')).msBeforeNext > 590_000)
await limiter.penalty('bob', 2)
await limiter.reward('bob', 1)
same(1, (await limiter.get('bob')).consumedPoints)
same(true, await limiter.delete('ada'))
same(2, await left())
await lacks('RateLimiterRedis', () => new RateLimiterRedis(options).consume('cleo'))
end()
