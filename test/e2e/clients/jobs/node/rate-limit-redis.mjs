// rate-limit-redis, the store of express-rate-limit.
import { RedisStore } from 'rate-limit-redis'
import { createClient } from 'redis-6'
import { between, end, password, port, same } from './job.mjs'

const client = await createClient({ url: `redis://:${password}@127.0.0.1:${port}` }).connect()
const store = new RedisStore({ sendCommand: (...args) => client.sendCommand(args) })
store.init({ windowMs: 60_000 })
const hits = await Promise.all(Array.from({ length: 5 }, () => store.increment('ada')))
same([1, 2, 3, 4, 5], hits.map(({ totalHits }) => totalHits).sort())
between(Date.now() + 50_000, Date.now() + 61_000, hits[0].resetTime.getTime())
await store.decrement('ada')
same(4, (await store.get('ada')).totalHits)
await store.resetKey('ada')
same(1, (await store.increment('ada')).totalHits)
end()
