// A key longer than MAX_KEY_BYTES cannot exist. Commands that read, delete or change the expiry time find nothing under it, and their other keys as
// ever; commands that store refuse it. By the table of commands, so that a new one cannot be forgotten.
import { expect } from 'chai'
import { KEY_COMMANDS } from '../../../src/commands/table.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'

const LONG = '{t}'.padEnd(1025, 'k')
const ABSENT = '{t}absent'
const OTHER = '{t}other'

/** What follows the name, with this key; for commands that need more than their key. */
const ARGUMENTS: Readonly<Record<string, (key: string) => string[]>> = {
  getrange: (key) => [key, '0', '-1'],
  substr: (key) => [key, '0', '-1'],
  lcs: (key) => [OTHER, key],
  getbit: (key) => [key, '3'],
  bitpos: (key) => [key, '0'],
  bitfield_ro: (key) => [key, 'GET', 'u8', '0'],
  mget: (key) => [OTHER, key, OTHER, key],
  exists: (key) => [key, OTHER, key],
  touch: (key) => [OTHER, key],
  pfcount: (key) => [key, '{t}hll', key],
  del: (key) => [key, '{t}deleted', key],
  unlink: (key) => [key, '{t}deleted'],
  // Those that store, with a value each.
  set: (key) => [key, 'v'],
  setex: (key) => [key, '10', 'v'],
  psetex: (key) => [key, '10000', 'v'],
  setnx: (key) => [key, 'v'],
  getset: (key) => [key, 'v'],
  getex: (key) => [key, 'EX', '10'],
  mset: (key) => [OTHER, 'changed', key, 'v'],
  msetnx: (key) => ['{t}fresh', 'v', key, 'v'],
  msetex: (key) => ['2', OTHER, 'changed', key, 'v'],
  delifeq: (key) => [key, 'v'],
  append: (key) => [key, 'v'],
  setrange: (key) => [key, '0', 'v'],
  incrby: (key) => [key, '1'],
  decrby: (key) => [key, '1'],
  incrbyfloat: (key) => [key, '1'],
  setbit: (key) => [key, '0', '1'],
  bitop: (key) => ['OR', '{t}fresh', OTHER, key],
  bitfield: (key) => [key, 'SET', 'u8', '0', '1'],
  pfadd: (key) => [key, 'v'],
  pfmerge: (key) => ['{t}hll', key],
  rename: (key) => [OTHER, key],
  renamenx: (key) => [OTHER, key],
  copy: (key) => [OTHER, key],
  move: (key) => [key, '1'],
  restore: (key) => [key, '0', 'x'],
  expire: (key) => [key, '10'],
  pexpire: (key) => [key, '10000'],
  expireat: (key) => [key, '9999999999'],
  pexpireat: (key) => [key, '9999999999000'],
  ...collectionArguments(),
}
function collectionArguments(): Record<string, (key: string) => string[]> {
  const after = (...rest: string[]) => {
    return (key: string) => [key, ...rest]
  }
  return {
    hset: after('f', 'v'),
    hsetnx: after('f', 'v'),
    hmset: after('f', 'v'),
    hget: after('f'),
    hmget: after('f', 'g'),
    hdel: after('f'),
    hexists: after('f'),
    hstrlen: after('f'),
    hincrby: after('f', '1'),
    hincrbyfloat: after('f', '1'),
    hscan: after('0'),
    sadd: after('m'),
    srem: after('m'),
    sismember: after('m'),
    smismember: after('m', 'n'),
    smove: (key) => [key, '{t}fresh', 'm'],
    sinterstore: (key) => ['{t}fresh', key],
    sunionstore: (key) => ['{t}fresh', key],
    sdiffstore: (key) => ['{t}fresh', key],
    sintercard: (key) => ['2', key, '{t}fresh'],
    sscan: after('0'),
    lpush: after('v'),
    rpush: after('v'),
    lpushx: after('v'),
    rpushx: after('v'),
    lrange: after('0', '-1'),
    lindex: after('0'),
    lset: after('0', 'v'),
    linsert: after('BEFORE', 'v', 'w'),
    lrem: after('0', 'v'),
    ltrim: after('0', '1'),
    lpos: after('v'),
    lmove: (key) => [key, '{t}fresh', 'LEFT', 'RIGHT'],
    rpoplpush: (key) => [key, '{t}fresh'],
    lmpop: (key) => ['2', key, '{t}fresh', 'LEFT'],
    blpop: after('0.001'),
    brpop: after('0.001'),
    blmove: (key) => [key, '{t}fresh', 'LEFT', 'RIGHT', '0.001'],
    brpoplpush: (key) => [key, '{t}fresh', '0.001'],
    blmpop: (key) => ['0.001', '2', key, '{t}fresh', 'LEFT'],
    bzpopmin: after('0.001'),
    bzpopmax: after('0.001'),
    bzmpop: (key) => ['0.001', '2', key, '{t}fresh', 'MIN'],
    zadd: after('1', 'm'),
    zincrby: after('1', 'm'),
    zrem: after('m'),
    zscore: after('m'),
    zmscore: after('m', 'n'),
    zcount: after('-inf', '+inf'),
    zlexcount: after('-', '+'),
    zrank: after('m'),
    zrevrank: after('m'),
    zrange: after('0', '-1'),
    zrevrange: after('0', '-1'),
    zrangebyscore: after('-inf', '+inf'),
    zrevrangebyscore: after('+inf', '-inf'),
    zrangebylex: after('-', '+'),
    zrevrangebylex: after('+', '-'),
    zrangestore: (key) => ['{t}fresh', key, '0', '-1'],
    zmpop: (key) => ['2', key, '{t}fresh', 'MIN'],
    zremrangebyrank: after('0', '-1'),
    zremrangebyscore: after('-inf', '+inf'),
    zremrangebylex: after('-', '+'),
    zunion: (key) => ['2', key, '{t}fresh'],
    zinter: (key) => ['2', key, '{t}fresh'],
    zdiff: (key) => ['2', key, '{t}fresh'],
    zintercard: (key) => ['2', key, '{t}fresh'],
    zunionstore: (key) => ['{t}fresh', '2', key, '{t}other set'],
    zinterstore: (key) => ['{t}fresh', '2', key, '{t}other set'],
    zdiffstore: (key) => ['{t}fresh', '2', key, '{t}other set'],
    zscan: after('0'),
    sort: (key) => ['{t}fresh', 'ALPHA', 'STORE', key],
    sort_ro: after('ALPHA'),
    xadd: after('1-1', 'f', 'v'),
    xrange: after('-', '+'),
    xrevrange: after('+', '-'),
    xread: (key) => ['STREAMS', key, '0'],
    xtrim: after('MAXLEN', '1'),
    xdel: after('1-1'),
    xsetid: after('1-1'),
    xgroup: (key) => ['CREATE', key, 'g', '0', 'MKSTREAM'],
    xreadgroup: (key) => ['GROUP', 'g', 'c', 'STREAMS', key, '>'],
    xack: after('g', '1-1'),
    xpending: after('g'),
    xclaim: after('g', 'c', '0', '1-1'),
    xautoclaim: after('g', 'c', '0', '0'),
    xinfo: (key) => ['STREAM', key],
    geoadd: after('1', '2', 'm'),
    geopos: after('m'),
    geodist: after('m', 'n'),
    geohash: after('m'),
    geosearch: after('FROMLONLAT', '1', '2', 'BYRADIUS', '3', 'km'),
    geosearchstore: (key) => ['{t}fresh', key, 'FROMLONLAT', '1', '2', 'BYRADIUS', '3', 'km'],
    georadius: (key) => ['{t}fresh', '1', '2', '3', 'km', 'STORE', key],
    georadius_ro: after('1', '2', '3', 'km'),
    georadiusbymember: (key) => [key, 'm', '3', 'km', 'STORE', '{t}fresh'],
    georadiusbymember_ro: after('m', '3', 'km'),
  }
}
/** They delete, or change the expiry time, and store nothing under a key that does not exist. */
const ONLY_EXISTING = 'del delex delifeq expire expireat getdel getex persist pexpire pexpireat unlink'.split(
  ' ',
)
const argumentsOf = (name: string, key: string) => [name, ...(ARGUMENTS[name]?.(key) ?? [key])]
const reading = KEY_COMMANDS.filter(
  ({ name, flags }) => flags.includes('readonly') || ONLY_EXISTING.includes(name),
)
const storing = KEY_COMMANDS.filter((command) => !reading.includes(command))

