import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { expectProblem } from '../../support/problem.ts'
import { call as callPort, rawRequest, type Sent } from '../../support/raw-http.ts'
import { HTTP_ENTRIES, type RunningRondo, startRondo } from '../../support/rondo.ts'

const DATA = 'data-token-0123456789abcdef'
const ADMIN = 'admin-token-0123456789abcdef'
const OPEN = ['/', '/ping', '/livez', '/readyz']
const STATUS = ['/status', '/metrics']
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })

const DATA_CALLS: [method: string, path: string, sent?: Sent][] = [
  ['GET', '/api/v1/keys/k'],
  ['HEAD', '/api/v1/keys/k'],
  ['PUT', '/api/v1/keys/k', { body: { value: 'v' } }],
  ['DELETE', '/api/v1/keys/k'],
  ['GET', '/api/v1/keys'],
  ['GET', '/api/v1/keys/k/explain'],
  ['POST', '/api/v1/keys/n/incr', { body: {} }],
  ['POST', '/api/v1/mget', { body: { keys: ['k'] } }],
  ['POST', '/api/v1/mset', { body: { items: [{ key: 'k', value: 'v' }] } }],
  ['POST', '/api/v1/mdelete', { body: { keys: ['k'] } }],
]

for (const entry of HTTP_ENTRIES) {
  describe(`who may ask (${entry})`, () => {
    describe('without tokens: this machine only', () => {
      let running: RunningRondo
      before(async () => (running = await startRondo()))
      after(() => running.stop())
      const from = (host: string, path: string) =>
        rawRequest(running.ports[entry], `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)

      it('takes the names of loopback, with any port', async () => {
        const names = ['localhost', 'LocalHost', '127.0.0.1', '127.8.9.10', '[::1]']
        for (const name of names.flatMap((name) => [name, `${name}:1`, `${name}:65535`])) {
          expect((await from(name, '/ping')).status, name).to.equal(200)
          expect((await from(name, '/api/v1/keys/k')).status, name).to.equal(404)
        }
      })

      it('refuses every other Host: a web page of a stranger may have given it to us (DNS rebinding)', async () => {
        for (const host of [
          'evil.example',
          'evil.example:8080',
          'localhost.evil.example',
          'evil.localhost.example',
          'localhost:80@evil.example',
          'xlocalhost',
          '127.0.0.1.evil.example',
          '1127.0.0.1',
          '0.0.0.0',
          '[::]',
          '[::ffff:127.0.0.1]',
          '::1',
          '192.168.1.1',
          '',
        ]) {
          for (const path of [...OPEN, ...STATUS, '/api/v1/keys/k', '/api/v1/keys', '/nope']) {
            expectProblem(await from(host, path), 403, 'FORBIDDEN', `${host} ${path}`)
          }
        }
        const put = { headers: { Host: 'evil.example' }, body: { value: 'v' } }
        expectProblem(await callPort(running.ports[entry], 'PUT', '/api/v1/keys/k', put), 403, 'FORBIDDEN')
        expect((await from('localhost', '/api/v1/keys/k')).status, 'nothing was written').to.equal(404)
      })

      it('gives no other origin leave to read or write', async () => {
        const headers = { Origin: 'https://evil.example', 'Access-Control-Request-Method': 'PUT' }
        for (const method of ['GET', 'OPTIONS', 'PUT']) {
          const answer = await callPort(running.ports[entry], method, '/api/v1/keys/k', { headers })
          const names = Object.keys(answer.headers).filter((name) => name.startsWith('access-control-'))
          expect(names).to.deep.equal([])
        }
      })
    })

    describe('with DATA_TOKEN and ADMIN_TOKEN', () => {
      let running: RunningRondo
      before(async () => (running = await startRondo({ DATA_TOKEN: DATA, ADMIN_TOKEN: ADMIN })))
      after(() => running.stop())
      const call = (method: string, path: string, sent?: Sent) =>
        callPort(running.ports[entry], method, path, sent)

      it('keys: 401 without the token or with another one, and nothing happens; served with it', async () => {
        await call('PUT', '/api/v1/keys/k', { body: { value: 'before' }, headers: bearer(DATA) })
        for (const [method, path, sent] of DATA_CALLS) {
          for (const headers of [{}, { Authorization: DATA }, bearer('')] as Record<string, string>[]) {
            const answer = await call(method, path, { ...sent, headers })
            expect(answer.status, `${method} ${path}`).to.equal(401)
            expect(answer.headers['www-authenticate']).to.equal('Bearer')
            if (method !== 'HEAD') expectProblem(answer, 401, 'UNAUTHORIZED')
          }
        }
        for (const wrong of [`${DATA}x`, DATA.slice(1), ADMIN, `${DATA} ${DATA}`, DATA.toUpperCase()]) {
          expectProblem(await call('GET', '/api/v1/keys/k', { headers: bearer(wrong) }), 401, 'UNAUTHORIZED')
        }
        const got = await call('GET', '/api/v1/keys/k', { headers: { authorization: `bearer ${DATA}` } })
        expect(got.json().value).to.equal('before')
        for (const [method, path, sent] of DATA_CALLS) {
          const { status } = await call(method, path, { ...sent, headers: bearer(DATA) })
          expect(status, `${method} ${path}`).to.be.oneOf([200, 204, 404])
        }
      })

      it('/status and /metrics: either token, and 401 without', async () => {
        for (const path of STATUS) {
          expectProblem(await call('GET', path), 401, 'UNAUTHORIZED')
          for (const token of [DATA, ADMIN]) {
            expect((await call('GET', path, { headers: bearer(token) })).status).to.equal(200)
          }
        }
      })

      it('what tells nothing stays open, to any Host', async () => {
        for (const path of OPEN) {
          expect((await call('GET', path)).status, path).to.equal(200)
          expect((await call('GET', path, { headers: { Host: '10.0.0.7:8080' } })).status, path).to.equal(200)
        }
        const headers = { Host: 'cache.example', ...bearer(DATA) }
        expect((await call('GET', '/api/v1/keys', { headers })).status).to.equal(200)
      })

      it('no other spelling of a guarded path opens it', async () => {
        for (const path of [...STATUS, '/api/v1/keys', '/api/v1/keys/k', '/api/v1/keys/k/explain']) {
          for (const spelt of [
            `http://localhost${path}`,
            `http://localhost/ping/..${path}`,
            `http://ping${path}`,
            `https://user:pass@localhost${path}`,
            `ftp://localhost${path}`,
            `${path}#x`,
            `/ping#${path}`,
            `/${path}`,
            `/.${path}`,
            `/ping/..${path}`,
            `${path}/`,
            `${path}?`,
            `${path}?x#y`,
            `${path}%23`,
            path.replace('/', '/%2e/'),
            path.replace('s', '%73'),
            path.toUpperCase(),
          ]) {
            const answer = await call('GET', spelt)
            expect(answer.status, spelt).to.be.oneOf([400, 401])
            expect(answer.headers['content-type'], spelt).to.equal('application/problem+json; charset=utf-8')
          }
        }
        const body = { keys: ['k'] }
        expectProblem(await call('POST', 'http://localhost/api/v1/mdelete', { body }), 401, 'UNAUTHORIZED')
      })
    })
  })
}

