// What arrives in one piece and is answered at once, again and again, must not keep the event loop from everybody else.
import { expect } from 'chai'
import { RawConnection } from '../support/raw-http.ts'
import { command, RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

/** Turns of the event loop while something is under way. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let turns = 0
  let isOver = false
  const count = () => {
    turns++
    if (!isOver) setImmediate(count)
  }
  setImmediate(count)
  await work
  isOver = true
  return turns
}

describe('commands and requests that arrive in one piece', () => {
  const COUNT = 200
  let running: RunningRondo
  before(async () => (running = await startRondo()))
  after(() => running.stop())

  for (const target of ['/metrics', '/status', '/readyz', '/', '/nope', '/api/v1/keys', '/repair']) {
    it(`GET ${target}: others have their turn between the answers`, async () => {
      const connection = await RawConnection.open(running.ports.socket)
      const answered = (async () => {
        for (let i = 0; i < COUNT; i++) await connection.answer()
      })()
      connection.send(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(COUNT))
      expect(await turnsDuring(answered)).to.be.above(COUNT / 2)
      connection.destroy()
    })
  }

  for (const args of [['INFO'], ['RONDO', 'STATUS'], ['RANDOMKEY'], ['SCAN', '0'], ['DBSIZE']]) {
    it(`${args.join(' ')}: others have their turn between the replies`, async () => {
      const client = await RawResp.open(running.rondo.respServer.port)
      client.send(Buffer.concat(Array.from({ length: COUNT }, () => command(...args))))
      expect(await turnsDuring(client.replies(COUNT))).to.be.above(COUNT / 2)
      client.close()
    })
  }

  it('a body in thousands of chunks of a byte is refused early', async () => {
    const connection = await RawConnection.open(running.ports.socket)
    connection.send(
      'POST /api/v1/mget HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
    )
    connection.send('1\r\n \r\n'.repeat(5000))
    expect(await connection.answer()).to.include({ status: 400 })
    connection.destroy()
  })
})
