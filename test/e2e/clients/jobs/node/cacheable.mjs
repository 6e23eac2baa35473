// cacheable: a cache in memory in front of one in Redis.
import KeyvRedis from '@keyv/redis'
import { Cacheable } from 'cacheable'
import { end, password, port, same } from './job.mjs'

const open = () =>
  new Cacheable({ secondary: new KeyvRedis(`redis://:${password}@127.0.0.1:${port}`), ttl: '1h' })
const [cache, other] = [open(), open()]
for (const each of [cache, other]) {
  each.on('error', (error) => {
    throw error
  })
}
same(true, await cache.set('user', { name: 'Ada' }, '60s'))
same({ name: 'Ada' }, await other.get('user'))
same(
  true,
  await cache.setMany([
    { key: 'a', value: 1 },
    { key: 'b', value: 2 },
  ]),
)
same([1, 2, undefined], await other.getMany(['a', 'b', 'none']))
let worked = 0
const work = cache.wrap((n) => Promise.resolve(n * ++worked), { keyPrefix: 'work', ttl: '60s' })
same([5, 5], [await work(5), await work(5)])
same(true, await other.has('a'))
same(true, await other.delete('a'))
same(undefined, await open().get('a'))
same(2, await other.take('b'))
same(undefined, await open().get('b'))
await cache.clear()
same(undefined, await open().get('user'))
end()
