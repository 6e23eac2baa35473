// The dialects of other systems: what they do, and that they are no way around a scope.
import { expect } from 'chai'
import { expectProblem } from '../../support/problem.ts'
import { call, type RawAnswer } from '../../support/raw-http.ts'
import { HTTP_ENTRIES, type RunningRondo, startRondo } from '../../support/rondo.ts'

const TOKEN = 'data-token-0123456789abcdef'
const ADMIN = 'admin-token-0123456789abcdef'
const ALL = 'upstash,upstash-get,ringg,lru,lru-get,cache-cluster'
const OCTETS = { 'Content-Type': 'application/octet-stream' }
const BYTES = Buffer.from([0, 0xff, 10, 0x80])

/** One of each call that changes keys. */
const WRITES = [
  ['POST', '/upstash', '["SET","k","changed"]'],
  ['POST', '/upstash/pipeline', '[["SET","k","changed"]]'],
  ['POST', '/upstash/multi-exec', '[["SET","k","changed"]]'],
  ['POST', '/upstash/set/k/changed', ''],
  ['GET', '/upstash/set/k/changed', undefined],
  ['PUT', '/cache/k', 'changed'],
  ['DELETE', '/cache/k', undefined],
  ['POST', '/set?key=k&value=changed', ''],
  ['GET', '/set?key=k&value=changed', undefined],
  ['PUT', '/_cache?key=k', 'changed'],
  ['DELETE', '/_cache?key=k', undefined],
] as const

