// Cache-Status (RFC 9211) and Age of answers that read-through had a part in; test/coordinator/near-cache.test.ts has the near cache.
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { KIND_VALUE, newRecord, StoredRecord } from '../../../src/core/codec.ts'
import { ageOf, hitHeaders, loadedHeaders } from '../../../src/servers/http/cache-status.ts'
import { call } from '../../support/raw-http.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const NOW_MS = 1_000_000

function recordAt(ms: number, expiresAtMs: number): StoredRecord {
  const stamp = (target: Buffer, at: number) => void target.writeUIntBE(ms, at, 6)
  const { head, value } = newRecord(KIND_VALUE, { stamp }, expiresAtMs, Buffer.from('v'))
  return new StoredRecord(Buffer.concat([head, value]))
}

describe('Cache-Status and Age', () => {
  const stored = { isStale: false, isStored: true, isCollapsed: false }

  for (const [what, headers, status, age] of [
    ['a hit of a value without end', hitHeaders(0, 12_999, NOW_MS), 'rondo; hit', '12'],
    ['one that ends', hitHeaders(NOW_MS + 57_001, 0, NOW_MS), 'rondo; hit; ttl=58', '0'],
    ['one that has ended', hitHeaders(NOW_MS - 11_001, null, NOW_MS), 'rondo; hit; ttl=-12', undefined],
    ['one that ends now', hitHeaders(NOW_MS, null, NOW_MS), 'rondo; hit; ttl=0', undefined],
    [
      'what was loaded',
      loadedHeaders(recordAt(NOW_MS, NOW_MS + 60_000), stored, NOW_MS),
      'rondo; fwd=miss; ttl=60; stored',
      '0',
    ],
    [
      'what another has loaded',
      loadedHeaders(recordAt(NOW_MS - 2500, NOW_MS + 60_000), { ...stored, isCollapsed: true }, NOW_MS),
      'rondo; fwd=miss; ttl=60; stored; collapsed',
      '2',
    ],
    [
      'what was loaded instead of an expired value, and could not be stored',
      loadedHeaders(
        recordAt(0, NOW_MS + 1000),
        { isStale: true, isStored: false, isCollapsed: false },
        NOW_MS,
      ),
      'rondo; fwd=stale; ttl=1',
      undefined,
    ],
    ['an origin that has nothing', loadedHeaders(null, stored, NOW_MS), 'rondo; fwd=miss; stored', undefined],
  ] as const) {
    it(`says of ${what}: ${status}`, () => {
      expect(headers).to.deep.equal(['Cache-Status', status, ...(age === undefined ? [] : ['Age', age])])
    })
  }

  it('has no age where the clock of another coordinator is ahead', () => {
    expect(ageOf(recordAt(NOW_MS + 5, 0), NOW_MS)).to.equal(0)
  })
})

describe('Cache-Status over HTTP', () => {
  let origin: Server
  let waiting: ServerResponse[] = []
  let running: RunningRondo

  before(async () => {
    origin = createServer((_req, res) => void waiting.push(res))
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve))
    running = await startRondo({
      LOADER_URL: `http://127.0.0.1:${(origin.address() as AddressInfo).port}/{key}`,
      LOADER_ALLOW: '127.0.0.1',
      LOADER_TTL_SECONDS: '100',
    })
  })
  after(async () => {
    await running.stop()
    origin.closeAllConnections()
    origin.close()
  })
  beforeEach(() => void (waiting = []))

  const send = async (key: string, method = 'GET', headers: Record<string, string> = {}) => {
    const answer = await call(running.ports.socket, method, `/api/v1/keys/${key}`, { headers })
    // The end of a loaded value is earlier by up to a tenth.
    const status = answer.headers['cache-status']?.replace(/ttl=(9\d|100)\b/, 'ttl=…')
    return { code: answer.status, status, age: answer.headers.age }
  }
  async function loads(reads: number): Promise<void> {
    const { loader } = (running.rondo as unknown as { loading: { loader: { waiting: number } } }).loading
    while (loader.waiting < reads || waiting.length === 0)
      await new Promise((resolve) => setImmediate(resolve))
  }

  it('tells a load, those who waited for it, and the hits afterwards, with their age', async () => {
    const answers = Promise.all([send('a'), send('a')])
    await loads(2)
    waiting[0]!.end('Ada')
    const found = { code: 200, age: '0' }
    expect(await answers).to.deep.equal([
      { ...found, status: 'rondo; fwd=miss; ttl=…; stored' },
      { ...found, status: 'rondo; fwd=miss; ttl=…; stored; collapsed' },
    ])
    for (const method of ['GET', 'HEAD'])
      expect(await send('a', method)).to.deep.equal({ ...found, status: 'rondo; hit; ttl=…' })
    const raw = { Accept: 'application/octet-stream' }
    expect(await send('a', 'GET', raw)).to.deep.equal({ ...found, status: 'rondo; hit; ttl=…' })
    expect(waiting).to.have.length(1)
  })

  it('tells an origin that has nothing, and that this was remembered', async () => {
    const answer = send('none')
    await loads(1)
    waiting[0]!.writeHead(404).end()
    const absent = { code: 404, age: undefined }
    expect(await answer).to.deep.equal({ ...absent, status: 'rondo; fwd=miss; stored' })
    const { status, ...again } = await send('none')
    expect(again).to.deep.equal(absent)
    expect(status).to.match(/^rondo; hit; ttl=\d+$/)
  })

  it('tells an origin that failed, and nothing where it is not asked', async () => {
    const answer = send('bad')
    await loads(1)
    waiting[0]!.writeHead(500).end()
    expect(await answer).to.deep.equal({ code: 502, status: 'rondo; fwd=miss', age: undefined })
    const silent = { code: 404, status: undefined, age: undefined }
    expect(await send('other', 'HEAD')).to.deep.equal(silent)
    expect(await send('other', 'GET', { 'If-None-Match': '"x"' })).to.deep.equal(silent)
    expect(waiting).to.have.length(1)
  })
})
