/** A read of a large collection has the time of one operation, from when it begins to the last of its parts. */
import { expect } from 'chai'
import { hgetall, hset } from '../../../src/commands/collections/hashes.ts'
import type { Caller } from '../../../src/commands/model.ts'
import { encodeReply } from '../../../src/commands/reply.ts'
import { readStep, replyToRecord } from '../../../src/commands/run/keyed.ts'
import { runTogether } from '../../../src/commands/run/together.ts'
import { readRecord } from '../../../src/coordinator/promises.ts'
import { Work } from '../../../src/core/work.ts'
import { CoordinatorUnderTest, REQUEST_TIMEOUT_MS } from '../../support/coordinator-under-test.ts'
import { TINY, withSizes } from '../../support/large.ts'

const KEY = Buffer.from('hash')
const LIMITS = { maxValueBytes: 1e6, maxKeyBytes: 1024, maxCommandBytes: 1e8, maxReplyBytes: 1e8 }
const SETTINGS = {
  ...LIMITS,
  defaultTtlMs: 0,
  database: 0,
  databases: 16,
  maxBatchKeys: 100,
  random: () => 0.5,
}
/** The node that answers for the root takes so long. */
const ROOT_MS = 250
const NODES = 6

describe('the time of a read in parts', () => {
  let under: CoordinatorUnderTest
  let caller: Caller

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started({ nodes: NODES })
    const { coordinator, time } = under
    caller = {
      ...{ store: coordinator, readLevel: 'one', writeLevel: 'all', loader: null, added: 0 },
      ...{ waiting: 0, begunAtMs: 0, gone: false, noneWaits: () => undefined, lookedUp: () => undefined },
      settings: SETTINGS,
      account: { mustWait: false, isRefused: false, add: () => undefined },
      work: new Work({ monotonicMs: () => time.monotonicMs(), timers: time }),
    } as unknown as Caller
  })
  afterEach(() => under.cluster.stop())

  const look = hgetall([Buffer.from('hgetall'), KEY])
  const readings = {
    'by itself': () => readStep(caller, look, 'hgetall'),
    'of a record that was read': async () => {
      const dueAtMs = under.coordinator.collections.dueAtMs()
      const record = await readRecord(under.coordinator, KEY, { requester: caller, level: 'one' })
      return replyToRecord(caller, look, 'hgetall', record, dueAtMs)
    },
  }

  for (const [how, read] of Object.entries(readings)) {
    it(`counts from the read of its root, ${how}: parts that nobody answers for are not waited for twice as long`, () =>
      withSizes(TINY, async () => {
        const fields = Array.from({ length: 20 }, (_, i) => [`field ${i}`, `value ${i}`]).flat()
        const args = ['hset', 'hash', ...fields].map((arg) => Buffer.from(arg))
        await under.done(runTogether(caller, hset(args, 0, SETTINGS), 'hset', 'all'))
        expect(encodeReply(await under.done(read()), 2).toString()).to.match(/^\*40\r\n/)

        const [first, second, third] = under.nodesOf('hash')
        for (const node of [first!, second!]) node.answerAfterMs = Infinity
        third!.answerAfterMs = ROOT_MS
        const before = third!.callsFor('hash', 'get').length
        const begunMs = under.time.monotonicMs()
        const passed = () => under.time.monotonicMs() - begunMs
        const failed = read().then(
          () => 'answered',
          () => passed(),
        )
        while (third!.callsFor('hash', 'get').length === before) await under.time.advance(1)
        for (const node of under.nodes) node.answerAfterMs = Infinity
        const tookMs = await under.done(failed)
        expect(tookMs).to.be.within(REQUEST_TIMEOUT_MS - 10, REQUEST_TIMEOUT_MS + 10)
      }))
  }
})
