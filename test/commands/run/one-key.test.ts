/** Steps that change one key, run on a coordinator by nobody in particular. */
import { expect } from 'chai'
import { refusalIn } from '../../../src/commands/errors.ts'
import { expire, persist } from '../../../src/commands/keys/expiry.ts'
import { encodeReply, type Reply } from '../../../src/commands/reply.ts'
import { changeKey, type KeyChanged } from '../../../src/commands/run/one-key.ts'
import type { StepMaker } from '../../../src/commands/step.ts'
import { incrby } from '../../../src/commands/strings/numbers.ts'
import { append, getdel, setrange } from '../../../src/commands/strings/values.ts'
import type { Requester } from '../../../src/coordinator/api.ts'
import { KIND_TOMBSTONE, type StoredRecord } from '../../../src/core/codec.ts'
import type { ConsistencyLevel } from '../../../src/core/consistency.ts'
import type { RondoError } from '../../../src/core/errors.ts'
import { CoordinatorUnderTest } from '../../support/coordinator-under-test.ts'
import { refusedAs, type FaultyNode } from '../../support/faulty-node.ts'

const LEVELS = ['one', 'quorum', 'all'] as const
const LIMITS = { maxValueBytes: 100, defaultTtlMs: 0, database: 0, databases: 16, random: Math.random }
const KEY = 'k'
const requester: Requester = { waiting: 0, begunAtMs: 0, gone: false, noneWaits: () => undefined }

