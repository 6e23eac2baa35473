// Whatever a client sends, the others have their turn. Each command and subcommand of the table, with the arguments that
// cost most, alone, in a pipeline, and inside MULTI: no turn of the event loop may take long. A turn is measured in the
// CPU time of this process, which depends little on what else the machine does, and relative to a fixed computation, because
// machines differ. (The client is in this process, too.)
import { expect } from 'chai'
import { Crc64 } from '../../../src/commands/dump/crc64.ts'
import { writeStream } from '../../../src/commands/dump/streams.ts'
import { entryOf } from '../../../src/commands/streams/entry-run.ts'
import { Group } from '../../../src/commands/streams/groups.ts'
import { Pending } from '../../../src/commands/streams/pending.ts'
import { LEAST_ID, streamId } from '../../../src/commands/streams/ids.ts'
import { NewStream } from '../../../src/commands/streams/stored.ts'
import { inOneGo } from '../../../src/core/work.ts'
import { COMMANDS } from '../../../src/servers/resp/table.ts'
import {
  longestTurn as longestTurnAt,
  MAX_TURN_MS,
  send as sendTo,
  slowness,
} from '../../support/longest-turn.ts'
import { command } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const MANY = 3000
const PIPELINE_BYTES = 256 * 1024
const MOST_IN_PIPELINE = 40
/** As many as take so long all together: without pauses between them that is far too long for a turn. */
const PIPELINE_MS = 2 * MAX_TURN_MS
const TRANSACTION_MS = 4 * MAX_TURN_MS

type Args = (string | Buffer)[]
const key = '{t}large'
const [a, b] = ['{t}a', '{t}b']
/** As large as they may be. */
const [hash, set, list, zset, geo, numbers, stream, group] = [
  '{t}hash',
  '{t}set',
  '{t}list',
  '{t}zset',
  '{t}geo',
  '{t}numbers',
  '{t}stream',
  'group',
]
const many = (each: (i: number) => string = (i) => `{t}${i}`, length = MANY) =>
  Array.from({ length }, (_, i) => each(i))
const long = Buffer.alloc(256 * 1024, 'x')
/** Sparse, each register a run of its own. */
const LONGEST_HYPERLOGLOG = Buffer.concat([
  Buffer.from('HYLL\x01'),
  Buffer.alloc(11),
  Buffer.from(Array.from({ length: 16_384 }, (_, i) => 0x80 | ((i % 3) << 2))),
])
/** With version and checksum. */
function payload(value: Buffer): Buffer {
  const bytes = Buffer.concat([value, Buffer.from([9, 0])])
  return Buffer.concat([bytes, new Crc64().add(bytes).bytes()])
}
/** Copies of 264 bytes, as many as make seven megabytes. */
const LONGEST_LZF = Buffer.concat([
  Buffer.from([0, 0xc3, 0x80, 0x0, 0x1, 0x38, 0x83, 0x80, 0x0, 0x6b, 0x6c, 0x59]),
  Buffer.from([0, 0x78]),
  Buffer.concat(Array.from({ length: 26_667 }, () => Buffer.from([0xe0, 0xff, 0]))),
])
/** In the reverse order. */
const DEEPEST_ZSET = Buffer.concat([
  Buffer.from([5, 0x80, 0, 0, 0x40, 0]),
  ...Array.from({ length: 16_384 }, (_, i) => {
    const score = Buffer.alloc(8)
    score.writeDoubleLE(-i)
    return Buffer.concat([Buffer.from([5]), Buffer.from(String(i).padStart(5, '0')), score])
  }),
])
const options = (word: string) => Array.from({ length: 1000 }, () => word)
const pattern = `*[${'B'.repeat(500)}]*${'a?'.repeat(200)}b`

