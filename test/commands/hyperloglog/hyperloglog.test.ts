/**
 * HyperLogLogs are Redis's, byte for byte: the same elements in the same order give the same value, and what one of the two
 * has written, the other one reads and goes on with.
 */
import { expect } from 'chai'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { seeded, seeds } from '../../support/random.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { StepExecutor } from '../../servers/resp/steps-executor.ts'

const MAX_VALUE_BYTES = 1024 * 1024
const DENSE_BYTES = 12304
const NOT_VALID = '-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n'
const CORRUPT = '-INVALIDOBJ Corrupted HLL object detected\r\n'

describe('HyperLogLogs', function () {
  this.timeout(60_000)
  let redis: RedisServer
  let theirs: RawResp
  let ours: StepExecutor

  before(async () => {
    redis = await startRedis()
    theirs = await RawResp.open(redis.port)
  })
  after(async () => {
    theirs.close()
    await redis.stop()
  })
  beforeEach(async () => {
    ours = new StepExecutor(2, MAX_VALUE_BYTES)
    await theirs.ask('FLUSHALL')
  })

  type Args = (string | Buffer)[]
  const here = (...args: Args) =>
    ours.run(
      args.map((arg) => (typeof arg === 'string' ? Buffer.from(arg, 'latin1') : arg)),
      Date.now(),
    )
  const both = async (...args: Args) => {
    const mine = here(...args).toString('latin1')
    const shown = args.slice(0, 4).map(String).join(' ')
    expect(mine, shown).to.equal(await theirs.ask(...args))
    return mine
  }
  const bulkIn = (reply: string) => Buffer.from(reply.slice(reply.indexOf('\r\n') + 2, -2), 'latin1')
  const elements = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => `element:${from + i}`)

  it('elements of every length have the same place', async () => {
    for (let length = 0; length < 70; length++) {
      await both('PFADD', 'a', Buffer.from(Array.from({ length }, (_, i) => (i * 151 + length * 7) & 0xff)))
    }
    await both('PFADD', 'a', Buffer.alloc(100_003, 'xyz'))
    await both('GET', 'a')
  })

  it('no element is an element too few: PFADD of nothing makes an empty one', async () => {
    expect(await both('PFADD', 'a')).to.equal(':1\r\n')
    expect(await both('PFADD', 'a')).to.equal(':0\r\n')
    expect(bulkIn(await both('GET', 'a'))).to.have.length(18)
    expect(await both('PFCOUNT', 'a')).to.equal(':0\r\n')
  })

  for (const seed of seeds(4)) {
    it(`random elements give the same bytes and counts, sparse and dense, merged or not (seed ${seed})`, async () => {
      const random = seeded(seed)
      const keys = ['a', 'b', 'c', 'd']
      for (let i = 0; i < 60; i++) {
        const key = random.pick(keys)
        if (random.chance(0.2)) await both('PFMERGE', key, random.pick(keys), random.pick(keys))
        else if (random.chance(0.1)) await both('DEL', key)
        else {
          const most = random.pick([1, 5, 50, 400])
          await both('PFADD', key, ...elements(random.below(20_000), 1 + random.below(most)))
        }
        await both('GET', key)
        // With several keys Redis stores no count.
        await both('PFCOUNT', key, random.pick(keys))
      }
    })
  }

  it('counts the same as Redis, up to many elements', async () => {
    for (let from = 0; from < 100_000; from += 5_000) {
      await both('PFADD', 'a', ...elements(from, 5_000))
      await both('PFCOUNT', 'a', 'a')
    }
    expect(bulkIn(await both('GET', 'a'))).to.have.length(DENSE_BYTES)
    const counted = Number((await both('PFCOUNT', 'a')).slice(1))
    expect(counted).to.be.within(97_000, 103_000)
  })

  it('goes on with what Redis has written, with its count, and the other way round', async () => {
    for (const count of [1, 100, 1_000, 5_000]) {
      await theirs.ask('DEL', 'theirs')
      await theirs.ask('PFADD', 'theirs', ...elements(0, count))
      const counted = await theirs.ask('PFCOUNT', 'theirs')
      const stored = bulkIn(await theirs.ask('GET', 'theirs'))
      here('SET', 'theirs', stored)
      expect(here('PFCOUNT', 'theirs').toString(), 'the count that Redis stored').to.equal(counted)
      expect(here('PFADD', 'theirs', 'element:0').toString()).to.equal(':0\r\n')
      await both('PFADD', 'theirs', ...elements(count, 500))
      await both('GET', 'theirs')

      here('DEL', 'mine')
      here('PFADD', 'mine', ...elements(0, count))
      const mine = bulkIn(here('GET', 'mine').toString('latin1'))
      await theirs.ask('SET', 'mine', mine)
      expect(await theirs.ask('PFCOUNT', 'mine')).to.equal(counted)
    }
  })

  it('a register over 32 makes it dense', async () => {
    for (const [zeros, bytes] of [
      [31, 22],
      [32, DENSE_BYTES],
      [50, DENSE_BYTES],
    ] as const) {
      await both('DEL', 'a')
      await both('PFADD', 'a', 'x')
      expect(await both('PFADD', 'a', elementWith(5n, zeros))).to.equal(':1\r\n')
      expect(bulkIn(await both('GET', 'a')), `${zeros} zeros`).to.have.length(bytes)
      await both('PFCOUNT', 'a', 'a')
    }
  })

  describe('of damaged values', () => {
    const head = (encoding: number) =>
      Buffer.from([...Buffer.from('HYLL'), encoding, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80])
    const invalid: Record<string, Buffer> = {
      'no HYLL': Buffer.from('HYLX'),
      empty: Buffer.alloc(0),
      'half a head': head(1).subarray(0, 15),
      'an unknown encoding': Buffer.concat([head(2), Buffer.alloc(DENSE_BYTES - 16)]),
      'a dense one of another length': Buffer.concat([head(0), Buffer.alloc(DENSE_BYTES - 17)]),
    }
    for (const [what, value] of Object.entries(invalid)) {
      it(`${what}: no HyperLogLog`, async () => {
        await both('SET', 'a', value)
        await both('PFADD', 'b', 'x')
        for (const args of [
          ['PFADD', 'a', 'x'],
          ['PFADD', 'a'],
          ['PFADD', 'a', ...elements(0, 100)],
          ['PFCOUNT', 'a'],
          ['PFCOUNT', 'b', 'a'],
          ['PFMERGE', 'a', 'b'],
          ['PFMERGE', 'b', 'a'],
        ]) {
          expect(await both(...args)).to.equal(NOT_VALID)
        }
        await both('GET', 'a')
      })
    }

    const corrupt: Record<string, Buffer> = {
      'too few registers': Buffer.concat([head(1), Buffer.from([0x40, 0x0f])]),
      'no registers': head(1),
      'too many registers': Buffer.concat([head(1), Buffer.from([0x7f, 0xff, 0x84])]),
    }
    for (const [what, value] of Object.entries(corrupt)) {
      it(`${what}: corrupt`, async () => {
        await both('SET', 'a', value)
        await both('PFADD', 'b', 'x')
        for (const args of [
          ['PFCOUNT', 'a'],
          ['PFCOUNT', 'b', 'a'],
          ['PFMERGE', 'c', 'b', 'a'],
          ['PFMERGE', 'a', 'b'],
        ]) {
          expect(await both(...args)).to.equal(CORRUPT)
        }
        expect(here('PFADD', 'a', ...elements(0, 3_000)).toString()).to.equal(CORRUPT)
        expect(bulkIn(here('GET', 'a').toString('latin1'))).to.deep.equal(value)
      })
    }
  })
})

const M = 0xc6a4a7935bd1e995n
/** M × M_INVERSE = 1 modulo 2^64. */
const M_INVERSE = 0x5f7a0ea7e59b19bdn
const u64 = (value: bigint) => BigInt.asUintN(64, value)
const mix = (value: bigint) => value ^ (value >> 47n)

/** Eight bytes whose hash has this register, and then so many zeros: each step of MurmurHash64A undone. */
function elementWith(register: bigint, zeros: number): Buffer {
  const hash = zeros < 50 ? register | (1n << BigInt(14 + zeros)) : register
  const undone = u64(mix(u64(mix(hash) * M_INVERSE)) * M_INVERSE)
  const start = u64(0xadc83b19n ^ (8n * M))
  const block = u64(mix(u64((undone ^ start) * M_INVERSE)) * M_INVERSE)
  const element = Buffer.alloc(8)
  element.writeBigUInt64LE(block)
  return element
}
