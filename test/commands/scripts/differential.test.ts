/**
 * Scripts answer what a real Redis answers, and leave behind what it does: random commands in a script on all types, at `one`
 * and at `quorum`, on memory nodes and on Redis servers, in both protocols; and scripts about scripts. A failure prints its
 * seed and the shortest stream.
 */
import { expect } from 'chai'
import fc from 'fast-check'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { Oracle } from '../../servers/resp/steps-oracle.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'
import { bytesOf, comparable, itemsIn } from '../collections/compare.ts'
import {
  commandsOf,
  GEO_COMMANDS,
  HASH_COMMANDS,
  KEYS,
  LIST_COMMANDS,
  NAMED_COMMANDS,
  NAMED_KEYS,
  READ_ALL,
  OTHERS,
  SET_COMMANDS,
  SORT_COMMANDS,
  SORTED_SET_COMMANDS,
  type RandomCommand,
} from '../collections/stream.ts'

/** Runs each of its arguments as a command: how many words, the words. */
const SCRIPT = `
  local replies, at = {}, 2
  redis.setresp(tonumber(ARGV[1]))
  while at <= #ARGV do
    local words = tonumber(ARGV[at])
    replies[#replies + 1] = redis.pcall(unpack(ARGV, at + 1, at + words)) or false
    at = at + words + 1
  end
  return replies`
const ALL = {
  ...OTHERS,
  ...HASH_COMMANDS,
  ...SET_COMMANDS,
  ...LIST_COMMANDS,
  ...SORTED_SET_COMMANDS,
  ...GEO_COMMANDS,
}
const SORTING = { ...SORT_COMMANDS, ...NAMED_COMMANDS }
const CLEAN: RandomCommand = ['DEL', ...KEYS, '{t}no', ...NAMED_KEYS]

/** @param declared some keys; the others have their hash tag */
function evalOf(stream: readonly RandomCommand[], resp: 2 | 3, declared: readonly string[]): RandomCommand {
  const words = stream.flatMap((command) => [String(command.length), ...command])
  return ['EVAL', SCRIPT, String(declared.length), ...declared, String(resp), ...words]
}

