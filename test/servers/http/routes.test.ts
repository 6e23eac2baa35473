import { METHODS } from 'node:http'
import { connect } from 'node:net'
import { expect } from 'chai'
import { pino } from 'pino'
import request from 'supertest'
import { freePort } from '../../../scripts/redis-server.ts'
import { Rondo } from '../../../src/app/rondo.ts'
import { loadConfig } from '../../../src/config/config.ts'
import { expectProblem } from '../../support/problem.ts'
import { call as callPort, rawRequest, type Sent } from '../../support/raw-http.ts'
import { HTTP_ENTRIES, type RunningRondo, startRondo } from '../../support/rondo.ts'

const CALLS: [path: string, allowed: string][] = [
  ['/', 'GET, HEAD'],
  ['/ping', 'GET, HEAD'],
  ['/status', 'GET, HEAD'],
  ['/members', 'GET, HEAD'],
  ['/cluster', 'GET, HEAD'],
  ['/livez', 'GET, HEAD'],
  ['/readyz', 'GET, HEAD'],
  ['/metrics', 'GET, HEAD'],
  ['/api/v1/keys', 'GET, HEAD'],
  ['/api/v1/keys/k/explain', 'GET, HEAD'],
  ['/api/v1/keys/k', 'GET, HEAD, PUT, DELETE'],
  ...['incr', 'append', 'getdel', 'expire', 'persist'].map((name): [string, string] => [
    `/api/v1/keys/k/${name}`,
    'POST',
  ]),
  ['/api/v1/mget', 'POST'],
  ['/api/v1/mset', 'POST'],
  ['/api/v1/mdelete', 'POST'],
]

