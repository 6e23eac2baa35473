// node-redis 4.
import { createClient } from 'redis-4'
import { between, end, password, port, same } from './job.mjs'

const client = await createClient({ url: `redis://:${password}@127.0.0.1:${port}/1` }).connect()
same('OK', await client.set('text', 'héllo', { EX: 100 }))
same('héllo', await client.get('text'))
between(90, 100, await client.ttl('text'))
same(null, await client.set('text', 'other', { NX: true }))
same('OK', await client.mSet({ a: '1', b: '2' }))
same(['1', '2', null], await client.mGet(['a', 'b', 'none']))
same(['OK', 2, '2'], await client.multi().set('{t}a', '1').incr('{t}a').get('{t}a').exec())
const counts = await Promise.all(Array.from({ length: 300 }, () => client.incr('count')))
same(
  counts.map((_, i) => i + 1),
  counts,
)
await client.executeIsolated(async (own) => {
  await own.watch('{t}a')
  await client.set('{t}a', 'theirs')
  const refused = await own
    .multi()
    .set('{t}a', 'mine')
    .exec()
    .catch((error) => error.constructor.name)
  same('WatchError', refused)
})
const found = []
for await (const key of client.scanIterator({ MATCH: '*', COUNT: 2 })) found.push(key)
same(['a', 'b', 'count', 'text', '{t}a'], found.sort())
same(2, await client.hSet('hash', { name: 'Ada', born: 1815 }))
same({ name: 'Ada', born: '1815' }, { ...(await client.hGetAll('hash')) })
same(2, await client.sAdd('set', ['a', 'b', 'a']))
same(['a', 'b'], (await client.sMembers('set')).sort())
same(3, await client.rPush('list', ['a', 'b', 'a']))
same(['a', 'b', 'a'], await client.lRange('list', 0, -1))
same(7, await client.eval('return 7'))
same('OK', await client.flushDb())
same(0, await client.dbSize())
end()
