import { expect } from 'chai'
import { compareVersions } from '../../src/core/clock.ts'
import { CoordinatorUnderTest, REQUEST_TIMEOUT_MS, versionHeldBy } from '../support/coordinator-under-test.ts'
import { FaultyNode, NODE_TIMEOUT_MS, refusedAs } from '../support/faulty-node.ts'
import { record } from '../support/node-calls.ts'

describe('a write at one', () => {
  const KEY = 'user:1'
  let under: CoordinatorUnderTest
  let first: FaultyNode, second: FaultyNode, third: FaultyNode, fallback: FaultyNode

  async function started(options: ConstructorParameters<typeof CoordinatorUnderTest>[0] = {}) {
    under = await CoordinatorUnderTest.started(options)
    ;[first, second, third, fallback] = under.nodesOf(KEY) as [FaultyNode, FaultyNode, FaultyNode, FaultyNode]
  }
  beforeEach(() => started())

  const held = () => under.nodesOf(KEY).map((node) => node.holds(KEY))
  const behind = () => under.nodesOf(KEY).map((node) => under.member(node).behind)
  const sent = () => under.nodesOf(KEY).map((node) => node.callsFor(KEY, 'store').length)
  const tick = (ms = 10) => under.time.advance(ms)
  const plant = (node: FaultyNode, ms: number, value: string) =>
    node.memory.storage.set(
      Buffer.from(KEY),
      Buffer.concat([record(ms, value).head, Buffer.from(value)]),
      Infinity,
    )

  it('leaves the same record with all home replicas and nobody else', async () => {
    expect(await under.put(KEY, 'v')).to.include({ result: 'ok', tookMs: 0 })
    expect(held()).to.deep.equal(['v', 'v', 'v', '(absent)'])
    expect(new Set([first, second, third].map((node) => versionHeldBy(node, KEY))).size).to.equal(1)
  })

  it('is sent to all replicas in the same turn, and waits for the first alone', async () => {
    first.answerAfterMs = 5
    second.answerAfterMs = Infinity
    third.answerAfterMs = 250
    expect(await under.done(under.write(KEY, 'v'))).to.include({ result: 'ok', tookMs: 5 })
    const calls = [first, second, third].map((node) => node.callsFor(KEY, 'store')[0]!)
    expect(new Set(calls.map((call) => call.turn)).size).to.equal(1)
    expect(new Set(calls.map((call) => call.atMs)).size).to.equal(1)
  })

  it('does not take the answer of a faster replica for that of the first', async () => {
    first.answerAfterMs = 200
    expect(await under.put(KEY, 'v')).to.include({ result: 'ok', tookMs: 200 })
  })

  it('is answered by the next replica, which a read will ask next, when the first fails', async () => {
    first.answerAfterMs = Infinity
    second.answerAfterMs = 100
    expect(await under.put(KEY, 'v')).to.include({ result: 'ok', tookMs: NODE_TIMEOUT_MS })
    expect(behind()).to.deep.equal([true, false, false, false])
    expect((await under.get(KEY)).result).to.equal('v')
    expect(first.callsFor(KEY, 'get')).to.have.length(0)
  })

  it('waits for no node that is known to be down', async () => {
    first.cut()
    await tick()
    expect(under.member(first).health.state).to.equal('down')
    expect(await under.put(KEY, 'v')).to.include({ result: 'ok', tookMs: 0 })
    expect(sent()).to.deep.equal([0, 1, 1, 1])
  })

  it('gives the copy of a replica that takes no writes to a fallback replica, and marks the replica as behind', async () => {
    second.cut()
    await tick()
    await under.put(KEY, 'v')
    expect(held()).to.deep.equal(['v', '(absent)', 'v', 'v'])
    expect(behind()).to.deep.equal([false, true, false, false])
  })

  it('gives as many copies to fallback replicas as replicas are away', async () => {
    await started({ nodes: 6 })
    first.cut()
    third.cut()
    await tick()
    await under.put(KEY, 'v')
    expect(sent()).to.deep.equal([0, 1, 0, 1, 1, 0])
  })

  it("does not answer by a fallback replica's ack while a home replica may still hold the write", async () => {
    third.cut()
    await tick()
    first.answerAfterMs = 100
    second.answerAfterMs = 100
    const writing = under.write(KEY, 'v')
    await tick()
    expect(fallback.holds(KEY)).to.equal('v') // and has said so
    first.cut()
    expect(await under.done(writing)).to.include({ result: 'ok', tookMs: 100 })
  })

  it('is answered by a fallback replica when no home replica is up', async () => {
    for (const node of [first, second, third]) node.cut()
    await tick()
    expect(await under.put(KEY, 'v')).to.include({ result: 'ok', tookMs: 0 })
    expect(held()).to.deep.equal(['(absent)', '(absent)', '(absent)', 'v'])
  })

  it('tries further nodes when all replicas fail together, as many as MAX_TRIES allows', async () => {
    for (const [maxTries, result] of [
      [0, 'ok'],
      [4, 'ok'],
      [3, 'UNAVAILABLE'],
    ] as const) {
      await started({ maxTries })
      for (const node of [first, second, third]) node.refusal = refusedAs('misconf')
      expect((await under.put(KEY, 'v')).result, `MAX_TRIES ${maxTries}`).to.equal(result)
      expect(fallback.holds(KEY)).to.equal(result === 'ok' ? 'v' : '(absent)')
    }
  })

  it('waits for copies that are sent already, even where MAX_TRIES allows no further node', async () => {
    await started({ maxTries: 1 })
    first.refusal = refusedAs('misconf')
    second.answerAfterMs = 100
    expect(await under.put(KEY, 'v')).to.include({ result: 'ok', tookMs: 100 })
  })

  describe('says what has become of it', () => {
    it('not applied, when every node has refused', async () => {
      for (const node of under.nodes) node.refusal = refusedAs('misconf')
      const { result, error } = await under.put(KEY, 'v')
      expect(result).to.equal('UNAVAILABLE')
      expect(error!.details).to.include({ outcome: 'not-applied', acked: 0, required: 1 })
      expect(error!.message).to.match(/MISCONF.*It was not applied\.$/)
    })

    it('not applied, at once, when no node can be reached', async () => {
      for (const node of under.nodes) node.cut()
      await tick()
      const { result, error, tookMs } = await under.put(KEY, 'v')
      expect({ result, tookMs, outcome: error!.details.outcome }).to.deep.equal({
        result: 'UNAVAILABLE',
        tookMs: 0,
        outcome: 'not-applied',
      })
    })

    it('unknown, when a replica fell silent', async () => {
      for (const node of under.nodes) node.refusal = refusedAs('misconf')
      second.refusal = null
      second.answerAfterMs = Infinity
      const { result, error } = await under.put(KEY, 'v')
      expect(result).to.equal('OUTCOME_UNKNOWN')
      expect(error!.details.outcome).to.equal('unknown')
      expect(second.holds(KEY)).to.equal('v') // and rightly so
    })

    it('unknown, when the deadline ends it while a copy is on its way', async () => {
      for (const node of [first, second, third]) node.answerAfterMs = NODE_TIMEOUT_MS - 1
      // The first replica holds something newer whenever it is asked: the write is made anew until its time is over.
      let ms = under.time.wallMs() + 60_000
      const store = first.store.bind(first)
      first.store = (...args) => {
        plant(first, (ms += 1000), 'newer')
        store(...args)
      }
      const { result, error, tookMs } = await under.put(KEY, 'v')
      expect({ result, tookMs, outcome: error!.details.outcome }).to.deep.equal({
        result: 'OUTCOME_UNKNOWN',
        tookMs: REQUEST_TIMEOUT_MS,
        outcome: 'unknown',
      })
    })

    it('unknown, when the key is of another type on one replica and the others may have taken it', async () => {
      first.refusal = { kind: 'refused', reason: 'wrong-type', message: 'WRONGTYPE' }
      second.answerAfterMs = 50
      const { result, error } = await under.put(KEY, 'v')
      expect(result).to.equal('WRONG_TYPE')
      expect(error!.details.outcome).to.equal('unknown')
    })

    it('wrong type, not applied, when it is of another type on all of them', async () => {
      for (const node of [first, second, third]) {
        node.refusal = { kind: 'refused', reason: 'wrong-type', message: 'WRONGTYPE' }
      }
      expect((await under.put(KEY, 'v')).result).to.equal('WRONG_TYPE')
      expect(behind(), 'a key of another type says nothing about the node').to.deep.equal(
        Array(4).fill(false),
      )
    })
  })

  it('is not failed by a later replica on which the key is of another type', async () => {
    third.refusal = { kind: 'refused', reason: 'wrong-type', message: 'WRONGTYPE' }
    first.answerAfterMs = 50
    expect((await under.put(KEY, 'v')).result).to.equal('ok')
  })

  it('is made again, later than the newer record that the first replica held', async () => {
    plant(first, under.time.wallMs() + 60_000, 'from ahead')
    expect((await under.put(KEY, 'mine')).result).to.equal('ok')
    expect(held()).to.deep.equal(['mine', 'mine', 'mine', '(absent)'])
    expect(sent()).to.deep.equal([2, 2, 2, 0])
    expect((await under.get(KEY)).result).to.equal('mine')
  })

  it('ends at its deadline, and does not claim that nothing happened, when newer records keep coming', async () => {
    let ms = under.time.wallMs() + 60_000
    const store = first.store.bind(first)
    first.store = (...args) => {
      plant(first, (ms += 1000), 'newer')
      store(...args)
    }
    const { result, error } = await under.put(KEY, 'mine')
    expect(result).to.equal('OUTCOME_UNKNOWN')
    expect(error!.message).to.include('kept interfering')
    expect(sent().slice(1)).to.deep.equal([4, 4, 0])
  })

  it('counts as applied where it was applied and then replaced', async () => {
    const store = first.store.bind(first)
    let overtaken = false
    // The first replica carries the write out and then somebody's newer one, before it is asked a second time, as it is
    // when it has forgotten its script.
    first.store = (key, next, lifeMs, call) => {
      if (overtaken) return store(key, next, lifeMs, call)
      overtaken = true
      store(key, next, lifeMs, {
        onApplied: () => {
          plantReplacing(next.head)
          store(key, next, lifeMs, call)
        },
        onStale: call.onStale.bind(call),
        onFailure: call.onFailure.bind(call),
      })
    }
    const plantReplacing = (head: Buffer) => {
      const newer = record(under.time.wallMs() + 5, 'theirs')
      head.copy(newer.head, 17, 5, 13)
      first.memory.storage.set(Buffer.from(KEY), Buffer.concat([newer.head, newer.value]), Infinity)
    }
    expect((await under.put(KEY, 'mine')).result).to.equal('ok')
    expect(sent()).to.deep.equal([2, 1, 1, 0]) // the record itself was made once
    expect(first.holds(KEY)).to.equal('theirs')
  })

  it('never makes a version that is not later than the last', async () => {
    const versions: Buffer[] = []
    for (let i = 0; i < 20; i++) {
      await under.put(KEY, `v${i}`)
      versions.push(Buffer.from(first.held(KEY)!.version))
      if (i === 10) under.nodes.forEach((node) => (node.clockOffMs = -3_600_000))
      await tick(i === 11 ? 4000 : 0)
    }
    for (let i = 1; i < versions.length; i++) {
      expect(compareVersions(versions[i - 1]!, versions[i]!)).to.be.below(0)
    }
  })

  it('marks a replica as behind that missed it, also after the answer', async () => {
    third.answerAfterMs = Infinity
    await under.put(KEY, 'v')
    expect(behind()).to.deep.equal([false, false, false, false])
    await tick(NODE_TIMEOUT_MS)
    expect(behind()).to.deep.equal([false, false, true, false])
    expect(under.told('node-behind')).to.have.length(1)
  })

  it('marks a replica as behind whose marker was foreign, and makes it filling', async () => {
    second.flush()
    await under.put(KEY, 'v')
    await tick()
    expect(under.member(second).completeness).to.equal('filling')
    expect(behind()[1]).to.equal(true)
    expect((await under.get(KEY)).result).to.equal('v')
  })

  describe('on a full node', () => {
    beforeEach(async () => {
      await under.put(KEY, 'v1')
      first.unwritable = 'out-of-memory'
    })

    it('goes to the other replicas, and from then on to a fallback replica in its place', async () => {
      expect((await under.put(KEY, 'v2')).result).to.equal('ok')
      expect(held()).to.deep.equal(['v1', 'v2', 'v2', '(absent)'])
      expect((await under.put(KEY, 'v3')).result).to.equal('ok')
      expect(held()).to.deep.equal(['v1', 'v3', 'v3', 'v3'])
      expect((await under.get(KEY)).result).to.equal('v3')
    })

    it('still deletes', async () => {
      await under.put(KEY, 'v2')
      expect((await under.del(KEY)).result).to.equal('ok')
      expect(held()).to.deep.equal(['(deleted)', '(deleted)', '(deleted)', '(absent)'])
    })

    it('uses the node again when it takes writes again', async () => {
      await under.put(KEY, 'v2')
      await tick(1000)
      expect(under.member(first).takesValues).to.equal(false)
      expect(under.member(first).health.state).to.equal('up')
      first.unwritable = null
      await tick(300)
      expect(under.member(first).takesValues).to.equal(true)
      await under.put(KEY, 'v3')
      expect(held()).to.deep.equal(['v3', 'v3', 'v3', '(absent)'])
      expect(under.told('node-writable').map((event) => 'writable' in event && event.writable)).to.deep.equal(
        [false, true],
      )
    })
  })

  it('does not even delete on a read-only node', async () => {
    first.unwritable = 'read-only'
    await under.put(KEY, 'v')
    await under.del(KEY)
    expect(sent()).to.deep.equal([1, 2, 2, 1])
    expect(held()).to.deep.equal(['(absent)', '(deleted)', '(deleted)', '(deleted)'])
  })

  it('takes all the nodes of a large ring into account, and as many replicas as asked for', async () => {
    await started({ nodes: 40, replicas: 40 })
    expect((await under.put(KEY, 'v')).result).to.equal('ok')
    expect(under.nodes.filter((node) => node.holds(KEY) === 'v')).to.have.length(40)
    const nodes = under.nodesOf(KEY)
    expect((await under.get(KEY)).result).to.equal('v')
    for (const node of under.nodes) node.refusal = refusedAs('misconf')
    const last = under.nodes.find((node) => !nodes.slice(0, 8).includes(node))!
    last.refusal = null
    expect((await under.put(KEY, 'w')).result).to.equal('ok')
    expect(last.holds(KEY)).to.equal('w')
  })

  it('keeps a key until its expiry is safely over, and a delete as long as what it deletes could come back', async () => {
    const now = under.coordinator.nowMs()
    await under.put(KEY, 'v', now + 5000)
    expect(await first.lifeMs(Buffer.from(KEY))).to.be.within(6000, 7000)
    await under.put(KEY, 'v')
    await under.del(KEY)
    expect(await first.lifeMs(Buffer.from(KEY))).to.equal(86_400_000)
    await under.del('other')
    expect(await under.nodesOf('other')[0]!.lifeMs(Buffer.from('other'))).to.equal(60_000)
  })
})

