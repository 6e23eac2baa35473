// What no client library would send, byte by byte on bare sockets.
import { once } from 'node:events'
import type { Server } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { createHttpListener } from '../../../src/servers/http/listener.ts'
import { expectProblem } from '../../support/problem.ts'
import { call as callPort, RawConnection, rawRequest, requestBytes } from '../../support/raw-http.ts'
import { httpConnectionsOf, type RunningRondo, startRondo } from '../../support/rondo.ts'

const HOST = 'Host: localhost\r\n'
const KEY = '/api/v1/keys/wire'

describe('HTTP on the wire', () => {
  let running: RunningRondo
  let port: number
  before(async () => {
    running = await startRondo()
    port = running.ports.socket
  })
  after(() => running.stop())

  const get = async (key: string) => callPort(port, 'GET', `/api/v1/keys/${key}`)
  const alive = async () => expect((await callPort(port, 'GET', '/ping')).status).to.equal(200)

  const unsound: Record<string, string> = {
    'Content-Length with Transfer-Encoding': `PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'Transfer-Encoding with Content-Length': `PUT ${KEY} HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
    'two Content-Lengths': `PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`,
    'the same Content-Length twice': `PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
    'Content-Length: 5, 5': `PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: 5, 5\r\n\r\nhello`,
    'Content-Length: +5': `PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: +5\r\n\r\nhello`,
    'Content-Length: -1': `PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: -1\r\n\r\n`,
    'Content-Length: 0x5': `PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: 0x5\r\n\r\nhello`,
    'a Content-Length beyond 64 bits': `PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: 99999999999999999999\r\n\r\n`,
    'Transfer-Encoding: xchunked': `PUT ${KEY} HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
    'Transfer-Encoding: identity': `PUT ${KEY} HTTP/1.1\r\n${HOST}Transfer-Encoding: identity\r\n\r\nhello`,
    'Transfer-Encoding: gzip, chunked': `PUT ${KEY} HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    'Transfer-Encoding: chunked, identity': `PUT ${KEY} HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    'Transfer-Encoding twice': `PUT ${KEY} HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'Transfer-Encoding in HTTP/1.0': `PUT ${KEY} HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'a space before the colon': `PUT ${KEY} HTTP/1.1\r\n${HOST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
    'a chunk size that is no number': `PUT ${KEY} HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n`,
    'a chunk longer than it said': `PUT ${KEY} HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n`,
    'two Hosts': `PUT ${KEY} HTTP/1.1\r\n${HOST}Host: localhost\r\nContent-Length: 5\r\n\r\nhello`,
    'two Hosts, one in capitals': `GET ${KEY} HTTP/1.1\r\n${HOST}HOST: evil.example\r\n\r\n`,
    'no Host': `GET ${KEY} HTTP/1.1\r\n\r\n`,
    'HTTP/0.9': `GET ${KEY}\r\n\r\n`,
    'HTTP/2.0': `GET ${KEY} HTTP/2.0\r\n${HOST}\r\n`,
    'HTTP/1.2': `GET ${KEY} HTTP/1.2\r\n${HOST}\r\n`,
    'the start of HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'lines that end in LF alone': `GET ${KEY} HTTP/1.1\nHost: localhost\n\n`,
    'a folded header': `GET ${KEY} HTTP/1.1\r\n${HOST}X: a\r\n b\r\n\r\n`,
    'NUL in a header': `GET ${KEY} HTTP/1.1\r\n${HOST}X: a\0b\r\n\r\n`,
    'CR in a header': `GET ${KEY} HTTP/1.1\r\n${HOST}X: a\rb\r\n\r\n`,
    'a byte beyond ASCII in the path': `GET /api/v1/keys/\xe9 HTTP/1.1\r\n${HOST}\r\n`,
    'a space in the path': `GET /api/v1/keys/a b HTTP/1.1\r\n${HOST}\r\n`,
    'a method that does not exist': `FROB ${KEY} HTTP/1.1\r\n${HOST}\r\n`,
    'a Redis command': '*1\r\n$4\r\nPING\r\n',
    'a TLS hello': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    bytes: '\x00\x01\x02\xff\r\n\r\n',
  }
  for (const [what, bytes] of Object.entries(unsound)) {
    it(`${what}: one 400 in JSON, then the connection closes, and nothing was stored`, async () => {
      const connection = await RawConnection.open(port)
      connection.send(bytes)
      // Behind it stands a request that would be served on a sound connection.
      connection.send(requestBytes('PUT', '/api/v1/keys/smuggled', { body: { value: 'v' } }))
      const answer = await connection.answer()
      expectProblem(answer, 400, 'BAD_REQUEST')
      expect(answer.headers.connection).to.equal('close')
      expect(await connection.closed()).to.equal('')
      expect((await get('wire')).status).to.equal(404)
      expect((await get('smuggled')).status).to.equal(404)
    })
  }

  it('a client that shuts its side in the middle of a body, behind requests under way, is let go of', async () => {
    for (const before of [0, 1, 2, 8]) {
      const connection = await RawConnection.open(port, { allowHalfOpen: true })
      const slow = requestBytes('POST', '/api/v1/mset', {
        body: { items: [{ key: 'wire-end', value: 'v' }] },
      })
      for (let n = 0; n < before; n++) connection.send(slow)
      connection.send(`GET /ping HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n`)
      connection.socket.end()
      await connection.closed() // by the server
      connection.destroy()
    }
    await alive()
  })

  it('headers over 16 KiB: 431, also when they keep coming', async () => {
    for (const length of [17_000, 2_000_000]) {
      const connection = await RawConnection.open(port)
      connection.send(`GET /ping HTTP/1.1\r\n${HOST}X: ${'a'.repeat(length)}\r\n\r\n`)
      const answer = await connection.answer()
      expectProblem(answer, 431, 'BAD_REQUEST')
      expect(await connection.closed()).to.equal('')
    }
    expectProblem(
      await rawRequest(port, `GET /${'a'.repeat(17_000)} HTTP/1.1\r\n${HOST}\r\n`),
      431,
      'BAD_REQUEST',
    )
    const large = await callPort(port, 'GET', '/ping', { headers: { X: 'a'.repeat(15_000) } })
    expect(large.status).to.equal(200)
  })

  describe('a body that is too large', () => {
    const MiB = 1024 * 1024
    const chunked = (path: string, headers = '') =>
      `PUT ${path} HTTP/1.1\r\n${HOST}${headers}Transfer-Encoding: chunked\r\n\r\n`
    const chunk = Buffer.concat([Buffer.from('10000\r\n'), Buffer.alloc(0x10000, 0x61), Buffer.from('\r\n')])

    it('declared: 413 before it is sent, and the connection closes', async () => {
      const connection = await RawConnection.open(port)
      connection.send(`PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: ${8 * MiB + 1}\r\n\r\n`)
      expectProblem(await connection.answer(), 413, 'VALUE_TOO_LARGE')
      expect(await connection.closed()).to.equal('')
    })

    it('a client that sends all of it before it reads still gets its 413', async () => {
      for (const head of [
        `PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: ${20 * MiB}\r\n\r\n`,
        chunked(KEY),
      ]) {
        const connection = await RawConnection.open(port, { allowHalfOpen: true })
        connection.socket.pause()
        connection.send(head)
        const isChunked = head.includes('chunked')
        for (let sent = 0; sent < 20 * MiB; sent += 0x10000) {
          connection.send(isChunked ? chunk : Buffer.alloc(0x10000, 0x61))
        }
        connection.socket.end()
        connection.socket.resume()
        expectProblem(await connection.answer(), 413, 'VALUE_TOO_LARGE')
        await connection.closed()
      }
    })

    it('chunked without an end: 413 as soon as it is too large, and the server lets go of it', async () => {
      const connection = await RawConnection.open(port, { allowHalfOpen: true })
      connection.send(chunked(KEY))
      const sending = setInterval(() => connection.send(chunk), 2)
      try {
        expectProblem(await connection.answer(), 413, 'VALUE_TOO_LARGE')
        await connection.closed() // by the server: this side would go on for ever
      } finally {
        clearInterval(sending)
        connection.destroy()
      }
    })

    it('in a batch, behind a path that does not exist and behind a bad key: the connection closes, too', async () => {
      for (const [path, type, status] of [
        ['/api/v1/mset', 'application/json', 413],
        ['/api/v1/mset', 'text/plain', 400],
        ['/nope', 'application/json', 404],
        ['/api/v1/keys/%FF', 'application/json', 400],
      ] as const) {
        const connection = await RawConnection.open(port)
        const headers = `Content-Type: ${type}\r\nContent-Length: ${64 * MiB}\r\n`
        connection.send(
          `${path === '/api/v1/mset' ? 'POST' : 'PUT'} ${path} HTTP/1.1\r\n${HOST}${headers}\r\n`,
        )
        expect((await connection.answer()).status, path).to.equal(status)
        expect(await connection.closed()).to.equal('')
      }
    })

    it('just not too large, in many chunks, is stored', async () => {
      const connection = await RawConnection.open(port)
      connection.send(chunked('/api/v1/keys/chunks'))
      for (let i = 0; i < 16; i++) connection.send(chunk)
      connection.send('0\r\n\r\n')
      expect((await connection.answer()).status).to.equal(200)
      connection.destroy()
      expect((await get('chunks')).json().value).to.equal('a'.repeat(MiB))
    })

    after(alive)
  })

  describe('one connection, many requests', () => {
    it('pipelined requests are answered in order, also where the hot path and Express take turns', async () => {
      const connection = await RawConnection.open(port)
      const paths = Array.from(
        { length: 60 },
        (_, i) => [`/api/v1/keys/p${i}`, '/ping', `/api/v1/keys/%zz`, `/nope`, '/status'][i % 5]!,
      )
      const requests = paths.map((path, i) =>
        requestBytes('GET', path, { headers: { 'X-Request-Id': `r${i}` } }),
      )
      connection.send(Buffer.concat(requests))
      for (const [i, path] of paths.entries()) {
        const answer = await connection.answer()
        expect(answer.headers['x-request-id'], path).to.equal(`r${i}`)
        expect(answer.status, path).to.equal([404, 200, 400, 404, 200][i % 5])
      }
      connection.destroy()
    })

    it('a pipelined write is seen by the read behind it', async () => {
      const connection = await RawConnection.open(port)
      for (let i = 0; i < 30; i++) {
        connection.send(requestBytes('PUT', '/api/v1/keys/piped', { body: { value: String(i) } }))
        connection.send(requestBytes('GET', '/api/v1/keys/piped'))
      }
      for (let i = 0; i < 30; i++) {
        expect((await connection.answer()).status).to.equal(200)
        expect((await connection.answer()).json().value).to.equal(String(i))
      }
      connection.destroy()
    })

    it('requests that arrive byte by byte are understood', async () => {
      const connection = await RawConnection.open(port)
      connection.socket.setNoDelay(true)
      for (const byte of requestBytes('PUT', '/api/v1/keys/drip', { body: { value: 'v' } })) {
        connection.send(Buffer.from([byte]))
        await delay(0)
      }
      expect((await connection.answer()).status).to.equal(200)
      connection.destroy()
    })

    it('what comes before a mistake is answered first, and the mistake after it', async () => {
      const connection = await RawConnection.open(port)
      connection.send(
        Buffer.concat([
          requestBytes('PUT', '/api/v1/keys/first', { body: { value: 'v' } }),
          requestBytes('GET', '/api/v1/keys/first'),
          Buffer.from('GARBAGE\r\n\r\n'),
        ]),
      )
      expect((await connection.answer()).json().message).to.equal('ok')
      expect((await connection.answer()).json().value).to.equal('v')
      expectProblem(await connection.answer(), 400, 'BAD_REQUEST')
      expect(await connection.closed()).to.equal('')
    })

    it('a refused request with a small body that has all come does not cost the connection', async () => {
      const connection = await RawConnection.open(port)
      connection.send(
        `PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
      )
      expectProblem(await connection.answer(), 400, 'BAD_REQUEST')
      connection.send(requestBytes('GET', '/ping'))
      expect((await connection.answer()).status).to.equal(200)
      connection.destroy()
    })
  })

  describe('Expect', () => {
    const put = (headers: string) =>
      `PUT /api/v1/keys/expect HTTP/1.1\r\n${HOST}Content-Type: text/plain\r\n${headers}\r\n`

    it('a client that asks first is told to go on', async () => {
      const connection = await RawConnection.open(port)
      connection.send(put('Expect: 100-continue\r\nContent-Length: 5\r\n'))
      expect((await connection.answer()).status).to.equal(100)
      connection.send('hello')
      expect((await connection.answer()).status).to.equal(200)
      connection.destroy()
      expect((await get('expect')).json().value).to.equal('hello')
    })

    it('and not for a body that is refused anyway', async () => {
      for (const [request, status] of [
        [put('Expect: 100-continue\r\nContent-Length: 9000000\r\n'), 413],
        [put('Expect: 100-continue\r\nContent-Length: 5\r\n').replace('expect', '%FF'), 400],
        [put('Expect: 100-continue\r\nContent-Length: 5\r\n').replace('localhost', 'evil.example'), 403],
      ] as const) {
        const connection = await RawConnection.open(port)
        connection.send(request)
        expect((await connection.answer()).status).to.equal(status)
        await connection.closed()
      }
    })

    it('and where the body is not needed, the whole response comes, although it is sent all the same', async () => {
      const body = Buffer.alloc(900_000, 'v')
      const headers = { 'Content-Type': 'application/octet-stream' }
      expect((await callPort(port, 'PUT', '/api/v1/keys/long', { headers, body })).status).to.equal(200)
      const paths = ['/ping', '/status', '/metrics', '/', '/api/v1/keys', '/api/v1/keys/long']
      for (const path of paths) {
        const connection = await RawConnection.open(port)
        const ask = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n`
        connection.send(ask)
        connection.send(Buffer.alloc(100_000, 'x'))
        expect((await connection.answer()).status, path).to.equal(200)
        expect(await connection.closed(), path).to.equal('')
      }
    })

    it('any other expectation: 417', async () => {
      expectProblem(await rawRequest(port, put('Expect: tea\r\nContent-Length: 5\r\n')), 417, 'BAD_REQUEST')
    })
  })

  it('an offer to speak another protocol is ignored, as clients expect that make it with every request', async () => {
    const headers = {
      Connection: 'Upgrade, HTTP2-Settings',
      Upgrade: 'h2c',
      'HTTP2-Settings': 'AAMAAABkAAQAoAAA',
    }
    const put = await callPort(port, 'PUT', '/api/v1/keys/java', { headers, body: { value: 'v' } })
    expect(put.status).to.equal(200)
    expect((await callPort(port, 'GET', '/api/v1/keys/java', { headers })).json().value).to.equal('v')
    const websocket = { Connection: 'Upgrade', Upgrade: 'websocket' }
    expect((await callPort(port, 'GET', '/ping', { headers: websocket })).status).to.equal(200)
  })

  it('CONNECT: 405, and no tunnel', async () => {
    const connection = await RawConnection.open(port)
    connection.send(`CONNECT localhost:22 HTTP/1.1\r\n${HOST}\r\n`)
    const answer = await connection.answer()
    expectProblem(answer, 405, 'METHOD_NOT_ALLOWED')
    expect(answer.headers.allow).to.equal('GET, HEAD, PUT, POST, DELETE')
    expect(await connection.closed()).to.equal('')
  })

  it('HTTP/1.0 is served, and closes', async () => {
    const connection = await RawConnection.open(port)
    connection.send('GET /ping HTTP/1.0\r\n\r\n')
    expect((await connection.answer()).json()).to.deep.equal({ message: 'pong' })
    expect(await connection.closed()).to.equal('')
  })

  it('a client that goes away in the middle of its body, or before its answer, leaves nothing behind', async () => {
    for (let i = 0; i < 50; i++) {
      const connection = await RawConnection.open(port)
      const request = requestBytes('PUT', `/api/v1/keys/away-${i}`, { body: 'x'.repeat(1000) })
      const isWhole = i % 2 === 1
      connection.send(isWhole ? request : request.subarray(0, request.length - 500))
      await delay(1)
      if (i % 3 === 0) connection.socket.resetAndDestroy()
      else connection.destroy()
    }
    await until(async () => (await httpConnectionsOf(running)) === 0)
    for (let i = 0; i < 50; i += 2) expect((await get(`away-${i}`)).status, 'half a value').to.equal(404)
    expect(await running.rondo.coordinator.drain(1000)).to.equal(0)
    expect(running.logLines().filter(({ level }) => level >= 50)).to.deep.equal([])
    await alive()
  })

  it('a client that is refused and then does nothing is let go of within seconds', async () => {
    const request = [
      `GET ${KEY} HTTP/9.9\r\n\r\n`,
      `GET /ping HTTP/1.1\r\n\r\n`,
      'CONNECT x:1 HTTP/1.1\r\n\r\n',
    ]
    const connections = await Promise.all(
      request.map(() => RawConnection.open(port, { allowHalfOpen: true })),
    )
    connections.forEach((connection, i) => connection.send(request[i]!))
    await Promise.all(connections.map((connection) => connection.answer()))
    await until(async () => (await httpConnectionsOf(running)) === 0)
  })

  describe('slow clients', () => {
    // The limits of the server are seconds; the same server with short ones shows what happens at them.
    let server: Server
    let slowPort: number
    before(async () => {
      server = createHttpListener(running.rondo.httpServer, null)
      expect(server.headersTimeout).to.be.within(1, 10_000)
      expect(server.keepAliveTimeout).to.be.within(1, 120_000)
      expect(server.maxConnections).to.equal(running.rondo.connectionLimit.max)
      server = createHttpListener(running.rondo.httpServer, null, {
        headersTimeout: 200,
        inputTimeout: { firstMs: 400, mostMs: 1000, bytesPerSecond: 100 },
        unmovedMs: 1000,
        keepAliveTimeout: 200,
        connectionsCheckingInterval: 20,
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      slowPort = (server.address() as { port: number }).port
    })
    after((done) => void server.close(done))

    const connect = `CONNECT x:1 HTTP/1.1\r\n${HOST}\r\n`
    const connectionCount = () =>
      new Promise<number>((resolve) => server.getConnections((_error, count) => resolve(count)))

    it('headers that never end: 408, and the connection closes', async () => {
      const connection = await RawConnection.open(slowPort)
      connection.send('GET /ping HTTP/1.1\r\n')
      const drip = setInterval(() => connection.send('X: y\r\n'), 20)
      expectProblem(await connection.answer(), 408, 'BAD_REQUEST')
      await connection.closed()
      clearInterval(drip)
    })

    it('a body that never ends: 408, and the connection closes', async () => {
      const connection = await RawConnection.open(slowPort)
      connection.send(`PUT ${KEY} HTTP/1.1\r\n${HOST}Content-Length: 1000\r\n\r\n`)
      const drip = setInterval(() => connection.send('x'), 20)
      const answer = await connection.answer()
      expectProblem(answer, 408, 'BAD_REQUEST')
      await connection.closed()
      clearInterval(drip)
      expect((await get('wire')).status).to.equal(404)
    })

    it('one that reads nothing of a response is let go of, even if it goes on sending', async () => {
      const value = { value: 'x'.repeat(1_000_000) }
      expect((await callPort(port, 'PUT', '/api/v1/keys/unread', { body: value })).status).to.equal(200)
      const long = requestBytes('GET', '/api/v1/keys/unread')
      for (const last of [requestBytes('GET', '/ping', { headers: { Connection: 'close' } }), connect]) {
        const connection = await RawConnection.open(slowPort, { allowHalfOpen: true })
        connection.socket.pause()
        connection.send(Buffer.concat([...Array<Buffer>(20).fill(long), Buffer.from(last)]))
        const drip = setInterval(() => connection.send('x'), 20)
        while ((await connectionCount()) > 0) await delay(10)
        clearInterval(drip)
        connection.destroy()
      }
    })

    it('a connection on which nothing comes, from the start or after an answer, closes', async () => {
      const silent = await RawConnection.open(slowPort)
      const idle = await RawConnection.open(slowPort)
      idle.send(requestBytes('GET', '/ping'))
      expect((await idle.answer()).status).to.equal(200)
      await Promise.all([silent.closed(), idle.closed()])
    })
  })
})

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await holds()) return
    await delay(10)
  }
  throw new Error('it did not come true within 5 s')
}
