/**
 * WATCH: which commands count as a change of a key, and which leave it as it was. Every command of the table, on keys in
 * every state, to Rondo and to a real Redis: EXEC is stopped by both or by neither.
 */
import { expect } from 'chai'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { STEPS } from '../../../src/commands/specs.ts'
import { ASCII_DUMP } from '../../support/ascii-dump.ts'
import { collectionLines } from '../../support/collection-lines.ts'
import { NEWER_COMMANDS } from '../../support/newer-commands.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const END_S = 9999999999
const KEYS = ['{t}a', '{t}b']
/** What `{t}a` and `{t}b` hold before. */
const STATES: Record<string, string[]> = {
  'absent, both': [],
  absent: ['SET {t}b 5'],
  'absent since a DEL': ['SET {t}b 5', 'SET {t}a 5', 'DEL {t}a'],
  'a number': ['SET {t}b 5', 'SET {t}a 5'],
  'a number that expires': ['SET {t}b 5', `SET {t}a 5 EXAT ${END_S}`],
  text: ['SET {t}b 5', 'SET {t}a abc'],
  empty: ['SET {t}b 5', 'SET {t}a '],
  'the largest byte': ['SET {t}b 5', 'SET {t}a \xff'],
  'a HyperLogLog': ['PFADD {t}b y', 'PFADD {t}a x'],
  'a hash': ['HSET {t}b g 1', 'HSET {t}a f 5'],
  'a set': ['SADD {t}b x', 'SADD {t}a f'],
  'a sorted set': ['ZADD {t}b 1 x', 'ZADD {t}a 1 f 2 g'],
  'a list': ['RPUSH {t}b g', 'RPUSH {t}a f g'],
  'a hash that expires': ['SET {t}b 5', 'HSET {t}a f 5 g 1', `EXPIREAT {t}a ${END_S}`],
}
/** A line that ends in a blank has an empty argument at its end. */
const LINES: Record<string, string[]> = {
  get: ['GET {t}a'],
  set: [
    'SET {t}a 5',
    'SET {t}a 5 NX',
    'SET {t}a 5 XX',
    'SET {t}a 5 NX GET',
    'SET {t}a 5 XX GET',
    'SET {t}a 5 KEEPTTL',
    'SET {t}a 5 EXAT 1',
    `SET {t}a 5 EXAT ${END_S}`,
  ],
  setex: ['SETEX {t}a 100 5'],
  psetex: ['PSETEX {t}a 100000 5'],
  setnx: ['SETNX {t}a 5'],
  getset: ['GETSET {t}a 5'],
  getdel: ['GETDEL {t}a'],
  getex: [
    'GETEX {t}a',
    'GETEX {t}a PERSIST',
    `GETEX {t}a EXAT ${END_S}`,
    'GETEX {t}a EXAT 1',
    'GETEX {t}a EX 0',
  ],
  mget: ['MGET {t}a {t}b'],
  mset: ['MSET {t}a 5 {t}b 5'],
  msetnx: ['MSETNX {t}a 5 {t}b 5'],
  append: ['APPEND {t}a ', 'APPEND {t}a x'],
  strlen: ['STRLEN {t}a'],
  getrange: ['GETRANGE {t}a 0 -1'],
  substr: ['SUBSTR {t}a 0 -1'],
  setrange: ['SETRANGE {t}a 0 ', 'SETRANGE {t}a 10 ', 'SETRANGE {t}a 0 5', 'SETRANGE {t}a 3 x'],
  lcs: ['LCS {t}a {t}b'],
  incr: ['INCR {t}a'],
  decr: ['DECR {t}a'],
  incrby: ['INCRBY {t}a 0', 'INCRBY {t}a 1'],
  decrby: ['DECRBY {t}a 0'],
  incrbyfloat: ['INCRBYFLOAT {t}a 0', 'INCRBYFLOAT {t}a 0.5'],
  getbit: ['GETBIT {t}a 1'],
  setbit: ['SETBIT {t}a 0 0', 'SETBIT {t}a 7 1', 'SETBIT {t}a 100 0'],
  bitcount: ['BITCOUNT {t}a'],
  bitpos: ['BITPOS {t}a 1'],
  bitop: [
    'BITOP AND {t}a {t}a',
    'BITOP OR {t}a {t}b',
    'BITOP NOT {t}a {t}b',
    'BITOP AND {t}a {t}nosuch',
    'BITOP AND {t}b {t}nosuch',
  ],
  bitfield: [
    'BITFIELD {t}a',
    'BITFIELD {t}a GET u8 0',
    'BITFIELD {t}a SET u1 0 0',
    'BITFIELD {t}a SET u8 0 53',
    'BITFIELD {t}a SET u8 0 255',
    'BITFIELD {t}a SET u8 100 0',
    'BITFIELD {t}a INCRBY u8 0 0',
    'BITFIELD {t}a INCRBY u8 0 256',
    'BITFIELD {t}a INCRBY u8 0 1',
    'BITFIELD {t}a OVERFLOW SAT INCRBY u8 0 255',
    'BITFIELD {t}a OVERFLOW FAIL INCRBY u8 0 255',
    'BITFIELD {t}a OVERFLOW FAIL INCRBY i2 15 24',
    'BITFIELD {t}a OVERFLOW FAIL INCRBY i2 100 24',
    'BITFIELD {t}a OVERFLOW FAIL SET u4 0 16',
    'BITFIELD {t}a OVERFLOW FAIL SET u4 0 16 GET u8 0 INCRBY u4 0 1',
    'BITFIELD {t}a OVERFLOW FAIL SET u4 0 16 GET u8 0 INCRBY u4 0 0',
    'BITFIELD {t}a INCRBY u8 0 1 INCRBY u8 0 -1',
  ],
  bitfield_ro: ['BITFIELD_RO {t}a GET u8 0'],
  pfadd: ['PFADD {t}a', 'PFADD {t}a x', 'PFADD {t}a y'],
  pfcount: ['PFCOUNT {t}a', 'PFCOUNT {t}a {t}b'],
  pfmerge: ['PFMERGE {t}a', 'PFMERGE {t}a {t}nosuch', 'PFMERGE {t}a {t}b', 'PFMERGE {t}b {t}a'],
  del: ['DEL {t}a', 'DEL {t}a {t}b', 'DEL {t}nosuch'],
  unlink: ['UNLINK {t}a', 'UNLINK {t}b {t}a'],
  exists: ['EXISTS {t}a'],
  touch: ['TOUCH {t}a'],
  type: ['TYPE {t}a'],
  rename: ['RENAME {t}a {t}a', 'RENAME {t}a {t}b', 'RENAME {t}nosuch {t}a', 'RENAME {t}a {t}new'],
  renamenx: ['RENAMENX {t}a {t}a', 'RENAMENX {t}a {t}b', 'RENAMENX {t}nosuch {t}a', 'RENAMENX {t}b {t}a'],
  copy: [
    'COPY {t}a {t}b',
    'COPY {t}b {t}a',
    'COPY {t}b {t}a REPLACE',
    'COPY {t}nosuch {t}a REPLACE',
    'COPY {t}a {t}a',
  ],
  dump: ['DUMP {t}a'],
  restore: [
    `RESTORE {t}a 0 ${ASCII_DUMP}`,
    `RESTORE {t}a 0 ${ASCII_DUMP} REPLACE`,
    `RESTORE {t}a 1 ${ASCII_DUMP} REPLACE ABSTTL`,
    `RESTORE {t}nosuch 1 ${ASCII_DUMP} ABSTTL`,
    'RESTORE {t}a 0 x REPLACE',
  ],
  move: ['MOVE {t}a 1', 'MOVE {t}a 0', 'MOVE {t}nosuch 1'],
  expire: [
    'EXPIRE {t}a 100',
    'EXPIRE {t}a 100 NX',
    'EXPIRE {t}a 100 XX',
    'EXPIRE {t}a 100 GT',
    'EXPIRE {t}a 100 LT',
    'EXPIRE {t}a -1',
    'EXPIRE {t}a -1 XX',
    'EXPIRE {t}a x',
  ],
  pexpire: ['PEXPIRE {t}a 100000', 'PEXPIRE {t}a 0', 'PEXPIRE {t}a 0 GT'],
  expireat: [
    `EXPIREAT {t}a ${END_S}`,
    `EXPIREAT {t}a ${END_S} NX`,
    `EXPIREAT {t}a ${END_S} GT`,
    `EXPIREAT {t}a ${END_S} LT`,
    'EXPIREAT {t}a 1',
  ],
  pexpireat: [`PEXPIREAT {t}a ${END_S}000`, `PEXPIREAT {t}a ${END_S}000 XX`, 'PEXPIREAT {t}a 1 XX'],
  persist: ['PERSIST {t}a'],
  ttl: ['TTL {t}a'],
  pttl: ['PTTL {t}nosuch'],
  expiretime: ['EXPIRETIME {t}a'],
  pexpiretime: ['PEXPIRETIME {t}a'],
  ...collectionLines('{t}a', '{t}b'),
}
/** What changes a key more than once, or is no command on a key; commands between semicolons. */
const MORE = [
  'PING',
  'FLUSHALL',
  'FLUSHDB',
  'SET {t}a x;DEL {t}a',
  'INCR {t}a;DECR {t}a',
  'MULTI;SET {t}a x;DEL {t}a;EXEC',
  'MULTI;INCR {t}a;DECR {t}a;EXEC',
  'MULTI;GET {t}a;PERSIST {t}nosuch;EXEC',
  'MULTI;SET {t}a x;DISCARD',
  'SELECT 1;SET {t}a x;SELECT 0',
]
/** Of all keys that a line may leave; a flush would be a change of the topology each time. */
const CLEAR = ['SELECT 1', 'DEL {t}a', 'SELECT 0', 'DEL {t}a {t}b {t}new {t}nosuch']
/** Where Rondo differs on purpose: the last tests. */
const MEANT = [/^BITFIELD \S+ OVERFLOW FAIL (INCRBY|SET) \S+ \S+ \d+$/, /^PFCOUNT \S+$/]

