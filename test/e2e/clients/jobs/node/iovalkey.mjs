// iovalkey, Valkey's own client for Node.js.
import { Redis } from 'iovalkey'
import { end, lacks, password, port, same } from './job.mjs'

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
await lacks('types other than strings', () => client.hset('h', 'f', 'v'))
same('OK', await client.flushdb())
end()
