/**
 * All clients at work at once, while a server is killed and comes back empty: what was acknowledged at quorum is there, and
 * the only errors are those that say what became of the write.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import KeyvRedis from '@keyv/redis'
import { createCache } from 'cache-manager'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import { Keyv } from 'keyv'
import { createClient as createClient5 } from 'redis-5'
import { createClient as createClient6 } from 'redis-6'
import { REQUEST_TIMEOUT_MS, until } from '../../support/rondo-under-test.ts'
import { PYTHON, startFourNodes, whyNoPython, type FourNodes } from './four-nodes.ts'

const LOAD = fileURLToPath(new URL('load.py', import.meta.url))
/** Between two changes of the cluster, each client does at least so much. */
const MUCH = 60
const KEYS = 20
const SLACK_MS = 500

interface Client {
  set(key: string, value: string): Promise<unknown>
  get(key: string): Promise<string | null | undefined>
  close(): Promise<unknown>
}

interface Found {
  done: number
  readonly wrong: string[]
  readonly errors: string[]
  slowestMs: number
}

const clients: Record<string, (port: number) => Promise<Client>> = {
  async ioredis(port) {
    const client = new Redis(port, '127.0.0.1')
    await once(client, 'ready')
    return { set: (k, v) => client.set(k, v), get: (k) => client.get(k), close: () => client.quit() }
  },
  async 'ioredis, in transactions'(port) {
    const client = new Redis(port, '127.0.0.1')
    await once(client, 'ready')
    return {
      set: async (k, v) => throwFirst(await client.multi().set(`{${k}}a`, v).set(`{${k}}b`, v).exec()),
      async get(k) {
        const [a, b] = throwFirst(await client.multi().get(`{${k}}a`).get(`{${k}}b`).exec())
        return a === b ? (a as string | null) : `${String(a)} and ${String(b)}`
      },
      close: () => client.quit(),
    }
  },
  async 'node-redis 5'(port) {
    const client = await createClient5({ url: `redis://127.0.0.1:${port}` }).connect()
    return { set: (k, v) => client.set(k, v), get: (k) => client.get(k), close: () => client.close() }
  },
  async 'node-redis 6'(port) {
    const client = await createClient6({ url: `redis://127.0.0.1:${port}` }).connect()
    return { set: (k, v) => client.set(k, v), get: (k) => client.get(k), close: () => client.close() }
  },
  keyv(port) {
    const keyv = openKeyv(port)
    return Promise.resolve({
      set: (k, v) => keyv.set(k, v),
      get: (k) => keyv.get<string>(k),
      close: () => keyv.disconnect(),
    })
  },
  'cache-manager'(port) {
    const keyv = openKeyv(port)
    const cache = createCache({ stores: [keyv] })
    return Promise.resolve({
      set: (k, v) => cache.set(k, v),
      get: (k) => cache.get<string>(k),
      close: () => keyv.disconnect(),
    })
  },
}

function openKeyv(port: number): Keyv {
  const store = new KeyvRedis(`redis://127.0.0.1:${port}`, { throwOnErrors: true, throwOnConnectError: true })
  return new Keyv({ store, throwOnErrors: true })
}

function throwFirst(replies: [error: Error | null, result: unknown][] | null): unknown[] {
  return replies!.map(([error, result]) => {
    if (error) throw error
    return result
  })
}

/** Writes and reads without a pause, and knows what it must find. */
class Load {
  readonly found: Found = { done: 0, wrong: [], errors: [], slowestMs: 0 }
  private readonly client: Client
  private readonly name: string
  private readonly may = new Map<string, Set<string | null>>()
  private running = true
  private readonly ended: Promise<void>

  constructor(name: string, client: Client) {
    this.name = name
    this.client = client
    this.ended = this.run()
  }

  async stop(): Promise<void> {
    this.running = false
    await this.ended
    for (const key of this.may.keys()) await this.read(key)
    await this.client.close()
  }

  private async run(): Promise<void> {
    for (let n = 0; this.running; n++) {
      const key = `${this.name}:${n % KEYS}`
      const may = this.may.get(key) ?? new Set([null])
      this.may.set(key, may)
      const error = await this.timed(() => this.client.set(key, String(n)))
      if (error === null) may.clear()
      if (!error?.startsWith('NOREPLICAS')) may.add(String(n))
      await this.read(key)
    }
  }

