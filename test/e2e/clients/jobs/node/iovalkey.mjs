// iovalkey, Valkey's own client for Node.js.
import { Redis } from 'iovalkey'
import { end, password, port, same } from './job.mjs'

const client = new Redis(port, { password, db: 1 })
same('OK', await client.set('text', 'héllo', 'EX', 100))
same('héllo', await client.get('text'))
same(
  [
    [null, 'OK'],
    [null, 2],
  ],
  await client.pipeline().set('a', 1).incr('a').exec(),
)
same(
  [
    [null, 'OK'],
    [null, 6],
  ],
  await client.multi().set('{t}a', 1).incrby('{t}a', 5).exec(),
)
same(1, await client.call('DELIFEQ', 'text', 'héllo'))
same(2, await client.hset('hash', { name: 'Ada', born: 1815 }))
same({ name: 'Ada', born: '1815' }, await client.hgetall('hash'))
same(2, await client.sadd('set', 'a', 'b', 'a'))
same(['a', 'b'], (await client.smembers('set')).sort())
same(3, await client.rpush('list', 'a', 'b', 'a'))
same(['a', 'b', 'a'], await client.lrange('list', 0, -1))
same(7, await client.eval('return 7', 0))
same('OK', await client.flushdb())
end()
