// Valkey GLIDE: Valkey's own client, in Rust for all languages.
import { Batch, GlideClient, Logger, TimeUnit } from '@valkey/valkey-glide'
import { between, end, password, port, same } from './job.mjs'

Logger.setLoggerConfig('off')
for (const protocol of [0, 1]) {
  const client = await GlideClient.createClient({
    addresses: [{ host: '127.0.0.1', port }],
    credentials: { password },
    databaseId: 1,
    clientName: 'app',
    requestTimeout: 5000, // its 250 ms are too few for a machine that is busy with other tests
    protocol, // RESP2, RESP3
  })
  same('OK', await client.set('text', 'héllo', { expiry: { type: TimeUnit.Seconds, count: 100 } }))
  same('héllo', await client.get('text'))
  between(90, 100, await client.ttl('text'))
  same(null, await client.set('text', 'other', { conditionalSet: 'onlyIfDoesNotExist' }))
  same('OK', await client.mset({ a: '1', b: '2' }))
  same(['1', '2', null], await client.mget(['a', 'b', 'none']))
  same(6, await client.incrBy('a', 5))
  same(['OK', 2], await client.exec(new Batch(true).set('{t}a', '1').incr('{t}a'), true))
  same(['OK', '1', 1], await client.exec(new Batch(false).set('c', '1').get('c').incr('d'), true))
  const found = new Set()
  let cursor = '0'
  do {
    const [next, keys] = await client.scan(cursor, { match: '*', count: 2 })
    for (const key of keys) found.add(key)
    cursor = next
  } while (cursor !== '0')
  same(['a', 'b', 'c', 'd', 'text', '{t}a'], [...found].sort())
  same(0, await client.customCommand(['DELIFEQ', 'text', 'other']))
  same(1, await client.customCommand(['DELIFEQ', 'text', 'héllo']))
  same(2, await client.hset('hash', { name: 'Ada', born: '1815' }))
  const fields = await client.hgetall('hash')
  same(
    [
      ['born', '1815'],
      ['name', 'Ada'],
    ],
    fields.map(({ field, value }) => [field, value]).sort(),
  )
  same(2, await client.sadd('set', ['a', 'b', 'a']))
  same(new Set(['a', 'b']), await client.smembers('set'))
  same(3, await client.rpush('list', ['a', 'b', 'a']))
  same(['a', 'b', 'a'], await client.lrange('list', 0, -1))
  if (protocol === 0) {
    same(7, await client.customCommand(['EVAL', 'return 7', '0']))
    same('OK', await client.flushdb())
  }
  client.close()
}
end()
