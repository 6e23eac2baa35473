// One command on very many keys: it is carried out, whatever the limits of the coordinator; and when a part of it fails,
// its answer says what may have become of the rest.
import { expect } from 'chai'
import type { Coordinator } from '../../../src/coordinator/coordinator.ts'
import { RondoError } from '../../../src/core/errors.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RedisServer, startRedisCluster } from '../../../scripts/redis-server.ts'
import { RondoUnderTest, until } from '../../support/rondo-under-test.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const OK = '+OK\r\n'
const bulk = (text: string) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`
const names = (count: number) => Array.from({ length: count }, (_, i) => `key:${i}`)
const pairs = (keys: string[]) => keys.flatMap((key) => [key, `of ${key}`])

const NOT_APPLIED = () =>
  new RondoError('UNAVAILABLE', 'No node accepts writes now. It was not applied.', {
    outcome: 'not-applied',
  })
const UNKNOWN = () =>
  new RondoError('OUTCOME_UNKNOWN', 'Nobody confirmed it. It may have been applied.', { outcome: 'unknown' })

describe('a command on many keys', () => {
  for (const [title, env, count] of [
    ['with the limits as they are', {}, 10_001],
    ['where few operations may be under way', { MAX_IN_FLIGHT: '20' }, 500],
  ] as const) {
    describe(title, function () {
      this.timeout(30_000)
      let running: RunningRondo
      let client: RawResp
      before(async () => (running = await startRondo(env)))
      after(() => running.stop())
      beforeEach(async () => (client = await RawResp.open(running.rondo.respServer.port)))
      afterEach(() => client.close())

      for (const level of ['one', 'quorum']) {
        it(`all of them are set, read, counted and deleted, at ${level}`, async () => {
          const keys = names(count)
          await client.ask('RONDO', 'CONSISTENCY', level)
          expect(await client.ask('MSET', ...pairs(keys))).to.equal(OK)
          const values = keys.map((key) => bulk(`of ${key}`)).join('')
          expect(await client.ask('MGET', ...keys)).to.equal(`*${count}\r\n${values}`)
          expect(await client.ask('EXISTS', ...keys, 'nope')).to.equal(`:${count}\r\n`)
          expect(await client.ask('DEL', ...keys, 'nope')).to.equal(`:${count}\r\n`)
          expect(await client.ask('EXISTS', ...keys)).to.equal(':0\r\n')
        })
      }

      it('of a key that comes several times, the last value counts, and what is pipelined behind sees it', async () => {
        const keys = names(count)
        const args = [...pairs(keys), ...keys.flatMap((key) => [key, 'again']), 'key:0', 'last']
        client.send(Buffer.concat([command('MSET', ...args), command('MGET', 'key:0', 'key:1', 'key:0')]))
        expect(await client.replies(2)).to.deep.equal([
          OK,
          `*3\r\n${bulk('last')}${bulk('again')}${bulk('last')}`,
        ])
      })

      it('several clients do so at once', async () => {
        const clients = await Promise.all(
          Array.from({ length: 4 }, () => RawResp.open(running.rondo.respServer.port)),
        )
        const sets = clients.map((one, i) =>
          one.ask('MSET', ...pairs(names(count).map((key) => `${i}${key}`))),
        )
        expect(await Promise.all(sets)).to.deep.equal([OK, OK, OK, OK])
        for (const one of clients) one.close()
      })
    })
  }

  describe('when some of them fail', () => {
    let running: RunningRondo
    let client: RawResp
    let coordinator: Coordinator
    /** Keys that somebody began to change. */
    let begun: string[]
    /** Why a key cannot be changed. */
    let refusal: (key: string) => RondoError | null
    before(async () => {
      running = await startRondo()
      coordinator = running.rondo.coordinator
      const write = coordinator.write.bind(coordinator)
      const update = coordinator.update.bind(coordinator)
      const refused = (key: Buffer, failed: (error: RondoError) => void) => {
        begun.push(key.toString())
        const error = refusal(key.toString())
        if (error) setImmediate(() => failed(error))
        return error !== null
      }
      coordinator.write = (key, value, expiresAtMs, done, level) => {
        if (!refused(key, (error) => done.failed(error))) write(key, value, expiresAtMs, done, level)
      }
      coordinator.update = (key, modify, done, level) => {
        if (!refused(key, (error) => done.failed(error))) update(key, modify, done, level)
      }
    })
    after(() => running.stop())
    beforeEach(async () => {
      refusal = () => null
      client = await RawResp.open(running.rondo.respServer.port)
      await client.ask('MSET', ...pairs(names(1000)))
      begun = []
    })
    afterEach(() => client.close())

    const commands: [string, (keys: string[]) => string[]][] = [
      ['MSET', (keys) => ['MSET', ...pairs(keys)]],
      ['DEL', (keys) => ['DEL', ...keys]],
      ['UNLINK', (keys) => ['UNLINK', ...keys]],
    ]
    for (const [name, args] of commands) {
      it(`${name}: none was changed, and the answer says just that`, async () => {
        refusal = NOT_APPLIED
        expect(await client.ask(...args(names(3)))).to.equal(
          '-NOREPLICAS No node accepts writes now. It was not applied.\r\n',
        )
      })

      it(`${name}: some were changed and some certainly not, and the answer tells how many`, async () => {
        refusal = (key) => (key === 'key:2' ? NOT_APPLIED() : null)
        expect(await client.ask(...args(names(3)))).to.equal(
          '-UNKNOWN 2 of 3 keys were changed, 0 may have been, and the others were not. Of the first that failed: ' +
            'No node accepts writes now. It was not applied.\r\n',
        )
      })

      it(`${name}: one may have been changed, and the others were not`, async () => {
        refusal = (key) => (key === 'key:1' ? UNKNOWN() : NOT_APPLIED())
        expect(await client.ask(...args(names(3)))).to.match(
          /^-UNKNOWN 0 of 3 keys were changed, 1 may have been, and the others were not\. /,
        )
      })

      it(`${name}: once one has failed, no further ones are begun`, async () => {
        refusal = NOT_APPLIED
        expect(await client.ask(...args(names(1000)))).to.match(/^-NOREPLICAS /)
        expect(begun).to.have.length.within(1, 300)
        expect(begun).to.deep.equal(names(begun.length))
      })
    }

    it('DEL of keys that were not there has changed none of them', async () => {
      refusal = (key) => (key === 'key:2' ? NOT_APPLIED() : null)
      expect(await client.ask('DEL', 'nope', 'key:2', 'neither')).to.match(/^-NOREPLICAS /)
    })

    it('a command on one key says what happened to it', async () => {
      refusal = UNKNOWN
      expect(await client.ask('MSET', 'a', '1')).to.equal(
        '-UNKNOWN Nobody confirmed it. It may have been applied.\r\n',
      )
    })
  })

  describe('with large values', () => {
    let running: RunningRondo
    before(async () => (running = await startRondo()))
    after(() => running.stop())

    it('MGET of more than MAX_REPLY_BYTES is refused, and the connection goes on', async () => {
      const client = await RawResp.open(running.rondo.respServer.port)
      await client.ask('SET', 'large', Buffer.alloc(8 * 1024 * 1024))
      expect((await client.ask('MGET', 'large', 'large')).length).to.be.above(16 * 1024 * 1024)
      expect(await client.ask('MGET', ...Array.from({ length: 5 }, () => 'large'))).to.match(
        /^-ERR The reply would have more than 33554432 bytes \(MAX_REPLY_BYTES\): ask for fewer keys at once\.\r\n$/,
      )
      client.close()
    })
  })

  describe('on dead nodes', function () {
    this.timeout(30_000)
    let servers: RedisServer[]
    let under: RondoUnderTest
    let client: RawResp
    before(async () => {
      servers = await startRedisCluster(3)
      under = await RondoUnderTest.start(servers)
      client = await RawResp.open(under.respPort)
    })
    after(async () => {
      client.close()
      await under.stop()
      await Promise.all(servers.map((server) => server.stop()))
    })
    const asks = async () => [
      await client.ask('MSET', 'a', '1', 'b', '2', 'c', '3'),
      await client.ask('DEL', 'a', 'b', 'c'),
    ]
    const kill = async (server: RedisServer) => {
      await server.kill()
      await until('it is known', () => under.member(server).health.state === 'down')
    }

    it('NOREPLICAS, because nothing was done; also at ALL with one replica down', async () => {
      expect(await asks()).to.deep.equal([OK, ':3\r\n'])
      await kill(servers[0]!)
      await client.ask('RONDO', 'CONSISTENCY', 'all')
      for (const reply of await asks()) expect(reply).to.match(/^-NOREPLICAS .*Nothing was sent\.\r\n$/)
      await client.ask('RONDO', 'CONSISTENCY', 'one')
      for (const server of servers.slice(1)) await kill(server)
      for (const reply of await asks()) {
        expect(reply)
          .to.match(/^-NOREPLICAS /)
          .and.not.to.match(/may/)
      }
    })
  })
})
