/** Libraries of functions, beside a real Redis 7.0. */
import { expect } from 'chai'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { LuaEngine, type RegisteredFunction } from '../../../src/scripts/lua/engine.ts'
import { LuaError } from '../../../src/scripts/lua/values.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { functionJobOf } from './run.ts'
import { encoded } from './small-redis.ts'

const LIBRARIES = [
  `redis.register_function('f', function(keys, args) return {keys[1], args[1], #keys, #args} end)`,
  `redis.register_function{function_name='f', callback=function() return 1 end, flags={'no-writes', 'allow-stale'}, description='one'}`,
  `redis.register_function('f', function() error('boom') end)`,
  `redis.register_function('f', function() return redis.call('nosuch') end)`,
  `redis.register_function('f', function() return redis.pcall('lrange') end)`,
  `redis.register_function('f', function() return unknown end)`,
  `redis.register_function('f', function() x = 1 end)`,
  `redis.register_function('f', function() return KEYS end)`,
  `redis.register_function('f', function() return math.floor(3.7) + #string.rep('x', 3) end)`,
  `redis.register_function('f', function() return {type(redis.breakpoint)} end)`,
  `redis.register_function('f', function() return redis.register_function('g', print) end)`,
  `redis.register_function('f', function() redis.setresp(3) return {true, {map={a=1}}} end)`,
  `redis.register_function('f', function() return {err='MINE x'} end)`,
  `redis.register_function('f', function() return __redis__err__handler end)`,
  `redis.register_function('f', function() return _G.redis == redis end)`,
  `local n = 5\nlocal function add(a) return a + n end\nredis.register_function('f', function(keys, args) return add(args[1]) end)`,
  `redis.register_function('f', function() return {redis.sha1hex(''), redis.REDIS_VERSION_NUM > 0, cjson.encode({1})} end)`,
  `redis.register_function('f', function()\n\nerror({err='CODE y'}) end)`,
  `return 1`,
  `return (`,
  `error('at load')`,
  `redis.call('ping')`,
  `math.floor(1)`,
  `redis.log(redis.LOG_NOTICE, 'loading')`,
  `x = 1`,
  `local x = y`,
  `redis.x = 1`,
  `redis.register_function()`,
  `redis.register_function('f')`,
  `redis.register_function('f', 1)`,
  `redis.register_function(function() end, 'f')`,
  `redis.register_function('a b', function() end)`,
  `redis.register_function('', function() end)`,
  `redis.register_function('f', function() end, 3)`,
  `redis.register_function('f', function() end) redis.register_function('f', function() end)`,
  `redis.register_function{function_name='f'}`,
  `redis.register_function{callback=function() end}`,
  `redis.register_function{function_name='f', callback=1}`,
  `redis.register_function{function_name='f', callback=function() end, flags=1}`,
  `redis.register_function{function_name='f', callback=function() end, flags={'bad'}}`,
  `redis.register_function{function_name='f', callback=function() end, flags={1}}`,
  `redis.register_function{function_name='f', callback=function() end, flags={{}}}`,
  `redis.register_function{function_name='f', callback=function() end, description={}}`,
  `redis.register_function{function_name={}, callback=function() end}`,
  `redis.register_function{function_name='f', callback=function() end, other=1}`,
  `redis.register_function{[1]='f'}`,
  `redis.register_function{[{}]='f'}`,
  `redis.register_function{FUNCTION_NAME='f', Callback=function() return 'case' end}`,
]

describe('Lua functions', function () {
  this.timeout(20_000)
  let engine: LuaEngine

  before(async () => {
    engine = await LuaEngine.load({ maxMemoryBytes: 32 * 1024 * 1024 })
  })

  describe('beside Redis 7.0', () => {
    let server: RedisServer
    let redis: RawResp

    before(async function () {
      server = await startRedis()
      redis = await RawResp.open(server.port)
      if (!(await redis.ask('INFO', 'server')).includes('redis_version:7.0.')) this.skip() // texts of errors differ
    })

    after(async () => {
      redis?.close()
      await server?.stop()
    })

    it('loads and calls libraries alike', async () => {
      for (const library of LIBRARIES) {
        const source = `#!lua name=lib\n${library}`
        await redis.ask('FUNCTION', 'FLUSH')
        const loaded = await redis.ask('FUNCTION', 'LOAD', source)
        const job = functionJobOf(source, 'f', {
          keys: [Buffer.from('k')],
          args: [Buffer.from('7'), Buffer.from('8')],
        })
        const functions = engine.loadLibrary(job.library)
        expect(loadedAs(functions), library).to.equal(loaded)
        if (!loaded.startsWith('$')) continue
        const theirs = await redis.ask('FCALL', 'f', '1', 'k', '7', '8')
        expect(encoded(engine.callFunction(job), 2), library).to.equal(theirs)
      }
    })
  })

  it('gives names, flags and descriptions', () => {
    const { library } = functionJobOf(
      `redis.register_function{function_name='f', callback=print or error, flags={'no-writes','ALLOW-OOM'}, description='d\\255'}
       redis.register_function('g', error)`.replace('print or ', ''),
      'f',
    )
    expect(engine.loadLibrary(library)).to.be.instanceOf(LuaError) // `error` is not there while it loads
    const plain = functionJobOf(
      `local function h() end
       redis.register_function{function_name='f', callback=h, flags={'no-writes','ALLOW-OOM'}, description='d\\255'}
       redis.register_function('g', h)`,
      'f',
    )
    expect(engine.loadLibrary(plain.library)).to.deep.equal([
      { name: 'f', flags: ['no-writes', 'allow-oom'], description: Buffer.from('d\xff', 'latin1') },
      { name: 'g', flags: [], description: null },
    ])
  })

  it('begins each call with a library just loaded', () => {
    const counter = `local n = 0\nredis.register_function('f', function() n = n + 1 return n end)`
    for (let i = 0; i < 3; i++) expect(engine.callFunction(functionJobOf(counter, 'f'))).to.equal(1)
  })

  it('ends when onTick throws, in a library too', () => {
    const onTick = (): never => {
      throw new Error('enough')
    }
    const endless = functionJobOf(`redis.register_function('f', function() while true do end end)`, 'f', {
      onTick,
    })
    expect(() => engine.callFunction(endless)).to.throw('enough')
    const loading = functionJobOf('while true do end', 'f')
    expect(() => engine.loadLibrary(loading.library, { onTick })).to.throw('enough')
  })

  it('does not know a function that is not registered', () => {
    const reply = engine.callFunction(functionJobOf(`redis.register_function('f', function() end)`, 'g'))
    expect((reply as LuaError).text.toString()).to.include('Function not found')
  })
})

/** What FUNCTION LOAD answers for it. */
function loadedAs(functions: RegisteredFunction[] | LuaError): string {
  if (functions instanceof LuaError) return encoded(functions, 2)
  return functions.length === 0 ? '-ERR No functions registered\r\n' : '$3\r\nlib\r\n'
}
