/** Delete jobs: what goes, what stays, and who goes on. */
import { expect } from 'chai'
import { DeleteJobs } from '../../src/servers/delete-jobs.ts'
import { RondoError } from '../../src/core/errors.ts'
import type { RondoEvent } from '../../src/core/events.ts'
import { storedKey } from '../../src/core/keys.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'

describe('delete jobs', () => {
  let under: CoordinatorUnderTest
  let jobs: DeleteJobs
  let events: RondoEvent[]

  const jobsOf = (
    one: Pick<CoordinatorUnderTest, 'coordinator' | 'time'>,
    owner: string,
    keysPerSecond = 1000,
  ) =>
    new DeleteJobs({
      store: one.coordinator,
      timers: one.time,
      emit: (event) => events.push(event),
      ...{ owner, keysPerSecond, maxKeyBytes: 1024, clockErrorMs: 20 },
    })
  const create = (by: 'prefix' | 'match', pattern: string, database = 0, at = jobs) =>
    under.done(at.create({ database, by, pattern: Buffer.from(pattern), level: 'quorum' }))
  const get = (id: string, at = jobs) => under.done(at.get(id))
  const ended = async (id: string, at = jobs) => {
    for (let i = 0; i < 500; i++) {
      const view = await get(id, at)
      if (view.endedAt !== null) return view
      await under.time.advance(100)
    }
    throw new Error('the job has not ended')
  }
  const fill = (names: readonly string[], database = 0) =>
    under.done(
      Promise.all(
        names.map(
          (name) =>
            new Promise<void>((resolve, failed) =>
              under.coordinator.write(
                storedKey(database, Buffer.from(name)),
                Buffer.from('value'),
                0,
                { written: () => resolve(), failed },
                'quorum',
              ),
            ),
        ),
      ),
    )
  const named = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
  const keysOf = async (database = 0) => {
    const found: string[] = []
    let cursor = '0'
    do {
      const page = await under.done(under.coordinator.list({ database, match: null, cursor, count: 1000 }))
      found.push(...page.keys.map(String))
      cursor = page.cursor
    } while (cursor !== '0')
    return found.sort()
  }

  beforeEach(async () => {
    events = []
    under = await CoordinatorUnderTest.started()
    jobs = jobsOf(under, 'one')
  })
  afterEach(async () => {
    await under.done(jobs.stop())
    await under.cluster.stop()
  })

  it('may be there if the first try has an unknown outcome and the next one is refused', async () => {
    const errors = [
      new RondoError('OUTCOME_UNKNOWN', 'It may have been applied.', { outcome: 'unknown' }),
      new RondoError('QUORUM_NOT_MET', 'Nothing was sent.', { outcome: 'not-applied' }),
    ]
    const store = Object.create(under.coordinator) as typeof under.coordinator
    store.update = (_key, _modify, done) => done.failed(errors.shift()!)
    const at = jobsOf({ time: under.time, coordinator: store }, 'two')
    const error = await create('prefix', 'user:', 0, at).catch((failed: RondoError) => failed)
    expect(error).to.be.instanceOf(RondoError)
    expect((error as RondoError).details.outcome).to.equal('unknown')
    expect(errors).to.deep.equal([])
  })

  it('delete what has the prefix, literally, in one database', async () => {
    await fill([...named('user:*:', 30), ...named('user:1:', 10), 'user', 'User:*:1'])
    await fill(named('user:*:', 5), 1)
    const { id, ...view } = await create('prefix', 'user:*:')
    expect(view).to.include({ state: 'waiting', prefix: 'user:*:', db: 0, deleted: 0, startedAt: null })
    expect(await ended(id)).to.include({
      state: 'done',
      checked: 30,
      deleted: 30,
      kept: 0,
      secondsLeft: null,
    })
    expect(await keysOf()).to.deep.equal([...named('user:1:', 10), 'user', 'User:*:1'].sort())
    expect(await keysOf(1)).to.have.length(5)
    expect(
      events.filter(({ kind }) => kind === 'delete-job').map((event) => 'state' in event && event.state),
    ).to.deep.equal(['running', 'done'])
  })

  it('delete what matches a pattern', async () => {
    await fill(['a:1:x', 'a:2:x', 'a:2:y', 'b:1:x'])
    const { id } = await create('match', 'a:?:x')
    expect(await ended(id)).to.include({ state: 'done', match: 'a:?:x', deleted: 2 })
    expect(await keysOf()).to.deep.equal(['a:2:y', 'b:1:x'])
  })

  it('leave what was written after they were made', async () => {
    await fill(named('k', 40))
    jobs = jobsOf(under, 'one', 20)
    const { id } = await create('prefix', 'k')
    await under.time.advance(500)
    await fill(named('k', 40).slice(20).concat('knew'))
    const view = await ended(id)
    const left = await keysOf()
    expect(
      named('k', 40)
        .slice(20)
        .every((name) => left.includes(name)),
    ).to.equal(true)
    expect(left).to.include('knew')
    expect(left.filter((name) => named('k', 20).includes(name))).to.deep.equal([])
    expect(view.deleted).to.be.at.least(20)
    expect(view.kept).to.be.at.least(1)
  })

  it('keep to their rate, and say how fast they are', async () => {
    await fill(named('k', 100))
    jobs = jobsOf(under, 'one', 50)
    const { id } = await create('prefix', 'k')
    const { startedAt, endedAt, keysPerSecond } = await ended(id)
    expect(Date.parse(endedAt!) - Date.parse(startedAt!)).to.be.within(1900, 4000)
    expect(keysPerSecond).to.be.within(25, 55)
  })

  it('are gone on with by another coordinator, when theirs is dead', async () => {
    await fill(named('k', 300))
    const other = await CoordinatorUnderTest.started({ beside: under, coordinator: 2, name: 'other' })
    jobs = jobsOf(under, 'one', 50)
    const { id } = await create('prefix', 'k')
    await under.time.advance(3000)
    const before = await get(id)
    expect(before).to.include({ state: 'running' })
    expect(before.deleted).to.be.within(50, 250)
    // It does nothing any more, and gives nothing back.
    Object.assign(jobs, { stopped: true, save: () => Promise.resolve(false) })
    const second = jobsOf(other, 'two', 1000)
    second.start()
    await under.time.advance(5000)
    expect(await get(id, second)).to.include({ state: 'running' })
    const view = await ended(id, second)
    expect(view.state).to.equal('done')
    expect(view.deleted).to.be.at.least(before.deleted)
    expect(await keysOf()).to.deep.equal([])
    await under.done(second.stop())
    await other.cluster.stop()
  })

  it('are gone on with as soon, where all clocks were set back an hour when theirs was dead', async () => {
    await fill(named('k', 100))
    const other = await CoordinatorUnderTest.started({ beside: under, coordinator: 2, name: 'other' })
    jobs = jobsOf(under, 'one', 50)
    const { id } = await create('prefix', 'k')
    await under.time.advance(500)
    Object.assign(jobs, { stopped: true, save: () => Promise.resolve(false) })
    for (const node of [...under.nodes, ...other.nodes]) node.clockOffMs = -3_600_000
    const second = jobsOf(other, 'two', 1000)
    const view = await ended(id, second)
    expect(view.state).to.equal('done')
    expect(await keysOf()).to.deep.equal([])
    await under.done(second.stop())
    await other.cluster.stop()
  })

  it('end when they are cancelled, and run one after the other', async () => {
    await fill([...named('a', 100), ...named('b', 20)])
    jobs = jobsOf(under, 'one', 20)
    const first = await create('prefix', 'a')
    const second = await create('prefix', 'b')
    await under.time.advance(1000)
    expect(await get(second.id)).to.include({ state: 'waiting' })
    expect(await under.done(jobs.cancel(first.id))).to.include({ state: 'cancelled' })
    expect(await ended(second.id)).to.include({ state: 'done', deleted: 20 })
    const left = await keysOf()
    expect(left.length).to.be.within(20, 95)
    expect(await under.done(jobs.cancel(second.id))).to.include({ state: 'done' })
    expect((await under.done(jobs.list())).map(({ state }) => state)).to.deep.equal(['cancelled', 'done'])
  })

  it('go on when nodes are back that they need', async () => {
    await fill(named('k', 50))
    for (const node of under.nodes.slice(0, 3)) node.cut()
    await under.time.advance(5000)
    for (const node of under.nodes.slice(0, 3)) node.heal()
    await under.time.advance(5000)
    const { id } = await create('prefix', 'k')
    await under.time.advance(20)
    under.nodes[1]!.cut()
    under.nodes[2]!.cut()
    await under.time.advance(5000)
    under.nodes[1]!.heal()
    under.nodes[2]!.heal()
    await under.time.advance(5000)
    expect(await ended(id)).to.include({ state: 'done' })
    expect(await keysOf()).to.deep.equal([])
  })

  it('are bounded: 32 are kept, and no more than that may wait', async () => {
    const refused = (error: RondoError) => error.code
    jobs.start = () => undefined
    const ids: string[] = []
    for (let i = 0; i < 32; i++) ids.push((await create('prefix', `p${i}`)).id)
    expect(await create('prefix', 'more').catch(refused)).to.equal('CONFLICT')
    await under.done(jobs.cancel(ids[3]!))
    await create('prefix', 'more')
    const listed = (await under.done(jobs.list())).map(({ id }) => id)
    expect(listed).to.have.length(32)
    expect(listed).not.to.include(ids[3])
    expect(await get(ids[3]!).catch(refused)).to.equal('JOB_NOT_FOUND')
    for (const pattern of ['', 'x'.repeat(1025)]) {
      expect(await create('prefix', pattern).catch(refused)).to.equal('BAD_REQUEST')
    }
  })

  it('cost a coordinator nothing that knows of none', async () => {
    jobs.start()
    await under.time.advance(1000)
    const before = under.nodes.reduce((sum, node) => sum + node.calls.length, 0)
    await under.time.advance(600_000)
    const calls = under.nodes.flatMap((node) => node.calls).slice(before)
    expect(calls.filter(({ key }) => key.includes('delete-jobs'))).to.deep.equal([])
  })
})
