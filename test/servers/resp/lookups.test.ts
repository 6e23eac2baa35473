/**
 * Hits and misses: every command counts as many as Redis does, alone, in MULTI, and over HTTP, under its own name. The rows
 * of key-lines.ts are all commands on keys, so none can be forgotten.
 */
import { expect } from 'chai'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { STEPS } from '../../../src/commands/specs.ts'
import type { LookupCount } from '../../../src/servers/lookup-metrics.ts'
import { KEY_LINES } from '../../support/key-lines.ts'
import { NEWER_COMMANDS } from '../../support/newer-commands.ts'
import { call } from '../../support/raw-http.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const KEYS = ['{t}k', '{t}other', '{t}new', '{t}nosuch']
/** What `{t}k` and `{t}other` hold. */
const PLANTS = {
  nothing: () => ['PING'],
  string: (key: string) => ['SET', key, '5'],
  hash: (key: string) => ['HSET', key, 'f', '5'],
  list: (key: string) => ['RPUSH', key, '5', '6'],
  set: (key: string) => ['SADD', key, '5', 'f'],
  zset: (key: string) => ['ZADD', key, '1', 'f', '2', 'x'],
  stream: (key: string) => ['XADD', key, '1-1', 'f', '5'],
}
/** The commands of a type; all the others are tried on nothing, and on a string. */
const FITS: Readonly<Record<string, RegExp>> = {
  hash: /^h/,
  list: /^(l(?!cs)|r(push|pop)|sort)/,
  set: /^s([a-z]*(union|inter|diff|member|card|move|pop|rem|add)|ort|scan)/,
  zset: /^(z|geo|sort)/,
  stream: /^x/,
}
/** Where Redis 7.0 counts otherwise, and why Rondo does not. */
const OTHERWISE: Readonly<Record<string, string>> = {
  'SPOP {t}k 9': 'where all members go, Redis answers as SUNION does; SPOP of fewer counts nothing',
  'XREAD ': 'Redis looks each key up twice, and counts that',
}
const PROTOCOLS = ['http', 'ringg', 'lru', 'cache-cluster']

/** Their lines name keys that do not exist. */
const LINES_WITHOUT_HITS = ['pfcount', 'dump']

const isReader = (name: string) => STEPS[name]!.flags.includes('readonly')

type Counts = Record<string, { hits: number; misses: number }>

