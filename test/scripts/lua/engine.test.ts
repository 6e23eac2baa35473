/** The engine by itself: what goes in and out, and what it is built from. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { LuaEngine } from '../../../src/scripts/lua/engine.ts'
import {
  LuaDouble,
  type LuaError,
  LuaMap,
  LuaSet,
  LuaStatus,
  type LuaReply,
} from '../../../src/scripts/lua/values.ts'
import { answer, jobOf } from './run.ts'

const NATIVE = new URL('../../../src/scripts/lua/native/', import.meta.url)

describe('Lua engine', () => {
  let engine: LuaEngine

  before(async () => {
    engine = await LuaEngine.load({ maxMemoryBytes: 16 * 1024 * 1024, redisVersion: '7.2.4' })
  })

  it('is built from the sources beside it', () => {
    const lines = readFileSync(new URL('built-from.sha256', NATIVE), 'utf8').trim().split('\n')
    expect(lines).to.have.length.above(4)
    for (const line of lines) {
      const [hash, file] = line.split('  ')
      const actual = createHash('sha256')
        .update(readFileSync(new URL(file!, NATIVE)))
        .digest('hex')
      expect(actual, `${file}: run build.sh`).to.equal(hash)
    }
  })

  it('asks nothing of a system', async () => {
    const module = await WebAssembly.compile(readFileSync(new URL('../lua.wasm', NATIVE)))
    const names = WebAssembly.Module.imports(module).map((wanted) => `${wanted.module}.${wanted.name}`)
    expect(names.sort()).to.deep.equal([
      'env.memory',
      'rondo.call',
      'rondo.log',
      'rondo.may_run',
      'rondo.sha1',
      'rondo.tick',
    ])
  })

  it('compiles without running', () => {
    expect(engine.check(Buffer.from('error("not now")'))).to.equal(null)
    expect(engine.check(Buffer.from('\nreturn ('))).to.equal(
      `ERR Error compiling script (new function): user_script:2: unexpected symbol near '<eof>'`,
    )
    expect(engine.check(Buffer.from('\x1bLua'))).to.include('ERR Error compiling script')
  })

  it('passes bytes as they are', () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    const calls: Buffer[][] = []
    const reply = engine.run(
      jobOf('return {KEYS[1], ARGV[1], redis.call(KEYS[1], ARGV[1])}', {
        keys: [all],
        args: [Buffer.alloc(0)],
        call: (command) => (calls.push(command), all),
      }),
    )
    expect(reply).to.deep.equal([all, Buffer.alloc(0), all])
    expect(calls).to.deep.equal([[all, Buffer.alloc(0)]])
  })

  it('gives integers beyond 2^53 exactly', () => {
    expect(engine.run(jobOf('return 2^53'))).to.equal(2n ** 53n)
    expect(engine.run(jobOf('return -2^53 + 1'))).to.equal(-(2 ** 53) + 1)
    expect(engine.run(jobOf('return 2^63'))).to.equal(-(2n ** 63n))
  })

  it('says in which protocol a script wants its replies, and gives what RESP2 has of them', () => {
    const asked: number[] = []
    const call = (_: Buffer[], resp: 2 | 3): LuaReply => {
      asked.push(resp)
      return [
        new LuaMap([[1, true]]),
        new LuaSet([1]),
        new LuaDouble(0.5, '0.5'),
        false,
        new LuaStatus(Buffer.from('S')),
      ]
    }
    const shapes = `local r = redis.call('x') local s = {}
      for i = 1, #r do s[i] = type(r[i]) == 'table' and tostring((next(r[i]))) or tostring(r[i]) end return table.concat(s, ' ')`
    expect(engine.run(jobOf(shapes, { call }))).to.deep.equal(Buffer.from('1 1 0.5 0 ok'))
    expect(engine.run(jobOf(`redis.setresp(3) ${shapes}`, { call }))).to.deep.equal(
      Buffer.from('map set double false ok'),
    )
    expect(asked).to.deep.equal([2, 3])
  })

  it('draws the same numbers from the same seed', () => {
    const numbers = (random: number): LuaReply =>
      engine.run(jobOf('return {math.random(1e6), math.random(1e6)}', { random: () => random }))
    expect(numbers(0.25)).to.deep.equal(numbers(0.25))
    expect(numbers(0.25)).to.not.deep.equal(numbers(0.75))
  })

  it('hands logs and permissions on', () => {
    const lines: string[] = []
    const reply = engine.run(
      jobOf(
        `redis.log(redis.LOG_WARNING, 'a', 1) return {redis.acl_check_cmd('get', 'x'), redis.acl_check_cmd('set', 'x')}`,
        {
          log: (level, message) => lines.push(`${level} ${message.toString()}`),
          mayRun: ([name]) => name!.toString() === 'get',
        },
      ),
    )
    expect(lines).to.deep.equal(['3 a 1'])
    expect(reply).to.deep.equal([1, null])
  })

  it('names the version that it is told', () => {
    expect(answer(engine, 'return {redis.REDIS_VERSION, redis.REDIS_VERSION_NUM}')).to.equal(
      `*2 $5 7.2.4 :${0x070204}`,
    )
  })

  it('ends a reply that contains itself 1000 levels down', () => {
    let reply = engine.run(jobOf('local t = {} t[1] = t return t'))
    let levels = 0
    for (; Array.isArray(reply); levels++) reply = (reply as LuaReply[])[0]!
    expect(levels).to.equal(1000)
    expect((reply as LuaError).text.toString()).to.equal('ERR reached lua stack limit')
  })

  it('collects garbage again after a script that has stopped it', () => {
    answer(engine, `collectgarbage('stop') collectgarbage('setpause', 1e6)`)
    expect(answer(engine, 'for i = 1, 1e6 do local t = {i} end return 1')).to.equal(':1')
  })

  it('skips a shebang and keeps the numbers of lines', () => {
    expect(answer(engine, '#!lua flags=no-writes\nreturn 7')).to.equal(':7')
    expect(answer(engine, '#!lua\n\nerror("x")')).to.include('user_script:3: x')
  })
})
