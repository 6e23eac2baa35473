/** Fill leases of clients that load by themselves, on virtual time. */
import { expect } from 'chai'
import { del } from '../../src/commands/keys/keyspace.ts'
import { changeKey } from '../../src/commands/run/one-key.ts'
import { askToFill, leaseOf, storeFill, type FillAnswer } from '../../src/servers/fill.ts'
import { LoaderUnderTest, OriginUnderTest, type Policy } from '../support/loaders.ts'
import type { VirtualTime } from '../support/virtual-time.ts'

const KEY = Buffer.from('key')

class Client {
  readonly requester = { waiting: 0, begunAtMs: 0, gone: false, noneWaits: () => undefined }
  private readonly one: LoaderUnderTest

  constructor(one: LoaderUnderTest) {
    this.one = one
  }

  private get at() {
    return { store: this.one.under.coordinator, fills: this.one.fills }
  }

  ask(timeoutMs = 1000): Promise<FillAnswer> {
    return askToFill(this.at, KEY, { requester: this.requester, level: 'one', writeLevel: 'one', timeoutMs })
  }

  async store(token: string, value: string, lifeMs = 10_000): Promise<boolean> {
    const expiresAtMs = Math.ceil(this.at.store.nowMs() + lifeMs)
    return (await storeFill(this.at, KEY, leaseOf(token)!, Buffer.from(value), expiresAtMs, 'one')) !== null
  }

  giveUp(token: string): Promise<void> {
    return this.one.fills.giveUp(KEY, leaseOf(token)!)
  }
}

/** DEL of the Redis protocol. @returns its reply */
async function deleted({ under }: LoaderUnderTest): Promise<unknown> {
  const step = del([Buffer.from('DEL'), KEY], 0, LIMITS, undefined)
  const requester = { waiting: 0, begunAtMs: 0, gone: false, noneWaits: () => undefined }
  return (await changeKey(under.coordinator, step, { requester, level: 'one' })).reply
}

const LIMITS = {
  ...{ database: 0, databases: 16, maxValueBytes: 1024, defaultTtlMs: 0, random: () => 0 },
}

const told = ({ status, record }: FillAnswer) => [status, record?.value.toString() ?? null]

let here: LoaderUnderTest
let there: LoaderUnderTest
let time: VirtualTime

const started = (policy: Policy) => async () => {
  ;[here, there] = (await LoaderUnderTest.over(new OriginUnderTest(), 2, policy)) as [
    LoaderUnderTest,
    LoaderUnderTest,
  ]
  time = here.under.time
}

async function ended<T>(answer: Promise<T>, limitMs = 2000): Promise<T> {
  let isEnded = false
  answer.finally(() => (isEnded = true)).catch(() => undefined)
  await time.settle()
  for (let ms = 0; ms < limitMs && !isEnded; ms += 10) await time.advance(10)
  expect(isEnded, 'it has an answer').to.equal(true)
  return answer
}

const POLICIES = {
  'with stale values, where every delete counts': { staleMs: 60_000 },
  'with marks': { marks: true },
}

for (const [name, policy] of Object.entries(POLICIES)) {
  describe(`fill leases ${name}`, () => {
    beforeEach(started(policy))

    it('gives one of all who ask two coordinators the lease, and the others its value', async () => {
      const clients = Array.from({ length: 40 }, (_, i) => new Client(i % 2 === 0 ? here : there))
      const answers = clients.map((client) => client.ask())
      const [client, { token }] = await ended(
        Promise.race(answers.map(async (answer, i) => [clients[i]!, await answer] as const)),
      )
      await time.advance(500)
      expect(await ended(client.store(token!, 'value'))).to.equal(true)
      const all = await ended(Promise.all(answers))
      expect(all.filter(({ status }) => status === 'load')).to.have.length(1)
      expect(all.filter((one) => told(one).join() === 'hit,value')).to.have.length(39)
    })

    it('passes the lease on when its holder gives it back', async () => {
      const { token } = await ended(new Client(here).ask(60_000))
      const next = new Client(there).ask()
      await time.advance(100)
      await ended(new Client(here).giveUp(token!))
      const last = await ended(next)
      expect(last.status).to.equal('load')
      expect(last.token).not.to.equal(token)
    })

    it('passes the lease on when it has run out, and still takes what its holder loaded if nothing newer is there', async () => {
      const holder = new Client(here)
      const { token } = await ended(holder.ask(1000))
      const next = new Client(there).ask(3000)
      await time.advance(900)
      expect((await ended(next)).status).to.equal('load')
      expect(await ended(holder.store(token!, 'late'))).to.equal(true)
      expect(await ended(new Client(there).store((await next).token!, 'later'))).to.equal(false)
    })

    it('does not leave the lease with a client that has gone', async () => {
      const gone = new Client(here)
      gone.requester.gone = true
      await ended(gone.ask(60_000))
      expect((await ended(new Client(there).ask())).status).to.equal('load')
    })

    it('tells who waits in vain to ask again', async () => {
      await ended(new Client(here).ask(60_000))
      expect(told(await ended(new Client(there).ask(500)))).to.deep.equal(['wait', null])
    })

    it('stores nothing over a write or a delete since the lease', async () => {
      for (const change of [() => there.under.put('key', 'written'), () => there.under.del('key')]) {
        await here.under.del('key')
        const client = new Client(here)
        const { token } = await ended(client.ask())
        await change()
        expect(await ended(client.store(token!, 'loaded before'))).to.equal(false)
        expect((await here.under.get('key')).result).not.to.equal('loaded before')
      }
    })
  })
}

