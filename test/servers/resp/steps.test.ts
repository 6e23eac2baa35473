/** The commands on strings and keys answer what Redis 7.0 answers, byte for byte. */
import { expect } from 'chai'
import fc from 'fast-check'
import type { Protocol } from '../../../src/commands/reply.ts'
import { unlessAbsent } from '../../../src/commands/run/absent.ts'
import { applyTo } from '../../../src/commands/run/known.ts'
import { fixedPlacesOf } from '../../../src/commands/docs-replies.ts'
import { loadDigest } from '../../../src/commands/strings/digest.ts'
import { STEPS } from '../../../src/commands/specs.ts'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { StepExecutor } from './steps-executor.ts'
import { Oracle } from './steps-oracle.ts'
import { argumentsAt, commands, KEYS, wildFloats, type RandomCommand } from './steps-stream.ts'
import { NEWER_TRAPS, TRAPS, WHERE_WE_DIFFER } from './steps-traps.ts'
import { NEWER_COMMANDS, OLDER_ARITY } from '../../support/newer-commands.ts'

const MAX_VALUE_BYTES = 1024 * 1024
/** Commands that Redis 7.0 does not have. */
const FLUSH = [Buffer.from('FLUSHALL')]
/** The server's clock runs on; ours stands still. The ends in the stream lie further apart. */
const CLOCK_TOLERANCE_MS = 30_000
/** What is told of an end, and in which unit. */
const TELLS_TIME: Readonly<Record<string, number>> = { TTL: 1000, PTTL: 1, EXPIRETIME: 1000, PEXPIRETIME: 1 }

/** We name our setting instead. */
const TOO_LONG = '-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n'

const words = (line: string) => line.split(' ').map((word) => Buffer.from(word, 'latin1'))
const shown = (args: readonly Buffer[]) => args.map((arg) => JSON.stringify(arg.toString('latin1'))).join(' ')

