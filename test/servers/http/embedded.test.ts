// createApp() mounted in an Express application that has body parsers of its own in front of it.
import { gzipSync } from 'node:zlib'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import express, { type RequestHandler } from 'express'
import { call, type Sent } from '../../support/raw-http.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'

describe('an application that has read the body already', function () {
  this.timeout(5000)
  let running: RunningRondo
  let server: Server
  before(async () => (running = await startRondo()))
  after(() => running.stop())
  afterEach(() => server.close())

  const behind = async (
    ...parsers: RequestHandler[]
  ): Promise<(method: string, path: string, sent?: Sent) => ReturnType<typeof call>> => {
    const parent = express()
    for (const parser of parsers) parent.use(parser)
    parent.use('/cache', running.rondo.app)
    server = createServer(parent).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as AddressInfo
    return (method, path, sent) => call(port, method, `/cache${path}`, sent)
  }
  const bytes = (body: string | Buffer, type: string): Sent => ({ body, headers: { 'Content-Type': type } })

  it('express.json(): JSON is used as it was parsed, and bytes as they come', async () => {
    const ask = await behind(express.json())
    expect((await ask('PUT', '/api/v1/keys/a', { body: { value: 'grün' } })).status).to.equal(200)
    expect((await ask('GET', '/api/v1/keys/a')).json().value).to.equal('grün')
    expect((await ask('POST', '/api/v1/keys/n/incr', { body: { by: 5 } })).json().value).to.equal('5')
    expect((await ask('POST', '/api/v1/keys/n/incr', { body: {} })).json().value).to.equal('6')
    const found = (await ask('POST', '/api/v1/mget', { body: { keys: ['a', 'n'] } })).json()
    expect(found.results).to.have.length(2)
    expect((await ask('PUT', '/api/v1/keys/b', bytes(Buffer.from([0, 255]), 'image/png'))).status).to.equal(
      200,
    )
    expect((await ask('GET', '/api/v1/keys/b')).json()).to.include({ value: 'AP8=', encoding: 'base64' })
    expect((await ask('PUT', '/api/v1/keys/a', { body: { worth: 1 } })).status).to.equal(400)
    expect((await ask('DELETE', '/api/v1/keys/a')).status).to.equal(204)
  })

  it('express.json() has unpacked what came packed', async () => {
    const ask = await behind(express.json())
    const headers = { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' }
    const sent = { body: gzipSync('{"value":"packed"}'), headers }
    expect((await ask('PUT', '/api/v1/keys/a', sent)).status).to.equal(200)
    expect((await ask('GET', '/api/v1/keys/a')).json().value).to.equal('packed')
  })

  it('express.raw(): the bytes are used as they are', async () => {
    const ask = await behind(express.raw({ type: () => true }))
    expect((await ask('PUT', '/api/v1/keys/a', bytes(Buffer.from([0, 254]), 'image/png'))).status).to.equal(
      200,
    )
    expect((await ask('GET', '/api/v1/keys/a')).json()).to.include({ value: 'AP4=', encoding: 'base64' })
    expect((await ask('PUT', '/api/v1/keys/a', { body: { value: 'v' } })).status).to.equal(200)
    expect((await ask('PUT', '/api/v1/keys/a', bytes('', 'text/plain'))).status).to.equal(200)
  })

  for (const [name, parser] of [
    ['express.text()', express.text({ type: () => true })],
    ['express.urlencoded()', express.urlencoded({ type: () => true })],
    ['a parser that keeps nothing', (req, _res, next) => void req.resume().once('end', next)],
  ] as [string, RequestHandler][])
    it(`${name}: an error at once that says what to do, and nothing is stored`, async () => {
      const ask = await behind(parser)
      const answer = await ask('PUT', '/api/v1/keys/none', bytes('a=b', 'text/plain'))
      expect(answer.status).to.equal(500)
      expect(answer.json().error)
        .to.match(/in front of|before/)
        .and.include('already')
      expect((await ask('GET', '/api/v1/keys/none')).status).to.equal(404)
    })
})
