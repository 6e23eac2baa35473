// SIGHUP: certificates are read again, open connections go on, and the process never ends.
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { expect } from 'chai'
import { Program } from './support/program.ts'
import { freePort, type RedisServer, startRedis } from '../scripts/redis-server.ts'
import { tlsFile } from './support/tls-files.ts'

const AGAIN = 'reloaded files (SIGHUP)'

describe('SIGHUP', function () {
  this.timeout(20_000)
  let dir: string
  let program: Program
  let redis: RedisServer | undefined
  const sockets: tls.TLSSocket[] = []
  const install = (cert: 'cert' | 'node', key: 'key' | 'node-key') => {
    copyFileSync(tlsFile(cert), join(dir, 'cert.pem'))
    copyFileSync(tlsFile(key), join(dir, 'key.pem'))
  }
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'rondo-reload-'))
    install('cert', 'key')
  })
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy()
    await program.stop()
    await redis?.stop()
    redis = undefined
    rmSync(dir, { recursive: true })
  })

  const start = async (env: Record<string, string> = {}) => {
    const ports = { PORT: String(await freePort()), RESP_PORT: String(await freePort()) }
    const files = { TLS_CERT_FILE: join(dir, 'cert.pem'), TLS_KEY_FILE: join(dir, 'key.pem') }
    program = new Program({ ...ports, ...files, ...env }, { group: true })
    await program.listening()
    return [Number(ports.PORT), Number(ports.RESP_PORT)] as const
  }
  const open = async (port: number) => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    sockets.push(socket)
    await once(socket, 'secureConnect')
    return socket
  }
  /** The subject of the certificate that a new connection is shown. */
  const shown = async (port: number) => (await open(port)).getPeerCertificate().subject.CN
  const ping = async (socket: tls.TLSSocket) => {
    socket.write('PING\r\n')
    return String(((await once(socket, 'data')) as [Buffer])[0])
  }
  const timesRead = () => program.log.filter(({ msg }) => String(msg) === AGAIN).length

  it('shows the new certificate to new connections on both servers, and drops none of the old', async () => {
    const [http, resp] = await start()
    const old = await open(resp)
    expect(await ping(old)).to.equal('+PONG\r\n')
    expect(await shown(http)).to.match(/^localhost/)
    install('node', 'node-key')
    program.signal('SIGHUP')
    await program.until(() => (timesRead() === 1 ? true : undefined))
    expect([await shown(http), await shown(resp)]).to.deep.equal(['node', 'node'])
    expect(await ping(old)).to.equal('+PONG\r\n')
  })

  it('keeps the old certificate, says why, and goes on when a file is wrong', async () => {
    const [http, resp] = await start()
    writeFileSync(join(dir, 'key.pem'), 'junk')
    program.signal('SIGHUP')
    await program.logged('nothing is changed: TLS_CERT_FILE')
    for (const port of [http, resp]) expect(await shown(port)).to.match(/^localhost/)
  })

  it('reaches all workers, also when it goes to the whole group, and ends none of them', async () => {
    redis = await startRedis()
    const [http, resp] = await start({ WORKERS: '2', REDIS_URLS: redis.url })
    const old = await open(resp)
    install('node', 'node-key')
    program.signal('SIGHUP')
    await program.until(() => (timesRead() >= 2 ? true : undefined))
    for (const port of [http, resp, http, resp]) expect(await shown(port)).to.equal('node')
    program.signal('SIGHUP', 'group')
    await program.until(() => (timesRead() >= 6 ? true : undefined)) // by the signal and by the primary's word
    expect(await ping(old)).to.equal('+PONG\r\n')
    expect(program.log.filter(({ msg }) => /ended|stopping/.test(String(msg)))).to.deep.equal([])
    program.signal('SIGTERM')
    expect(await program.ended).to.deep.equal({ code: 0, signal: null })
  })
})