const call = (text: string, ...rest: string[]): RandomCommand => [
  'EVAL',
  text,
  ...(rest.length > 0 ? rest : ['0']),
]
/** Scripts about scripts: each with the same reply in both. */
const LINES: readonly RandomCommand[] = [
  CLEAN,
  call('return redis.call("nosuch")'),
  call('return redis.pcall("nosuch").err'),
  call('return redis.call("get")'),
  call('return redis.call("eval", "return 1", 0)'),
  call('return redis.call("multi")'),
  call('return redis.pcall("subscribe", "x")'),
  call('return redis.call()'),
  call('return redis.call("get", {})'),
  call('return redis.call("lpush", KEYS[1], "a"), redis.call("incr", KEYS[1])', '1', '{t}a'),
  call('redis.call("rpush", KEYS[1], "b") return redis.call("incr", KEYS[1])', '1', '{t}a'),
  ['LRANGE', '{t}a', '0', '-1'],
  call('redis.call("set", KEYS[1], "x") error("stop")', '1', '{t}b'),
  ['GET', '{t}b'],
  call('redis.call("set", KEYS[1], "y") return redis.error_reply("MINE what it is")', '1', '{t}b'),
  ['GET', '{t}b'],
  call('return {1, 2.9, "x", false, true, {err = "MY err"}, redis.status_reply("FINE"), nil, 7}'),
  call('return {ok = "yes"}'),
  call('redis.setresp(3) return {true, false, {double = 3.5}, {map = {a = 1}}, {set = {x = true}}}'),
  call('return redis.sha1hex("x")'),
  call('return {KEYS[1], KEYS[2], ARGV[1], #KEYS, #ARGV}', '2', '{t}a', '{t}c', 'arg'),
  call('return redis.call("ping")'),
  call('return redis.call("echo", "hi")'),
  call('local t = redis.call("time") return {#t, #t[1]}'),
  call(
    'redis.call("select", 1) redis.call("set", KEYS[1], "db1") redis.call("select", 0) return 1',
    '1',
    '{t}c',
  ),
  ['GET', '{t}c'],
  ['SELECT', '1'],
  ['GETDEL', '{t}c'],
  ['SELECT', '0'],
  call(
    'return {redis.call("blpop", KEYS[1], KEYS[2], 0), redis.pcall("blpop", KEYS[1], -1)}',
    '2',
    '{t}no',
    '{t}a',
  ),
  call('return redis.call("brpop", KEYS[1], 0)', '1', '{t}no'),
  call(
    'redis.call("rpush", KEYS[1], 1, 2) return redis.call("blmove", KEYS[1], KEYS[2], "LEFT", "RIGHT", 0)',
    '2',
    '{t}no',
    '{t}a',
  ),
  call('return redis.call("brpoplpush", KEYS[1], KEYS[1], "x")', '1', '{t}a'),
  call('return redis.call("blmpop", 0, 1, KEYS[1], "LEFT")', '1', '{t}no'),
  call(
    'redis.call("zadd", KEYS[1], 1, "a", 2.5, "b") return redis.call("bzpopmax", KEYS[1], 1)',
    '1',
    '{t}z',
  ),
  call('redis.setresp(3) return redis.call("bzpopmin", KEYS[1], 1)', '1', '{t}z'),
  call('return redis.call("bzmpop", 1, 1, KEYS[1], "MIN")', '1', '{t}z'),
  ['EVAL_RO', 'return redis.call("blpop", KEYS[1], 0)', '1', '{t}a'],
  call('return syntax error'),
  ['EVAL', 'return 1', '2', 'a'],
  ['EVAL', 'return 1', '-1'],
  ['EVAL', 'return 1', 'x'],
  ['EVALSHA', 'ffffffffffffffffffffffffffffffffffffffff', '0'],
  ['EVALSHA', 'x', '0'],
  ['SCRIPT', 'LOAD', 'return ARGV[1]'],
  ['EVALSHA', '098e0f0d1448c0a81dafe820f66d460eb09263da', '0', 'there'],
  ['EVALSHA_RO', '098E0F0D1448C0A81DAFE820F66D460EB09263DA', '0', 'there'],
  [
    'SCRIPT',
    'EXISTS',
    '098e0f0d1448c0a81dafe820f66d460eb09263da',
    'ffffffffffffffffffffffffffffffffffffffff',
    'x',
  ],
  ['SCRIPT', 'LOAD', 'return return'],
  ['SCRIPT', 'KILL'],
  ['SCRIPT', 'FLUSH', 'NOW'],
  ['SCRIPT', 'FLUSH', 'SYNC'],
  ['EVALSHA', '098e0f0d1448c0a81dafe820f66d460eb09263da', '0', 'there'],
  ['EVAL_RO', 'return redis.call("set", KEYS[1], 1)', '1', '{t}a'],
  ['EVAL_RO', 'return redis.call("publish", "a", "b")', '0'],
  ['EVAL_RO', 'return redis.call("llen", KEYS[1])', '1', '{t}a'],
  ['EVAL', '#!lua flags=no-writes\nreturn redis.call("del", KEYS[1])', '1', '{t}a'],
  ['EVAL', '#!lua flags=no-such\nreturn 1', '0'],
  ['EVAL', '#!js\nreturn 1', '0'],
  ['EVAL', '#!lua some=thing\nreturn 1', '0'],
  ['EVAL', '#!lua', '0'],
  ['EVAL_RO', '#!lua\nreturn 1', '0'],
  ['FUNCTION', 'FLUSH'],
  ['FCALL', 'none', '0'],
  ['FUNCTION', 'LOAD', 'x'],
  ['FUNCTION', 'LOAD', '#!lua\nx'],
  ['FUNCTION', 'LOAD', '#!js name=a\nx'],
  ['FUNCTION', 'LOAD', '#!lua name=a b=c\nx'],
  ['FUNCTION', 'LOAD', '#!lua name=a\nx'],
  ['FUNCTION', 'LOAD', '#!lua name=a\nlocal x = 1'],
  ['FUNCTION', 'LOAD', '#!lua name=a-b\nlocal x = 1'],
  [
    'FUNCTION',
    'LOAD',
    '#!lua name=lib\nredis.register_function("push", function(k, a) return redis.call("rpush", k[1], a[1]) end)',
  ],
  ['FUNCTION', 'LOAD', '#!lua name=lib\nredis.register_function("push", function(k, a) return 1 end)'],
  ['FUNCTION', 'LOAD', '#!lua name=other\nredis.register_function("push", function(k, a) return 1 end)'],
  ['FCALL', 'push', '1', '{t}a', 'z'],
  ['FCALL_RO', 'push', '1', '{t}a', 'z'],
  [
    'FUNCTION',
    'LOAD',
    'REPLACE',
    '#!lua name=lib\nredis.register_function{function_name="len", callback=function(k) return redis.call("llen", k[1]) end, flags={"no-writes"}, description="its length"}',
  ],
  ['FCALL', 'push', '1', '{t}a', 'z'],
  ['FCALL_RO', 'len', '1', '{t}a'],
  ['FUNCTION', 'LIST', 'WITHCODE'],
  ['FUNCTION', 'LIST', 'LIBRARYNAME', 'x*'],
  ['FUNCTION', 'LIST', 'LIBRARYNAME'],
  ['FUNCTION', 'LIST', 'nonsense'],
  ['FUNCTION', 'STATS'],
  ['FUNCTION', 'KILL'],
  ['FUNCTION', 'RESTORE', 'abc'],
  ['FUNCTION', 'DELETE', 'nosuch'],
  ['FUNCTION', 'DELETE', 'lib'],
  ['FUNCTION', 'LIST'],
  ['FUNCTION', 'FLUSH', 'NOW'],
  ['FUNCTION', 'NOSUCH'],
  ['SCRIPT', 'NOSUCH'],
  ['MULTI'],
  ['SET', '{t}b', '1'],
  ['EVAL', 'return redis.call("incrby", KEYS[1], ARGV[1])', '1', '{t}b', '41'],
  ['EVAL', 'return redis.call("nosuch")', '0'],
  ['GET', '{t}b'],
  ['EXEC'],
  ['COMMAND', 'GETKEYS', 'EVAL', 'return 1', '2', 'a', 'b', 'c'],
]

