/** Scripts that want too much, break out, or leave something behind: each gets an answer, and the next one runs as ever. */
import { expect } from 'chai'
import { LuaEngine, meteredModule, OutOfFuel } from '../../../src/scripts/lua/engine.ts'
import { LuaError } from '../../../src/scripts/lua/values.ts'
import { answer, jobOf } from './run.ts'

const MEGABYTE = 1024 * 1024
const MAX_MEMORY_BYTES = 8 * MEGABYTE
/** Of the module itself, and of buffers outside of Lua's account. */
const OVERHEAD_BYTES = 7 * MEGABYTE

const MEMORY = [
  `return ('x'):rep(1e9)`,
  `return ('x'):rep(2e9):rep(10)`,
  `local s = 'x' while true do s = s .. s end`,
  `local t = {} for i = 1, 1e9 do t[i] = i end`,
  `local t = {} while true do t[#t + 1] = {} end`,
  `local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(i) end`,
  `local t = {} for i = 1, 1e7 do t[i] = 'a' end return table.concat(t, ('x'):rep(100))`,
  `return cjson.encode(('\\0'):rep(2e7))`,
  `local s = cjson.encode(('"'):rep(4e6)) return #s`,
  `return cjson.decode('"' .. ('x'):rep(3e7) .. '"')`,
  `local t = {} for i = 1, 200 do t[i] = ('x'):rep(1e5) end return cmsgpack.pack(t, t, t, t, t)`,
  `return ('x'):rep(1e6):gsub('x', ('y'):rep(1000))`,
  `return string.format('%99.99f', 1):rep(1e7)`,
  `local t = {} t[1] = t t[2] = t return t`,
  `local t = {('x'):rep(1e6)} for i = 1, 20 do t = {t, t} end return t`,
  `return loadstring('return {' .. ('1,'):rep(5e6) .. '}')`,
  `return loadstring(('x = 1 '):rep(3e6))`,
  `local t = {} for i = 1, 6e6 do t[i] = coroutine.create(type) end`,
  `redis.call('echo', ('x'):rep(4e7))`,
  `local s = ('x'):rep(1e7) return redis.call('echo', s, s, s, s)`,
  `redis.log(1, ('x'):rep(1e7), ('x'):rep(1e7), ('x'):rep(1e7))`,
  `local t = {} for i = 1, 100 do pcall(function() local s = ('x'):rep(1e9) end) end return 1`,
  `return collectgarbage('stop'), (function() for i = 1, 1e6 do local t = {i} end end)()`,
  `return struct.pack(('d'):rep(1e7))`,
  `return {unpack({}, 1, 1e7)}`,
  `return string.char(unpack({}, 1, 1e6))`,
]

const DEPTH = [
  `local function f() return 1 + f() end return f()`,
  `local function f() local ok, e = pcall(f) return ok end return f()`,
  `local function f() return select(2, xpcall(f, f)) end return f()`,
  `return xpcall(function() error('a') end, function() error('b') end)`,
  `local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x`,
  `local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return tostring(t) end return tostring(t)`,
  `local t = {} for i = 1, 1e5 do t = {t} end return t`,
  `local t = {} for i = 1, 1e5 do t = {t} end return cjson.encode(t)`,
  `cjson.encode_max_depth(1e6) local t = {} for i = 1, 1e5 do t = {t} end return #cjson.encode(t)`,
  `cjson.decode_max_depth(1e6) return #cjson.decode(('['):rep(1e5) .. (']'):rep(1e5))`,
  `return cmsgpack.unpack(('\\145'):rep(1e6))`,
  `return ('a?'):rep(2e5):match(('a?'):rep(2e5))`,
  `return ('x'):rep(2e5):match(('x-'):rep(2e4) .. 'y')`,
  `return ('('):rep(5e3):match('%b()')`,
  `return loadstring(('('):rep(1e5) .. '1')`,
  `return loadstring('return ' .. ('{'):rep(1e5))`,
  `return loadstring('return ' .. ('-'):rep(1e5) .. '1')`,
  `return loadstring('return 1' .. ('..1'):rep(1e5))`,
  `local function r() return coroutine.wrap(r)() end return r()`,
  `local co co = coroutine.wrap(function() return co() end) return co()`,
  `table.sort({3, 1, 2, 5, 4}, function(a, b) table.sort({2, 1}, error) end)`,
  `return ('x'):gsub('x', function() return ('x'):gsub('x', function() error({}) end) end)`,
  `error(setmetatable({}, {__index = function() error('again') end}))`,
  `return setmetatable({err = 'E x'}, {__index = function() error('again') end})`,
  `error(string)`,
  `error(redis)`,
  `error({})`,
  `error(nil)`,
  `error(setmetatable({}, {__tostring = error}))`,
  `return {err = setmetatable({}, {})}`,
  `coroutine.yield(1)`,
  `return coroutine.wrap(function() return coroutine.yield(redis.call('ping')) end)()`,
]