describe('a delete of what is older than a version', () => {
  const KEY = 'user:1'
  let under: CoordinatorUnderTest
  beforeEach(async () => void (under = await CoordinatorUnderTest.started()))

  type Level = 'one' | 'quorum' | 'all'
  const removeOlder = async (before: Uint8Array, level: Level) => {
    let held: Uint8Array | null = null
    under.coordinator.remove(
      Buffer.from(KEY),
      {
        written: (version) => void (held = version),
        failed: (error) => {
          throw error
        },
      },
      level,
      before,
    )
    await under.time.advance(10)
    return compareVersions(held!, before)
  }

  for (const level of ['one', 'quorum', 'all'] as const) {
    it(`takes what was written before it was made, by whichever coordinator, at ${level}`, async () => {
      const beside = await CoordinatorUnderTest.started({ beside: under, coordinator: 2 })
      await beside.put(KEY, 'v')
      const before = under.coordinator.newVersion()
      expect(await removeOlder(before, level)).to.equal(0)
      expect((await under.get(KEY)).result).to.equal('(deleted)')
      expect((await beside.get(KEY)).result).to.equal('(deleted)')
    })

    it(`leaves what was written after that, at ${level}`, async () => {
      await under.put(KEY, 'old')
      const before = under.coordinator.newVersion()
      await under.put(KEY, 'new')
      expect(await removeOlder(before, level)).to.be.above(0)
      expect((await under.get(KEY)).result).to.equal('new')
    })

    it(`leaves its version too, by which a later one takes it, at ${level}`, async () => {
      const before = under.coordinator.newVersion()
      await under.put(KEY, 'new')
      const later = under.coordinator.newVersion()
      const [, second, third] = under.nodesOf(KEY) as [FaultyNode, FaultyNode, FaultyNode]
      second.memory.storage.delete(Buffer.from(KEY))
      third.answerAfterMs = 1 // those that decide do not hold the same
      expect(await removeOlder(before, level)).to.be.above(0)
      expect(await removeOlder(later, level)).to.equal(0)
      expect((await under.get(KEY)).result).to.equal('(deleted)')
    })

    it(`leaves it also where only some replicas hold it, at ${level}`, async () => {
      await under.put(KEY, 'old')
      const [first, second] = under.nodesOf(KEY) as [FaultyNode, FaultyNode]
      for (const missing of [first, second]) {
        const before = under.coordinator.newVersion()
        const at = under.nodesOf(KEY).filter((node) => node !== missing)
        const newer = record(under.time.wallMs() + 10_000, 'new')
        for (const node of at) {
          node.memory.storage.set(Buffer.from(KEY), Buffer.concat([newer.head, Buffer.from('new')]), Infinity)
        }
        await removeOlder(before, level)
        for (const node of at) expect(node.holds(KEY)).to.equal('new')
      }
    })
  }
})
