// What one client can make the gRPC server hold, and how long: sizes, deadlines, back-pressure, tokens, and bytes that are no gRPC.
import { once } from 'node:events'
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import type { GrpcSocketServer } from '../../../src/servers/grpc/listener.ts'
import { framed, GrpcClient, grpcHeaders, rawSession, type Answer } from '../../support/grpc.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'
import { until } from '../../support/rondo-under-test.ts'

const bytes = (text: string) => Buffer.from(text)
const failure = ({ status, details, trailers }: Answer) => [status, trailers['rondo-code'], details]

function serverOf({ rondo }: RunningRondo): GrpcSocketServer {
  const { servers } = rondo as unknown as { servers: readonly { server: { name: string } }[] }
  return servers.find(({ server }) => server.name === 'grpc')!.server as GrpcSocketServer
}

/** The status of a call that was made without a library. */
async function statusOf(stream: ClientHttp2Stream): Promise<string> {
  let status = ''
  stream.on('response', (headers) => (status = String(headers['grpc-status'] ?? status)))
  stream.on('trailers', (headers: Record<string, string>) => (status = String(headers['grpc-status'])))
  stream.resume()
  await once(stream, 'close')
  return status
}

describe('limits over gRPC', function () {
  this.timeout(20_000)
  let running: RunningRondo
  let client: GrpcClient
  let session: ClientHttp2Session
  before(async () => {
    running = await startRondo({
      GRPC_PORT: '0',
      GRPC_MAX_RECV_BYTES: '100KiB',
      GRPC_MAX_SEND_BYTES: '100KiB',
      MAX_BATCH_KEYS: '100',
      LOG_REQUESTS: 'all',
    })
    client = new GrpcClient(running.grpcPort)
    session = rawSession(running.grpcPort)
  })
  after(async () => {
    client.close()
    session.destroy()
    await running.stop()
  })
  const { stringify } = JSON
  const call = (name: string, request: object) => client.call(`rondo.v1.Cache/${name}`, request)
  const open = (name: string, more = {}) => session.request(grpcHeaders(name, more))

  describe('sizes', () => {
    it('a message that is too long is refused, not read', async () => {
      const answer = await call('Set', { key: bytes('k'), value: Buffer.alloc(100 * 1024) })
      expect(failure(answer)).to.deep.equal([
        'RESOURCE_EXHAUSTED',
        'VALUE_TOO_LARGE',
        'The message has more than 102400 bytes (GRPC_MAX_RECV_BYTES).',
      ])
      const text = await running.rondo.telemetry.registry.metrics()
      expect(text).to.match(/method="rondo.v1.Cache\/Set",status="RESOURCE_EXHAUSTED"/)
    })

    it('an answer that would be too long is refused with its setting, and each key of a batch by itself', async () => {
      const http = `http://localhost:${running.ports.socket}/api/v1/keys/`
      const put = (key: string, size: number) =>
        fetch(http + key, {
          method: 'PUT',
          headers: { 'content-type': 'application/octet-stream' },
          body: Buffer.alloc(size),
        })
      await put('large', 100 * 1024)
      expect(failure(await call('Get', { key: bytes('large') }))).to.deep.equal([
        'RESOURCE_EXHAUSTED',
        'VALUE_TOO_LARGE',
        'The answer has 102432 bytes; at most 102400 are sent (GRPC_MAX_SEND_BYTES).',
      ])
      await put('half', 60_000)
      const [answer] = (await call('BatchGet', { keys: [bytes('half'), bytes('half')] })).messages
      const { results } = answer as unknown as { results: { outcome: string; error?: { message: string } }[] }
      expect(results.map(({ outcome, error }) => error?.message ?? outcome)).to.deep.equal([
        'found',
        'The values of this request exceed 102400 bytes (GRPC_MAX_SEND_BYTES): ask for fewer keys.',
      ])
    })

    const malformed = {
      'a length beyond its end': Buffer.from([0x0a, 200, 1]),
      'a number that does not end': Buffer.from([0x08, 255, 255, 255]),
      'a field of another type': Buffer.from([0x0d, 1, 2, 3, 4]),
      'a group': Buffer.from([0x0b, 0x0c]),
      'a key that is a number': Buffer.from([0x08, 5]),
    }
    for (const [what, request] of Object.entries(malformed)) {
      it(`${what} is no request: INVALID_ARGUMENT`, async () => {
        const answer = await call('Get', request)
        expect(answer.status, stringify(answer)).to.equal('INVALID_ARGUMENT')
      })
    }

    it('a message of very many fields is not decoded', async () => {
      const empty = Buffer.alloc(90_000, Buffer.from([0x0a, 0]))
      expect(failure(await call('BatchGet', empty))).to.deep.equal([
        'INVALID_ARGUMENT',
        'BAD_REQUEST',
        'The request has more than 164 fields (MAX_BATCH_KEYS).',
      ])
      // Inside one item.
      const item = Buffer.concat([
        Buffer.from([0x0a, 0xe0, 0xa7, 0x04]),
        Buffer.alloc(70_624, Buffer.from([0x0a, 0])),
      ])
      expect((await call('BatchSet', item)).details).to.match(/more than 864 fields/)
      expect((await call('Get', empty)).details).to.match(/more than 64 fields/)
    })
  })

  describe('calls that are none', () => {
    it('unknown methods are UNIMPLEMENTED, and counted as one', async () => {
      for (const name of ['rondo.v1.Cache/Nothing', 'no.Service/Get', 'rondo.v1.Cache', '']) {
        const stream = open(name)
        stream.end(framed(Buffer.alloc(0)))
        expect(await statusOf(stream), name).to.equal('12')
      }
      const text = await running.rondo.telemetry.registry.metrics()
      expect(text).to.match(
        /rondo_grpc_request_duration_seconds_count\{method="other",status="UNIMPLEMENTED"\} 4/,
      )
    })

    it('other content, HTTP/1.1 and other bytes get no further', async () => {
      const stream = session.request({
        ...grpcHeaders('rondo.v1.Cache/Get'),
        'content-type': 'application/json',
      })
      const [headers] = (await once(stream.end(), 'response')) as [Record<string, unknown>]
      expect(headers[':status']).to.equal(415)
      for (const text of [
        'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n',
        '*1\r\n$4\r\nPING\r\n',
        '\x16\x03\x01\x02\x00\x01',
      ]) {
        const socket = connect(running.grpcPort, '127.0.0.1')
        socket.on('error', () => undefined)
        socket.resume().write(text.padEnd(64, '\0'))
        await once(socket, 'close')
      }
      expect((await call('Has', { key: bytes('k') })).status).to.equal('OK')
    })

    it('a call without a message, with two, or with half of one is refused, and the others go on', async () => {
      const none = open('rondo.v1.Cache/Has').end()
      const two = open('rondo.v1.Cache/Has')
      two.end(Buffer.concat([framed(bytes('\n\x01k')), framed(bytes('\n\x01k'))]))
      const half = open('rondo.v1.Cache/Has')
      half.end(framed(bytes('\n\x01k'), 100))
      const whole = open('rondo.v1.Cache/Has')
      whole.end(framed(bytes('\n\x01k')))
      const statuses = await Promise.all([none, two, half, whole].map(statusOf))
      expect(statuses).to.deep.equal(['12', '12', '12', '0'])
    })
  })

  describe('time', () => {
    /** Reads that are begun, and are answered when the test says so. */
    function holdReads(): { readonly begun: number; release(): void } {
      const { coordinator } = running.rondo
      const held: (() => void)[] = []
      const read = coordinator.read.bind(coordinator)
      coordinator.read = (...args) => void held.push(() => read(...args))
      return {
        get begun() {
          return held.length
        },
        release: () => {
          coordinator.read = read
          for (const run of held.splice(0)) run()
        },
      }
    }

    it('a call ends at the deadline of its client, at the server too', async () => {
      const reads = holdReads()
      const key = bytes('k')
      const answer = client.call('rondo.v1.Cache/Get', { key }, { deadlineMs: 80 })
      // This client does not look at the clock.
      const stream = open('rondo.v1.Cache/Get', { 'grpc-timeout': '80m' })
      stream.end(framed(bytes('\n\x01k')))
      expect(await statusOf(stream)).to.equal('4')
      expect((await answer).status).to.equal('DEADLINE_EXCEEDED')
      await until('it is logged', () => running.logText().includes('"status":"DEADLINE_EXCEEDED"'))
      reads.release()
      expect((await call('Has', { key })).status).to.equal('OK')
    })

    it('the deadline reaches the coordinator', async () => {
      const { coordinator } = running.rondo
      const read = coordinator.read.bind(coordinator)
      const dueInMs = new Promise<number>((resolve) => {
        coordinator.read = (key, done, level) => {
          resolve(done.call!.dueAtMs - performance.now())
          read(key, done, level)
        }
      })
      await client.call('rondo.v1.Cache/Get', { key: bytes('k') }, { deadlineMs: 700 })
      coordinator.read = read
      expect(await dueInMs).to.be.within(400, 701)
    })

    it('a batch that is cancelled reads nothing more', async () => {
      const reads = holdReads()
      const keys = Array.from({ length: 100 }, (_, i) => bytes(`k${i}`))
      const begun: { cancel(): void }[] = []
      const answer = client.call(
        'rondo.v1.Cache/BatchGet',
        { keys },
        { begun: (one) => void begun.push(one) },
      )
      await until('its first keys are read', () => reads.begun === 64)
      begun[0]!.cancel()
      expect((await answer).status).to.equal('CANCELLED')
      await until('the server knows', () => running.logText().includes('BatchGet","status":"CANCELLED"'))
      const before = reads.begun
      const { coordinator } = running.rondo
      reads.release()
      const read = coordinator.read.bind(coordinator)
      let more = 0
      coordinator.read = (...args) => {
        more++
        read(...args)
      }
      await call('Has', { key: bytes('k') })
      await call('Has', { key: bytes('k') })
      coordinator.read = read
      expect([before, more]).to.deep.equal([64, 0])
    })

    it('a listing is read page by page: a client that stops reading gets no more of it', async () => {
      const keys = Array.from({ length: 300 }, (_, i) => Buffer.from(`page:${i}:`.padEnd(1000, 'x')))
      for (let at = 0; at < 300; at += 50)
        await call('BatchSet', { items: keys.slice(at, at + 50).map((key) => ({ key, value: bytes('v') })) })
      const { coordinator } = running.rondo
      const list = coordinator.list.bind(coordinator)
      let pages = 0
      coordinator.list = (request) => {
        pages++
        return list(request)
      }
      try {
        const stream = open('rondo.v1.Cache/List')
        // A window of HTTP/2 is 64 KiB; what is beyond waits at the server.
        stream.end(framed(Buffer.from([0x10, 10])))
        await once(stream, 'response')
        await until('it stops', () => pages > 4)
        await call('Has', { key: bytes('k') })
        await new Promise((resolve) => setTimeout(resolve, 200))
        expect(pages).to.be.lessThan(15)
        expect(await statusOf(stream)).to.equal('0')
        expect(pages).to.be.greaterThan(25)
      } finally {
        coordinator.list = list
      }
    })

    it('a client that sends half of a request, or nothing, or only pings is not waited for', async () => {
      const server = serverOf(running)
      const silent = connect(running.grpcPort, '127.0.0.1')
      const pinging = connect(running.grpcPort, '127.0.0.1')
      pinging.on('error', () => undefined)
      pinging.resume().write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
      pinging.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]))
      const half = open('rondo.v1.Cache/Set')
      half.write(framed(bytes('\n\x01k'), 100))
      const ended = statusOf(half)
      await until('they are here', () => server.connections.size === 4)
      const nowMs = performance.now()
      const check = (atMs: number) => [...server.connections].forEach((one) => one.check(atMs))
      check(nowMs)
      const ping = Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
      pinging.write(Buffer.concat(Array.from({ length: 200 }, () => ping)))
      await until('the pings are counted', () => {
        check(performance.now())
        return server.connections.size === 3
      })
      check(nowMs + 11_000)
      await once(half, 'response')
      // It could go on sending what is not read any more.
      check(performance.now() + 11_000)
      silent.resume()
      await Promise.all([silent.closed || once(silent, 'close'), ended])
      expect(await ended).to.equal('3')
      expect((await call('Has', { key: bytes('k') })).status).to.equal('OK')
      expect(server.connections.size).to.equal(2)
    })
  })

  describe('memory', () => {
    it('counts bytes of requests that are not complete, until their call has ended', async () => {
      const { ledger } = running.rondo
      const before = ledger.used
      const streams = Array.from({ length: 20 }, () => open('rondo.v1.Cache/Set'))
      for (const stream of streams) stream.write(framed(Buffer.alloc(50_000), 100_000))
      await until('they have arrived', () => ledger.used - before > 20 * 50_000)
      for (const stream of streams) stream.close(8)
      await until('they are gone', () => ledger.used === before)
    })

    it('counts what a compressed message becomes, and refuses one that becomes too long', async () => {
      const { ledger } = running.rondo
      const before = ledger.used
      const zipped = (size: number) => {
        const message = framed(
          gzipSync(Buffer.concat([Buffer.from([0x0a, 1, 107]), Buffer.alloc(size, Buffer.from([0x32, 0]))])),
        )
        message[0] = 1
        return message
      }
      const stream = open('rondo.v1.Cache/Has', { 'grpc-encoding': 'gzip' })
      stream.write(zipped(90_000))
      await until('it is decompressed', () => ledger.used - before > 90_000)
      stream.close(8)
      await until('it is gone', () => ledger.used === before)
      const bomb = open('rondo.v1.Cache/Has', { 'grpc-encoding': 'gzip' })
      bomb.end(zipped(50_000_000))
      expect(await statusOf(bomb)).to.equal('8')
      const other = open('rondo.v1.Cache/Has', { 'grpc-encoding': 'snappy' })
      other.end(zipped(10))
      expect(await statusOf(other)).to.equal('12')
    })

    it('a connection has a hundred calls at once', async () => {
      const fresh = rawSession(running.grpcPort)
      if (!fresh.remoteSettings.maxConcurrentStreams) await once(fresh, 'remoteSettings')
      expect(fresh.remoteSettings.maxConcurrentStreams).to.equal(100)
      fresh.destroy()
    })

    it('counts answers that are not read, until they are', async () => {
      const { ledger } = running.rondo
      await call('Set', { key: bytes('big'), value: Buffer.alloc(90_000) })
      const before = ledger.used
      const streams = Array.from({ length: 10 }, () => open('rondo.v1.Cache/Get'))
      for (const stream of streams) stream.end(framed(bytes('\n\x03big')))
      await until('they wait', () => ledger.used - before > 9 * 90_000)
      expect(await Promise.all(streams.map(statusOf))).to.deep.equal(streams.map(() => '0'))
      await until('they are gone', () => ledger.used === before)
    })

    it('a connection that holds too much is refused more, and then has it again', async () => {
      const { ledger } = running.rondo
      const [connection] = serverOf(running).connections
      const { account } = connection!
      account.add(ledger.limit)
      const stream = open('rondo.v1.Cache/Get')
      stream.end(framed(bytes('\n\x01k')))
      const status = statusOf(stream)
      // Before the ledger closes the largest, at the end of this turn.
      account.add(-ledger.limit * 0.7)
      expect(await status).to.equal('14')
      account.add(-ledger.limit * 0.3)
      const again = open('rondo.v1.Cache/Has')
      again.end(framed(bytes('\n\x01k')))
      expect(await statusOf(again)).to.equal('0')
    })

    it('methods that are open to all take short messages only', async () => {
      const answer = await client.call('grpc.health.v1.Health/Check', { service: 'x'.repeat(80_000) })
      expect(answer.details).to.equal('Requests of this method have 65536 bytes at most.')
      expect(answer.status).to.equal('INVALID_ARGUMENT')
    })

    it('the reflection service reads no further than its answers are taken', async () => {
      const { ledger } = running.rondo
      const before = ledger.used
      const stream = open('grpc.reflection.v1.ServerReflection/ServerReflectionInfo')
      // file_containing_symbol: rondo.v1.Cache, five bytes and the name.
      const question = framed(Buffer.concat([Buffer.from([0x22, 14]), bytes('rondo.v1.Cache')]))
      const many = Buffer.concat(Array.from({ length: 2000 }, () => question))
      stream.write(many)
      await once(stream, 'response')
      await new Promise((resolve) => setTimeout(resolve, 200))
      const calls = [...serverOf(running).connections].flatMap((one) => [...one.calls])
      const received = calls.map((one) => (one as unknown as { received: number }).received)
      // What fits into a window of HTTP/2, of answers of some kilobytes; not all 2000.
      expect(Math.max(...received)).to.be.within(10, 100)
      stream.close(8)
      await until('it is gone', () => ledger.used === before)
    })
  })
})
