/**
 * Values that Rondo did not write, with and without a TTL: every command answers and leaves what Redis does. The value is
 * put into the node past Rondo, and into another Redis, which then gets the same commands.
 */
import { expect } from 'chai'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { STEPS } from '../../../src/commands/specs.ts'
import { CONSISTENCY_LEVELS } from '../../../src/core/consistency.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { COMMANDS } from '../../../src/servers/resp/table.ts'
import { call } from '../../support/raw-http.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'
import { ASCII_DUMP } from '../../support/ascii-dump.ts'
import { collectionLines } from '../../support/collection-lines.ts'
import { NEWER_COMMANDS } from '../../support/newer-commands.ts'

const LIFE_MS = 100_000
/** A value is put into the node and into the other Redis at about the same time; no two expected times are so close. */
const SLACK_MS = 1000
const KEYS = ['{t}k', '{t}other', '{t}new', '{t}nosuch']
/** For each command, with `{t}k` and `{t}other` holding `5`; every command of the table has at least one. */
const LINES: Record<string, string[]> = {
  get: ['GET {t}k'],
  set: [
    'SET {t}k 1',
    'SET {t}k 1 KEEPTTL',
    'SET {t}k 1 NX',
    'SET {t}k 1 XX GET',
    'SET {t}k 1 XX KEEPTTL GET',
    'SET {t}k 1 EX 50',
  ],
  setex: ['SETEX {t}k 50 1'],
  psetex: ['PSETEX {t}k 50000 1'],
  setnx: ['SETNX {t}k 1'],
  getset: ['GETSET {t}k 1'],
  getdel: ['GETDEL {t}k'],
  getex: ['GETEX {t}k', 'GETEX {t}k PERSIST', 'GETEX {t}k EX 50', 'GETEX {t}k PX 50000'],
  mget: ['MGET {t}k {t}other {t}nosuch'],
  mset: ['MSET {t}k 1 {t}other 2'],
  msetnx: ['MSETNX {t}k 1 {t}other 2', 'MSETNX {t}nosuch 1'],
  append: ['APPEND {t}k x'],
  strlen: ['STRLEN {t}k'],
  getrange: ['GETRANGE {t}k 0 -1'],
  substr: ['SUBSTR {t}k 0 -1'],
  setrange: ['SETRANGE {t}k 1 x', 'SETRANGE {t}k 0 7'],
  lcs: ['LCS {t}k {t}other'],
  incr: ['INCR {t}k'],
  decr: ['DECR {t}k'],
  incrby: ['INCRBY {t}k 3'],
  decrby: ['DECRBY {t}k 3'],
  incrbyfloat: ['INCRBYFLOAT {t}k 1.5'],
  getbit: ['GETBIT {t}k 3'],
  setbit: ['SETBIT {t}k 3 1'],
  bitcount: ['BITCOUNT {t}k'],
  bitpos: ['BITPOS {t}k 1'],
  bitop: ['BITOP AND {t}k {t}other', 'BITOP NOT {t}new {t}k', 'BITOP OR {t}other {t}k {t}nosuch'],
  bitfield: ['BITFIELD {t}k INCRBY u8 0 1', 'BITFIELD {t}k GET u8 0'],
  bitfield_ro: ['BITFIELD_RO {t}k GET u8 0'],
  pfadd: ['PFADD {t}k a'],
  pfcount: ['PFCOUNT {t}nosuch'],
  pfmerge: ['PFMERGE {t}new {t}nosuch'],
  del: ['DEL {t}k {t}nosuch'],
  unlink: ['UNLINK {t}k {t}other'],
  exists: ['EXISTS {t}k {t}k {t}nosuch'],
  touch: ['TOUCH {t}k'],
  type: ['TYPE {t}k'],
  rename: ['RENAME {t}k {t}other', 'RENAME {t}k {t}new', 'RENAME {t}nosuch {t}k'],
  renamenx: ['RENAMENX {t}k {t}other', 'RENAMENX {t}k {t}new'],
  copy: ['COPY {t}k {t}other', 'COPY {t}k {t}other REPLACE', 'COPY {t}k {t}new', 'COPY {t}k {t}k DB 1'],
  move: ['MOVE {t}k 1'],
  // Redis has other forms of the same value.
  dump: ['DUMP {t}nosuch'],
  restore: [
    `RESTORE {t}k 0 ${ASCII_DUMP}`,
    `RESTORE {t}k 0 ${ASCII_DUMP} REPLACE`,
    `RESTORE {t}new 50000 ${ASCII_DUMP}`,
    'RESTORE {t}k 0 x REPLACE',
  ],
  expire: [
    'EXPIRE {t}k 50',
    'EXPIRE {t}k 50 NX',
    'EXPIRE {t}k 50 XX',
    'EXPIRE {t}k 50 GT',
    'EXPIRE {t}k 500 GT',
    'EXPIRE {t}k 50 LT',
    'EXPIRE {t}k 500 LT',
    'EXPIRE {t}k -1',
  ],
  pexpire: [
    'PEXPIRE {t}k 50000',
    'PEXPIRE {t}k 50000 NX',
    'PEXPIRE {t}k 500000 GT',
    'PEXPIRE {t}k 500000 LT',
  ],
  expireat: [
    'EXPIREAT {t}k 9999999999',
    'EXPIREAT {t}k 9999999999 XX',
    'EXPIREAT {t}k 9999999999 LT',
    'EXPIREAT {t}k 1',
  ],
  pexpireat: [
    'PEXPIREAT {t}k 9999999999999',
    'PEXPIREAT {t}k 9999999999999 GT',
    'PEXPIREAT {t}k 9999999999999 NX',
  ],
  persist: ['PERSIST {t}k'],
  ttl: ['TTL {t}k'],
  pttl: ['PTTL {t}k'],
  expiretime: ['EXPIRETIME {t}k'],
  pexpiretime: ['PEXPIRETIME {t}k'],
  ...collectionLines('{t}k', '{t}other'),
}
/** Replies that tell the time: within a second of Redis's. */
const TIMES = new Set(['pttl', 'pexpiretime', 'ttl', 'expiretime'])

