import { gzipSync } from 'node:zlib'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import fc from 'fast-check'
import request from 'supertest'
import { expectProblem } from '../../support/problem.ts'
import { call as callPort, type RawAnswer, type Sent } from '../../support/raw-http.ts'
import { HTTP_ENTRIES, type RunningRondo, startRondo } from '../../support/rondo.ts'

const VERSION = /^[0-9a-f]{24}$/

// Every promise holds on the socket, where the handler stands in front of Express, and inside of Express.
for (const entry of HTTP_ENTRIES) {
  describe(`keys over HTTP (${entry})`, () => {
    let running: RunningRondo
    before(async () => (running = await startRondo({ MAX_VALUE_BYTES: '1MiB' })))
    after(() => running.stop())

    const call = (method: string, path: string, sent?: Sent) =>
      callPort(running.ports[entry], method, `/api/v1/keys/${path}`, sent)

    it('what was put as JSON is got back, with its key, ttl and version', async () => {
      const put = await call('PUT', 'hello', { body: { value: 'wörld ✓' } })
      expect(put.status).to.equal(200)
      const { message, version } = put.json()
      expect(message).to.equal('ok')
      expect(version).to.match(VERSION)
      expect(put.headers.etag).to.equal(`"${String(version)}"`)

      const got = await call('GET', 'hello')
      expect(got.status).to.equal(200)
      expect(got.json()).to.deep.equal({ value: 'wörld ✓', key: 'hello', ttl: 0, version })
      expect(got.headers).to.include({
        etag: `"${String(version)}"`,
        'content-type': 'application/json; charset=utf-8',
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
      })
    })

    it('each write has a later version than the one before', async () => {
      const versions: string[] = []
      for (let i = 0; i < 20; i++) {
        const put = await call('PUT', 'versions', { body: { value: String(i) } })
        versions.push(put.json().version as string)
      }
      expect(versions).to.deep.equal([...new Set(versions)].sort())
    })

    it('the empty value is a value', async () => {
      await call('PUT', 'empty', { body: { value: '' } })
      expect((await call('GET', 'empty')).json().value).to.equal('')
      await call('PUT', 'empty-raw', { body: Buffer.alloc(0) })
      const got = await call('GET', 'empty-raw', { headers: { Accept: 'application/octet-stream' } })
      expect([got.status, got.bytes.length]).to.deep.equal([200, 0])
    })

    it('without a JSON content type the bytes are the value, whatever they look like', async () => {
      const bytes = Buffer.from('{"value": not json \0\xff', 'latin1')
      for (const type of [
        undefined,
        'text/plain',
        'application/x-www-form-urlencoded',
        'application/jsonx',
      ]) {
        const headers = type === undefined ? {} : { 'Content-Type': type }
        expect((await call('PUT', 'raw', { body: bytes, headers })).status).to.equal(200)
        const got = await call('GET', 'raw', { headers: { Accept: 'application/octet-stream' } })
        expect(got.bytes).to.deep.equal(bytes)
        expect(got.headers['content-type']).to.equal('application/octet-stream')
        expect(got.headers.etag).to.match(/^"[0-9a-f]{24}"$/)
      }
    })

    it('JSON is taken as JSON however its content type is spelt', async () => {
      for (const type of [
        'application/json',
        'application/json; charset=utf-8',
        'Application/JSON ;charset=utf-8',
      ]) {
        const headers = { 'Content-Type': type }
        expect((await call('PUT', 'spelt', { body: Buffer.from('{"value":"v"}'), headers })).status).to.equal(
          200,
        )
        expect((await call('GET', 'spelt')).json().value).to.equal('v')
      }
    })

    it('a value that is no text comes as base64, and can be put that way', async () => {
      const bytes = Buffer.from([0, 0xff, 0xfe, 0x80])
      await call('PUT', 'binary', { body: bytes })
      expect((await call('GET', 'binary')).json()).to.include({ value: 'AP/+gA==', encoding: 'base64' })
      await call('PUT', 'binary-2', { body: { value: bytes.toString('base64'), encoding: 'base64' } })
      const got = await call('GET', 'binary-2', { headers: { Accept: 'application/octet-stream' } })
      expect(got.bytes).to.deep.equal(bytes)
      await call('PUT', 'text', { body: { value: 'dGV4dA==', encoding: 'base64' } })
      expect((await call('GET', 'text')).json())
        .to.include({ value: 'text' })
        .and.not.have.property('encoding')
    })

    it('any bytes under any key come back byte for byte', async () => {
      const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 }).map((array) => Buffer.from(array))
      await fc.assert(
        fc.asyncProperty(bytes, bytes, async (key, value) => {
          fc.pre(!key.toString('latin1').startsWith('__rondo:'))
          const path = `${key.toString('base64url')}?keyEncoding=base64url`
          expect((await call('PUT', path, { body: value })).status).to.equal(200)
          const raw = await call('GET', path, { headers: { Accept: 'application/octet-stream' } })
          expect(raw.bytes).to.deep.equal(value)
          const json = (await call('GET', path)).json()
          expect(json.key).to.equal(key.toString('base64url'))
          expect(
            Buffer.from(json.value as string, json.encoding === 'base64' ? 'base64' : 'utf8'),
          ).to.deep.equal(value)
        }),
        { numRuns: 40 },
      )
    })

    it('a key in a path and the same key as base64url are one key', async () => {
      await call('PUT', 'a%2Fb%20%C3%A9', { body: { value: 'one' } })
      const encoded = Buffer.from('a/b é').toString('base64url')
      const got = await call('GET', `${encoded}?keyEncoding=base64url`)
      expect(got.json()).to.include({ value: 'one', key: encoded })
      expect((await call('GET', 'a%2fb%20é'.replace('é', '%c3%a9'))).json().key).to.equal('a/b é')
    })

    it('dots, slashes, NUL, line ends and the names of Object.prototype are keys like any other', async () => {
      const keys = [
        '.',
        '..',
        '%2E%2E',
        'a%2Fb',
        '%2F',
        '%00',
        '%0D%0AX-Evil:%201',
        '__proto__',
        'constructor',
      ]
      for (const [i, key] of [
        ...keys,
        'toString',
        'a+b',
        'a;b=c',
        '%25',
        'explain',
        '%3F',
        '%23',
      ].entries()) {
        // '..' and '%2E%2E' are the same key: each is read back before the next is written.
        expect((await call('PUT', key, { body: { value: `v${i}` } })).status, key).to.equal(200)
        const got = await call('GET', key)
        expect(got.json(), key).to.include({ value: `v${i}`, key: decodeURIComponent(key) })
        expect(got.headers).not.to.have.property('x-evil')
      }
    })

    it('DELETE removes, answers 204 without a body, and may be repeated', async () => {
      await call('PUT', 'gone', { body: { value: 'v' } })
      for (let i = 0; i < 2; i++) {
        const answer = await call('DELETE', 'gone')
        expect([answer.status, answer.text]).to.deep.equal([204, ''])
        expect(answer.headers['x-request-id']).to.be.a('string')
      }
      const got = await call('GET', 'gone')
      expect(got.status).to.equal(404)
      expect(got.json()).to.include({ code: 'KEY_NOT_FOUND', error: 'key not found', status: 404 })
      await call('PUT', 'gone', { body: { value: 'back' } })
      expect((await call('GET', 'gone')).json().value).to.equal('back')
    })

    it('HEAD answers as GET would, without the body', async () => {
      await call('PUT', 'head', { body: { value: 'v' } })
      const got = await call('GET', 'head')
      const head = await call('HEAD', 'head')
      expect(head.status).to.equal(200)
      expect(head.headers).to.include({
        etag: got.headers.etag,
        'content-length': got.headers['content-length'],
        'content-type': got.headers['content-type'],
      })
      const missing = await call('HEAD', 'no-such-key')
      expect([missing.status, missing.text]).to.deep.equal([404, ''])
      const wrong = await call('HEAD', '%zz')
      expect([wrong.status, wrong.text]).to.deep.equal([400, ''])
    })

    it('a ttl is shown in whole seconds rounded up, and 0 or none means the default', async () => {
      for (const body of [{ value: 'v', ttl: 0 }, { value: 'v' }]) {
        await call('PUT', 'ttl', { body })
        expect((await call('GET', 'ttl')).json().ttl).to.equal(0)
      }
      // Right after the write it is what was asked for, never a second more.
      for (let i = 0; i < 20; i++) {
        await call('PUT', 'ttl', { body: { value: 'v', ttl: 100 } })
        expect((await call('GET', 'ttl')).json().ttl).to.equal(100)
      }
      await call('PUT', 'ttl?ttl=50', { body: 'raw' })
      expect((await call('GET', 'ttl')).json()).to.include({ value: 'raw', ttl: 50 })
      await call('PUT', 'ttl', { body: { value: 'v' } })
      expect((await call('GET', 'ttl')).json().ttl, 'a plain write clears it').to.equal(0)
      await call('PUT', 'ttl', { body: { value: 'v', ttl: 3_153_600_000 } })
      expect((await call('GET', 'ttl')).json().ttl).to.equal(3_153_600_000)
    })

    it('a value is gone when its ttl has passed, and not before', async () => {
      const before = performance.now()
      await call('PUT', 'short', { body: { value: 'v', ttl: 1 } })
      await call('PUT', 'short-raw?ttl=1', { body: 'v' })
      expect((await call('GET', 'short')).json().ttl).to.equal(1)
      const gone = await untilNotFound(() => call('GET', 'short'))
      expect(gone - before).to.be.within(990, 3000)
      await untilNotFound(() => call('HEAD', 'short-raw'))
      const { results } = (
        await callPort(running.ports[entry], 'POST', '/api/v1/mget', { body: { keys: ['short'] } })
      ).json() as { results: { code: string }[] }
      expect(results[0]!.code).to.equal('KEY_NOT_FOUND')
    })

    const bad: Record<string, [string, Sent?]> = {
      'a malformed %': ['%'],
      'a % with one digit': ['%a'],
      'a % with other letters': ['%zz'],
      'a byte that is no UTF-8': ['%FF'],
      'an overlong slash': ['%C0%AF'],
      'half of a surrogate pair in UTF-8': ['%ED%A0%80'],
      'no key at all': [''],
      'a key that is not base64url': ['a%2Fb?keyEncoding=base64url'],
      'an unknown keyEncoding': ['k?keyEncoding=hex'],
      'an unknown consistency': ['k?consistency=maybe'],
      'an empty consistency': ['k?consistency='],
      'consistency given twice': ['k?consistency=one&consistency=one'],
      'an unknown parameter': ['k?force=true'],
      'the name of a prototype as a parameter': ['k?__proto__=1'],
      'a malformed % in the query': ['k?consistency=%'],
      'a byte that is no UTF-8 in the query': ['k?consistency=%FF'],
    }
    for (const [what, [path]] of Object.entries(bad)) {
      it(`${what}: 400 for every method`, async () => {
        for (const method of ['GET', 'PUT', 'DELETE']) {
          const sent = method === 'PUT' ? { body: { value: 'v' } } : {}
          expectProblem(await call(method, path, sent), 400, 'BAD_REQUEST')
        }
      })
    }

    const json = (text: string) => ({
      body: Buffer.from(text, 'latin1'),
      headers: { 'Content-Type': 'application/json' },
    })
    const deep = '['.repeat(40_000) + ']'.repeat(40_000)
    const badBodies: Record<string, string> = {
      'an empty body': '',
      'no JSON': '{"value":',
      'JSON with something behind it': '{"value":"v"} x',
      'an array': '["value"]',
      'a string': '"value"',
      null: 'null',
      'no value': '{}',
      'a number as value': '{"value":1}',
      'null as value': '{"value":null}',
      'an object as value': '{"value":{"toString":"x"}}',
      'JSON nested 40,000 deep': deep,
      'a value nested 40,000 deep': `{"value":${deep}}`,
      __proto__: '{"value":"v","__proto__":{"ttl":1}}',
      constructor: '{"value":"v","constructor":1}',
      'an unknown member': '{"value":"v","tll":5}',
      'half of a surrogate pair': '{"value":"\\ud800"}',
      'bytes that are no UTF-8': '{"value":"\xff"}',
      'a byte order mark in UTF-16': '\xff\xfe{\0}\0',
      'an unknown encoding': '{"value":"v","encoding":"hex"}',
      'bad base64': '{"value":"a*b","encoding":"base64"}',
      'ttl -1': '{"value":"v","ttl":-1}',
      'ttl 1.5': '{"value":"v","ttl":1.5}',
      'ttl "5"': '{"value":"v","ttl":"5"}',
      'ttl null': '{"value":"v","ttl":null}',
      'ttl true': '{"value":"v","ttl":true}',
      'ttl NaN': '{"value":"v","ttl":NaN}',
      'ttl 1e400': '{"value":"v","ttl":1e400}',
      'ttl 1e300': '{"value":"v","ttl":1e300}',
      'ttl beyond a hundred years': '{"value":"v","ttl":3153600001}',
    }
    it('a body that is not {"value": string, "ttl": seconds}: 400, and what was there stays', async () => {
      await call('PUT', 'kept', { body: { value: 'kept' } })
      for (const [what, text] of Object.entries(badBodies)) {
        const answer = await call('PUT', 'kept', json(text))
        expectProblem(answer, 400, 'BAD_REQUEST', what)
        expect(answer.bytes.length, `${what}: no echo of what was sent`).to.be.below(600)
      }
      expect((await call('GET', 'kept')).json().value).to.equal('kept')
      expect(Object.prototype).not.to.have.property('ttl')
    })

    it('a mistake in JSON is told without quoting the value, which may be a secret', async () => {
      const answer = await call('PUT', 'kept', json('{"value":hunter2}'))
      expect(answer.text).to.include('not valid JSON').and.not.include('hunter2')
    })

    it('a bad ?ttl= of a raw value: 400', async () => {
      for (const ttl of ['-1', '1.5', '', 'x', '1e3', '0x5', '%205', '3153600001', '99999999999']) {
        expectProblem(await call('PUT', `kept?ttl=${ttl}`, { body: 'v' }), 400, 'BAD_REQUEST', ttl)
      }
      expectProblem(await call('PUT', 'kept?ttl=5', { body: { value: 'v' } }), 400, 'BAD_REQUEST')
    })

    it('the longest key is taken, and one byte more is 414, also where it is spelt longer', async () => {
      expect((await call('PUT', 'k'.repeat(1024), { body: { value: 'v' } })).status).to.equal(200)
      expect((await call('PUT', '%6b'.repeat(1024), { body: { value: 'w' } })).status).to.equal(200)
      expect((await call('GET', 'k'.repeat(1024))).json().value).to.equal('w')
      for (const method of ['GET', 'PUT', 'DELETE']) {
        const sent = method === 'PUT' ? { body: { value: 'v' } } : {}
        expectProblem(await call(method, 'k'.repeat(1025), sent), 414, 'KEY_TOO_LONG')
        expectProblem(await call(method, '%C3%A9'.repeat(513), sent), 414, 'KEY_TOO_LONG')
      }
    })

    it('keys under the reserved prefix cannot be read, written or deleted, however they are spelt', async () => {
      const encoded = Buffer.from('__rondo:node').toString('base64url')
      for (const path of [
        '__rondo:node',
        '%5f_rondo%3Anode',
        '__rondo:',
        `${encoded}?keyEncoding=base64url`,
      ]) {
        for (const method of ['GET', 'PUT', 'DELETE']) {
          const sent = method === 'PUT' ? { body: { value: 'v' } } : {}
          expectProblem(await call(method, path, sent), 403, 'KEY_RESERVED')
        }
      }
      expect((await call('PUT', '__rondo', { body: { value: 'v' } })).status).to.equal(200)
    })

    it('the largest value is taken as JSON and raw, and one byte more is 413', async () => {
      const MiB = 1024 * 1024
      for (const sent of [{ body: { value: 'v'.repeat(MiB) } }, { body: Buffer.alloc(MiB, 0xff) }]) {
        expect((await call('PUT', 'large', sent)).status).to.equal(200)
      }
      // In JSON a byte may be spelt with six.
      const escaped = json(`{"value":"${'\\u0001'.repeat(MiB)}"}`)
      expect((await call('PUT', 'large', escaped)).status).to.equal(200)
      const got = await call('GET', 'large', { headers: { Accept: 'application/octet-stream' } })
      expect(got.bytes.equals(Buffer.alloc(MiB, 1))).to.equal(true)
      for (const sent of [{ body: { value: 'v'.repeat(MiB + 1) } }, { body: Buffer.alloc(MiB + 1) }]) {
        expectProblem(await call('PUT', 'large', sent), 413, 'VALUE_TOO_LARGE')
      }
      expect((await call('GET', 'large')).json().value).to.have.length(MiB)
    })

    it('a body that would have to be decoded first is 415, and stores nothing', async () => {
      const gzip = gzipSync('{"value":"v"}')
      const latin1 = Buffer.from('{"value":"gr\u00fcn"}', 'latin1')
      const sent: [Buffer, Record<string, string>][] = [
        [gzip, { 'Content-Encoding': 'gzip', 'Content-Type': 'application/json' }],
        [gzip, { 'Content-Encoding': 'gzip', 'Content-Type': 'image/png' }],
        [gzip, { 'Content-Encoding': 'br, gzip' }],
        [latin1, { 'Content-Type': 'application/json; charset=latin1' }],
        [latin1, { 'Content-Type': 'application/json;a=b; Charset="ISO-8859-1"' }],
      ]
      for (const [body, headers] of sent) {
        expectProblem(await call('PUT', 'encoded', { body, headers }), 415, 'UNSUPPORTED_ENCODING')
      }
      expect((await call('GET', 'encoded')).status).to.equal(404)
      const incr = { body: gzip, headers: { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' } }
      expectProblem(await call('POST', 'encoded/incr', incr), 415, 'UNSUPPORTED_ENCODING')
    })

    it('UTF-8 may be said, and the charset of bytes is the business of who stores them', async () => {
      const utf8 = Buffer.from('{"value":"gr\u00fcn"}')
      const latin1 = Buffer.from('gr\u00fcn', 'latin1')
      for (const [body, type, value] of [
        [utf8, 'application/json; charset=UTF-8', 'gr\u00fcn'],
        [utf8, 'application/json; charset="utf8"', 'gr\u00fcn'],
        [latin1, 'text/plain; charset=latin1', latin1.toString('base64')],
      ] as const) {
        const headers = { 'Content-Type': type, 'Content-Encoding': 'identity' }
        expect((await call('PUT', 'charset', { body, headers })).status).to.equal(200)
        expect((await call('GET', 'charset')).json().value).to.equal(value)
      }
    })

    it('a write with a condition is made only where the condition holds', async () => {
      const sent = (headers: Record<string, string>): Sent => ({ body: { value: 'w' }, headers })
      const { etag } = (await call('PUT', 'cond', { body: { value: 'v' } })).headers
      for (const headers of [{ 'If-Match': `"${'0'.repeat(24)}"` }, { 'If-None-Match': '*' }]) {
        expectProblem(await call('PUT', 'cond', sent(headers)), 412, 'PRECONDITION_FAILED')
        expectProblem(await call('DELETE', 'cond', { headers }), 412, 'PRECONDITION_FAILED')
      }
      expectProblem(await call('PUT', 'cond-new', sent({ 'If-Match': '*' })), 412, 'PRECONDITION_FAILED')
      expect((await call('GET', 'cond')).json().value).to.equal('v')
      expect((await call('PUT', 'cond', sent({ 'If-Match': etag! }))).status).to.equal(200)
      expectProblem(await call('PUT', 'cond', sent({ 'If-Match': etag! })), 412, 'PRECONDITION_FAILED')
      expect((await call('PUT', 'cond-new', sent({ 'If-None-Match': '*' }))).status).to.equal(200)
      expect((await call('DELETE', 'cond-new', { headers: { 'If-Match': '*' } })).status).to.equal(204)
      expect((await call('GET', 'cond-new')).status).to.equal(404)
    })

    it('a condition that is not understood refuses the write rather than being passed over', async () => {
      await call('PUT', 'cond', { body: { value: 'v' } })
      for (const headers of [
        { 'If-Match': '' },
        { 'If-Match': '"0"' },
        { 'If-Match': '0'.repeat(24) },
        { 'If-Match': `W/"${'0'.repeat(24)}"` },
        { 'If-Match': `"${'0'.repeat(24)}", "${'1'.repeat(24)}"` },
        { 'If-None-Match': `"${'0'.repeat(24)}"` },
        { 'If-Match': '*', 'If-None-Match': '*' },
      ] as Record<string, string>[]) {
        expectProblem(await call('PUT', 'cond', { body: { value: 'w' }, headers }), 400, 'BAD_REQUEST')
        expectProblem(await call('DELETE', 'cond', { headers }), 400, 'BAD_REQUEST')
      }
      expect((await call('GET', 'cond')).json().value).to.equal('v')
    })

    it('every level of consistency is taken', async () => {
      for (const level of ['one', 'quorum', 'all']) {
        expect((await call('PUT', `level?consistency=${level}`, { body: { value: level } })).status).to.equal(
          200,
        )
        expect((await call('GET', `level?consistency=${level}`)).json().value).to.equal(level)
        expect((await call('DELETE', `level?consistency=${level}`)).status).to.equal(204)
        expect((await call('GET', `level?consistency=${level}`)).status).to.equal(404)
      }
    })

    it('a HEAD, GET or DELETE with a body is served, and the connection goes on', async () => {
      await call('PUT', 'with-body', { body: { value: 'v' } })
      expect((await call('GET', 'with-body', { body: 'ignored' })).json().value).to.equal('v')
      expect((await call('DELETE', 'with-body', { body: 'ignored' })).status).to.equal(204)
    })
  })
}