for (const entry of HTTP_ENTRIES) {
  describe(`dialects of other systems (${entry})`, () => {
    let running: RunningRondo
    before(async () => (running = await startRondo({ COMPAT_APIS: 'upstash,ringg,lru,cache-cluster' })))
    after(() => running.stop())

    const send = (method: string, path: string, body?: Buffer | object, headers = {}) =>
      call(running.ports[entry], method, path, { ...(body === undefined ? {} : { body }), headers })
    const json = async (path: string, body: object, headers = {}) => {
      const answer = await send('POST', path, body, headers)
      expect(answer.status, answer.text).to.equal(200)
      return JSON.parse(answer.text) as unknown
    }

    for (const [name, path] of [
      ['ringg', (key: string) => `/cache/${encodeURIComponent(key)}?`],
      ['cache-cluster', (key: string) => `/_cache?key=${encodeURIComponent(key)}`],
    ] as const) {
      it(`${name}: GET, PUT and DELETE of raw bytes`, async () => {
        for (const key of [`${name}/../a b`, `${name}-__proto__`, `${name}%00\r\nx`]) {
          const at = path(key)
          expectProblem(await send('GET', at), 404, 'KEY_NOT_FOUND')
          expect((await send('PUT', at, BYTES, OCTETS)).status).to.equal(200)
          const found = await send('GET', at)
          expect([found.status, found.bytes]).to.deep.equal([200, BYTES])
          const api = await send('GET', `/api/v1/keys/${encodeURIComponent(key)}`)
          expect(api.json()).to.include({ key, value: BYTES.toString('base64') })
          expect((await send('DELETE', at)).status).to.equal(204)
          expect((await send('DELETE', at)).status).to.equal(204)
          expectProblem(await send('GET', at), 404, 'KEY_NOT_FOUND')
        }
        const at = path('ttl')
        expect((await send('PUT', `${at}&ttl=50`, BYTES, OCTETS)).status).to.equal(200)
        expect((await send('GET', '/api/v1/keys/ttl')).json().ttl).to.equal(50)
        for (const wrong of ['ttl=1.5', 'ttl=-1', 'ttl=1&ttl=2', 'also=1']) {
          expectProblem(await send('PUT', `${at}&${wrong}`, BYTES, OCTETS), 400, 'BAD_REQUEST', wrong)
        }
        expectProblem(await send('GET', path('__rondo:x')), 403, 'KEY_RESERVED')
        expectProblem(await send('PUT', path('k'.repeat(2000)), BYTES, OCTETS), 414, 'KEY_TOO_LONG')
      })
    }

    it('lru: GET /get, POST /set with the value in the query or as the body, and no GET that sets', async () => {
      expectProblem(await send('GET', '/get?key=l'), 404, 'KEY_NOT_FOUND')
      expect((await send('POST', '/set?key=l&value=a+b%26', {})).status).to.equal(200)
      expect((await send('GET', '/get?key=l')).text).to.equal('a b&')
      expect((await send('POST', '/set?key=l&ttl=9', BYTES, OCTETS)).status).to.equal(200)
      expect((await send('GET', '/get?key=l')).bytes).to.deep.equal(BYTES)
      const refused = await send('GET', '/set?key=l&value=x')
      expectProblem(refused, 405, 'METHOD_NOT_ALLOWED')
      expect(refused.headers.allow).to.equal('POST')
      for (const path of ['/get', '/get?key=', '/get?Key=l', '/get?key=l&key=m', '/get?key=%FF']) {
        expectProblem(await send('GET', path), 400, 'BAD_REQUEST', path)
      }
      expect((await send('GET', '/get?key=l')).bytes).to.deep.equal(BYTES)
    })

    it('upstash: commands, pipelines and transactions', async () => {
      expect(await json('/upstash', ['SET', 'u', 'é', 'EX', 100])).to.deep.equal({ result: 'OK' })
      expect(await json('/upstash', ['GET', 'u'])).to.deep.equal({ result: 'é' })
      expect(await json('/upstash', ['GET', 'u'], { 'Upstash-Encoding': 'base64' })).to.deep.equal({
        result: Buffer.from('é').toString('base64'),
      })
      expect(
        await json('/upstash/pipeline', [['INCR', 'n'], ['INCR', 'u'], ['NOPE'], ['INCR', 'n'], ['PING']]),
      ).to.deep.equal([
        { result: 1 },
        { error: 'ERR value is not an integer or out of range' },
        { error: "ERR unknown command 'NOPE', with args beginning with: " },
        { result: 2 },
        { result: 'PONG' },
      ])
      expect(
        await json('/upstash/multi-exec', [
          ['SET', '{t}a', 1],
          ['INCR', '{t}a'],
          ['GET', '{t}b'],
        ]),
      ).to.deep.equal([{ result: 'OK' }, { result: 2 }, { result: null }])
      for (const list of [[['SET', '{t}a', 9], ['NOPE']], [['SET', '{t}a', 9], ['GET']], [['FLUSHALL']]]) {
        const aborted = await send('POST', '/upstash/multi-exec', list)
        expectProblem(aborted, 400, 'BAD_REQUEST')
        expect(aborted.json().error).to.match(/^EXECABORT Transaction discarded/)
      }
      expect(await json('/upstash', ['GET', '{t}a'])).to.deep.equal({ result: '2' })
    })

    it('upstash: its URL may end in a slash, and its clients may add one', async () => {
      for (const path of ['/upstash/', '/upstash//']) {
        expect(await json(path, ['SET', 'slash', 1]), path).to.deep.equal({ result: 'OK' })
        expect(await json(`${path}?db=0`, ['GET', 'slash']), path).to.deep.equal({ result: '1' })
      }
      for (const base of ['/upstash', '/upstash/', '/upstash//']) {
        for (const call of ['pipeline', 'multi-exec', 'pipeline/', 'multi-exec//']) {
          const path = `${base}/${call}`
          expect(await json(path, [['GET', 'slash'], ['PING']]), path).to.deep.equal([
            { result: '1' },
            { result: 'PONG' },
          ])
        }
        expect((await send('GET', `${base}/get/slash`)).json(), base).to.deep.equal({ result: '1' })
      }
      // An argument of a path may be empty, and one that follows it too.
      expect((await send('POST', '/upstash/set/slash/', Buffer.alloc(0), OCTETS)).json()).to.deep.equal({
        result: 'OK',
      })
      expect((await send('GET', '/upstash/get/slash')).json()).to.deep.equal({ result: '' })
      expectProblem(await send('GET', '/upstash/'), 405, 'METHOD_NOT_ALLOWED')
      expectProblem(await send('POST', '/upstash/pipelines/', [['PING']]), 400, 'BAD_REQUEST')
      expectProblem(await send('POST', '/upstashx/', ['PING']), 404, 'NOT_FOUND')
    })

    it('upstash: whoever sends a sync token, whatever its text, is told the level that it gets', async () => {
      const forms: readonly (readonly [string, string, object?])[] = [
        ['POST', '/upstash', ['GET', 'u']],
        ['POST', '/upstash/pipeline', [['GET', 'u']]],
        ['POST', '/upstash/multi-exec', [['GET', 'u']]],
        ['GET', '/upstash/get/u'],
      ]
      for (const [method, path, body] of forms) {
        for (const sent of ['', 'quorum', 'one', 'YWJj.1', 'x'.repeat(4000)]) {
          const answer = await send(method, path, body, { 'Upstash-Sync-Token': sent })
          expect([answer.status, answer.headers['upstash-sync-token']], path).to.deep.equal([200, 'quorum'])
        }
        expect((await send(method, path, body)).headers, path).to.not.have.property('upstash-sync-token')
      }
      const failed = await send('POST', '/upstash', ['LPOP', 'n'], { 'Upstash-Sync-Token': '' })
      expect([failed.status, failed.headers['upstash-sync-token']]).to.deep.equal([409, 'quorum'])
    })

    it('upstash: lists of commands take a level and a database', async () => {
      for (const [path, body, reply] of [
        ['/upstash?db=3', ['SET', '{q}k', 'three'], { result: 'OK' }],
        ['/upstash/?db=3&consistency=all', ['GET', '{q}k'], { result: 'three' }],
        ['/upstash', ['GET', '{q}k'], { result: null }],
        ['/upstash/pipeline?consistency=quorum&db=3', [['GET', '{q}k']], [{ result: 'three' }]],
        [
          '/upstash/multi-exec?db=3',
          [
            ['GET', '{q}k'],
            ['DEL', '{q}k'],
          ],
          [{ result: 'three' }, { result: 1 }],
        ],
      ] as const) {
        expect(await json(path, body), path).to.deep.equal(reply)
      }
      for (const query of [
        'consistency=maybe',
        'consistency=one&consistency=one',
        'db=16',
        'db=x',
        'level=one',
      ]) {
        for (const path of ['/upstash', '/upstash/pipeline', '/upstash/multi-exec'])
          expectProblem(await send('POST', `${path}?${query}`, [['GET', 'k']]), 400, 'BAD_REQUEST')
      }
      const level = async (query: string) =>
        (await send('POST', `/upstash?${query}`, ['GET', 'k'], { 'Upstash-Sync-Token': '' })).headers[
          'upstash-sync-token'
        ]
      expect(await level('consistency=one')).to.equal('quorum')
      expect(await level('consistency=all')).to.equal('all')
    })

    it('upstash: a path and its query are a command; a GET changes nothing', async () => {
      expect((await send('POST', '/upstash/set/p%2Fq?EX=100', BYTES, OCTETS)).json().result).to.equal('OK')
      expect(
        (await send('GET', '/upstash/get/p%2Fq', undefined, { 'Upstash-Encoding': 'base64' })).json(),
      ).to.deep.equal({ result: BYTES.toString('base64') })
      expect((await send('GET', '/upstash/ttl/p%2Fq')).json().result).to.be.within(99, 100)
      expect((await send('GET', '/upstash/ping')).json().result).to.equal('PONG')
      for (const path of [
        'set/p/x',
        'del/p%2Fq',
        'getdel/p%2Fq',
        'flushall',
        'getex/p%2Fq?PERSIST',
        'SET/p/x',
      ]) {
        for (const method of ['GET', 'HEAD']) {
          const answer = await call(running.ports[entry], 'GET', `/upstash/${path}`)
          expectProblem(answer, 405, 'METHOD_NOT_ALLOWED', `${method} ${path}`)
          expect(answer.headers.allow).to.equal('POST')
        }
      }
      expect((await send('GET', '/upstash/exists/p%2Fq')).json().result).to.equal(1)
      for (const path of ['get/%FF', 'get/%zz', 'get/k?%zz']) {
        expectProblem(await send('GET', `/upstash/${path}`), 400, 'BAD_REQUEST', path)
      }
    })

    it('refuses bodies that a form of any web page can send', async () => {
      for (const type of [
        'text/plain',
        'application/x-www-form-urlencoded',
        'multipart/form-data; boundary=x',
      ]) {
        for (const [method, path, body] of WRITES) {
          if (method !== 'POST') continue
          const headers = { 'Content-Type': type }
          const answer = await send(method, path, Buffer.from(body), headers)
          expectProblem(answer, 400, 'BAD_REQUEST', `${type} ${path}`)
        }
      }
      expectProblem(await send('GET', '/api/v1/keys/k'), 404, 'KEY_NOT_FOUND')
    })

    it('refuses bad bodies', async () => {
      for (const body of [{}, [], [[]], ['SET', 'k', null], [['SET', 'k', 'v']], ['SET', 'k', ['v']]]) {
        expectProblem(await send('POST', '/upstash', body), 400, 'BAD_REQUEST', JSON.stringify(body))
      }
      for (const call of ['pipeline', 'multi-exec']) {
        for (const body of [{}, ['SET', 'k', 'v'], [[]], [[['SET']]], [['SET', 'k', null]]]) {
          expectProblem(
            await send('POST', `/upstash/${call}`, body),
            400,
            'BAD_REQUEST',
            JSON.stringify(body),
          )
        }
      }
    })

    it('names no way that it does not have for a path that is no text', async () => {
      for (const path of ['/upstash/get/%FF', '/cache/%FF']) {
        const answer = await send('GET', path)
        expectProblem(answer, 400, 'BAD_REQUEST')
        expect(answer.json().error).to.equal(
          'The path is not valid UTF-8; send other bytes to /api/v1, in base64.',
        )
      }
    })

    it('refuses web pages of other origins', async () => {
      for (const headers of [{ 'Sec-Fetch-Site': 'cross-site' }, { Origin: 'https://evil.example' }]) {
        for (const [method, path, body] of WRITES) {
          if (method === 'GET' && path.startsWith('/set')) continue // off
          const sent = body === undefined ? undefined : Buffer.from(body)
          expectProblem(await send(method, path, sent, { ...OCTETS, ...headers }), 403, 'FORBIDDEN', path)
        }
      }
    })
  })
}

