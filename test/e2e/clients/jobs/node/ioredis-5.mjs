// ioredis 5, which most applications have.
import { setTimeout } from 'node:timers'
import { Redis } from 'ioredis-5'
import { between, end, password, port, same } from './job.mjs'

const client = new Redis(port, { password, db: 1, keyPrefix: 'app:' })
same('OK', await client.set('text', 'héllo', 'EX', 100))
same('héllo', await client.get('text'))
between(90, 100, await client.ttl('text'))
same(null, await client.set('text', 'other', 'NX'))
const bytes = Buffer.from([0, 255, 13, 10, 36, 0])
await client.set('bytes', bytes)
same(bytes, await client.getBuffer('bytes'))
await client.mset({ a: 1, b: 2 })
same(['1', '2', null], await client.mget('a', 'b', 'none'))

const pipeline = client.pipeline()
for (let i = 0; i < 300; i++) pipeline.incr('count')
same(
  Array.from({ length: 300 }, (_, i) => [null, i + 1]),
  await pipeline.exec(),
)
same(
  [
    [null, 'OK'],
    [null, 6],
  ],
  await client.multi().set('{t}a', 1).incrby('{t}a', 5).exec(),
)
const other = new Redis(port, { password, db: 1 })
await client.watch('{t}a')
await other.set('app:{t}a', 'theirs')
same(null, await client.multi().set('{t}a', 'mine').exec())
const found = []
for await (const keys of other.scanStream({ match: 'app:*', count: 2 })) found.push(...keys)
same(['app:a', 'app:b', 'app:bytes', 'app:count', 'app:text', 'app:{t}a'], found.sort())

same(2, await client.hset('hash', { name: 'Ada', born: 1815 }))
same({ name: 'Ada', born: '1815' }, await client.hgetall('hash'))
same(2, await client.sadd('set', 'a', 'b', 'a'))
same(['a', 'b'], (await client.smembers('set')).sort())
same(3, await client.rpush('list', 'a', 'b', 'a'))
same(['a', 'b', 'a'], await client.lrange('list', 0, -1))

// Its connection is closed from outside, and it connects again, to the same database.
await other.client('KILL', 'ID', await client.client('ID'))
same('theirs', await client.get('{t}a'))

client.defineCommand('twice', { numberOfKeys: 1, lua: 'return {KEYS[1], 2 * ARGV[1]}' })
same(['app:a', 14], await client.twice('a', 7))
same(['app:b', 16], await client.twice('b', 8))

// A subscriber, which is closed from outside, and subscribes again by itself.
const subscriber = client.duplicate()
const heard = []
subscriber.on('message', (channel, message) => heard.push([channel, message]))
subscriber.on('pmessage', (pattern, channel, message) => heard.push([pattern, channel, message]))
same(1, await subscriber.subscribe('news'))
same(2, await subscriber.psubscribe('n?ws*'))
same(2, await client.publish('news', 'one'))
same(1, await client.client('KILL', 'TYPE', 'pubsub'))
while ((await client.publish('news', 'two')) < 2) await new Promise((resolve) => setTimeout(resolve, 20))
while (heard.filter((one) => one.includes('two')).length < 2)
  await new Promise((resolve) => setTimeout(resolve, 5))
same(
  [
    ['news', 'one'],
    ['n?ws*', 'news', 'one'],
  ],
  heard.slice(0, 2),
)
subscriber.disconnect()
same('OK', await client.flushdb())
end()
