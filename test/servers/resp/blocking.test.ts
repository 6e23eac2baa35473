// Commands that wait for an element, beside a real Redis: the same replies, byte for byte, in the same order.
import { expect } from 'chai'
import { RawResp, command } from '../../support/raw-resp.ts'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

/**
 * `1 BLPOP l 0` on connection 1, whose reply is compared at once; with `1* ` it has to wait, and `<1` reads its reply.
 * `>1 …` sends without waiting for anything, and `x1` closes the connection.
 */
const SCENARIOS: Readonly<Record<string, readonly string[]>> = {
  'what is there comes at once, from the first key that has something': [
    ...['0 RPUSH b 1 2 3', '1 BLPOP a b c 0', '1 BRPOP b a 0', '1 BLPOP a b 1', '0 EXISTS b'],
    ...['0 RPUSH a x y', '0 RPUSH b z', '1 BLMPOP 0 2 b a RIGHT COUNT 5', '1 BLMPOP 0 2 b a RIGHT COUNT 1'],
    ...[
      '0 RPUSH {t}a x',
      '1 BLMOVE {t}a {t}to LEFT RIGHT 0',
      '0 LRANGE {t}to 0 -1',
      '1 BRPOPLPUSH {t}to {t}to 0',
      '1 BRPOPLPUSH {t}to {t}a 0',
    ],
    ...['0 ZADD z 1 a 2 b 3.5 c', '1 BZPOPMIN nothing z 0', '1 BZPOPMAX z 0', '1 BZMPOP 0 1 z MAX COUNT 3'],
  ],
  'who waits gets what is pushed, in turn': [
    ...[
      '1* BLPOP l 0',
      '2* BRPOP l 0',
      '3* BLPOP k l 0',
      '0 RPUSH l a b c d',
      '<1',
      '<2',
      '<3',
      '0 LRANGE l 0 -1',
    ],
    ...['1* BZPOPMIN z 0', '2* BZMPOP 0 1 z MAX COUNT 2', '0 ZADD z 1 a 2 b 3 c', '<1', '<2', '0 EXISTS z'],
    ...['1* BLMPOP 0 2 n m LEFT COUNT 2', '0 RPUSH m a b c', '<1', '0 LRANGE m 0 -1'],
    ...[
      '1* BLMOVE {t}s {t}t RIGHT LEFT 0',
      '2* BRPOPLPUSH {t}s {t}t 0',
      '0 RPUSH {t}s 1 2',
      '<1',
      '<2',
      '0 LRANGE {t}t 0 -1',
    ],
  ],
  'other commands that store a list wake as well': [
    ...['0 RPUSH {t}from a', '1* BLPOP {t}to 0', '0 RENAME {t}from {t}to', '<1'],
    ...[
      '0 RPUSH {t}from a b',
      '1* BLPOP {t}to 0',
      '0 COPY {t}from {t}to',
      '<1',
      '0 LRANGE {t}to 0 -1',
      '0 DEL {t}to',
    ],
    ...['1* BLPOP {t}s 0', '0 RPUSH {t}a 3 1 2', '0 SORT {t}a STORE {t}s', '<1'],
    ...['1* BLPOP {t}m 0', '0 MULTI', '0 RPUSH {t}m 1 2', '0 LPOP {t}m', '0 EXEC', '<1'],
    ...['1* BLPOP {t}m 0', '0 MULTI', '0 RPUSH {t}m 1', '0 DEL {t}m', '0 EXEC', '0 RPUSH {t}m 2', '<1'],
    ...['1* BLPOP {t}x 0', '0 LMOVE {t}a {t}x LEFT LEFT', '<1'],
    ...[
      '1* BZPOPMAX {t}z 0',
      '0 ZUNIONSTORE {t}z 1 {t}y',
      '0 ZADD {t}y 1 a',
      '0 ZUNIONSTORE {t}z 1 {t}y',
      '<1',
    ],
    ...['1* BZPOPMAX {t}g 0', '0 GEOADD {t}g 1 1 here', '<1'],
  ],
  'one that moves wakes the next': [
    ...['1* BLMOVE {t}a {t}b LEFT LEFT 0', '2* BLMOVE {t}b {t}c LEFT LEFT 0', '3* BLPOP {t}c 0'],
    ...['0 RPUSH {t}a x', '<1', '<2', '<3', '0 EXISTS {t}a {t}b {t}c'],
  ],
  'nothing comes in time': [
    ...[
      '1 BLPOP a b 0.01',
      '1 BRPOP a 0.01',
      '1 BLMOVE {t}a {t}b LEFT LEFT 0.01',
      '1 BRPOPLPUSH {t}a {t}b 0.01',
    ],
    ...['1 BLMPOP 0.01 1 a LEFT', '1 BZMPOP 0.01 1 a MIN', '1 BZPOPMIN a 0.01', '1 BZPOPMAX a 0.0001'],
  ],
  'keys of another type': [
    ...[
      '0 SET s x',
      '0 ZADD z 1 a',
      '0 RPUSH l a b',
      '0 SET {t}s x',
      '0 ZADD {t}z 1 a',
      '1 BLPOP s 0',
      '1 BLPOP none s l 0',
      '1 BLPOP l s 0',
    ],
    ...['1 BZPOPMIN l 0', '1 BZMPOP 0 2 s z MIN', '1 BLMPOP 0 1 z LEFT', '1 BLMOVE {t}s {t}l LEFT LEFT 0'],
    ...['0 RPUSH {t}l a', '1 BLMOVE {t}l {t}s LEFT LEFT 0', '0 LRANGE {t}l 0 -1', '1 BRPOPLPUSH {t}z {t}l 0'],
    ...[
      '1* BLPOP w 0',
      '0 SET w x',
      '0 DEL w',
      '0 ZADD w 1 a',
      '2 BLPOP w 0',
      '0 DEL w',
      '0 RPUSH w e',
      '<1',
    ],
    ...['1* BLMOVE {t}from {t}s LEFT LEFT 0', '0 RPUSH {t}from e', '<1', '0 LRANGE {t}from 0 -1'],
    ...['1* BLPOP two 0', '2* BZPOPMIN two 0', '0 ZADD two 1 a', '<2', '0 RPUSH two b', '<1'],
  ],
  'wrong arguments': [
    ...['1 BLPOP a x', '1 BLPOP a -1', '1 BLPOP a nan', '1 BLPOP a ""', '1 BLPOP a " 1"', '1 BLPOP a "1 "'],
    ...['1 BLPOP a', '1 BLPOP', '1 BRPOPLPUSH a b', '1 BRPOPLPUSH a b x', '1 BLMOVE a b LEFT LEFT'],
    ...['1 BLMOVE a b foo LEFT x', '1 BLMOVE a b LEFT foo 0', '1 BLMOVE a b LEFT LEFT x', '1 BZPOPMIN a x'],
    ...['1 BLMPOP x 0 a LEFT', '1 BLMPOP x 1 a foo', '1 BLMPOP x 1 a LEFT', '1 BLMPOP -1 1 a LEFT COUNT 1'],
    ...[
      '1 BLMPOP 0 1 a LEFT COUNT 0',
      '1 BLMPOP 0 2 a LEFT',
      '1 BLMPOP 0 1 a LEFT COUNT',
      '1 BZMPOP 0 1 a LEFT',
    ],
    ...['1 BLMPOP 0 1 a LEFT COUNT 1 COUNT 2', '1 BZMPOP x 1 a MIN COUNT 0', '1 BZMPOP x 1 a MIN COUNT 1'],
  ],
  'inside MULTI nothing waits': [
    ...[
      '1 MULTI',
      '1 BLPOP {t}a {t}b 0',
      '1 BRPOP {t}a 0',
      '1 BLMOVE {t}a {t}b LEFT LEFT 0',
      '1 BRPOPLPUSH {t}a {t}b 0',
    ],
    ...[
      '1 BZPOPMIN {t}z 0',
      '1 BZPOPMAX {t}z 0',
      '1 BLMPOP 0 1 {t}a LEFT',
      '1 BZMPOP 0 1 {t}z MIN',
      '1 EXEC',
    ],
    ...['0 RPUSH {t}b 1 2 3 4', '0 ZADD {t}z 1 a 2 b 3 c'],
    ...['1 MULTI', '1 BLPOP {t}a {t}b 0', '1 BRPOP {t}b 0', '1 BLMOVE {t}b {t}c LEFT LEFT 0'],
    ...[
      '1 BZPOPMIN {t}y {t}z 0',
      '1 BLMPOP 0 2 {t}b {t}c LEFT COUNT 9',
      '1 BZMPOP 0 1 {t}z MIN',
      '1 BLPOP {t}b x',
      '1 EXEC',
    ],
    ...['0 SET {t}s x', '1 MULTI', '1 BLPOP {t}s 0', '1 BZPOPMIN {t}s 0', '1 EXEC'],
  ],
  'what is pipelined behind it waits': [
    ...[
      '>1 RPUSH p 1',
      '>1 BLPOP p 0',
      '>1 BLPOP p 0',
      '>1 ECHO after',
      '<1',
      '<1',
      '=1',
      '0 RPUSH p 2',
      '<1',
      '<1',
    ],
  ],
  'CLIENT UNBLOCK': [
    ...[
      '1 CLIENT UNBLOCK x',
      '1 CLIENT UNBLOCK 1 foo',
      '1 CLIENT UNBLOCK 999999',
      '1 CLIENT UNBLOCK 999999 error',
    ],
    ...[
      '1* BLPOP a 0',
      '0 CLIENT UNBLOCK #1',
      '<1',
      '0 CLIENT UNBLOCK #1',
      '1* BZPOPMIN a 0',
      '0 CLIENT UNBLOCK #1 TIMEOUT',
      '<1',
    ],
    ...['1* BLMOVE {t}a {t}b LEFT LEFT 0', '0 CLIENT UNBLOCK #1 ERROR', '<1', '0 RPUSH a x', '1 BLPOP a 0'],
  ],
  'a client that has gone takes nothing': [
    ...['1* BLPOP q 0', '2* BLPOP q 0', 'x1', '=2', '0 RPUSH q a', '<2', '0 LLEN q'],
    ...['3* BLPOP q 0', '/3', '0 RPUSH q b', '0 LRANGE q 0 -1'],
  ],
  streams: [
    ...[
      '1* XREAD BLOCK 0 STREAMS {t}a {t}b $ $',
      '2* XREAD COUNT 1 BLOCK 0 STREAMS {t}a 0',
      '0 XADD {t}a 1-1 f v',
      '<1',
      '<2',
    ],
    ...[
      '1 XREAD BLOCK 0 STREAMS {t}a 0',
      '1* XREAD BLOCK 0 STREAMS {t}a $',
      '0 XDEL {t}a 1-1',
      '0 XADD {t}a 2-1 f w',
      '<1',
    ],
    ...[
      '1 XREAD BLOCK 10 STREAMS {t}a $',
      '1 XREAD BLOCK x STREAMS {t}a $',
      '1 XREAD BLOCK -1 STREAMS {t}a $',
    ],
    ...[
      '0 XGROUP CREATE {t}a g $',
      '0 XGROUP CREATE {t}a h $',
      '1* XREADGROUP GROUP g one BLOCK 0 STREAMS {t}a >',
    ],
    ...[
      '2* XREADGROUP GROUP g two BLOCK 0 STREAMS {t}a >',
      '3* XREADGROUP GROUP h one BLOCK 0 STREAMS {t}a >',
    ],
    ...[
      '0 XADD {t}a 3-1 f x',
      '<1',
      '<3',
      '0 XADD {t}a 4-1 f y',
      '<2',
      '0 XPENDING {t}a g',
      '0 XACK {t}a g 3-1',
    ],
    ...[
      '1 XREADGROUP GROUP g one BLOCK 10 STREAMS {t}a >',
      '1 XREADGROUP GROUP g two BLOCK 0 STREAMS {t}a 0',
    ],
    ...[
      '1 XREADGROUP GROUP none one BLOCK 0 STREAMS {t}a >',
      '1* XREADGROUP GROUP g one BLOCK 0 STREAMS {t}a >',
    ],
    ...['0 XADD {t}a MAXLEN 1 5-1 f z', '<1', '0 SET {t}s x', '1 XREAD BLOCK 0 STREAMS {t}s 0'],
    ...[
      '1 MULTI',
      '1 XREAD BLOCK 0 STREAMS {t}a $',
      '1 XREADGROUP GROUP g one BLOCK 0 STREAMS {t}a >',
      '1 EXEC',
    ],
  ],
  'a list that waits for itself': ['1* BLMOVE a a LEFT RIGHT 0', '0 RPUSH a 1 2', '<1', '0 LRANGE a 0 -1'],
}