/** Each tries to change what the next script sees; what it answers does not matter. */
const POISON = [
  `string.len = nil`,
  `string.format = function() return 'poison' end`,
  `getmetatable('').__index = function() return 'poison' end`,
  `getmetatable('').__add = function() return 'poison' end`,
  `setmetatable(_G, {__index = function() return 'poison' end})`,
  `getmetatable(_G).__index = function() return 'poison' end`,
  `rawset(_G, 'poison', 1)`,
  `rawset(redis, 'call', function() return 'poison' end)`,
  `table.insert(redis, 'poison')`,
  `table.remove(redis)`,
  `table.sort(redis, function() error('x') end)`,
  `for k in pairs(string) do string[k] = nil end`,
  `next = nil`,
  `KEYS = {'poison'} ARGV = KEYS`,
  `KEYS.poison = 1 ARGV.poison = 1`,
  `cjson.encode_max_depth(1) cjson.decode_max_depth(1)`,
  `cjson.encode_number_precision(1) cjson.encode_invalid_numbers('null')`,
  `cjson.encode_sparse_array(true, 1, 1) cjson.encode_keep_buffer(false) cjson.decode_invalid_numbers(false)`,
  `collectgarbage('stop') collectgarbage('setpause', 1e9) collectgarbage('setstepmul', 0)`,
  `redis.setresp(3)`,
  `math.randomseed(1)`,
  `setfenv(0, {})`,
  `setfenv(1, {string = 'poison'})`,
  `getfenv(0).poison = 1`,
  `newproxy(true)`,
  `debug.sethook()`,
  `loadstring('poison = 1')()`,
  `load(function() return nil end)()`,
  `loadstring(string.dump(function() return 'poison' end))()`,
  `loadstring('\\27Lua\\81\\0\\1\\4\\8\\4\\8\\0')()`,
  `__redis__err__handler({})`,
  `__redis__err__handler(string)`,
  `coroutine.wrap(function() setmetatable(_G, nil) end)()`,
  `local t = setmetatable({}, {__gc = function() error('x') end, __mode = 'kv'}) t = nil collectgarbage()`,
  `xpcall(error, function(e) string.x = e end)`,
]

const ENDLESS = [
  'while true do end',
  'repeat until false',
  'local function f() return f() end return f()',
  'while true do pcall(error) end',
  'while true do pcall(function() while true do end end) end',
  'return coroutine.wrap(function() while true do end end)()',
  'while true do coroutine.wrap(function() pcall(error) end)() end',
  `for i = 1, 1e12 do redis.call('ping') end`,
  `return setmetatable({}, {__index = function() while true do end end}).x`,
  `return xpcall(error, function() while true do end end)`,
  `table.sort({3, 2, 1}, function() while true do end end)`,
  `return ('x'):gsub('x', function() while true do end end)`,
]

/** Long within one instruction of Lua. */
const IN_C = [
  `return string.find(('a'):rep(3000), ('a-'):rep(8) .. 'b')`,
  `return ('a'):rep(1e6)`,
  `return ('x'):rep(1e5):gsub('x', 'yy')`,
  `return cjson.encode(('x'):rep(1e6))`,
  `return loadstring(('x = 1 '):rep(1e4))`,
  `local t = {} for i = 1, 4000 do t[i] = i * 7919 % 4001 end table.sort(t) return t`,
]

/** Says of everything that the attacks above go for whether it is as it should be. */
const SOUND = `
local parts = {('x'):len(), string.format('%d', 3), cjson.encode({1/3, {{{}}}}), #cjson.decode('[[[1]]]'),
  tostring(pcall(cjson.encode, {1/0})), tostring(pcall(cjson.encode, {[1000] = 1})), tostring(pcall(cjson.decode, '0x1')),
  type(next), type(redis.call), #redis, #KEYS, #ARGV, tostring(KEYS.poison), tostring(pcall(function() return poison end)),
  tostring(pcall(function() return 'a' + 1 end)), math.random(1000), tostring(redis.call('get', 'missing')),
  type(string.len), select('#', pcall(string.len))}
return table.concat(parts, ' ')`

