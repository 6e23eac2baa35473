// TLS on every server and every link: what is spoken, who is let in, and when files are read.
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { expect } from 'chai'
import { CertificateError, Certificates } from '../src/app/certificates.ts'
import { loadConfig, type Config } from '../src/config/config.ts'
import { type Environment } from '../src/config/environment.ts'
import { clock, timers } from '../src/app/rondo.ts'
import { RedisNode } from '../src/nodes/redis/redis-node.ts'
import { call } from './support/raw-http.ts'
import { freePort, type RedisServer, startRedis } from '../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from './support/rondo.ts'
import { knowsNoTls, tlsFile } from './support/tls-files.ts'

const SERVER = { TLS_CERT_FILE: tlsFile('cert'), TLS_KEY_FILE: tlsFile('key') }
const pem = (name: Parameters<typeof tlsFile>[0]) => readFileSync(tlsFile(name))
const clientPair = { cert: pem('client'), key: pem('client-key') }
const strangerPair = { cert: pem('stranger'), key: pem('stranger-key') }

/** OpenSSL's own floor out of the way, so that what refuses is what we have set. */
const LAX = 'DEFAULT:@SECLEVEL=0'
const REFUSED: Record<string, tls.ConnectionOptions> = {
  'TLS 1.0': { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: LAX },
  'TLS 1.1': { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: LAX },
  'a CBC cipher': { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0' },
  'a CBC cipher with SHA-1': { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0' },
}
const TAKEN: Record<string, tls.ConnectionOptions> = {
  'TLS 1.2': { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' },
  'TLS 1.3': { minVersion: 'TLSv1.3' },
}

function configOf(env: Environment): Config {
  const loaded = loadConfig(env)
  if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
  return loaded.config
}

/** What the server says to one request, or the code of the error that the connection ended with. */
async function ask(port: number, request: string, options: tls.ConnectionOptions): Promise<string> {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
  let text = ''
  socket.setEncoding('utf8').on('data', (part: string) => {
    text += part
    socket.end()
  })
  const failed = new Promise<string>((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  })
  socket.write(request)
  const closed = new Promise<string>((resolve) => socket.once('close', () => resolve(text)))
  const result = await Promise.race([failed, closed])
  socket.destroy()
  return text || result
}

const REQUESTS = { http: 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n', resp: 'PING\r\n' }
const ANSWERS = { http: /^HTTP\/1.1 200/, resp: /^\+PONG/ }
const SERVERS = ['http', 'resp'] as const

/** A server of node:tls that sends +PONG; closed, with its connections, when the test ends. */
const others: tls.Server[] = []
async function otherServer(options: tls.TlsOptions): Promise<{ port: number; greeted: string[] }> {
  const greeted: string[] = []
  const server = tls.createServer(options, (socket) => {
    greeted.push(socket.getProtocol() ?? '')
    socket.on('error', () => undefined).end('+PONG\r\n')
  })
  others.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, greeted }
}

/** Node.js's own defaults as wide as they go, until the test ends. */
const defaults = [tls.DEFAULT_MIN_VERSION, tls.DEFAULT_CIPHERS] as const
function takeEverythingByDefault(): void {
  tls.DEFAULT_MIN_VERSION = 'TLSv1'
  tls.DEFAULT_CIPHERS = LAX
}

afterEach(() => {
  for (const server of others.splice(0)) server.close()
  ;[tls.DEFAULT_MIN_VERSION, tls.DEFAULT_CIPHERS] = defaults
})

describe('TLS towards clients', () => {
  let running: RunningRondo | undefined
  const start = async (env: Environment) => {
    running = await startRondo({ ...SERVER, ...env })
    return { http: running.ports.socket, resp: running.rondo.respServer.port }
  }
  afterEach(async () => {
    await running?.stop()
    running = undefined
  })

  it('takes TLS 1.2 and 1.3 with modern ciphers only, on both servers, whatever Node.js would take', async () => {
    takeEverythingByDefault()
    const ports = await start({})
    // A server that takes everything shows that the clients below do offer what they are meant to.
    const { port } = await otherServer({ cert: pem('cert'), key: pem('key') })
    for (const [what, options] of Object.entries(REFUSED)) {
      expect(await ask(port, '', options), `${what}, to a server without limits`).to.equal('+PONG\r\n')
      for (const name of SERVERS)
        expect(await ask(ports[name], REQUESTS[name], options), `${what}, ${name}`).to.match(/^E/)
    }
    for (const [what, options] of Object.entries(TAKEN))
      for (const name of SERVERS)
        expect(await ask(ports[name], REQUESTS[name], options), `${what}, ${name}`).to.match(ANSWERS[name])
  })

  it('chooses the cipher itself', async () => {
    const { http } = await start({})
    const weakestFirst = 'ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256'
    const options = { maxVersion: 'TLSv1.2', ciphers: weakestFirst } as const
    const socket = tls.connect({ port: http, host: '127.0.0.1', rejectUnauthorized: false, ...options })
    await once(socket, 'secureConnect')
    const { name } = socket.getCipher()
    socket.destroy()
    expect(name).to.equal('ECDHE-ECDSA-AES128-GCM-SHA256')
  })

  it('takes TLS 1.3 only with TLS_MIN_VERSION=TLSv1.3', async () => {
    const ports = await start({ TLS_MIN_VERSION: 'TLSv1.3' })
    for (const name of SERVERS) {
      expect(await ask(ports[name], REQUESTS[name], TAKEN['TLS 1.2']!), name).to.match(/^E/)
      expect(await ask(ports[name], REQUESTS[name], TAKEN['TLS 1.3']!), name).to.match(ANSWERS[name])
    }
  })

  it('takes only clients with a certificate of TLS_CLIENT_CA_FILE', async () => {
    const ports = await start({ TLS_CLIENT_CA_FILE: tlsFile('ca') })
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const)
      for (const name of SERVERS) {
        const as = (pair: object) => ask(ports[name], REQUESTS[name], { maxVersion, ...pair })
        expect(await as({}), `${name}, none`).not.to.match(ANSWERS[name])
        expect(await as(strangerPair), `${name}, a stranger's`).not.to.match(ANSWERS[name])
        expect(await as(clientPair), `${name}, a client's`).to.match(ANSWERS[name])
      }
  })
})

describe('TLS towards nodes', () => {
  let redis: RedisServer
  let url: string
  before(async function () {
    const port = await freePort()
    const files = ['--tls-cert-file', tlsFile('node'), '--tls-key-file', tlsFile('node-key')]
    const args = ['--tls-port', String(port), ...files, '--tls-ca-cert-file', tlsFile('ca')]
    try {
      redis = await startRedis({ args: [...args, '--tls-auth-clients', 'yes'] })
    } catch (error) {
      if (!knowsNoTls(error)) throw error
      this.test!.title += ' (skipped: this redis-server was built without TLS)'
      this.skip()
    }
    url = `node-1=rediss://127.0.0.1:${port}`
  })
  after(() => redis?.stop())

  const pairOf = (name: 'client' | 'stranger') => ({
    NODE_TLS_CERT_FILE: tlsFile(name),
    NODE_TLS_KEY_FILE: tlsFile(`${name}-key`),
  })

  it('shows its certificate on both paths to a node that asks for one', async () => {
    const env = { REDIS_URLS: url, NODE_TLS_CA_FILE: tlsFile('ca'), CONNECT_TIMEOUT_MS: '2000' }
    const running = await startRondo({ ...env, ...pairOf('client') })
    try {
      const port = running.ports.socket
      expect((await call(port, 'PUT', '/api/v1/keys/k', { body: { value: 'v' } })).status).to.equal(200)
      expect((await call(port, 'GET', '/api/v1/keys/k')).json().value).to.equal('v')
    } finally {
      await running.stop()
    }
  })

  for (const [what, env] of Object.entries({
    'no certificate': {},
    "a stranger's certificate": pairOf('stranger'),
  }))
    it(`cannot use such a node with ${what}`, async () => {
      const config = configOf({ REDIS_URLS: url, NODE_TLS_CA_FILE: tlsFile('ca'), ...env })
      expect(await whyNot(config)).to.match(/alert|ECONNRESET|closed/)
    })

  it('does not trust a node whose certificate is not of NODE_TLS_CA_FILE', async () => {
    expect(await whyNot(configOf({ REDIS_URLS: url, ...pairOf('client') }))).to.match(/self.signed|unable to/)
    const env = { REDIS_URLS: url, NODE_TLS_CA_FILE: tlsFile('stranger'), ...pairOf('client') }
    expect(await whyNot(configOf(env))).to.match(/self.signed|unable to/)
  })

  it('refuses nodes that speak old versions or ciphers, on both paths, whatever Node.js would take', async () => {
    takeEverythingByDefault()
    for (const [what, options] of Object.entries(REFUSED)) {
      const { port, greeted } = await otherServer({
        ...{ cert: pem('node'), key: pem('node-key'), ciphers: options.ciphers },
        ...(options.minVersion ? { minVersion: options.minVersion } : {}),
        ...(options.maxVersion ? { maxVersion: options.maxVersion } : {}),
      })
      const ca = { NODE_TLS_CA_FILE: tlsFile('ca') }
      const config = configOf({ REDIS_URLS: `n=rediss://127.0.0.1:${port}`, ...ca })
      expect(await whyNot(config), `${what}, probe`).to.match(/alert|protocol|handshake/)
      expect(await whyNot(config, 'link'), `${what}, link`).to.match(/alert|protocol|handshake/)
      expect(greeted, what).to.deep.equal([])
      expect(await ask(port, '', {}), `${what}, from a client without limits`).to.equal('+PONG\r\n')
    }
  })

  /** Why the only node of this configuration cannot be used by way of one of its two connections. */
  async function whyNot(config: Config, path: 'probe' | 'link' = 'probe'): Promise<string> {
    if (config.nodes.kind !== 'redis') throw new Error('no Redis node')
    const [address] = config.nodes.addresses
    const times = { graceMs: 60_000, nodeTimeoutMs: 2000, connectTimeoutMs: 2000 }
    const tlsOptions = new Certificates(config).forNode
    const given = { id: 'n', address: address!, tlsOptions, maxValueBytes: 1024, clock, timers }
    const node = new RedisNode({ ...given, ...times })
    const done =
      path === 'probe'
        ? node.probe()
        : node.open({ marker: Buffer.from('m'), runId: 'r', clean: true, epoch: 1 })
    const why = await done.then(
      () => 'it can',
      (error: Error) => error.message,
    )
    await node.close()
    return why
  }
})

describe('files for TLS', () => {
  let dir: string
  const at = (name: string) => join(dir, name)
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'rondo-tls-'))))
  afterEach(() => rmSync(dir, { recursive: true }))
  const problem = (env: Environment) => {
    try {
      new Certificates(configOf(env))
    } catch (error) {
      expect(error).to.be.instanceOf(CertificateError)
      return (error as Error).message
    }
    return 'none'
  }

  it('that cannot be used stop the start with a sentence: missing, no certificate, the wrong key', () => {
    const nodes = { REDIS_URLS: 'rediss://h' }
    const pairOf = (cert: string, key: string) => ({ TLS_CERT_FILE: cert, TLS_KEY_FILE: key })
    writeFileSync(at('junk'), 'junk')
    const missing = { ...SERVER, TLS_CERT_FILE: at('missing') }
    expect(problem(missing)).to.equal(
      `TLS_CERT_FILE is ${at('missing')}, which cannot be read (ENOENT). Correct one of them.`,
    )
    expect(problem(pairOf(tlsFile('cert'), tlsFile('node-key')))).to.match(/^TLS_CERT_FILE .*mismatch/)
    expect(problem(pairOf(at('junk'), tlsFile('key')))).to.match(/^TLS_CERT_FILE .* PEM form/)
    expect(problem({ ...SERVER, TLS_CLIENT_CA_FILE: at('junk') })).to.match(/^TLS_CLIENT_CA_FILE /)
    expect(problem({ ...nodes, NODE_TLS_CA_FILE: at('junk') })).to.match(/^NODE_TLS_CA_FILE /)
    const wrong = { NODE_TLS_CERT_FILE: tlsFile('client'), NODE_TLS_KEY_FILE: tlsFile('node-key') }
    expect(problem({ ...nodes, ...wrong })).to.match(/^NODE_TLS_CERT_FILE .*mismatch/)
    expect(problem(SERVER)).to.equal('none')
  })

  it('are all read again by reload(), or, if one is wrong, none', () => {
    const copy = (cert: 'cert' | 'node', key: 'key' | 'node-key') => {
      copyFileSync(tlsFile(cert), at('cert'))
      copyFileSync(tlsFile(key), at('key'))
    }
    copy('cert', 'key')
    const certificates = new Certificates(configOf({ TLS_CERT_FILE: at('cert'), TLS_KEY_FILE: at('key') }))
    copy('node', 'node-key')
    expect(certificates.servers?.cert).to.deep.equal(pem('cert'))
    certificates.reload()
    expect(certificates.servers?.cert).to.deep.equal(pem('node'))
    copyFileSync(tlsFile('cert'), at('cert')) // not of this key
    expect(() => certificates.reload()).to.throw(CertificateError, /mismatch/)
    expect(certificates.servers).to.deep.include({ cert: pem('node'), key: pem('node-key') })
  })
})
