// cache-manager-ioredis-yet: cache-manager's store over ioredis, for cache-manager 5.
import { redisStore } from 'cache-manager-ioredis-yet'
import { end, password, port, same } from './job.mjs'

const store = await redisStore({ host: '127.0.0.1', port, password, db: 1, ttl: 60_000 })
await store.set('user', { name: 'Ada' })
same({ name: 'Ada' }, await store.get('user'))
same(true, (await store.ttl('user')) > 55_000)
await store.mset(
  [
    ['a', 1],
    ['b', 2],
  ],
  30_000,
)
same([1, 2, undefined], await store.mget('a', 'b', 'none'))
same(['a', 'b', 'user'], (await store.keys()).sort())
await store.mdel('a', 'b')
await store.del('user')
same(undefined, await store.get('user'))
await store.set('c', 'x')
await store.reset()
same([], await store.keys())
end()
