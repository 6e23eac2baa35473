/**
 * The commands on collections answer what a real Redis answers: as steps, and through a whole Rondo at `one` and at
 * `quorum`, on memory nodes and on Redis servers, in both protocols. A failure prints its seed and the shortest stream.
 */
import { expect } from 'chai'
import fc from 'fast-check'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { sizes } from '../../../src/commands/collections/large/sizes.ts'
import { COLLECTION_STEPS } from '../../../src/commands/collections/specs.ts'
import { STREAM_STEPS } from '../../../src/commands/streams/specs.ts'
import type { Protocol } from '../../../src/commands/reply.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'
import { Oracle } from '../../servers/resp/steps-oracle.ts'
import { StepExecutor } from '../../servers/resp/steps-executor.ts'
import { SMALL, SMALLEST, TINY, withSizes } from '../../support/large.ts'
import { bytesOf, comparable } from './compare.ts'
import {
  commandsOf,
  GEO_COMMANDS,
  HASH_COMMANDS,
  KEYS,
  LIST_COMMANDS,
  NAMED_COMMANDS,
  NAMED_KEYS,
  READ_ALL,
  SET_COMMANDS,
  SORT_COMMANDS,
  SORTED_SET_COMMANDS,
  type RandomCommand,
} from './stream.ts'
import { STREAM_COMMANDS, STREAM_WEIGHTS } from './streams-stream.ts'

const TYPES = {
  hashes: HASH_COMMANDS,
  sets: SET_COMMANDS,
  lists: LIST_COMMANDS,
  positions: GEO_COMMANDS,
  'sorted sets': SORTED_SET_COMMANDS,
  streams: STREAM_COMMANDS,
  sorting: { ...SORT_COMMANDS, ...NAMED_COMMANDS },
}
/** Those that can be large. */
const IN_PARTS = Object.fromEntries(Object.entries(TYPES).filter(([type]) => type !== 'sorting'))
const ADDING_WEIGHTS = { hset: 10, hmset: 10, sadd: 30, zadd: 20, geoadd: 10, lpush: 10, rpush: 10 }
/** A stream that has some entries, of which some are pending. */
const FILLED: readonly RandomCommand[] = [
  ...[1, 2, 3, 4].flatMap((ms) =>
    [0, 1, 2, 3].map((counter): RandomCommand => ['XADD', '{t}a', `${ms}-${counter}`, 'f', `${ms}`]),
  ),
  ['XGROUP', 'CREATE', '{t}a', 'g', '0'],
  ['XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', '9', 'STREAMS', '{t}a', '>'],
]
/** SORT is apart: a Redis whose C library has met a number that is too large takes the next numbers of a SORT for such, too. */
const { sorting, ...TOGETHER } = TYPES
const ALL = Object.assign({}, ...Object.values(TOGETHER)) as typeof HASH_COMMANDS
/** The first one, whose number is right, makes it forget that. */
const PREPARED: readonly RandomCommand[] = [
  ['INCRBYFLOAT', '{t}number', '1'],
  ['DEL', ...KEYS, '{t}no', '{t}number', ...NAMED_KEYS],
]

