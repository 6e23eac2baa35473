import { expect } from 'chai'
import { Redis } from 'ioredis'
import { expectProblem } from '../../support/problem.ts'
import { call as callPort, type RawAnswer, type Sent } from '../../support/raw-http.ts'
import { MAX_FOREIGN_ELEMENTS } from '../../../src/nodes/redis/foreign.ts'
import { startRedisCluster } from '../../../scripts/redis-server.ts'
import { HTTP_ENTRIES, type RunningRondo, startRondo } from '../../support/rondo.ts'

type Result = Record<string, unknown>

for (const entry of HTTP_ENTRIES) {
  describe(`many keys in one request (${entry})`, () => {
    let running: RunningRondo
    before(async () => (running = await startRondo({ MAX_VALUE_BYTES: '1MiB' })))
    after(() => running.stop())

    const post = (what: string, body: object, query = '') =>
      callPort(running.ports[entry], 'POST', `/api/v1/${what}${query}`, { body })
    const results = async (what: string, body: object, query = '') => {
      const answer = await post(what, body, query)
      expect(answer.status, answer.text).to.equal(200)
      return answer.json().results as Result[]
    }
    const get = (key: string) => callPort(running.ports[entry], 'GET', `/api/v1/keys/${key}`)

    it('mset stores, mget reads and mdelete removes, with one result a key in the order of the request', async () => {
      const items = [
        { key: 'a', value: '1' },
        { key: 'b/ö', value: '2', ttl: 100 },
        { key: '__proto__', value: 'AP8=', encoding: 'base64' },
      ]
      const written = await results('mset', { items })
      expect(written.map(({ key, message }) => [key, message])).to.deep.equal(
        items.map(({ key }) => [key, 'ok']),
      )
      const versions = written.map(({ version }) => version as string)
      expect(versions.every((version) => /^[0-9a-f]{24}$/.test(version))).to.equal(true)

      expect(await results('mget', { keys: ['__proto__', 'b/ö', 'missing', 'a'] })).to.deep.equal([
        { key: '__proto__', value: 'AP8=', encoding: 'base64', ttl: 0, version: versions[2] },
        { key: 'b/ö', value: '2', ttl: 100, version: versions[1] },
        { key: 'missing', code: 'KEY_NOT_FOUND', error: 'key not found' },
        { key: 'a', value: '1', ttl: 0, version: versions[0] },
      ])
      expect(await results('mdelete', { keys: ['a', 'missing', '__proto__'] })).to.deep.equal(
        ['a', 'missing', '__proto__'].map((key) => ({ key, message: 'ok' })),
      )
      expect((await results('mget', { keys: ['a', 'b/ö'] })).map(({ code }) => code)).to.deep.equal([
        'KEY_NOT_FOUND',
        undefined,
      ])
    })

    it('a key that is named twice is answered twice; of two values the last one stays', async () => {
      await results('mset', {
        items: Array.from({ length: 200 }, (_, i) => ({ key: 'twice', value: String(i) })),
      })
      const got = await results('mget', { keys: ['twice', 'twice'] })
      expect(got.map(({ value }) => value)).to.deep.equal(['199', '199'])
      expect(await results('mdelete', { keys: ['twice', 'twice'] })).to.have.length(2)
      expect((await get('twice')).status).to.equal(404)
    })

    it('keys and values are those of the single calls', async () => {
      await results('mset', { items: [{ key: 'a/b', value: 'v' }] })
      expect((await get('a%2Fb')).json().value).to.equal('v')
      const key = Buffer.from([0xff, 0x00]).toString('base64url')
      await results('mset', { items: [{ key, value: 'bin' }] }, '?keyEncoding=base64url')
      expect((await get(`${key}?keyEncoding=base64url`)).json().value).to.equal('bin')
      const got = await results('mget', { keys: [key] }, '?keyEncoding=base64url&consistency=one')
      expect(got[0]).to.include({ key, value: 'bin' })
    })

    it('nothing to do is done', async () => {
      expect(await results('mget', { keys: [] })).to.deep.equal([])
      expect(await results('mset', { items: [] })).to.deep.equal([])
      expect(await results('mdelete', { keys: [] })).to.deep.equal([])
    })

    it('1,000 keys are taken and 1,001 refused', async () => {
      const keys = Array.from({ length: 1001 }, (_, i) => `many-${i}`)
      const items = keys.map((key) => ({ key, value: key }))
      expectProblem(await post('mset', { items }), 400, 'BAD_REQUEST')
      expect((await get('many-0')).status).to.equal(404)
      await results('mset', { items: items.slice(1) })
      const got = await results('mget', { keys: keys.slice(1) })
      expect(got.map(({ value }) => value)).to.deep.equal(keys.slice(1))
      for (const what of ['mget', 'mdelete']) expectProblem(await post(what, { keys }), 400, 'BAD_REQUEST')
    })

    it('one bad item refuses the whole request, and nothing of it is done', async () => {
      const badItems: [unknown, number, string][] = [
        [{ key: 'x' }, 400, 'BAD_REQUEST'],
        [{ value: 'v' }, 400, 'BAD_REQUEST'],
        [{ key: '', value: 'v' }, 400, 'BAD_REQUEST'],
        [{ key: 5, value: 'v' }, 400, 'BAD_REQUEST'],
        [{ key: 'x', value: 5 }, 400, 'BAD_REQUEST'],
        [{ key: 'x', value: 'v', ttl: -1 }, 400, 'BAD_REQUEST'],
        [{ key: 'x', value: 'v', ttl: '5' }, 400, 'BAD_REQUEST'],
        [{ key: 'x', value: 'v', tll: 5 }, 400, 'BAD_REQUEST'],
        [{ key: '\ud800', value: 'v' }, 400, 'BAD_REQUEST'],
        [{ key: 'x', value: '\udc00' }, 400, 'BAD_REQUEST'],
        ['x', 400, 'BAD_REQUEST'],
        [null, 400, 'BAD_REQUEST'],
        [['x', 'v'], 400, 'BAD_REQUEST'],
        [{ key: 'k'.repeat(1025), value: 'v' }, 414, 'KEY_TOO_LONG'],
        [{ key: '__rondo:node', value: 'v' }, 403, 'KEY_RESERVED'],
        [{ key: 'x', value: 'v'.repeat(1024 * 1024 + 1) }, 413, 'VALUE_TOO_LARGE'],
      ]
      for (const [item, status, code] of badItems) {
        const answer = await post('mset', { items: [{ key: 'innocent', value: 'v' }, item] })
        expectProblem(answer, status, code, JSON.stringify(item)?.slice(0, 80))
        expect((await get('innocent')).status).to.equal(404)
      }
      await results('mset', { items: [{ key: 'innocent', value: 'v' }] })
      for (const key of ['', 5, null, {}, ['x'], '\ud800']) {
        for (const what of ['mget', 'mdelete']) {
          expectProblem(await post(what, { keys: ['innocent', key] }), 400, 'BAD_REQUEST')
        }
      }
      expectProblem(await post('mdelete', { keys: ['innocent', '__rondo:node'] }), 403, 'KEY_RESERVED')
      expect((await get('innocent')).json().value).to.equal('v')
    })

    it('a body that is not what the call takes: 400', async () => {
      for (const [what, name] of [
        ['mget', 'keys'],
        ['mdelete', 'keys'],
        ['mset', 'items'],
      ] as const) {
        for (const body of [
          {},
          [],
          { [name]: 'a' },
          { [name]: null },
          { [name]: { 0: 'a' } },
          { [name]: [], x: 1 },
        ]) {
          expectProblem(await post(what, body), 400, 'BAD_REQUEST')
        }
        for (const query of [
          '?consistency=maybe',
          '?consistency=one&consistency=one',
          '?x=1',
          '?keyEncoding=',
        ]) {
          expectProblem(await post(what, { [name]: [] }, query), 400, 'BAD_REQUEST')
        }
      }
    })

    it('a body that does not say it is JSON is refused: no form of a web page passes for one', async () => {
      for (const type of [
        undefined,
        'text/plain',
        'application/x-www-form-urlencoded',
        'multipart/form-data',
      ]) {
        const headers = type === undefined ? {} : { 'Content-Type': type }
        const sent: Sent = { headers, body: '{"keys":["a"]}' }
        expectProblem(
          await callPort(running.ports[entry], 'POST', '/api/v1/mdelete', sent),
          400,
          'BAD_REQUEST',
        )
      }
    })
  })
}

