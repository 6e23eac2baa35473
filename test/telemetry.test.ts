import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { call, RawConnection, rawRequest } from './support/raw-http.ts'
import type { RondoEvent } from '../src/core/events.ts'
import { CommandFailures } from '../src/servers/resp/command-failures.ts'
import { lineFor } from '../src/telemetry/log-lines.ts'
import { RawResp } from './support/raw-resp.ts'
import { startRedisCluster } from '../scripts/redis-server.ts'
import { type LogLine, type RunningRondo, startRondo } from './support/rondo.ts'

describe('request logs', () => {
  /** Some requests of every kind; gives the lines that speak of requests. */
  const linesOf = async (logRequests: string): Promise<LogLine[]> => {
    const running = await startRondo({ LOG_REQUESTS: logRequests })
    const { socket: port } = running.ports
    const id = (name: string) => ({ headers: { 'X-Request-Id': name } })
    await call(port, 'PUT', '/api/v1/keys/my-secret-key', {
      body: { value: 'my-secret-value' },
      ...id('put'),
    })
    await call(port, 'GET', '/api/v1/keys/my-secret-key?consistency=one', id('get'))
    await call(port, 'GET', '/api/v1/keys/x%0D%0A%7B%22level%22:60%7D', id('crlf'))
    await call(port, 'POST', '/api/v1/mget', { body: { keys: ['my-secret-key'] }, ...id('mget') })
    await call(port, 'GET', '/api/v1/keys/my-secret-key/explain', id('explain'))
    await call(port, 'PUT', '/api/v1/keys/my-secret-key', {
      body: Buffer.from('{"value":my-secret-value}'),
      headers: { 'Content-Type': 'application/json', 'X-Request-Id': 'bad' },
    })
    await call(port, 'GET', '/no/my-secret-key', id('nope'))
    await rawRequest(port, 'GARBAGE my-secret-key\r\n\r\n')
    await Promise.all(running.rondo.cluster.members.map(({ node }) => node.close()))
    await call(port, 'GET', '/api/v1/keys/my-secret-key', id('down-get'))
    await call(port, 'PUT', '/api/v1/keys/my-secret-key', {
      body: { value: 'my-secret-value' },
      ...id('down-put'),
    })
    await running.stop()
    expect(running.logText(), 'a key or value of a user').not.to.match(/my-secret|%0D/i)
    return running.logLines().filter(({ msg }) => msg === 'request')
  }

  it('none: not a line', async () => {
    expect(await linesOf('none')).to.deep.equal([])
  })

  it('errors, the default: one line for each request that failed on our side', async () => {
    const lines = await linesOf('errors')
    expect(lines.map(({ requestId, status }) => [requestId, status])).to.deep.equal([
      ['down-get', 503],
      ['down-put', 503],
    ])
    expect(lines[0]).to.include({ level: 50, method: 'GET', route: '/api/v1/keys/:key', code: 'UNAVAILABLE' })
    expect(lines[0]!.ms).to.be.a('number').and.at.least(0)
    expect(lines[0]!.error).to.be.a('string')
  })

  it('all: one line for each request, with the template of its path and never the key', async () => {
    const lines = await linesOf('all')
    expect(
      lines.map(({ requestId, method, route, status }) => [requestId, method, route, status]),
    ).to.deep.equal([
      ['put', 'PUT', '/api/v1/keys/:key', 200],
      ['get', 'GET', '/api/v1/keys/:key', 200],
      ['crlf', 'GET', '/api/v1/keys/:key', 404],
      ['mget', 'POST', '/api/v1/mget', 200],
      ['explain', 'GET', '/api/v1/keys/:key/explain', 200],
      ['bad', 'PUT', '/api/v1/keys/:key', 400],
      ['nope', 'GET', 'other', 404],
      [lines[7]!.requestId, '', 'other', 400],
      ['down-get', 'GET', '/api/v1/keys/:key', 503],
      ['down-put', 'PUT', '/api/v1/keys/:key', 503],
    ])
    expect(lines.slice(0, 8).every(({ level }) => level === 30)).to.equal(true)
  })

  it('what nobody foresaw is told to the client as INTERNAL and to the log with its stack', async () => {
    const running = await startRondo()
    try {
      running.rondo.coordinator.list = () => Promise.reject(new Error('the inside story'))
      const answer = await call(running.ports.socket, 'GET', '/api/v1/keys', {
        headers: { 'X-Request-Id': 'oops' },
      })
      expect(answer.status).to.equal(500)
      expect(answer.json()).to.include({ code: 'INTERNAL', requestId: 'oops' })
      expect(answer.text).not.to.include('inside story').and.not.include('.ts')
      const line = running.logLines().find(({ requestId }) => requestId === 'oops')!
      expect((line.err as { stack: string }).stack)
        .to.include('the inside story')
        .and.include('.ts')
    } finally {
      await running.stop()
    }
  })
})

