// The gRPC server as a whole: TLS, health while it stops, orderly ends, and a client that has only reflection to go by.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { credentials } from '@grpc/grpc-js'
import { expect } from 'chai'
import { GrpcSocketServer } from '../../../src/servers/grpc/listener.ts'
import { debianPackages } from '../../e2e/clients/job-runner.ts'
import { framed, GrpcClient, grpcHeaders, rawSession } from '../../support/grpc.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'
import { until } from '../../support/rondo-under-test.ts'
import { tlsFile } from '../../support/tls-files.ts'

const KEY = { key: Buffer.from('k') }
const HAS = 'rondo.v1.Cache/Has'
const WATCH = 'grpc.health.v1.Health/Watch'

describe('the gRPC server', function () {
  this.timeout(20_000)
  let running: RunningRondo | undefined
  const clients: GrpcClient[] = []
  const start = async (env: Record<string, string> = {}) =>
    (running = await startRondo({
      GRPC_PORT: '0',
      REQUEST_TIMEOUT_MS: '500',
      NODE_TIMEOUT_MS: '300',
      ...env,
    }))
  const open = (...args: ConstructorParameters<typeof GrpcClient>) => {
    const client = new GrpcClient(...args)
    clients.push(client)
    return client
  }
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close()
    await running?.stop()
    running = undefined
  })

  describe('TLS', () => {
    let dir: string
    before(() => (dir = mkdtempSync(join(tmpdir(), 'rondo-grpc-'))))
    after(() => rmSync(dir, { recursive: true }))
    const install = (cert: 'cert' | 'node', key: 'key' | 'node-key') => {
      copyFileSync(tlsFile(cert), join(dir, 'cert.pem'))
      copyFileSync(tlsFile(key), join(dir, 'key.pem'))
    }
    const files = () => ({ TLS_CERT_FILE: join(dir, 'cert.pem'), TLS_KEY_FILE: join(dir, 'key.pem') })
    const trusting = (
      root: Parameters<typeof tlsFile>[0],
      key: Buffer | null = null,
      chain: Buffer | null = null,
    ) => credentials.createSsl(readFileSync(tlsFile(root)), key, chain)
    const has = async (client: GrpcClient) => (await client.call(HAS, KEY, { deadlineMs: 3000 })).status

    it('is used if it is set, and shows a new certificate after a reload', async () => {
      install('cert', 'key')
      const { grpcPort, rondo } = await start(files())
      const old = open(grpcPort, trusting('cert'))
      expect(await has(old)).to.equal('OK')
      expect(await has(open(grpcPort))).to.equal('UNAVAILABLE') // without TLS
      install('node', 'node-key')
      rondo.reload()
      expect(await has(open(grpcPort, trusting('ca')))).to.equal('OK')
      expect(await has(old)).to.equal('OK') // its connection goes on
      expect(await has(open(grpcPort, trusting('cert')))).to.equal('UNAVAILABLE')
      const other = connectTls({
        port: grpcPort,
        host: '127.0.0.1',
        ALPNProtocols: ['http/1.1'],
        rejectUnauthorized: false,
      })
      const [error] = (await once(other, 'error')) as [Error & { code: string }]
      expect(error.code).to.match(/NO_APPLICATION_PROTOCOL/)
    })

    it('takes only clients whose certificate TLS_CLIENT_CA_FILE has signed', async () => {
      install('cert', 'key')
      const { grpcPort } = await start({ ...files(), TLS_CLIENT_CA_FILE: tlsFile('ca') })
      const known = [readFileSync(tlsFile('client-key')), readFileSync(tlsFile('client'))] as const
      const unknown = [readFileSync(tlsFile('stranger-key')), readFileSync(tlsFile('stranger'))] as const
      expect(await has(open(grpcPort, trusting('cert', ...known)))).to.equal('OK')
      expect(await has(open(grpcPort, trusting('cert', ...unknown)))).to.equal('UNAVAILABLE')
      expect(await has(open(grpcPort, trusting('cert')))).to.equal('UNAVAILABLE')
    })
  })

  describe('its end', () => {
    it('who watches its health is told at once that it stops; calls are still served for SHUTDOWN_DELAY_SECONDS', async () => {
      const { grpcPort, rondo } = await start({ SHUTDOWN_DELAY_SECONDS: '1' })
      const client = open(grpcPort)
      const seen: unknown[] = []
      const watched = client.call(WATCH, {}, { onMessage: (message) => seen.push(message) })
      await until('it serves', () => seen.length === 1)
      const left = rondo.leave()
      await until('it is told', () => seen.length === 2)
      expect(seen).to.deep.equal([{ status: 'SERVING' }, { status: 'NOT_SERVING' }])
      expect((await client.call(HAS, KEY)).status).to.equal('OK')
      const check = await client.call('grpc.health.v1.Health/Check', { service: 'rondo.v1.Cache' })
      expect(check.messages).to.deep.equal([{ status: 'NOT_SERVING' }])
      await left
      await rondo.stop()
      const { status, details } = await watched
      expect([status, details]).to.deep.equal(['UNAVAILABLE', 'The process is stopping.'])
    })

    it('what was asked for is answered; a client that reads nothing does not hold it up', async () => {
      const { grpcPort, rondo } = await start()
      const client = open(grpcPort)
      await client.call('rondo.v1.Cache/Set', { ...KEY, value: Buffer.alloc(1_000_000) })
      const { coordinator } = rondo
      const read = coordinator.read.bind(coordinator)
      const begun = new Promise<() => void>((resolve) => {
        coordinator.read = (...args) => resolve(() => read(...args))
      })
      const answer = client.call('rondo.v1.Cache/Get', KEY)
      const run = await begun
      coordinator.read = read
      const deaf = rawSession(grpcPort)
      const unread = deaf.request(grpcHeaders('rondo.v1.Cache/Get')).end(framed(Buffer.from('\n\x01k')))
      await once(unread, 'response')
      const startedAtMs = performance.now()
      const stopped = rondo.stop()
      run()
      expect((await answer).status).to.equal('OK')
      await stopped
      expect(performance.now() - startedAtMs).to.be.lessThan(3000)
      await until(
        'nothing is left of them',
        () => rondo.connectionLimit.size === 0 && rondo.ledger.used === 0,
      )
    })
  })

  it('a service that there is not is NOT_FOUND, and may be watched', async () => {
    const client = open((await start()).grpcPort)
    const check = await client.call('grpc.health.v1.Health/Check', { service: 'other' })
    expect(check.status).to.equal('NOT_FOUND')
    const watched = await client.call(WATCH, { service: 'other' }, { deadlineMs: 100 })
    expect(watched.messages).to.deep.equal([{ status: 'SERVICE_UNKNOWN' }])
  })

  it('its connections count with those of the other servers, and are refused above MAX_CONNECTIONS', async () => {
    const { grpcPort, rondo } = await start({ MAX_CONNECTIONS: '17' })
    const sessions = Array.from({ length: 16 }, () => rawSession(grpcPort))
    await Promise.all(
      sessions.map(async (session) => {
        const stream = session.request(grpcHeaders(HAS)).end(framed(Buffer.from('\n\x01k')))
        await once(stream, 'response')
      }),
    )
    expect(rondo.connectionLimit.size).to.equal(16)
    const late = connectHttp2(`http://127.0.0.1:${grpcPort}`)
    late.on('error', () => undefined)
    await once(late, 'close')
    expect(rondo.connectionLimit.refused).to.equal(1)
    for (const session of sessions) session.destroy()
    await until('they are gone', () => rondo.connectionLimit.size === 0)
  })

  it('a connection that is idle for CLIENT_IDLE_SECONDS is closed, one with a call is not', async () => {
    const { grpcPort, rondo } = await start({ CLIENT_IDLE_SECONDS: '5' })
    const [idle, busy] = [rawSession(grpcPort), rawSession(grpcPort)] as const
    for (const session of [idle, busy]) {
      const stream = session.request(grpcHeaders(HAS)).end(framed(Buffer.from('\n\x01k')))
      await once(stream.resume(), 'close')
    }
    const watching = busy.request(grpcHeaders(WATCH)).end(framed(Buffer.alloc(0)))
    await once(watching, 'response')
    const { servers } = rondo as unknown as { servers: { server: object }[] }
    const { server } = servers.find(({ server }) => server instanceof GrpcSocketServer)!
    const { connections } = server as { connections: Set<{ check(nowMs: number): void }> }
    for (const connection of connections) connection.check(performance.now() + 6000)
    await once(idle, 'close')
    expect(busy.closed).to.equal(false)
    busy.destroy()
  })

  it('a wrong token is answered late, later each time, and not for ever', async () => {
    const { grpcPort } = await start({ DATA_TOKEN: 'data-token-0123456789abcdef' })
    const client = open(grpcPort)
    const metadata = { authorization: 'Bearer wrong' }
    const answers = await Promise.all(Array.from({ length: 21 }, () => client.call(HAS, KEY, { metadata })))
    expect(answers.slice(0, 20).map(({ status }) => status)).to.deep.equal(Array(20).fill('UNAUTHENTICATED'))
    expect([answers[20]!.status, answers[20]!.trailers['rondo-code']]).to.deep.equal([
      'RESOURCE_EXHAUSTED',
      'RATE_LIMITED',
    ])
  })

  it('a stock client with nothing but reflection uses every service (Python)', async function () {
    const installed = await debianPackages()
    const missing = ['python3-grpcio', 'python3-protobuf'].filter((name) => !installed.has(name))
    if (missing.length > 0) {
      this.test!.title += ` (skipped: without ${missing.join(', ')} of Debian 12)`
      this.skip()
    }
    const { grpcPort } = await start()
    const job = fileURLToPath(new URL('reflection.py', import.meta.url))
    for (const version of ['v1', 'v1alpha']) {
      const args = ['-B', job, `127.0.0.1:${grpcPort}`, version]
      const { stdout } = await promisify(execFile)('/usr/bin/python3', args)
      expect(stdout.trimEnd().split('\n')).to.deep.equal([
        'services grpc.health.v1.Health pb.CacheService rondo.v1.Cache v1.cache.CacheService',
        'unknown 5',
        'pb.CacheService héllo pb.CacheService',
        'v1.cache.CacheService héllo v1.cache.CacheService',
        'bytes True True 24',
        'has True False',
        'batch 1 KEY_NOT_FOUND 2',
        "list [b'\\x00\\xff', b'a', b'b', b'seed'] 0",
        'gone NOT_FOUND key not found KEY_NOT_FOUND',
        'health 1',
      ])
    }
  })
})
