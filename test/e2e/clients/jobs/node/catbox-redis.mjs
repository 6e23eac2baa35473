// @hapi/catbox-redis: hapi's cache.
import { Engine } from '@hapi/catbox-redis'
import { end, password, port, same } from './job.mjs'

const engine = new Engine({ host: '127.0.0.1', port, password, partition: 'app' })
await engine.start()
same(true, engine.isReady())
const key = { segment: 'users', id: 'ada' }
await engine.set(key, { name: 'Ada' }, 60_000)
const { item, ttl } = await engine.get(key)
same([{ name: 'Ada' }, 60_000], [item, ttl])
same(true, (await engine.client.pttl('app:users:ada')) > 55_000)
same(null, await engine.get({ segment: 'users', id: 'bob' }))
await engine.drop(key)
same(null, await engine.get(key))
await engine.stop()
end()