describe('commands on collections', function () {
  this.timeout(120_000)
  let redis: RedisServer
  before(async () => {
    redis = await startRedis()
  })
  after(() => redis.stop())

  it('are all in the streams that are compared with a real Redis', () => {
    expect(Object.keys({ ...ALL, ...SORT_COMMANDS }).sort()).to.deep.equal(
      Object.keys({ ...COLLECTION_STEPS, ...STREAM_STEPS }).sort(),
    )
  })

  for (const protocol of [2, 3] as const) {
    for (const [type, table] of Object.entries(TYPES)) {
      it(`on ${type} answer as a real Redis does, as steps in RESP${protocol}`, async () => {
        const weights = type === 'streams' ? STREAM_WEIGHTS : {}
        const runs = type === 'streams' ? 80 : 150
        await holdsAsSteps(protocol, commandsOf(table, { weights }), runs, type === 'streams')
      })
    }
  }

  for (const [type, table] of Object.entries(IN_PARTS)) {
    // Parts of one entry, and of streams those of several as well.
    for (const small of type === 'streams' ? [SMALLEST, SMALL] : [SMALLEST]) {
      it(`on ${type} in many parts of ${small.partBytes} bytes answer as a real Redis does, as steps`, async () => {
        const isTimed = type === 'streams'
        const commands = commandsOf(table, { weights: isTimed ? STREAM_WEIGHTS : ADDING_WEIGHTS })
        const parts = await withSizes(small, () =>
          isTimed ? holdsAsSteps(3, commands, 20, true, FILLED) : holdsAsSteps(3, commands, 25),
        )
        expect(parts).to.be.greaterThan(150)
      })
    }
  }

  /** @returns how many parts there were when something was changed in parts */
  async function holdsAsSteps(
    protocol: Protocol,
    commands: fc.Arbitrary<RandomCommand>,
    runs: number,
    isTimed = false,
    first: readonly RandomCommand[] = [],
  ): Promise<number> {
    const oracle = await Oracle.open(redis.port, protocol)
    let parts = 0
    const run = (stream: readonly RandomCommand[]) => {
      const executor = new StepExecutor(protocol, 1024 * 1024)
      // A slow machine must not change a TTL; ids of streams are of the time when they are made.
      const startMs = Date.now()
      const timeMs = () => (isTimed ? Date.now() : startMs)
      const replies = stream.map((command) => executor.run(bytesOf(command), timeMs()))
      parts += executor.partsOfChanged
      return Promise.resolve(replies)
    }
    await holds(oracle, run, commands, { runs, length: 60, first }).finally(() => oracle.close())
    return parts
  }

  it('store the distances that a real Redis stores, but for their last digits', async () => {
    const oracle = await Oracle.open(redis.port, 3)
    const executor = new StepExecutor(3, 1024 * 1024)
    const lines: RandomCommand[] = [
      ...PREPARED,
      ['GEOADD', '{t}a', '13.361389', '38.115556', 'a', '15.087269', '37.502669', 'b', '2.35', '48.85', 'c'],
      ['GEOSEARCHSTORE', '{t}b', '{t}a', 'FROMMEMBER', 'a', 'BYBOX', '9000', '9000', 'mi', 'STOREDIST'],
      ['GEORADIUS', '{t}a', '15', '37', '5000', 'km', 'STORE', '{t}no', 'STOREDIST', '{t}c'],
    ]
    await oracle.ask(lines.map(bytesOf))
    for (const line of lines.slice(PREPARED.length)) executor.run(bytesOf(line), Date.now())
    for (const key of ['{t}b', '{t}c']) {
      const line = bytesOf(['ZRANGE', key, '0', '-1', 'WITHSCORES'])
      const [theirs] = await oracle.ask([line])
      const scores = (reply: Buffer) =>
        [...reply.toString().matchAll(/,(\S+)/g)].map(([, text]) => Number(text).toPrecision(13))
      expect(scores(executor.run(line, Date.now())))
        .to.deep.equal(scores(theirs!))
        .and.have.length(3)
    }
    oracle.close()
  })

  for (const nodes of ['memory nodes', 'Redis servers'] as const) {
    // There, collections of a few entries are stored in parts.
    const inParts = nodes === 'memory nodes'
    describe(`through a coordinator on ${nodes}${inParts ? ', in parts' : ''}`, () => {
      const whole = { ...sizes }
      let servers: RedisServer[] = []
      let running: RunningRondo
      before(async () => {
        if (inParts) Object.assign(sizes, TINY)
        if (nodes === 'Redis servers') servers = await Promise.all([1, 2, 3, 4].map(() => startRedis()))
        running = await startRondo({
          ...(servers.length > 0 && { REDIS_URLS: servers.map(({ port }) => `127.0.0.1:${port}`).join(',') }),
          NODE_TIMEOUT_MS: '5000',
          REQUEST_TIMEOUT_MS: '5000',
        })
      })
      after(async () => {
        Object.assign(sizes, whole)
        await running.stop()
        await Promise.all(servers.map((server) => server.stop()))
      })

      for (const level of ['one', 'quorum']) {
        for (const protocol of [2, 3] as const) {
          it(`answer as a real Redis does at ${level}, in RESP${protocol}`, async () => {
            const oracle = await Oracle.open(redis.port, protocol)
            const ours = await Oracle.open(running.rondo.respServer.port, protocol)
            const [chosen] = await ours.ask([bytesOf(['RONDO', 'CONSISTENCY', level])])
            expect(String(chosen)).to.equal('+OK\r\n')
            const run = async (stream: readonly RandomCommand[]) => {
              const replies = await ours.ask([...PREPARED, ...stream].map(bytesOf))
              return replies.slice(PREPARED.length)
            }
            const both = async () => {
              await holds(oracle, run, commandsOf(ALL), { runs: 15, length: 60 })
              await holds(oracle, run, commandsOf(sorting), { runs: 5, length: 60 })
              await holds(oracle, run, commandsOf(STREAM_COMMANDS, { weights: STREAM_WEIGHTS }), {
                ...{ runs: 6, length: 60 },
                ...(inParts && { first: FILLED }),
              })
            }
            await both().finally(() => [oracle, ours].forEach((one) => one.close()))
          })
        }
      }
    })
  }
})

/** Random streams have the same replies from both. */
async function holds(
  oracle: Oracle,
  run: (stream: readonly RandomCommand[]) => Promise<readonly Buffer[]>,
  commands: fc.Arbitrary<RandomCommand>,
  {
    runs,
    length,
    first = [],
  }: { runs: number; length: number; first?: readonly RandomCommand[] | undefined },
): Promise<void> {
  const streams = fc.array(commands, { minLength: 1, maxLength: length, size: 'max' })
  const property = fc.asyncProperty(streams, async (stream) => {
    const all = [...first, ...stream, ...READ_ALL]
    const theirs = (await oracle.ask([...PREPARED, ...all].map(bytesOf))).slice(PREPARED.length)
    const ours = await run(all)
    all.forEach((command, i) => {
      const shown = command.map((word) => JSON.stringify(word)).join(' ')
      expect(comparable(command, ours[i]!), shown).to.equal(comparable(command, theirs[i]!))
    })
  })
  await fc.assert(property, { numRuns: runs, interruptAfterTimeLimit: 30_000 })
}
