/** The engine beside a real Redis 7.0: the same bytes for the same scripts, one by one and at random. */
import { createHash } from 'node:crypto'
import { expect } from 'chai'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { LuaEngine } from '../../../src/scripts/lua/engine.ts'
import { seeded, seeds } from '../../support/random.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { corpus } from './corpus.ts'
import { randomScript, SHOW } from './random-scripts.ts'
import { encoded, SmallRedis } from './small-redis.ts'

const KEYS = ['key:1', 'key:2']
const ARGS = ['10', 'arg \xff\0 two']
const SCRIPTS_A_BATCH = 200
const RANDOM_SCRIPTS = 1500

describe('Lua engine beside Redis 7.0', function () {
  this.timeout(15_000)
  let server: RedisServer
  let redis: RawResp
  let engine: LuaEngine
  let small: SmallRedis

  before(async function () {
    server = await startRedis({ args: ['--enable-debug-command', 'yes'] })
    redis = await RawResp.open(server.port)
    const info = await redis.ask('INFO', 'server')
    if (!info.includes('redis_version:7.0.')) this.skip() // texts of errors differ between versions
    engine = await LuaEngine.load({
      maxMemoryBytes: 64 * 1024 * 1024,
      redisVersion: /7\.0\.\d+/.exec(info)![0],
    })
  })

  after(async () => {
    redis?.close()
    await server?.stop()
  })

  beforeEach(async () => {
    small = new SmallRedis()
    await redis.ask('FLUSHALL')
    await redis.ask('DEBUG', 'SET-DISABLE-DENY-SCRIPTS', '1')
  })

  function ours(script: string, resp: 2 | 3): string {
    const source = Buffer.from(script, 'latin1')
    const bytes = (texts: string[]) => texts.map((text) => Buffer.from(text, 'latin1'))
    const reply = engine.run({
      source,
      sha: createHash('sha1').update(source).digest('hex'),
      keys: bytes(KEYS),
      args: bytes(ARGS),
      call: (command) => small.call(command),
      mayRun: (command) => (command[0]!.toString() === 'nosuch' ? null : true),
      random: () => 0.5,
    })
    return encoded(reply, resp)
  }

  /** Where the two differ, as text. */
  async function differences(scripts: readonly string[], resp: 2 | 3): Promise<string[]> {
    const found: string[] = []
    for (let from = 0; from < scripts.length; from += SCRIPTS_A_BATCH) {
      const batch = scripts.slice(from, from + SCRIPTS_A_BATCH)
      const theirs = redis.replies(2 * batch.length)
      redis.send(Buffer.concat(batch.flatMap((script) => [evalOf(script), RESET])))
      const replies = await theirs
      batch.forEach((script, i) => {
        const [expected, actual] = [masked(replies[2 * i]!), masked(ours(script, resp))]
        if (expected !== actual)
          found.push(
            `${script.replace(SHOW, '')}\n  Redis: ${around(expected, actual)}\n  ours:  ${around(actual, expected)}`,
          )
      })
    }
    return found
  }

  for (const resp of [2, 3] as const) {
    it(`answers ${corpus.length} scripts alike, RESP${resp}`, async () => {
      await redis.ask('HELLO', String(resp))
      const found = await differences(corpus, resp)
      expect(found, found.join('\n')).to.deep.equal([])
    })
  }

  it('answers random scripts alike', async () => {
    const [seed] = seeds(1)
    const random = seeded(seed!)
    const scripts = Array.from({ length: RANDOM_SCRIPTS }, () => randomScript(random))
    const found = await differences(scripts, 3)
    expect(found.slice(0, 10), `seed ${seed}\n${found.slice(0, 10).join('\n')}`).to.deep.equal([])
  })
})

/** In Redis one script's settings of cjson reach the next; here they do not. */
const RESET =
  evalOf(`cjson.encode_sparse_array(false, 2, 10) cjson.encode_max_depth(1000) cjson.decode_max_depth(1000)
  cjson.encode_number_precision(14) cjson.encode_keep_buffer(true) cjson.encode_invalid_numbers(false)
  cjson.decode_invalid_numbers(true)`)

function evalOf(script: string): Buffer {
  const args = ['EVAL', script, String(KEYS.length), ...KEYS, ...ARGS]
  return Buffer.from(
    `*${args.length}\r\n` + args.map((arg) => `$${arg.length}\r\n${arg}\r\n`).join(''),
    'latin1',
  )
}

/** Addresses differ by nature, and the sign of a NaN by processor and compiler; with it the length. */
function masked(text: string): string {
  const addresses = text.replace(/0x[0-9a-f]{5,}/g, '0x…')
  return /nan/i.test(text) ? addresses.replace(/-nan/gi, 'nan').replace(/\$\d+\r\n/g, '$…\r\n') : addresses
}

/** What lies around the first difference. */
function around(text: string, other: string): string {
  let at = 0
  while (at < text.length && text[at] === other[at]) at++
  return `…${JSON.stringify(text.slice(Math.max(0, at - 60), at + 100))}`
}