describe('steps of the Redis protocol', function () {
  this.timeout(60_000)
  let redis: RedisServer

  before(async () => {
    await loadDigest()
    redis = await startRedis({ args: ['--proto-max-bulk-len', '1mb'] })
  })
  after(() => redis.stop())

  for (const protocol of [2, 3] as const) {
    describe(`to a client of RESP${protocol}`, () => {
      let oracle: Oracle
      before(async () => {
        oracle = await Oracle.open(redis.port, protocol)
      })
      after(() => oracle.close())

      it('answers random commands, ordinary and hostile, as a real Redis does', async () => {
        const streams = fc.array(commands, { minLength: 20, maxLength: 80, size: 'max' })
        await fc.assert(
          fc.asyncProperty(streams, (stream) => compare(oracle, protocol, stream)),
          { numRuns: 100, interruptAfterTimeLimit: 20_000 },
        )
      })

      it('answers the classic traps as a real Redis does, and as their table says', async () => {
        for (const { after, ask, answer } of TRAPS) {
          const asked = [...after, ask].map(words)
          const executor = new StepExecutor(protocol, MAX_VALUE_BYTES)
          const ours = asked.map((args) => executor.run(args, Date.now())).at(-1)!
          const theirs = (await oracle.ask([FLUSH, ...asked])).at(-1)!
          expect(ours.toString('latin1'), `${ask} (us)`).to.equal(theirs.toString('latin1'))
          if (protocol === 2) expect(ours.toString('latin1'), ask).to.equal(answer)
        }
      })
    })
  }

  it('adds floating point numbers to the last digit as a real Redis does', async function () {
    if (process.arch !== 'x64') this.skip() // long double differs: only x86-64 has 64 bits of mantissa
    const oracle = await Oracle.open(redis.port, 2)
    const pairs = fc.array(fc.tuple(wildFloats, wildFloats), { minLength: 10, maxLength: 10 })
    const property = fc.asyncProperty(pairs, (all) =>
      compare(
        oracle,
        2,
        all.flatMap(([a, b]) => [
          words(`SET a ${a}`),
          words(`INCRBYFLOAT a ${b}`),
          words('INCRBYFLOAT a 0.1'),
        ]),
      ),
    )
    await fc.assert(property, { numRuns: 60, interruptAfterTimeLimit: 20_000 }).finally(() => oracle.close())
  })

  it('refuses what goes beyond our own limits, where Redis has others', () => {
    for (const { after, ask, answer } of WHERE_WE_DIFFER) {
      const executor = new StepExecutor(2, MAX_VALUE_BYTES)
      const ours = [...after, ask].map((line) => executor.run(words(line), Date.now())).at(-1)!
      expect(ours.toString('latin1'), ask).to.equal(answer)
    }
  })

  it('answers newer commands and options as Redis 8.4 and Valkey 9 do', () => {
    for (const { after, ask, answer } of NEWER_TRAPS) {
      const executor = new StepExecutor(2, MAX_VALUE_BYTES)
      const ours = [...after, ask].map((line) => executor.run(words(line), Date.now())).at(-1)!
      expect(ours.toString('latin1'), [...after, ask].join('; ')).to.equal(answer)
    }
  })

  it('finds every command of the table in COMMAND INFO, with the same arity, flags and key positions', async () => {
    const oracle = await Oracle.open(redis.port, 2)
    for (const [name, { arity, flags, ...places }] of Object.entries(STEPS)) {
      // The keys of what has subcommands stand in these.
      if (NEWER_COMMANDS.includes(name) || /^x(group|info)$/.test(name)) continue
      const { firstKey, lastKey, keyStep } = fixedPlacesOf(places)
      const [info] = await oracle.ask([words(`COMMAND INFO ${name}`)])
      const lines = [
        `*1`,
        `*10`,
        `$${name.length}`,
        name,
        `:${OLDER_ARITY[name] ?? arity}`,
        `*${flags.length}`,
      ]
      lines.push(...flags.map((flag) => `+${flag}`), `:${firstKey}`, `:${lastKey}`, `:${keyStep}`)
      expect(info!.toString().slice(0, lines.join('\r\n').length)).to.equal(lines.join('\r\n'))
    }
    oracle.close()
  })

  it('lets an argument be a bulk and a key be any bytes, also none', () => {
    const executor = new StepExecutor(2, MAX_VALUE_BYTES)
    for (const key of [...KEYS, Buffer.from('__proto__'), Buffer.from('constructor')]) {
      expect(executor.run([Buffer.from('SET'), key, key], 1).toString()).to.equal('+OK\r\n')
      const bulk = `$${key.length}\r\n${key.toString('latin1')}\r\n`
      expect(executor.run([Buffer.from('GET'), key], 1).toString('latin1')).to.equal(bulk)
    }
  })

  it('shows the beginning of an unknown option in one line, even of a megabyte of line ends', () => {
    const option = Buffer.from(`${'\n'.repeat(MAX_VALUE_BYTES - 1)}x`)
    const reply = new StepExecutor(2, MAX_VALUE_BYTES).run([...words('EXPIRE a 10'), option], 1)
    expect(reply.toString()).to.equal('-ERR Unsupported option \r\n')
    const other = Buffer.from(`a\nb${'c'.repeat(1000)}`)
    const shown = new StepExecutor(2, MAX_VALUE_BYTES).run([...words('EXPIRE a 10'), other], 1)
    expect(shown.toString()).to.equal(`-ERR Unsupported option a b${'c'.repeat(125)}\r\n`)
  })

  it('counts a life from the moment it was asked for, in every attempt', () => {
    const limits = {
      maxValueBytes: MAX_VALUE_BYTES,
      defaultTtlMs: 0,
      database: 0,
      databases: 16,
      random: Math.random,
    }
    const set = STEPS.set!.make(words('SET a 1 EX 10'), 5_000, limits)
    const expire = STEPS.expire!.make(words('EXPIRE a 10'), 5_000, limits)
    const held = { value: Buffer.from('1'), expiresAtMs: 0 }
    for (const nowMs of [5_000, 9_000, 14_999]) {
      expect(applyTo(set, [null], nowMs).next).to.deep.equal([
        { value: Buffer.from('1'), expiresAtMs: 15_000 },
      ])
      expect(applyTo(expire, [held], nowMs).next).to.deep.equal([{ ...held, expiresAtMs: 15_000 }])
    }
    for (const step of [set, expire]) expect(applyTo(step, [held], 15_000).next).to.deep.equal([null])
  })

  it('stores nothing when a command changes nothing', () => {
    const held = { value: Buffer.from('abc'), expiresAtMs: 9_000 }
    const idle: [string, (typeof held | null)[]][] = [
      ['DEL a b', [null, null]],
      ['GETDEL a', [null]],
      ['GETEX a', [held]],
      ['GETEX a PERSIST', [{ ...held, expiresAtMs: 0 }]],
      ['SET a x NX', [held]],
      ['SET a x XX', [null]],
      ['SETNX a x', [held]],
      ['MSETNX a x b y', [null, held]],
      ['SETRANGE a 5 ', [null]],
      ['SETRANGE a 5 ', [held]],
      ['SETBIT a 1 1', [held]],
      ['INCR a', [held]],
      ['PERSIST a', [{ ...held, expiresAtMs: 0 }]],
      ['EXPIRE a 100', [null]],
      ['EXPIRE a 1 GT', [held]],
      ['RENAME a b', [null, held]],
      ['RENAMENX a b', [held, held]],
      ['RENAME a a', [held]],
      ['COPY a b', [held, held]],
      ['SET a x IFEQ x', [held]],
      ['SET a x IFEQ x', [null]],
      ['SET a x IFNE abc GET', [held]],
      ['DELEX a', [null]],
      ['DELEX a IFEQ x', [held]],
      ['DELEX a IFNE x', [null]],
      ['DELIFEQ a x', [held]],
      ['MSETEX 2 a x b y NX', [null, held]],
      ['MSETEX 2 a x b y XX', [null, held]],
    ]
    for (const [line, before] of idle) {
      const args = words(line)
      const spec = STEPS[args[0]!.toString().toLowerCase()]!
      const step = spec.make(args, 1_000, {
        maxValueBytes: MAX_VALUE_BYTES,
        defaultTtlMs: 0,
        database: 0,
        databases: 16,
        random: Math.random,
      })
      const { next = [] } = applyTo(step, before, 1_000)
      const stored = next.map((after, i) => unlessAbsent(step, before[i]!, after, false))
      expect(
        stored.filter((after) => after !== undefined),
        line,
      ).to.deep.equal([])
    }
  })
})

