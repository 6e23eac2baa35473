/** What every operation promises, of whatever kind and at whatever level: how it ends, and what is said of it. */
import { expect } from 'chai'
import type { ClientCall } from '../../src/coordinator/api.ts'
import type { Coordinator } from '../../src/coordinator/coordinator.ts'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import { KIND_TOMBSTONE, KIND_VALUE } from '../../src/core/codec.ts'
import type { RondoError } from '../../src/core/errors.ts'
import { CoordinatorUnderTest, REQUEST_TIMEOUT_MS } from '../support/coordinator-under-test.ts'
import { refusedAs, type FaultyNode } from '../support/faulty-node.ts'
import { version } from '../support/node-calls.ts'

const KEY = 'k'
const BYTES = Buffer.from(KEY)
/** Where KEY is, too. */
const BESIDE = Buffer.from(`beside {${KEY}}`)
const VALUE = { kind: KIND_VALUE, value: Buffer.from('new'), expiresAtMs: 0 }
const LEVELS = ['one', 'quorum'] as const

type End = (result: string, error: RondoError | null) => void
interface Kind {
  /** How often it goes to the nodes and back. */
  readonly roundTrips: number
  begin(
    coordinator: Coordinator,
    level: ConsistencyLevel,
    end: End,
    meanwhile?: () => void,
    call?: ClientCall,
  ): void
}

const failed = (end: End) => (error: RondoError) => end(error.code, error)
const KINDS: Record<string, Kind> = {
  read: {
    roundTrips: 1,
    begin: (coordinator, level, end, _meanwhile, call) =>
      coordinator.read(BYTES, { call, read: () => end('ok', null), failed: failed(end) }, level),
  },
  write: {
    roundTrips: 1,
    begin: (coordinator, level, end, _meanwhile, call) => {
      const done = { call, written: () => end('ok', null), failed: failed(end) }
      coordinator.write(BYTES, VALUE.value, 0, done, level)
    },
  },
  update: {
    roundTrips: 2,
    begin: (coordinator, level, end, meanwhile, call) => {
      const modify = () => {
        meanwhile?.()
        return { kind: 'write', record: VALUE } as const
      }
      coordinator.update(BYTES, modify, { call, updated: () => end('ok', null), failed: failed(end) }, level)
    },
  },
  transaction: {
    roundTrips: 2,
    begin: (coordinator, level, end, meanwhile, call) => {
      const modify = () => {
        meanwhile?.()
        return { kind: 'write', records: [VALUE, undefined] } as const
      }
      const done = { call, transacted: () => end('ok', null), failed: failed(end) }
      coordinator.transact([BYTES, BESIDE], modify, done, level)
    },
  },
}

