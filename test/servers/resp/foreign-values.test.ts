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
import { KEY_LINES as LINES } from '../../support/key-lines.ts'
import { NEWER_COMMANDS } from '../../support/newer-commands.ts'

const LIFE_MS = 100_000
/** A value is put into the node and into the other Redis at about the same time; no two expected times are so close. */
const SLACK_MS = 1000
const KEYS = ['{t}k', '{t}other', '{t}new', '{t}nosuch']
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