describe('many keys in one request', () => {
  it('a body over MAX_BATCH_BYTES: 413', async () => {
    const running = await startRondo({ MAX_BATCH_BYTES: '2000' })
    try {
      for (const port of Object.values(running.ports)) {
        const items = [{ key: 'a', value: 'v'.repeat(2000) }]
        expectProblem(
          await callPort(port, 'POST', '/api/v1/mset', { body: { items } }),
          413,
          'VALUE_TOO_LARGE',
        )
        const keys = ['k'.repeat(1000), 'l'.repeat(1000)]
        expectProblem(
          await callPort(port, 'POST', '/api/v1/mget', { body: { keys } }),
          413,
          'VALUE_TOO_LARGE',
        )
      }
    } finally {
      await running.stop()
    }
  })

  it('an answer stays within MAX_BATCH_BYTES: what does not fit any more gets an error of its own', async () => {
    const running = await startRondo({ MAX_BATCH_BYTES: '10000' })
    try {
      const port = running.ports.socket
      const keys = Array.from({ length: 300 }, (_, i) => `k${i}`)
      for (const key of keys) await callPort(port, 'PUT', `/api/v1/keys/${key}`, { body: 'v'.repeat(100) })
      const answer = await callPort(port, 'POST', '/api/v1/mget', { body: { keys } })
      const results = answer.json().results as Result[]
      expect(results.map(({ key }) => key)).to.deep.equal(keys)
      // Within a window of keys that are asked for together, the nodes' answers come in any order.
      expect(results.filter(({ value }) => value === 'v'.repeat(100))).to.have.length(100)
      expect(results.filter(({ code }) => code === 'VALUE_TOO_LARGE')).to.have.length(200)
      expect(results[0]!.value).to.have.length(100)
      expect(results.at(-1)!.code).to.equal('VALUE_TOO_LARGE')
      const one = await callPort(port, 'POST', '/api/v1/mget', { body: { keys: keys.slice(-1) } })
      expect((one.json().results as Result[])[0]!.value).to.have.length(100)
    } finally {
      await running.stop()
    }
  })

  it('MAX_BATCH_KEYS is what is configured', async () => {
    const running = await startRondo({ MAX_BATCH_KEYS: '2' })
    try {
      const port = running.ports.socket
      const mget = (keys: string[]) => callPort(port, 'POST', '/api/v1/mget', { body: { keys } })
      expect((await mget(['a', 'b'])).status).to.equal(200)
      const refused = await mget(['a', 'b', 'c'])
      expectProblem(refused, 400, 'BAD_REQUEST')
      expect(refused.json().error).to.include('MAX_BATCH_KEYS')
      expect((await callPort(port, 'GET', '/api/v1/keys')).status, 'the default page is no larger').to.equal(
        200,
      )
    } finally {
      await running.stop()
    }
  })

  it('a key that fails has its error, and the others their values', async () => {
    const servers = await startRedisCluster(2)
    const running = await startRondo({ REDIS_URLS: servers.map(({ url }) => url).join(',') })
    const clients = servers.map(({ port }) => new Redis(port))
    try {
      const post = async (what: string, body: object): Promise<Result[]> => {
        const answer: RawAnswer = await callPort(running.ports.socket, 'POST', `/api/v1/${what}`, { body })
        expect(answer.status, answer.text).to.equal(200)
        return answer.json().results as Result[]
      }
      const elements = Array<string>(MAX_FOREIGN_ELEMENTS + 1).fill('x')
      for (const client of clients) await client.lpush('list', ...elements)
      const set = (keys: string[]) =>
        post('mset', { items: keys.map((key) => ({ key, value: `value of ${key}` })) })
      await set(['a', 'b'])
      const got = await post('mget', { keys: ['a', 'list', 'b', 'c'] })
      expect(got.map(({ value, code }) => value ?? code)).to.deep.equal([
        'value of a',
        'WRONG_TYPE',
        'value of b',
        'KEY_NOT_FOUND',
      ])
      expect(got[1]!.error).to.match(
        /^The key holds a collection of another program with more than 16384 elements/,
      )
      expect(await clients[0]!.llen('list'), 'what is not ours is left alone').to.equal(elements.length)
      expect((await set(['list'])).map(({ code }) => code)).to.deep.equal([undefined])
      expect(await clients[0]!.type('list'), 'it is replaced by a write').to.equal('string')
    } finally {
      for (const client of clients) client.disconnect()
      await running.stop()
      await Promise.all(servers.map((server) => server.stop()))
    }
  })
})
