// Snapshots on real Redis: into another cluster, after a flush, over what is newer.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'
import { listed, restore, take } from '../support/snapshots.ts'

const EACH = 400
const BINARY = Buffer.from([0, 0xff, 0x0d, 0x0a, 0x22, 0x80])

/** Writes keys of all types into two databases, some with an end; each name once. */
/** Again and again: on a busy machine a write may not be confirmed in time. */
async function fill(client: Redis): Promise<void> {
  while (!(await filled(client))) await client.flushall()
}

async function filled(client: Redis): Promise<boolean> {
  const work = client.pipeline()
  for (let i = 0; i < EACH; i++) {
    if (i % 100 === 50) work.select(i % 200 === 50 ? 3 : 0)
    work.set(
      Buffer.concat([Buffer.from(`string:${i}:`), BINARY]),
      Buffer.concat([BINARY, Buffer.from(`${i}`)]),
    )
    work.hset(`hash:${i}`, 'a', `${i}`, 'b', BINARY)
    // Every tenth is a stream.
    if (i % 10 === 0) work.xadd(`set:${i}`, `${i + 1}-1`, 'n', BINARY)
    else work.sadd(`set:${i}`, 'one', `${i}`)
    work.zadd(`zset:${i}`, 1.5, 'low', i, 'own', '-inf', BINARY)
    work.rpush(`list:${i}`, 'x', `${i}`, BINARY, 'x')
    if (i % 4 === 0) work.pexpire(`list:${i}`, 3_600_000)
  }
  work.select(0)
  return (await work.exec())!.every(([error]) => error === null)
}

/** Everything that clients can see, as text. */
async function seen(client: Redis): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const database of [0, 3]) {
    await client.select(database)
    const keys = await client.keysBuffer('*')
    const work = client.pipeline()
    for (const key of keys) work.dumpBuffer(key).pexpiretime(key)
    const replies = (await work.exec())!
    keys.forEach((key, i) => {
      const [[, dump], [, expiresAt]] = [replies[2 * i]!, replies[2 * i + 1]!]
      found.set(
        `${database}:${key.toString('latin1')}`,
        `${(dump as Buffer).toString('hex')} ${Number(expiresAt)}`,
      )
    })
  }
  await client.select(0)
  return found
}

describe('snapshots on real Redis', function () {
  this.timeout(40_000)
  let folder: string
  const servers: RedisServer[] = []
  const running: RunningRondo[] = []
  const clients: Redis[] = []
  let first: RunningRondo
  let client: Redis

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rondo-snapshots-'))
    ;[first, client] = await cluster(3, 2)
    await fill(client)
  })
  after(async () => {
    for (const one of clients) one.disconnect()
    await Promise.all(running.map((one) => one.stop()))
    await Promise.all(servers.map((server) => server.stop()))
    rmSync(folder, { recursive: true })
  })

  async function cluster(nodes: number, replicas: number): Promise<[RunningRondo, Redis]> {
    const started = await startRedisCluster(nodes)
    servers.push(...started)
    const one = await startRondo({
      REDIS_URLS: started.map(({ url }, i) => `n${nodes}-${i}=${url}`).join(),
      REPLICATION_FACTOR: `${replicas}`,
      SNAPSHOT_DIR: folder,
      READ_CONSISTENCY: 'quorum',
      WRITE_CONSISTENCY: 'quorum',
    })
    running.push(one)
    const opened = new Redis({ port: one.rondo.respServer.port, lazyConnect: true })
    clients.push(opened)
    await opened.connect()
    return [one, opened]
  }

  it('brings every key of all types back into a cluster with other nodes, N and ids, each written once', async () => {
    const [second, other] = await cluster(2, 1)
    await other.set('hash:2', 'older, and of another type')
    const all = await seen(client)
    expect(all.size).to.equal(5 * EACH)
    await client.hset('hash:2', 'a', '2')
    expect(await take(first, 'all')).to.include({
      state: 'finished',
      keys: all.size,
      skipped: 0,
      belowQuorum: 0,
    })
    expect(readdirSync(folder)).to.deep.equal(['all.ndjson.gz'])

    await other.set('hash:1', 'newer, and of another type')
    const job = await restore(second, 'all')
    expect(job).to.include({ state: 'finished', restored: all.size - 1, kept: 1, expired: 0, failed: 0 })
    const now = await seen(other)
    expect(await other.get('hash:1')).to.equal('newer, and of another type')
    now.delete('0:hash:1')
    const expected = new Map(all)
    expected.delete('0:hash:1')
    expect(now).to.deep.equal(expected)
  })

  it('brings everything back after FLUSHALL by mistake, and keeps what was written since', async () => {
    const all = await seen(client)
    await client.flushall()
    await client.set('set:7', 'since the flush')
    await client.set('new', 'since the flush')
    const job = await restore(first, 'all')
    expect(job).to.include({ state: 'finished', restored: all.size - 1, kept: 1, expired: 0, failed: 0 })
    const now = await seen(client)
    expect([...now.keys()].sort()).to.deep.equal([...all.keys(), '0:new'].sort())
    for (const [key, value] of all) if (key !== '0:set:7') expect(now.get(key), key).to.equal(value)
    expect(await client.mget('set:7', 'new')).to.deep.equal(['since the flush', 'since the flush'])
  })

  it('finds nothing to do the second time: what was restored is newer than the snapshot', async () => {
    expect(await restore(first, 'all')).to.include({ state: 'finished', restored: 0, kept: 5 * EACH })
    expect((await listed(first.ports.socket)).snapshots).to.have.length(1)
  })

  it('brings deleted keys back, and skips expired ones', async () => {
    await client.flushall()
    await client.mset('deleted', 'saved', 'there', 'saved')
    await client.set('ends', 'saved', 'PX', 400)
    expect(await take(first, 'few')).to.include({ state: 'finished', keys: 3 })
    await client.del('deleted')
    while ((await client.exists('ends')) === 1);
    expect(await restore(first, 'few')).to.include({ restored: 1, kept: 1, expired: 1, failed: 0 })
    expect(await client.mget('deleted', 'there', 'ends')).to.deep.equal(['saved', 'saved', null])
  })

  it('has all keys while one of the nodes is down: what cannot be read at quorum is read at one, and counted', async () => {
    await client.flushall()
    await fill(client)
    await servers[0]!.kill()
    const job = await take(first, 'degraded')
    expect(job).to.include({ state: 'finished', keys: 5 * EACH })
    expect(job.belowQuorum).to.be.greaterThan(EACH)
  })
})