describe('failed commands of the Redis protocol', () => {
  const linesOf = async (logRequests: string): Promise<LogLine[]> => {
    const running = await startRondo({ LOG_REQUESTS: logRequests })
    const client = await RawResp.open(running.rondo.respServer.port)
    expect(await client.ask('SET', 'my-secret-key', 'my-secret-value')).to.equal('+OK\r\n')
    for (const wrong of ['INCR', 'XADD']) await client.ask(wrong, 'my-secret-key')
    await Promise.all(running.rondo.cluster.members.map(({ node }) => node.close()))
    for (let i = 0; i < 100; i++) {
      expect(await client.ask('GET', 'my-secret-key')).to.match(/^-NOREPLICAS /)
      expect(await client.ask('SET', 'my-secret-key', 'v')).to.match(/^-NOREPLICAS /)
    }
    client.close()
    await running.stop()
    expect(running.logText(), 'a key or value of a user').not.to.match(/my-secret/)
    return running.logLines().filter(({ event }) => (event as { kind?: string })?.kind === 'command-failed')
  }

  for (const level of ['errors', 'all'])
    it(`${level}: one line for each command and code, however many failed; what clients got wrong has none`, async () => {
      const lines = await linesOf(level)
      expect(lines.map(({ level, msg }) => [level, msg.slice(0, 25)])).to.deep.equal([
        [50, 'GET failed: NOREPLICAS No'],
        [50, 'SET failed: NOREPLICAS No'],
      ])
    })

  it('none: not a line', async () => {
    expect(await linesOf('none')).to.deep.equal([])
  })

  it('the next line says how many there were in between', () => {
    let nowMs = 0
    const events: RondoEvent[] = []
    const failures = new CommandFailures(
      (event) => events.push(event),
      () => nowMs,
    )
    for (; nowMs < 10_001; nowMs += 100) failures.note('get', 'NOREPLICAS none')
    expect(events.map((event) => event.kind === 'command-failed' && event.before)).to.deep.equal([0, 99])
    expect(lineFor(events[1]!).sentence).to.equal(
      'GET failed: NOREPLICAS none (and 99 times before, since the last such line)',
    )
  })
})

