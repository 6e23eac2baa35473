import { expect } from 'chai'
import { inOneGo } from '../../src/core/work.ts'
import {
  Big,
  Bool,
  Double,
  elementsOf,
  encodeInSlices,
  encodeReply,
  Lazy,
  NULL_ARRAY,
  RespError,
  RespMap,
  RespSet,
  Simple,
  Verbatim,
  type Reply,
} from '../../src/commands/reply.ts'
import { decodeOutcome, encodeOutcome } from '../../src/scripts/wire.ts'
import { seeded, seeds, type Random } from '../support/random.ts'

const LEAVES: readonly ((random: Random) => Reply)[] = [
  () => null,
  () => NULL_ARRAY,
  (random) => random.below(2 ** 31) - 2 ** 30,
  (random) => BigInt(random.below(2 ** 31)) * -(2n ** 32n),
  (random) => Buffer.alloc(random.below(300), random.below(256)),
  () => new Simple('OK'),
  () => new RespError('ERR no'),
  () => new Double(1.5, '1.5'),
  () => new Verbatim('text', 'txt'),
  (random) => new Bool(random.chance(0.5)),
  () => new Big('123456789012345678901234567890'),
]

function randomReply(random: Random, depth: number): Reply {
  if (depth === 0 || random.chance(0.3)) return random.pick(LEAVES)(random)
  const items = Array.from({ length: random.below(12) }, () => randomReply(random, depth - 1))
  if (random.chance(0.6)) return items
  return random.chance(0.5) ? new RespSet(items) : new RespMap(items.map((item, i) => [i, item]))
}

const sent = (reply: Reply): Reply => {
  const outcome = decodeOutcome(encodeOutcome({ reply }))
  return 'reply' in outcome ? outcome.reply : null
}

describe('replies of scripts between the threads', () => {
  for (const seed of seeds(60)) {
    it(`are what they were (seed ${seed})`, () => {
      const random = seeded(seed)
      const reply = randomReply(random, random.below(6))
      for (const protocol of [2, 3] as const) {
        const bytes = encodeReply(reply, protocol)
        expect(encodeReply(sent(reply), protocol).equals(bytes)).to.equal(true)
        expect(Buffer.concat(inOneGo(encodeInSlices(sent(reply), protocol))).equals(bytes)).to.equal(true)
      }
    })
  }

  it('are read when they are looked at, if they are long', () => {
    const reply = sent(Array<Reply>(10_000).fill([Buffer.from('x'), 1]))
    expect(reply).to.be.instanceOf(Lazy)
    const { length, items } = elementsOf(reply, 2)!
    expect(length).to.equal(10_000)
    expect(encodeReply(items.next().value as Reply, 2).toString()).to.equal('*2\r\n$1\r\nx\r\n:1\r\n')
  })
})
