/**
 * Real input: files of this project's own node_modules, by their paths, through several HTTP clients, over four real
 * servers of which one dies in the middle and comes back empty.
 *
 * RONDO_REAL_INPUT=all takes every file; otherwise a bounded number of them, the same ones every time.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import http from 'node:http'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { RawConnection } from '../support/raw-http.ts'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { RondoUnderTest } from '../support/rondo-under-test.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const ALL = process.env.RONDO_REAL_INPUT === 'all'
const MAX_FILES = ALL ? Infinity : 1500
const MAX_BYTES = 1024 * 1024
const CLIENTS = 8

/** Keys that tools on the way like to tidy up. */
const AWKWARD = [
  '.',
  '..',
  '...',
  './.',
  '../..',
  'a/../b',
  '/',
  '//',
  '%',
  '%2e%2e',
  '%2F',
  '+',
  ' ',
  '\0',
  '\r\n',
  'é',
]
  .concat([
    '日本',
    '🔑',
    '?',
    '#',
    '&=',
    '"',
    '\\',
    '{tag}',
    '{}',
    '*',
    '[a]',
    'constructor',
    '__proto__',
    '__rondo',
  ])
  .concat('x'.repeat(1024))

function* filesBelow(dir: string): Generator<string> {
  for (const entry of readdirSync(dir, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(dir, entry.name)
    if (entry.isDirectory()) yield* filesBelow(path)
    else if (entry.isFile()) yield path
  }
}

/** Evenly spread over all of them, and the largest as well. */
function chooseFiles(): string[] {
  const sized = [...filesBelow(join(ROOT, 'node_modules'))]
    .map((path) => ({ path, size: statSync(path).size }))
    .filter(({ path, size }) => size <= MAX_BYTES && Buffer.byteLength(relative(ROOT, path)) <= 1024)
  const every = Math.max(1, sized.length / MAX_FILES)
  const chosen = new Set<string>()
  for (let i = 0; i < sized.length; i += every) chosen.add(sized[Math.floor(i)]!.path)
  for (const { path } of sized.sort((a, b) => b.size - a.size).slice(0, 20)) chosen.add(path)
  return [...chosen]
}

interface Answer {
  readonly status: number
  readonly body: Buffer
}

describe('real input', function () {
  this.timeout(ALL ? 300_000 : 60_000)
  let servers: RedisServer[] = []
  let under: RondoUnderTest
  let agent: http.Agent

  before(async () => {
    servers = await startRedisCluster(4)
    under = await RondoUnderTest.start(servers, { LOG_REQUESTS: 'errors' })
    agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS })
  })
  after(async () => {
    agent.destroy()
    await under.stop()
    await Promise.all(servers.map((server) => server.stop()))
  })

  const pathOf = (key: string) => `/api/v1/keys/${encodeURIComponent(key)}`

  function request(method: string, path: string, body?: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const headers = {
        accept: 'application/octet-stream',
        ...(body ? { 'content-type': 'application/octet-stream', 'content-length': body.length } : {}),
      }
      const asked = http.request(
        { host: '127.0.0.1', port: new URL(under.url).port, method, path, headers, agent },
        (answer) => {
          const chunks: Buffer[] = []
          answer.on('data', (chunk: Buffer) => chunks.push(chunk))
          answer.on('end', () => resolve({ status: answer.statusCode!, body: Buffer.concat(chunks) }))
          answer.on('error', reject)
        },
      )
      asked.on('error', reject)
      asked.end(body)
    })
  }

  /** Several clients work through the list side by side. */
  async function byClients<T>(
    items: readonly T[],
    work: (item: T, i: number) => Promise<void>,
  ): Promise<void> {
    let next = 0
    const client = async () => {
      while (next < items.length) {
        const i = next++
        await work(items[i]!, i)
      }
    }
    await Promise.all(Array.from({ length: CLIENTS }, client))
  }

  async function listAll(): Promise<string[]> {
    const keys: string[] = []
    let cursor = '0'
    do {
      const { status, body } = await request('GET', `/api/v1/keys?count=300&cursor=${cursor}`)
      expect(status, body.toString()).to.equal(200)
      const page = JSON.parse(body.toString()) as { keys: string[]; cursor: string }
      keys.push(...page.keys)
      cursor = page.cursor
    } while (cursor !== '0')
    return keys
  }

  it('survives the loss of a server: all that was acknowledged is there, byte for byte, and nothing else', async () => {
    const values = new Map<string, () => Buffer>()
    for (const path of chooseFiles()) values.set(relative(ROOT, path), () => readFileSync(path))
    for (const key of AWKWARD) values.set(key, () => Buffer.from(`the value of ${JSON.stringify(key)}`))
    const keys = [...values.keys()]
    const victim = servers[1]!

    // `.` and `..` by hand: what stands in a URL would be folded before it is sent.
    for (const key of ['.', '..']) {
      const raw = await RawConnection.open(Number(new URL(under.url).port))
      const body = values.get(key)!()
      raw.send(
        `PUT /api/v1/keys/${key} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n` +
          `Content-Length: ${body.length}\r\n\r\n${body.toString('latin1')}`,
      )
      expect((await raw.answer()).status).to.equal(200)
      raw.send(
        `GET /api/v1/keys/${key} HTTP/1.1\r\nHost: localhost\r\nAccept: application/octet-stream\r\n\r\n`,
      )
      expect((await raw.answer()).bytes.equals(body)).to.equal(true)
      raw.socket.destroy()
    }

    const acknowledged = new Set<string>()
    const refused: string[] = []
    let back = Promise.resolve()
    await byClients(keys, async (key, i) => {
      if (i === Math.floor(keys.length * 0.4)) await victim.kill()
      if (i === Math.floor(keys.length * 0.7)) back = victim.restart()
      const { status, body } = await request('PUT', pathOf(key), values.get(key)!())
      if (status === 200) acknowledged.add(key)
      else refused.push(`${key}: ${status} ${body.toString()}`)
    })
    await back
    await under.used(victim)
    // One server of four died: nothing need be refused, every key had two other replicas.
    expect(refused).to.deep.equal([])

    await byClients(keys, async (key) => {
      const { status, body } = await request('GET', pathOf(key))
      expect(status, key).to.equal(200)
      expect(body.equals(values.get(key)!()), key).to.equal(true)
    })

    const deleted = keys.filter((_, i) => i % 3 === 1)
    await byClients(deleted, async (key) => {
      expect((await request('DELETE', pathOf(key))).status, key).to.equal(204)
    })
    const left = keys.filter((_, i) => i % 3 !== 1)
    const listed = await listAll()
    expect(new Set(listed).size, 'each key once').to.equal(listed.length)
    expect(listed.sort()).to.deep.equal(left.sort())
    await byClients(deleted, async (key) => {
      expect((await request('GET', pathOf(key))).status, key).to.equal(404)
    })
    await byClients(left, async (key) => {
      const { status, body } = await request('GET', pathOf(key))
      expect(status, key).to.equal(200)
      expect(body.equals(values.get(key)!()), key).to.equal(true)
    })
    if (process.env.RONDO_FIGURES === '1') {
      console.log(`      ${keys.length} keys, ${acknowledged.size} acknowledged, ${deleted.length} deleted`)
    }
  })
})
