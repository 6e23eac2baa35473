/**
 * What each command fetches from the nodes, while its key holds 1 MB: counted by real servers. A command that needs no
 * value and fetches it fills the nodes' output buffers at the price of a few bytes.
 */
import { expect } from 'chai'
import { STEPS } from '../../../src/commands/specs.ts'
import { ASCII_DUMP } from '../../support/ascii-dump.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'

const VALUE_BYTES = 1_000_000
/** Far above what probes and listings take meanwhile, and far below a value. */
const LITTLE_BYTES = 200_000
const KEY = '{t}k'

type Fetches =
  | 'little'
  /** The answer, or what is stored then, is made of the whole value. */
  | 'value'
  /** The answer needs no more than a head; as a change that goes through a key's line, one at a time, it reads the value. */
  | 'value for a change'

/** Of each command its arguments, perhaps several times, and what they fetch. A new command needs a line. */
const COMMANDS: Readonly<Record<string, readonly (readonly [string, Fetches])[]>> = {
  get: [[KEY, 'value']],
  mget: [[KEY, 'value']],
  getex: [[KEY, 'value']],
  getdel: [[KEY, 'value']],
  getset: [[`${KEY} v`, 'value']],
  lcs: [[`${KEY} {t}other LEN`, 'value']],
  append: [[`${KEY} v`, 'value']],
  setrange: [[`${KEY} 0 v`, 'value']],
  setbit: [[`${KEY} 7 1`, 'value']],
  dump: [[KEY, 'value']],
  restore: [[`${KEY} 0 ${ASCII_DUMP} REPLACE`, 'value for a change']],
  copy: [[`${KEY} {t}other`, 'value']],
  move: [[`${KEY} 1`, 'value']],
  rename: [[`${KEY} {t}other`, 'value']],
  renamenx: [[`${KEY} {t}other`, 'value']],
  expire: [[`${KEY} 100`, 'value']],
  pexpire: [[`${KEY} 100000`, 'value']],
  expireat: [[`${KEY} 9999999999`, 'value']],
  pexpireat: [[`${KEY} 9999999999999`, 'value']],
  persist: [[KEY, 'value for a change']],
  incr: [[KEY, 'value for a change']],
  decr: [[KEY, 'value for a change']],
  incrby: [[`${KEY} 5`, 'value for a change']],
  decrby: [[`${KEY} 5`, 'value for a change']],
  incrbyfloat: [[`${KEY} 5`, 'value for a change']],
  setnx: [[`${KEY} v`, 'value for a change']],
  msetnx: [[`${KEY} v {t}other v`, 'value for a change']],
  del: [[KEY, 'value for a change']],
  unlink: [[KEY, 'value for a change']],
  set: [
    [`${KEY} v`, 'little'],
    [`${KEY} v EX 100`, 'little'],
    [`${KEY} v NX`, 'value for a change'],
    [`${KEY} v GET`, 'value'],
    [`${KEY} v IFEQ v`, 'value'],
  ],
  msetex: [
    [`2 ${KEY} v {t}other v EX 100`, 'little'],
    [`2 ${KEY} v {t}other v KEEPTTL`, 'value for a change'],
    [`2 ${KEY} v {t}other v NX`, 'value for a change'],
  ],
  delex: [
    [KEY, 'value for a change'],
    [`${KEY} IFEQ v`, 'value'],
  ],
  delifeq: [[`${KEY} v`, 'value']],
  digest: [[KEY, 'value']],
  setex: [[`${KEY} 100 v`, 'little']],
  psetex: [[`${KEY} 100000 v`, 'little']],
  mset: [[`${KEY} v {t}other v`, 'little']],
  strlen: [[KEY, 'little']],
  getbit: [[`${KEY} 7999999`, 'little']],
  getrange: [
    [`${KEY} 0 9`, 'little'],
    [`${KEY} -10 -1`, 'little'],
    [`${KEY} 5 4`, 'little'],
    [`${KEY} -1 -5`, 'little'],
    [`${KEY} 0 -1`, 'value'],
  ],
  substr: [[`${KEY} 999990 -1`, 'little']],
  bitcount: [
    [`${KEY} 0 9`, 'little'],
    [`${KEY} -100 -1 BIT`, 'little'],
    [`${KEY} 0 x`, 'little'],
    [KEY, 'value'],
  ],
  bitop: [[`AND {t}result ${KEY} {t}other`, 'value']],
  bitfield: [
    [`${KEY} GET u8 0 GET i32 #2`, 'little'],
    [`${KEY} SET u8 0 1`, 'value'],
  ],
  bitfield_ro: [[`${KEY} GET u8 #999999`, 'little']],
  bitpos: [
    [`${KEY} 1 -10 -1`, 'little'],
    [`${KEY} 0 100 200 BIT`, 'little'],
    [`${KEY} 1`, 'value'],
  ],
  // None of them is a HyperLogLog.
  pfadd: [[`${KEY} x`, 'value for a change']],
  pfcount: [[KEY, 'value']],
  pfmerge: [[`{t}other ${KEY}`, 'value']],
  exists: [[`${KEY} ${KEY} {t}other`, 'little']],
  touch: [[KEY, 'little']],
  type: [[KEY, 'little']],
  ttl: [[KEY, 'little']],
  pttl: [[KEY, 'little']],
  expiretime: [[KEY, 'little']],
  pexpiretime: [[KEY, 'little']],
  // The type of the value is another one, which its head tells; it comes with the value.
  hset: [[`${KEY} f v`, 'value for a change']],
  hmset: [[`${KEY} f v`, 'value for a change']],
  hsetnx: [[`${KEY} f v`, 'value for a change']],
  hdel: [[`${KEY} f`, 'value for a change']],
  hincrby: [[`${KEY} f 1`, 'value for a change']],
  hincrbyfloat: [[`${KEY} f 1`, 'value for a change']],
  hget: [[`${KEY} f`, 'value']],
  hmget: [[`${KEY} f g`, 'value']],
  hgetall: [[KEY, 'value']],
  hexists: [[`${KEY} f`, 'value']],
  hkeys: [[KEY, 'value']],
  hvals: [[KEY, 'value']],
  hstrlen: [[`${KEY} f`, 'value']],
  hrandfield: [[KEY, 'value']],
  hscan: [[`${KEY} 0`, 'value']],
  hlen: [[KEY, 'little']],
  smembers: [[KEY, 'value']],
  sismember: [[`${KEY} f`, 'value']],
  smismember: [[`${KEY} f g`, 'value']],
  srandmember: [[KEY, 'value']],
  sscan: [[`${KEY} 0`, 'value']],
  sinter: [[`${KEY} {t}other`, 'value']],
  sunion: [[`${KEY} {t}other`, 'value']],
  sdiff: [[`${KEY} {t}other`, 'value']],
  lrange: [[`${KEY} 0 -1`, 'value']],
  lindex: [[`${KEY} 0`, 'value']],
  lpos: [[`${KEY} f`, 'value']],
  sadd: [[`${KEY} f`, 'value for a change']],
  srem: [[`${KEY} f`, 'value for a change']],
  spop: [[KEY, 'value for a change']],
  smove: [[`${KEY} {t}other f`, 'value for a change']],
  lpush: [[`${KEY} f`, 'value for a change']],
  rpush: [[`${KEY} f`, 'value for a change']],
  lpushx: [[`${KEY} f`, 'value for a change']],
  rpushx: [[`${KEY} f`, 'value for a change']],
  lpop: [[KEY, 'value for a change']],
  rpop: [[KEY, 'value for a change']],
  lset: [[`${KEY} 0 f`, 'value for a change']],
  linsert: [[`${KEY} BEFORE f g`, 'value for a change']],
  lrem: [[`${KEY} 0 f`, 'value for a change']],
  ltrim: [[`${KEY} 0 -1`, 'value for a change']],
  lmove: [[`${KEY} {t}other LEFT LEFT`, 'value for a change']],
  rpoplpush: [[`${KEY} {t}other`, 'value for a change']],
  sintercard: [[`1 ${KEY}`, 'value']],
  sinterstore: [[`{t}result ${KEY}`, 'value']],
  sunionstore: [[`{t}result ${KEY}`, 'value']],
  sdiffstore: [[`{t}result ${KEY}`, 'value']],
  lmpop: [[`1 ${KEY} LEFT`, 'value for a change']],
  blpop: [[`${KEY} 0.01`, 'value for a change']],
  brpop: [[`${KEY} 0.01`, 'value for a change']],
  blmove: [[`${KEY} {t}other LEFT LEFT 0.01`, 'value for a change']],
  brpoplpush: [[`${KEY} {t}other 0.01`, 'value for a change']],
  blmpop: [[`0.01 1 ${KEY} LEFT`, 'value for a change']],
  bzpopmin: [[`${KEY} 0.01`, 'value for a change']],
  bzpopmax: [[`${KEY} 0.01`, 'value for a change']],
  bzmpop: [[`0.01 1 ${KEY} MIN`, 'value for a change']],
  zscore: [[`${KEY} f`, 'value']],
  zmscore: [[`${KEY} f g`, 'value']],
  zrank: [[`${KEY} f`, 'value']],
  zrevrank: [[`${KEY} f`, 'value']],
  zrandmember: [[KEY, 'value']],
  zscan: [[`${KEY} 0`, 'value']],
  zcount: [[`${KEY} 0 1`, 'value']],
  zlexcount: [[`${KEY} - +`, 'value']],
  zrange: [[`${KEY} 0 -1`, 'value']],
  zrevrange: [[`${KEY} 0 -1`, 'value']],
  zrangebyscore: [[`${KEY} 0 1`, 'value']],
  zrevrangebyscore: [[`${KEY} 1 0`, 'value']],
  zrangebylex: [[`${KEY} - +`, 'value']],
  zrevrangebylex: [[`${KEY} + -`, 'value']],
  zinter: [[`2 ${KEY} {t}other`, 'value']],
  zintercard: [[`1 ${KEY}`, 'value']],
  zunion: [[`2 ${KEY} {t}other`, 'value']],
  zdiff: [[`2 ${KEY} {t}other`, 'value']],
  zadd: [[`${KEY} 1 f`, 'value for a change']],
  zincrby: [[`${KEY} 1 f`, 'value for a change']],
  zrem: [[`${KEY} f`, 'value for a change']],
  zpopmin: [[KEY, 'value for a change']],
  zpopmax: [[KEY, 'value for a change']],
  zmpop: [[`1 ${KEY} MIN`, 'value for a change']],
  zremrangebyrank: [[`${KEY} 0 1`, 'value for a change']],
  zremrangebyscore: [[`${KEY} 0 1`, 'value for a change']],
  zremrangebylex: [[`${KEY} - +`, 'value for a change']],
  zrangestore: [[`{t}result ${KEY} 0 -1`, 'value for a change']],
  zinterstore: [[`{t}result 1 ${KEY}`, 'value']],
  zunionstore: [[`{t}result 1 ${KEY}`, 'value']],
  zdiffstore: [[`{t}result 1 ${KEY}`, 'value']],
  sort: [
    [`${KEY} ALPHA`, 'value'],
    [`${KEY} STORE {t}result`, 'value'],
  ],
  sort_ro: [[`${KEY} LIMIT 0 1`, 'value']],
  geoadd: [[`${KEY} 1 2 m`, 'value for a change']],
  geopos: [[`${KEY} m`, 'value']],
  geodist: [[`${KEY} m n`, 'value']],
  geohash: [[`${KEY} m`, 'value']],
  geosearch: [[`${KEY} FROMLONLAT 1 2 BYRADIUS 3 km`, 'value']],
  geosearchstore: [[`{t}result ${KEY} FROMLONLAT 1 2 BYRADIUS 3 km`, 'value for a change']],
  georadius: [
    [`${KEY} 1 2 3 km`, 'value'],
    [`${KEY} 1 2 3 km STORE {t}result`, 'value for a change'],
  ],
  georadius_ro: [[`${KEY} 1 2 3 km`, 'value']],
  georadiusbymember: [[`${KEY} m 3 km`, 'value']],
  georadiusbymember_ro: [[`${KEY} m 3 km`, 'value']],
  xadd: [[`${KEY} 1-1 f v`, 'value for a change']],
  xrange: [[`${KEY} - +`, 'value']],
  xrevrange: [[`${KEY} + -`, 'value']],
  xread: [[`STREAMS ${KEY} 0`, 'value']],
  xtrim: [[`${KEY} MAXLEN 1`, 'value for a change']],
  xdel: [[`${KEY} 1-1`, 'value for a change']],
  xsetid: [[`${KEY} 1-1`, 'value for a change']],
  xgroup: [[`CREATE ${KEY} g 0`, 'value for a change']],
  xreadgroup: [[`GROUP g c STREAMS ${KEY} >`, 'value for a change']],
  xack: [[`${KEY} g 1-1`, 'value for a change']],
  xpending: [[`${KEY} g`, 'value']],
  xclaim: [[`${KEY} g c 0 1-1`, 'value for a change']],
  xautoclaim: [[`${KEY} g c 0 0`, 'value for a change']],
  xinfo: [[`STREAM ${KEY}`, 'value']],
  xlen: [[KEY, 'little']],
  zcard: [[KEY, 'little']],
  scard: [[KEY, 'little']],
  llen: [[KEY, 'little']],
}

