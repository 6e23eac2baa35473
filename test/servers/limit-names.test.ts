// Whoever meets a limit is told which setting it is. One row for each setting that is one; the table is complete.
import { expect } from 'chai'
import { type Environment } from '../../src/config/environment.ts'
import { VARIABLES } from '../../src/config/variables.ts'
import { GrpcClient } from '../support/grpc.ts'
import { command, RawResp } from '../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../support/rondo.ts'

const MIB = 1024 * 1024
const SMALL = 'v'.repeat(700)

/** Sends what is over the limit, and returns what it is told. */
type Exceed = (running: RunningRondo) => Promise<string>

interface Row {
  readonly env: Environment
  /** Over the Redis protocol: each of them. */
  readonly resp: Readonly<Record<string, Exceed>>
  /** Over HTTP; none where no call can meet the limit. */
  readonly http: Readonly<Record<string, Exceed>>
  readonly grpc?: Readonly<Record<string, Exceed>>
}

const portOf = (running: RunningRondo) => running.rondo.respServer.port

/** The last reply to these commands, sent at once. */
const asked =
  (...commands: (string | Buffer)[][]): Exceed =>
  async (running) => {
    const client = await RawResp.open(portOf(running))
    client.send(Buffer.concat(commands.map((args) => command(...args))))
    const replies = await client.replies(commands.length).catch(async () => [await client.rest()])
    client.close()
    return replies.at(-1)!
  }
