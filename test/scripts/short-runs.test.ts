/** Scripts that run in the thread that has the keys: only such as are known to be short, and only within a budget. */
import { expect } from 'chai'
import { shaOf } from '../../src/scripts/stored.ts'
import type { Code, Job } from '../../src/commands/scripts/api.ts'
import { loadEngine } from '../../src/scripts/engine.ts'
import { carryOut, type Engine } from '../../src/scripts/job.ts'
import { meteredModule } from '../../src/scripts/lua/engine.ts'
import { ShortRuns } from '../../src/scripts/short-runs.ts'

const SHORT = { reply: null, isShort: true }
const LONG = { reply: null, isShort: false }

const codeOf = (source: string): Code => ({
  sha: shaOf(Buffer.from(source)),
  source: Buffer.from(source),
  functionName: null,
})

function jobOf(code: Code, args: readonly string[], value: string | null = null): Job {
  const key = Buffer.from('key')
  const limits = { maxValueBytes: 1e6, maxKeyBytes: 1024, maxCommandBytes: 1e8, maxReplyBytes: 1e8 }
  return {
    code,
    keys: [key],
    args: args.map((arg) => Buffer.from(arg)),
    readOnly: false,
    stored: [key],
    held: [value === null ? null : { value: Buffer.from(value), expiresAtMs: 0 }],
    nowMs: 1_000_000,
    seed: 7,
    settings: { ...limits, database: 0, databases: 16, defaultTtlMs: 0 },
  }
}