/** The same commands, one after the other, to both; at the end, what every key holds and until when. */
async function compare(oracle: Oracle, protocol: Protocol, stream: readonly RandomCommand[]): Promise<void> {
  const nowMs = Date.now()
  const all = [
    ...stream.map((command, place) => argumentsAt(command, place, nowMs)),
    ...KEYS.flatMap((key) => [
      [Buffer.from('GET'), key],
      [Buffer.from('PEXPIRETIME'), key],
    ]),
  ]
  const executor = new StepExecutor(protocol, MAX_VALUE_BYTES)
  const [, ...theirs] = await oracle.ask([FLUSH, ...all])
  all.forEach((args, place) => {
    const ours = executor.run(args, nowMs).toString('latin1')
    const their = theirs[place]!.toString('latin1')
    if (their === TOO_LONG && ours.startsWith('-ERR The value would have ')) return
    const unitMs = TELLS_TIME[args[0]!.toString()]
    if (unitMs === undefined || !isTime(ours) || !isTime(their)) expect(ours, shown(args)).to.equal(their)
    else
      expect(Number(ours.slice(1)) * unitMs, shown(args)).to.be.closeTo(
        Number(their.slice(1)) * unitMs,
        CLOCK_TOLERANCE_MS,
      )
  })
}

/** Neither an error nor "no key", "no end". */
function isTime(reply: string): boolean {
  return /^:\d/.test(reply)
}
