// koa-redis: sessions of Koa (koa-session, koa-generic-session).
import redisStore from 'koa-redis'
import { between, end, password, port, same } from './job.mjs'

const store = redisStore({ host: '127.0.0.1', port, password, db: 1 })
await store.set('koa:sess:1', { user: 'ada' }, 600_000)
same({ user: 'ada' }, await store.get('koa:sess:1'))
between(590, 600, await store.client.ttl('koa:sess:1'))
await store.set('koa:sess:2', { user: 'bob' })
await store.destroy('koa:sess:1')
same([null, { user: 'bob' }], [await store.get('koa:sess:1'), await store.get('koa:sess:2')])
await store.quit()
end()