for (const entry of HTTP_ENTRIES) {
  describe(`the calls of the HTTP server (${entry})`, () => {
    let running: RunningRondo
    before(async () => (running = await startRondo()))
    after(() => running.stop())
    const call = (method: string, path: string, sent?: Sent) =>
      callPort(running.ports[entry], method, path, sent)

    it('/ping, /livez and /readyz answer', async () => {
      expect((await call('GET', '/ping')).json()).to.deep.equal({ message: 'pong' })
      expect((await call('GET', '/livez')).json()).to.deep.equal({ status: 'alive' })
      expect((await call('GET', '/readyz')).json()).to.deep.equal({ status: 'ready' })
    })

    it('/status is a map from the address of each node to its state', async () => {
      const status = (await call('GET', '/status')).json()
      expect(Object.keys(status).sort()).to.deep.equal(['memory-1', 'memory-2', 'memory-3', 'memory-4'])
      for (const [address, node] of Object.entries(status)) {
        expect(node).to.include({
          id: address,
          isHealthy: true,
          state: 'up',
          completeness: 'clean',
          weight: 1,
        })
      }
    })

    it('/ is a page that runs nothing but what it holds', async () => {
      const page = await call('GET', '/')
      expect(page.headers['content-type']).to.equal('text/html; charset=utf-8')
      const policy = page.headers['content-security-policy']!
      expect(policy).to.include("default-src 'none'").and.not.include('unsafe')
      // Over plain HTTP on localhost it would be wrong, and over TLS it would bind the other ports of the host, too.
      expect(page.headers).not.to.have.property('strict-transport-security')
      expect(page.headers).not.to.have.property('x-powered-by')
    })

    it('HEAD answers everywhere with the headers of GET and no body', async () => {
      for (const [path, allowed] of CALLS.filter(([, allowed]) => allowed.startsWith('GET'))) {
        const get = await call('GET', path)
        const head = await call('HEAD', path)
        expect(head.status, path).to.equal(get.status)
        expect(head.text, path).to.equal('')
        expect(head.headers['content-type'], path).to.equal(get.headers['content-type'])
        expect(allowed).to.include('HEAD')
      }
    })

    it('any other method: 405 with Allow, in JSON, and nothing is done', async () => {
      for (const [path, allowed] of CALLS) {
        for (const method of METHODS.filter(
          (name) => name !== 'CONNECT' && !allowed.split(', ').includes(name),
        )) {
          const answer = await call(method, path, { body: { keys: ['k'], items: [] } })
          if (method === 'HEAD') expect([answer.status, answer.text]).to.deep.equal([405, ''])
          else expectProblem(answer, 405, 'METHOD_NOT_ALLOWED', `${method} ${path}`)
          expect(answer.headers.allow, `${method} ${path}`).to.equal(allowed)
        }
      }
    })

    it('any other path: 404 in JSON', async () => {
      const paths = [
        '/nope',
        '/api',
        '/api/',
        '/api/v1',
        '/api/v2/keys/k',
        '/api/v1/keys/a/b',
        '/api/v1/keys/a/',
      ]
      const folded = [
        '/ping/',
        '/PING',
        '/./ping',
        '/x/../ping',
        '/ping%2F',
        '/%70ing',
        '/%00',
        '/pi%0D%0Ang',
      ]
      for (const path of [
        ...paths,
        ...folded,
        '/api/v1/mget/',
        '/favicon.ico',
        '/.env',
        '/..%2f..%2fetc/passwd',
      ]) {
        for (const method of ['GET', 'POST', 'PUT']) {
          expectProblem(await call(method, path), 404, 'NOT_FOUND', `${method} ${path}`)
        }
      }
    })

    it('a malformed % in any path: 400, or 404 where there is nothing anyway, in JSON', async () => {
      for (const path of ['/%', '/%zz', '/api/v1/keys/%/explain', '/api/v1/keys/%FF/explain', '/api/%']) {
        const answer = await call('GET', path)
        expect(answer.status, path).to.be.oneOf([400, 404])
        expectProblem(answer, answer.status, answer.status === 400 ? 'BAD_REQUEST' : 'NOT_FOUND')
        expect(answer.text).not.to.match(/at .*\.(js|ts)/)
      }
    })

    it('a target that is neither a path nor http:// with a host and a path: 400', async () => {
      for (const target of [
        ...['/ping#x', '/#/../status', '/api/v1/keys/a#b', '/ping?x#y', '/api/v1/keys/a\\b', '/\\ping'],
        ...[
          '*',
          '//ping',
          '//localhost/ping',
          '///ping',
          'x://h/ping',
          'ftp://localhost/ping',
          'httpx://h/ping',
        ],
        ...[
          'http:///ping',
          'http:/ping',
          'http://u@h/ping',
          'http://h//ping',
          'http://h#/ping',
          'http://h\\/ping',
        ],
        ...['http://h:port/ping', 'http://h%2f/ping', 'http://[::1/ping'],
      ]) {
        const answer = await call(target === '*' ? 'OPTIONS' : 'GET', target)
        // Some of them Node's parser refuses, which says so in JSON on our own socket only.
        if (entry === 'socket') expectProblem(answer, 400, 'BAD_REQUEST', target)
        expect(answer.status, target).to.equal(400)
        expect(answer.headers.connection, target).to.equal('close')
      }
    })

    it('the whole URL in place of the path means the path', async () => {
      const url = (path: string) => `http://localhost:1234${path}`
      expect((await call('PUT', url('/api/v1/keys/proxied'), { body: { value: 'v' } })).status).to.equal(200)
      expect((await call('GET', url('/api/v1/keys/proxied?consistency=one'))).json().value).to.equal('v')
      expect((await call('GET', url('/ping'))).status).to.equal(200)
      expect((await call('GET', url(''))).headers['content-type']).to.equal('text/html; charset=utf-8')
      expect((await call('GET', 'HTTPS://localhost/ping')).status).to.equal(200)
      expectProblem(await call('GET', url('/nope')), 404, 'NOT_FOUND')
    })

    it('a sane request id comes back; any other is replaced', async () => {
      for (const id of ['a', '550e8400-e29b-41d4-a716-446655440000', 'A.b_c:1', 'x'.repeat(64)]) {
        for (const path of ['/ping', '/api/v1/keys/nope', '/nope']) {
          const answer = await call('GET', path, { headers: { 'X-Request-Id': id } })
          expect(answer.headers['x-request-id']).to.equal(id)
          if (answer.status === 404) expect(answer.json().requestId).to.equal(id)
        }
      }
      const own = new Set<string>()
      for (const id of [
        '',
        ' ',
        'x'.repeat(65),
        'a b',
        'a,b',
        '<script>',
        '"',
        'a\tb',
        '\xe9',
        'a%0d%0aX-Evil: 1',
      ]) {
        const answer = await call('GET', '/ping', { headers: { 'X-Request-Id': id } })
        const given = answer.headers['x-request-id']!
        expect(given)
          .to.match(/^[\w.:-]{1,64}$/)
          .and.not.equal(id)
        own.add(given)
      }
      expect(own.size, 'every request has its own').to.equal(10)
      const two = await rawRequest(
        running.ports[entry],
        'GET /ping HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n\r\n',
      )
      expect(two.headers['x-request-id']).to.match(/^[\w.:-]{1,64}$/)
    })

    it('no header comes twice, with and without Express', async () => {
      for (const path of ['/ping', '/nope', '/api/v1/keys/nope', '/status', '/metrics', '/']) {
        const { headers } = await call('GET', path)
        for (const name of ['content-type', 'content-length', 'x-content-type-options', 'cache-control']) {
          expect(headers[name], `${path}: ${name}`).to.be.a('string').and.not.include(', ')
        }
        expect(headers).to.include({ 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' })
      }
    })
  })
}

describe('createApp() by supertest', () => {
  it('serves every call that the socket serves', async () => {
    const running = await startRondo()
    const app = request(running.rondo.app)
    try {
      await app.get('/ping').expect(200, { message: 'pong' })
      await app.put('/api/v1/keys/a').send({ value: 'v', ttl: 5 }).expect(200)
      await app.get('/api/v1/keys/a').expect('Content-Type', 'application/json; charset=utf-8').expect(200)
      await app.head('/api/v1/keys/a').expect(200)
      await app.get('/api/v1/keys').expect(200, { keys: ['a'], cursor: '0' })
      await app
        .post('/api/v1/mget')
        .send({ keys: ['a'] })
        .expect(200)
      await app.get('/api/v1/keys/a/explain').expect(200)
      await app.delete('/api/v1/keys/a').expect(204)
      await app
        .get('/api/v1/keys/a')
        .expect('Content-Type', /problem\+json/)
        .expect(404)
      await app.post('/api/v1/keys/a').expect('Allow', 'GET, HEAD, PUT, DELETE').expect(405)
      await app
        .get('/metrics')
        .expect('Content-Type', /^text\/plain/)
        .expect(200)
    } finally {
      await running.stop()
    }
  })
})

describe('/readyz', () => {
  it('says so when no node can be used, and /livez stays as it is', async () => {
    const running = await startRondo()
    try {
      await Promise.all(running.rondo.cluster.members.map(({ node }) => node.close()))
      const get = (path: string) => callPort(running.ports.socket, 'GET', path)
      expectProblem(await get('/readyz'), 503, 'UNAVAILABLE')
      expect((await get('/livez')).status).to.equal(200)
      const status = (await get('/status')).json() as Record<string, { isHealthy: boolean }>
      expect(Object.values(status).some(({ isHealthy }) => isHealthy)).to.equal(false)
    } finally {
      await running.stop()
    }
  })

  it('is answered only when all servers listen', async () => {
    const port = await freePort()
    const loaded = loadConfig({ PORT: String(port), RESP_PORT: '0', GRPC_PORT: '0' })
    if (!loaded.ok) throw new Error(loaded.problems.join())
    const rondo = new Rondo(loaded.config, { log: pino({ level: 'silent' }) })
    await rondo.start()
    let isListening = false
    const listening = rondo.listen().then((addresses) => {
      isListening = true
      return addresses
    })
    try {
      const open = () =>
        new Promise<boolean>((resolve) => {
          const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false))
          socket.on('connect', () => socket.destroy())
        })
      while (!(await open()));
      // Its last server has its port in the same turn as the promise resolves, or the one before.
      await new Promise((resolve) => setImmediate(resolve))
      expect(isListening, 'the others listen too').to.equal(true)
    } finally {
      await listening
      await rondo.stop()
    }
  })

  it('says so once the process is stopping', async () => {
    const running = await startRondo()
    await running.stop()
    await request(running.rondo.app).get('/readyz').expect(503)
  })
})
