// Every method of every service: what it answers, and to whom.
import { expect } from 'chai'
import { status } from '@grpc/grpc-js'
import { CODES } from '../../../src/core/error-codes.ts'
import { ERROR_CODES } from '../../../src/core/errors.ts'
import { GrpcClient, METHODS, type Answer } from '../../support/grpc.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const DATA = 'data-token-0123456789abcdef'
const ADMIN = 'admin-token-0123456789abcdef'
const bytes = (text: string) => Buffer.from(text)

/** Who may call it, a request, and its answer. A new method belongs here as well: the first test compares both. */
const EXPECTED: Record<string, readonly [scope: 'open' | 'data', request: object, answer: object]> = {
  'rondo.v1.Cache/Set': ['data', { key: bytes('k'), value: bytes('v') }, { version: /^[0-9a-f]{24}$/ }],
  'rondo.v1.Cache/Get': ['data', { key: bytes('k') }, { value: bytes('v'), ttl_ms: 0 }],
  'rondo.v1.Cache/Has': ['data', { key: bytes('k') }, { found: true }],
  'rondo.v1.Cache/BatchSet': [
    'data',
    { items: [{ key: bytes('k1'), value: bytes('v') }] },
    { results: [{ key: bytes('k1'), outcome: 'stored' }] },
  ],
  'rondo.v1.Cache/BatchGet': [
    'data',
    { keys: [bytes('k1')] },
    { results: [{ key: bytes('k1'), outcome: 'found' }] },
  ],
  'rondo.v1.Cache/List': ['data', { match: bytes('k*') }, { cursor: '0' }],
  'rondo.v1.Cache/BatchDelete': [
    'data',
    { keys: [bytes('k1')] },
    { results: [{ key: bytes('k1'), outcome: 'deleted' }] },
  ],
  'rondo.v1.Cache/Delete': ['data', { key: bytes('k') }, {}],
  'pb.CacheService/Set': ['data', { key: 's', value: 'v' }, {}],
  'pb.CacheService/Get': ['data', { key: 's' }, { value: 'v' }],
  'v1.cache.CacheService/Set': ['data', { key: 's', value: 'v', source_node: 'node-1' }, {}],
  'v1.cache.CacheService/Get': ['data', { key: 's', source_node: 'node-1' }, { value: 'v' }],
  'grpc.health.v1.Health/Check': ['open', {}, { status: 'SERVING' }],
  'grpc.health.v1.Health/Watch': ['open', { service: 'rondo.v1.Cache' }, { status: 'SERVING' }],
}

/** The last message, with what the other one names. */
function shown({ messages }: Answer, wanted: object): object {
  const last = (messages.at(-1) ?? {}) as Record<string, unknown>
  return Object.fromEntries(
    Object.entries(wanted).map(([name, value]) => {
      const found = last[name]
      if (value instanceof RegExp) return [name, value.test(String(found)) ? value : found]
      if (!Array.isArray(value)) return [name, found]
      const rows = found as Record<string, unknown>[]
      return [name, rows.map(({ key, outcome }) => ({ key, outcome }))]
    }),
  )
}