describe('a step that changes one key', () => {
  let under: CoordinatorUnderTest
  let homes: FaultyNode[]

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started()
    homes = under.nodesOf(KEY).slice(0, 3)
  })
  afterEach(() => under.cluster.stop())

  const stepOf = (make: StepMaker, args: readonly string[], limits = LIMITS) =>
    make(
      ['command', KEY, ...args].map((arg) => Buffer.from(arg)),
      Math.ceil(under.coordinator.nowMs()),
      limits,
    )
  const change = (level: ConsistencyLevel, make: StepMaker, ...args: string[]) =>
    under.done(changeKey(under.coordinator, stepOf(make, args), { requester, level }))
  const failureOf = (promise: Promise<unknown>) =>
    promise.then(
      () => expect.fail('it has not failed'),
      (error: unknown) => error as RondoError,
    )
  const bytes = (reply: Reply) => encodeReply(reply, 2).toString()
  const shown = (record: StoredRecord | null) =>
    record && (record.kind === KIND_TOMBSTONE ? '(deleted)' : record.value.toString())
  const told = ({ reply, before, after }: KeyChanged) => [bytes(reply), shown(before), shown(after)]

  for (const level of LEVELS) {
    it(`at ${level}: tells the reply, and the records before and after it`, async () => {
      expect(told(await change(level, incrby, '5'))).to.deep.equal([':5\r\n', null, '5'])
      expect(told(await change(level, append, 'x'))).to.deep.equal([':2\r\n', '5', '5x'])
      const timed = await change(level, expire, '60')
      expect(told(timed)).to.deep.equal([':1\r\n', '5x', '5x'])
      expect(timed.after!.expiresAtMs - under.coordinator.nowMs()).to.be.within(59_000, 60_001)
      expect((await change(level, append, 'y')).after!.expiresAtMs).to.equal(timed.after!.expiresAtMs)
      expect((await change(level, persist)).after!.expiresAtMs).to.equal(0)
      expect(told(await change(level, getdel))).to.deep.equal(['$3\r\n5xy\r\n', '5xy', '(deleted)'])
      expect(told(await change(level, getdel))).to.deep.equal(['$-1\r\n', '(deleted)', '(deleted)'])
      expect(told(await change(level, persist))[0]).to.equal(':0\r\n')
    })

    it(`at ${level}: a refusal is a reply, with Redis's text and a code, and stores nothing`, async () => {
      const refusals: [string, StepMaker, string[], string, string, string][] = [
        [
          'text',
          incrby,
          ['1'],
          'ERR value is not an integer or out of range',
          'NOT_INTEGER',
          'value is not an integer or out of range',
        ],
        [
          '9223372036854775807',
          incrby,
          ['1'],
          'ERR increment or decrement would overflow',
          'NOT_INTEGER',
          'increment or decrement would overflow',
        ],
        [
          'v'.repeat(100),
          append,
          ['x'],
          'ERR The value would have 101 bytes; at most 100 are allowed (MAX_VALUE_BYTES).',
          'VALUE_TOO_LARGE',
          'The value would have 101 bytes; at most 100 are allowed (MAX_VALUE_BYTES).',
        ],
        [
          'v',
          setrange,
          ['99', 'xyz'],
          'ERR The value would have 102 bytes; at most 100 are allowed (MAX_VALUE_BYTES).',
          'VALUE_TOO_LARGE',
          'The value would have 102 bytes; at most 100 are allowed (MAX_VALUE_BYTES).',
        ],
      ]
      for (const [value, make, args, text, code, sentence] of refusals) {
        await under.put(KEY, value)
        const { reply, before, after } = await change(level, make, ...args)
        expect(bytes(reply)).to.equal(`-${text}\r\n`)
        const error = refusalIn(reply)!
        expect([error.code, error.message]).to.deep.equal([code, sentence])
        expect(error.details).to.deep.equal({ outcome: 'not-applied' })
        expect([shown(before), shown(after)]).to.deep.equal([value, value])
        await under.time.advance(10)
        expect(homes.map((home) => home.holds(KEY))).to.deep.equal([value, value, value])
      }
    })

    it(`at ${level}: the reply is that of the attempt that was stored`, async () => {
      await under.put(KEY, '1')
      const other = await CoordinatorUnderTest.started({ beside: under, coordinator: 2 })
      const increments = (by: CoordinatorUnderTest) =>
        Array.from({ length: 20 }, () =>
          changeKey(by.coordinator, stepOf(incrby, ['1']), { requester, level }),
        )
      const changed = await under.done(Promise.all([...increments(under), ...increments(other)]))
      const sums = changed.map(({ reply }) => reply as number)
      expect(changed.map(({ after }) => Number(shown(after)))).to.deep.equal(sums)
      expect(changed.map(({ before }) => Number(shown(before)) + 1)).to.deep.equal(sums)
      expect(sums.toSorted((a, b) => a - b)).to.deep.equal(Array.from({ length: 40 }, (_, i) => i + 2))
      await other.cluster.stop()
    })

    it(`at ${level}: rejects where it cannot be confirmed, and where its result is too large to be stored`, async () => {
      const tooLong = 'v'.repeat(1024 * 1024 + 1)
      const { code } = await failureOf(change(level, append, tooLong))
      expect(code).to.equal('VALUE_TOO_LARGE')
      expect((await under.get(KEY)).result).to.match(/^\((absent|deleted|expired)\)$/)
      for (const node of under.nodes) node.cut()
      await under.time.advance(2000)
      const { code: down } = await failureOf(change(level, incrby, '1'))
      expect(down).to.be.oneOf(['UNAVAILABLE', 'QUORUM_NOT_MET'])
    })
  }

  describe('on a value that Rondo did not write, whose end has to be asked for,', () => {
    const plant = (lifeMs: number) => homes[0]!.memory.storage.set(Buffer.from(KEY), Buffer.from('5'), lifeMs)
    /** Happens when the first home replica is asked for the end. */
    const whenAsked = (happens: () => void) => {
      const [home] = homes as [FaultyNode]
      const peek = home.peek.bind(home)
      home.peek = (...args) => {
        home.peek = peek
        happens()
        peek(...args)
      }
    }

    it('begins again when it has expired meanwhile', async () => {
      plant(1000)
      whenAsked(() => homes[0]!.memory.storage.delete(Buffer.from(KEY)))
      const changed = await change('one', incrby, '1')
      expect(told(changed)).to.deep.equal([':1\r\n', null, '1'])
    })

    it('begins again when it was replaced meanwhile', async () => {
      plant(1000)
      whenAsked(() => void under.write(KEY, '7', under.coordinator.nowMs() + 60_000))
      const changed = await change('one', incrby, '1')
      expect(told(changed)).to.deep.equal([':8\r\n', '7', '8'])
      expect(changed.after!.expiresAtMs).to.be.above(under.coordinator.nowMs())
    })

    it('is refused while nobody can tell: it would live forever', async () => {
      plant(60_000)
      whenAsked(() => (homes[0]!.refusal = refusedAs('busy')))
      const error = await failureOf(change('one', incrby, '1'))
      expect([error.code, error.details.outcome]).to.deep.equal(['UNAVAILABLE', 'not-applied'])
      homes[0]!.refusal = null
      const { reply, after } = await change('one', incrby, '1')
      expect(reply).to.equal(6)
      expect(after!.expiresAtMs - under.coordinator.nowMs()).to.be.within(50_000, 60_001)
    })
  })

  it('waits for room on behalf of who asks, and is dropped when they have gone', async () => {
    const gone: Requester = { ...requester, gone: true }
    const coordinator = under.coordinatorWith({ windows: { largeBytes: 1, smallBytes: 1 } })
    for (const home of homes) home.answerAfterMs = 100
    const level = 'quorum'
    const changes = [requester, gone, requester].map((each) =>
      changeKey(coordinator, stepOf(incrby, ['1']), { requester: each, level }).then(
        ({ reply }) => reply,
        ({ message }: RondoError) => message,
      ),
    )
    expect(await under.done(Promise.all(changes))).to.deep.equal([
      1,
      'The connection closed before the operation could start. It was not applied.',
      2,
    ])
  })
})
