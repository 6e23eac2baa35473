// Coordinators behind a load balancer are restarted one after the other, and no client notices.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { freePort, startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { Program } from '../support/program.ts'
import { call } from '../support/raw-http.ts'
import { RoundRobin } from '../support/round-robin.ts'

const CLIENTS = 8
const KEYS = 50
const REQUEST_PAUSE_MS = 3
/** Long enough to count as idle. */
const RESP_PAUSE_MS = 30

/** Requests over keep-alive connections, one after the other from each client, until it is stopped. */
class Load {
  requests = 0
  readonly failures: string[] = []
  private readonly agent = new http.Agent({ keepAlive: true })
  private readonly port: number
  private readonly clients: Promise<void>[]
  private stopped = false

  constructor(port: number) {
    this.port = port
    this.clients = Array.from({ length: CLIENTS }, (_, i) => this.run(i))
  }

  private async run(client: number): Promise<void> {
    for (let i = 0; !this.stopped; i++) {
      const key = `rolling-${client}-${i % KEYS}`
      const [method, body] = i % 3 === 0 ? (['PUT', `{"value":"${i}"}`] as const) : (['GET', ''] as const)
      this.requests++
      const failure = await this.ask(method, `/api/v1/keys/${key}`, body)
      if (failure !== null) this.failures.push(`${method} of client ${client}: ${failure}`)
      await new Promise((resolve) => setTimeout(resolve, REQUEST_PAUSE_MS))
    }
  }

  /** Null, or what went wrong. */
  private ask(method: string, path: string, body: string): Promise<string | null> {
    return new Promise((resolve) => {
      const headers = body === '' ? {} : { 'Content-Type': 'application/json', 'Content-Length': body.length }
      const options = { agent: this.agent, host: '127.0.0.1', port: this.port, method, path, headers }
      const request = http.request(options, (response) => {
        response.resume()
        response.once('error', (error) => resolve(`the response broke off: ${error.message}`))
        response.once('end', () =>
          resolve(
            [200, 404].includes(response.statusCode!)
              ? null
              : `status ${response.statusCode} (${response.headers['x-request-id'] ? 'Rondo' : 'load balancer'})`,
          ),
        )
      })
      request.once('error', (error) => resolve(error.message))
      request.end(body)
    })
  }

  async stop(): Promise<void> {
    this.stopped = true
    await Promise.all(this.clients)
    this.agent.destroy()
  }
}

