// Operations begin when their nodes have room: bounds, turns, order, time limits; on virtual time.
import { expect } from 'chai'
import type { Requester } from '../../src/coordinator/requester.ts'
import { Coordinator, type CoordinatorOptions } from '../../src/coordinator/coordinator.ts'
import { CONSISTENCY_LEVELS, type ConsistencyLevel } from '../../src/core/consistency.ts'
import type { RondoError } from '../../src/core/errors.ts'
import {
  CoordinatorUnderTest,
  QUEUE_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS,
} from '../support/coordinator-under-test.ts'
import type { FaultyNode } from '../support/faulty-node.ts'

const LARGE_BYTES = 200_000
const WINDOW_BYTES = 300_000
const SLOW_MS = 50

class Client implements Requester {
  waiting = 0
  begunAtMs = 0
  gone = false
  timesNoneWaits = 0
  noneWaits(): void {
    this.timesNoneWaits++
  }
}

type Outcome = 'running' | 'ok' | RondoError

describe('admission', () => {
  let under: CoordinatorUnderTest
  let coordinator: Coordinator
  /** Names of operations, as they ended. */
  let ended: string[]

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started()
    coordinator = under.coordinatorWith({
      windows: { largeBytes: WINDOW_BYTES, smallBytes: WINDOW_BYTES },
    })
    ended = []
  })
  afterEach(() => {
    for (const { load } of under.nodes) {
      const { largeBytes, smallBytes, largeWaiting, smallWaiting } = load
      const left = { largeBytes, smallBytes, largeWaiting, smallWaiting }
      expect(left).to.deep.equal({ largeBytes: 0, smallBytes: 0, largeWaiting: 0, smallWaiting: 0 })
    }
  })

  const slow = (afterMs = SLOW_MS) => under.nodes.forEach((node) => (node.answerAfterMs = afterMs))
  const value = (bytes: number, mark = 'x') => Buffer.alloc(bytes, mark)
  const with_ = (options: Partial<CoordinatorOptions>) =>
    (coordinator = under.coordinatorWith({
      windows: { largeBytes: WINDOW_BYTES, smallBytes: WINDOW_BYTES },
      ...options,
    }))

  function operation(
    name: string,
    requester: Requester,
    start: (done: { requester: Requester; failed: (error: RondoError) => void }, ok: () => void) => void,
  ): { outcome: Outcome } {
    const result: { outcome: Outcome } = { outcome: 'running' }
    const end = (outcome: Outcome) => {
      expect(result.outcome, `${name} has ended before`).to.equal('running')
      result.outcome = outcome
      ended.push(name)
    }
    start({ requester, failed: end }, () => end('ok'))
    return result
  }
  const write = (
    key: string,
    bytes: number,
    requester: Requester = new Client(),
    level: ConsistencyLevel = 'one',
  ) =>
    operation(`write ${key}`, requester, (done, written) =>
      coordinator.write(Buffer.from(key), value(bytes), 0, { ...done, written }, level),
    )
  const read = (key: string, requester: Requester = new Client(), level: ConsistencyLevel = 'one') =>
    operation(`read ${key}`, requester, (done, ok) =>
      coordinator.read(Buffer.from(key), { ...done, read: ok }, level),
    )
  /** Of all bytes of the value: it weighs as much as a read. */
  const peek = (key: string, requester: Requester, level: ConsistencyLevel) =>
    operation(`peek ${key}`, requester, (done, ok) =>
      coordinator.peek(Buffer.from(key), { from: 0, to: -1 }, { ...done, read: ok }, level),
    )
  const update = (key: string, bytes: number, requester: Requester, level: ConsistencyLevel) =>
    operation(`update ${key}`, requester, (done, updated) =>
      coordinator.update(
        Buffer.from(key),
        () => ({ kind: 'write', record: { kind: 1, value: value(bytes), expiresAtMs: 0 } }),
        { ...done, updated },
        level,
        bytes,
      ),
    )
  const remove = (key: string, requester: Requester, level: ConsistencyLevel) =>
    operation(`remove ${key}`, requester, (done, written) =>
      coordinator.remove(Buffer.from(key), { ...done, written }, level),
    )
  const transact = (keys: string[], requester: Requester, level: ConsistencyLevel) =>
    operation(`transact ${keys.join()}`, requester, (done, transacted) =>
      coordinator.transact(
        keys.map((key) => Buffer.from(key)),
        () => ({
          kind: 'write',
          records: keys.map(() => ({ kind: 1, value: value(LARGE_BYTES), expiresAtMs: 0 })),
        }),
        { ...done, transacted },
        level,
      ),
    )
  const callsOf = (op: 'get' | 'store') =>
    under.nodes.flatMap((node) => node.calls.filter((call) => call.op === op && call.key.startsWith('k:')))
  const largest = (nodes: readonly FaultyNode[]) => Math.max(...nodes.map(({ load }) => load.largeBytes))

  it('asks a node for no more than a window and one value, whoever asks', async () => {
    const keys = Array.from({ length: 40 }, (_, i) => `k:${i}`)
    for (const key of keys) await under.done(Promise.resolve(write(key, LARGE_BYTES)))
    slow()
    const reads = keys.map((key) => read(key))
    let most = 0
    for (let i = 0; i < 400 && ended.length < 80; i++) {
      most = Math.max(most, largest(under.nodes))
      await under.time.advance(10)
    }
    expect(reads.map(({ outcome }) => outcome)).to.deep.equal(keys.map(() => 'ok'))
    expect(most).to.be.within(WINDOW_BYTES, WINDOW_BYTES + 2 * LARGE_BYTES)
  })

  for (const level of CONSISTENCY_LEVELS) {
    it(`asks a node for no more when changes make large values out of nothing, at ${level}`, async () => {
      slow()
      const keys = Array.from({ length: 120 }, (_, i) => `k:${i}`)
      const client = new Client()
      const updates = keys.map((key) => update(key, LARGE_BYTES, client, level))
      let most = 0
      for (let i = 0; i < 3000 && ended.length < keys.length; i++) {
        most = Math.max(most, largest(under.nodes))
        await under.time.advance(10)
      }
      expect(updates.map(({ outcome }) => outcome)).to.deep.equal(keys.map(() => 'ok'))
      await under.time.advance(200)
      // The room of an update is reserved, and counted again while it stores; and who has waited at a node passes it later.
      expect(most).to.be.within(WINDOW_BYTES, 6 * WINDOW_BYTES)
    })
  }

  it('begins the deadline when an operation begins, and judges no node by what waited', async () => {
    slow(200)
    const writes = Array.from({ length: 30 }, () => write('k:same', LARGE_BYTES))
    await under.time.advance(10)
    expect(callsOf('store')).to.have.length(2 * 3)
    for (let i = 0; i < 40; i++) await under.time.advance(100)
    expect(writes.every(({ outcome }) => outcome === 'ok')).to.equal(true)
    expect(40 * 100).to.be.above(2 * REQUEST_TIMEOUT_MS)
    expect(under.nodes.every((node) => under.member(node).health.state === 'up')).to.equal(true)
  })

  it('asks a node that answers slowly for less, and for more again when it is quick', async () => {
    for (const { load } of under.nodes) load.answeredAfter(500)
    slow(200)
    const writes = Array.from({ length: 3 }, () => write('k:same', LARGE_BYTES))
    expect(callsOf('store')).to.have.length(1 * 3)
    for (let i = 0; i < 10; i++) await under.time.advance(100)
    expect(writes.every(({ outcome }) => outcome === 'ok')).to.equal(true)
    const { load } = under.nodes[0]!
    for (let i = 0; i < 100; i++) load.answeredAfter(500)
    expect(load.pace).to.be.within(0.01, 0.1)
    for (let i = 0; i < 100; i++) load.answeredAfter(1)
    expect(load.pace).to.equal(1)
  })

  it('lets small values pass beside large ones that wait', async () => {
    slow(200)
    for (let i = 0; i < 6; i++) write('k:same', LARGE_BYTES)
    const small = write('k:same', 10)
    expect(callsOf('store')).to.have.length(3 * 3)
    await under.time.advance(250)
    expect(small.outcome).to.equal('ok')
    for (let i = 0; i < 10; i++) await under.time.advance(100)
  })

  it('lets a few small values pass at once, however slow a node answers', async () => {
    for (const { load } of under.nodes) for (let i = 0; i < 100; i++) load.answeredAfter(500)
    slow(200)
    const writes = Array.from({ length: 60 }, () => write('k:same', 1000))
    expect(callsOf('store')).to.have.length(60 * 3)
    await under.time.advance(250)
    expect(writes.every(({ outcome }) => outcome === 'ok')).to.equal(true)
  })

  it('serves connections in turn, and each in its own order', async () => {
    slow(20)
    const [greedy, modest] = [new Client(), new Client()]
    for (let i = 0; i < 4; i++) write(`k:{a}g${i}`, LARGE_BYTES, greedy)
    for (let i = 0; i < 2; i++) write(`k:{a}m${i}`, LARGE_BYTES, modest)
    for (let i = 0; i < 20; i++) await under.time.advance(20)
    const waited = ended.slice(2)
    expect(ended.filter((name) => name.includes('g'))).to.deep.equal(
      [0, 1, 2, 3].map((i) => `write k:{a}g${i}`),
    )
    expect(waited.slice(0, 2)).to.deep.equal(['write k:{a}g2', 'write k:{a}m0'])
    expect(greedy.timesNoneWaits + modest.timesNoneWaits).to.equal(2)
  })

  it('keeps few connections with many operations half done', async () => {
    slow(20)
    const clients = Array.from({ length: 20 }, () => new Client())
    clients.forEach((client, c) => {
      for (let i = 0; i < 8; i++) write(`k:{a}${c}-${i}`, LARGE_BYTES, client)
    })
    let most = 0
    for (let i = 0; i < 200 && ended.length < 160; i++) {
      await under.time.advance(20)
      const count = (c: number) => ended.filter((name) => name.startsWith(`write k:{a}${c}-`)).length
      // Not the first, which began before anybody had to wait.
      most = Math.max(most, clients.filter((_, c) => c > 0 && count(c) > 0 && count(c) < 8).length)
    }
    expect(ended).to.have.length(160)
    expect(most).to.be.within(1, 6)
  })

  it('refuses what waits when nothing of its connection begins for QUEUE_TIMEOUT_MS', async () => {
    with_({ queueTimeoutMs: 100 })
    slow(250)
    write('k:same', LARGE_BYTES)
    write('k:same', LARGE_BYTES)
    const late = write('k:same', LARGE_BYTES)
    await under.time.advance(150)
    const { outcome } = late as { outcome: RondoError }
    expect(outcome.code).to.equal('OVERLOADED')
    expect(outcome.details.outcome).to.equal('not-applied')
    expect(callsOf('store')).to.have.length(2 * 3)
    await under.time.advance(QUEUE_TIMEOUT_MS)
    expect(callsOf('store')).to.have.length(2 * 3)
  })

  it('drops what a connection that is gone has waiting', async () => {
    slow(100)
    const client = new Client()
    const writes = [0, 1, 2].map(() => write('k:same', LARGE_BYTES, client))
    client.gone = true
    await under.time.advance(150)
    await under.time.advance(150)
    expect(writes.map(({ outcome }) => (outcome as RondoError).code ?? outcome)).to.deep.equal([
      'ok',
      'ok',
      'OVERLOADED',
    ])
    expect(callsOf('store')).to.have.length(2 * 3)
  })

  it('drops a call that its client has given up, and nothing else of its connection', async () => {
    slow(100)
    const client = new Client()
    const calls = [0, 1, 2, 3].map(() => ({ gone: false, dueAtMs: Infinity }))
    const writes = calls.map((call) =>
      operation('write', client, (done, written) =>
        coordinator.write(Buffer.from('k:same'), value(LARGE_BYTES), 0, { ...done, call, written }),
      ),
    )
    calls[2]!.gone = true
    await under.time.advance(150)
    await under.time.advance(150)
    expect(writes.map(({ outcome }) => (outcome as RondoError).code ?? outcome)).to.deep.equal([
      'ok',
      'ok',
      'OVERLOADED',
      'ok',
    ])
  })

  it('sends what waited for a node that failed where there is room, not all at once to the next', async () => {
    const keys = Array.from({ length: 200 }, (_, i) => `k:${i}`)
    const first = under.nodesOf('k:0')[0]!
    const mine = keys.filter((key) => under.nodesOf(key)[0] === first).slice(0, 12)
    for (const key of mine) write(key, LARGE_BYTES)
    for (let i = 0; i < 60; i++) await under.time.advance(10)
    slow(250)
    const reads = mine.map((key) => read(key))
    await under.time.advance(10)
    first.cut()
    let most = 0
    for (let i = 0; i < 400; i++) {
      await under.time.advance(10)
      most = Math.max(most, largest(under.nodes))
    }
    expect(reads.map(({ outcome }) => outcome)).to.deep.equal(mine.map(() => 'ok'))
    // What was under way at the one that failed comes on top.
    expect(most).to.be.at.most(2 * (WINDOW_BYTES + LARGE_BYTES) + LARGE_BYTES)
  })

  it('counts what waits in MAX_IN_FLIGHT', async () => {
    with_({ maxInFlight: 5 })
    slow(100)
    const writes = Array.from({ length: 6 }, () => write('k:same', LARGE_BYTES))
    expect((writes[5]!.outcome as RondoError).code).to.equal('OVERLOADED')
    for (let i = 0; i < 10; i++) await under.time.advance(100)
    expect(writes.slice(0, 5).every(({ outcome }) => outcome === 'ok')).to.equal(true)
  })

  describe('every way into the coordinator', () => {
    /** Those that are not admitted, and why. */
    const OTHERS = {
      settleRecord: 'repairs have a pace of their own',
      readSettled: 'repairs have a pace of their own',
      list: 'the control path',
      countKeys: 'the control path',
      roughCounts: 'the control path',
      onFlushed: 'asks for nothing',
      flush: 'the control path',
      randomKey: 'the control path',
      explain: 'the control path',
      expiresAtMs: 'the control path',
      drain: 'asks for nothing',
      tagging: 'tags are small',
    }
    const NOT_ASKING = [
      'constructor',
      'clockOf',
      'nowMs',
      'newVersion',
      'isFlushed',
      'checkKey',
      'checkValue',
      'checkTags',
      'clusterView',
      'sharesReplicaSet',
      'isLive',
    ]
    const WAYS: Record<string, (requester: Requester, level: ConsistencyLevel) => { outcome: Outcome }> = {
      read: (requester, level) => read('k:{a}', requester, level),
      peek: (requester, level) => peek('k:{a}', requester, level),
      write: (requester, level) => write('k:{a}', LARGE_BYTES, requester, level),
      remove: (requester, level) => remove('k:{a}', requester, level),
      update: (requester, level) => update('k:{a}', LARGE_BYTES, requester, level),
      transact: (requester, level) => transact(['k:{a}1', 'k:{a}2'], requester, level),
      transactSlowly: (requester, level) =>
        operation('transact slowly', requester, (done, transacted) =>
          coordinator.transactSlowly(
            [Buffer.from('k:{a}1')],
            (_current, then) => then({ kind: 'keep' }),
            { ...done, transacted },
            level,
          ),
        ),
    }

    it('is known here', () => {
      const own = Object.getOwnPropertyDescriptors(Coordinator.prototype)
      const isPrivate = [
        'walkAll',
        'startRead',
        'lookAt',
        'readNear',
        'readFar',
        'startTransaction',
        'placed',
        'replicate',
        'writeAsUpdate',
        'removeOlder',
        'sheds',
        'settle',
        'replicaSetOf',
        'storedKeys',
        'noteFloors',
      ]
      const methods = Object.entries(own).filter(([, { value }]) => typeof value === 'function')
      const open = methods.map(([name]) => name).filter((name) => !isPrivate.includes(name))
      expect(open.sort()).to.deep.equal([...Object.keys(WAYS), ...Object.keys(OTHERS), ...NOT_ASKING].sort())
    })

    for (const [name, begin] of Object.entries(WAYS)) {
      for (const level of CONSISTENCY_LEVELS) {
        it(`waits for room, begins once, and gives it back: ${name} at ${level}`, async () => {
          await under.done(Promise.resolve(write('k:{a}', LARGE_BYTES)))
          await under.time.advance(10)
          const closed = name === 'remove' ? 'smallBytes' : 'largeBytes'
          for (const { load } of under.nodes) load[closed] += 2 * WINDOW_BYTES
          if (name.startsWith('transact'))
            for (const { load } of under.nodes) load.smallBytes += 2 * WINDOW_BYTES
          const before = under.nodes.reduce((sum, node) => sum + node.calls.length, 0)
          const requester = new Client()
          const waiting = begin(requester, level)
          await under.time.advance(20)
          expect(under.nodes.reduce((sum, node) => sum + node.calls.length, 0)).to.equal(before)
          expect([waiting.outcome, requester.waiting]).to.deep.equal(['running', 1])
          for (const { load } of under.nodes) {
            const isTransaction = name.startsWith('transact')
            load.less(
              closed === 'largeBytes' ? 2 * WINDOW_BYTES : 0,
              closed === 'smallBytes' || isTransaction ? 2 * WINDOW_BYTES : 0,
            )
          }
          for (let i = 0; i < 20; i++) await under.time.advance(20)
          expect([waiting.outcome, requester.waiting, requester.timesNoneWaits]).to.deep.equal(['ok', 0, 1])
        })
      }
    }
  })
})
