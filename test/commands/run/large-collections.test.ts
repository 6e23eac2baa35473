/**
 * Large collections through a whole Rondo: what was stored is there, element by element, at each level, and although a node
 * is killed and wiped meanwhile; clients see one key; and of what was deleted no part stays on any node.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect } from 'chai'
import { createClient } from 'redis'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { sizes } from '../../../src/commands/collections/large/sizes.ts'
import { isPartKey } from '../../../src/core/part-keys.ts'
import type { Environment } from '../../../src/config/environment.ts'
import { leftovers } from '../../../src/repair/round/leftovers.ts'
import { SMALL, TINY } from '../../support/large.ts'
import { call } from '../../support/raw-http.ts'
import { restore, take } from '../../support/snapshots.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'

const ENTRIES = 20_000
const AT_ONCE = 5000
const WHOLE = { ...sizes }

async function clientOf({ rondo }: RunningRondo) {
  const client = createClient({ url: `redis://127.0.0.1:${rondo.respServer.port}` })
  await client.connect()
  return client
}

type Client = Awaited<ReturnType<typeof clientOf>>

/** How many parts the nodes hold together. */
async function partsOn({ rondo }: RunningRondo): Promise<number> {
  let parts = 0
  for (const { node } of rondo.coordinator.nodes as unknown as { node: ListedNode }[]) {
    let cursor = '0'
    do {
      const page = await node.keys(cursor, 1000)
      parts += page.keys.filter((key) => isPartKey(key)).length
      cursor = page.cursor
    } while (cursor !== '0')
  }
  return parts
}

interface ListedNode {
  keys(cursor: string, count: number): Promise<{ readonly cursor: string; readonly keys: readonly Buffer[] }>
}

/** @param between called when half of it is stored */
async function fill(client: Client, between: () => Promise<void>): Promise<void> {
  for (let from = 0; from < ENTRIES; from += AT_ONCE) {
    if (from === ENTRIES / 2) await between()
    const numbers = Array.from({ length: AT_ONCE }, (_, i) => from + i)
    await Promise.all([
      client.hSet('{t}hash', Object.fromEntries(numbers.map((n) => [`field:${n}`, `value ${n}`]))),
      client.zAdd(
        '{t}sorted',
        numbers.map((n) => ({ score: n % 1000, value: `member:${n}` })),
      ),
      client.rPush(
        '{t}list',
        numbers.map((n) => `element ${n}`),
      ),
    ])
  }
}

async function compare(client: Client): Promise<void> {
  const numbers = Array.from({ length: ENTRIES }, (_, n) => n)
  const hash = new Map(Object.entries(await client.hGetAll('{t}hash')))
  expect(hash.size).to.equal(ENTRIES)
  expect(numbers.filter((n) => hash.get(`field:${n}`) !== `value ${n}`)).to.deep.equal([])
  const members = await client.zRangeWithScores('{t}sorted', 0, -1)
  const expected = numbers
    .map((n) => ({ score: n % 1000, value: `member:${n}` }))
    .sort((a, b) => a.score - b.score || (a.value < b.value ? -1 : 1))
  expect(members.length).to.equal(ENTRIES)
  expect(
    members.filter(({ score, value }, i) => expected[i]!.score !== score || expected[i]!.value !== value),
  ).to.deep.equal([])
  const list = await client.lRange('{t}list', 0, -1)
  expect(list.length).to.equal(ENTRIES)
  expect(list.filter((element, n) => element !== `element ${n}`)).to.deep.equal([])
  expect(await client.hLen('{t}hash')).to.equal(ENTRIES)
  expect(await client.hGet('{t}hash', 'field:12345')).to.equal('value 12345')
  expect(await client.zScore('{t}sorted', 'member:12345')).to.equal(345)
}

/** A client waits. */
async function untilBlocked(client: Client): Promise<void> {
  while (!(await client.info('clients')).includes('blocked_clients:1')) await setImmediate()
}