describe('a rolling restart behind a load balancer', function () {
  this.timeout(90_000)
  let servers: RedisServer[]
  let ports: number[]
  let respPorts: number[]
  let programs: Program[]

  const startOne = async (i: number, workers: string): Promise<void> => {
    programs[i] = new Program({
      REDIS_URLS: servers.map(({ url }, n) => `redis-${n + 1}=${url}`).join(','),
      PORT: String(ports[i]),
      RESP_PORT: String(respPorts[i]),
      WORKERS: workers,
      SHUTDOWN_DELAY_SECONDS: '2',
    })
    await programs[i].listening()
  }

  /** Restarts each coordinator, the next one as soon as the load balancer sends requests to the last. */
  const restartAll = async (
    workers: string,
    isBack: (i: number) => boolean | Promise<boolean>,
  ): Promise<void> => {
    for (const [i, port] of ports.entries()) {
      programs[i]!.signal('SIGTERM')
      expect(await programs[i]!.ended).to.deep.equal({ code: 0, signal: null })
      await startOne(i, workers)
      await programs[i]!.until(
        async () => ((await call(port, 'GET', '/readyz')).status === 200 && (await isBack(i))) || undefined,
      )
    }
  }

  beforeEach(async () => {
    servers = await startRedisCluster(3)
    ports = [await freePort(), await freePort()]
    respPorts = [await freePort(), await freePort()]
    programs = []
  })
  afterEach(async () => {
    await Promise.all(programs.map((program) => program.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  })

  const startBoth = async (workers: string): Promise<void> => {
    await Promise.all([startOne(0, workers), startOne(1, workers)])
    for (const [i, port] of ports.entries())
      await programs[i]!.until(async () => (await call(port, 'GET', '/readyz')).status === 200 || undefined)
  }

  const check = (load: Load, refused = 0) => {
    expect(load.failures).to.deep.equal([])
    expect(refused, 'connections without a backend').to.equal(0)
    expect(load.requests).to.be.above(1500)
  }

  for (const workers of ['1', '2']) {
    it(`fails no request: ${workers === '1' ? 'one process each' : 'two workers each'}`, async () => {
      await startBoth(workers)
      const backends = ports.map((port) => ({ port, healthPort: port }))
      const proxy = await RoundRobin.start(backends)
      const load = new Load(proxy.port)
      try {
        await restartAll(workers, (i) => proxy.isHealthy(backends[i]!))
      } finally {
        await load.stop()
        await proxy.stop()
      }
      check(load, proxy.refused)
    })
  }

  it('fails no command of Redis clients that connect again', async () => {
    await startBoth('1')
    const backends = ports.map((healthPort, i) => ({ port: respPorts[i]!, healthPort }))
    const proxy = await RoundRobin.start(backends)
    const clients = Array.from({ length: CLIENTS }, () => new Redis(proxy.port, '127.0.0.1'))
    let commands = 0
    let closed = 0
    let stopped = false
    const failures: string[] = []
    const loads = clients.map(async (client, i) => {
      client.on('close', () => closed++)
      for (let n = 0; !stopped; n++) {
        commands++
        await client.set(`rolling-${i}`, n).catch((error: Error) => failures.push(error.message))
        await new Promise((resolve) => setTimeout(resolve, RESP_PAUSE_MS))
      }
    })
    try {
      await restartAll('1', (i) => proxy.isHealthy(backends[i]!))
    } finally {
      stopped = true
      await Promise.all(loads)
      for (const client of clients) client.disconnect()
      await proxy.stop()
    }
    expect(failures).to.deep.equal([])
    expect(closed, 'connections that moved').to.be.at.least(CLIENTS)
    expect(commands).to.be.above(1000)
  })

  it('fails no request behind HAProxy', async function () {
    if (spawnSync('haproxy', ['-v']).status !== 0) {
      this.test!.title += ' (skipped: there is no haproxy)'
      this.skip()
    }
    await startBoth('1')
    const [port, statsPort] = [await freePort(), await freePort()]
    const dir = mkdtempSync(join(tmpdir(), 'rondo-haproxy-'))
    writeFileSync(join(dir, 'haproxy.cfg'), haproxyConfig(port, statsPort, ports))
    const haproxy: ChildProcess = spawn('haproxy', ['-db', '-q', '-f', join(dir, 'haproxy.cfg')], {
      stdio: 'inherit',
    })
    try {
      // HAProxy's own view: it may notice a coordinator that is back later than its /readyz says so.
      const isUp = async (i: number) => {
        const stats = await fetch(`http://127.0.0.1:${statsPort}/;csv`).then(
          (answer) => answer.text(),
          () => '',
        )
        return new RegExp(`^rondo,rondo-${i + 1},.*,UP,`, 'm').test(stats)
      }
      await programs[0]!.until(async () => ((await isUp(0)) && (await isUp(1))) || undefined)
      const load = new Load(port)
      try {
        await restartAll('1', isUp)
      } finally {
        await load.stop()
      }
      check(load)
    } finally {
      haproxy.kill('SIGKILL')
      await once(haproxy, 'exit')
      rmSync(dir, { recursive: true })
    }
  })
})

function haproxyConfig(port: number, statsPort: number, backends: readonly number[]): string {
  const servers = backends.map(
    (backend, i) => `  server rondo-${i + 1} 127.0.0.1:${backend} check inter 100ms fall 1 rise 1`,
  )
  return [
    'defaults',
    '  mode http',
    '  timeout connect 1s',
    '  timeout client 10s',
    '  timeout server 10s',
    '  timeout check 5s', // otherwise as short as the interval, and a busy machine looks down
    '  option redispatch',
    '  retries 3',
    'frontend in',
    `  bind 127.0.0.1:${port}`,
    '  default_backend rondo',
    'frontend stats',
    `  bind 127.0.0.1:${statsPort}`,
    '  stats enable',
    '  stats uri /',
    'backend rondo',
    '  balance roundrobin',
    '  option httpchk GET /readyz',
    '  http-check send hdr Host localhost',
    '  http-check expect status 200',
    ...servers,
    '',
  ].join('\n')
}
