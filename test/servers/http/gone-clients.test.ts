// What is carried out of the requests of a client that is gone.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect } from 'chai'
import { httpConnectionsOf, type RunningRondo, startRondo } from '../../support/rondo.ts'

describe('HTTP clients that are gone', () => {
  let running: RunningRondo
  let socket: Socket
  before(async () => (running = await startRondo()))
  after(() => running.stop())
  beforeEach(async () => {
    socket = connect({ port: running.ports.socket, host: '127.0.0.1' })
    socket.on('error', () => undefined)
    await once(socket, 'connect')
  })
  afterEach(() => socket.destroy())
  const leave = async () => {
    socket.resetAndDestroy()
    while ((await httpConnectionsOf(running)) > 0) await new Promise((resolve) => setImmediate(resolve))
  }

  it('a listing is not continued', async () => {
    const { coordinator } = running.rondo
    const list = coordinator.list.bind(coordinator)
    const failure = new Promise<unknown>((resolve) => {
      coordinator.list = async (request) => {
        await leave()
        const page = list(request)
        page.then(() => resolve(null), resolve)
        return page
      }
    })
    socket.write('GET /api/v1/keys HTTP/1.1\r\nHost: localhost\r\n\r\n')
    expect(await failure).to.include({ code: 'OVERLOADED' })
    coordinator.list = list
  })

  it('mget reads no more than it has begun to read, and mset writes everything', async () => {
    const { coordinator } = running.rondo
    const own = { read: coordinator.read.bind(coordinator), write: coordinator.write.bind(coordinator) }
    const begun = { read: 0, write: 0 }
    let left: Promise<void> | null = null
    coordinator.read = (key, done, level) => {
      begun.read++
      void (left ??= leave()).then(() => own.read(key, done, level))
    }
    const keys = Array.from({ length: 500 }, (_, i) => `k:${i}`)
    const post = (path: string, body: unknown) => {
      const text = JSON.stringify(body)
      const head = ['Host: localhost', 'Content-Type: application/json', `Content-Length: ${text.length}`]
      socket.write(`POST /api/v1/${path} HTTP/1.1\r\n${head.join('\r\n')}\r\n\r\n${text}`)
    }
    post('mget', { keys })
    while (left === null || (await httpConnectionsOf(running)) > 0) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    await coordinator.drain(1000)
    for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve))
    expect(begun.read).to.be.within(1, 64)

    socket = connect({ port: running.ports.socket, host: '127.0.0.1' })
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    left = null
    coordinator.write = (key, value, end, done, level) => {
      begun.write++
      void (left ??= leave()).then(() => own.write(key, value, end, done, level))
    }
    post('mset', { items: keys.map((key) => ({ key, value: 'v' })) })
    while (begun.write < keys.length) await new Promise((resolve) => setImmediate(resolve))
    Object.assign(coordinator, own)
  })
})
