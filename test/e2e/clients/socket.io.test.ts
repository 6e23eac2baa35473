/** socket.io: two servers at two coordinators, whose clients hear each other, over both of its adapters. */
import { createServer, type Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdapter } from '@socket.io/redis-adapter'
import { createAdapter as createStreamsAdapter } from '@socket.io/redis-streams-adapter'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { Server, type ServerOptions } from 'socket.io'
import { io, type Socket } from 'socket.io-client'
import { startRedisCluster, type RedisServer } from '../../../scripts/redis-server.ts'
import { RondoUnderTest, until } from '../../support/rondo-under-test.ts'

const ADAPTERS = {
  '@socket.io/redis-adapter': (redis: () => Redis) => createAdapter(redis(), redis()),
  '@socket.io/redis-streams-adapter': (redis: () => Redis) =>
    createStreamsAdapter(redis(), { blockTimeInMs: 1000 }),
}

interface Client {
  readonly socket: Socket
  readonly heard: unknown[][]
  /** From which servers it hears, and the last number. */
  readonly pings: Map<string, number>
}

for (const [name, adapterOf] of Object.entries(ADAPTERS)) {
  describe(name, function () {
    this.timeout(40_000)
    let site: Site
    before(async () => {
      site = await Site.open(adapterOf)
    })
    after(() => site.close())

    it('brings broadcasts to the clients of both servers, and those to a room to these alone', async () => {
      const { first, second, clients } = site
      first.emit('news', 1)
      await heardBy(clients, ['news', 1])
      second.to('even').emit('room', Buffer.from([0, 255]))
      await heardBy(clients.slice(0, 2), ['room', Buffer.from([0, 255])])
      first.local.emit('local')
      await heardBy([clients[0]!, clients[2]!], ['local'])
      const answers = (await first.timeout(10_000).emitWithAck('question')) as string[]
      expect(answers.sort()).to.deep.equal(['client 0', 'client 1', 'client 2', 'client 3'])
      await heardBy(clients, ['question'])
    })

    it('finds the clients of both servers, and asks the other server', async () => {
      const { first, second } = site
      const found = await second.fetchSockets()
      expect(found.map(({ data }) => (data as { at: string }).at).sort()).to.deep.equal([
        ...['first', 'first', 'second', 'second'],
      ])
      expect(await first.in('odd').fetchSockets()).to.have.length(2)
      second.on('sum', (a: number, b: number, answer: (sum: number) => void) => answer(a + b))
      expect(await first.serverSideEmitWithAck('sum', 40, 2)).to.deep.equal([42])
    })

    it('goes on while a node is down', async () => {
      const { first, second, nodes } = site
      await nodes[0]!.kill()
      // What is sent before the coordinators have noticed may be lost, as with one Redis that is down.
      await site.allHear()
      await until(
        'both servers answer',
        async () => (await second.fetchSockets().catch(() => [])).length === 4,
        15_000,
      )
      second.in('odd').socketsJoin('moved')
      await until('the clients have moved', async () => (await first.in('moved').fetchSockets()).length === 2)
    })

    it('sends away clients of the other server', async () => {
      const { first, second, clients } = site
      first.in('even').disconnectSockets(true)
      await until('two clients are left', async () => (await second.fetchSockets()).length === 2)
      expect(clients.map(({ socket }) => socket.connected)).to.deep.equal([false, false, true, true])
    })
  })
}

/** Two servers, each at its coordinator, and four clients, of which two are at each. */
class Site {
  readonly nodes: readonly RedisServer[]
  readonly clients: Client[] = []
  private readonly coordinators: RondoUnderTest[] = []
  private readonly servers: { readonly io: Server; readonly http: HttpServer }[] = []
  private readonly connections: Redis[] = []
  private pings = 0

  private constructor(nodes: readonly RedisServer[]) {
    this.nodes = nodes
  }

  static async open(adapterOf: (redis: () => Redis) => ServerOptions['adapter']): Promise<Site> {
    const site = new Site(await startRedisCluster(4))
    for (const at of ['first', 'second']) await site.startServer(at, adapterOf)
    for (let i = 0; i < 4; i++) await site.connectClient(i)
    await until('all know of all clients', async () => (await site.first.fetchSockets()).length === 4, 15_000)
    await until(
      'all know of all clients',
      async () => (await site.second.fetchSockets()).length === 4,
      15_000,
    )
    await site.allHear()
    return site
  }

  /** Of each server something new. The streams adapter may miss what comes before its first message. */
  async allHear(): Promise<void> {
    const from = ++this.pings
    await until(
      'all clients hear both servers',
      () => {
        for (const [i, { io }] of this.servers.entries()) io.emit('ping', String(i), from)
        return this.clients.every(({ pings }) => ['0', '1'].every((server) => pings.get(server) === from))
      },
      15_000,
    )
  }

  get first(): Server {
    return this.servers[0]!.io
  }

  get second(): Server {
    return this.servers[1]!.io
  }

  async close(): Promise<void> {
    for (const { socket } of this.clients) socket.close()
    await Promise.all(this.servers.map(({ io }) => io.close()))
    for (const connection of this.connections) connection.disconnect()
    await Promise.all(this.coordinators.map((coordinator) => coordinator.stop()))
    await Promise.all(this.nodes.map((node) => node.stop()))
  }

  private async startServer(at: string, adapterOf: (redis: () => Redis) => ServerOptions['adapter']) {
    const coordinator = await RondoUnderTest.start(this.nodes)
    this.coordinators.push(coordinator)
    const redis = () => {
      const connection = new Redis(coordinator.respPort, '127.0.0.1')
      this.connections.push(connection)
      return connection
    }
    const http = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => http.once('listening', resolve))
    const server = new Server(http, { adapter: adapterOf(redis), transports: ['websocket'] })
    server.on('connection', (socket) => {
      socket.data = { at }
      void socket.join((socket.handshake.auth as { room: string }).room)
    })
    this.servers.push({ io: server, http })
  }

  private async connectClient(i: number): Promise<void> {
    const { port } = this.servers[i % 2]!.http.address() as AddressInfo
    const auth = { room: i < 2 ? 'even' : 'odd' }
    const socket = io(`http://127.0.0.1:${port}`, { transports: ['websocket'], forceNew: true, auth })
    const heard: unknown[][] = []
    const pings = new Map<string, number>()
    socket.on('ping', (server: string, number: number) => pings.set(server, number))
    socket.onAny((...event: unknown[]) => {
      if (event[0] === 'ping') return
      const answer = event.at(-1)
      heard.push(typeof answer === 'function' ? event.slice(0, -1) : event)
      if (typeof answer === 'function') (answer as (text: string) => void)(`client ${i}`)
    })
    this.clients.push({ socket, heard, pings })
    await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
  }
}

/** They hear this, and had heard nothing else: what was not for them comes into the way of the next test. */
async function heardBy(those: readonly Client[], expected: readonly unknown[]): Promise<void> {
  await until('all have heard it', () => those.every(({ heard }) => heard.length > 0))
  for (const { heard } of those) expect(heard.splice(0)).to.deep.equal([expected])
}
