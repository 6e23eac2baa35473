/** Collections that another program stored on the server, as the driver sees them. */
import { expect } from 'chai'
import { foreignValue } from '../../src/commands/dump/foreign.ts'
import { VERSION_ZERO } from '../../src/core/clock.ts'
import { KIND_HASH, KIND_LIST, type PeekedRecord, StoredRecord } from '../../src/core/codec.ts'
import { Floors } from '../../src/core/floors.ts'
import { hintsKey, MARKER_KEY } from '../../src/core/keys.ts'
import { inOneGo } from '../../src/core/work.ts'
import { GRACE_MS } from '../../src/library/node-contract/contract.ts'
import type { ReadDump } from '../../src/nodes/redis/options.ts'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { accept, get, peek, prepare, record, store, storeAll, version } from '../support/node-calls.ts'
import { fenceOf, redisNodeUnderTest } from '../support/nodes-under-test.ts'

const MARKER = Buffer.from('{"cluster":"c","id":"r"}')
const KEY = Buffer.from('k')
const MAX_BYTES = 1024
const BALLOT = version({ ms: 5 })
const limits = { maxValueBytes: MAX_BYTES, random: Math.random }

describe('a collection of another program on the server', () => {
  let redis: RedisServer
  let under: Awaited<ReturnType<typeof redisNodeUnderTest>>
  /** Before what a DUMP holds is told. */
  let meanwhile: () => Promise<unknown>
  let dumps = 0

  const readDump: ReadDump = (dump, done) => {
    dumps++
    void meanwhile().then(() => done(inOneGo(foreignValue(dump, limits))))
  }
  async function open(read: ReadDump = readDump): Promise<void> {
    under = await redisNodeUnderTest(redis, { graceMs: GRACE_MS, maxValueBytes: MAX_BYTES, readDump: read })
    await under.server.setRaw(MARKER_KEY, MARKER)
    await under.node.open(await fenceOf(under.node, MARKER))
    dumps = 0
    meanwhile = () => Promise.resolve()
  }
  const refusal = (result: unknown) => {
    const { failure } = result as { failure?: { kind: string; reason: string; message: string } }
    return failure && `${failure.kind}, ${failure.reason}: ${failure.message}`
  }
  const recordIn = (result: unknown) => {
    return new StoredRecord((result as { bytes: Buffer }).bytes)
  }

  const peekedIn = (result: unknown) => (result as { record: PeekedRecord }).record

  before(async () => (redis = await startRedis()))
  beforeEach(() => open())
  afterEach(() => under.close())
  after(() => redis.stop())

  it('is read as a record at version zero, and stays', async () => {
    await under.client.hset(KEY, 'f', 'v')
    const read = recordIn(await get(under.node, KEY))
    expect([read.kind, read.isForeign, read.version]).to.deep.equal([KIND_HASH, true, VERSION_ZERO])
    const part = peekedIn(await peek(under.node, KEY, { from: 0, to: 3 }))
    expect(part.part({ from: 0, to: 3 })).to.deep.equal(read.value.subarray(0, 4))
    expect(part.valueLength).to.equal(read.valueLength)
    expect(await under.client.hgetall(KEY)).to.deep.equal({ f: 'v' })
  })

  it('is not read for its head', async () => {
    await under.client.rpush(KEY, ...Array<string>(20_000).fill('x'))
    const head = peekedIn(await peek(under.node, KEY, 'head'))
    expect([head.kind, head.isForeign, dumps]).to.deep.equal([KIND_LIST, true, 0])
  })

  it('is what the others share a call with', async () => {
    await under.client.hset(KEY, 'f', 'v')
    await under.client.set('raw', 'bytes')
    const [absent, ofHash, raw] = await Promise.all(
      ['absent', KEY, 'raw'].map((key) => prepare(under.node, key, BALLOT)),
    )
    expect(absent).to.deep.include({ kind: 'promised', bytes: null })
    expect(recordIn(ofHash).kind).to.equal(KIND_HASH)
    expect(recordIn(raw).value.toString()).to.equal('bytes')
  })

  it('becomes a record with the same content and end for a promise', async () => {
    await under.client.hset(KEY, 'f', 'v')
    await under.client.pexpire(KEY, 500_000)
    const { value } = recordIn(await get(under.node, KEY))
    expect(recordIn(await prepare(under.node, KEY, BALLOT)).value).to.deep.equal(value)
    const held = new StoredRecord((await under.server.getRaw(KEY))!)
    expect([held.kind, held.isForeign, held.promise, held.value]).to.deep.equal([
      KIND_HASH,
      true,
      BALLOT,
      value,
    ])
    expect(await under.client.pttl(KEY)).to.be.within(400_000, 500_000)
    expect(await accept(under.node, KEY, record(5))).to.deep.include({ kind: 'applied' })
  })

  it('holds the same for everybody if whoever has asked for the promise stops before it', async () => {
    await under.client.zadd(KEY, 1, 'a', 2, 'b')
    await under.client.pexpire(KEY, 500_000)
    const before = recordIn(await get(under.node, KEY))
    await new Promise<void>((resolve, reject) => {
      under.node.adoptForeign(KEY, {
        onString: resolve,
        onFound: () => reject(new Error('nothing was there')),
        onFailure: (_, { message }) => reject(new Error(message)),
      })
    })
    expect(await under.client.type(KEY)).to.equal('string')
    expect(recordIn(await get(under.node, KEY)).bytes).to.deep.equal(before.bytes)
    expect(await under.client.pttl(KEY)).to.be.within(400_000, 500_000)
  })

  it('is read again if it changes before it becomes a record: nothing is lost', async () => {
    await under.client.hset(KEY, 'f', 'v')
    meanwhile = async () => {
      if (dumps === 1) await under.client.hset(KEY, 'g', 'w')
    }
    const promised = recordIn(await prepare(under.node, KEY, BALLOT))
    expect(dumps).to.equal(2)
    await under.client.hset('same', 'f', 'v', 'g', 'w')
    expect(promised.value).to.deep.equal(recordIn(await get(under.node, 'same')).value)
  })

  it('gives way to a record, or to nothing, that comes before it becomes one', async () => {
    await under.client.hset(KEY, 'f', 'v')
    meanwhile = () => store(under.node, KEY, record(4, 'newer'))
    expect(recordIn(await prepare(under.node, KEY, BALLOT)).value.toString()).to.equal('newer')
    await under.client.del(KEY)
    await under.client.hset(KEY, 'f', 'v')
    meanwhile = () => under.client.del(KEY)
    expect(await prepare(under.node, KEY, BALLOT)).to.deep.include({ kind: 'promised', bytes: null })
  })

  it('that changes all the time is refused, and stays', async () => {
    await under.client.hset(KEY, 'f', 'v')
    meanwhile = () => under.client.hset(KEY, String(dumps), 'w')
    expect(refusal(await prepare(under.node, KEY, BALLOT))).to.match(
      /^refused, wrong-type: .* changes all the time$/,
    )
    expect(dumps).to.be.below(20)
    expect(await under.client.hget(KEY, 'f')).to.equal('v')
  })

  it('that cannot be read is refused, and stays until it is replaced', async () => {
    await under.close()
    await open((_, done) => done(null))
    await under.client.hset(KEY, 'f', 'v')
    for (const result of [await get(under.node, KEY), await prepare(under.node, KEY, BALLOT)]) {
      expect(refusal(result)).to.match(/^refused, wrong-type: .* cannot be read$/)
    }
    expect(await under.client.hget(KEY, 'f')).to.equal('v')
    expect((await store(under.node, KEY, record(5, 'v'))).kind).to.equal('applied')
  })

  it('of more bytes than a value may have is refused', async () => {
    await under.client.rpush(KEY, 'x'.repeat(MAX_BYTES))
    expect(refusal(await get(under.node, KEY))).to.match(/^refused, wrong-type: .* with more than/)
    expect(refusal(await prepare(under.node, KEY, BALLOT))).to.match(
      /^refused, wrong-type: .* with more than/,
    )
    expect(await under.client.llen(KEY)).to.equal(1)
  })

  it('is no value of a client under an internal name', async () => {
    const name = hintsKey('other')
    await under.client.hset(name, 'f', 'v')
    for (const result of [
      await get(under.node, name),
      await peek(under.node, name, 'head'),
      await prepare(under.node, name, BALLOT),
    ]) {
      expect(refusal(result)).to.equal('refused, wrong-type: the key holds a type other than string')
    }
    expect(await under.client.hget(name, 'f')).to.equal('v')
  })

  it('is nothing below a floor', async () => {
    const floors = new Floors([{ database: null, version: version({ ms: 3 }) }])
    await under.node.open({ ...(await fenceOf(under.node, MARKER)), floors })
    await under.client.hset(KEY, 'f', 'v')
    expect((await get(under.node, KEY)).kind).to.equal('absent')
    expect((await peek(under.node, KEY, 'head')).kind).to.equal('absent')
    expect(await prepare(under.node, KEY, BALLOT)).to.deep.include({ kind: 'promised', bytes: null })
  })

  it('is not seen in a record that may not be read', async () => {
    await store(under.node, KEY, record(9, 'newest'))
    const held = await under.server.getRaw(KEY)
    await under.client.call('ACL', 'SETUSER', 'default', '-getrange')
    const write = { key: KEY, record: record(5), lifeMs: 1000, onlyIf: VERSION_ZERO }
    const results = [
      await store(under.node, KEY, record(5)),
      await storeAll(under.node, [write]),
      await accept(under.node, KEY, record(5)),
    ]
    await under.client.call('ACL', 'SETUSER', 'default', '+@all')
    expect(results.map((result) => refusal(result)?.split(',')[0])).to.deep.equal([
      'refused',
      'refused',
      'refused',
    ])
    expect(await under.server.getRaw(KEY)).to.deep.equal(held)
  })
})