describe('short runs of scripts', () => {
  let module: WebAssembly.Module
  let elsewhere: Engine
  let runs: ShortRuns
  let ends: (() => void)[] = []

  before(async () => {
    module = await meteredModule()
    elsewhere = await loadEngine()
  })
  beforeEach(() => {
    ends = []
    runs = new ShortRuns({ endOfTurn: (end) => ends.push(end) })
    runs.begin(module)
  })
  const learn = (code: Code, times: number, outcome = SHORT) => {
    for (let i = 0; i < times; i++) runs.learn(code, outcome)
  }
  const trusted = (source: string): Code => {
    const code = codeOf(source)
    learn(code, 20)
    return code
  }

  it('begin when a script has been short often enough, in a row', () => {
    const code = codeOf('return 1')
    learn(code, 19)
    expect(runs.outcomeOf(jobOf(code, []))).to.equal(null)
    learn(code, 1, LONG)
    learn(code, 19)
    expect(runs.isShort(code)).to.equal(false)
    learn(code, 1)
    expect(runs.isShort(code)).to.equal(true)
    expect(runs.outcomeOf(jobOf(code, []))).to.deep.equal({ reply: 1 })
    expect(runs.isShort({ ...code, functionName: 'other' })).to.equal(false)
  })

  it('come to what they come to in the other thread', () => {
    for (const source of [
      'return {redis.call("incr", KEYS[1]), redis.call("pexpire", KEYS[1], ARGV[1])}',
      'return redis.call("get", "another key")',
      'redis.publish("c", "m") redis.log(redis.LOG_WARNING, "told") return math.random(1000)',
      'return redis.call("lpush", KEYS[1], "x")',
      'error("stop")',
      'redis.call("set", KEYS[1], "x") return redis.call("nosuch")',
      'return redis.call("append", KEYS[1], ARGV[1])',
    ]) {
      const job = jobOf(trusted(source), ['60000'], '41')
      expect(runs.outcomeOf(job), source).to.deep.equal(carryOut(elsewhere, { kind: 'run', job }))
    }
  })

  it('keep nothing of the memory of Lua, which the next one writes over', () => {
    const set = trusted('redis.call("set", KEYS[1], ARGV[1]) return ARGV[1]')
    const first = runs.outcomeOf(jobOf(set, ['a'.repeat(100)]))
    runs.outcomeOf(jobOf(set, ['b'.repeat(100)]))
    expect(JSON.stringify(first)).to.equal(
      JSON.stringify(carryOut(elsewhere, { kind: 'run', job: jobOf(set, ['a'.repeat(100)]) })),
    )
  })

  const LIMITED: readonly (readonly [string, string, string])[] = [
    ['steps', 'if ARGV[1] == "long" then while true do end end return 1', ''],
    ['C functions', 'return (ARGV[1] == "long" and ("a"):rep(3000):find(("a-"):rep(8) .. "b")) or 1', ''],
    ['memory', 'return ARGV[1] == "long" and #("x"):rep(1e8) or 1', ''],
    ['what it catches', 'pcall(function() while ARGV[1] == "long" do end end) return 1', ''],
    ['commands', 'for i = 1, ARGV[1] == "long" and 101 or 1 do redis.call("get", KEYS[1]) end return 1', ''],
    ['long commands', 'redis.call("set", KEYS[1], ("x"):rep(ARGV[1] == "long" and 17000 or 1)) return 1', ''],
    [
      'wide commands',
      'local t = {} for i = 1, ARGV[1] == "long" and 70 or 1 do t[i] = KEYS[1] end redis.call("del", unpack(t)) return 1',
      '',
    ],
    [
      'slow commands',
      'return ARGV[1] == "long" and #redis.call("lcs", KEYS[1], KEYS[1]) or 1',
      'x'.repeat(8000),
    ],
    [
      'checksums',
      'local s = redis.call("get", KEYS[1]) for i = 1, ARGV[1] == "long" and 40 or 1 do redis.sha1hex(s) end return 1',
      'x'.repeat(15_000),
    ],
    [
      'what its commands compute',
      'redis.call("del", KEYS[1]) for i = 1, ARGV[1] == "long" and 40 or 1 do redis.call("pfadd", KEYS[1], i) redis.call("pfcount", KEYS[1]) end return 1',
      '',
    ],
    [
      'growing values',
      'redis.call("setrange", KEYS[1], ARGV[1] == "long" and 500000 or 1, "x") return 1',
      '',
    ],
  ]
  for (const [what, source, value] of LIMITED) {
    it(`end early, and are not tried again for long: ${what}`, () => {
      const code = trusted(source)
      expect(runs.outcomeOf(jobOf(code, [''], value)), 'the short one').to.have.property('reply', 1)
      expect(runs.outcomeOf(jobOf(code, ['long'], value))).to.equal(null)
      learn(code, 999)
      expect(runs.outcomeOf(jobOf(code, [''], value))).to.equal(null)
      learn(code, 21)
      expect(runs.outcomeOf(jobOf(code, [''], value))).to.have.property('reply', 1)
    })
  }

  it('are left to the other thread where much has to be read', () => {
    const code = trusted('return 1')
    expect(runs.outcomeOf(jobOf(code, [], 'x'.repeat(17_000)))).to.equal(null)
    expect(runs.outcomeOf(jobOf(code, ['x'.repeat(17_000)]))).to.equal(null)
    expect(runs.outcomeOf(jobOf(code, []))).to.deep.equal({ reply: 1 })
  })

  it('have time of their own to compile a source, which counts for the turn, if it is not too long', () => {
    const lines = (count: number) =>
      Array.from({ length: count }, (_, i) => `local f${i} = function(a) return a == ${i} and KEYS[1] end`)
    const sourceOf = (count: number, last = 'return 1') => `${lines(count).join('\n')} ${last}`
    const code = trusted(sourceOf(100))
    expect(code.source.length).to.be.above(5000)
    expect(runs.outcomeOf(jobOf(code, []))).to.deep.equal({ reply: 1 })
    expect(runs.isShort(trusted(sourceOf(190)))).to.equal(false)
    for (const end of ends.splice(0)) end()
    const others = Array.from({ length: 20 }, (_, i) => trusted(sourceOf(100, `return ${i}`)))
    expect(others.filter((one) => runs.outcomeOf(jobOf(one, []))).length).to.be.within(1, 6)
    for (const end of ends.splice(0)) end()
    expect(
      runs.outcomeOf(jobOf(trusted(`${sourceOf(100)} , (function() while true do end end)()`), [])),
    ).to.equal(null)
  })

  it('are left to the other thread with many arguments, without a look at each', () => {
    const code = trusted('return 1')
    expect(
      runs.outcomeOf(
        jobOf(
          code,
          Array.from({ length: 5000 }, () => ''),
        ),
      ),
    ).to.equal(null)
    expect(runs.isShort(code), 'it has not been tried').to.equal(true)
  })

  it('are given no reply that is long although what it is chosen from is not', () => {
    const member = 'x'.repeat(16_000)
    const made = carryOut(elsewhere, {
      kind: 'run',
      job: jobOf(codeOf('return redis.call("sadd", KEYS[1], ARGV[1])'), [member]),
    })
    const [held = null] = 'next' in made ? (made.next ?? []) : []
    let least = Infinity
    for (let i = 0; i < 3; i++) {
      const code = trusted(`local all = redis.call("srandmember", KEYS[1], -8192) return #all + ${i}`)
      const before = process.cpuUsage()
      expect(runs.outcomeOf({ ...jobOf(code, []), held: [held] })).to.equal(null)
      const { user, system } = process.cpuUsage(before)
      least = Math.min(least, user + system)
      for (const end of ends.splice(0)) end()
    }
    // Some hundred microseconds; the 128 MiB of the reply take more than 150 milliseconds.
    expect(least).to.be.below(50_000)
  })

  it('are so many at once, first come, first served', async () => {
    for (let i = 0; i < 64; i++) expect(runs.enter()).to.equal(null)
    const entered: number[] = []
    const waiting = [1, 2, 3].map((i) => runs.enter()!.then(() => entered.push(i)))
    runs.leave()
    await waiting[0]
    runs.leave()
    await waiting[1]
    expect(entered).to.deep.equal([1, 2])
    runs.leave()
    await waiting[2]
    for (let i = 0; i < 64; i++) runs.leave()
    expect(runs.enter()).to.equal(null)
  })

  it('have together so much of a turn, and go on in the next one', () => {
    const code = trusted('for i = 1, 8000 do end return 1')
    let times = 0
    while (runs.outcomeOf(jobOf(code, []))) times++
    expect(times).to.be.within(2, 400)
    expect(runs.isShort(code)).to.equal(true)
    for (const end of ends.splice(0)) end()
    expect(runs.outcomeOf(jobOf(code, []))).not.to.equal(null)
  })

  it('share the turn by what their commands cost as well, and what ends early by the instance that it takes', () => {
    const code = trusted('for i = 1, 5 do redis.call("bitcount", KEYS[1]) end return 1')
    let times = 0
    while (runs.outcomeOf(jobOf(code, [], 'x'.repeat(10_000)))) times++
    expect(times).to.be.within(2, 40)
    for (const end of ends.splice(0)) end()
    const long = Array.from({ length: 20 }, (_, i) => trusted(`while true do end return ${i}`))
    for (const one of long) runs.outcomeOf(jobOf(one, []))
    expect(long.filter((one) => !runs.isShort(one)).length).to.be.within(2, 6)
  })
})