describe('hits and misses', function () {
  this.timeout(60_000)
  let oracle: RedisServer
  let running: RunningRondo
  let [theirs, ours]: RawResp[] = []
  before(async () => {
    oracle = await startRedis()
    running = await startRondo({ COMPAT_APIS: 'upstash,ringg,lru,cache-cluster' })
    theirs = await RawResp.open(oracle.port)
    ours = await RawResp.open(running.rondo.respServer.port)
  })
  after(async () => {
    for (const client of [theirs, ours]) client?.close()
    await running.stop()
    await oracle.stop()
  })

  /** The counts of a protocol that have grown since, by method. */
  const countsOf = (protocol: string): Counts => {
    const all: LookupCount[] = [
      ...running.rondo.respServer.stats.lookups,
      ...running.rondo.httpServer.lookups.lookups,
    ].filter((count) => count.protocol === protocol)
    return Object.fromEntries(all.map(({ method, hits, misses }) => [method, { hits, misses }]))
  }
  const grown = (protocol: string, before: Counts): Counts =>
    Object.fromEntries(
      Object.entries(countsOf(protocol)).flatMap(([method, { hits, misses }]) => {
        const then = before[method] ?? { hits: 0, misses: 0 }
        const by = { hits: hits - then.hits, misses: misses - then.misses }
        return by.hits + by.misses > 0 ? [[method, by]] : []
      }),
    )
  it('every command is among the lines', () => {
    expect([...Object.keys(KEY_LINES), ...NEWER_COMMANDS].sort()).to.deep.equal(Object.keys(STEPS).sort())
  })

  interface Row {
    /** The line, and what was planted for it. */
    readonly what: string
    /** With which the keys are planted, and then the line is sent. */
    readonly commands: readonly (readonly string[])[]
  }
  /** All at once. @returns for each row the reply to its last command, and what INFO has counted for it */
  const runAll = async (client: RawResp, rows: readonly Row[]) => {
    const info = ['INFO', 'stats']
    const commands = [info, ...rows.flatMap((row) => [...row.commands, info])]
    client.send(commands.map((args) => command(...args).toString('latin1')).join(''))
    const replies = await client.replies(commands.length)
    const countIn = (text: string) =>
      (['hits', 'misses'] as const).map((name) =>
        Number(new RegExp(`keyspace_${name}:(\\d+)`).exec(text)![1]),
      )
    let [hits, misses] = countIn(replies[0]!) as [number, number]
    let at = 0
    return rows.map((row) => {
      at += row.commands.length + 1
      const before = [hits, misses]
      ;[hits, misses] = countIn(replies[at]!) as [number, number]
      return { reply: replies[at - 1]!, hits: hits - before[0]!, misses: misses - before[1]! }
    })
  }

  for (const [form, plants] of [
    ['alone', ['nothing', 'string', 'hash', 'list', 'set', 'zset', 'stream']],
    ['in MULTI', ['nothing', 'string']],
  ] as const) {
    it(`every command counts what Redis counts, ${form}`, async () => {
      const different: string[] = []
      const seen: Counts = {}
      for (const [name, lines] of Object.entries(KEY_LINES)) {
        const types = plants.filter((what) => FITS[what]?.test(name) ?? true)
        const rows = types.flatMap((what) =>
          lines.map((line): Row => {
            const plant = [['DEL', ...KEYS], ...['{t}k', '{t}other'].map((key) => PLANTS[what](key))]
            const run = form === 'alone' ? [line.split(' ')] : [['MULTI'], line.split(' '), ['EXEC']]
            return { what: `${line} on ${what}`, commands: [...plant, ...run] }
          }),
        )
        const before = countsOf('resp')
        const [own, theirOwn] = await Promise.all([runAll(ours!, rows), runAll(theirs!, rows)])
        const sum = (field: 'hits' | 'misses') => own.reduce((total, row) => total + row[field], 0)
        seen[name] = { hits: sum('hits'), misses: sum('misses') }
        const isNone = seen[name].hits + seen[name].misses === 0
        expect(grown('resp', before), `counted by ${name}`).to.deep.equal(
          isNone ? {} : { [name]: seen[name] },
        )
        for (const [i, { what }] of rows.entries()) {
          const [{ reply, hits, misses }, wanted] = [own[i]!, theirOwn[i]!]
          // Redis has not looked at what stands behind a key of a wrong type.
          const isCutShort = reply.includes('-WRONGTYPE') && hits + misses > 1
          const isAlike = hits === wanted.hits && misses === wanted.misses
          if (isAlike || isCutShort || Object.keys(OTHERWISE).some((line) => what.startsWith(line))) continue
          different.push(`${what}: ${hits} and ${misses}, in Redis ${wanted.hits} and ${wanted.misses}`)
        }
      }
      expect(different).to.deep.equal([])
      for (const name of Object.keys(KEY_LINES).filter(isReader)) {
        expect(seen[name]!.misses, `misses of ${name}`).to.be.above(0)
        if (!LINES_WITHOUT_HITS.includes(name)) expect(seen[name]!.hits, `hits of ${name}`).to.be.above(0)
      }
    })
  }

  it('INFO and the metrics tell the sums', async () => {
    const counts = Object.values(countsOf('resp'))
    const sum = (field: 'hits' | 'misses') => counts.reduce((total, count) => total + count[field], 0)
    const info = await ours!.ask('INFO', 'stats')
    expect(info)
      .to.include(`keyspace_hits:${sum('hits')}\r\n`)
      .and.include(`keyspace_misses:${sum('misses')}\r\n`)
    const metrics = await running.rondo.telemetry.registry.metrics()
    const { hits, misses } = countsOf('resp').hgetall!
    expect(metrics)
      .to.include(`rondo_cache_hits_total{protocol="resp",method="hgetall"} ${hits}\n`)
      .and.include(`rondo_cache_misses_total{protocol="resp",method="hgetall"} ${misses}\n`)
  })

  it('newer commands that read count', async () => {
    await ours!.ask('SET', '{t}k', '5')
    await ours!.ask('DEL', '{t}nosuch')
    const before = countsOf('resp')
    for (const name of NEWER_COMMANDS.filter(isReader)) {
      for (const key of ['{t}k', '{t}nosuch']) await ours!.ask(name, key)
    }
    const expected = NEWER_COMMANDS.filter(isReader).map((name) => [name, { hits: 1, misses: 1 }])
    expect(grown('resp', before)).to.deep.equal(Object.fromEntries(expected))
  })

  it('a key that is too long to exist is a miss', async () => {
    const before = countsOf('resp')
    const long = 'x'.repeat(2000)
    for (const args of [
      ['GET', long],
      ['STRLEN', long],
      ['MGET', '{t}k', long, long],
      ['GETDEL', long],
    ]) {
      await ours!.ask(...args)
    }
    expect(grown('resp', before)).to.deep.equal({
      get: { hits: 0, misses: 1 },
      strlen: { hits: 0, misses: 1 },
      mget: { hits: 1, misses: 2 },
      getdel: { hits: 0, misses: 1 },
    })
  })

  it('commands over HTTP count the same, under their protocol', async () => {
    const { socket } = running.ports
    const lines = Object.entries(KEY_LINES)
      .filter(([name]) => isReader(name))
      .flatMap(([, all]) => all.map((line) => line.split(' ')))
    for (const key of ['{t}k', '{t}other']) await ours!.ask('SET', key, '5')
    const then = countsOf('resp')
    for (const line of lines) await ours!.ask(...line)
    const counts = grown('resp', then)
    const before = countsOf('http')
    for (const command of lines) await call(socket, 'POST', '/api/v1/command', { body: { command } })
    expect(grown('http', before)).to.deep.equal(counts)
    for (const path of ['/upstash/pipeline', '/upstash/multi-exec']) {
      const earlier = countsOf('upstash')
      const answer = await call(socket, 'POST', path, { body: lines })
      expect(answer.status).to.equal(200)
      expect(grown('upstash', earlier), path).to.deep.equal(counts)
    }
  })

  it('each call on keys and each dialect counts', async () => {
    const { socket } = running.ports
    await ours!.ask('SET', 'there', 'x')
    await ours!.ask('DEL', 'gone')
    const before = Object.fromEntries(PROTOCOLS.map((protocol) => [protocol, countsOf(protocol)]))
    for (const key of ['there', 'gone']) {
      for (const path of [`/api/v1/keys/${key}`, `/cache/${key}`, `/get?key=${key}`, `/_cache?key=${key}`]) {
        await call(socket, 'GET', path)
      }
      await call(socket, 'HEAD', `/api/v1/keys/${key}`)
      await call(socket, 'POST', `/api/v1/keys/${key}/expire`, { body: { ttl: 100 } })
      await call(socket, 'POST', `/api/v1/keys/${key}/getdel`, { body: {} })
    }
    await call(socket, 'POST', '/api/v1/mget', { body: { keys: ['there', 'gone', '{t}k'] } })
    const one = { hits: 1, misses: 1 }
    expect(
      Object.fromEntries(PROTOCOLS.map((protocol) => [protocol, grown(protocol, before[protocol]!)])),
    ).to.deep.equal({
      http: { get: one, head: one, getdel: one, mget: { hits: 1, misses: 2 } },
      ringg: { get: one },
      lru: { get: one },
      'cache-cluster': { get: one },
    })
  })
})