/** Not in the table of steps. */
const OTHERS: readonly string[] = [`WATCH ${KEY}`, `RONDO EXPLAIN ${KEY}`, 'SCAN 0 COUNT 100']

describe('what a command fetches from the nodes', () => {
  let servers: RedisServer[]
  let under: RondoUnderTest
  let client: RawResp

  before(async function () {
    this.timeout(30_000)
    servers = await Promise.all([startRedis(), startRedis(), startRedis()])
    under = await RondoUnderTest.start(servers, { RESP_REQUIRE_AUTH: 'false' })
    client = await RawResp.open(under.respPort)
  })
  after(async () => {
    client.close()
    await under.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })
  const stored = async () => {
    expect(await client.ask('SET', KEY, Buffer.alloc(VALUE_BYTES, 'v'))).to.equal('+OK\r\n')
    await client.ask('SET', '{t}other', 'v')
  }
  const outputBytes = async () => {
    const told = await Promise.all(servers.map((server) => under.client(server).info('stats')))
    return told.reduce((sum, text) => sum + Number(/total_net_output_bytes:(\d+)/.exec(text)![1]), 0)
  }
  const fetchedBy = async (line: string) => {
    const before = await outputBytes()
    const reply = await client.ask(...line.split(' '))
    expect(reply, line).not.to.match(
      /^-(?!WRONGTYPE |ERR value is not|ERR syntax|ERR Insufficient|ERR value is not a valid float)/,
    )
    return (await outputBytes()) - before
  }

  it('is known of every command on keys', () => {
    expect(Object.keys(COMMANDS).sort()).to.deep.equal(Object.keys(STEPS).sort())
  })

  for (const [name, lines] of Object.entries(COMMANDS)) {
    for (const [args, fetches] of lines) {
      it(`${name} ${args}: ${fetches}`, async () => {
        await stored()
        const bytes = await fetchedBy(`${name} ${args}`)
        if (fetches === 'little') expect(bytes).to.be.below(LITTLE_BYTES)
        else expect(bytes).to.be.within(VALUE_BYTES, 2 * VALUE_BYTES + LITTLE_BYTES)
      }).timeout(10_000)
    }
  }

  for (const line of OTHERS) {
    it(`${line}: little`, async () => {
      await stored()
      expect(await fetchedBy(line)).to.be.below(LITTLE_BYTES)
      await client.ask('UNWATCH')
    }).timeout(10_000)
  }

  it('is little when the reply is thrown away, for every command that reads', async () => {
    await stored()
    const mute = await RawResp.open(under.respPort)
    mute.send('CLIENT REPLY OFF\r\n')
    const reads = Object.entries(COMMANDS).filter(([name]) => STEPS[name]!.flags.includes('readonly'))
    const before = await outputBytes()
    for (const [name, lines] of reads) for (const [args] of lines) mute.send(`${name} ${args}\r\n`)
    mute.send('KEYS *\r\nSCAN 0 COUNT 1000\r\nCLIENT REPLY ON\r\n')
    expect(await mute.reply()).to.equal('+OK\r\n')
    expect((await outputBytes()) - before).to.be.below(LITTLE_BYTES)
    expect(await mute.ask('STRLEN', KEY)).to.equal(`:${VALUE_BYTES}\r\n`)
    mute.send(`CLIENT REPLY SKIP\r\nGET ${KEY}\r\n`)
    expect(await mute.ask('STRLEN', KEY)).to.equal(`:${VALUE_BYTES}\r\n`)
    expect((await outputBytes()) - before).to.be.below(LITTLE_BYTES)
    mute.close()
  }).timeout(10_000)

  it('is as little where a quorum is asked', async () => {
    await client.ask('RONDO', 'CONSISTENCY', 'READ', 'QUORUM')
    await client.ask('RONDO', 'CONSISTENCY', 'WRITE', 'QUORUM')
    await stored()
    for (const [name, lines] of Object.entries(COMMANDS)) {
      const only = lines.every(([, fetches]) => fetches === 'little')
      if (!only || STEPS[name]!.flags[0] !== 'readonly') continue
      for (const [args] of lines) {
        expect(await fetchedBy(`${name} ${args}`), `${name} ${args}`).to.be.below(LITTLE_BYTES)
      }
    }
    expect(await fetchedBy(`WATCH ${KEY}`)).to.be.below(LITTLE_BYTES)
  }).timeout(20_000)
})
