/**
 * Nodes whose user may not do all that Rondo needs: which command is missing is said, and no such node passes for one that
 * takes writes.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { expect } from 'chai'
import { CHECKED_COMMANDS, COMMANDS_FOR_COLLECTIONS } from '../../src/nodes/permissions.ts'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { RawResp } from '../support/raw-resp.ts'
import { RondoUnderTest, until } from '../support/rondo-under-test.ts'

const NEEDED = [...CHECKED_COMMANDS, 'INFO', 'EVAL', 'EVALSHA', 'SCRIPT LOAD']
const NODES = new URL('../../src/nodes/redis/', import.meta.url)
const rule = (sign: '+' | '-', command: string) => `${sign}${command.toLowerCase().replace(' ', '|')}`

describe('a node that forbids what Rondo needs', () => {
  let server: RedisServer
  let under: RondoUnderTest | null = null

  const acl = (...rules: string[]) =>
    under!.client(server).call('ACL', 'SETUSER', 'rondo', 'on', '>secret', '~*', ...rules)
  /** As the next probe leaves it, which nobody waits for here. */
  async function readiness(): Promise<number> {
    await under!.rondo.cluster.reprobe(under!.member(server))
    return (await fetch(`${under!.url}/readyz`)).status
  }
  async function error(): Promise<string> {
    await under!.rondo.cluster.reprobe(under!.member(server))
    return String((await under!.status(server)).error)
  }

  async function start(rules: string[]): Promise<void> {
    const url = `redis://rondo:secret@127.0.0.1:${server.port}`
    under = await RondoUnderTest.start([server], { REDIS_URLS: `redis-1=${url}` })
    await acl(...rules)
  }

  before(async () => {
    server = await startRedis()
  })
  afterEach(async () => {
    await under?.stop()
    under = null
  })
  after(() => server.stop())

  it('needs no more than the commands that are checked', async () => {
    await start(['-@all', ...NEEDED.map((command) => rule('+', command))])
    await until('it takes writes', async () => (await readiness()) === 200)
    expect((await under!.put('k', 'v')).result).to.equal('ok')
    expect((await under!.get('k')).result).to.equal('v')
    expect((await under!.del('k')).result).to.equal('ok')
    expect(await under!.list()).to.deep.equal([])
    expect(under!.member(server).lastError).to.equal(null)
  })

  it('names each command that is forbidden while it serves, is not ready, and comes back', async () => {
    await start(['+@all'])
    await until('it takes writes', async () => (await readiness()) === 200)
    for (const command of NEEDED) {
      // Scripts are loaded with a new connection only.
      if (command === 'SCRIPT LOAD') continue
      await acl('+@all', rule('-', command))
      const sentence = `the node forbids what Rondo needs: ${command};`
      await until(`${command} is named`, async () => (await error()).includes(sentence))
      await until(`not ready without ${command}`, async () => (await readiness()) === 503)
      const told = under!.events.filter(({ event }) => 'why' in event && String(event.why).includes(sentence))
      expect(told.length, command).to.be.at.least(1)
      await acl('+@all')
      await until(`ready with ${command}`, async () => (await readiness()) === 200)
      expect(await error(), command).to.equal('null')
    }
  }).timeout(60_000)

  for (const [what, forbidden] of [
    ['one of them', ['EVALSHA']],
    ['scripts', ['EVAL', 'EVALSHA', 'SCRIPT LOAD']],
    ['what the first probe asks', ['GET', 'INFO', 'TIME']],
  ] as const) {
    it(`names ${what} where it is forbidden from the start, and comes into use when it is allowed`, async () => {
      await server.restart({ wipe: true })
      await start(['+@all', ...forbidden.map((command) => rule('-', command))])
      const sentence = `the node forbids what Rondo needs: ${forbidden.join(', ')};`
      await until('all are named', async () => (await error()).includes(sentence))
      expect(await readiness()).to.equal(503)
      await acl('+@all')
      await until('it is ready', async () => (await readiness()) === 200)
      expect((await under!.put('k', 'v')).result).to.equal('ok')
    }).timeout(20_000)
  }

  it('is still read while it takes no writes', async () => {
    await start(['+@all'])
    await until('it takes writes', async () => (await readiness()) === 200)
    expect((await under!.put('k', 'v')).result).to.equal('ok')
    await acl('-evalsha')
    await until('not ready', async () => (await readiness()) === 503)
    expect((await under!.get('k')).result).to.equal('v')
    expect((await under!.put('k', 'w')).result).to.equal('UNAVAILABLE')
  })

  it('checks every command that a script calls', () => {
    const scripts = readdirSync(NODES).filter((name) => name.endsWith('.lua'))
    const called = scripts.flatMap((name) => {
      const text = readFileSync(new URL(name, NODES), 'utf8').replace(/--.*$/gm, '')
      return [...text.matchAll(/call\('([A-Z]+)'|command = \{ '([A-Z]+)'/g)].map(
        (match) => match[1] ?? match[2],
      )
    })
    expect(called).to.include.members(['SCAN', 'GETRANGE', 'HSET'])
    // Only `adopt=drop` flushes, and is refused with the node's own words where that is forbidden.
    const needed = called.filter((command) => command !== 'FLUSHALL')
    // Only what others stored is refused where these are forbidden.
    const ofOthers = COMMANDS_FOR_COLLECTIONS.map((command) => command.split(' ')[0]!)
    expect([...CHECKED_COMMANDS, ...ofOthers]).to.include.members(needed)
  })

  it('takes writes without what only collections of other programs need, and names it to who asks for one', async () => {
    await start(['-@all', ...NEEDED.map((command) => rule('+', command))])
    await until('it takes writes', async () => (await readiness()) === 200)
    const client = under!.client(server)
    await client.hset('hash', 'f', 'v')
    await client.sadd('set', 'm')
    await client.zadd('sorted', 1, 'm')
    await client.rpush('list', 'e')
    await client.xadd('stream', '1-1', 'f', 'v')
    const resp = await RawResp.open(under!.respPort)
    const looks = [
      ['HGET', 'hash', 'f'],
      ['SCARD', 'set'],
      ['ZCARD', 'sorted'],
      ['LLEN', 'list'],
      ['XLEN', 'stream'],
    ]
    const looked = async () => {
      const answers: string[] = []
      for (const look of looks) answers.push(await resp.ask(...look))
      return answers
    }
    for (const command of COMMANDS_FOR_COLLECTIONS) {
      const answers = await looked()
      expect(
        answers.some((answer) => answer.includes(`and the node forbids ${command}.`)),
        command,
      ).to.equal(true)
      await acl(rule('+', command))
      expect(await readiness(), command).to.equal(200)
    }
    expect(await looked()).to.deep.equal(['$1\r\nv\r\n', ...Array<string>(4).fill(':1\r\n')])
    expect(under!.member(server).lastError).to.equal(null)
    resp.close()
  })
})
