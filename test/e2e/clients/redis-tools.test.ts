/** The programs that come with Redis: redis-cli and redis-benchmark. */
import { expect } from 'chai'
import { command } from '../../support/raw-resp.ts'
import { findTool, run, startFourNodes, type FourNodes } from './four-nodes.ts'

const PIPED = 30_000

describe('the tools of Redis', function () {
  this.timeout(40_000)
  let nodes: FourNodes | undefined
  let cli: string
  let benchmark: string

  before(async function () {
    const tools = await Promise.all(['redis-cli', 'redis-benchmark'].map(findTool))
    const missing = ['redis-cli', 'redis-benchmark'].filter((_, i) => tools[i] === null)
    if (missing.length > 0) {
      this.test!.parent!.title += ` (skipped: there is no ${missing.join(' and no ')})`
      this.skip()
    }
    ;[cli, benchmark] = tools as [string, string]
    nodes = await startFourNodes()
  })
  after(() => nodes?.stop())

  const ask = async (args: string[], input = '') => {
    const { stdout, stderr } = await run(cli, ['-p', String(nodes!.port), ...args], input)
    return stderr + stdout
  }

  it(`redis-cli --pipe: ${PIPED} values arrive, and all of them are there`, async () => {
    const sets = Buffer.concat(
      Array.from({ length: PIPED }, (_, i) => command('SET', `piped:${i}`, `value ${i}`)),
    )
    const { code, stdout } = await run(cli, ['-p', String(nodes!.port), '--pipe'], sets)
    expect(stdout).to.include(`errors: 0, replies: ${PIPED}`)
    expect(code).to.equal(0)
    expect(await ask(['DBSIZE'])).to.equal(`${PIPED}\n`)
    expect(await ask(['MGET', 'piped:0', `piped:${PIPED - 1}`])).to.equal(`value 0\nvalue ${PIPED - 1}\n`)
  })

  it('redis-cli --scan --pattern: tells every key that matches, once', async () => {
    await ask([], Array.from({ length: 300 }, (_, i) => `SET scanned:${i} x`).join('\n'))
    const found = (await ask(['--scan', '--pattern', 'scanned:*'])).trim().split('\n')
    expect(found.sort()).to.deep.equal(Array.from({ length: 300 }, (_, i) => `scanned:${i}`).sort())
  })

  it('redis-cli by hand: answers, quotes, errors, and several lines', async () => {
    expect(await ask(['PING'])).to.equal('PONG\n')
    expect(await ask(['SET', 'k', 'two words'])).to.equal('OK\n')
    expect(await ask(['--no-raw', 'GET', 'k'])).to.equal('"two words"\n')
    expect(await ask(['-3', '--no-raw', 'GET', 'none'])).to.equal('(nil)\n')
    expect(await ask(['--no-raw', 'INCR', 'k'])).to.equal(
      '(error) ERR value is not an integer or out of range\n',
    )
    expect(await ask(['--no-raw', 'HGET', 'k', 'f'])).to.match(/^\(error\) WRONGTYPE /)
    expect(await ask(['--no-raw', 'SWAPDB', '0', '1'])).to.match(/^\(error\) ERR unknown command 'SWAPDB'/)
    const lines = 'MULTI\nSET {m}a 1\nINCR {m}a\nEXEC\nGET "{m}a"\nDEL {m}a k\n'
    expect(await ask([], lines)).to.equal('OK\nQUEUED\nQUEUED\nOK\n2\n2\n2\n')
    expect(await ask(['INFO', 'server'])).to.include('redis_version:')
    expect(await ask(['CLIENT', 'LIST'])).to.include('resp=2')
    expect(await ask(['RONDO', 'CONSISTENCY', 'QUORUM'])).to.equal('OK\n')
    expect(await ask(['-n', '16', 'PING'])).to.include('DB index is out of range')
    expect(await ask(['-n', '1', 'SET', 'k', 'of 1'])).to.equal('OK\n')
    expect(await ask(['-n', '1', 'GET', 'k'])).to.equal('of 1\n')
    expect(await ask(['EXISTS', 'k'])).to.equal('0\n')
  })

  it('redis-benchmark: sets, gets, counts and sets several, in pipelines, without an error', async () => {
    const args = [
      '-p',
      String(nodes!.port),
      '-t',
      'set,get,incr,mset',
      '-P',
      '16',
      '-n',
      '8000',
      '-c',
      '20',
      '-r',
      '1000',
      '-q',
    ]
    const { code, stdout, stderr } = await run(benchmark, args)
    expect(code, stderr + stdout).to.equal(0)
    expect(stderr).to.equal('')
    expect(stdout).not.to.match(/error/i)
    for (const name of ['SET', 'GET', 'INCR', 'MSET'])
      expect(stdout).to.match(new RegExp(`${name}.*: [0-9.]+ requests per second`))
  })
})