describe('fill leases on stale values', () => {
  beforeEach(started({ staleMs: 60_000 }))

  it('gives one the lease on a stale value, and all others that value at once', async () => {
    const client = new Client(here)
    await ended(client.store((await ended(client.ask())).token!, 'old'))
    await time.advance(10_001)
    const again = await ended(client.ask())
    expect(told(again)).to.deep.equal(['load', 'old'])
    expect(told(await ended(new Client(here).ask(), 50))).to.deep.equal(['stale', 'old'])
    expect(told(await ended(new Client(there).ask(), 50))).to.deep.equal(['stale', 'old'])
    expect((await here.under.get('key')).result).to.equal('(expired)')
    await ended(client.store(again.token!, 'new'))
    expect(told(await ended(new Client(there).ask()))).to.deep.equal(['hit', 'new'])
  })

  it('takes only tokens of the right form', () => {
    for (const bad of ['', 'x', 'A'.repeat(52), '0'.repeat(51), `${'0'.repeat(52)}\n`]) {
      expect(leaseOf(bad), bad).to.equal(null)
    }
    expect(leaseOf('0'.repeat(52))).not.to.equal(null)
  })
})

describe('marks of fill leases', () => {
  beforeEach(started({ marks: true }))

  const record = (one = here) =>
    one.fills.read(KEY, 'one').then((held) => ({ isAwaited: held?.isAwaited ?? false, held }))

  it('are seen through every coordinator, and are nothing to all who read', async () => {
    await ended(new Client(here).ask())
    expect((await ended(record(there))).isAwaited).to.equal(true)
    expect((await there.under.get('key')).result).to.equal('(deleted)')
  })

  it('let one load, although others have missed after the mark', async () => {
    const first = await ended(new Client(here).ask())
    const others = [here, there, there].map((one) => new Client(one).ask())
    await time.advance(300)
    expect(await ended(new Client(there).store(first.token!, 'value'))).to.equal(true)
    expect((await ended(Promise.all(others))).map(told)).to.deep.equal(Array(3).fill(['hit', 'value']))
  })

  it('let a new load begin after a delete, at once and beside the old one', async () => {
    const old = await ended(new Client(here).ask(60_000))
    await ended(deleted(there))
    const next = await ended(new Client(here).ask(), 50)
    expect(next.status).to.equal('load')
    expect(await ended(new Client(here).store(old.token!, 'old row'))).to.equal(false)
    expect(await ended(new Client(there).store(next.token!, 'new row'))).to.equal(true)
  })

  it('are gone later than their leases: what is stored after that may be outdated, and is not kept', async () => {
    const { token } = await ended(new Client(here).ask(1000))
    await time.advance(59_000)
    expect((await ended(record())).isAwaited).to.equal(true)
    await time.advance(120_000)
    expect((await ended(record())).held).to.equal(null)
    expect(await ended(deleted(there))).to.equal(0)
    expect((await ended(record())).held, 'nothing was written').to.equal(null)
    expect(await ended(new Client(here).store(token!, 'very late'))).to.equal(false)
  })

  it('serve leases that follow, so that a client that always needs longer than its lease can fill', async () => {
    const first = await ended(new Client(here).ask(1000))
    for (let second = 1; second < 5; second++) {
      await time.advance(1001)
      expect((await ended(new Client(there).ask(1000))).status).to.equal('load')
    }
    expect(await ended(new Client(here).store(first.token!, 'slow'))).to.equal(true)
  })
})
