// What the program says when it cannot start.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { freePort } from '../scripts/redis-server.ts'
import { Program } from './support/program.ts'

const CHECK = fileURLToPath(new URL('../dist/health-check.js', import.meta.url))
const IS_FOLDER =
  /\.env\.local is a directory, not a file \(Docker makes one where the file of a volume is missing\)/

describe('a start with .env.local that is a directory', function () {
  this.timeout(20_000)

  it('is refused in one sentence, beside all other problems and without a stack trace', async () => {
    const env = { REPLICATION_FACTOR: 'x', TLS_CERT_FILE: '/nowhere', TLS_KEY_FILE: '/nowhere' }
    const program = new Program(env, { folders: ['.env.local'] })
    const { code } = await program.ended
    expect(code).to.equal(1)
    const [heading, ...lines] = program.stderr.trimEnd().split('\n')
    expect(heading).to.equal('Rondo cannot start with this configuration:')
    expect(lines[0]).to.match(IS_FOLDER)
    expect(lines[1]).to.match(/^ {2}- REPLICATION_FACTOR must be /)
    expect(lines.slice(2, 4).join()).to.match(/TLS_CERT_FILE is \/nowhere.*TLS_KEY_FILE is \/nowhere/)
    expect(lines.slice(4)).to.deep.equal(['See .env.local.example.'])
  })

  it('is what the health check says, too', () => {
    const cwd = mkdtempSync(join(tmpdir(), 'rondo-check-'))
    mkdirSync(join(cwd, '.env.local'))
    const { status, stderr } = spawnSync(process.execPath, [CHECK], { cwd, encoding: 'utf8' })
    rmSync(cwd, { recursive: true })
    expect(status).to.equal(1)
    expect(stderr.split('\n')[0]).to.match(/^not healthy: the configuration is not valid: /)
    expect(stderr).to.match(IS_FOLDER)
    expect(stderr.trimEnd().split('\n')).to.have.length(1)
  })
})

describe('a start where nobody reads what the program writes', function () {
  this.timeout(60_000)

  const cases: (readonly [workers: string, closed: ('stdout' | 'stderr')[]])[] = [
    ['1', ['stdout']],
    ['1', ['stderr']],
    ['2', ['stdout', 'stderr']],
  ]
  for (const [workers, closed] of cases)
    it(`serves with WORKERS=${workers} and ${closed.join(' and ')} closed, and stops in order`, async () => {
      const port = await freePort()
      const env = { PORT: String(port), WORKERS: workers, REDIS_URLS: '127.0.0.1:1' }
      const program = new Program(env, { closed })
      try {
        await program.until(async () => {
          const answer = await fetch(`http://127.0.0.1:${port}/ping`).catch(() => null)
          return answer?.ok === true ? true : undefined
        })
        program.signal('SIGTERM')
        expect(await program.ended).to.deep.equal({ code: 0, signal: null })
      } finally {
        await program.stop()
      }
    })

  it('ends at once with log lines that could not be written', async () => {
    const lines = new URL('../dist/app/log-lines.js', import.meta.url).href
    const script = `
      const { logLines } = await import('${lines}')
      const { write } = logLines()
      process.stdin.once('data', () => {
        for (const line of ['one', 'two', 'three']) write(line + '\\n')
        process.exit(3)
      })`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['pipe', 'ignore', 'pipe'],
    })
    const exited = once(child, 'exit')
    child.stderr.destroy()
    await once(child.stderr, 'close')
    child.stdin.write('go')
    try {
      expect((await exited)[0]).to.equal(3)
    } finally {
      child.kill('SIGKILL')
    }
  })
})