/** An error that tells the key's name. */
const withoutName = (reply: string) => reply.replace(/(?<=No such key ')[^']*/, '')

describe('a key that is too long to exist', () => {
  let running: RunningRondo
  let client: RawResp
  before(async () => (running = await startRondo()))
  after(() => running.stop())
  beforeEach(async () => {
    client = await RawResp.open(running.rondo.respServer.port)
    await client.ask('MSET', OTHER, 'there', '{t}deleted', 'v')
    await client.ask('PFADD', '{t}hll', 'a', 'b')
  })
  afterEach(() => client.close())

  const reads = [
    ...reading.map(({ name }) => ({ title: name, args: (key: string) => argumentsOf(name, key) })),
    { title: 'object encoding', args: (key: string) => ['OBJECT', 'ENCODING', key] },
    { title: 'memory usage', args: (key: string) => ['MEMORY', 'USAGE', key] },
    { title: 'getex without a time', args: (key: string) => ['GETEX', key] },
    {
      title: 'mget of very many',
      args: (key: string) => ['MGET', ...Array.from({ length: 1500 }, (_, i) => (i % 2 === 0 ? key : OTHER))],
    },
    {
      title: 'del of very many',
      args: (key: string) => ['DEL', '{t}deleted', ...Array.from({ length: 1500 }, () => key)],
    },
  ]
  for (const { title, args } of reads) {
    it(`is absent to ${title}, and other keys are found`, async () => {
      const expected = await client.ask(...args(ABSENT))
      await client.ask('SET', '{t}deleted', 'v')
      expect(expected).to.not.match(/^-(?!ERR no such key|NOGROUP )/)
      expect(withoutName(await client.ask(...args(LONG)))).to.equal(withoutName(expected))
    })

    it(`is absent to ${title} in a transaction and in another database`, async () => {
      const inMulti = async (key: string) => {
        await client.ask('SELECT', '3')
        await client.ask('MSET', OTHER, 'there', '{t}deleted', 'v')
        await client.ask('MULTI')
        await client.ask(...args(key))
        return client.ask('EXEC')
      }
      const expected = await inMulti(ABSENT)
      expect(withoutName(await inMulti(LONG))).to.equal(withoutName(expected))
    })
  }

  for (const { name } of storing) {
    it(`is refused by ${name}, with the name of the setting, and nothing is stored`, async () => {
      expect(await client.ask(...argumentsOf(name, LONG))).to.equal(
        '-ERR The key has 1025 bytes; at most 1024 are allowed (MAX_KEY_BYTES).\r\n',
      )
      expect(await client.ask('GET', OTHER)).to.equal('$5\r\nthere\r\n')
      expect(await client.ask('EXISTS', '{t}fresh')).to.equal(':0\r\n')
    })
  }

  it('a reserved key is refused by all of them, with its reason', async () => {
    for (const { name } of KEY_COMMANDS)
      expect(await client.ask(...argumentsOf(name, '__rondo:x')), name).to.match(
        /^-(ERR Keys that begin with "__rondo:" are kept for Rondo itself\.)\r\n$/,
      )
  })

  it('is absent to mget and mdelete over HTTP, and refused by mset and on its path', async () => {
    const post = async (call: string, body: unknown) => {
      const response = await fetch(`http://127.0.0.1:${running.ports.socket}/api/v1/${call}`, {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'Content-Type': 'application/json' },
      })
      return [response.status, await response.json()] as [number, Record<string, unknown>]
    }
    const [status, { results }] = await post('mget', { keys: [LONG, OTHER] })
    expect(status).to.equal(200)
    const [missing, found] = results as Record<string, unknown>[]
    expect(missing).to.deep.equal({ key: LONG, code: 'KEY_NOT_FOUND', error: 'key not found' })
    expect(found).to.include({ key: OTHER, value: 'there' })
    expect(await post('mdelete', { keys: [LONG, '{t}deleted'] })).to.deep.equal([
      200,
      { results: [LONG, '{t}deleted'].map((key) => ({ key, message: 'ok' })) },
    ])
    const [refused, problem] = await post('mset?db=3', { items: [{ key: LONG, value: 'v' }] })
    expect([refused, problem.code]).to.deep.equal([414, 'KEY_TOO_LONG'])
    expect(problem.error).to.equal('The key has 1025 bytes; at most 1024 are allowed (MAX_KEY_BYTES).')
    const path = `http://127.0.0.1:${running.ports.socket}/api/v1/keys/${LONG}`
    expect((await fetch(path)).status).to.equal(414)
  })
})