describe('metrics', () => {
  let running: RunningRondo
  let text: string
  before(async () => {
    running = await startRondo({ HOT_KEYS: '32', GRPC_PORT: '0' })
    const { socket: port } = running.ports
    for (let i = 0; i < 5; i++) await call(port, 'PUT', `/api/v1/keys/k${i}`, { body: { value: 'v' } })
    for (let i = 0; i < 7; i++) await call(port, 'GET', `/api/v1/keys/k${i}`)
    for (const path of ['/a', '/b', '/c/d', '/x"y']) await call(port, 'GET', path)
    for (const method of ['PROPFIND', 'MKCOL', 'PURGE']) await call(port, method, '/api/v1/keys/k')
    await call(port, 'POST', '/api/v1/mget', { body: { keys: ['k0', 'k1', 'none'] } })
    await call(port, 'POST', '/api/v1/keys/none/getdel', { body: {} })
    const client = await RawResp.open(running.rondo.respServer.port)
    for (const [name, ...args] of [
      ['GET', 'k0'],
      ['GET', 'none'],
      ['MGET', 'k0', 'none', 'nope'],
      ['GETEX', 'k1', 'EX', '60'],
      ['GETDEL', 'none'],
      ['INCR', 'k0'],
      ['NOSUCH'],
      ['XADD', 'k0', 'x'],
    ] as [string, ...string[]][])
      await client.ask(name, ...args)
    client.close()
    await running.rondo.cluster.reprobe(running.rondo.cluster.members[0]!)
    const answer = await call(port, 'GET', '/metrics')
    expect(answer.headers['content-type']).to.match(/^text\/plain; version=0\.0\.4/)
    text = answer.text
  })
  after(() => running.stop())

  it('requests are counted and timed by method, path template and status, never by key', () => {
    const counts = samples(text, 'rondo_http_request_duration_seconds_count')
    expect(counts).to.include({
      'method="PUT",route="/api/v1/keys/:key",status="200"': 5,
      'method="GET",route="/api/v1/keys/:key",status="200"': 5,
      'method="GET",route="/api/v1/keys/:key",status="404"': 2,
      'method="GET",route="other",status="404"': 4,
      'method="other",route="/api/v1/keys/:key",status="405"': 3,
    })
    const sums = samples(text, 'rondo_http_request_duration_seconds_sum')
    const sum = sums['method="PUT",route="/api/v1/keys/:key",status="200"']!
    expect(sum, 'seconds').to.be.within(0.00001, 5)
    expect(text).not.to.match(/k[0-6]"/)
  })

  it('buckets grow up to +Inf, which is the count', () => {
    const buckets = Object.entries(samples(text, 'rondo_http_request_duration_seconds_bucket'))
      .filter(([labels]) => labels.includes('method="PUT"'))
      .map(([labels, count]) => [/le="([^"]*)"/.exec(labels)![1]!, count] as const)
    const edges = buckets.map(([edge]) => (edge === '+Inf' ? Infinity : Number(edge)))
    expect(edges).to.deep.equal([...edges].sort((a, b) => a - b))
    expect(edges[0]).to.be.at.most(0.001)
    expect(edges.at(-1)).to.equal(Infinity)
    const counts = buckets.map(([, count]) => count)
    expect(counts).to.deep.equal([...counts].sort((a, b) => a - b))
    expect(counts.at(-1)).to.equal(5)
  })

  it('the state of each node is there', () => {
    const states = samples(text, 'rondo_node_state')
    expect(states).to.include({
      'node="memory-1",state="up"': 1,
      'node="memory-1",state="suspect"': 0,
      'node="memory-1",state="down"': 0,
    })
    expect(Object.keys(states)).to.have.length(12)
    expect(samples(text, 'rondo_node_clean')).to.include({ 'node="memory-4"': 1 })
  })

  it('hits and misses are counted by protocol and command', () => {
    expect(samples(text, 'rondo_cache_hits_total')).to.deep.equal({
      'protocol="http",method="get"': 5,
      'protocol="http",method="mget"': 2,
      'protocol="http",method="getdel"': 0,
      'protocol="grpc",method="get"': 0,
      'protocol="grpc",method="batchget"': 0,
      'protocol="resp",method="get"': 1,
      'protocol="resp",method="getex"': 1,
      'protocol="resp",method="getdel"': 0,
      'protocol="resp",method="mget"': 1,
    })
    expect(samples(text, 'rondo_cache_misses_total')).to.deep.equal({
      'protocol="http",method="get"': 2,
      'protocol="http",method="mget"': 1,
      'protocol="http",method="getdel"': 1,
      'protocol="grpc",method="get"': 0,
      'protocol="grpc",method="batchget"': 0,
      'protocol="resp",method="get"': 1,
      'protocol="resp",method="getex"': 0,
      'protocol="resp",method="getdel"': 1,
      'protocol="resp",method="mget"': 2,
    })
  })

  it('errors are counted by code', () => {
    expect(samples(text, 'rondo_http_errors_total')).to.include({
      'code="KEY_NOT_FOUND"': 3,
      'code="NOT_FOUND"': 4,
      'code="METHOD_NOT_ALLOWED"': 3,
      'code="UNAVAILABLE"': 0,
    })
    expect(samples(text, 'rondo_resp_errors_total')).to.include({ 'code="ERR"': 3, 'code="NOREPLICAS"': 0 })
  })

  it('keys, memory, hints and the progress of a rebuild are there for each node', () => {
    for (const name of [
      'keys',
      'memory_used_bytes',
      'memory_limit_bytes',
      'hints_waiting',
      'fill_checked_keys',
      'fill_sent_records',
    ])
      expect(Object.keys(samples(text, `rondo_node_${name}`)), name).to.have.length(4)
    expect(samples(text, 'rondo_node_keys')['node="memory-1"']).to.be.above(0)
    expect(samples(text, 'rondo_node_memory_used_bytes')['node="memory-1"']).to.be.above(100)
    expect(samples(text, 'rondo_node_memory_limit_bytes')['node="memory-1"']).to.equal(64 * 1024 ** 2)
    expect(samples(text, 'rondo_node_hints_waiting')['node="memory-1"']).to.equal(0)
  })

  it('each has a row in docs/OPERATING.md, with its type and labels', () => {
    const docs = readFileSync(new URL('../docs/OPERATING.md', import.meta.url), 'utf8')
    const rows = [...docs.matchAll(/^\| ((?:`rondo_\w+`(?:, )?)+) \| (\w+) \|/gm)].flatMap(
      ([, names, type]) => [...names!.matchAll(/`(\w+)`/g)].map(([, name]) => `${name} ${type}`),
    )
    const served = [...text.matchAll(/^# TYPE (rondo_\S+) (\S+)$/gm)].map(
      ([, name, type]) => `${name} ${type}`,
    )
    expect(rows.sort()).to.deep.equal(served.sort())
  })

  it('the text and the names are as Prometheus asks', () => {
    const types = new Map(
      [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name!, type!]),
    )
    const helps = [...text.matchAll(/^# HELP (\S+) (.+)$/gm)].map(([, name]) => name!)
    expect(helps.sort(), 'each has a help text, once').to.deep.equal([...types.keys()].sort())
    expect(text.endsWith('\n')).to.equal(true)
    for (const line of text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))) {
      expect(line).to.match(
        /^[a-z_][a-z0-9_]*(\{([a-z_]+="([^"\\]|\\.)*",?)+\})? -?(\d[\d.e+-]*|\+?Inf|NaN)$/i,
      )
    }
    for (const [name, type] of types) {
      expect(name).to.match(/^[a-z][a-z0-9_]*[a-z]$/)
      expect(name.endsWith('_total'), `${name} is a ${type}`).to.equal(type === 'counter')
      expect(name, 'base units').not.to.match(/milli|micro|_ms|minutes|kilo|mega/)
      if (type === 'histogram') expect(name).to.match(/_(seconds|bytes)$/)
    }
    // Where it is installed, Prometheus's own linter has the last word.
    const lint = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
    const installed = lint.error === undefined
    if (installed) expect(lint.stdout + lint.stderr).to.equal('')
  })

  it('labels cannot be made to grow by clients', async () => {
    const { socket: port } = running.ports
    const series = async () =>
      Object.keys(
        samples((await call(port, 'GET', '/metrics')).text, 'rondo_http_request_duration_seconds_count'),
      ).length
    const before = await series()
    for (let i = 0; i < 50; i++) await call(port, 'GET', `/no-such-path-${i}`)
    for (let i = 0; i < 50; i++) await call(port, 'GET', `/api/v1/keys/other-${i}`)
    for (let i = 0; i < 50; i++) await call(port, 'GET', `/api/v1/keys/other-${i}/explain`)
    expect((await series()) - before).to.be.at.most(3)
  })

  it('a request whose client went away, or which never became one, is counted or at least harmless', async () => {
    const { socket: port } = running.ports
    await rawRequest(port, 'NONSENSE\r\n\r\n')
    const connection = await RawConnection.open(port)
    connection.send('PUT /api/v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf')
    connection.destroy()
    const counts = samples(
      (await call(port, 'GET', '/metrics')).text,
      'rondo_http_request_duration_seconds_count',
    )
    expect(counts).to.include({ 'method="other",route="other",status="400"': 1 })
  })
})

describe('what happens to nodes', () => {
  it('is told once when it changes, not at every attempt, and counted', async () => {
    const servers = await startRedisCluster(3)
    const urls = servers.map(({ url }, i) => `node-${i}=${url}`).join(',')
    const running = await startRondo({ REDIS_URLS: urls, PING_INTERVAL_SECONDS: '1' })
    const told = () =>
      running.logLines().filter(({ event }) => (event as { node?: string })?.node === 'node-0')
    try {
      await until(() => told().some(({ msg }) => msg.includes('node-0 suspect → up')))
      const before = told().length
      await servers[0]!.kill()
      await until(() => told().some(({ msg }) => /node-0 \w+ → down/.test(msg)))
      await delay(700) // a handful of probes fail meanwhile
      const lines = told().slice(before)
      expect(lines.length, JSON.stringify(lines)).to.be.at.most(4)
      expect(lines.every(({ level }) => level === 40)).to.equal(true)
      const { text } = await call(running.ports.socket, 'GET', '/metrics')
      expect(samples(text, 'rondo_node_transitions_total')).to.include({ 'node="node-0",to="down"': 1 })
      expect(samples(text, 'rondo_node_state')).to.include({ 'node="node-0",state="down"': 1 })
    } finally {
      await running.stop()
      await Promise.all(servers.map((server) => server.stop()))
    }
  })

  it('passwords of nodes are in no line, no /status and no /metrics, also while a node refuses them', async () => {
    const password = 'hunter2hunter2'
    const servers = await startRedisCluster(2, { args: ['--requirepass', 'another'] })
    const urls = servers.map(({ port }) => `redis://user:${password}@127.0.0.1:${port}`).join(',')
    const running = await startRondo({ REDIS_URLS: urls, LOG_LEVEL: 'trace', LOG_REQUESTS: 'all' })
    try {
      const status = await call(running.ports.socket, 'GET', '/status')
      expect(status.text).to.include('WRONGPASS')
      const metrics = await call(running.ports.socket, 'GET', '/metrics')
      const put = await call(running.ports.socket, 'PUT', '/api/v1/keys/k', { body: { value: 'v' } })
      expect(put.status).to.equal(503)
      expect(status.text + metrics.text + put.text + running.logText()).not.to.include('hunter2')
    } finally {
      await running.stop()
      await Promise.all(servers.map((server) => server.stop()))
    }
  })
})

/** The samples of one name: labels as they are written → value. */
function samples(text: string, name: string): Record<string, number> {
  const found: Record<string, number> = {}
  for (const [, labels, value] of text.matchAll(new RegExp(`^${name}\\{(.*)\\} (\\S+)$`, 'gm'))) {
    found[labels!] = Number(value)
  }
  return found
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (holds()) return
    await delay(10)
  }
  throw new Error('it did not come true within 5 s')
}

describe('counters', () => {
  const text = readFileSync(new URL('../docs/OPERATING.md', import.meta.url), 'utf8')
  const names = [...new Set(text.match(/\brondo_\w+_total\b/g))]
  const NODES = ['memory-1', 'memory-2', 'memory-3', 'memory-4']
  /** How many series each has: one for every value of its labels. */
  const SERIES: Readonly<Record<string, number>> = {
    rondo_node_transitions_total: NODES.length * 3,
    rondo_node_marker_mismatches_total: NODES.length,
    rondo_data_loss_possible_total: NODES.length,
    rondo_repair_rounds_total: 3,
    rondo_wrong_tokens_total: 3,
    rondo_resp_other_protocol_connections_total: 5,
  }

  it('that docs/OPERATING.md names have a series for each value of their labels before the first event', async () => {
    const running = await startRondo({ HOT_KEYS: '32', GRPC_PORT: '0' })
    const metrics = (await call(running.ports.socket, 'GET', '/metrics')).text
    await running.stop()
    expect(names).to.have.length.above(20)
    const seriesOf = (name: string) => metrics.split('\n').filter((line) => RegExp(`^${name}[{ ]`).test(line))
    expect(names.filter((name) => seriesOf(name).length === 0)).to.deep.equal([])
    for (const [name, count] of Object.entries(SERIES)) expect(seriesOf(name), name).to.have.length(count)
    for (const node of NODES) expect(metrics).to.include(`rondo_data_loss_possible_total{node="${node}"} 0`)
    expect(metrics).to.include('rondo_resp_command_errors_total{command="bitfield"} 0')
    const declared = [...metrics.matchAll(/^# TYPE (rondo_\w+) counter$/gm)].map(([, name]) => name!)
    expect(declared.filter((name) => seriesOf(name).length === 0)).to.deep.equal([])
  })
})