/** By command, or command and subcommand; the name is put before. */
const WORST: Readonly<Record<string, Args[]>> = {
  get: [[key]],
  set: [
    [key, long],
    [key, 'v', ...options('NX')],
    [key, 'v', long],
    [key, 'v', 'IFDEQ', '0'.repeat(16)],
    [key, 'v', ...options('IFEQ')],
  ],
  setex: [[key, '100', long]],
  psetex: [[key, '100000', long]],
  setnx: [[key, long]],
  getset: [[key, long]],
  getdel: [[key]],
  getex: [[key, ...options('PERSIST')]],
  mget: [many(), many(() => a)],
  mset: [many((i) => (i % 2 === 0 ? `{t}${i}` : 'v'))],
  msetnx: [many((i) => (i % 2 === 0 ? `{t}${i}` : 'v'))],
  msetex: [
    ['1000', ...many((i) => (i % 2 === 0 ? `{t}${i}` : 'v')).slice(0, 2000), 'XX'],
    ['1500', ...many((i) => (i % 2 === 0 ? `{t}${i}` : 'v')), 'EX', '100'],
    ['1', key, 'v', ...options('NX')],
  ],
  delex: [[key], [key, 'IFDNE', '0'.repeat(16)], [key, 'IFEQ', long], [key, long, long]],
  delifeq: [[key, long]],
  digest: [[key]],
  append: [[key, 'x']],
  strlen: [[key]],
  getrange: [[key, '0', '-1']],
  substr: [[key, '0', '-1']],
  setrange: [[key, '1000000', 'x']],
  lcs: [
    [a, b],
    [a, b, 'IDX', 'WITHMATCHLEN'],
    [a, b, ...options('LEN')],
  ],
  incr: [['{t}n']],
  decr: [['{t}n']],
  incrby: [['{t}n', '9'.repeat(15)]],
  decrby: [['{t}n', '9'.repeat(15)]],
  incrbyfloat: [
    ['{t}f', '1e-4900'],
    ['{t}f', '9'.repeat(4900)],
    ['{t}f', long],
  ],
  getbit: [[key, '8000000']],
  setbit: [[key, '8000000', '1']],
  bitcount: [[key], [key, '1', '8000000', 'BIT']],
  bitop: [
    ['XOR', '{t}result', key, '{t}zeros', key],
    ['ONE', '{t}result', ...many(() => a)],
    ['AND', '{t}result', ...many().slice(0, 900)],
    ['NOT', key, key],
  ],
  bitfield: [
    [key, ...many((i) => ['INCRBY', 'i63', `#${i}`, '9'.repeat(18)][i % 4]!).slice(0, 1020)],
    [key, 'SET', 'u1', '8000000', '1'],
    [key, ...many((i) => ['GET', 'i64', '0'][i % 3]!).slice(0, 1020)],
  ],
  bitfield_ro: [
    [key, ...many((i) => ['GET', 'i64', String(i * 2000)][i % 3]!).slice(0, 1020)],
    [key, 'GET', 'u1', '0', 'GET', 'u1', '8000000'],
  ],
  bitpos: [['{t}zeros', '1']],
  pfadd: [
    ['{t}hll', ...many()],
    ['{t}hll', long],
    ['{t}hll', 'x'],
    ['{t}longest', ...many()],
    [`{t}fresh`, ...Array.from({ length: 20_000 }, (_, i) => `${i}`)],
  ],
  pfcount: [['{t}hll'], ['{t}hll', '{t}longest', '{t}dense'], many().slice(0, 900)],
  pfmerge: [
    ['{t}hll', '{t}longest', '{t}dense'],
    ['{t}longest', '{t}hll'],
    ['{t}fresh', ...many().slice(0, 900)],
  ],
  del: [many()],
  unlink: [many()],
  exists: [many(), many(() => a)],
  touch: [many()],
  type: [[key]],
  rename: [[key, `${key}2`]],
  renamenx: [[key, `${key}2`]],
  copy: [[key, `${key}2`, ...options('REPLACE')]],
  dump: [[key], [hash], [zset]],
  restore: [
    [
      '{t}fresh',
      '0',
      payload(Buffer.concat([Buffer.from([0, 0x80, 0, 3, 0, 0]), Buffer.alloc(3 * 65_536, 'x')])),
    ],
    ['{t}fresh', '0', payload(LONGEST_LZF), 'REPLACE'],
    ['{t}fresh', '0', payload(DEEPEST_ZSET), 'REPLACE'],
    ['{t}fresh', '0', long, ...options('REPLACE')],
  ],
  move: [
    [key, '1'],
    [key, long],
  ],
  expire: [
    [key, '100', ...options('XX')],
    [key, '100', long],
  ],
  pexpire: [[key, '100000', ...options('XX')]],
  expireat: [[key, '9999999999', ...options('XX')]],
  pexpireat: [[key, '9999999999999', ...options('XX')]],
  persist: [[key]],
  ttl: [[key]],
  pttl: [[key]],
  expiretime: [[key]],
  pexpiretime: [[key]],
  hset: [
    [hash, 'f3', 'v'],
    [hash, ...many((i) => (i % 2 === 0 ? `f${i}` : 'v')), 'f', 'v'],
    ['{t}fresh', ...Array.from({ length: 20_000 }, (_, i) => `${i}`)],
    [hash, 'f', long],
  ],
  hmset: [[hash, ...many((i) => (i % 2 === 0 ? `f${i}` : 'v'))]],
  hsetnx: [[hash, 'nosuch', 'v']],
  hget: [[hash, 'nosuch']],
  hmget: [[hash, ...many((i) => `f${i}`)]],
  hgetall: [[hash]],
  hdel: [[hash, ...many((i) => `f${i}`)]],
  hexists: [[hash, 'nosuch']],
  hlen: [[hash]],
  hkeys: [[hash]],
  hvals: [[hash]],
  hstrlen: [[hash, 'nosuch']],
  hincrby: [[hash, 'n', '1']],
  hincrbyfloat: [
    [hash, 'n', '9'.repeat(4900)],
    [hash, 'n', '1e-4900'],
  ],
  hrandfield: [[hash], [hash, '-8192', 'WITHVALUES'], [hash, '10000']],
  hscan: [
    [hash, '0'],
    [hash, '0', 'MATCH', pattern],
    [hash, '0', 'MATCH', '*x*y*z*1'],
  ],
  sadd: [
    [set, 'x'],
    [set, ...many()],
    ['{t}fresh', ...Array.from({ length: 20_000 }, (_, i) => `${i}`)],
  ],
  srem: [[set, ...many((i) => `member-name-${i}`)]],
  smembers: [[set]],
  sismember: [[set, 'nosuch']],
  smismember: [[set, ...many((i) => `member-name-${i}`)]],
  scard: [[set]],
  spop: [[set], [set, '100']],
  srandmember: [
    [set, '-8192'],
    [set, '10000'],
  ],
  smove: [[set, '{t}fresh', 'member-name-9']],
  sscan: [
    [set, '0'],
    [set, '0', 'MATCH', pattern],
  ],
  sinter: [[set, set, set], many(() => set).slice(0, 900)],
  sintercard: [['2', set, set]],
  sunion: [[set, set]],
  sdiff: [[set, '{t}nosuch', '{t}nosuch']],
  sinterstore: [['{t}result', set, set]],
  sunionstore: [['{t}result', set, set]],
  sdiffstore: [['{t}result', set, '{t}nosuch']],
  lpush: [
    [list, 'x'],
    ['{t}fresh', ...Array.from({ length: 20_000 }, (_, i) => `${i}`)],
  ],
  rpush: [
    [list, 'x'],
    [list, ...many()],
  ],
  lpushx: [[list, 'x']],
  rpushx: [[list, 'x']],
  lpop: [[list], [list, '9999']],
  rpop: [[list], [list, '9999']],
  llen: [[list]],
  lrange: [[list, '0', '-1']],
  lindex: [[list, '-1']],
  lset: [[list, '-1', 'x']],
  linsert: [[list, 'AFTER', 'nosuch', 'x']],
  lrem: [
    [list, '0', 'nosuch'],
    [list, '0', 'a'],
  ],
  ltrim: [[list, '1', '-2']],
  lpos: [
    [list, 'nosuch', 'COUNT', '0'],
    [list, 'a', 'COUNT', '0'],
  ],
  lmove: [[list, list, 'LEFT', 'RIGHT']],
  rpoplpush: [[list, '{t}fresh']],
  lmpop: [['1', list, 'LEFT', 'COUNT', '9999']],
  blpop: [
    [list, '0'],
    [...many(() => '{t}nosuch'), '0.001'],
  ],
  brpop: [[list, '0']],
  blmove: [[list, list, 'LEFT', 'RIGHT', '0']],
  brpoplpush: [[list, '{t}fresh', '0']],
  blmpop: [['0.001', '1', list, 'LEFT', 'COUNT', '9999']],
  bzpopmin: [[zset, '0']],
  bzpopmax: [[zset, '0']],
  bzmpop: [['0.001', '1', zset, 'MAX', 'COUNT', '9999']],
  zadd: [
    [zset, '1', 'x'],
    [zset, 'CH', ...many((i) => (i % 2 === 0 ? `-${i}.25` : `member-name-${i}`))],
    ['{t}fresh', ...Array.from({ length: 20_000 }, (_, i) => (i % 2 === 0 ? `0.${i}` : `${i}`))],
    ['{t}fresh', ...Array.from({ length: 20_000 }, (_, i) => (i % 2 === 0 ? '0' : 'same'))],
  ],
  zincrby: [
    [zset, '1', 'member-name-9'],
    [zset, '1'.repeat(1024), 'x'],
  ],
  zrem: [[zset, ...many((i) => `member-name-${i}`)]],
  zscore: [[zset, 'nosuch']],
  zmscore: [[zset, ...many((i) => `member-name-${i}`)]],
  zcard: [[zset]],
  zrank: [[zset, 'nosuch', 'WITHSCORE']],
  zrevrank: [[zset, 'nosuch']],
  zpopmin: [[zset], [zset, '9999']],
  zpopmax: [[zset], [zset, '9999']],
  zmpop: [['1', zset, 'MAX', 'COUNT', '9999']],
  zrandmember: [
    [zset, '-8192', 'WITHSCORES'],
    [zset, '9000', 'WITHSCORES'],
  ],
  zscan: [
    [zset, '0'],
    [zset, '0', 'MATCH', pattern],
  ],
  zcount: [[zset, '(0', '5']],
  zlexcount: [[zset, '-', '+']],
  zrange: [
    [zset, '0', '-1', 'WITHSCORES'],
    [zset, '0', '9', 'BYSCORE', ...options('REV')],
    [zset, '-', '+', 'BYLEX', 'LIMIT', '0', '-1'],
  ],
  zrevrange: [[zset, '0', '-1', 'WITHSCORES']],
  zrangebyscore: [[zset, '-inf', '+inf', 'WITHSCORES', 'LIMIT', '1', '-1']],
  zrevrangebyscore: [[zset, '+inf', '-inf', 'WITHSCORES']],
  zrangebylex: [[zset, '-', '+']],
  zrevrangebylex: [[zset, '+', '-']],
  zrangestore: [['{t}result', zset, '0', '-1', 'REV']],
  zremrangebyrank: [[zset, '1', '-2']],
  zremrangebyscore: [[zset, '(0', '(5']],
  zremrangebylex: [[zset, '[member', '+']],
  zinter: [
    ['3', zset, zset, set, 'WEIGHTS', '1', '2', '3', 'WITHSCORES'],
    ['20', ...many(() => zset).slice(0, 20)],
    ['900', ...many(() => zset).slice(0, 900)],
  ],
  zintercard: [['2', zset, set]],
  zunion: [
    ['2', zset, set, 'AGGREGATE', 'MAX', 'WITHSCORES'],
    ['20', ...many(() => zset).slice(0, 20)],
    ['900', ...many(() => zset).slice(0, 900)],
  ],
  zdiff: [['2', zset, '{t}nosuch', 'WITHSCORES']],
  zinterstore: [['{t}result', '2', zset, set]],
  zunionstore: [['{t}result', '2', zset, set]],
  zdiffstore: [['{t}result', '2', zset, '{t}nosuch']],
  sort: [
    [list, 'ALPHA', 'DESC'],
    [set, 'ALPHA', ...many((i) => (i % 2 === 0 ? 'GET' : '#'), 8)],
    [numbers, 'DESC'],
    [numbers, 'STORE', '{t}result'],
    [list, ...options('DESC')],
  ],
  sort_ro: [
    [zset, 'ALPHA'],
    [zset, 'BY', 'nosort', 'DESC'],
  ],
  geoadd: [
    [geo, '1', '2', 'x'],
    ['{t}fresh', ...Array.from({ length: 12_000 }, (_, i) => (i % 3 === 2 ? `${i}` : `${i % 80}.${i}`))],
  ],
  geopos: [[geo, ...many((i) => `member-name-${i}`)]],
  geodist: [[geo, 'member-name-1', 'member-name-4', 'mi']],
  geohash: [[geo, ...many((i) => `member-name-${i}`)]],
  geosearch: [
    [geo, 'FROMLONLAT', '1', '2', 'BYRADIUS', '30000', 'km', 'ASC', 'WITHDIST', 'WITHCOORD', 'WITHHASH'],
    [geo, 'FROMLONLAT', '1', '2', 'BYBOX', '30000', '30000', 'km', 'DESC'],
    [geo, 'FROMLONLAT', '1', '2', 'BYBOX', '9', '9', 'km', ...options('DESC')],
  ],
  geosearchstore: [['{t}result', geo, 'FROMLONLAT', '1', '2', 'BYRADIUS', '30000', 'km', 'STOREDIST']],
  georadius: [
    [geo, '1', '2', '30000', 'km', 'WITHCOORD'],
    [geo, '1', '2', '30000', 'km', 'STORE', '{t}result'],
  ],
  georadius_ro: [[geo, '1', '2', '30000', 'km', 'WITHCOORD', 'DESC']],
  georadiusbymember: [[geo, 'member-name-2', '30000', 'km', 'WITHHASH']],
  georadiusbymember_ro: [[geo, 'member-name-2', '30000', 'km', 'WITHHASH']],
  xadd: [
    [stream, '*', 'f', 'v'],
    [stream, 'MAXLEN', '1', '*', ...many((i) => `f${i}`, 2000)],
    ['{t}fresh', '*', ...Array.from({ length: 20_000 }, (_, i) => `${i}`)],
    [stream, '*', 'f', long],
    [stream, ...options('NOMKSTREAM'), '*', 'f', 'v'],
  ],
  xlen: [[stream]],
  xrange: [[stream, '-', '+']],
  xrevrange: [[stream, '+', '-']],
  xread: [
    ['STREAMS', stream, '0'],
    ['STREAMS', ...many(() => stream, 20), ...many(() => '0', 20)],
    ['STREAMS', ...many((i) => (i < 300 ? `{t}${i}` : '0'), 600)],
    [...options('NOACK'), 'STREAMS', stream, '0'],
  ],
  xtrim: [
    [stream, 'MAXLEN', '1'],
    [stream, 'MAXLEN', '~', '100', 'LIMIT', '0'],
  ],
  xdel: [[stream, ...many((i) => `${2 * i}-1`)]],
  xsetid: [[stream, '18446744073709551615-18446744073709551615']],
  xgroup: [[long]],
  'xgroup|create': [
    [stream, 'other', '0'],
    [stream, long, '0'],
    [stream, 'other', '0', ...options('MKSTREAM')],
  ],
  'xgroup|createconsumer': [[stream, group, long]],
  'xgroup|delconsumer': [[stream, group, 'consumer']],
  'xgroup|destroy': [[stream, group]],
  'xgroup|setid': [[stream, group, '0']],
  'xgroup|help': [[]],
  xreadgroup: [
    ['GROUP', group, 'consumer', 'STREAMS', stream, '>'],
    ['GROUP', group, 'consumer', 'NOACK', 'STREAMS', stream, '>'],
    ['GROUP', group, 'consumer', 'STREAMS', stream, '0'],
    ['GROUP', group, 'consumer', 'STREAMS', ...many(() => stream, 9), ...many(() => '0', 9)],
    ['GROUP', group, long, 'STREAMS', stream, '>'],
  ],
  xack: [[stream, group, ...many((i) => `${2 * i}-1`)]],
  xpending: [
    [stream, group],
    [stream, group, '-', '+', '99999'],
    [stream, group, 'IDLE', '1', '-', '+', '99999', 'consumer'],
  ],
  xclaim: [
    [stream, group, 'other', '0', ...many((i) => `${2 * i + 1}-1`)],
    [stream, group, 'other', '0', '1-1', ...options('FORCE')],
  ],
  xautoclaim: [
    [stream, group, 'other', '0', '0', 'COUNT', '99999'],
    [stream, group, 'other', '0', '0', ...options('JUSTID')],
  ],
  xinfo: [[long]],
  'xinfo|consumers': [[stream, group]],
  'xinfo|groups': [[stream]],
  'xinfo|stream': [[stream], [stream, 'FULL', 'COUNT', '0']],
  'xinfo|help': [[]],
  hello: [
    ['3', ...options('SETNAME')],
    ['2', long],
  ],
  auth: [['x'.repeat(16_000)], [long, long]],
  info: [[], ['everything'], ['keyspace'], options('keyspace')],
  config: [[long]],
  'config|get': [options(pattern).slice(0, 100), [long], many()],
  'config|help': [[]],
  time: [[]],
  scan: [
    ['0', 'MATCH', pattern, 'COUNT', '1000'],
    ['0', 'MATCH', long],
    ['0', 'COUNT', '1000'],
  ],
  dbsize: [[]],
  randomkey: [[]],
  keys: [['*'], [pattern]],
  flushall: [[]],
  flushdb: [[]],
  acl: [[long]],
  'acl|cat': [[], [long], ['slow']],
  'acl|list': [[]],
  'acl|users': [[]],
  'acl|whoami': [[]],
  'acl|help': [[]],
  latency: [[long]],
  'latency|histogram': [[], options('get')],
  'latency|history': [[long]],
  'latency|latest': [[]],
  'latency|reset': [options('x')],
  'latency|help': [[]],
  module: [[long]],
  'module|list': [[]],
  'module|help': [[]],
  role: [[]],
  slowlog: [[long]],
  'slowlog|get': [[], ['-1'], [long]],
  'slowlog|len': [[]],
  'slowlog|reset': [[]],
  'slowlog|help': [[]],
  memory: [[long]],
  'memory|usage': [[key], [key, 'SAMPLES', long]],
  'memory|help': [[]],
  object: [[long]],
  'object|encoding': [[key]],
  'object|help': [[]],
  eval: [
    ['return #ARGV', '0', ...many()],
    ['local t = {} for i = 1, 100000 do t[i] = i end return t', '0'],
    ["return redis.call('HGETALL', KEYS[1])", '1', hash],
    ["for i = 1, 1000 do redis.call('INCR', KEYS[1]) end", '1', '{t}fresh'],
    ["return redis.call('MGET', unpack(KEYS))", '3000', ...many()],
    [`return 1 -- ${long.toString()}`, '0'],
  ],
  eval_ro: [["return redis.call('HGETALL', KEYS[1])", '1', hash]],
  evalsha: [['0'.repeat(40), '3000', ...many()]],
  evalsha_ro: [['0'.repeat(40), '3000', ...many()]],
  fcall: [['none', '3000', ...many()]],
  fcall_ro: [['none', '3000', ...many()]],
  function: [[long]],
  'function|delete': [[long]],
  'function|dump': [[]],
  'function|flush': [['ASYNC']],
  'function|help': [[]],
  'function|kill': [[]],
  'function|list': [['LIBRARYNAME', long, 'WITHCODE']],
  'function|load': [['REPLACE', `#!lua name=worst\n${long.toString()}`]],
  'function|restore': [[long, 'REPLACE']],
  'function|stats': [[]],
  script: [[long]],
  'script|exists': [many(() => '0'.repeat(40))],
  'script|flush': [['ASYNC']],
  'script|help': [[]],
  'script|kill': [[]],
  'script|load': [[`return 1 -- ${long.toString()}`]],
  client: [[long]],
  'client|caching': [[long]],
  'client|getname': [[]],
  'client|getredir': [[]],
  'client|tracking': [
    ['ON', ...options('NOLOOP')],
    ['ON', 'BCAST', ...many((i) => (i % 2 === 0 ? 'PREFIX' : `p${i}`), 2000)],
  ],
  'client|trackinginfo': [[]],
  'client|id': [[]],
  'client|info': [[]],
  'client|kill': [[long], ['ADDR', long]],
  'client|list': [
    ['ID', ...options('1')],
    ['TYPE', long],
  ],
  'client|no-evict': [[long]],
  'client|no-touch': [[long]],
  'client|reply': [[long]],
  'client|unblock': [[long], ['9', long]],
  'client|setinfo': [
    ['LIB-NAME', long],
    [long, 'x'],
  ],
  'client|setname': [[long]],
  'client|help': [[]],
  command: [[], [long]],
  'command|count': [[]],
  'command|docs': [[], options('client')],
  'command|getkeys': [['MGET', ...options('a')]],
  'command|info': [[], options('client')],
  'command|list': [[], ['FILTERBY', 'PATTERN', pattern], ['FILTERBY', 'ACLCAT', long]],
  'command|help': [[]],
  rondo: [[long]],
  'rondo|consistency': [['READ', long]],
  'rondo|explain': [[key]],
  'rondo|dbsize': [[], ['EXACT'], [long]],
  'rondo|fill': [
    [key, '0.001'],
    [long, '0.001'],
    [key, long],
  ],
  'rondo|filled': [
    [key, '0'.repeat(52), long, 'EX', '60'],
    [key, long],
  ],
  'rondo|tag': [[key], [key, ...Array.from({ length: 1000 }, (_, i) => `tag${i}`)], [key, long]],
  'rondo|invalidate': [['tag'], [long]],
  'rondo|delete': [
    ['PREFIX', long],
    ['MATCH', '*a*a*a*a*a*a*b'],
  ],
  'rondo|jobs': [[], [long], [long, 'CANCEL']],
  'rondo|status': [[]],
  'rondo|hotkeys': [[]],
  'rondo|help': [[]],
  'rondo|members': [[]],
  'rondo|cluster': [[]],
  'rondo|rebalance': [
    [],
    ['CANCEL'],
    ['PAUSE'],
    ['RESUME'],
    ['THROTTLE', '0'],
    ['THROTTLE', long],
    ['WITHDRAW', long],
    [long],
  ],
  'rondo|join': [[long], ['redis://127.0.0.1:1', 'ID', long], ['redis://127.0.0.1:1', 'ZONE', long]],
  'rondo|leave': [[long]],
  'rondo|forget': [[long, 'FORCE', 'DATA-LOSS']],
  'rondo|replace': [[long, long]],
  'rondo|move': [[long, long]],
  'rondo|recover': [['FORCE', 'DATA-LOSS', long], [long]],
  'rondo|set': [[long, 'WEIGHT', long]],
  'rondo|change': [
    ['JOIN', long],
    ['LEAVE', 'a', 'LEAVE', long],
  ],
  subscribe: [[long], many(undefined, 1000)],
  psubscribe: [[long], many((i) => `${'a*'.repeat(100)}${i}`, 200)],
  ssubscribe: [[long], many(undefined, 1000)],
  unsubscribe: [[long], many(undefined, 1000)],
  punsubscribe: [[long], many(undefined, 1000)],
  sunsubscribe: [[long], many(undefined, 1000)],
  publish: [
    ['channel', Buffer.alloc(1024 * 1024)],
    [long, 'x'],
  ],
  spublish: [['channel', Buffer.alloc(1024 * 1024)]],
  pubsub: [[]],
  'pubsub|channels': [[], ['a*'.repeat(500)]],
  'pubsub|numpat': [[]],
  'pubsub|numsub': [many(undefined, 1000)],
  'pubsub|shardchannels': [[]],
  'pubsub|shardnumsub': [many(undefined, 1000)],
  'pubsub|help': [[]],
  ping: [[long]],
  echo: [[long]],
  select: [[long]],
  readonly: [[]],
  readwrite: [[]],
  quit: [[]],
  reset: [[]],
  multi: [[]],
  exec: [[]],
  discard: [[]],
  watch: [many(), many().slice(0, 900)],
  unwatch: [[]],
}

