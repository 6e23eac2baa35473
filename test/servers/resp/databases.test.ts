/** Databases over both servers, beside a real Redis: they are names, and a client must not notice. */
import { expect } from 'chai'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { call } from '../../support/raw-http.ts'
import { seeded } from '../../support/random.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const MANY = Array.from({ length: 1200 }, (_, i) => `many:${i}`)

/** Streams whose replies must be those of Redis, byte for byte. */
const LIKE_REDIS: Record<string, string[]> = {
  'keys of one database are not seen in another': [
    'SET a 0',
    'SELECT 1',
    'GET a',
    'SET a 1',
    'SELECT 15',
    'EXISTS a',
    'SELECT 1',
    'GET a',
    'SELECT 0',
    'GET a',
  ],
  'every kind of command': [
    'SELECT 2',
    'MSET a 1 b 2',
    'MGET a b c',
    'INCR a',
    'APPEND b x',
    'STRLEN b',
    'GETRANGE b 0 0',
    'SETBIT bits 7 1',
    'SET c 3 EX 1000',
    'TTL c',
    'PERSIST c',
    'SET d 1 NX GET',
    'GETDEL d',
    'DEL a b nosuch',
    'UNLINK c',
    'EXISTS a b c bits',
    'SELECT 0',
    'EXISTS a b c bits d',
  ],
  'a number has one form': ['SELECT 03', 'SELECT 00', 'SELECT +3', 'SELECT -0', 'CLIENT GETNAME'],
  'DBSIZE, KEYS and RANDOMKEY': [
    'SET only 0',
    'SELECT 3',
    'DBSIZE',
    'KEYS *',
    'RANDOMKEY',
    'SET a 1',
    'DBSIZE',
    'KEYS ?',
    'KEYS __*',
    'RANDOMKEY',
    'SCAN 0 COUNT 1000',
    'SCAN 0 MATCH b* COUNT 1000',
    'SELECT 0',
    'DBSIZE',
    'KEYS *',
  ],
  'FLUSHDB leaves the others, FLUSHALL none': [
    'SET a 0',
    'SELECT 1',
    'SET a 1',
    'SELECT 2',
    'SET a 2',
    'FLUSHDB',
    'GET a',
    'SELECT 1',
    'GET a',
    'FLUSHALL',
    'GET a',
    'SELECT 0',
    'GET a',
  ],
  'a transaction that selects': [
    'SET a 0',
    'MULTI',
    'SET b 0',
    'SELECT 1',
    'SET a 1',
    'GET a',
    'SELECT 99',
    'INCR a',
    'SELECT 2',
    'SET a 2',
    'EXEC',
    'GET a',
    'SELECT 1',
    'GET a',
    'SELECT 0',
    'MGET a b',
  ],
  'a transaction that is discarded selects nothing': [
    'SET a 0',
    'MULTI',
    'SELECT 1',
    'DISCARD',
    'GET a',
    'MULTI',
    'SELECT 1',
    'NOSUCH',
    'EXEC',
    'GET a',
  ],
  'WATCH watches the key of its database': [
    'WATCH {t}a',
    'SELECT 1',
    'SET {t}a 1',
    'MULTI',
    'SET {t}b 1',
    'EXEC',
    'WATCH {t}a',
    'SET {t}a 2',
    'MULTI',
    'SET {t}b 2',
    'EXEC',
    'GET {t}b',
  ],
  'RESET goes back to database 0': ['SELECT 4', 'SET a 4', 'RESET', 'GET a', 'SET a 0', 'SELECT 4', 'GET a'],
  'very many keys': [
    'SELECT 5',
    `MSET ${MANY.join(' 1 ')} 1`,
    'DBSIZE',
    `EXISTS ${MANY.join(' ')}`,
    `DEL ${MANY.join(' ')}`,
    'SELECT 0',
    'DBSIZE',
  ],
  'MOVE and COPY': [
    'SET {t}a 1 EX 1000',
    'COPY {t}a {t}a DB 1',
    'MOVE {t}a 1',
    'MOVE {t}a 2',
    'EXISTS {t}a',
    'SELECT 2',
    'GET {t}a',
    'TTL {t}a',
    'RENAME {t}a {t}b',
    'SELECT 1',
    'COPY {t}a {t}b DB 2',
    'COPY {t}a {t}b DB 2 REPLACE',
    'SELECT 2',
    'GET {t}b',
  ],
}

