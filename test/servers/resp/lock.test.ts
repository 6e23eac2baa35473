/** A lock without scripts: SET NX PX takes it, SET IFEQ extends it, DELEX IFEQ gives it back. */
import { expect } from 'chai'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'

const OK = '+OK\r\n'
const NIL = '$-1\r\n'
const TTL_MS = '60000'
const CLIENTS_EACH = 4
const TURNS_EACH = 15
/** Between a lock and its release a client does this much, so that the others meet it. */
const EXTENSIONS = 2

describe('a lock at quorum, over two coordinators', function () {
  this.timeout(60_000)
  let servers: RedisServer[]
  let coordinators: RondoUnderTest[]
  before(async () => {
    servers = await Promise.all([startRedis(), startRedis(), startRedis()])
    const env = { READ_CONSISTENCY: 'quorum', WRITE_CONSISTENCY: 'quorum', REQUEST_TIMEOUT_MS: '10000' }
    coordinators = [await RondoUnderTest.start(servers, env), await RondoUnderTest.start(servers, env)]
  })
  after(async () => {
    await Promise.all(coordinators.map((one) => one.stop()))
    await Promise.all(servers.map((one) => one.stop()))
  })

  const everybody = () =>
    Promise.all(
      coordinators.flatMap(({ respPort }) =>
        Array.from({ length: CLIENTS_EACH }, () => RawResp.open(respPort)),
      ),
    )
  /**
   * Asks until the outcome is certain. Each command names its token, so that it may be repeated when an earlier attempt may
   * have been applied (UNKNOWN).
   */
  const certainly = async (client: RawResp, ...args: string[]) => {
    for (let isRepeated = false; ; isRepeated = true) {
      const reply = await client.ask(...args)
      if (!/^-(NOREPLICAS|TRYAGAIN|UNKNOWN)/.test(reply)) return { reply, isRepeated }
    }
  }
  const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`

  /** Takes the lock, sees that nobody else has it, extends it, and gives it back. Meanwhile the others try all three. */
  async function turns(
    client: RawResp,
    name: string,
    holders: Set<string>,
    acquired: string[],
  ): Promise<void> {
    for (let turn = 0; turn < TURNS_EACH;) {
      const token = `${name}:${turn}`
      const taken = await certainly(client, 'SET', 'lock', token, 'NX', 'PX', TTL_MS)
      if (taken.reply !== OK && !(await isHeldBy(client, token))) {
        expect(taken.reply).to.equal(NIL)
        await cannotTouch(client, `${name}:none`)
        continue
      }
      expect([...holders], `${token} and another one hold it`).to.deep.equal([])
      holders.add(token)
      acquired.push(token)
      for (let i = 0; i < EXTENSIONS; i++) {
        const { reply } = await certainly(client, 'SET', 'lock', token, 'IFEQ', token, 'PX', TTL_MS)
        expect(reply, token).to.equal(OK)
      }
      expect(holders.delete(token)).to.equal(true)
      const given = turn % 2 === 0 ? ['DELEX', 'lock', 'IFEQ', token] : ['DELIFEQ', 'lock', token]
      const { reply, isRepeated } = await certainly(client, ...given)
      if (!isRepeated) expect(reply, token).to.equal(':1\r\n')
      turn++
    }
  }

  /** Also gives back what an earlier attempt of this client has taken without its knowledge. */
  async function isHeldBy(client: RawResp, token: string): Promise<boolean> {
    const { reply } = await certainly(client, 'GET', 'lock')
    const [, holder = ''] = reply.split('\r\n')
    const [name] = token.split(':')
    if (holder !== token && holder.startsWith(`${name}:`))
      await certainly(client, 'DELEX', 'lock', 'IFEQ', holder)
    return holder === token
  }

  async function cannotTouch(client: RawResp, token: string): Promise<void> {
    expect((await certainly(client, 'SET', 'lock', token, 'IFEQ', token, 'PX', TTL_MS)).reply).to.equal(NIL)
    expect((await certainly(client, 'DELEX', 'lock', 'IFEQ', token)).reply).to.equal(':0\r\n')
  }

  it('is held by one client at a time, and nobody else extends it or gives it back', async () => {
    const clients = await everybody()
    const holders = new Set<string>()
    const acquired: string[] = []
    await Promise.all(clients.map((client, i) => turns(client, `client-${i}`, holders, acquired)))
    expect(new Set(acquired).size).to.equal(clients.length * TURNS_EACH)
    for (const client of clients) client.close()
  })

  it('several keys are taken all or none: MSETEX NX', async () => {
    const clients = await everybody()
    const keys = ['{t}a', '{t}b', '{t}c']
    const taken = await Promise.all(
      clients.map((client, i) => {
        // Each in another order: none takes a part, and none waits for another.
        const mine = keys.map((_, j) => keys[(i + j) % keys.length]!)
        const pairs = mine.flatMap((key) => [key, `client-${i}`])
        return certainly(client, 'MSETEX', '3', ...pairs, 'NX', 'PX', TTL_MS)
      }),
    )
    const { reply: held } = await certainly(clients[0]!, 'MGET', ...keys)
    const winner = clients.findIndex((_, i) => held === `*3\r\n${bulk(`client-${i}`).repeat(3)}`)
    expect(winner, held).to.be.at.least(0)
    taken.forEach(({ reply, isRepeated }, i) => {
      if (i !== winner) expect(reply).to.equal(':0\r\n')
      else if (!isRepeated) expect(reply).to.equal(':1\r\n')
    })
    for (const client of clients) client.close()
  })

  it('keys on other replicas cannot be taken together, but set together', async () => {
    const client = await RawResp.open(coordinators[0]!.respPort)
    const spread = Array.from({ length: 12 }, (_, i) => [`key:${i}`, 'v']).flat()
    const crossSlot = "-CROSSSLOT Keys in request don't hash to the same slot\r\n"
    const shared = coordinators[0]!.rondo.coordinator.sharesReplicaSet(
      spread.filter((_, i) => i % 2 === 0).map((key) => Buffer.from(key)),
    )
    expect(shared).to.equal(false)
    for (const option of ['NX', 'XX', 'KEEPTTL']) {
      expect(await client.ask('MSETEX', '12', ...spread, option)).to.equal(crossSlot)
    }
    expect(await client.ask('MSETEX', '12', ...spread, 'EX', '100')).to.equal(':1\r\n')
    expect(await client.ask('EXISTS', ...spread.filter((_, i) => i % 2 === 0))).to.equal(':12\r\n')
    client.close()
  })
})
