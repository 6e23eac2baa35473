// The container's health check (dist/health-check.js) beside the program, with the same configuration.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { Program } from './support/program.ts'
import { freePort } from '../scripts/redis-server.ts'
import { tlsFile } from './support/tls-files.ts'

const CHECK = fileURLToPath(new URL('../dist/health-check.js', import.meta.url))
const TOKENS = { DATA_TOKEN: 'data-token-of-the-test', ADMIN_TOKEN: 'admin-token-of-the-test' }
const SERVER = { TLS_CERT_FILE: tlsFile('cert'), TLS_KEY_FILE: tlsFile('key') }

describe('the health check', function () {
  this.timeout(20_000)

  /** Its exit code, and what it said. */
  async function check(env: Record<string, string>): Promise<[number, string]> {
    const child = spawn(process.execPath, [CHECK], { cwd: tmpdir(), env: { PATH: process.env.PATH, ...env } })
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
    const [code] = (await once(child, 'close')) as [number]
    return [code, said]
  }

  for (const [what, env] of Object.entries<Record<string, string>>({
    'plain HTTP': {},
    'TLS, with a certificate for another name': { ...SERVER, HOST: '0.0.0.0', ...TOKENS },
    'TLS that asks clients for a certificate': { ...SERVER, TLS_CLIENT_CA_FILE: tlsFile('ca') },
    'TLS 1.3 only': { ...SERVER, TLS_MIN_VERSION: 'TLSv1.3' },
    'all addresses, with tokens': { HOST: '0.0.0.0', ...TOKENS },
    'another address': { HOST: 'localhost' },
  }))
    it(`finds the program alive on ${what}, and no longer when it has ended`, async () => {
      const given = { PORT: String(await freePort()), ...env }
      const program = new Program(given)
      try {
        await program.listening()
        expect(await check(given)).to.deep.equal([0, ''])
      } finally {
        await program.stop()
      }
      const [code, said] = await check(given)
      expect(code).to.equal(1)
      expect(said).to.match(/^not healthy: .*ECONNREFUSED/)
    })

  it('takes no other answer than 200, no other protocol, and no configuration that is wrong', async () => {
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`)
      response.writeHead(503).end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const PORT = String((server.address() as AddressInfo).port)
    try {
      expect(await check({ PORT })).to.deep.equal([1, 'not healthy: /livez answered 503\n'])
      expect(asked).to.deep.equal(['GET /livez'])
      expect((await check({ PORT, ...SERVER }))[0]).to.equal(1)
      expect((await check({ PORT: 'x' }))[1]).to.match(/^not healthy: the configuration is not valid: PORT/)
    } finally {
      server.close()
    }
  })
})