describe('an operation', () => {
  let under: CoordinatorUnderTest
  let homes: FaultyNode[]

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started({ nodes: 3 })
    homes = under.nodesOf(KEY)
  })
  afterEach(() => under.cluster.stop())

  const run = (kind: Kind, level: ConsistencyLevel, meanwhile?: () => void, by = under.coordinator) =>
    under.done(
      new Promise<{ result: string; error: RondoError | null }>((resolve) =>
        kind.begin(by, level, (result, error) => resolve({ result, error }), meanwhile),
      ),
    )
  const calls = (node: FaultyNode) => node.calls.map(({ op }) => op)

  for (const level of LEVELS) {
    for (const [name, kind] of Object.entries(KINDS)) {
      it(`makes room for the next as soon as it has ended, well or badly: ${name} at ${level}`, async () => {
        const coordinator = under.coordinatorWith({ maxInFlight: 1 })
        expect((await run(kind, level, undefined, coordinator)).result).to.equal('ok')
        expect((await run(kind, level, undefined, coordinator)).result).to.equal('ok')
        for (const home of homes) home.cut()
        expect((await run(kind, level, undefined, coordinator)).result).not.to.be.oneOf(['ok', 'OVERLOADED'])
        expect((await run(kind, level, undefined, coordinator)).result).not.to.be.oneOf(['ok', 'OVERLOADED'])
      })

      it(`is told its end once, at its deadline, whatever comes after it: ${name} at ${level}`, async () => {
        const ends: string[] = []
        const answerAfterMs = 250
        const requestTimeoutMs = kind.roundTrips * answerAfterMs - 50
        const coordinator = under.coordinatorWith({ requestTimeoutMs })
        for (const home of homes) home.answerAfterMs = answerAfterMs
        const startedAtMs = under.time.monotonicMs()
        kind.begin(coordinator, level, (result) =>
          ends.push(`${result} after ${under.time.monotonicMs() - startedAtMs}`),
        )
        await under.time.advance(2000)
        expect(ends).to.have.length(1)
        expect(ends[0]).to.match(
          new RegExp(`^(UNAVAILABLE|QUORUM_NOT_MET|OUTCOME_UNKNOWN) after ${requestTimeoutMs}$`),
        )
      })
    }
  }

  for (const level of LEVELS) {
    for (const [name, kind] of Object.entries(KINDS)) {
      it(`ends when its own client gives up, before the time that all have: ${name} at ${level}`, async () => {
        const ends: string[] = []
        for (const home of homes) home.answerAfterMs = 5000
        const startedAtMs = under.time.monotonicMs()
        const end = (result: string) => ends.push(`${result} after ${under.time.monotonicMs() - startedAtMs}`)
        const call = { gone: false, dueAtMs: startedAtMs + 120 }
        kind.begin(under.coordinator, level, end, undefined, call)
        await under.time.advance(6000)
        expect(ends).to.have.length(1)
        expect(ends[0]).to.match(/^(UNAVAILABLE|QUORUM_NOT_MET|OUTCOME_UNKNOWN) after 120$/)
      })
    }
  }

  for (const name of ['write', 'update', 'transaction']) {
    const kind = KINDS[name]!

    it(`is not confirmed past its deadline, when the process stood still in between: ${name} at quorum`, async () => {
      for (const home of homes) home.answerAfterMs = 50
      const monotonicMs = under.time.monotonicMs.bind(under.time)
      const pause = () => (under.time.monotonicMs = () => monotonicMs() + 2 * REQUEST_TIMEOUT_MS)
      try {
        const running = run(kind, 'quorum', kind.roundTrips > 1 ? pause : undefined)
        if (kind.roundTrips === 1) pause()
        const { result, error } = await running
        expect(result).to.equal('OUTCOME_UNKNOWN')
        expect(error!.details.outcome).to.equal('unknown')
      } finally {
        under.time.monotonicMs = monotonicMs
      }
    })

    it(`leaves its hints with the others, and none with the one that missed it: ${name} at quorum`, async () => {
      const refuse = () => (homes[1]!.refusal = refusedAs('busy'))
      if (kind.roundTrips === 1) refuse()
      expect((await run(kind, 'quorum', refuse)).result).to.equal('ok')
      await under.time.advance(100)
      expect(homes.map((home) => calls(home).includes('hint'))).to.deep.equal([true, false, true])
    })
  }

  for (const name of ['update', 'transaction']) {
    const kind = KINDS[name]!

    it(`says that nothing was applied when all have refused for certain, and nobody is left to ask: ${name}`, async () => {
      for (const home of homes) home.answerAfterMs = 5
      let attempts = 0
      const { result, error } = await run(kind, 'quorum', () => {
        attempts++
        const nothing = () => undefined
        const call = { onPromised: nothing, onRefused: nothing, onFailure: nothing }
        for (const home of homes) {
          // Somebody else's promise comes before what this sends; and after it the node takes nothing more.
          home.memory.prepare(BYTES, version({ ms: under.time.wallMs() + 2 }), call)
          under.time.setTimeout(() => (home.refusal = refusedAs('busy')), 2)
        }
      })
      expect([result, attempts]).to.deep.equal(['QUORUM_NOT_MET', 1])
      expect(error!.details.outcome).to.equal('not-applied')
      expect(error!.message).to.match(/It was not applied\.$/)
    })

    it(`leaves hints for a home replica that promised nothing, and marks it as behind: ${name} at quorum`, async () => {
      homes[1]!.refusal = refusedAs('busy')
      expect((await run(kind, 'quorum')).result).to.equal('ok')
      await under.time.advance(100)
      expect(homes.map((home) => calls(home).includes('hint'))).to.deep.equal([true, false, true])
      expect(homes.map((home) => under.member(home).behind)).to.deep.equal([false, true, false])
    })

    it(`asks no promise of a node that is being filled, but sends it the result: ${name}`, async () => {
      homes[1]!.wipe()
      await under.time.advance(5000)
      expect(under.member(homes[1]!).completeness).to.equal('filling')
      for (const home of homes) home.calls.length = 0
      expect((await run(kind, 'quorum')).result).to.equal('ok')
      await under.time.advance(100)
      const asked = name === 'update' ? ['prepare', 'store'] : ['prepare', 'prepare', 'store-all']
      expect(homes.map(calls)).to.deep.equal([asked, ['store'], asked])
      expect(homes.map((home) => home.holds(KEY))).to.deep.equal(['new', 'new', 'new'])
    })
  }

  describe('an update that deletes', () => {
    const NOTHING = { kind: KIND_TOMBSTONE, value: Buffer.alloc(0), expiresAtMs: 0 }
    const remove: Kind = {
      roundTrips: 2,
      begin: (coordinator, level, end) => {
        const done = { updated: () => end('ok', null), failed: failed(end) }
        coordinator.update(BYTES, () => ({ kind: 'write', record: NOTHING }), done, level)
      },
    }

    it('does so on full nodes, as a plain delete', async () => {
      await under.put(KEY, 'v')
      for (const home of homes) home.unwritable = 'out-of-memory'
      await under.put(KEY, 'w')
      expect((await run(remove, 'one')).result).to.equal('ok')
      expect(homes.map((home) => home.holds(KEY))).to.deep.equal(['(deleted)', '(deleted)', '(deleted)'])
    })

    it('is remembered for the grace while a home replica is away, as a plain delete', async () => {
      homes[2]!.cut()
      await under.time.advance(2000)
      expect((await run(remove, 'one')).result).to.equal('ok')
      await under.time.advance(100)
      const lives = await Promise.all(homes.slice(0, 2).map((home) => home.memory.lifeMs(BYTES)))
      for (const lifeMs of lives) expect(lifeMs).to.be.above(23 * 3_600_000)
    })
  })
})