describe('dialects of other systems and tokens', () => {
  it('are not weaker than the configured levels for a sync token', async () => {
    const levels = { READ_CONSISTENCY: 'all', WRITE_CONSISTENCY: 'all' }
    const running = await startRondo({ COMPAT_APIS: 'upstash', ...levels })
    try {
      const headers = { 'Upstash-Sync-Token': '' }
      const answer = await call(running.ports.socket, 'POST', '/upstash', { body: ['GET', 'u'], headers })
      expect(answer.headers['upstash-sync-token']).to.equal('all')
    } finally {
      await running.stop()
    }
  })

  it('are off by default', async () => {
    const running = await startRondo()
    try {
      for (const [method, path, body] of WRITES) {
        const sent = body === undefined ? {} : { body: Buffer.from(body), headers: OCTETS }
        expectProblem(await call(running.ports.socket, method, path, sent), 404, 'NOT_FOUND', path)
      }
    } finally {
      await running.stop()
    }
  })

  it('let no GET change a key without a token to ask for, even if their GET forms are on', async () => {
    const running = await startRondo({ COMPAT_APIS: ALL })
    try {
      expectProblem(await call(running.ports.socket, 'GET', '/set?key=k&value=x'), 403, 'FORBIDDEN')
      expectProblem(await call(running.ports.socket, 'GET', '/upstash/set/k/x'), 405, 'METHOD_NOT_ALLOWED')
      expectProblem(await call(running.ports.socket, 'GET', '/get?key=k'), 404, 'KEY_NOT_FOUND')
    } finally {
      await running.stop()
    }
  })

  it('need the data token: no other opens them, and only upstash takes it from the query', async () => {
    const running = await startRondo({ COMPAT_APIS: ALL, DATA_TOKEN: TOKEN, ADMIN_TOKEN: ADMIN })
    try {
      const send = (
        method: string,
        path: string,
        body: string | undefined,
        headers: object,
      ): Promise<RawAnswer> =>
        call(running.ports.socket, method, path, {
          ...(body === undefined ? {} : { body: Buffer.from(body) }),
          headers: { ...OCTETS, ...headers },
        })
      for (const [method, path, body] of WRITES) {
        const mark = path.includes('?') ? '&' : '?'
        expect((await send(method, path, body, {})).status, path).to.equal(401)
        const inQuery = await send(method, `${path}${mark}_token=${TOKEN}`, body, {})
        expect(inQuery.status, path).to.equal(path.startsWith('/upstash') ? 200 : 401)
        const inHeader = await send(method, path, body, { Authorization: `Bearer ${TOKEN}` })
        expect(inHeader.status, inHeader.text).to.be.oneOf([200, 204])
      }
      for (const wrong of ['', ADMIN, `${TOKEN}x`, '%zz']) {
        const answer = await send('POST', `/upstash?_token=${wrong}`, '["SET","k","wrong"]', {})
        expect(answer.status, wrong).to.equal(401)
      }
      const both = await send('GET', `/upstash/get/k?_token=${TOKEN}`, undefined, {
        Authorization: `Bearer ${ADMIN}`,
      })
      expect(both.status).to.equal(401)
      for (const path of ['/status', '/api/v1/keys/k', '/members/join']) {
        const answer = await send('GET', `${path}?_token=${TOKEN}`, undefined, {})
        expect(answer.status, path).to.equal(401)
      }
      expect(running.logText()).not.to.contain(TOKEN)
    } finally {
      await running.stop()
    }
  })

  it('change nothing by HEAD', async () => {
    const running = await startRondo({ COMPAT_APIS: ALL, DATA_TOKEN: TOKEN })
    try {
      const headers = { Authorization: `Bearer ${TOKEN}` }
      for (const path of ['/set?key=k&value=x', '/upstash/set/k/x']) {
        const { status } = await fetch(`http://127.0.0.1:${running.ports.socket}${path}`, {
          method: 'HEAD',
          headers,
        })
        expect(status, path).to.equal(405)
      }
      const left = await call(running.ports.socket, 'GET', '/get?key=k', { headers })
      expectProblem(left, 404, 'KEY_NOT_FOUND')
      expect((await call(running.ports.socket, 'GET', '/set?key=k&value=x', { headers })).status).to.equal(
        200,
      )
      expect((await call(running.ports.socket, 'GET', '/upstash/get/k', { headers })).json().result).to.equal(
        'x',
      )
    } finally {
      await running.stop()
    }
  })
})
