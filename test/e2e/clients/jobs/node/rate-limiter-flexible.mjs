// rate-limiter-flexible: without a script, and with one: then of many at once exactly so many get through.
import { Redis } from 'ioredis-5'
import { RateLimiterRedis, RateLimiterRedisNonAtomic } from 'rate-limiter-flexible'
import { end, password, port, same } from './job.mjs'

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
const atomic = new RateLimiterRedis({ ...options, keyPrefix: 'atomic' })
const all = await Promise.allSettled(Array.from({ length: 9 }, () => atomic.consume('cleo')))
same(3, all.filter(({ status }) => status === 'fulfilled').length)
same(9, (await atomic.get('cleo')).consumedPoints)
end()