/** Runs it, and returns what came. */
async function transcript(port: number, lines: readonly string[], protocol: 2 | 3): Promise<string[]> {
  const connections: RawResp[] = []
  const ids: string[] = []
  const watcher = await RawResp.open(port)
  const blocked = async () => Number(/blocked_clients:(\d+)/.exec(await watcher.ask('INFO', 'clients'))![1])
  const became = async (count: number) => {
    while ((await blocked()) !== count) await new Promise((resolve) => setTimeout(resolve, 2))
  }
  for (let i = 0; i < 4; i++) {
    const one = await RawResp.open(port)
    await one.ask('HELLO', `${protocol}`)
    ids.push(/\d+/.exec(await one.ask('CLIENT', 'ID'))![0])
    connections.push(one)
  }
  await watcher.ask('FLUSHALL')
  const said: string[] = []
  for (const line of lines) {
    const [, sign, at, star, text = ''] = /^([<>x=/]?)(\d)(\*?) ?(.*)$/.exec(line)!
    const one = connections[Number(at)]!
    const args = [...text.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word)
    const words = args.map((arg) => arg.replace(/^#(\d)$/, (_all, other: string) => ids[Number(other)]!))
    if (sign === '>') one.send(command(...words))
    else if (sign === '<') said.push(`${line}: ${await one.reply()}`)
    else if (sign === '=') await became(1)
    else if (sign === 'x') one.close()
    else if (sign === '/') {
      one.socket.end()
      said.push(`${line}: ${await one.rest()}`)
    } else if (star) {
      const before = await blocked()
      one.send(command(...words))
      await became(before + 1)
    } else said.push(`${line}: ${await one.ask(...words)}`)
  }
  await became(0)
  for (const one of [...connections, watcher]) one.close()
  return said
}

describe('commands that wait for an element', function () {
  this.timeout(20_000)
  let redis: RedisServer
  let rondo: RunningRondo
  before(async () => {
    redis = await startRedis()
    rondo = await startRondo({ ALLOW_DANGEROUS_COMMANDS: 'true' })
  })
  after(async () => {
    await rondo.stop()
    await redis.stop()
  })

  for (const [name, lines] of Object.entries(SCENARIOS)) {
    for (const protocol of [2, 3] as const) {
      it(`${name}, as in Redis (RESP${protocol})`, async () => {
        const expected = await transcript(redis.port, lines, protocol)
        expect(await transcript(rondo.rondo.respServer.port, lines, protocol)).to.deep.equal(expected)
      })
    }
  }

  it('whoever waits for a group is told when that, or its stream, is gone, however it went', async () => {
    const { port } = rondo.rondo.respServer
    const ends: Record<string, RegExp> = {
      'DEL s': /^-NOGROUP/,
      'XGROUP DESTROY s g': /^-NOGROUP/,
      'RENAME s {s}away': /^-NOGROUP/,
      'SET s x': /^-WRONGTYPE/,
      'PEXPIRE s 20': /^-NOGROUP/,
    }
    await Promise.all(
      Object.entries(ends).map(async ([end, error], i) => {
        const [client, other, key] = [await RawResp.open(port), await RawResp.open(port), `{s}${i}`]
        await client.ask('XGROUP', 'CREATE', key, 'g', '0', 'MKSTREAM')
        const told = client.ask('XREADGROUP', 'GROUP', 'g', 'c', 'BLOCK', '0', 'STREAMS', key, '>')
        await other.ask(...end.split(' ').map((word) => (word === 's' ? key : word)))
        expect(await told, end).to.match(error)
        for (const one of [client, other]) one.close()
      }),
    )
  })

  describe('when the client goes while something is taken for it', () => {
    let port: number
    let client: RawResp
    /** Of the pop that is on its way. */
    let release: () => void
    let arrived: Promise<void>
    beforeEach(async () => {
      port = rondo.rondo.respServer.port
      client = await RawResp.open(port)
      await client.ask('FLUSHALL')
      const { coordinator } = rondo.rondo
      const own = coordinator.update.bind(coordinator)
      let isFirst = true
      const released = new Promise<void>((resolve) => (release = resolve))
      arrived = new Promise((resolve) => {
        coordinator.update = (key, modify, done, ...more) => {
          if (!isFirst) {
            own(key, modify, done, ...more)
            return
          }
          isFirst = false
          const updated: typeof done.updated = (...result) => {
            resolve()
            void released.then(() => done.updated(...result))
          }
          own(key, modify, Object.assign(Object.create(done) as typeof done, { updated }), ...more)
        }
      })
    })
    afterEach(() => {
      delete (rondo.rondo.coordinator as { update?: unknown }).update
      client.close()
    })
    /** Fills the key, takes from it, closes the connection, and looks. */
    const cut = async (fill: string, take: string, how: 'close' | 'end' | 'kill') => {
      const other = await RawResp.open(port)
      await other.ask('HELLO', '2')
      const id = /\d+/.exec(await other.ask('CLIENT', 'ID'))![0]
      const fills = Object.getOwnPropertyDescriptor(rondo.rondo.coordinator, 'update')!
      delete (rondo.rondo.coordinator as { update?: unknown }).update
      await client.ask(...fill.split(' '))
      await client.ask('PEXPIRE', 'k', '100000')
      Object.defineProperty(rondo.rondo.coordinator, 'update', fills)
      other.send(command(...take.split(' ')))
      await arrived
      if (how === 'kill') await client.ask('CLIENT', 'KILL', 'ID', id)
      else if (how === 'close') other.close()
      else other.socket.end()
      const isGone = () =>
        [...rondo.rondo.respServer.connections].every(
          (one) => one.inputEnded || one.gone || String(one.id) !== id,
        )
      while (!isGone()) await new Promise((resolve) => setTimeout(resolve, 2))
      return other
    }
    const took: readonly (readonly [fill: string, take: string, look: string])[] = [
      ['RPUSH k a b c', 'BLPOP k 0', 'LRANGE k 0 -1'],
      ['RPUSH k a', 'BRPOP none k 0', 'LRANGE k 0 -1'],
      ['RPUSH k a b c', 'BLMPOP 0 1 k RIGHT COUNT 2', 'LRANGE k 0 -1'],
      ['RPUSH k a b', 'BLMPOP 0 1 k LEFT COUNT 999', 'LRANGE k 0 -1'],
      ['ZADD k 1.5 a -0.1 b', 'BZPOPMIN k 0', 'ZRANGE k 0 -1 WITHSCORES'],
      ['ZADD k 1e300 a', 'BZPOPMAX k 0', 'ZRANGE k 0 -1 WITHSCORES'],
      ['ZADD k 1 a 2 b', 'BZMPOP 0 1 k MIN COUNT 2', 'ZRANGE k 0 -1 WITHSCORES'],
    ]
    for (const [at, [fill, take, look]] of took.entries()) {
      it(`${take} gives it back, as it was`, async () => {
        const other = await cut(fill, take, (['close', 'end', 'kill'] as const)[at % 3]!)
        release()
        const [, , ...elements] = fill.split(' ')
        const pairs = elements.map((_, i) => [elements[i + 1]!, elements[i]!]).filter((_, i) => i % 2 === 0)
        const sorted = pairs.sort(([, one], [, two]) => Number(one) - Number(two)).flat()
        const wanted = fill.startsWith('ZADD') ? sorted : elements
        const found = async () => {
          const lines = (await client.ask(...look.split(' '))).split('\r\n').slice(1)
          return lines.filter((_, i) => i % 2 === 1).map((text) => (text === '1e+300' ? '1e300' : text))
        }
        for (let tries = 0; (await found()).length < wanted.length && tries < 500; tries++) {
          await new Promise((resolve) => setTimeout(resolve, 2))
        }
        expect(await found()).to.deep.equal(wanted)
        const ttl = Number((await client.ask('PTTL', 'k')).slice(1))
        expect(ttl).to.be.within(90_000, 100_000)
        other.close()
      })
    }

    it('the next one that waits gets it, before those who push and take behind', async () => {
      const other = await cut('RPUSH k a', 'BLPOP k 0', 'close')
      const next = await RawResp.open(port)
      next.send('BLPOP k 0\r\n')
      while (rondo.rondo.coordinator.waiters.blocked < 1 && next.socket.bytesWritten === 0) {
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      release()
      expect(await next.reply()).to.equal('*2\r\n$1\r\nk\r\n$1\r\na\r\n')
      expect(await client.ask('EXISTS', 'k')).to.equal(':0\r\n')
      for (const one of [other, next]) one.close()
    })
  })
})