/** After these no other reply of the connection comes. */
const ENDS_CONNECTION = new Set(['quit'])

/** As many entries as one RESTORE takes in time, in parts, most of them pending, in a stream of Rondo's own making. */
function fullStream(): Buffer {
  const ids = Array.from({ length: 12_000 }, (_, i) => streamId(i + 1, 1))
  const runs = ids.map((id) => entryOf(id, [Buffer.from('f'), Buffer.from('v')]))
  const groups = [
    new Group({ name: Buffer.from(group), lastId: LEAST_ID, read: 0n, consumers: [], pending: Pending.NONE }),
  ]
  const made = { lastId: ids.at(-1)!, maxDeletedId: LEAST_ID, added: 12_000n }
  const value = new NewStream({ ...made, entries: { count: ids.length, runs }, groups }).value()
  const read = command('XREADGROUP', 'GROUP', group, 'consumer', 'COUNT', '10000', 'STREAMS', stream, '>')
  return Buffer.concat([
    command(
      'RESTORE',
      stream,
      '0',
      payload(Buffer.concat(inOneGo(writeStream(value, undefined)))),
      'REPLACE',
    ),
    // Some are left for the commands.
    read,
  ])
}

/** Large ones, made for the commands that name them: each costs more than most commands. */
const VALUES = new Map<string, () => Buffer>([
  [key, () => command('SET', key, Buffer.alloc(1024 * 1024, 'x'))],
  ['{t}zeros', () => command('SET', '{t}zeros', Buffer.alloc(1024 * 1024))],
  [a, () => command('SET', a, Buffer.alloc(2047, 'ab'))],
  [b, () => command('SET', b, Buffer.alloc(2047, 'ba'))],
  ['{t}longest', () => command('SET', '{t}longest', LONGEST_HYPERLOGLOG)],
  [
    '{t}dense',
    () => command('SET', '{t}dense', Buffer.concat([Buffer.from('HYLL\0'), Buffer.alloc(12_299, 0x41)])),
  ],
  [
    hash,
    () => command('HSET', hash, ...many((i) => (i % 2 === 0 ? `field-name-${i}` : 'a'), 28_000), 'n', '0'),
  ],
  [set, () => command('SADD', set, ...many((i) => `member-name-${i}`, 14_000))],
  [list, () => command('RPUSH', list, ...many(() => 'a', 32_000))],
  [
    zset,
    () => command('ZADD', zset, ...many((i) => (i % 2 === 0 ? `${i % 7}.5` : `member-name-${i}`), 20_000)),
  ],
  [stream, fullStream],
  [numbers, () => command('RPUSH', numbers, ...many((i) => `${(i * 7919) % 32_000}`, 32_000))],
  [
    geo,
    () =>
      command('GEOADD', geo, ...many((i) => (i % 3 === 2 ? `member-name-${i}` : `${i % 85}.${i}`), 30_000)),
  ],
])