/** Every level with every protocol, on one kind of nodes. */
const PAIRS = {
  'memory nodes': [
    ['one', 2],
    ['quorum', 3],
  ],
  'Redis servers': [
    ['one', 3],
    ['quorum', 2],
  ],
} as const

describe('scripts and a real Redis', function () {
  this.timeout(120_000)
  let redis: RedisServer
  before(async () => (redis = await startRedis()))
  after(() => redis.stop())

  for (const nodes of ['memory nodes', 'Redis servers'] as const) {
    describe(`through a coordinator on ${nodes}`, () => {
      let servers: RedisServer[] = []
      let running: RunningRondo
      before(async () => {
        if (nodes === 'Redis servers') servers = await Promise.all([1, 2, 3].map(() => startRedis()))
        running = await startRondo({
          ...(servers.length > 0 && { REDIS_URLS: servers.map(({ port }) => `127.0.0.1:${port}`).join(',') }),
          NODE_TIMEOUT_MS: '5000',
          REQUEST_TIMEOUT_MS: '20000',
          SCRIPT_TIME_LIMIT_MS: '20000',
        })
      })
      after(async () => {
        await running.stop()
        await Promise.all(servers.map((server) => server.stop()))
      })

      for (const [level, protocol] of PAIRS[nodes]) {
        const both = async (run: (theirs: Oracle, ours: Oracle) => Promise<void>) => {
          const theirs = await Oracle.open(redis.port, protocol)
          const ours = await Oracle.open(running.rondo.respServer.port, protocol)
          const chosen = await ours.ask([bytesOf(['RONDO', 'CONSISTENCY', level])])
          expect(chosen.toString()).to.equal('+OK\r\n')
          await run(theirs, ours).finally(() => [theirs, ours].forEach((one) => one.close()))
        }

        it(`the same commands have the same replies at ${level}, in RESP${protocol}`, () =>
          both(async (theirs, ours) => {
            await holds(theirs, ours, commandsOf(ALL), 8)
            await holds(theirs, ours, commandsOf(SORTING), 3)
          }))

        it(`and what is about scripts is the same at ${level}, in RESP${protocol}`, () =>
          both(async (theirs, ours) => {
            const lines = LINES.map(bytesOf)
            const [wanted, got] = await Promise.all([theirs.ask(lines), ours.ask(lines)])
            const shown = (replies: readonly Buffer[]) =>
              replies.map((reply, i) => `${LINES[i]!.join(' ')} → ${reply.toString()}`)
            // Only what differs: all of it would be a long list.
            const [here, there] = [shown(got), shown(wanted)]
            const differs = (_: string, i: number) => here[i] !== there[i]
            expect(here.filter(differs)).to.deep.equal(there.filter(differs))
          }))
      }
    })
  }
})

/** Random streams have the same replies as scripts, and leave the same behind. */
async function holds(
  theirs: Oracle,
  ours: Oracle,
  commands: fc.Arbitrary<RandomCommand>,
  runs: number,
): Promise<void> {
  const streams = fc.array(commands, { minLength: 1, maxLength: 40, size: 'max' })
  const declared = fc.constantFrom([], ['{t}a'], KEYS)
  const property = fc.asyncProperty(streams, declared, fc.constantFrom(2, 3), async (stream, keys, resp) => {
    const lines = [CLEAN, evalOf(stream, resp, keys), ...READ_ALL].map(bytesOf)
    const [wanted, got] = await Promise.all([theirs.ask(lines), ours.ask(lines)])
    const [inTheirs, inOurs] = [itemsIn(wanted[1]!), itemsIn(got[1]!)]
    expect(inOurs.length, got[1]!.toString()).to.equal(stream.length)
    const shown = (command: RandomCommand) => command.map((word) => JSON.stringify(word)).join(' ')
    stream.forEach((command, i) => {
      expect(comparable(command, inOurs[i]!), shown(command)).to.equal(comparable(command, inTheirs[i]!))
    })
    READ_ALL.forEach((command, i) => {
      expect(comparable(command, got[i + 2]!), shown(command)).to.equal(comparable(command, wanted[i + 2]!))
    })
  })
  await fc.assert(property, { numRuns: runs, interruptAfterTimeLimit: 30_000 })
}