describe('databases', () => {
  let running: RunningRondo
  let redis: RedisServer
  before(async () => {
    redis = await startRedis()
    running = await startRondo()
  })
  after(async () => {
    await running.stop()
    await redis.stop()
  })

  const repliesOf = async (port: number, lines: readonly string[]) => {
    const client = await RawResp.open(port)
    const replies = []
    for (const line of ['FLUSHALL', ...lines])
      replies.push(`${line.slice(0, 60)}: ${await client.ask(...line.split(' '))}`)
    client.close()
    return replies
  }
  const withClient = async <T>(run: (client: RawResp) => Promise<T>): Promise<T> => {
    const client = await RawResp.open(running.rondo.respServer.port)
    try {
      return await run(client)
    } finally {
      client.close()
    }
  }

  describe('as in Redis', () => {
    for (const [name, lines] of Object.entries(LIKE_REDIS)) {
      it(name, async () => {
        const ours = await repliesOf(running.rondo.respServer.port, lines)
        expect(ours).to.deep.equal(await repliesOf(redis.port, lines))
      })
    }

    for (const tag of ['{t}', '']) {
      it(`in one pipeline, whatever waits for whatever, ${tag ? 'with' : 'without'} a hash tag`, async () => {
        const random = seeded(7)
        const pick = <T>(all: readonly T[]) => all[Math.floor(random.next() * all.length)]!
        const stream = ['FLUSHALL']
        for (let i = 0; i < 3000; i++) {
          const key = `${tag}${pick(['a', 'b', 'c'])}`
          stream.push(
            pick([
              `SELECT ${pick([0, 1, 2])}`,
              `GET ${key}`,
              `SET ${key} ${i}`,
              `APPEND ${key} x`,
              `DEL ${key} ${tag}a`,
              `MGET ${tag}a ${tag}b ${tag}c`,
              `MSET ${tag}a ${i} ${tag}b ${i}`,
              `SETNX ${key} ${i}`,
              `BITPOS ${key} 1`,
              // Without a hash tag these are refused where the key has another place.
              ...(tag ? [`MOVE ${key} ${pick([0, 1, 2])}`, `COPY ${key} ${tag}c DB ${pick([0, 1, 2])}`] : []),
              'MULTI',
              'EXEC',
              `EXISTS ${tag}a ${tag}b ${tag}c`,
            ]),
          )
        }
        const all = async (port: number) => {
          const client = await RawResp.open(port)
          client.send([...stream, 'DISCARD', 'QUIT'].map((line) => command(...line.split(' '))).join(''))
          return client.rest()
        }
        expect(await all(running.rondo.respServer.port)).to.equal(await all(redis.port))
      }).timeout(30_000)
    }
  })

  it('DATABASES limits them, at both servers', async () => {
    const few = await startRondo({ DATABASES: '2' })
    try {
      const client = await RawResp.open(few.rondo.respServer.port)
      expect(await client.ask('SELECT', '1')).to.equal('+OK\r\n')
      for (const line of ['SELECT 2', 'MOVE a 2', 'COPY a b DB 2']) {
        expect(await client.ask(...line.split(' '))).to.equal('-ERR DB index is out of range\r\n')
      }
      client.close()
      const answer = await call(few.ports.socket, 'GET', '/api/v1/keys/a?db=2')
      expect(answer.status).to.equal(400)
      expect(answer.json().error).to.equal(
        'db is a whole number from 0 to 1, without leading zeros (DATABASES).',
      )
    } finally {
      await few.stop()
    }
  })

  it('a client cannot name the keys of another database, or internal ones', () =>
    withClient(async (client) => {
      for (const key of ['__rondo:db1:a', '__rondo:node', '__rondo:db0:a', '__rondo:']) {
        for (const database of ['0', '1']) {
          await client.ask('SELECT', database)
          expect(await client.ask('GET', key)).to.match(/^-ERR Keys that begin with "__rondo:"/)
          expect(await client.ask('SET', key, '1')).to.match(/^-ERR Keys that begin with "__rondo:"/)
        }
      }
    }))

  it('MOVE between replica sets says which keys could be moved', () =>
    withClient(async (client) => {
      const replies = []
      for (let i = 0; i < 20; i++) {
        await client.ask('SET', `k${i}`, '1')
        replies.push(await client.ask('MOVE', `k${i}`, '1'))
      }
      expect(replies.some((reply) => reply.startsWith('-CROSSSLOT '))).to.equal(true)
      expect(replies.every((reply) => reply === ':1\r\n' || reply.startsWith('-CROSSSLOT'))).to.equal(true)
    }))

  it('SWAPDB is refused with its reason', () =>
    withClient(async (client) => {
      expect(await client.ask('SWAPDB', '0', '1')).to.match(
        /^-ERR unknown command 'SWAPDB'.*part of the name of a key/,
      )
    }))

  it('CLIENT INFO, INFO and RONDO EXPLAIN tell the database', () =>
    withClient(async (client) => {
      await client.ask('FLUSHALL')
      await client.ask('SET', 'a', '1')
      await client.ask('SELECT', '3')
      await client.ask('MSET', 'a', '1', 'b', '1')
      expect(await client.ask('CLIENT', 'INFO')).to.include(' db=3 ')
      expect(await client.ask('INFO', 'keyspace')).to.match(/db0:keys=1[\s\S]*db3:keys=2/)
      expect(await client.ask('RONDO', 'EXPLAIN', 'a')).to.include('$2\r\ndb\r\n:3\r\n')
    }))

  it('DBSIZE and INFO know above 50,000 keys what was counted last, RONDO DBSIZE EXACT counts', async () => {
    const large = await startRondo({ PING_INTERVAL_SECONDS: '1' })
    const client = await RawResp.open(large.rondo.respServer.port)
    try {
      const pairs = (from: number) => Array.from({ length: 500 }, (_, i) => [`k${from + i}`, '1']).flat()
      for (let from = 0; from < 50_500; from += 500) await client.ask('MSET', ...pairs(from))
      await client.ask('SELECT', '2')
      await client.ask('MSET', ...pairs(0))
      expect(await client.ask('RONDO', 'DBSIZE', 'EXACT')).to.equal(':500\r\n')
      const told = (exact: 'yes' | 'no') =>
        `*4\r\n$4\r\nkeys\r\n:500\r\n$5\r\nexact\r\n${exact === 'yes' ? '$3\r\nyes' : '$2\r\nno'}\r\n`
      let last: string
      // Until the nodes have told how many keys they hold: with the next ping.
      while ((last = await client.ask('RONDO', 'DBSIZE')) !== told('no')) {
        expect(last).to.equal(told('yes'))
        await new Promise((next) => setTimeout(next, 50))
      }
      expect(await client.ask('INFO', 'keyspace')).to.match(
        /\r\ndb0:keys=50500,expires=nan\r\ndb2:keys=500,expires=nan\r\n/,
      )
      await client.ask('SET', 'one more', '1')
      // As the nodes have told with the last ping.
      expect(await client.ask('DBSIZE')).to.be.oneOf([':500\r\n', ':501\r\n'])
      expect(await client.ask('RONDO', 'DBSIZE', 'EXACT')).to.equal(':501\r\n')
      expect(await client.ask('DBSIZE')).to.equal(':501\r\n')
      expect(await client.ask('RONDO', 'DBSIZE', 'ABOUT')).to.equal('-ERR syntax error\r\n')
      expect(await client.ask('FLUSHDB')).to.equal('+OK\r\n')
      expect(await client.ask('DBSIZE')).to.equal(':0\r\n')
    } finally {
      client.close()
      await large.stop()
    }
  }).timeout(30_000)

  describe('over HTTP', () => {
    const http = (method: string, path: string, body?: object) =>
      call(running.ports.socket, method, path, body === undefined ? {} : { body })

    it('every route on keys takes ?db=', async () => {
      await withClient((client) => client.ask('FLUSHALL'))
      const keys = '/api/v1/keys'
      expect((await http('PUT', `${keys}/a?db=6`, { value: '1' })).status).to.equal(200)
      expect((await http('GET', `${keys}/a?db=6`)).json()).to.include({ key: 'a', value: '1' })
      expect((await http('HEAD', `${keys}/a?db=6`)).status).to.equal(200)
      for (const db of ['', '?db=0', '?db=5'])
        expect((await http('GET', `${keys}/a${db}`)).status).to.equal(404)
      expect((await http('POST', `${keys}/a/incr?db=6`, {})).json()).to.include({ key: 'a', value: '2' })
      expect((await http('POST', `${keys}/a/append?db=6`, { value: 'x' })).json()).to.include({ value: '2x' })
      expect((await http('POST', `${keys}/a/expire?db=6`, { ttl: 100 })).json()).to.include({ ttl: 100 })
      expect((await http('POST', `${keys}/a/persist?db=6`, {})).json()).to.include({ ttl: 0 })
      expect((await http('GET', `${keys}/a/explain?db=6`)).json()).to.include({ key: 'a', db: 6 })
      const list = await http('GET', `${keys}?db=6&count=1000`)
      expect(list.json()).to.deep.include({ keys: ['a'] })
      const items = { items: [{ key: 'b', value: '2' }] }
      expect((await http('POST', '/api/v1/mset?db=6', items)).status).to.equal(200)
      const got = (await http('POST', '/api/v1/mget?db=6', { keys: ['a', 'b'] })).json() as {
        results: { value: string }[]
      }
      expect(got.results.map(({ value }) => value)).to.deep.equal(['2x', '2'])
      await http('POST', '/api/v1/mdelete?db=6', { keys: ['b'] })
      expect((await http('GET', `${keys}/b?db=6`)).status).to.equal(404)
      expect((await http('POST', `${keys}/a/getdel?db=6`, {})).json()).to.include({ value: '2x' })
      expect((await http('DELETE', `${keys}/a?db=6`)).status).to.equal(204)
    })

    it('sees what a client of Redis has written, and the other way round', () =>
      withClient(async (client) => {
        await client.ask('SELECT', '7')
        await client.ask('SET', 'shared', 'x')
        expect((await http('GET', '/api/v1/keys/shared?db=7')).json()).to.include({ value: 'x' })
        await http('PUT', '/api/v1/keys/shared?db=7', { value: 'y' })
        expect(await client.ask('GET', 'shared')).to.equal('$1\r\ny\r\n')
      }))

    it('refuses what is no database, on every route', async () => {
      for (const db of ['16', '-1', 'x', '', '1.0', '99999', '03', '00', '+3']) {
        for (const [method, path, body] of [
          ['GET', 'keys/a'],
          ['HEAD', 'keys/a'],
          ['PUT', 'keys/a', { value: '1' }],
          ['DELETE', 'keys/a'],
          ['GET', 'keys/a/explain'],
          ['POST', 'keys/a/incr', {}],
          ['POST', 'mget', { keys: ['a'] }],
          ['POST', 'mset', { items: [] }],
          ['POST', 'mdelete', { keys: ['a'] }],
        ] as const) {
          expect(
            (await http(method, `/api/v1/${path}?db=${db}`, body)).status,
            `${method} ${path} ${db}`,
          ).to.equal(400)
        }
        expect((await http('GET', `/api/v1/keys?db=${db}`)).status).to.equal(400)
      }
    })
  })
})
