// Responses behind which the connection closes, to clients that go on sending: nothing of them may be lost.
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { call, RawConnection } from '../../support/raw-http.ts'
import { httpConnectionsOf, type RunningRondo, startRondo } from '../../support/rondo.ts'

const HOST = 'Host: localhost\r\n'
/** More than fits between a server and a client that does not read. */
const LONG = 1_000_000
const RAW = `GET /api/v1/keys/long HTTP/1.1\r\n${HOST}Accept: application/octet-stream\r\n\r\n`
const JSON_VALUE = `GET /api/v1/keys/long HTTP/1.1\r\n${HOST}\r\n`
const NEXT = `GET /ping HTTP/1.1\r\n${HOST}\r\n`
/** A client that does not read yet goes on sending for so many turns of the event loop. */
const TURNS = 100

describe('the last response on a connection', () => {
  let running: RunningRondo
  let port: number
  before(async () => {
    running = await startRondo()
    port = running.ports.socket
    const headers = { 'Content-Type': 'application/octet-stream' }
    const body = Buffer.alloc(LONG, 'v')
    expect((await call(port, 'PUT', '/api/v1/keys/long', { headers, body })).status).to.equal(200)
  })
  after(() => running.stop())

  const close = `${HOST}Connection: close\r\n`
  const lasts: Record<string, [request: string, status: number]> = {
    'HTTP/1.0': ['GET /ping HTTP/1.0\r\n\r\n', 200],
    'Connection: close': [`GET /ping HTTP/1.1\r\n${close}\r\n`, 200],
    'the status page, through Express': [`GET /status HTTP/1.1\r\n${close}\r\n`, 200],
    'a long value': [RAW.replace(HOST, close), 200],
    'a long value in pieces': [JSON_VALUE.replace(HOST, close), 200],
    'a long value over HTTP/1.0': [RAW.replace('HTTP/1.1', 'HTTP/1.0'), 200],
    'a long value in pieces over HTTP/1.0': [JSON_VALUE.replace('HTTP/1.1', 'HTTP/1.0'), 200],
    'a body that nobody reads': [`GET /ping HTTP/1.1\r\n${close}Content-Length: 100000\r\n\r\nx`, 200],
    'no body in the response': [`DELETE /api/v1/keys/none HTTP/1.1\r\n${close}\r\n`, 204],
    'no body, HTTP/1.0 with keep-alive': [
      `DELETE /api/v1/keys/none HTTP/1.0\r\n${HOST}Connection: keep-alive\r\n\r\n`,
      204,
    ],
    'a missing key': [`GET /api/v1/keys/none HTTP/1.1\r\n${close}\r\n`, 404],
    'a refused request': [`POST /nope HTTP/1.1\r\n${HOST}Content-Length: 100000\r\n\r\nx`, 404],
    'a body that is too large': [
      `PUT /api/v1/keys/k HTTP/1.1\r\n${HOST}Content-Length: 9999999\r\n\r\nx`,
      413,
    ],
    'a body in tiny chunks': [
      `PUT /api/v1/keys/k HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(2000)}`,
      400,
    ],
    'Expect, and the body is not needed': [
      `GET /ping HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 100000\r\n\r\nx`,
      200,
    ],
    'another Expect': [`GET /ping HTTP/1.1\r\n${HOST}Expect: tea\r\n\r\n`, 417],
    CONNECT: [`CONNECT x:1 HTTP/1.1\r\n${HOST}\r\n`, 405],
    'no HTTP': ['nonsense\r\n\r\n', 400],
  }

  for (const [what, [request, status]] of Object.entries(lasts)) {
    for (const [before, first] of [
      ['', ''],
      [', behind a long value', RAW],
      [', behind a long value in pieces', JSON_VALUE],
    ] as const) {
      it(`${what}${before}: all arrives, though the client goes on sending`, async () => {
        const connection = await RawConnection.open(port, { allowHalfOpen: true })
        const { socket } = connection
        socket.pause()
        // In the same chunk, too: more than node:http reads while responses are under way.
        connection.send(first + request + NEXT.repeat(100))
        let turns = 0
        let isAnswered = false
        const sending = (async () => {
          for (; !isAnswered && !socket.destroyed; turns++) {
            if (turns === TURNS) socket.resume()
            if (socket.writableLength === 0) connection.send(NEXT.repeat(3))
            await turn()
          }
        })()
        try {
          if (first !== '') expect((await connection.answer()).bytes.length).to.be.at.least(LONG)
          const answer = await connection.answer()
          expect(answer.status).to.equal(status)
          if (request.includes('/long')) expect(answer.bytes.length).to.be.at.least(LONG)
        } finally {
          isAnswered = true
          await sending
        }
        socket.end()
        expect(await connection.closed(), 'more than the last response').to.equal('')
      })
    }
  }

  describe('CONNECT behind a long response', () => {
    const pipeline = `${JSON_VALUE}GET /ping HTTP/1.1\r\n${HOST}\r\nCONNECT x:1 HTTP/1.1\r\n${HOST}\r\n`

    it('does not stop it, nor those between them', async () => {
      const connection = await RawConnection.open(port)
      connection.send(pipeline)
      expect((await connection.answer()).json().value).to.have.length(LONG)
      expect((await connection.answer()).status).to.equal(200)
      expect((await connection.answer()).status).to.equal(405)
      expect(await connection.closed()).to.equal('')
    })

    it('does not keep the connection open if the client leaves, or shuts its side', async () => {
      for (const leave of ['end', 'destroy', 'resetAndDestroy'] as const) {
        const connection = await RawConnection.open(port)
        connection.socket.pause()
        connection.send(pipeline)
        await turn()
        connection.socket[leave]()
        connection.socket.resume()
        await connection.closed()
      }
      while ((await httpConnectionsOf(running)) > 0) await delay(10)
    })
  })
})