  private async read(key: string): Promise<void> {
    let value: string | null = null
    const error = await this.timed(async () => (value = (await this.client.get(key)) ?? null))
    const may = this.may.get(key)!
    if (error === null && !may.has(value))
      this.found.wrong.push(`${key} is ${value} instead of ${[...may].join(' or ')}`)
  }

  /** Its error. */
  private async timed(act: () => Promise<unknown>): Promise<string | null> {
    const startedAtMs = performance.now()
    const error = await act().then(
      () => null,
      (reason: Error) => reason.message,
    )
    this.found.done++
    this.found.slowestMs = Math.max(this.found.slowestMs, performance.now() - startedAtMs)
    if (error !== null) this.found.errors.push(error)
    return error
  }
}

/** The same as a program of Python. */
class PythonLoad {
  found: Found = { done: 0, wrong: [], errors: [], slowestMs: 0 }
  private readonly child: ChildProcess
  private text = ''

  constructor(port: number) {
    this.child = spawn(PYTHON, [LOAD, String(port)], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.text += text
      this.found.done += 200 * (text.split('\n').length - 1)
    })
  }

  async stop(): Promise<void> {
    this.child.stdin!.end()
    await once(this.child, 'close')
    this.found = JSON.parse(this.text.trim().split('\n').at(-1)!) as Found
  }
}

const PYTHON_NAME = 'redis-py'

for (const level of ['quorum', 'one'] as const) {
  describe(`clients at ${level}, while a node is killed and comes back empty`, function () {
    this.timeout(30_000)
    const found = new Map<string, Found>()
    const lag = monitorEventLoopDelay({ resolution: 5 })
    let nodes: FourNodes
    let noPython: string | null

    before(async () => {
      noPython = await whyNoPython()
      nodes = await startFourNodes({ READ_CONSISTENCY: level, WRITE_CONSISTENCY: level })
      const { rondo, port } = nodes
      lag.enable()
      const loads = new Map<string, Load | PythonLoad>()
      for (const [name, open] of Object.entries(clients)) loads.set(name, new Load(name, await open(port)))
      if (noPython === null) loads.set(PYTHON_NAME, new PythonLoad(port))
      const much = async () => {
        const before = [...loads.values()].map((load) => load.found.done)
        await until('every client has worked', () => {
          return [...loads.values()].every((load, i) => load.found.done >= before[i]! + MUCH)
        })
      }
      const victim = rondo.servers[1]!
      await much()
      const killedAtMs = performance.now()
      await victim.kill()
      await rondo.event('node-state', ({ node, to }) => node === 'redis-2' && to === 'down', killedAtMs)
      await much()
      await victim.restart()
      await rondo.used(victim)
      await rondo.event(
        'node-completeness',
        ({ node, to }) => node === 'redis-2' && to === 'clean',
        killedAtMs,
      )
      await much()
      for (const [name, load] of loads) {
        await load.stop()
        found.set(name, load.found)
      }
      lag.disable()
    })
    after(() => nodes.stop())

    for (const name of [...Object.keys(clients), PYTHON_NAME]) {
      const promise = level === 'quorum' ? 'loses nothing that was acknowledged, and meets' : 'meets'
      it(`${name} ${promise} no other errors than NOREPLICAS and UNKNOWN, in time`, function () {
        if (name === PYTHON_NAME && noPython !== null) {
          this.test!.title += ` (skipped: ${noPython})`
          this.skip()
        }
        const { wrong, errors, slowestMs, done } = found.get(name)!
        if (level === 'quorum') expect(wrong.slice(0, 5)).to.deep.equal([])
        expect(errors.filter((error) => !/^(NOREPLICAS|UNKNOWN) /.test(error))).to.deep.equal([])
        expect(errors.length, errors[0]).to.be.below(done / 10)
        expect(slowestMs).to.be.below(REQUEST_TIMEOUT_MS + lag.max / 1e6 + SLACK_MS)
      })
    }
  })
}
