// FLUSHALL and FLUSHDB key by key, where no floor can be agreed on, beside other commands: what they delete, and when they
// are answered.
import { expect } from 'chai'
import { RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const OK = '+OK\r\n'
const KEYS = 300

describe('FLUSHALL and FLUSHDB key by key', () => {
  let running: RunningRondo
  let client: RawResp
  let other: RawResp
  before(async () => (running = await startRondo({ LOG_LEVEL: 'info', TOPOLOGY: 'static' })))
  after(() => running.stop())
  beforeEach(async () => {
    client = await RawResp.open(running.rondo.respServer.port)
    other = await RawResp.open(running.rondo.respServer.port)
    await client.ask('FLUSHALL')
    await client.ask('MSET', ...Array.from({ length: KEYS }, (_, i) => [`k:${i}`, 'old']).flat())
  })
  afterEach(() => {
    client.close()
    other.close()
  })

  /** Lists in pages of a few keys, and calls `then` before the second one. */
  async function withSecondPage<T>(then: () => Promise<unknown>, run: () => Promise<T>): Promise<T> {
    const { coordinator } = running.rondo
    const list = coordinator.list.bind(coordinator)
    let isDone = false
    coordinator.list = async (request) => {
      if (request.cursor !== '0' && !isDone) {
        isDone = true
        await then()
      }
      return list({ ...request, count: 10 })
    }
    try {
      return await run()
    } finally {
      coordinator.list = list
    }
  }
  const written = Array.from({ length: KEYS / 2 }, (_, i) => [`k:${2 * i}`, `new:${i}`]).flat()
  const writeAll = async (by: RawResp) => {
    for (const key of written) expect(await by.ask('SET', key, 'new')).to.equal(OK)
    expect(await by.ask('INCR', 'count')).to.equal(':1\r\n')
  }
  const expectWritten = async (by: RawResp) => {
    const reply = await by.ask('MGET', ...written)
    expect(reply).to.equal(`*${written.length}\r\n${'$3\r\nnew\r\n'.repeat(written.length)}`)
    expect(await by.ask('GET', 'count')).to.equal('$1\r\n1\r\n')
    expect(await by.ask('RONDO', 'DBSIZE', 'EXACT')).to.equal(`:${written.length + 1}\r\n`)
  }

  for (const level of ['one', 'quorum', 'all']) {
    it(`delete what was written before they began, and nothing else, at ${level}`, async () => {
      await client.ask('RONDO', 'CONSISTENCY', level)
      await other.ask('RONDO', 'CONSISTENCY', level)
      await withSecondPage(
        () => writeAll(other),
        async () => expect(await client.ask('FLUSHDB')).to.equal(OK),
      )
      await expectWritten(other)
    })
  }

  it('delete none of what a client writes that did not wait for the reply', async () => {
    const { coordinator } = running.rondo
    const onFlushed = coordinator.onFlushed.bind(coordinator)
    const leave = () => {
      client.close()
      return writeAll(other)
    }
    await withSecondPage(leave, async () => {
      const flushed = new Promise((resolve) => (coordinator.onFlushed = resolve))
      client.send('FLUSHALL\r\n')
      await flushed
    })
    coordinator.onFlushed = onFlushed
    await expectWritten(other)
  })

  it('with ASYNC are answered when they begin, and say in the log how they ended', async () => {
    let answered: string | null = null
    const ended = () =>
      running.logLines().filter(({ msg }) => msg.startsWith('FLUSHDB of database 0 has ended'))
    await withSecondPage(
      async () => {
        while (answered === null) await new Promise((resolve) => setImmediate(resolve))
        await writeAll(other)
      },
      async () => {
        answered = await client.ask('FLUSHDB', 'ASYNC')
        while (ended().length === 0) await new Promise((resolve) => setImmediate(resolve))
      },
    )
    expect(answered).to.equal(OK)
    expect(ended()[0]!.msg).to.match(
      /^FLUSHDB of database 0 has ended: \d+ keys deleted, 0 failed, in \d+ s$/,
    )
    await expectWritten(other)
  })

  it('that are sent meanwhile begin after it, all that wait as one, and delete what was written in between', async () => {
    const { coordinator } = running.rondo
    let begun = 0
    const replies: string[] = []
    const last = await withSecondPage(
      async () => {
        const list = coordinator.list.bind(coordinator)
        coordinator.list = (request) => {
          if (request.cursor === '0') begun++
          return list(request)
        }
        await writeAll(other)
        for (let i = 0; i < 20; i++) replies.push(await other.ask('FLUSHALL', 'ASYNC'))
        expect(begun).to.equal(0)
        other.send('FLUSHALL\r\n')
      },
      async () => {
        expect(await client.ask('FLUSHALL')).to.equal(OK)
        return other.reply()
      },
    )
    expect(replies).to.deep.equal(Array.from({ length: 20 }, () => OK))
    expect(last).to.equal(OK)
    expect(begun).to.equal(1)
    expect(await client.ask('RONDO', 'DBSIZE', 'EXACT')).to.equal(':0\r\n')
  })
})
