// CLIENT LIST beside many other clients that want one: while it waits it holds nothing, and what it gathers is counted.
import { expect } from 'chai'
import { RondoError } from '../../../src/core/errors.ts'
import type { Sliced } from '../../../src/core/work.ts'
import { list } from '../../../src/servers/resp/session/client-list.ts'
import type { Client } from '../../../src/servers/resp/model.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'

const LIST = [Buffer.from('CLIENT'), Buffer.from('LIST')]

describe('CLIENT LIST of many clients', () => {
  let running: RunningRondo
  const clients: RawResp[] = []
  before(async () => {
    running = await startRondo()
    for (let i = 0; i < 100; i++) clients.push(await RawResp.open(running.rondo.respServer.port))
    await clients[99]!.ask('PING')
  })
  after(async () => {
    for (const client of clients) client.close()
    await running.stop()
  })

  it('a list that waits for its turn has gathered nothing: it shows who is there when its turn comes', async () => {
    const { respServer } = running.rondo
    const [first, second] = [clients[0]!, clients[1]!]
    const firstId = Number((await first.ask('CLIENT', 'ID')).slice(1, -2))
    const release = holdTheTurn(respServer.work)
    first.send('CLIENT LIST\r\n')
    const connection = [...respServer.connections].find(({ id }) => id === firstId)!
    while (connection.added < 2) await second.ask('PING')
    const late = await RawResp.open(respServer.port)
    clients.push(late)
    await late.ask('CLIENT', 'SETNAME', 'late')
    release()
    expect(await first.reply()).to.include(' name=late ')
  })

  /** Carries out a list of the first client piece by piece. */
  function piecewise(account: Partial<Client['account']> = {}) {
    const [connection] = running.rondo.respServer.connections
    let job!: Sliced<unknown>
    const client = Object.create(connection!, {
      work: { value: { outcomeAlone: (_: unknown, given: Sliced<unknown>) => void (job = given) } },
      account: { value: Object.create(connection!.account, descriptors(account)) as Client['account'] },
    }) as Client
    void list(client, LIST)
    return { job, account: client.account }
  }

  it('what it has gathered is in the account of its client, until the reply is', () => {
    const { job, account } = piecewise()
    const before = account.bytes
    const held = []
    for (let step = job.next(); !step.done; step = job.next()) held.push(account.bytes - before)
    expect(held).to.have.length.above(2)
    expect(held[0]).to.be.above(32 * 200)
    for (const [i, bytes] of held.entries()) if (i > 0) expect(bytes).to.be.above(held[i - 1]!)
    expect(account.bytes).to.equal(before)
  })

  it('is refused halfway when memory is used up, and releases what it has gathered', () => {
    const { job, account } = piecewise({ isRefused: true })
    const before = account.bytes
    expect(() => {
      while (!job.next().done);
    }).to.throw(RondoError, /MAX_CLIENT_MEMORY/)
    expect(account.bytes).to.equal(before)
  })

  it('in a transaction, the lists before it are in the account while it is made', async () => {
    const { respServer } = running.rondo
    const client = clients[2]!
    const id = Number((await client.ask('CLIENT', 'ID')).slice(1, -2))
    const { account } = [...respServer.connections].find((one) => one.id === id)!
    const outcomeAlone = respServer.work.outcomeAlone.bind(respServer.work)
    const held: number[] = []
    respServer.work.outcomeAlone = (owner, job) => {
      held.push(account.bytes)
      return outcomeAlone(owner, job)
    }
    try {
      client.send('MULTI\r\nCLIENT LIST\r\nCLIENT LIST\r\nCLIENT LIST\r\nEXEC\r\n')
      await client.replies(5)
    } finally {
      respServer.work.outcomeAlone = outcomeAlone
    }
    expect(held).to.have.length(3)
    expect(held[1]! - held[0]!).to.be.above(100 * 200)
    expect(held[2]! - held[1]!).to.be.above(100 * 200)
  })
})

/** Nothing else that is carried out alone begins before it is released. */
function holdTheTurn(work: RunningRondo['rondo']['respServer']['work']): () => void {
  let released = false
  void work.outcomeAlone(
    {},
    (function* () {
      while (!released) yield 1000
    })(),
  )
  return () => void (released = true)
}

function descriptors(values: object): PropertyDescriptorMap {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, { value: value as unknown }]),
  )
}