describe('WATCH', function () {
  this.timeout(60_000)
  let redis: RedisServer
  let running: RunningRondo
  let ours: RawResp[]
  let theirs: RawResp[]
  before(async () => {
    redis = await startRedis()
    running = await startRondo()
    const two = (port: number) => Promise.all([RawResp.open(port), RawResp.open(port)])
    ours = await two(running.rondo.respServer.port)
    theirs = await two(redis.port)
  })
  after(async () => {
    for (const client of [...ours, ...theirs]) client.close()
    await running.stop()
    await redis.stop()
  })

  /** All in one write. */
  const ask = async (client: RawResp, lines: readonly string[]) => {
    client.send(Buffer.concat(lines.map((line) => command(...line.split(' ')))))
    return client.replies(lines.length)
  }
  /** What EXEC answers, and what the keys hold by then. */
  const outcome = async (
    [client, other]: RawResp[],
    before: readonly string[],
    line: string,
    isOwn: boolean,
  ) => {
    await ask(client!, [...CLEAR, ...before, `WATCH ${KEYS.join(' ')}`])
    await ask(isOwn ? client! : other!, line.split(';'))
    const replies = await ask(client!, ['MULTI', 'EXEC', ...KEYS.map((key) => `GET ${key}`)])
    return replies.slice(1)
  }

  it('every command is here', () => {
    expect([...Object.keys(LINES), ...NEWER_COMMANDS].sort()).to.deep.equal(Object.keys(STEPS).sort())
  })

  for (const level of ['one', 'quorum']) {
    describe(`at ${level}, stops EXEC for the commands of Redis, and for no others`, () => {
      before(() => Promise.all(ours.map((client) => client.ask('RONDO', 'CONSISTENCY', level))))
      for (const [state, before] of Object.entries(STATES)) {
        for (const isOwn of [false, true]) {
          it(`of ${isOwn ? 'its own client' : 'another client'}, {t}a being ${state}`, async () => {
            for (const line of [...Object.values(LINES).flat(), ...MORE]) {
              if (MEANT.some((pattern) => pattern.test(line))) continue
              const mine = await outcome(ours, before, line, isOwn)
              expect(mine, line).to.deep.equal(await outcome(theirs, before, line, isOwn))
            }
          })
        }
      }
    })
  }

  const STOPPED = '*-1\r\n'
  const CARRIED_OUT = '*0\r\n'

  it('stops EXEC for a BITFIELD that fails, and makes the value longer all the same: Redis tells nobody', async () => {
    const line = 'BITFIELD {t}a OVERFLOW FAIL INCRBY i2 15 24'
    const held = ['$3\r\n\0\0\0\r\n', '$-1\r\n']
    expect(await outcome(theirs, [], line, false)).to.deep.equal([CARRIED_OUT, ...held])
    expect(await outcome(ours, [], line, false)).to.deep.equal([STOPPED, ...held])
    const before = ['SET {t}a abc']
    expect((await outcome(theirs, before, line, false))[0]).to.equal(CARRIED_OUT)
    expect((await outcome(ours, before, line, false))[0]).to.equal(CARRIED_OUT)
  })

  it('does not stop EXEC for PFCOUNT: Redis stores the count with the value', async () => {
    expect((await outcome(theirs, ['PFADD {t}a x'], 'PFCOUNT {t}a', false))[0]).to.equal(STOPPED)
    expect((await outcome(ours, ['PFADD {t}a x'], 'PFCOUNT {t}a', false))[0]).to.equal(CARRIED_OUT)
  })
})