/** What each test gets a copy of. */
function madeOnce(key: string): string {
  return `${key}:made once`
}

describe('the input that costs most', function () {
  this.timeout(120_000)
  let running: RunningRondo
  before(async () => {
    running = await startRondo()
    // Until it is compiled it takes longer.
    for (let i = 0; i < 3; i++) slowness()
    await send(
      ...Array.from({ length: 10 }, (_, i) =>
        command('MSET', ...Array.from({ length: 500 }, (_, j) => `key:${'a'.repeat(100)}:${i}:${j}`)),
      ),
    )
  })
  after(() => running.stop())
  beforeEach(() => send(command('DEL', '{t}hll', '{t}fresh', ...VALUES.keys())))

  const port = () => running.rondo.respServer.port
  const send = (...commands: Buffer[]) => sendTo(port(), ...commands)
  const longestTurn = (...commands: Buffer[]) => longestTurnAt(port(), ...commands)

  const names = COMMANDS.slice(1).flatMap(({ name, subcommands = {} }) => [
    name,
    ...Object.keys(subcommands).map((subcommand) => `${name}|${subcommand}`),
  ])

  it('is known of every command and subcommand', () => {
    expect(Object.keys(WORST).sort()).to.deep.equal([...names].sort())
  })

  for (const name of names) {
    it(`${name.toUpperCase().replace('|', ' ')} lets others have their turn`, async () => {
      const mentioned = new Set<unknown>((WORST[name] ?? []).flat())
      const needed = [...VALUES].filter(([key]) => mentioned.has(key))
      for (const [key, filling] of needed) {
        const { reply } = await send(command('COPY', madeOnce(key), key))
        // At first, and after FLUSHALL.
        if (!reply.startsWith(':1')) await send(filling(), command('COPY', key, madeOnce(key), 'REPLACE'))
      }
      const there = await send(command('EXISTS', ...needed.map(([key]) => key), key))
      expect(there.reply).to.match(new RegExp(`^:(${needed.length}|${needed.length + 1})\\r`))
      for (const args of WORST[name] ?? []) {
        const one = command(...name.split('|'), ...args)
        const startedAt = performance.now()
        expect(await longestTurn(one), 'alone').to.be.below(MAX_TURN_MS)
        const aloneMs = performance.now() - startedAt
        const several = (ms: number) => {
          const most = Math.min(MOST_IN_PIPELINE, ms / aloneMs, PIPELINE_BYTES / one.length)
          return Array.from({ length: Math.max(1, Math.floor(most)) }, () => one)
        }
        if (ENDS_CONNECTION.has(name)) continue
        const pipeline = several(PIPELINE_MS)
        expect(await longestTurn(...pipeline), `${pipeline.length} in a pipeline`).to.be.below(MAX_TURN_MS)
        const queued = several(TRANSACTION_MS)
        const transaction = await longestTurn(command('MULTI'), ...queued, command('EXEC'))
        expect(transaction, `${queued.length} inside MULTI`).to.be.below(MAX_TURN_MS)
      }
    })
  }

  /** More of them would be refused for what they answer. */
  for (const steps of [8, 16]) {
    it(`${steps} large ranges inside MULTI let others have their turn`, async () => {
      await send(VALUES.get(zset)!())
      const ranges = Array.from({ length: steps }, () => command('ZRANGE', zset, '0', '-1', 'WITHSCORES'))
      const turn = await longestTurn(command('MULTI'), ...ranges, command('EXEC'))
      expect(turn).to.be.below(MAX_TURN_MS)
    })
  }
})