const call =
  (method: string, path: string, body?: unknown): Exceed =>
  async ({ ports }) => {
    const response = await fetch(`http://127.0.0.1:${ports.socket}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: { 'Content-Type': 'application/json' },
    })
    return response.text()
  }
const put = (key: string, value: string) => call('PUT', `/api/v1/keys/${key}`, { value })
const mget = (...keys: string[]) => call('POST', '/api/v1/mget', { keys })
const mset = (...keys: string[]) =>
  call('POST', '/api/v1/mset', { items: keys.map((key) => ({ key, value: SMALL })) })
const numbered = (count: number) => Array.from({ length: count }, (_, i) => `{t}${i}`)
/** What is said to a connection that has sent nothing. */
const greeting: Exceed = async (running) => (await RawResp.open(portOf(running))).rest()
/** The details of the status of a call over gRPC, or of its first key. */
const grpc =
  (method: string, request: object, metadata: Record<string, string> = {}): Exceed =>
  async ({ grpcPort }) => {
    const client = new GrpcClient(grpcPort)
    const { details, messages } = await client.call(`rondo.v1.Cache/${method}`, request, { metadata })
    client.close()
    return details === 'OK' ? JSON.stringify(messages) : details
  }
const key = (text: string) => ({ key: Buffer.from(text) })
/** While another connection is in use. */
const withAnother =
  (exceed: Exceed): Exceed =>
  async (running) => {
    const other = await RawResp.open(portOf(running))
    await other.ask('PING')
    try {
      return await exceed(running)
    } finally {
      other.close()
    }
  }

const TABLE: Readonly<Record<string, Row>> = {
  DATABASES: {
    env: { DATABASES: '4' },
    // The error is Redis's own, DB index is out of range, of what CONFIG GET calls databases.
    resp: {},
    http: {
      GET: call('GET', '/api/v1/keys/a?db=4'),
      mget: call('POST', '/api/v1/mget?db=4', { keys: ['a'] }),
    },
    grpc: { Get: grpc('Get', key('a'), { db: '4' }) },
  },
  GRPC_MAX_RECV_BYTES: {
    env: { GRPC_MAX_RECV_BYTES: '1024' },
    resp: {},
    http: {},
    grpc: { Set: grpc('Set', { ...key('a'), value: Buffer.alloc(1024) }) },
  },
  GRPC_MAX_SEND_BYTES: {
    env: { GRPC_MAX_SEND_BYTES: '1024' },
    resp: {},
    http: {},
    grpc: {
      Get: async (running) => {
        await grpc('Set', { ...key('a'), value: Buffer.alloc(1024) })(running)
        return grpc('Get', key('a'))(running)
      },
      BatchGet: async (running) => {
        await grpc('Set', { ...key('a'), value: Buffer.alloc(1024) })(running)
        return grpc('BatchGet', { keys: [Buffer.from('a')] })(running)
      },
    },
  },
  MAX_KEY_BYTES: {
    env: { MAX_KEY_BYTES: '10' },
    resp: {
      SET: asked(['SET', 'k'.repeat(11), 'v']),
      INCR: asked(['INCR', 'k'.repeat(11)]),
      MSET: asked(['MSET', 'a', '1', 'k'.repeat(11), '2']),
      WATCH: asked(['WATCH', 'k'.repeat(11)]),
      'SCAN MATCH': asked(['SCAN', '0', 'MATCH', `${'k'.repeat(11)}*`]),
      'CONFIG GET': asked(['CONFIG', 'GET', 'maxmemory*', 'timeout']),
    },
    http: {
      PUT: put('k'.repeat(11), 'v'),
      GET: call('GET', `/api/v1/keys/${'k'.repeat(11)}`),
      mset: mset('a', 'k'.repeat(11)),
      listing: call('GET', `/api/v1/keys?match=${'k'.repeat(11)}`),
    },
    grpc: { Set: grpc('Set', key('k'.repeat(11))), List: grpc('List', { match: Buffer.alloc(11, 'a') }) },
  },
  MAX_VALUE_BYTES: {
    env: { MAX_VALUE_BYTES: '100' },
    resp: {
      SET: asked(['SET', 'a', SMALL]),
      MSET: asked(['MSET', 'a', 'v', 'b', SMALL]),
      SETBIT: asked(['SETBIT', 'a', '800', '1']),
      BITFIELD: asked(['BITFIELD', 'a', 'SET', 'u8', '800', '1']),
      APPEND: asked(['SET', 'a', 'v'.repeat(60)], ['APPEND', 'a', 'v'.repeat(60)]),
      SETRANGE: asked(['SETRANGE', 'a', '100', 'v']),
      'SETRANGE in EXEC': asked(['MULTI'], ['SETRANGE', 'a', '100', 'v'], ['EXEC']),
    },
    http: {
      PUT: put('a', SMALL),
      append: call('POST', '/api/v1/keys/a/append', { value: SMALL }),
      mset: mset('a'),
    },
    grpc: { Set: grpc('Set', { ...key('a'), value: Buffer.alloc(1000) }) },
  },
  MAX_TAGS_PER_KEY: {
    env: { MAX_TAGS_PER_KEY: '2' },
    resp: { 'RONDO TAG': asked(['SET', 'a', 'v'], ['RONDO', 'TAG', 'a', ...numbered(3)]) },
    http: { PUT: call('PUT', '/api/v1/keys/a?tags=1,2,3', { value: 'v' }) },
  },
  MAX_BATCH_KEYS: {
    env: { MAX_BATCH_KEYS: '3', RESP_CROSS_SET_MULTI: 'refuse' },
    resp: {
      MSETNX: asked(['MSETNX', ...numbered(4).flatMap((key) => [key, 'v'])]),
      WATCH: asked(['WATCH', ...numbered(4)]),
      EXEC: asked(['MULTI'], ...numbered(4).map((key) => ['SET', key, 'v']), ['EXEC']),
    },
    http: {
      mget: mget(...numbered(4)),
      mset: mset(...numbered(4)),
      listing: call('GET', '/api/v1/keys?count=4'),
    },
    grpc: {
      BatchGet: grpc('BatchGet', { keys: Array(11).fill(Buffer.from('a')) }),
      List: grpc('List', { count: 11 }),
    },
  },
  MAX_BATCH_BYTES: {
    env: { MAX_BATCH_BYTES: '1000', MAX_VALUE_BYTES: '700' },
    resp: {
      'an argument': asked(['SET', 'a', 'v'.repeat(200_000)]),
      'a request': asked(['MSET', 'a', 'v'.repeat(100_000), 'b', 'v'.repeat(100_000)]),
      'the number of arguments': asked(['DEL', ...numbered(2000)]),
      MULTI: asked(['MULTI'], ['SET', 'a', SMALL], ['SET', 'b', SMALL]),
    },
    http: {
      mset: mset('a', 'b', 'c'),
      mget: async (running) => {
        for (const key of ['a', 'b', 'c']) await put(key, SMALL)(running)
        return mget('a', 'b', 'c')(running)
      },
    },
  },
  MAX_REPLY_BYTES: {
    env: { MAX_REPLY_BYTES: '1024' },
    resp: {
      MGET: asked(['MSET', 'a', SMALL, 'b', SMALL], ['MGET', 'a', 'b']),
      'MGET of one key': asked(['SET', 'a', SMALL], ['MGET', 'a', 'a']),
      KEYS: asked(['MSET', ...numbered(500).flatMap((key) => [key, 'v'])], ['KEYS', '*']),
      EXEC: asked(['MULTI'], ['SET', '{t}a', SMALL], ['GET', '{t}a'], ['GET', '{t}a'], ['EXEC']),
      'EXEC one by one': asked(
        ['MULTI'],
        ...numbered(9).flatMap((key) => [
          ['SET', key[3]!, SMALL],
          ['GET', key[3]!],
        ]),
        ['EXEC'],
      ),
    },
    http: {},
  },
  MAX_COMMAND_BYTES: {
    env: { MAX_COMMAND_BYTES: '1024' },
    resp: {
      LCS: asked(['MSET', '{t}a', SMALL, '{t}b', SMALL], ['LCS', '{t}a', '{t}b']),
      BITOP: asked(['MSET', '{t}a', SMALL, '{t}b', SMALL], ['BITOP', 'OR', '{t}c', '{t}a', '{t}b']),
      EXEC: asked(['MULTI'], ['SET', '{t}a', SMALL], ['APPEND', '{t}a', SMALL], ['EXEC']),
    },
    http: {},
  },
  MAX_TRANSACTION_COMMANDS: {
    env: { MAX_TRANSACTION_COMMANDS: '2' },
    resp: { MULTI: asked(['MULTI'], ['GET', 'a'], ['GET', 'a'], ['GET', 'a']) },
    http: {},
  },
  MAX_ARGUMENTS: {
    env: { MAX_ARGUMENTS: '64' },
    resp: {
      SET: asked(['SET', 'a', 'v', ...numbered(62)]),
      BITFIELD: asked(['BITFIELD', 'a', ...numbered(63)]),
      'CLIENT LIST ID': asked(['CLIENT', 'LIST', 'ID', ...numbered(62)]),
      'CONFIG GET': asked(['CONFIG', 'GET', ...numbered(63)]),
    },
    http: {},
  },
  MAX_IN_FLIGHT: {
    env: { MAX_IN_FLIGHT: '1' },
    resp: { WATCH: asked(['WATCH', 'a', 'b', 'c']) },
    http: { mget: mget('a', 'b', 'c') },
  },
  MAX_CLIENT_MEMORY: {
    env: { MAX_CLIENT_MEMORY: '16MiB', MAX_VALUE_BYTES: '2MiB' },
    resp: { SET: asked(['SET', 'a', Buffer.alloc(5 * MIB)]) },
    http: { PUT: put('a', 'v'.repeat(5 * MIB)) },
  },
  MAX_CONNECTIONS: {
    env: { MAX_CONNECTIONS: '1' },
    resp: { connect: withAnother(greeting) },
    http: { connect: withAnother(call('GET', '/ping')) },
  },
}

describe('an error about a limit names its setting', () => {
  it('each setting that is a limit is tried', () => {
    const limits = VARIABLES.map(({ name }) => name).filter((name) => /^(GRPC_)?MAX_|^DATABASES$/.test(name))
    // A number of tries, not a limit of what clients may ask.
    expect(Object.keys(TABLE)).to.have.members(limits.filter((name) => name !== 'MAX_TRIES'))
  })

  for (const [name, { env, resp, http, grpc = {} }] of Object.entries(TABLE)) {
    describe(name, () => {
      let running: RunningRondo
      before(async () => (running = await startRondo({ GRPC_PORT: '0', ...env })))
      after(() => running.stop())

      for (const [protocol, ways] of Object.entries({ 'Redis protocol': resp, HTTP: http, gRPC: grpc }))
        for (const [what, exceed] of Object.entries(ways))
          it(`${protocol}: ${what}`, async () => {
            expect(await exceed(running)).to.match(new RegExp(`\\b${name}\\b`))
          })
    })
  }
})

/** Those that no setting raises (decision 34) and that are not Redis's own. */
const FIXED: Readonly<Record<string, Exceed>> = {
  // What a collection may have altogether: test/commands/collections/large/.
  'long members of a sorted set': asked([
    'ZADD',
    'c',
    ...Array.from({ length: 300 }, (_, i) => ['1', `${'x'.repeat(6000)}${i}`]).flat(),
  ]),
  'the time of one command': asked(['PFADD', 'e', ...numbered(100_000)]),
  'the time of a transaction': asked(
    ['MULTI'],
    ['PFADD', 'e', ...numbered(50_000)],
    ['PFADD', 'e', ...numbered(50_000)],
    ['EXEC'],
  ),
}

describe('an error about a limit that no setting raises', () => {
  let running: RunningRondo
  before(async () => (running = await startRondo({})))
  after(() => running.stop())

  for (const [what, exceed] of Object.entries(FIXED))
    it(`says so, and what to do: ${what}`, async () => {
      expect(await exceed(running)).to.match(/^-ERR .*\(a fixed limit(?:: |\): )(?:use|send) /)
    })
})