for (const nodes of [1, 4]) {
  describe(`values that Rondo did not write, ${nodes === 1 ? 'one node' : 'four nodes, the first home replica has it'}`, () => {
    let redis: RedisServer[]
    let oracle: RedisServer
    let running: RunningRondo
    let onNodes: RawResp[]
    let [onHome, theirs, ours]: RawResp[] = []
    before(async () => {
      redis = await Promise.all(Array.from({ length: nodes }, () => startRedis()))
      oracle = await startRedis()
      running = await startRondo({
        REDIS_URLS: redis.map(({ port }, i) => `n${i}=127.0.0.1:${port}`).join(','),
        // A busy machine is no fault: only while the first home replica is healthy is its value sure to be found.
        NODE_TIMEOUT_MS: '5000',
        REQUEST_TIMEOUT_MS: '5000',
      })
      onNodes = await Promise.all(redis.map(({ port }) => RawResp.open(port)))
      const { homes } = running.rondo.cluster.placement.replicaSetOf(Buffer.from('{t}k'))
      onHome = onNodes[Number(homes[0]!.id.slice(1))]
      theirs = await RawResp.open(oracle.port)
      ours = await RawResp.open(running.rondo.respServer.port)
    })
    after(async () => {
      for (const client of [...onNodes, theirs, ours]) client?.close()
      await running.stop()
      await Promise.all([...redis, oracle].map((server) => server.stop()))
    })

    /** The same values in the node and in the other Redis; those of the last test are gone. */
    const plant = async (lifeMs: number) => {
      await running.rondo.coordinator.drain(5000)
      await theirs!.ask('FLUSHALL')
      await ours!.ask('SELECT', '0')
      for (const key of [...KEYS, '__rondo:db1:{t}k']) for (const node of onNodes) await node.ask('DEL', key)
      for (const client of [onHome!, theirs!]) {
        const life = lifeMs > 0 ? ['PX', String(lifeMs)] : []
        await client.ask('SET', '{t}k', '5', ...life)
        await client.ask('SET', '{t}other', '5')
      }
    }
    /** The values, and when they expire: -1 = never, -2 = there is none. */
    const left = async (client: RawResp) => {
      const values: string[] = []
      const ends: number[] = []
      for (const key of KEYS) {
        values.push(`${key}: ${JSON.stringify(await client.ask('GET', key))}`)
        const end = await client.ask('PEXPIRETIME', key)
        expect(end, 'a whole number').to.match(/^:-?\d+\r\n$/)
        ends.push(Number(end.slice(1)))
      }
      return { values, ends }
    }
    const expectLeftAlike = async () => {
      const [got, wanted] = [await left(ours!), await left(theirs!)]
      expect(got.values).to.deep.equal(wanted.values)
      const describeEnds = () => `${String(got.ends)} instead of ${String(wanted.ends)}`
      for (const [i, end] of wanted.ends.entries()) {
        if (end < 0) expect(got.ends[i], describeEnds()).to.equal(end)
        else expect(got.ends[i], describeEnds()).to.be.closeTo(end, SLACK_MS)
      }
    }

    it('every command is here', () => {
      expect([...Object.keys(LINES), ...NEWER_COMMANDS].sort()).to.deep.equal(Object.keys(STEPS).sort())
    })

    // A value on one of several replicas is no majority: at the other levels a read may not find it.
    for (const level of nodes === 1 ? CONSISTENCY_LEVELS : (['one'] as const)) {
      for (const lifeMs of [0, LIFE_MS]) {
        describe(`${lifeMs === 0 ? 'without' : 'with'} a TTL, at ${level}`, () => {
          before(() => ours!.ask('RONDO', 'CONSISTENCY', level))
          for (const [name, lines] of Object.entries(LINES)) {
            for (const line of lines) {
              for (const inMulti of [false, true]) {
                it(`${line}${inMulti ? ' in MULTI' : ''}`, async () => {
                  await plant(lifeMs)
                  const run = async (client: RawResp) => {
                    if (!inMulti) return client.ask(...line.split(' '))
                    await client.ask('MULTI')
                    await client.ask(...line.split(' '))
                    return client.ask('EXEC')
                  }
                  const [reply, expected] = [await run(ours!), await run(theirs!)]
                  if (TIMES.has(name)) {
                    const [got, wanted] = [reply, expected].map((text) =>
                      Number(/:(-?\d+)\r\n$/.exec(text)![1]),
                    )
                    expect(got).to.be.closeTo(wanted!, name.startsWith('p') ? SLACK_MS : 1)
                  } else expect(reply).to.equal(expected)
                  await expectLeftAlike()
                })
              }
            }
          }
        })
      }
    }

    it('a command that only reads asks when they expire only to tell it', async () => {
      await plant(LIFE_MS)
      const asked: string[] = []
      let line = ''
      const nodes = running.rondo.cluster.members.map(({ node }) => node)
      const own = nodes.map((node) => node.lifeMs.bind(node))
      for (const [i, node] of nodes.entries()) {
        node.lifeMs = (key) => {
          asked.push(line)
          return own[i]!(key)
        }
      }
      const readers = COMMANDS.filter(({ name, flags }) => flags.includes('readonly') && name in LINES)
      expect(readers.map(({ name }) => name)).to.include.members(['mget', 'strlen', 'exists', ...TIMES])
      for (const { name } of readers) {
        for (line of LINES[name]!) await ours!.ask(...line.split(' '))
      }
      for (const [i, node] of nodes.entries()) node.lifeMs = own[i]!
      expect(new Set(asked.map((one) => one.split(' ')[0]!.toLowerCase()))).to.deep.equal(TIMES)
    })

    it('over HTTP: incr, append, expire and persist keep and change the TTL as Redis does', async () => {
      const post = async (operation: string, body: object) =>
        (await call(running.ports.socket, 'POST', `/api/v1/keys/%7Bt%7Dk/${operation}`, { body })).json()
      await plant(LIFE_MS)
      expect(await post('incr', {})).to.include({ value: '6', ttl: 100 })
      await plant(LIFE_MS)
      expect(await post('append', { value: 'x' })).to.include({ value: '5x', ttl: 100 })
      await plant(LIFE_MS)
      expect(await post('persist', {})).to.include({ value: '5', ttl: 0 })
      await plant(LIFE_MS)
      expect(await post('expire', { ttl: 50 })).to.include({ value: '5', ttl: 50 })
      await plant(0)
      expect(await post('incr', {})).to.include({ value: '6', ttl: 0 })
      await plant(LIFE_MS)
      expect(await post('getdel', {})).to.include({ value: '5' })
    })
  })
}