describe('large collections', function () {
  this.timeout(120_000)
  let running: RunningRondo
  let client: Client
  let servers: RedisServer[] = []
  afterEach(async () => {
    client.destroy()
    await running.stop()
    await Promise.all(servers.map((server) => server.stop()))
    servers = []
  })
  const start = async (env: Environment = {}) => {
    running = await startRondo({
      REQUEST_TIMEOUT_MS: '5000',
      NODE_TIMEOUT_MS: '2000',
      REPAIR_INTERVAL_SECONDS: '0',
      ...env,
    })
    client = await clientOf(running)
  }

  it('are there element by element at quorum, although a Redis is killed and wiped while they grow', async () => {
    servers = await Promise.all([1, 2, 3].map(() => startRedis()))
    await start({
      REDIS_URLS: servers.map(({ port }) => `127.0.0.1:${port}`).join(','),
      READ_CONSISTENCY: 'quorum',
      WRITE_CONSISTENCY: 'quorum',
    })
    await fill(client, async () => {
      await servers[0]!.kill()
      await client.hSet('{t}hash', 'field:0', 'value 0')
      await servers[0]!.restart({ wipe: true })
    })
    await compare(client)
  })

  it('are one key for clients, at one on memory nodes', async () => {
    await start()
    await fill(client, () => Promise.resolve())
    await compare(client)
    expect(await client.keys('*')).to.have.members(['{t}hash', '{t}sorted', '{t}list'])
    expect(await client.dbSize()).to.equal(3)
    expect(await client.scan('0', { COUNT: 1000 })).to.deep.include({ cursor: '0' })
    for (let i = 0; i < 5; i++) expect(await client.randomKey()).to.match(/^\{t\}/)
    const told = JSON.parse((await call(running.ports.socket, 'GET', '/api/v1/keys?count=1000')).text) as {
      keys: string[]
    }
    expect(told.keys).to.have.members(['{t}hash', '{t}sorted', '{t}list'])
    const [part] = (await client.sendCommand(['GET', '__rondo:db9998:0']).then(
      () => [null],
      (error: Error) => [error.message],
    )) as [string | null]
    expect(part).to.include('__rondo:')
  })

  it('are in snapshots, whole, and are restored after a FLUSHALL and over a smaller one', async () => {
    Object.assign(sizes, TINY)
    const dir = await mkdtemp(join(tmpdir(), 'rondo-large-'))
    try {
      await start({ SNAPSHOT_DIR: dir })
      const fields = Object.fromEntries(Array.from({ length: 60 }, (_, n) => [`field ${n}`, `value ${n}`]))
      const members = Array.from({ length: 60 }, (_, n) => ({ score: n, value: `member ${n}` }))
      await client.hSet('hash', fields)
      await client.zAdd('sorted', members)
      for (let n = 1; n <= 20; n++) await client.xAdd('stream', `${n}-0`, { number: String(n) })
      const entries = await client.xRange('stream', '-', '+')
      expect(await take(running, 'first')).to.include({ state: 'finished', keys: 3 })
      await client.flushAll()

      expect(await restore(running, 'first')).to.include({ state: 'finished', restored: 3, failed: 0 })
      expect(await client.xRange('stream', '-', '+')).to.deep.equal(entries)
      expect({ ...(await client.hGetAll('hash')) }).to.deep.equal(fields)
      expect(await client.zRangeWithScores('sorted', 0, -1)).to.deep.equal(
        members.map(({ score, value }) => ({ value, score })),
      )
      await client.hSet('hash', 'field 0', 'later')
      expect(await restore(running, 'first')).to.include({ restored: 0, kept: 3, failed: 0 })
      expect(await client.hGet('hash', 'field 0')).to.equal('later')
      expect(await client.hLen('hash')).to.equal(60)
    } finally {
      Object.assign(sizes, WHOLE)
      await rm(dir, { recursive: true })
    }
  })

  for (const level of ['one', 'quorum'] as const) {
    it(`are what every kind of command works on, at ${level}`, async () => {
      Object.assign(sizes, TINY)
      try {
        await start({ READ_CONSISTENCY: level, WRITE_CONSISTENCY: level })
        const ask = (...args: string[]) => client.sendCommand<unknown>(args)
        const values = Array.from({ length: 40 }, (_, n) => `value ${n}`)
        await ask('RPUSH', '{t}list', ...values)
        await ask('HSET', '{t}hash', ...values.flatMap((value, n) => [`f${n}`, value]))
        await ask('ZADD', '{t}sorted', ...values.flatMap((value, n) => [String(n), value]))
        // A transaction, and one that watches.
        const told = await client
          .multi()
          .hSet('{t}hash', 'f1', 'other')
          .hSet('{t}hash', 'new', 'one')
          .hmGet('{t}hash', ['f1', 'f2', 'new'])
          .hDel('{t}hash', ['f3', 'f4'])
          .hLen('{t}hash')
          .rPop('{t}list')
          .lLen('{t}list')
          .exec()
        expect(told).to.deep.equal([0, 1, ['other', 'value 2', 'one'], 2, 39, 'value 39', 39])
        const other = await clientOf(running)
        await client.watch('{t}list')
        await other.rPush('{t}list', 'value 39')
        const failed = await client
          .multi()
          .lPush('{t}list', 'no')
          .exec()
          .then(
            () => null,
            (error: Error) => error,
          )
        expect(failed).to.be.an('error')
        // A script gets it in one piece.
        const script = `redis.call('hset', KEYS[1], 'by', 'script') return {redis.call('hlen', KEYS[1]), redis.call('hget', KEYS[1], 'f5'), #redis.call('hgetall', KEYS[1])}`
        expect(await ask('EVAL', script, '1', '{t}hash')).to.deep.equal([40, 'value 5', 80])
        // What concerns the key alone.
        expect(await ask('EXPIRE', '{t}list', '100')).to.equal(1)
        expect(await ask('RPUSH', '{t}list', 'last')).to.equal(41)
        expect(await client.ttl('{t}list')).to.be.within(90, 100)
        expect(await ask('PERSIST', '{t}list')).to.equal(1)
        expect(await ask('TYPE', '{t}list')).to.equal('list')
        expect(await ask('OBJECT', 'ENCODING', '{t}hash')).to.equal('listpack')
        expect(await ask('MEMORY', 'USAGE', '{t}list')).to.be.above(400)
        // What makes another key of it.
        expect(await ask('SORT', '{t}list', 'ALPHA', 'DESC', 'LIMIT', '0', '2', 'STORE', '{t}few')).to.equal(
          2,
        )
        expect(await ask('LRANGE', '{t}few', '0', '-1')).to.deep.equal(['value 9', 'value 8'])
        expect(await ask('ZUNIONSTORE', '{t}sum', '2', '{t}sorted', '{t}sorted')).to.equal(40)
        expect(await ask('ZRANGE', '{t}sum', '39', '39', 'WITHSCORES')).to.deep.equal([['value 39', 78]])
        const dumped = (await client
          .withTypeMapping({ 36: Buffer })
          .sendCommand(['DUMP', '{t}hash'])) as unknown as Buffer
        await client.sendCommand(['RESTORE', '{t}copy', '0', dumped as unknown as string])
        expect(await client.hGetAll('{t}copy')).to.deep.equal(await client.hGetAll('{t}hash'))
        expect(
          await ask('LMOVE', '{t}list', '{t}sorted', 'LEFT', 'LEFT').catch((error: Error) => error.message),
        ).to.include('WRONGTYPE')
        expect(await ask('LMOVE', '{t}list', '{t}few', 'LEFT', 'LEFT')).to.equal('value 0')
        expect(await ask('BLPOP', '{t}list', '1')).to.deep.equal(['{t}list', 'value 1'])
        expect(await ask('RENAME', '{t}list', '{t}sum')).to.equal('OK')
        expect(await ask('LLEN', '{t}sum')).to.equal(39)
        expect(await ask('LINDEX', '{t}sum', '-1')).to.equal('last')
        expect(await ask('LPOP', '{t}sum', '100')).to.have.length(39)
        expect(await ask('EXISTS', '{t}sum')).to.equal(0)
        other.destroy()
      } finally {
        Object.assign(sizes, WHOLE)
      }
    })

    it(`are streams, too, with all that works on them, at ${level}`, async () => {
      Object.assign(sizes, SMALL)
      leftovers.afterMs = -1
      try {
        await start({ READ_CONSISTENCY: level, WRITE_CONSISTENCY: level, REQUEST_TIMEOUT_MS: '2000' })
        const ask = (...args: string[]) => client.sendCommand<unknown>(args)
        const other = await clientOf(running)
        for (let n = 1; n <= 40; n++) await ask('XADD', '{t}events', `${n}-0`, 'n', `value ${n}`)
        expect(await partsOn(running)).to.be.above(20)
        expect(await ask('XLEN', '{t}events')).to.equal(40)
        expect(await ask('XRANGE', '{t}events', '7', '7')).to.deep.equal([['7-0', ['n', 'value 7']]])
        // A transaction, and one that watches.
        const told = await client
          .multi()
          .xAdd('{t}events', '41-0', { n: 'value 41' })
          .xDel('{t}events', ['3-0', '41-0'])
          .xTrim('{t}events', 'MAXLEN', 30)
          .xAdd('{t}events', '42-0', { n: 'x'.repeat(100) })
          .xLen('{t}events')
          .exec()
        expect(told).to.deep.equal(['41-0', 2, 9, '42-0', 31])
        await client.watch('{t}events')
        await other.sendCommand(['XADD', '{t}events', '43-0', 'n', 'v'])
        const failed = await client
          .multi()
          .xLen('{t}events')
          .exec()
          .catch((error: Error) => error)
        expect(failed).to.be.an('error')
        const script = `return {redis.call('xadd', KEYS[1], '44-0', 'by', 'script'), redis.call('xlen', KEYS[1]), #redis.call('xrange', KEYS[1], '-', '+')}`
        expect(await ask('EVAL', script, '1', '{t}events')).to.deep.equal(['44-0', 33, 33])
        // Clients that wait for it.
        const waiting = other.sendCommand(['XREAD', 'BLOCK', '0', 'STREAMS', '{t}events', '$'])
        await untilBlocked(client)
        await ask('XADD', '{t}events', '45-0', 'n', 'awaited')
        expect({ ...((await waiting) as object) }).to.deep.equal({
          '{t}events': [['45-0', ['n', 'awaited']]],
        })
        // A group with much that is pending.
        await ask('XGROUP', 'CREATE', '{t}events', 'g', '0')
        await ask('XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', '33', 'STREAMS', '{t}events', '>')
        const awaited = other.sendCommand(
          'XREADGROUP GROUP g d COUNT 5 BLOCK 0 STREAMS {t}events >'.split(' '),
        )
        expect({ ...((await awaited) as object) }).to.deep.equal({
          '{t}events': [['45-0', ['n', 'awaited']]],
        })
        expect(await ask('XACK', '{t}events', 'g', '20-0', '30-0', '44-0', '99-0')).to.equal(3)
        expect(await ask('XPENDING', '{t}events', 'g')).to.deep.equal([
          ...[31, '11-0', '45-0'],
          [
            ['c', '30'],
            ['d', '1'],
          ],
        ])
        const claimed = await ask('XAUTOCLAIM', '{t}events', 'g', 'd', '0', '20', 'COUNT', '2', 'JUSTID')
        expect(claimed).to.deep.equal(['23-0', ['21-0', '22-0'], []])
        // What concerns the key alone, and what makes another one of it.
        expect(await ask('EXPIRE', '{t}events', '100')).to.equal(1)
        await ask('XADD', '{t}events', '46-0', 'n', 'last')
        expect(await client.ttl('{t}events')).to.be.within(90, 100)
        expect(await ask('TYPE', '{t}events')).to.equal('stream')
        expect(await ask('MEMORY', 'USAGE', '{t}events')).to.be.above(1000)
        const all = await ask('XRANGE', '{t}events', '-', '+')
        const dumped = (await client
          .withTypeMapping({ 36: Buffer })
          .sendCommand(['DUMP', '{t}events'])) as unknown as Buffer
        await client.sendCommand(['RESTORE', '{t}restored', '0', dumped as unknown as string])
        expect(await ask('COPY', '{t}events', '{t}copy')).to.equal(1)
        expect(await ask('RENAME', '{t}events', '{t}renamed')).to.equal('OK')
        for (const key of ['{t}restored', '{t}copy', '{t}renamed']) {
          expect(await ask('XRANGE', key, '-', '+'), key).to.deep.equal(all)
          const [pending] = (await ask('XPENDING', key, 'g')) as [number]
          expect(pending, key).to.equal(31)
        }
        expect(await ask('XTRIM', '{t}copy', 'MAXLEN', '0')).to.equal(35)
        await ask('DEL', '{t}restored', '{t}copy', '{t}renamed')
        await untilNoPartIsLeft()
        other.destroy()
      } finally {
        Object.assign(sizes, WHOLE)
        leftovers.afterMs = 120_000
      }
    })

    it(`are changed in the order of a pipeline, also by what makes them large, at ${level}`, async () => {
      Object.assign(sizes, TINY)
      try {
        await start({ READ_CONSISTENCY: level, WRITE_CONSISTENCY: level })
        const long = 'long'.repeat(50)
        for (let i = 0; i < 20; i++) {
          const key = `list ${i}`
          const told = await Promise.allSettled([
            client.rPush(key, [long, 'a']),
            client.append(key, 'text'),
            client.rPush(key, 'b'),
            client.lPop(key),
            client.lRange(key, 0, -1),
            client.del(key),
            client.set(key, 'a string'),
          ])
          const results = told.map((one) => (one.status === 'fulfilled' ? one.value : 'refused'))
          expect(results).to.deep.equal([2, 'refused', 3, long, ['a', 'b'], 1, 'OK'])
        }
      } finally {
        Object.assign(sizes, WHOLE)
      }
    })

    it(`leave nothing behind when they are deleted, replaced, expire or are flushed, at ${level}`, async () => {
      Object.assign(sizes, TINY)
      leftovers.afterMs = -1
      try {
        await start({ READ_CONSISTENCY: level, WRITE_CONSISTENCY: level, REQUEST_TIMEOUT_MS: '2000' })
        const grow = async (key: string) => {
          for (let i = 0; i < 3; i++) {
            await client.hSet(
              key,
              Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`${i} ${n}`, 'x'.repeat(20)])),
            )
          }
        }
        for (const key of ['a', 'b', 'c', '{d}']) await grow(key)
        await client.select(1)
        await grow('e')
        await client.select(0)
        expect(await partsOn(running)).to.be.above(100)
        expect(await client.hmGet('a', ['0 1', '2 9', 'no'])).to.deep.equal([
          'x'.repeat(20),
          'x'.repeat(20),
          null,
        ])
        await client.del('a')
        await client.set('b', 'a string')
        await client.pExpire('c', 1)
        expect(await client.copy('{d}', 'f{d}')).to.equal(1)
        await client.rename('f{d}', 'g{d}')
        expect(await client.hLen('g{d}')).to.equal(30)
        await client.del(['{d}', 'g{d}'])
        await client.select(1)
        await client.flushDb()
        await untilNoPartIsLeft()
        expect(await client.hGetAll('e')).to.deep.equal({})
        await grow('e')
        expect(Object.keys(await client.hGetAll('e'))).to.have.length(30)
      } finally {
        Object.assign(sizes, WHOLE)
        leftovers.afterMs = 120_000
      }
    })
  }

  /** Rounds of anti-entropy remove what nobody has seen to. */
  async function untilNoPartIsLeft(): Promise<void> {
    for (;;) {
      const { status } = await call(running.ports.socket, 'POST', '/repair')
      expect(status).to.be.oneOf([200, 202])
      while ((await call(running.ports.socket, 'GET', '/repair')).json().state !== 'idle');
      if ((await partsOn(running)) === 0) return
    }
  }
})
