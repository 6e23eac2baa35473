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
import type { Job } from '../../src/commands/scripts/api.ts'
import type { Held } from '../../src/commands/step.ts'
import { KIND_HASH } from '../../src/core/codec.ts'
import type { Task } from '../../src/scripts/job.ts'
import { decodeOutcome, decodeTasks, encodeOutcome, encodeTasks } from '../../src/scripts/wire.ts'
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

const randomBytes = (random: Random) => Buffer.alloc(random.below(400), random.below(256))

function randomHeld(random: Random): Held {
  return {
    value: randomBytes(random),
    expiresAtMs: random.chance(0.5) ? 0 : 1_700_000_000_000 + random.below(1000) + 0.5,
    ...(random.chance(0.5) && { kind: KIND_HASH }),
    ...(random.chance(0.5) && { tags: randomBytes(random) }),
  }
}

function randomTask(random: Random): Task {
  const texts = (count: number) => Array.from({ length: count }, () => randomBytes(random))
  const stored = texts(random.below(5))
  const number = random.below(3)
  const job: Job = {
    code: {
      sha: String(number).repeat(40),
      source: Buffer.from(`return ${number}`),
      functionName: random.chance(0.3) ? `function${random.below(2)}` : null,
    },
    ...{ keys: texts(random.below(5)), args: texts(random.below(5)), readOnly: random.chance(0.5), stored },
    held: stored.map(() => (random.chance(0.3) ? null : randomHeld(random))),
    ...{ nowMs: 1_700_000_000_000.25, seed: random.below(2 ** 31) * 2 + 1 },
    settings: {
      ...{ database: random.below(16), databases: 16, defaultTtlMs: 5, maxValueBytes: 2 ** 31 },
      ...{ maxKeyBytes: 512, maxCommandBytes: 2 ** 33, maxReplyBytes: 2 ** 34 },
    },
  }
  return { kind: 'run', job }
}

describe('runs of scripts between the threads', () => {
  it('are what they were, several of one script too', () => {
    for (const seed of seeds(60)) {
      const random = seeded(seed)
      const tasks = Array.from({ length: 1 + random.below(8) }, () => randomTask(random))
      if (random.chance(0.2)) tasks.push({ kind: 'check', source: randomBytes(random), sha: 'f'.repeat(40) })
      expect(decodeTasks(encodeTasks(tasks)), `seed ${seed}`).to.deep.equal(tasks)
    }
  })

  it('come to what they have come to: unchanged, deleted and stored, and what was logged and published', () => {
    for (const seed of seeds(60)) {
      const random = seeded(seed)
      const next = Array.from({ length: random.below(6) }, () =>
        random.chance(0.3) ? undefined : random.chance(0.3) ? null : randomHeld(random),
      )
      const outcome = {
        reply: 7,
        ...(random.chance(0.8) && { next }),
        ...(random.chance(0.3) && { logs: [{ level: 'notice', text: 'é' } as const] }),
        ...(random.chance(0.3) && {
          published: [
            { kind: 'channel', channel: randomBytes(random), message: randomBytes(random) } as const,
          ],
        }),
      }
      // Of an outcome that has more, nobody looks whether its run was short.
      const isShort = random.chance(0.5)
      const told = outcome.logs || outcome.published ? outcome : { ...outcome, isShort }
      expect(decodeOutcome(encodeOutcome(outcome, isShort)), `seed ${seed}`).to.deep.equal(told)
    }
    const wants = { wants: [Buffer.from('a'), Buffer.from('b')], certain: 1 }
    expect(decodeOutcome(encodeOutcome(wants))).to.deep.equal(wants)
  })
})