describe('who may ask', () => {
  const withRondo = async (env: Record<string, string>, run: (running: RunningRondo) => Promise<void>) => {
    const running = await startRondo(env)
    try {
      await run(running)
    } finally {
      await running.stop()
    }
  }

  it('a token for one thing does not lift the loopback rule from another', async () => {
    const foreign = { Host: 'evil.example' }
    await withRondo({ ADMIN_TOKEN: ADMIN }, async ({ ports }) => {
      const keys = '/api/v1/keys/k'
      expectProblem(await callPort(ports.socket, 'GET', keys, { headers: foreign }), 403, 'FORBIDDEN')
      expect((await callPort(ports.socket, 'GET', keys)).status).to.equal(404)
      expectProblem(await callPort(ports.socket, 'GET', '/status'), 401, 'UNAUTHORIZED')
      const headers = { ...foreign, ...bearer(ADMIN) }
      expect((await callPort(ports.socket, 'GET', '/status', { headers })).status).to.equal(200)
    })
    await withRondo({ DATA_TOKEN: DATA }, async ({ ports }) => {
      const headers = { ...foreign, ...bearer(DATA) }
      expect((await callPort(ports.socket, 'GET', '/api/v1/keys/k', { headers })).status).to.equal(404)
      expectProblem(await callPort(ports.socket, 'GET', '/status'), 401, 'UNAUTHORIZED')
    })
  })

  it('listens on loopback only, unless told otherwise', async () => {
    await withRondo({}, ({ rondo }) => {
      const { servers } = rondo as unknown as { servers: { server: { listener: Server } }[] }
      expect((servers.at(-1)!.server.listener.address() as AddressInfo).address).to.equal('127.0.0.1')
      return Promise.resolve()
    })
  })

  it('a token appears in no log line, no answer, /status or /metrics', async () => {
    await withRondo(
      { DATA_TOKEN: DATA, ADMIN_TOKEN: ADMIN, LOG_REQUESTS: 'all', LOG_LEVEL: 'trace' },
      async (running) => {
        let seen = ''
        for (const headers of [{}, bearer(DATA), bearer(ADMIN), bearer('wrong-token-wrong-token')]) {
          for (const path of [
            ...OPEN,
            ...STATUS,
            '/api/v1/keys/k',
            '/api/v1/keys',
            '/nope',
            '/api/v1/keys/%FF',
          ]) {
            const { text, headers: answered } = await callPort(running.ports.socket, 'GET', path, { headers })
            seen += text + JSON.stringify(answered)
          }
        }
        expect(running.logLines().length).to.be.above(30)
        for (const secret of [DATA, ADMIN, 'wrong-token']) {
          expect(running.logText()).not.to.include(secret)
          expect(seen).not.to.include(secret)
        }
      },
    )
  })
})
