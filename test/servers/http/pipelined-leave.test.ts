// Clients that leave in the middle of a pipeline, and a program that must not care.
import { connect, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { expect } from 'chai'
import { call, requestBytes } from '../../support/raw-http.ts'
import { Program } from '../../support/program.ts'
import { startRondo } from '../../support/rondo.ts'

/** Without the mending, one in a few hundred ended the process. */
const CLIENTS = 1200
const AT_ONCE = 4

describe('a client that leaves behind a request that is refused with its connection', function () {
  this.timeout(60_000)

  it('does not end the program, however many do', async () => {
    const program = new Program({ DATA_TOKEN: 'data-token-0123456789', LOG_LEVEL: 'fatal' })
    try {
      const port = await program.listening()
      const pipeline = Buffer.concat([
        requestBytes('GET', '/livez'),
        // Without its token, and with a body that is not read: the connection is to end.
        requestBytes('GET', '/api/v1/keys/n/explain', { body: { value: 'v' } }),
        requestBytes('PROPFIND', '/nope'),
        requestBytes('OPTIONS', '/repair', { body: { keys: [] } }),
        requestBytes('GET', '/livez', { body: 'null' }),
      ])
      const clients = Array.from({ length: AT_ONCE }, async () => {
        for (let n = 0; n < CLIENTS / AT_ONCE; n++) await sendAndLeave(port, pipeline)
      })
      await Promise.all(clients)
      expect((await call(port, 'GET', '/livez')).status).to.equal(200)
    } finally {
      await program.stop()
    }
  })
})

describe('a response that node:http calls sent a second time, as it may when the connection breaks', () => {
  it('is no fault while the next request waits for its response', async () => {
    const running = await startRondo()
    const responses: ServerResponse[] = []
    const server = createServer((req, res) => {
      if (responses.push(res) === 1) running.rondo.app(req, res)
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    try {
      socket.write(Buffer.concat([requestBytes('GET', '/livez'), requestBytes('GET', '/livez')]))
      await once(socket, 'data')
      const [first, second] = responses
      expect([first!.writableFinished, second!.writableEnded]).to.deep.equal([true, false])
      expect(() => first!.emit('finish')).not.to.throw()
    } finally {
      socket.destroy()
      server.close()
      await running.stop()
    }
  })
})

function sendAndLeave(port: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(bytes)
      socket.destroy()
    })
    socket.on('error', () => undefined) // 'close' follows
    socket.on('close', () => resolve())
  })
}