describe('Lua engine under attack', function () {
  this.timeout(30_000)
  let engine: LuaEngine
  let sound: string

  before(async () => {
    engine = await LuaEngine.load({ maxMemoryBytes: MAX_MEMORY_BYTES })
    sound = answer(engine, SOUND)
    expect(sound).to.match(/1 3 \[0\.33333333333333,\[\[\{\}\]\]\] 1 false false true function function/)
  })

  afterEach(() => {
    expect(answer(engine, SOUND), 'the next script').to.equal(sound)
  })

  for (const [what, scripts] of [
    ['memory', MEMORY],
    ['depth', DEPTH],
  ] as const) {
    for (const script of scripts) {
      it(`${what}: ${script.slice(0, 90)}`, () => {
        answer(engine, script)
        expect(engine.memoryBytes).to.be.below(MAX_MEMORY_BYTES + OVERHEAD_BYTES)
      })
    }
  }

  it('says that there is not enough memory, which pcall catches', () => {
    const script = `return ('x'):rep(1e9)`
    expect(answer(engine, script)).to.equal(
      `-ERR Error running script ${jobOf(script).sha}, not enough memory`,
    )
    expect(answer(engine, `return {pcall(string.rep, 'x', 1e9)}`)).to.equal('*2 $-1 $17 not enough memory')
  })

  it('gives back what a large script has taken', async () => {
    const large = await LuaEngine.load({ maxMemoryBytes: 64 * MEGABYTE })
    let most = 0
    const call = (): null => {
      most = large.memoryBytes
      return null
    }
    large.run(jobOf(`local t = {} for i = 1, 2e6 do t[i] = i end redis.call('x') return #t`, { call }))
    expect(most).to.be.above(32 * MEGABYTE)
    expect(large.memoryBytes).to.equal(0)
  })

  it('leaves nothing behind', () => {
    for (const script of POISON) {
      answer(engine, script)
      expect(answer(engine, SOUND), script).to.equal(sound)
    }
  })

  it('has neither files nor a system', () => {
    for (const name of [
      'io',
      'os',
      'require',
      'package',
      'module',
      'dofile',
      'loadfile',
      'print',
      'debug',
      'newproxy',
    ])
      expect(answer(engine, `return ${name}`)).to.include(`nonexistent global variable '${name}'`)
  })

  it('ends within its fuel, also inside of C functions, and otherwise answers the same', async () => {
    const module = await meteredModule()
    const metered = LuaEngine.of(module, { maxMemoryBytes: MAX_MEMORY_BYTES, fuel: 20_000 })
    const LONG = [...ENDLESS, ...IN_C]
    let finished = 0
    const before = process.cpuUsage()
    for (const script of [...MEMORY, ...DEPTH, ...POISON, ...LONG]) {
      expect(answer(metered, SOUND), script).to.equal(sound)
      let reply: string | null
      try {
        reply = answer(metered, script)
      } catch (error) {
        expect(error, script).to.be.instanceOf(OutOfFuel)
        reply = null
      }
      if (LONG.includes(script)) expect(reply, script).to.equal(null)
      else if (reply !== null && !reply.includes('0x')) {
        finished++
        expect(reply, script).to.equal(answer(engine, script))
      }
    }
    expect(finished).to.be.above(20)
    // About half a second for more than a hundred of them, each of which also needs a new instance, and runs beside.
    const { user, system } = process.cpuUsage(before)
    expect(user + system).to.be.below(10e6)
  })

  for (const script of ENDLESS) {
    it(`ends when onTick throws: ${script}`, () => {
      let ticks = 0
      const onTick = (): void => {
        if (++ticks === 5) throw new Error('enough')
      }
      expect(() => engine.run(jobOf(script, { onTick }))).to.throw('enough')
      expect(ticks).to.equal(5)
    })
  }

  it('throws what a call throws, past pcall', () => {
    const call = (): never => {
      throw new Error('of the host')
    }
    expect(() => engine.run(jobOf(`return pcall(redis.call, 'get')`, { call }))).to.throw('of the host')
  })

  it('tries again when there was no memory for an instance', async () => {
    const starved = LuaEngine.of(await meteredModule(), { maxMemoryBytes: 2 ** 33, fuel: 20_000 })
    for (let i = 0; i < 2; i++) expect(() => starved.run(jobOf('return 1'))).to.throw(RangeError)
  })

  it('refuses a run within a run', () => {
    const call = (): null => {
      engine.run(jobOf('return 1'))
      return null
    }
    expect(() => engine.run(jobOf(`redis.call('x')`, { call }))).to.throw('running already')
  })

  it('takes a reply that is too large for an error', () => {
    const reply = engine.run(
      jobOf(`return redis.call('x')`, { call: () => Buffer.alloc(2 * MAX_MEMORY_BYTES) }),
    )
    expect(reply).to.be.instanceOf(LuaError)
  })

  it('takes keys and arguments that are too large for an error', () => {
    const reply = engine.run(jobOf('return 1', { args: [Buffer.alloc(2 * MAX_MEMORY_BYTES)] }))
    expect(reply).to.be.instanceOf(LuaError)
    expect(engine.check(Buffer.alloc(2 * MAX_MEMORY_BYTES, ' '))).to.include('not enough memory')
  })

  it('drops the least recently used of many scripts', async () => {
    const small = await LuaEngine.load({ maxMemoryBytes: 4 * MEGABYTE, maxCachedScripts: 100 })
    for (let i = 0; i < 2000; i++) {
      const source = `local a = ${i} --[[ ${'x'.repeat(1000)} ]] return {a, '${'y'.repeat(500)}${i}'}`
      expect(answer(small, source)).to.match(new RegExp(`^\\*2 :${i} `))
    }
    expect(small.memoryBytes).to.be.below(4 * MEGABYTE + OVERHEAD_BYTES)
  })
})
