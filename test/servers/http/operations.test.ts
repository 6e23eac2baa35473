import { expect } from 'chai'
import { expectProblem } from '../../support/problem.ts'
import { call as callPort } from '../../support/raw-http.ts'
import { HTTP_ENTRIES, type RunningRondo, startRondo } from '../../support/rondo.ts'

for (const entry of HTTP_ENTRIES) {
  describe(`atomic operations on a key (${entry})`, () => {
    let running: RunningRondo
    before(async () => (running = await startRondo({ MAX_VALUE_BYTES: '1MiB' })))
    after(() => running.stop())

    const post = (path: string, body: object = {}) =>
      callPort(running.ports[entry], 'POST', `/api/v1/keys/${path}`, { body })
    const put = (key: string, body: object) =>
      callPort(running.ports[entry], 'PUT', `/api/v1/keys/${key}`, { body })
    const get = async (key: string) =>
      (await callPort(running.ports[entry], 'GET', `/api/v1/keys/${key}`)).json()

    it('incr counts from 0, by any step, and keeps the ttl', async () => {
      expect((await post('n/incr')).json()).to.include({ key: 'n', value: '1', ttl: 0 })
      expect((await post('n/incr', { by: -5 })).json().value).to.equal('-4')
      await put('n', { value: '9007199254740993', ttl: 100 })
      const up = (await post('n/incr', { by: '9007199254740993' })).json()
      expect(up).to.include({ value: '18014398509481986', ttl: 100 })
      expect((await get('n')).version).to.equal(up.version)
      for (const by of ['-9223372036854775808', '007']) {
        expect((await post(`n${by}/incr`, { by })).json().value).to.equal(String(BigInt(by)))
      }
    })

    it('incr and append give a key that they make the default ttl, and leave the end of one that is there', async () => {
      const timed = await startRondo({ DEFAULT_TTL_SECONDS: '100' })
      try {
        const send = (method: string, path: string, body: object) =>
          callPort(timed.ports[entry], method, `/api/v1/keys/${path}`, { body })
        for (const [operation, body] of [
          ['incr', { by: 1 }],
          ['append', { value: '1' }],
        ] as const) {
          const path = `made-by-${operation}/${operation}`
          expect((await send('POST', path, body)).json().ttl).to.equal(100)
          await send('PUT', `made-by-${operation}`, { value: '1', ttl: 1000 })
          expect((await send('POST', path, body)).json().ttl).to.equal(1000)
          await send('POST', `made-by-${operation}/persist`, {})
          expect((await send('POST', path, body)).json().ttl).to.equal(0)
        }
      } finally {
        await timed.stop()
      }
    })

    it('increments that come at once are all counted', async () => {
      await Promise.all(Array.from({ length: 50 }, () => post('many/incr')))
      expect((await get('many')).value).to.equal('50')
    })

    it('what is no number cannot be counted, and stays', async () => {
      for (const value of ['x', '', '1.5', ' 1', '99999999999999999999']) {
        await put('text', { value })
        const refused = await post('text/incr')
        expectProblem(refused, 409, 'NOT_INTEGER')
        expect(refused.json()).to.include({ outcome: 'not-applied' })
        expect((await get('text')).value).to.equal(value)
      }
      await put('top', { value: '9223372036854775807' })
      expectProblem(await post('top/incr'), 409, 'NOT_INTEGER')
    })

    it('append adds to what is there; getdel reads and removes', async () => {
      expect((await post('log/append', { value: 'a' })).json().value).to.equal('a')
      expect((await post('log/append', { value: '/w==', encoding: 'base64' })).json()).to.include({
        value: 'Yf8=',
        encoding: 'base64',
      })
      expect((await post('log/getdel')).json().value).to.equal('Yf8=')
      expectProblem(await post('log/getdel'), 404, 'KEY_NOT_FOUND')
    })

    it('append does not grow a value past MAX_VALUE_BYTES', async () => {
      await put('full', { value: 'v'.repeat(1024 * 1024) })
      const refused = await post('full/append', { value: 'x' })
      expectProblem(refused, 413, 'VALUE_TOO_LARGE')
      expect(refused.json().error).to.contain('would have 1048577 bytes; at most 1048576 are allowed')
      expectProblem(await post('none/append', { value: 'v'.repeat(1024 * 1024 + 1) }), 413, 'VALUE_TOO_LARGE')
    })

    it('expire sets a ttl, persist takes it away, and neither makes a key', async () => {
      await put('e', { value: 'v' })
      expect((await post('e/expire', { ttl: 50 })).json()).to.include({ value: 'v', ttl: 50 })
      expect((await get('e')).ttl).to.equal(50)
      expect((await post('e/persist')).json()).to.include({ value: 'v', ttl: 0 })
      for (const [what, body] of [
        ['expire', { ttl: 5 }],
        ['persist', {}],
      ] as const) {
        expectProblem(await post(`none/${what}`, body), 404, 'KEY_NOT_FOUND')
      }
      expectProblem(await callPort(running.ports[entry], 'GET', '/api/v1/keys/none'), 404, 'KEY_NOT_FOUND')
    })

    it('bad input: refused, and nothing happens', async () => {
      await put('b', { value: '1' })
      for (const [path, body] of [
        ...[1.5, '1.5', 'x', null, 1e300, 2 ** 53].map((by) => ['b/incr', { by }]),
        ...['99999999999999999999', '9223372036854775808', '-9223372036854775809'].map((by) => [
          'b/incr',
          { by },
        ]),
        ['b/incr', { bye: 1 }],
        ['b/incr', []],
        ['b/append', {}],
        ['b/append', { value: 1 }],
        ...[0, -1, 1.5, '5', null, undefined].map((ttl) => ['b/expire', { ttl }]),
        ['b/getdel', { x: 1 }],
        ['b/incr?consistency=maybe', {}],
        ['%FF/incr', {}],
      ] as [string, object][]) {
        expectProblem(await post(path, body), 400, 'BAD_REQUEST', `${path} ${JSON.stringify(body)}`)
      }
      expectProblem(await post('__rondo:node/getdel'), 403, 'KEY_RESERVED')
      expectProblem(await post(`${'k'.repeat(1025)}/incr`), 414, 'KEY_TOO_LONG')
      const noJson = await callPort(running.ports[entry], 'POST', '/api/v1/keys/b/getdel')
      expectProblem(noJson, 400, 'BAD_REQUEST')
      expect((await get('b')).value).to.equal('1')
    })
  })
}