describe('methods over gRPC', function () {
  this.timeout(20_000)
  let running: RunningRondo
  let client: GrpcClient
  before(async () => {
    running = await startRondo({
      GRPC_PORT: '0',
      DATA_TOKEN: DATA,
      ADMIN_TOKEN: ADMIN,
      DATABASES: '3',
      MAX_VALUE_BYTES: '1MiB',
    })
    client = new GrpcClient(running.grpcPort)
  })
  after(async () => {
    client.close()
    await running.stop()
  })

  const call = (name: string, request: object, metadata: Record<string, string> = {}) =>
    client.call(`rondo.v1.Cache/${name}`, request, {
      metadata: { authorization: `Bearer ${DATA}`, ...metadata },
    })
  const failure = ({ status, details, trailers }: Answer) => [status, trailers['rondo-code'], details]

  it('all of them are here', () => {
    expect(Object.keys(EXPECTED).sort()).to.deep.equal([...METHODS.keys()].sort())
  })

  for (const [name, [scope, request, answer]] of Object.entries(EXPECTED)) {
    // Of a stream that does not end by itself, the first message.
    const ask = (metadata: Record<string, string>) => {
      const isEndless = name.endsWith('/Watch')
      return client.call(name, request, { metadata, ...(isEndless ? { deadlineMs: 200 } : {}) })
    }
    const ok = name.endsWith('/Watch') ? 'DEADLINE_EXCEEDED' : 'OK'

    it(`${name} answers who has the data token, ${scope === 'open' ? 'and everybody else' : 'and nobody else'}`, async () => {
      const answered = await ask({ authorization: `bearer ${DATA}` })
      expect(answered.status, answered.details).to.equal(ok)
      expect(shown(answered, answer)).to.deep.equal(answer)
      const refused = scope === 'open' ? ok : 'UNAUTHENTICATED'
      const others = [{}, { authorization: DATA }]
      for (const answer of await Promise.all(others.map(ask))) expect(answer.status).to.equal(refused)
    })
  }

  it('the admin token opens none, and counts as a wrong one', async () => {
    const guarded = Object.entries(EXPECTED).filter(([, [scope]]) => scope === 'data')
    const metadata = { authorization: `Bearer ${ADMIN}` }
    const answers = await Promise.all(
      guarded.map(([name, [, request]]) => client.call(name, request, { metadata })),
    )
    for (const answer of answers) {
      expect(failure(answer)).to.deep.equal([
        'UNAUTHENTICATED',
        'UNAUTHORIZED',
        'The token is wrong: it is not one of those that are valid for this.',
      ])
    }
    expect(running.rondo.tries.counts.grpc).to.equal(guarded.length)
    expect(running.logText()).to.include('wrong token (gRPC; 1 in a row from this address)')
  })

  it('the status of every error code is one of gRPC, and does not promise more than is true', () => {
    for (const code of ERROR_CODES) {
      expect(status[CODES[code].grpc], code).to.be.a('number')
      // Clients try UNAVAILABLE again by themselves.
      if (code === 'OUTCOME_UNKNOWN') expect(CODES[code].grpc).not.to.equal('UNAVAILABLE')
    }
  })

  it('bytes, lives, databases and levels: what is written here is read over the Redis protocol and HTTP', async () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    const key = Buffer.from([0, 255, 47])
    const set = await call('Set', { key, value: all, ttl_ms: 60_000 }, { consistency: 'all', db: '2' })
    expect(set.trailers).to.include({ 'rondo-consistency': 'all' })
    expect(String(set.trailers['rondo-served-by']).split(', ')).to.have.length(3)
    const [got] = (await call('Get', { key }, { db: '2' })).messages as unknown as {
      value: Buffer
      ttl_ms: number
    }[]
    expect(got!.value).to.deep.equal(all)
    expect(got!.ttl_ms).to.be.within(50_000, 60_000)
    expect((await call('Get', { key })).status).to.equal('NOT_FOUND')
    const path = `/api/v1/keys/${key.toString('base64url')}?keyEncoding=base64url&db=2`
    const http = await fetch(`http://localhost:${running.ports.socket}${path}`, {
      headers: { authorization: `Bearer ${DATA}`, accept: 'application/octet-stream' },
    })
    expect(Buffer.from(await http.arrayBuffer())).to.deep.equal(all)
    expect((await call('Has', { key }, { db: '2' })).messages).to.deep.equal([{ found: true }])
    await call('Delete', { key }, { db: '2' })
    expect((await call('Has', { key }, { db: '2' })).messages).to.deep.equal([{ found: false }])
  })

  it('lists every key once, in pages, from any cursor', async () => {
    const keys = Array.from({ length: 50 }, (_, i) => bytes(`list:${i}`))
    await call('BatchSet', { items: keys.map((key) => ({ key, value: key })) }, { db: '1' })
    const { messages, status } = await call('List', { match: bytes('list:*'), count: 7 }, { db: '1' })
    const pages = messages as unknown as { keys: Buffer[]; cursor: string }[]
    expect(status).to.equal('OK')
    const seen = pages.flatMap((page) => page.keys.map(String))
    expect(seen.sort()).to.deep.equal(keys.map(String).sort())
    const { cursor } = pages[2]!
    const rest = (await call('List', { match: bytes('list:*'), count: 7, cursor }, { db: '1' })).messages
    expect(rest).to.deep.equal(pages.slice(3))
  })

  const refusals: Record<
    string,
    readonly [name: string, request: object, metadata: object, expected: string[]]
  > = {
    'an empty key': ['Get', {}, {}, ['INVALID_ARGUMENT', 'BAD_REQUEST', 'Name a key: "key" is empty.']],
    'a reserved key': ['Set', { key: bytes('__rondo:x') }, {}, ['PERMISSION_DENIED', 'KEY_RESERVED']],
    'a key that is too long': [
      'Set',
      { key: Buffer.alloc(1025, 97) },
      {},
      ['INVALID_ARGUMENT', 'KEY_TOO_LONG'],
    ],
    'a value that is too large': [
      'Set',
      { key: bytes('k'), value: Buffer.alloc(1024 ** 2 + 1) },
      {},
      ['RESOURCE_EXHAUSTED', 'VALUE_TOO_LARGE'],
    ],
    'a ttl beyond a hundred years': [
      'Set',
      { key: bytes('k'), ttl_ms: 3_153_600_000_001 },
      {},
      ['INVALID_ARGUMENT', 'BAD_REQUEST'],
    ],
    'a level that there is not': [
      'Get',
      { key: bytes('k') },
      { consistency: 'maybe' },
      ['INVALID_ARGUMENT', 'BAD_REQUEST', 'consistency is one, quorum or all.'],
    ],
    'a database that there is not': [
      'Get',
      { key: bytes('k') },
      { db: '3' },
      ['INVALID_ARGUMENT', 'BAD_REQUEST'],
    ],
    'too many keys': [
      'BatchGet',
      { keys: Array.from({ length: 1001 }, () => bytes('k')) },
      {},
      [
        'INVALID_ARGUMENT',
        'BAD_REQUEST',
        '"keys" has 1001 entries; at most 1000 are allowed (MAX_BATCH_KEYS).',
      ],
    ],
    'one bad item of many': [
      'BatchSet',
      { items: [{ key: bytes('first') }, { key: bytes('__rondo:x') }] },
      {},
      ['PERMISSION_DENIED', 'KEY_RESERVED'],
    ],
    'a page that is too long': ['List', { count: 1001 }, {}, ['INVALID_ARGUMENT', 'BAD_REQUEST']],
    'a pattern that is too long': [
      'List',
      { match: Buffer.alloc(1025, 97) },
      {},
      ['INVALID_ARGUMENT', 'BAD_REQUEST'],
    ],
    'a cursor that is none': ['List', { cursor: 'x' }, {}, ['INVALID_ARGUMENT', 'BAD_REQUEST']],
  }
  for (const [what, [name, request, metadata, expected]] of Object.entries(refusals)) {
    it(`${what}: ${expected.slice(0, 2).join(' ')}`, async () => {
      const answer = await call(name, request, metadata as Record<string, string>)
      expect(failure(answer).slice(0, expected.length)).to.deep.equal(expected)
    })
  }

  it('a batch whose item is refused has written nothing', async () => {
    expect((await call('Has', { key: bytes('first') })).messages).to.deep.equal([{ found: false }])
  })

  it('each key of a batch has its own result, in their order', async () => {
    const list = await fetch(`http://localhost:${running.ports.socket}/api/v1/command`, {
      method: 'POST',
      headers: { authorization: `Bearer ${DATA}`, 'content-type': 'application/json' },
      body: JSON.stringify({ command: ['RPUSH', 'collection', 'a'] }),
    })
    expect(list.status).to.equal(200)
    await call('Set', { key: bytes('b1'), value: bytes('1') })
    const keys = [bytes('b1'), bytes('b2'), Buffer.alloc(2000, 97), bytes('collection')]
    const [answer] = (await call('BatchGet', { keys })).messages as unknown as [
      { results: { outcome: string; error?: { code: string; message: string } }[] },
    ]
    expect(answer.results.map(({ outcome, error }) => error?.code ?? outcome)).to.deep.equal([
      'found',
      'KEY_NOT_FOUND',
      'KEY_NOT_FOUND',
      'WRONG_TYPE',
    ])
    expect(failure(await call('Get', { key: bytes('collection') }))).to.deep.equal([
      'FAILED_PRECONDITION',
      'WRONG_TYPE',
      'The key holds a collection. gRPC reads strings only: use the Redis protocol.',
    ])
  })

  for (const service of ['pb.CacheService', 'v1.cache.CacheService']) {
    it(`${service} has text only, and says so of other bytes`, async () => {
      const metadata = { authorization: `Bearer ${DATA}` }
      await call('Set', { key: bytes('bin'), value: Buffer.from([255]) })
      const binary = await client.call(`${service}/Get`, { key: 'bin' }, { metadata })
      expect(failure(binary).slice(0, 2)).to.deep.equal(['FAILED_PRECONDITION', 'WRONG_TYPE'])
      // Half of a character: a decoder of text would make another key of it.
      const half = Buffer.from([0x0a, 2, 0xc3, 0x28])
      expect(failure(await client.call(`${service}/Get`, half, { metadata }))).to.deep.equal([
        'INVALID_ARGUMENT',
        'BAD_REQUEST',
        'The key is not valid UTF-8.',
      ])
      const absent = await client.call(`${service}/Get`, { key: 'no' }, { metadata })
      expect(failure(absent)).to.deep.equal(['NOT_FOUND', 'KEY_NOT_FOUND', 'key not found'])
    })
  }

  it('counts hits and misses, calls and errors, and logs as the HTTP server does', async () => {
    const before = await running.rondo.telemetry.registry.metrics()
    const count = (text: string, row: string) =>
      Number(new RegExp(`^${row} (\\d+)$`, 'm').exec(text)?.[1] ?? 0)
    await call('Set', { key: bytes('m'), value: bytes('1') })
    await call('Get', { key: bytes('m') })
    await call('BatchGet', { keys: [bytes('m'), bytes('none')] })
    await call('Get', { key: bytes('none') })
    const text = await running.rondo.telemetry.registry.metrics()
    const grown = (row: string) => count(text, row) - count(before, row)
    expect(grown('rondo_cache_hits_total\\{protocol="grpc",method="get"\\}')).to.equal(1)
    expect(grown('rondo_cache_misses_total\\{protocol="grpc",method="get"\\}')).to.equal(1)
    expect(grown('rondo_cache_hits_total\\{protocol="grpc",method="batchget"\\}')).to.equal(1)
    expect(grown('rondo_cache_misses_total\\{protocol="grpc",method="batchget"\\}')).to.equal(1)
    expect(grown('rondo_grpc_errors_total\\{code="KEY_NOT_FOUND"\\}')).to.equal(1)
    const calls = 'rondo_grpc_request_duration_seconds_count\\{method="rondo.v1.Cache/Get",status="OK"\\}'
    expect(grown(calls)).to.equal(1)
    expect(text).to.match(/^rondo_grpc_connections 1$/m)
  })
})
