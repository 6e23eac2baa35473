// docs/INVALIDATION.md: its commands, run in order, answer as the page says; and what it says of other commands.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { runShown, shownIn } from '../support/doc-page.ts'
import { call } from '../support/raw-http.ts'
import { RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

const page = readFileSync(new URL('../../docs/INVALIDATION.md', import.meta.url), 'utf8')
const shown = shownIn(page)

describe('docs/INVALIDATION.md', () => {
  let running: RunningRondo
  let redis: RawResp

  before(async () => {
    running = await startRondo({ HOT_KEYS: '50' })
    redis = await RawResp.open(running.rondo.respServer.port)
  })
  after(async () => {
    redis.socket.destroy()
    await running.stop()
  })

  it('has commands only in its console blocks', () => {
    expect(shown.length).to.be.greaterThan(10)
    expect(shown).to.have.length([...page.matchAll(/^\$ (curl|redis-cli) /gm)].length)
  })

  /** Of the page, by what stands there. */
  const ids = new Map<string, string>()
  const ID = /\b[0-9a-f]{16}\b/g
  const alike = (text: string) =>
    text
      .replaceAll(ID, '…')
      .replaceAll(/"(\w+At)":"[^"]+"/g, '"$1":"…"')
      .replaceAll(/"keysPerSecond":\d+/g, '"keysPerSecond":"…"')
      .trimEnd()

  for (const { command, printed } of shown) {
    it(command, async () => {
      const known = command.replaceAll(ID, (id) => ids.get(id) ?? id)
      if (command.endsWith('delete-jobs')) await jobsEnd()
      const answer = await runShown(known, redis, running.ports.socket)
      const found = answer.match(ID) ?? []
      printed.match(ID)?.forEach((id, i) => ids.set(id, found[i]!))
      expect(alike(answer)).to.equal(alike(printed))
    })
  }

  const jobsEnd = async () => {
    for (;;) {
      const { jobs } = (await call(running.ports.socket, 'GET', '/api/v1/delete-jobs')).json()
      if ((jobs as { endedAt: string | null }[]).every(({ endedAt }) => endedAt !== null)) return
      await new Promise(setImmediate)
    }
  }

  const ask = (line: string) => redis.ask(...line.split(' '))
  const asked = async (lines: readonly string[]) => {
    const answers: string[] = []
    for (const line of lines) answers.push((await ask(line)).trimEnd())
    return answers
  }

  /** By what makes the value: commands that change it, and what they answer. */
  const KEEPING: readonly [string, readonly string[]][] = [
    ['SET k 5', ['INCR k', 'INCRBYFLOAT k 1', 'APPEND k x', 'SETRANGE k 0 y', 'SETBIT k 1 1']],
    ['SET k 5', ['EXPIRE k 100', 'GETEX k EX 50', 'PERSIST k', 'BITFIELD k SET u8 0 7']],
    ['HSET k f 1', ['HSET k g 2', 'HDEL k f', 'HINCRBY k g 1']],
    ['SADD k a b c', ['SADD k d', 'SREM k a', 'SPOP k']],
    ['RPUSH k a b c', ['LPUSH k z', 'RPOP k', 'LSET k 0 q', 'LINSERT k BEFORE q p', 'LMOVE k k LEFT RIGHT']],
    ['ZADD k 1 a 2 b', ['ZADD k 3 c', 'ZINCRBY k 1 a', 'ZPOPMIN k']],
    ['PFADD k a', ['PFADD k b']],
    ['SET k 5', ['RENAME k {k}o', 'COPY {k}o k', 'DEL {k}o']],
  ]
  for (const [made, changes] of KEEPING) {
    it(`keeps the tags of a value through ${changes.join(', ')}`, async () => {
      await asked(['DEL k', made, 'RONDO TAG k kept', ...changes])
      expect(await asked(['EXISTS k', 'RONDO INVALIDATE kept', 'EXISTS k', 'TYPE k'])).to.deep.equal([
        ':1',
        '+OK',
        ':0',
        '+none',
      ])
    })
  }

  it('has the tags removed by what replaces the value', async () => {
    const replacing = ['SET k 6', 'SET k 6 KEEPTTL', 'SET k 6 XX', 'SETEX k 60 6', 'MSET k 6', 'GETSET k 6']
    for (const line of replacing) {
      await asked(['SET k 5', 'RONDO TAG k gone', line, 'RONDO INVALIDATE gone'])
      expect((await ask('GET k')).trimEnd(), line).to.equal('$1\r\n6')
    }
  })

  it('takes an invalidated value for none, whatever the command', async () => {
    const answers: readonly [string, string][] = [
      ['GET k', '$-1'],
      ['MGET k k', '*2\r\n$-1\r\n$-1'],
      ['STRLEN k', ':0'],
      ['GETRANGE k 0 -1', '$0'],
      ['TTL k', ':-2'],
      ['DUMP k', '$-1'],
      ['EXISTS k k', ':0'],
      ['DEL k', ':0'],
      ['GETDEL k', '$-1'],
      ['RENAME k {k}o', '-ERR no such key'],
      ['COPY k {k}o', ':0'],
      ['EXPIRE k 10', ':0'],
      ['SET k 1 XX', '$-1'],
      ['RONDO TAG k', '*-1'],
      ['RONDO TAG k again', ':0'],
      ['INCR k', ':1'],
      ['APPEND k x', ':1'],
      ['SET k 1 NX', '+OK'],
      ['SET k 1 GET', '$-1'],
      ['LPUSH k x', ':1'],
      ['RESTORE k 0 x', '-ERR DUMP payload version or checksum are wrong'],
    ]
    for (const [line, answer] of answers) {
      await asked(['SET k 5 EX 100', 'RONDO TAG k tag', 'RONDO INVALIDATE tag'])
      const found = (await ask(line)).trimEnd()
      expect(answer === '*-1' ? found.replace('$-1', '*-1') : found, line).to.equal(answer)
    }
  })

  it('aborts a transaction over a watched value that was invalidated', async () => {
    await asked(['SET k 5', 'RONDO TAG k tag', 'WATCH k', 'RONDO INVALIDATE tag', 'MULTI', 'GET k'])
    expect((await ask('EXEC')).trimEnd()).to.equal('*-1')
    expect(
      (await asked(['SET k 5', 'RONDO TAG k tag', 'RONDO INVALIDATE tag', 'MULTI', 'INCR k', 'EXEC'])).at(-1),
    ).to.equal('*1\r\n:1')
  })

  it('gives the memory of an invalidated value back when it is read', async () => {
    await asked(['SET big:k 5', 'RONDO TAG big:k tag', 'RONDO INVALIDATE tag'])
    expect((await ask('KEYS big:*')).trimEnd()).to.equal('*1\r\n$5\r\nbig:k')
    await ask('GET big:k')
    for (let i = 0; i < 100 && (await ask('KEYS big:*')) !== '*0\r\n'; i++) await new Promise(setImmediate)
    expect(await ask('KEYS big:*')).to.equal('*0\r\n')
  })

  it('shows no tags and no leases where keys are counted or named', async () => {
    await asked(['SET k 5', 'RONDO TAG k tag', 'RONDO FILL nothing 0.01'])
    expect(await ask('INFO keyspace')).not.to.include('db9999')
    const names = await ask('KEYS *')
    const hot = await ask('RONDO HOTKEYS')
    for (const text of [names, hot]) expect(text).not.to.match(/__rondo|\b0:tag\b|delete-jobs/)
    expect(hot).to.include('\r\nk\r\n')
  })

  it('explains which tags a value has, and how long it is without them', async () => {
    await asked(['SET k 12345', 'RONDO TAG k one two'])
    const { tags, replicas } = (await call(running.ports.socket, 'GET', '/api/v1/keys/k/explain')).json()
    expect(tags).to.deep.equal(['one', 'two'])
    const held = (replicas as { holds: { kind: string; valueBytes: number } }[]).map(({ holds }) => holds)
    for (const one of held) expect(one).to.include({ kind: 'value', valueBytes: 5 })
    await ask('RONDO INVALIDATE two')
    expect((await call(running.ports.socket, 'GET', '/api/v1/keys/k/explain')).json()).not.to.have.property(
      'tags',
    )
  })

  it('copies tags into other databases, and invalidates in one database only', async () => {
    await asked(['SET k 5', 'RONDO TAG k tag', 'COPY k k DB 1 REPLACE', 'SELECT 1', 'RONDO INVALIDATE tag'])
    expect(
      await asked(['GET k', 'SELECT 0', 'RONDO INVALIDATE tag', 'SELECT 1', 'GET k', 'SELECT 0']),
    ).to.deep.equal(['$1\r\n5', ...['+OK', '+OK', '+OK'], '$-1', '+OK'])
  })

  it('refuses too many tags, empty and long ones, and tags in a transaction', async () => {
    const many = Array.from({ length: 17 }, (_, i) => `t${i}`)
    await ask('SET k 5')
    expect(await redis.ask('RONDO', 'TAG', 'k', ...many)).to.match(
      /^-ERR .*16 tags at most, not 17 \(MAX_TAGS_PER_KEY\)/,
    )
    await redis.ask('RONDO', 'TAG', 'k', ...many.slice(1))
    expect(await redis.ask('RONDO', 'TAG', 'k', 'more')).to.match(/^-ERR .*16 tags at most, not 17/)
    expect(await redis.ask('RONDO', 'TAG', 'k', 't5')).to.equal(':1\r\n')
    expect(await redis.ask('RONDO', 'TAG', 'k', '')).to.match(/^-ERR A tag has 1 to 128 bytes/)
    expect(await redis.ask('RONDO', 'INVALIDATE', 'x'.repeat(129))).to.match(/^-ERR A tag has 1 to 128 bytes/)
    expect(await asked(['MULTI', 'RONDO TAG k a', 'RONDO INVALIDATE a', 'EXEC'])).to.deep.equal([
      ...['+OK', '+QUEUED', '+QUEUED'],
      '*2\r\n-ERR RONDO TAG is not allowed in transactions\r\n-ERR RONDO INVALIDATE is not allowed in transactions',
    ])
    const put = (query: string) => call(running.ports.socket, 'PUT', `/api/v1/keys/k?${query}`, { body: 'x' })
    for (const query of ['tags=', 'tags=a,', `tags=${many.join(',')}`, `tags=${'x'.repeat(129)}`]) {
      expect((await put(query)).status, query).to.equal(400)
    }
    expect((await call(running.ports.socket, 'POST', '/api/v1/tags//invalidate')).status).to.equal(404)
    expect(
      (await call(running.ports.socket, 'POST', `/api/v1/tags/${'x'.repeat(129)}/invalidate`)).status,
    ).to.equal(400)
  })

  it('takes conditions and JSON with tags', async () => {
    const { socket } = running.ports
    const put = (headers: Record<string, string>, body: string) =>
      call(socket, 'PUT', '/api/v1/keys/json?tags=j%2Fson', { headers, body })
    const json = { 'Content-Type': 'application/json' }
    expect((await put(json, '{"value":"one","ttl":60}')).status).to.equal(200)
    expect((await put({ ...json, 'If-None-Match': '*' }, '{"value":"two"}')).status).to.equal(412)
    expect((await call(socket, 'POST', '/api/v1/tags/j%2Fson/invalidate')).status).to.equal(200)
    expect((await put({ ...json, 'If-Match': '*' }, '{"value":"two"}')).status).to.equal(412)
    expect((await put({ ...json, 'If-None-Match': '*' }, '{"value":"two"}')).status).to.equal(200)
    expect(await ask('RONDO TAG json')).to.equal('*1\r\n$5\r\nj/son\r\n')
  })
})
