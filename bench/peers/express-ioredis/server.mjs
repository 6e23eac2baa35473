// The peer: the coordinator a competent person writes in an afternoon with Express and ioredis. Same JSON calls as
// Rondo's keys API, same ring (Murmur3, 100 vnodes a node, distinct nodes), same N, the rest left out: no versions, no
// deadlines, no repair. It is here to be compared with, so nothing in it is slower than the obvious way.
//
//   NODE_ENV=production PORT=3000 REDIS_URLS=redis://127.0.0.1:6379,… node server.mjs
import { Buffer } from 'node:buffer'
import { setInterval } from 'node:timers'
import express from 'express'
import { Redis } from 'ioredis'
import murmur from 'murmurhash3js-revisited'

const VNODES = 100
const REPLICAS = 3
const PING_INTERVAL_MS = 3000

const nodes = process.env.REDIS_URLS.split(',').map((url) => {
  const redis = new Redis(url, { maxRetriesPerRequest: 1 })
  const node = { url, redis, healthy: true }
  redis.on('error', () => (node.healthy = false))
  redis.on('ready', () => (node.healthy = true))
  return node
})

const hash = (text) => murmur.x86.hash32(Buffer.from(text))

const ring = nodes
  .flatMap((node) => Array.from({ length: VNODES }, (_, i) => ({ token: hash(`${node.url}#${i}`), node })))
  .sort((a, b) => a.token - b.token)

function replicasOf(key) {
  const token = hash(key)
  let low = 0
  let high = ring.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (ring[middle].token < token) low = middle + 1
    else high = middle
  }
  const found = []
  for (let i = 0; i < ring.length && found.length < REPLICAS; i++) {
    const { node } = ring[(low + i) % ring.length]
    if (!found.includes(node)) found.push(node)
  }
  return found
}

setInterval(() => {
  for (const node of nodes) {
    node.redis.ping().then(
      () => (node.healthy = true),
      () => (node.healthy = false),
    )
  }
}, PING_INTERVAL_MS)

const app = express()
app.use(express.json())

app.get('/ping', (req, res) => {
  res.json({ message: 'pong' })
})

app.put('/api/v1/keys/:key', async (req, res) => {
  const { key } = req.params
  const { value, ttl } = req.body
  if (typeof value !== 'string') {
    res.status(400).json({ error: '"value" must be a string' })
    return
  }
  const healthy = replicasOf(key).filter((node) => node.healthy)
  if (healthy.length === 0) {
    res.status(503).json({ error: 'no replica can be reached' })
    return
  }
  const writes = healthy.map(({ redis }) =>
    ttl > 0 ? redis.set(key, value, 'EX', ttl) : redis.set(key, value),
  )
  for (const write of writes.slice(1)) write.catch((error) => console.error(`replication: ${error.message}`))
  await writes[0]
  res.json({ message: 'ok' })
})

app.get('/api/v1/keys/:key', async (req, res) => {
  const { key } = req.params
  const node = replicasOf(key).find(({ healthy }) => healthy)
  if (!node) {
    res.status(503).json({ error: 'no replica can be reached' })
    return
  }
  const value = await node.redis.get(key)
  if (value === null) {
    res.status(404).json({ error: 'key not found' })
    return
  }
  res.json({ key, value })
})

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})

process.on('SIGTERM', () => process.exit(0))
