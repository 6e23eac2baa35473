import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { RawConnection } from '../../support/raw-http.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const file = (name: string) => fileURLToPath(new URL(`../../support/tls/${name}.pem`, import.meta.url))

describe('HTTP over TLS', () => {
  let running: RunningRondo
  before(async () => {
    running = await startRondo({ TLS_CERT_FILE: file('cert'), TLS_KEY_FILE: file('key') })
  })
  after(() => running.stop())

  const call = async (method: string, path: string, body?: Buffer | string) => {
    const request = https.request({
      port: running.ports.socket,
      host: '127.0.0.1',
      ca: readFileSync(file('cert')),
      agent: false,
      method,
      path,
      headers: { Host: 'localhost', ...(body === undefined ? {} : { 'Content-Length': body.length }) },
    })
    request.on('error', () => undefined) // once answered, a body that goes on may be cut off
    request.end(body)
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk as Buffer)
    return { status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() }
  }

  it('serves keys, and answers mistakes, as without', async () => {
    expect((await call('PUT', '/api/v1/keys/k', 'secret')).status).to.equal(200)
    expect(JSON.parse((await call('GET', '/api/v1/keys/k')).text)).to.include({ value: 'secret' })
    expect((await call('GET', '/ping')).headers).not.to.have.property('strict-transport-security')
    const large = await call('PUT', '/api/v1/keys/k', Buffer.alloc(8 * 1024 * 1024 + 1))
    expect([large.status, large.headers.connection]).to.deep.equal([413, 'close'])
  })

  it('does not speak plain HTTP on that port', async () => {
    const connection = await RawConnection.open(running.ports.socket)
    connection.send('GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n')
    expect(await connection.closed()).not.to.include('200')
    expect((await call('GET', '/ping')).status).to.equal(200)
  })
})