describe('keys over HTTP', () => {
  it('a value without a ttl of its own lives for DEFAULT_TTL_SECONDS', async () => {
    const running = await startRondo({ DEFAULT_TTL_SECONDS: '1' })
    try {
      const call = (method: string, path: string, sent?: Sent) =>
        callPort(running.ports.socket, method, `/api/v1/${path}`, sent)
      await call('PUT', 'keys/json', { body: { value: 'v' } })
      await call('PUT', 'keys/zero', { body: { value: 'v', ttl: 0 } })
      await call('PUT', 'keys/raw', { body: 'v' })
      await call('POST', 'mset', { body: { items: [{ key: 'batch', value: 'v' }] } })
      await call('PUT', 'keys/own', { body: { value: 'v', ttl: 100 } })
      expect((await call('GET', 'keys/json')).json().ttl).to.equal(1)
      for (const key of ['json', 'zero', 'raw', 'batch'])
        await untilNotFound(() => call('GET', `keys/${key}`))
      expect((await call('GET', 'keys/own')).json().ttl).to.be.within(97, 100)
    } finally {
      await running.stop()
    }
  })

  it('what is put through the socket is got through createApp(), and the other way round', async () => {
    const running = await startRondo()
    try {
      await callPort(running.ports.socket, 'PUT', '/api/v1/keys/k', { body: { value: 'v' } })
      const got = await request(running.rondo.app).get('/api/v1/keys/k').expect(200)
      expect((got.body as { value: string }).value).to.equal('v')
      await request(running.rondo.app).put('/api/v1/keys/l').send({ value: 'w' }).expect(200)
      expect((await callPort(running.ports.socket, 'GET', '/api/v1/keys/l')).json().value).to.equal('w')
    } finally {
      await running.stop()
    }
  })

  it('an operation that no node can serve: 503 within the deadline, with the outcome of the write', async () => {
    const running = await startRondo()
    try {
      await Promise.all(running.rondo.cluster.members.map(({ node }) => node.close()))
      const call = (method: string, sent?: Sent) =>
        callPort(running.ports.socket, method, '/api/v1/keys/k', sent)
      const got = await call('GET')
      expectProblem(got, 503, 'UNAVAILABLE')
      expect(got.headers['retry-after']).to.equal('1')
      const put = await call('PUT', { body: { value: 'v' } })
      expectProblem(put, 503, 'UNAVAILABLE')
      expect(put.json()).to.include({ outcome: 'not-applied', acked: 0 })
    } finally {
      await running.stop()
    }
  })
})

/** Gives when the key was first seen to be gone. */
async function untilNotFound(get: () => Promise<RawAnswer>): Promise<number> {
  for (let tries = 0; tries < 300; tries++) {
    const { status } = await get()
    if (status === 404) return performance.now()
    await delay(10)
  }
  throw new Error('the key did not expire')
}
