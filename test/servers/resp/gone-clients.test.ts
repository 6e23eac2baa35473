// What is carried out of the commands of a client that is gone.
import { expect } from 'chai'
import type { WriteDone } from '../../../src/coordinator/api.ts'
import type { Connection } from '../../../src/servers/resp/connection/connection.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

/** Far more than a client that has closed its end may be silent. */
const LONG_MS = 10_000

describe('clients of the Redis protocol that are gone', () => {
  let running: RunningRondo
  let client: RawResp
  let leaving: RawResp
  before(async () => (running = await startRondo()))
  after(() => running.stop())
  beforeEach(async () => {
    client = await RawResp.open(running.rondo.respServer.port)
    leaving = await RawResp.open(running.rondo.respServer.port)
    await client.ask('FLUSHALL')
    await leaving.ask('CLIENT', 'SETNAME', 'leaving')
  })
  afterEach(() => {
    client.close()
    leaving.close()
  })
  const connectionOf = (name: string) => {
    const all = [...running.rondo.respServer.connections] as Connection[]
    return all.find((connection) => connection.name === name)
  }
  const until = async (isSo: () => boolean) => {
    while (!isSo()) await new Promise((resolve) => setImmediate(resolve))
  }

  /** Holds back writes until the function that it passes is called, and counts the calls that follow. */
  async function withHeldWrites(run: (release: () => void, calls: string[]) => Promise<void>) {
    const { coordinator } = running.rondo
    const held: (() => void)[] = []
    const calls: string[] = []
    const own = {
      write: coordinator.write.bind(coordinator),
      read: coordinator.read.bind(coordinator),
      peek: coordinator.peek.bind(coordinator),
    }
    let isHeld = true
    coordinator.write = (key: Buffer, value: Buffer, end: number, done: WriteDone, level) => {
      calls.push(`write ${key.toString()}`)
      const go = () => own.write(key, value, end, done, level)
      if (isHeld) held.push(go)
      else go()
    }
    coordinator.read = (key, done, level) => {
      calls.push(`read ${key.toString()}`)
      own.read(key, done, level)
    }
    coordinator.peek = (key, part, done, level) => {
      calls.push(`peek ${key.toString()}`)
      own.peek(key, part, done, level)
    }
    // Commands of connections that have one under way are not started.
    Object.defineProperty(coordinator, 'crowded', { value: true, configurable: true })
    const release = () => {
      Reflect.deleteProperty(coordinator, 'crowded')
      isHeld = false
      for (const go of held) go()
    }
    try {
      await run(release, calls)
    } finally {
      release()
      Object.assign(coordinator, own)
    }
  }

  it('the end of a client is noticed while its commands wait, and only its writes are carried out', () =>
    withHeldWrites(async (release, calls) => {
      const reads = Array.from({ length: 100 }, () => [
        command('GET', 'a'),
        command('MGET', 'a', 'b'),
        command('KEYS', '*'),
      ]).flat()
      leaving.socket.end(
        Buffer.concat([
          command('CLIENT', 'REPLY', 'OFF'),
          command('SET', 'a', '1'),
          ...reads,
          command('SET', 'b', '2'),
          command('INCR', 'a'),
        ]),
      )
      await until(() => connectionOf('leaving')!.inputEnded)
      expect(calls).to.deep.equal(['write a'])
      release()
      await until(() => connectionOf('leaving') === undefined)
      expect(calls).to.deep.equal(['write a', 'write b'])
      expect(await client.ask('MGET', 'a', 'b')).to.equal('*2\r\n$1\r\n2\r\n$1\r\n2\r\n')
    }))

  it('nothing more begins once the socket has failed, which is noticed while its commands wait', () =>
    withHeldWrites(async (release, calls) => {
      leaving.send(Buffer.concat([command('SET', 'a', '1'), command('SET', 'b', '2'), command('GET', 'b')]))
      await until(() => calls.length > 0)
      leaving.socket.resetAndDestroy()
      await until(() => connectionOf('leaving') === undefined)
      release()
      expect(await client.ask('MGET', 'a', 'b')).to.equal('*2\r\n$1\r\n1\r\n$-1\r\n')
      expect(calls.slice(0, 1)).to.deep.equal(['write a'])
      expect(calls).not.to.include('write b')
    }))

  it('what waits unread is in the account of its connection, up to a limit', () =>
    withHeldWrites(async (release, calls) => {
      const { account } = connectionOf('leaving')!
      const before = account.bytes
      const sent = Buffer.concat([
        command('SET', 'a', '1'),
        ...Array.from({ length: 500 }, () => command('SET', 'b', Buffer.alloc(1000))),
      ])
      const { bytesRead } = connectionOf('leaving')!.socket
      leaving.send(sent)
      await until(() => calls.length > 0 && connectionOf('leaving')!.socket.isPaused())
      const held = connectionOf('leaving')!.socket.bytesRead - bytesRead
      expect(held).to.be.below(sent.length / 2)
      expect(account.bytes - before).to.be.within(held, 3 * held)
      release()
      expect(await leaving.replies(501)).to.have.lengthOf(501)
    }))

  const reset = async ({ socket }: RawResp) => {
    socket.resetAndDestroy()
    await until(() => connectionOf('leaving') === undefined)
  }
  /** Closes its end, and gets nothing for some seconds. */
  const end = async ({ socket }: RawResp) => {
    const connection = connectionOf('leaving')!
    socket.end()
    await until(() => connection.inputEnded)
    expect(connection.isOverdue(running.rondo.respServer.nowMs() + LONG_MS)).to.equal(false)
  }

  const WALKS = [['KEYS', '*'], ['DBSIZE'], ['RONDO', 'DBSIZE', 'EXACT'], ['INFO', 'keyspace'], ['RANDOMKEY']]
  for (const walk of WALKS) {
    /** Lists in small pages; counts them, and calls `then` at the second. */
    async function pagesOf(then: (leaving: RawResp) => Promise<void>): Promise<number> {
      await client.ask('MSET', ...Array.from({ length: 300 }, (_, i) => [`k:${i}`, 'v']).flat())
      const { coordinator } = running.rondo
      const list = coordinator.list.bind(coordinator)
      let pages = 0
      let failed = 0
      coordinator.list = async (request) => {
        if (request.cursor !== '0' && pages === 1) await then(leaving)
        const page = await list({ ...request, count: 1 }).catch((error: unknown) => {
          failed++
          throw error
        })
        pages++
        return page
      }
      try {
        leaving.send(command(...walk))
        await until(() => failed > 0)
      } finally {
        coordinator.list = list
      }
      return pages
    }

    it(`${walk.join(' ')} ends when the socket fails`, async () => {
      expect(await pagesOf(reset)).to.be.at.most(2)
    })

    it(`${walk.join(' ')} ends when the client has closed its end and gets nothing for some seconds`, async () => {
      expect(await pagesOf(end)).to.be.at.most(2)
      expect(await leaving.rest()).to.match(/^-TRYAGAIN .*closed its end.*\r\n$/)
    })
  }

  for (const [name, leave] of [
    ['fails', reset],
    ['is half closed, and takes nothing for some seconds', end],
  ] as const) {
    it(`a read of many keys starts no further read when the socket ${name}`, async () => {
      const keys = Array.from({ length: 1000 }, (_, i) => `k:${i}`)
      const { coordinator } = running.rondo
      const read = coordinator.read.bind(coordinator)
      const held: (() => void)[] = []
      coordinator.read = (...args) => void held.push(() => read(...args))
      try {
        leaving.send(command('MGET', ...keys))
        await until(() => held.length > 0)
        await leave(leaving)
        const begun = held.length
        expect(begun).to.be.below(keys.length)
        for (const go of held.splice(0)) go()
        for (let turns = 0; turns < 100; turns++) await new Promise((resolve) => setImmediate(resolve))
        expect(held).to.have.length(0)
      } finally {
        coordinator.read = read
      }
    })
  }
})
