/** Loading on virtual time: who calls the origin, how often, and what wins. */
import { expect } from 'chai'
import { LoadFailure } from '../../src/loader/api.ts'
import { FAILED_PAUSE_MS, LEASE_MS } from '../../src/loader/loader.ts'
import { LoaderUnderTest, OriginUnderTest, type Policy } from '../support/loaders.ts'
import type { VirtualTime } from '../support/virtual-time.ts'

describe('loading what is not there', () => {
  let origin: OriginUnderTest
  let time: VirtualTime

  async function started(count = 1, policy: Policy = {}): Promise<LoaderUnderTest[]> {
    origin = new OriginUnderTest()
    const all = await LoaderUnderTest.over(origin, count, policy)
    time = all[0]!.under.time
    return all
  }

  /** Lets time pass until the origin has been called so often. */
  async function called(count: number): Promise<void> {
    for (let i = 0; i < 1000 && origin.calls.length < count; i++) await time.advance(10)
    expect(origin.calls.length).to.equal(count)
  }

  /** Lets time pass until it has an answer. */
  async function ended<T>(answer: Promise<T>): Promise<T> {
    let isEnded = false
    void answer.then(() => (isEnded = true))
    for (let i = 0; i < 2000 && !isEnded; i++) await time.advance(10)
    expect(isEnded, 'it has an answer').to.equal(true)
    return answer
  }

  async function loaded(one: LoaderUnderTest, key: string, value: string): Promise<void> {
    const answer = one.get(key)
    await called(origin.calls.length + 1)
    origin.calls.at(-1)!.answer(value)
    expect(await ended(answer)).to.equal(value)
  }

  it('calls the origin once for all who ask three coordinators for one cold key', async () => {
    const all = await started(3)
    const answers = all.flatMap((one) => Array.from({ length: 50 }, () => one.get('cold')))
    await called(1)
    await time.advance(2 * LEASE_MS) // the lease is renewed meanwhile
    origin.calls[0]!.answer('hot')
    expect(new Set(await ended(Promise.all(answers)))).to.deep.equal(new Set(['hot']))
    expect(origin.calls).to.have.length(1)
    expect((await all[1]!.under.get('cold')).result).to.equal('hot')
  })

  it('calls it at most twice when the coordinator that loads is killed, and answers all others', async () => {
    const [first, ...others] = await started(3)
    void first!.get('cold')
    await called(1)
    const answers = others.flatMap((one) => Array.from({ length: 50 }, () => one.get('cold')))
    await time.advance(200)
    for (const node of first!.under.nodes) node.cut()
    await called(2)
    origin.calls[1]!.answer('hot')
    expect(new Set(await ended(Promise.all(answers)))).to.deep.equal(new Set(['hot']))
    expect(origin.calls).to.have.length(2)
  })

  it('answers what was written while it loaded, and keeps it', async () => {
    const [one, other] = await started(2)
    const answer = one!.get('key')
    await called(1)
    await other!.under.put('key', 'written')
    origin.calls[0]!.answer('loaded before')
    expect(await ended(answer)).to.equal('written')
    expect((await one!.under.get('key')).result).to.equal('written')
  })

  it('stores nothing over a delete while it loaded, and a read after the delete loads again', async () => {
    const [one, other] = await started(2)
    const before = one!.get('key')
    await called(1)
    await other!.under.del('key')
    const after = one!.get('key')
    await called(2)
    origin.calls[0]!.answer('of before')
    expect(await ended(before)).to.equal('of before')
    expect((await one!.under.get('key')).result).to.equal('(deleted)')
    origin.calls[1]!.answer('of after')
    expect(await ended(after)).to.equal('of after')
    expect((await other!.under.get('key')).result).to.equal('of after')
  })

  it('stores nothing that was loaded before a flush', async () => {
    const [one] = await started()
    const answer = one!.get('key')
    await called(1)
    const flushed = one!.under.coordinator.flush(null)
    expect(await one!.under.done(flushed)).to.equal(true)
    origin.calls[0]!.answer('of before')
    expect(await ended(answer)).to.equal('of before')
    expect((await one!.under.get('key')).result).not.to.equal('of before')
  })

  it('stores nothing over a value that another program has written to the nodes', async () => {
    const [one] = await started()
    const answer = one!.get('key')
    await called(1)
    for (const node of one!.under.nodes)
      node.memory.storage.set(Buffer.from('key'), Buffer.from('plain'), Infinity)
    origin.calls[0]!.answer('loaded')
    expect(await ended(answer)).to.equal('plain')
  })

  it('remembers that the origin has nothing, until somebody writes or deletes', async () => {
    const [one, other] = await started(2, { negativeTtlMs: 10_000 })
    const answer = one!.get('key')
    await called(1)
    origin.calls[0]!.answer(null)
    expect(await ended(answer)).to.equal('(absent)')
    expect(await ended(other!.get('key'))).to.equal('(absent)')
    expect(origin.calls).to.have.length(1)
    await one!.under.del('key')
    await loaded(other!, 'key', 'there now')
  })

  it('forgets it after LOADER_NEGATIVE_TTL_SECONDS, and does not remember it at 0', async () => {
    for (const [negativeTtlMs, waitMs] of [
      [10_000, 10_000],
      [0, 0],
    ] as const) {
      const [one] = await started(1, { negativeTtlMs })
      const answer = one!.get('key')
      await called(1)
      origin.calls[0]!.answer(null)
      await ended(answer)
      await time.advance(waitMs)
      await loaded(one!, 'key', 'there now')
    }
  })

  it('is expired for all other clients, and served stale for LOADER_STALE_SECONDS, while one request loads it again', async () => {
    const [one, other] = await started(2, { ttlMs: 100_000, staleMs: 50_000 })
    await loaded(one!, 'key', 'old')
    await time.advance(100_000)
    expect((await one!.under.get('key')).result).to.equal('(expired)')
    await time.advance(38_000) // longer than nodes keep any other value of this TTL
    expect(await ended(Promise.all([one!.get('key'), one!.get('key'), other!.get('key')]))).to.deep.equal([
      ...['old', 'old', 'old'],
    ])
    await called(2)
    origin.calls[1]!.answer('new')
    await time.advance(1000)
    expect(await ended(other!.get('key'))).to.equal('new')
    expect(origin.calls).to.have.length(2)
    await time.advance(151_000)
    await loaded(one!, 'key', 'third')
  })

  it('never serves a value stale that a client has written', async () => {
    const [one] = await started(1, { staleMs: 50_000 })
    await one!.under.put('key', 'session', one!.under.coordinator.nowMs() + 10_000)
    await time.advance(10_001)
    await loaded(one!, 'key', 'from the origin')
  })

  it('serves a stale value when the origin is slower than the soft timeout, or fails', async () => {
    const [one] = await started(1, { ttlMs: 10_000, staleMs: 60_000, softTimeoutMs: 200 })
    await loaded(one!, 'key', 'old')
    await time.advance(10_000)
    const slow = one!.get('key')
    await called(2)
    await time.advance(150)
    const quick = one!.get('key')
    expect(await ended(slow)).to.equal('old')
    origin.calls[1]!.answer('new')
    expect(await ended(quick)).to.equal('new')
    await time.advance(10_000)
    const failing = one!.get('key')
    await called(3)
    origin.calls[2]!.fail(new LoadFailure('The origin answered 500.'))
    expect(await ended(failing)).to.equal('new')
  })

  it('tells all who wait when the origin fails, and lets it rest for a moment', async () => {
    const [one, other] = await started(2)
    const answers = [one!.get('key'), one!.get('key'), other!.get('key')]
    await called(1)
    origin.calls[0]!.fail(new LoadFailure('The origin answered 500.'))
    expect(await ended(Promise.all(answers))).to.deep.equal(['LOAD_FAILED', 'LOAD_FAILED', 'LOAD_FAILED'])
    expect(await ended(other!.get('key'))).to.equal('LOAD_FAILED')
    expect(origin.calls).to.have.length(1)
    expect([...one!.events, ...other!.events]).to.deep.equal([
      { kind: 'origin', failing: true, why: 'The origin answered 500' },
    ])
    await time.advance(FAILED_PAUSE_MS)
    await loaded(other!, 'key', 'well again')
  })

  it('hands over when the origin does not answer in time: nobody fails who still has time', async () => {
    const [one, other] = await started(2, { timeoutMs: 1000 })
    const first = one!.get('key')
    await called(1)
    await time.advance(900)
    const late = [one!.get('key'), other!.get('key')]
    await called(2)
    expect(origin.calls[0]!.signal.aborted).to.equal(true)
    origin.calls[1]!.answer('second try')
    expect(await ended(Promise.all([first, ...late]))).to.deep.equal([
      'second try',
      'second try',
      'second try',
    ])
  })

  it('gives up in the end', async () => {
    const [one] = await started(1, { timeoutMs: 1000 })
    const begunMs = time.monotonicMs()
    expect(await ended(one!.get('key'))).to.equal('LOAD_FAILED')
    expect(time.monotonicMs() - begunMs).to.be.within(1000, 1000 + LEASE_MS + 50)
  })

  it('loads once in each coordinator where too few nodes answer for a lease', async () => {
    const [one] = await started()
    const [, second, third] = one!.under.nodesOf('key')
    for (const node of [second!, third!]) node.cut()
    await time.advance(5000)
    await loaded(one!, 'key', 'all the same')
  })

  it('calls the origin at most LOADER_MAX_CONCURRENT times at once', async () => {
    const [one] = await started(1, { maxConcurrent: 2 })
    const answers = ['a', 'b', 'c'].map((key) => one!.get(key))
    await called(2)
    await time.advance(500)
    expect(origin.calls).to.have.length(2)
    origin.calls[0]!.answer('1')
    await called(3)
    origin.calls[1]!.answer('2')
    origin.calls[2]!.answer('3')
    expect(await ended(Promise.all(answers))).to.deep.equal(['1', '2', '3'])
  })

  it('asks the nodes for a bounded number of leases, however many keys are asked for', async () => {
    const [one] = await started(1, { maxConcurrent: 1, timeoutMs: 1000 })
    const answers = Array.from({ length: 50 }, (_, i) => one!.get(`key-${i}`))
    await called(1)
    await time.advance(100)
    const leases = new Set(
      one!.under.nodes.flatMap(({ calls }) => calls.flatMap(({ op, key }) => (op === 'prepare' ? key : []))),
    )
    expect([...leases].filter((key) => key.startsWith('__rondo:fill:'))).to.have.length(4)
    for (let i = 0; i < 50; i++) {
      await called(i + 1)
      origin.calls[i]!.answer('value')
    }
    expect(new Set(await ended(Promise.all(answers)))).to.deep.equal(new Set(['value']))
  })

  it('serves a value stale although a conditional write has met it meanwhile', async () => {
    const [one] = await started(1, { ttlMs: 10_000, staleMs: 60_000 })
    await loaded(one!, 'key', 'old')
    await time.advance(10_000)
    const { coordinator } = one!.under
    const met = new Promise<void>((updated, failed) => {
      coordinator.update(
        Buffer.from('key'),
        () => ({ kind: 'keep' }),
        { updated: () => updated(), failed },
        'quorum',
      )
    })
    await ended(met)
    expect(await ended(one!.get('key'))).to.equal('old')
  })

  it('lets values that were loaded together expire apart, none later than its TTL', async () => {
    const [one] = await started(1, { ttlMs: 100_000 })
    const keys = Array.from({ length: 20 }, (_, i) => `key-${i}`)
    const answers = keys.map((key) => one!.get(key))
    await called(20)
    const nowMs = one!.under.coordinator.nowMs()
    for (const call of origin.calls) call.answer('value')
    await ended(Promise.all(answers))
    const lives = keys.map((key) => one!.under.nodesOf(key)[0]!.held(key)!.expiresAtMs - nowMs)
    expect(new Set(lives).size).to.be.greaterThan(15)
    for (const life of lives) expect(life).to.be.within(90_000, 100_500)
  })

  it('takes a TTL from the function, and refuses what cannot be stored', async () => {
    const [one] = await started()
    const answer = one!.get('key')
    await called(1)
    origin.calls[0]!.answer({ value: 'brief', ttlMs: 1000 })
    expect(await ended(answer)).to.equal('brief')
    await time.advance(1000)
    expect((await one!.under.get('key')).result).to.equal('(expired)')
    for (const bad of [Buffer.alloc((1 << 20) + 1), { value: 'x', ttlMs: NaN }, { value: 'x', ttlMs: 0 }]) {
      const refused = one!.get(`bad-${origin.calls.length}`)
      await called(origin.calls.length + 1)
      origin.calls.at(-1)!.answer(bad)
      expect(await ended(refused)).to.equal('LOAD_FAILED')
    }
  })

  it('loads nothing for other databases than the first, unless the origin has them', async () => {
    const [one] = await started()
    expect(await ended(one!.get('__rondo:db3:key'))).to.equal('(absent)')
    expect(origin.calls).to.have.length(0)
  })

  it('ends its calls when the process stops', async () => {
    const [one] = await started()
    const answer = one!.get('key')
    await called(1)
    one!.loader.stop()
    expect(origin.calls[0]!.signal.aborted).to.equal(true)
    expect(await ended(answer)).to.equal('LOAD_FAILED')
    expect(origin.calls).to.have.length(1)
  })
})
