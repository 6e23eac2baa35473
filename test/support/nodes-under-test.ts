/** Nodes of each driver for tests, with access to the data behind them. */
import { Redis } from 'ioredis'
import { fenceOf, type NodeUnderTest, type RawServer } from '../../src/library/node-contract/under-test.ts'
import type { MemoryNode } from '../../src/nodes/memory/memory-node.ts'
import type { RedisNodeOptions } from '../../src/nodes/redis/options.ts'
import { RedisNode } from '../../src/nodes/redis/redis-node.ts'
import { realClock, realTimers } from './real-time.ts'
import type { RedisServer } from '../../scripts/redis-server.ts'

export { fenceOf, type NodeUnderTest, type RawServer }

export function memoryNodeUnderTest(node: MemoryNode): NodeUnderTest {
  const { storage } = node
  const done = <T>(value: T) => Promise.resolve(value)
  return {
    node,
    close: () => node.close(),
    server: {
      setRaw: (key, bytes, ttlMs = Infinity) => done(void storage.set(key, Buffer.from(bytes), ttlMs)),
      getRaw: (key) => done(storage.get(key)),
      ttl: (key) => node.lifeMs(key),
      deleteRaw: (key) => done(storage.delete(key)),
      flush: () => done(storage.clear()),
      restart: () => done(node.wipe()),
    },
  }
}

/** A node over this server, which is emptied first. */
export async function redisNodeUnderTest(
  redis: RedisServer,
  options: Pick<RedisNodeOptions, 'graceMs'> & Partial<RedisNodeOptions>,
): Promise<NodeUnderTest & { node: RedisNode; client: Redis }> {
  const client = new Redis(redis.port, '127.0.0.1', { retryStrategy: () => 10 })
  client.on('error', () => undefined) // it comes back by itself after a restart
  await client.flushall()
  const node = new RedisNode({
    id: 'r',
    address: { host: '127.0.0.1', port: redis.port, tls: false },
    nodeTimeoutMs: 2000,
    connectTimeoutMs: 2000,
    maxValueBytes: 1024 * 1024,
    clock: realClock,
    timers: realTimers,
    ...options,
  })
  return {
    node,
    client,
    close: async () => {
      await node.close()
      client.disconnect()
    },
    server: {
      setRaw: async (key, bytes, ttlMs) =>
        void (await (ttlMs === undefined ? client.set(key, bytes) : client.set(key, bytes, 'PX', ttlMs))),
      getRaw: (key) => client.getBuffer(key),
      ttl: (key) => client.pttl(key),
      deleteRaw: async (key) => void (await client.del(key)),
      flush: async () => void (await client.flushall()),
      restart: () => redis.restart({ wipe: true }),
      setOtherType: async (key) => void (await client.lpush(key, 'x')),
    },
  }
}
