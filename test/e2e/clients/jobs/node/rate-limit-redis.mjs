// rate-limit-redis, the store of express-rate-limit.
import { RedisStore } from 'rate-limit-redis'
import { createClient } from 'redis-6'
import { end, lacks, password, port } from './job.mjs'

const client = await createClient({ url: `redis://:${password}@127.0.0.1:${port}` }).connect()
await lacks('limits', async () => {
  const store = new RedisStore({ sendCommand: (...args) => client.sendCommand(args) })
  store.init({ windowMs: 60_000 })
  return store.increment('ada')
})
end()
