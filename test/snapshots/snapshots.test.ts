// Snapshots over HTTP: names, refusals, one at a time, what is left of those that are stopped, the schedule.
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { gunzipSync, gzipSync } from 'node:zlib'
import { expect } from 'chai'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { clock, timers } from '../../src/app/rondo.ts'
import type { KeyStore, ListRequest } from '../../src/coordinator/api.ts'
import { scheduledAtMs } from '../../src/snapshots/names.ts'
import { SnapshotFolder } from '../../src/snapshots/folder.ts'
import { Snapshots } from '../../src/snapshots/snapshots.ts'
import { call, type RawAnswer, rawRequest } from '../support/raw-http.ts'
import { RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'
import { ended, listed, post, restore, take } from '../support/snapshots.ts'

const KEYS = 1200
const folderOf = (root: string) => join(root, 'made')

async function fill({ ports }: RunningRondo, count = KEYS): Promise<void> {
  for (let i = 0; i < count; i += 1000) {
    const items = Array.from({ length: Math.min(1000, count - i) }, (_, j) => ({
      key: `k${i + j}`,
      value: 'v',
    }))
    expect((await post(ports.socket, '/api/v1/mset', { items })).status).to.equal(200)
  }
}

describe('snapshots', function () {
  this.timeout(20_000)
  let root: string
  let running: RunningRondo
  let port: number

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'rondo-snapshots-'))
    const nodes = { MEMORY_NODES: '3', REPLICATION_FACTOR: '2' }
    running = await startRondo({ SNAPSHOT_DIR: folderOf(root), ...nodes, COMPAT_APIS: 'lru' })
    port = running.ports.socket
  })
  afterEach(async () => {
    await running.stop()
    rmSync(root, { recursive: true })
  })
  const files = () => readdirSync(folderOf(root))
  const codeOf = async (method: string, path: string, body?: string) => {
    const sent = body === undefined ? {} : { body, headers: { 'Content-Type': 'application/json' } }
    const answer = await call(port, method, path, sent)
    return `${answer.status} ${String(answer.json().code)}`
  }

  it('tells of a snapshot what is in it, restores it, and deletes it', async () => {
    await fill(running, 100)
    expect(await take(running, 'one')).to.deep.include({
      name: 'one',
      kind: 'snapshot',
      state: 'finished',
      keys: 100,
    })
    const [shown, ...others] = (await listed(port)).snapshots
    expect(others).to.deep.equal([])
    expect(shown).to.include({ name: 'one', state: 'complete', keys: 100, replicas: 2 })
    await post(port, '/api/v1/mdelete', { keys: ['k1', 'k2'] })
    expect(await restore(running, 'one')).to.include({
      kind: 'restore',
      restored: 2,
      kept: 98,
      expired: 0,
      failed: 0,
    })
    expect((await call(port, 'DELETE', '/snapshots/one')).json()).to.deep.equal({ deleted: 'one' })
    expect(files()).to.deep.equal([])
    expect(await ended(port, await call(port, 'POST', '/snapshots'))).to.include({ state: 'finished' })
    expect(files()[0]).to.match(/^snapshot-\d{8}T\d{6}Z\.ndjson\.gz$/)
  })

  it('restores tags with their values, so that the next invalidation deletes these too', async () => {
    const page = await call(port, 'PUT', '/api/v1/keys/page?tags=news,%C3%A9', { body: 'old' })
    const other = await call(port, 'PUT', '/api/v1/keys/other?tags=home', { body: 'later' })
    expect([page.status, other.status]).to.deep.equal([200, 200])
    await take(running, 'tagged')
    const flushed = (await post(port, '/api/v1/command', { command: ['FLUSHALL'] })).json()
    expect(flushed).to.deep.equal({ result: 'OK' })
    // Tags are no values: they are not counted.
    expect(await restore(running, 'tagged')).to.include({ keys: 2, restored: 2, failed: 0 })
    const explained = (await call(port, 'GET', '/api/v1/keys/page/explain')).json()
    expect(explained.tags).to.deep.equal(['news', 'é'])
    const value = async (key: string) => (await call(port, 'GET', `/api/v1/keys/${key}`)).json().value
    expect(await value('page')).to.equal('old')
    expect((await post(port, '/api/v1/tags/news/invalidate')).status).to.equal(200)
    expect([await value('page'), await value('other')]).to.deep.equal([undefined, 'later'])
  })

  it('says what to set where there is no folder', async () => {
    const without = await startRondo({ COMPAT_APIS: 'lru' })
    const at = without.ports.socket
    for (const [method, path] of [
      ['POST', '/save'],
      ['POST', '/load'],
      ['GET', '/snapshots'],
      ['POST', '/snapshots'],
      ['POST', '/snapshots/cancel'],
      ['POST', '/snapshots/x/restore'],
      ['DELETE', '/snapshots/x'],
    ] as const) {
      const answer = await call(at, method, path)
      expect(answer.status, path).to.equal(409)
      expect(answer.json().error).to.match(/SNAPSHOT_DIR, so.*set it to|set SNAPSHOT_DIR/)
    }
    await without.stop()
  })

  it('takes only names that stay in the folder', async () => {
    const secret = join(root, 'secret.ndjson.gz')
    writeFileSync(secret, 'not yours')
    const long = 'x'.repeat(65)
    const names = [
      '../secret',
      '..',
      '.',
      '',
      '/etc/passwd',
      'a/b',
      'a\\b',
      'a\0b',
      'a b',
      'ü',
      'a.b',
      'a\n',
      long,
      '-'.repeat(65),
      'cancel',
    ]
    for (const name of names) {
      expect(await codeOf('POST', '/snapshots', JSON.stringify({ name })), name).to.equal('400 BAD_REQUEST')
      const segment = encodeURIComponent(name).replaceAll('.', '%2e')
      if (segment === '') continue
      for (const [method, behind] of [
        ['DELETE', ''],
        ['POST', '/restore'],
      ] as const) {
        const raw = `${method} /snapshots/${segment}${behind} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`
        const refused = name === 'cancel' && method === 'DELETE' ? 405 : 400
        expect((await rawRequest(port, raw)).status, `${method} ${name}`).to.equal(refused)
      }
    }
    for (const path of [
      '/snapshots/../secret',
      '/snapshots/..',
      '/snapshots/a/b',
      '/snapshots/',
      '/snapshots//restore',
    ]) {
      const raw = `DELETE ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`
      expect((await rawRequest(port, raw)).status, path).to.be.within(400, 405)
    }
    for (const body of [
      '[]',
      '{"name":5}',
      '{"name":null}',
      '{"other":1}',
      '{',
      '{"name":"auto-20260101T000000Z"}',
      '{"name":"auto-x"}',
    ])
      expect(await codeOf('POST', '/snapshots', body), body).to.equal('400 BAD_REQUEST')
    expect(readFileSync(secret, 'utf8')).to.equal('not yours')
    for (const name of ['x', '_', '-', 'A-1_b', '__proto__', 'x'.repeat(64)])
      expect(await take(running, name)).to.include({ state: 'finished' })
  })

  it('refuses a name that is taken, and one that is not there; follows no link', async () => {
    await take(running, 'one')
    expect(await codeOf('POST', '/snapshots', '{"name":"one"}')).to.equal('409 CONFLICT')
    expect(await codeOf('POST', '/snapshots/two/restore')).to.equal('404 SNAPSHOT_NOT_FOUND')
    expect(await codeOf('DELETE', '/snapshots/two')).to.equal('404 SNAPSHOT_NOT_FOUND')
    symlinkSync(join(folderOf(root), 'one.ndjson.gz'), join(folderOf(root), 'link.ndjson.gz'))
    expect(await codeOf('POST', '/snapshots/link/restore')).to.equal('422 SNAPSHOT_DAMAGED')
    expect(await codeOf('POST', '/snapshots', '{"name":"link"}')).to.equal('409 CONFLICT')
    mkdirSync(join(folderOf(root), 'dir.ndjson.gz'))
    const states = (await listed(port)).snapshots.map(({ name, state }) => `${name} ${state}`)
    expect(states).to.deep.equal(['dir damaged', 'link damaged', 'one complete'])
  })

  describe('what is named like a snapshot, and is none', () => {
    const pathOf = (name: string) => join(folderOf(root), `${name}.ndjson.gz`)
    let sockets: Server[] = []
    afterEach(async () => {
      await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.close(resolve))))
      sockets = []
    })
    const make: Record<string, (path: string) => unknown> = {
      folder: mkdirSync,
      fifo: (path) => execFileSync('mkfifo', [path]),
      socket: (path) =>
        new Promise<void>((resolve) => sockets.push(createServer().listen(path, () => resolve()))),
      link: (path) => symlinkSync('/etc/passwd', path),
      loose: (path) => symlinkSync('nowhere', path),
      device: (path) => symlinkSync('/dev/zero', path),
      empty: (path) => writeFileSync(path, ''),
    }
    const why = (name: string) =>
      ['link', 'loose', 'device'].includes(name)
        ? 'it is a link.'
        : name === 'empty'
          ? 'it has no end: it was cut, or is not a snapshot.'
          : 'it is not a file.'

    for (const [name, create] of Object.entries(make)) {
      it(`${name}: every call says what it is, and none blames the folder`, async () => {
        await take(running, 'one')
        await create(pathOf(name))
        const { snapshots } = await listed(port)
        expect(snapshots.find((one) => one.name === name)).to.include({ state: 'damaged', error: why(name) })
        expect(snapshots.find((one) => one.name === 'one')).to.include({ state: 'complete' })
        const restored = await call(port, 'POST', `/snapshots/${name}/restore`)
        expect(restored.status).to.equal(422)
        expect(restored.json()).to.include({
          code: 'SNAPSHOT_DAMAGED',
          error: `Snapshot ${name} cannot be restored: ${why(name)}`,
        })
        expect(await codeOf('POST', '/snapshots', `{"name":"${name}"}`)).to.equal('409 CONFLICT')
        const removed = await call(port, 'DELETE', `/snapshots/${name}`)
        const still = existsSync(pathOf(name)) || name === 'folder'
        expect(still).to.equal(name === 'folder')
        if (name !== 'folder') expect(removed.status).to.equal(200)
        else {
          expect(removed.status).to.equal(422)
          expect(removed.json().error).to.equal('Snapshot folder cannot be deleted: it is a folder.')
        }
        expect(existsSync('/etc/passwd')).to.equal(true)
      })
    }

    it('a file that this user may not read: the calls name it, and the folder goes on being used', async () => {
      const path = pathOf('locked')
      await take(running, 'one')
      writeFileSync(path, 'x', { mode: 0o000 })
      const folder = new SnapshotFolder(folderOf(root), { host: 'h', pid: 1 })
      for (const one of [root, folderOf(root)]) chmodSync(one, 0o777)
      const isRoot = process.getuid!() === 0
      if (isRoot) process.seteuid!(65_534)
      try {
        const names = (await folder.list()).snapshots
        const { found } = names.find(({ name }) => name === 'locked')!
        expect(found).to.deep.equal({ kind: 'damaged', why: 'permission denied' })
        const error = await folder.open('locked').catch((thrown: unknown) => thrown)
        expect(error).to.include({
          code: 'UNAVAILABLE',
          message:
            'Snapshot locked in SNAPSHOT_DIR cannot be restored: permission denied. ' +
            'Give this user the permission for locked.ndjson.gz.',
        })
      } finally {
        if (isRoot) process.seteuid!(0)
      }
    })
  })

  it('writes nothing of a snapshot that is cut or changed', async () => {
    await fill(running, 500)
    await take(running, 'one')
    const path = join(folderOf(root), 'one.ndjson.gz')
    const whole = readFileSync(path)
    await post(port, '/api/v1/mdelete', { keys: ['k1', 'k2'] })
    writeFileSync(path, whole.subarray(0, whole.length - 20))
    expect(await codeOf('POST', '/snapshots/one/restore')).to.equal('422 SNAPSHOT_DAMAGED')
    expect((await listed(port)).snapshots[0]).to.include({ state: 'damaged' })
    const flipped = Buffer.from(whole)
    flipped[flipped.length >> 1]! ^= 4
    writeFileSync(path, flipped)
    const job = await restore(running, 'one')
    expect(job).to.include({ state: 'failed', restored: 0, kept: 0 })
    expect(job.error).to.match(/^Snapshot one cannot be restored: /)
    expect((await call(port, 'GET', '/api/v1/keys/k1')).status).to.equal(404)
    // Whole as gzip: only the checksum knows.
    const text = gunzipSync(whole).toString()
    const end = text.lastIndexOf('\n', text.length - 2) + 1
    const changed = text.slice(0, end).replaceAll(',"value":"dg==",', ',"value":"ZA==",')
    writeFileSync(path, Buffer.concat([gzipSync(changed), gzipSync(text.slice(end))]))
    expect(await restore(running, 'one')).to.include({
      state: 'failed',
      restored: 0,
      kept: 0,
      error: 'Snapshot one cannot be restored: its checksum does not match.',
    })
    writeFileSync(path, whole)
    expect(await restore(running, 'one')).to.include({ state: 'finished', restored: 2, kept: 498 })
  })

  it('takes one at a time, shows how far it is, and leaves no file of one that is cancelled', async () => {
    await fill(running)
    const first = await post(port, '/snapshots', { name: 'one' })
    expect(first.json()).to.have.property('job').that.includes({ state: 'running', name: 'one' })
    const second = await post(port, '/snapshots', { name: 'two' })
    expect(second.status).to.equal(409)
    expect(second.json().error).to.match(/^Snapshot one is being taken by \S+, and one at a time may be/)
    while (((await listed(port)).job!.keys as number) === 0);
    expect(files().every((file) => file.endsWith('.part'))).to.equal(true)
    expect((await call(port, 'POST', '/snapshots/cancel')).status).to.equal(202)
    expect(await ended(port, first)).to.include({ state: 'cancelled', error: 'It was cancelled.' })
    expect(files()).to.deep.equal([])
    expect(await codeOf('POST', '/snapshots/cancel')).to.equal('409 CONFLICT')
    expect(await take(running, 'one')).to.include({ state: 'finished', keys: KEYS })
  })

  /** Empties the cache and begins to restore it; resolves when some keys are back. */
  async function restoring(): Promise<RawAnswer> {
    await fill(running)
    await take(running, 'all')
    await flushall()
    const begun = await post(port, '/snapshots/all/restore')
    while (((await listed(port)).job!.restored as number) === 0);
    expect((await listed(port)).job!.state).to.equal('running')
    return begun
  }
  const flushall = async () => {
    const client = await RawResp.open(running.rondo.respServer.port)
    expect(await client.ask('FLUSHALL')).to.equal('+OK\r\n')
    client.close()
  }
  const keysNow = async () =>
    (await call(port, 'GET', '/api/v1/keys?count=1000')).json() as { keys: string[]; cursor: string }

  it('does not bring back what is deleted while it restores', async () => {
    const begun = await restoring()
    const keys = Array.from({ length: 300 }, (_, i) => `k${4 * i}`)
    await post(port, '/api/v1/mset', { items: keys.map((key) => ({ key, value: 'mine' })) })
    await post(port, '/api/v1/mdelete', { keys })
    const job = await ended(port, begun)
    expect(job).to.include({ state: 'finished', failed: 0 })
    expect((job.restored as number) + (job.kept as number)).to.equal(KEYS)
    const { results } = (await post(port, '/api/v1/mget', { keys })).json() as {
      results: { code?: string }[]
    }
    expect(results.filter(({ code }) => code !== 'KEY_NOT_FOUND')).to.deep.equal([])
    expect((await call(port, 'GET', '/api/v1/keys/k1')).status).to.equal(200)
  })

  it('does not bring back what is flushed while it restores', async () => {
    const begun = await restoring()
    await flushall()
    const job = await ended(port, begun)
    expect(job).to.include({ state: 'finished', failed: 0 })
    expect(job.kept).to.be.greaterThan(0)
    expect(await keysNow()).to.deep.include({ keys: [], cursor: '0' })
  })

  describe('of POST /save and /load', () => {
    const said = async (path: string) => (await post(port, path)).text
    const set = (items: Record<string, string>) =>
      post(port, '/api/v1/mset', { items: Object.entries(items).map(([key, value]) => ({ key, value })) })
    const get = async (key: string) => (await call(port, 'GET', `/api/v1/keys/${key}`)).json().value

    it('bring back what is gone since the latest save, and take no write back', async () => {
      expect(await codeOf('POST', '/load')).to.equal('404 SNAPSHOT_NOT_FOUND')
      await set({ a: 'first', b: 'first', c: 'first' })
      expect(await said('/save')).to.equal('OK\n')
      await set({ a: 'second' })
      expect(await said('/save')).to.equal('OK\n')
      await set({ b: 'newer' })
      await post(port, '/api/v1/mdelete', { keys: ['a', 'c'] })
      expect(await said('/load')).to.equal('OK\n')
      expect([await get('a'), await get('b'), await get('c')]).to.deep.equal(['second', 'newer', 'first'])
    })

    it('keep one, beside all others', async () => {
      await take(running, 'mine')
      await take(running, 'lru-mine')
      for (let i = 0; i < 3; i++) expect(await said('/save')).to.equal('OK\n')
      const names = (await listed(port)).snapshots.map(({ name }) => name)
      expect(names).to.have.length(3).and.include.members(['mine', 'lru-mine'])
      const [saved] = names.filter((name) => /^lru-\d{8}T\d{9}Z$/.test(name))
      expect(await codeOf('POST', '/snapshots', JSON.stringify({ name: saved }))).to.equal('400 BAD_REQUEST')
      expect(await restore(running, saved!)).to.include({ state: 'finished' })
    })

    it('are one at a time, and end with the error of what was stopped', async () => {
      await fill(running)
      const saving = post(port, '/save')
      while ((await listed(port)).job?.state !== 'running');
      for (const path of ['/save', '/load', '/snapshots']) {
        // There is nothing to load yet.
        expect((await post(port, path)).status, path).to.equal(path === '/load' ? 404 : 409)
      }
      await post(port, '/snapshots/cancel')
      const answer = await saving
      expect([answer.status, answer.json().error]).to.deep.equal([409, 'It was cancelled.'])
      expect(files()).to.deep.equal([])
      const stopped = post(port, '/save')
      while ((await listed(port)).job?.state !== 'running');
      await running.stop()
      expect((await stopped).status).to.equal(503)
      expect(files()).to.deep.equal([])
      running = await startRondo()
    })

    it('load nothing that is damaged', async () => {
      await set({ a: 'first' })
      await said('/save')
      const [file] = files()
      const path = join(folderOf(root), file!)
      const whole = readFileSync(path)
      await set({ a: 'newer' })
      writeFileSync(path, whole.subarray(0, whole.length - 9))
      expect(await codeOf('POST', '/load')).to.equal('422 SNAPSHOT_DAMAGED')
      whole[30]! ^= 1
      writeFileSync(path, whole)
      expect(await codeOf('POST', '/load')).to.equal('422 SNAPSHOT_DAMAGED')
      expect(await get('a')).to.equal('newer')
    })
  })

  it('ends with the process, and leaves no file', async () => {
    await fill(running)
    await post(port, '/snapshots', { name: 'one' })
    while (((await listed(port)).job!.keys as number) === 0);
    await running.stop()
    expect(files()).to.deep.equal([])
    expect(running.logText()).to.contain('snapshot one was stopped: The process is stopping')
    running = await startRondo()
  })

  it('serves clients without a folder that can be used, and says why there are no snapshots', async () => {
    writeFileSync(join(root, 'file'), '')
    for (const bad of ['/proc/no/such', '/proc', join(root, 'file'), join(root, 'no', 'folder')]) {
      const other = await startRondo({ SNAPSHOT_DIR: bad })
      const at = other.ports.socket
      await fill(other, 1)
      const answer = await post(at, '/snapshots', { name: 'x' })
      // In /proc it fails when the file is made.
      if (answer.status === 202) expect(await ended(at, answer)).to.include({ state: 'failed' })
      else {
        expect(answer.status, bad).to.equal(503)
        expect(answer.json().error, bad).to.match(/^SNAPSHOT_DIR \S+ cannot be used: /)
        expect(other.logText()).to.match(/no snapshots can be taken: SNAPSHOT_DIR/)
      }
      await other.stop()
    }
  })

  it('removes at its start what was left unfinished by processes that are gone, and nothing else', async () => {
    await running.stop()
    mkdirSync(folderOf(root), { recursive: true })
    const part = (name: string, host: string, pid: number) => `.${name}.0123456789abcdef.${host}.${pid}.part`
    const here = hostname().replace(/[^\w-]/g, '-')
    const gone = [part('mine', here, process.pid), part('dead', here, 4_194_305), part('old', 'other', 1)]
    const kept = [part('alive', here, process.ppid), part('young', 'other', 1), 'notes.txt', '.x.part']
    for (const name of [...gone, ...kept]) writeFileSync(join(folderOf(root), name), '')
    utimesSync(join(folderOf(root), gone[2]!), 1, 1)
    running = await startRondo({ SNAPSHOT_DIR: folderOf(root) })
    expect(await take(running, 'one')).to.include({ state: 'finished' })
    expect(files().sort()).to.deep.equal([...kept, 'one.ndjson.gz'].sort())
    expect(running.logText()).to.contain('removed 3 unfinished snapshots')
  })
})

describe('snapshots of two coordinators with one folder', function () {
  this.timeout(30_000)
  let root: string
  let servers: RedisServer[]
  const both: RunningRondo[] = []

  before(async () => {
    root = mkdtempSync(join(tmpdir(), 'rondo-snapshots-'))
    servers = await startRedisCluster(2)
  })
  after(async () => {
    await Promise.all(servers.map((server) => server.stop()))
    rmSync(root, { recursive: true })
  })
  afterEach(async () => {
    await Promise.all(both.splice(0).map((one) => one.stop()))
  })
  const start = async (env: Record<string, string>) => {
    const REDIS_URLS = servers.map(({ url }) => url).join()
    both.push(await startRondo({ REDIS_URLS, REPLICATION_FACTOR: '2', SNAPSHOT_DIR: root, ...env }))
  }

  it('run one at a time: either shows and cancels what the other does', async () => {
    await start({})
    await start({})
    const [first, second] = both as [RunningRondo, RunningRondo]
    await fill(first)
    const begun = await post(first.ports.socket, '/snapshots', { name: 'one' })
    const refused = await post(second.ports.socket, '/snapshots', { name: 'one' })
    expect([begun.status, refused.status]).to.deep.equal([202, 409])
    expect((await listed(second.ports.socket)).job).to.include({ state: 'running', name: 'one' })
    expect(await ended(second.ports.socket, begun)).to.include({ state: 'finished', keys: KEYS })
    rmSync(join(root, 'one.ndjson.gz'))
  })

  it('stop what the other does, when they are told to', async () => {
    await start({})
    const [first] = both as [RunningRondo]
    const { coordinator } = first.rondo
    // Its listing ends only when nobody wants it any more.
    const list = async ({ isWanted }: ListRequest): Promise<never> => {
      while (isWanted!()) await delay(2)
      throw new Error('nobody wants it')
    }
    const store = Object.assign(Object.create(coordinator) as KeyStore, { list })
    const other = new Snapshots({
      ...{ store, folder: root, intervalMs: 0, keep: 1, limits: first.rondo.config, timers, clock },
      ...{ writer: { host: 'other', pid: 1 }, self: () => 'other:8080', emit: () => undefined },
    })
    other.start()
    const job = await other.take('one')
    const { socket } = first.ports
    expect((await listed(socket)).job).to.include({ by: 'other:8080', state: 'running' })
    const answer = await post(socket, '/snapshots/cancel')
    expect(answer.json().job).to.include({ id: job.id })
    expect(await ended(socket, answer)).to.include({ state: 'cancelled', error: 'It was cancelled.' })
    await other.stop()
    expect(readdirSync(root)).to.deep.equal([])
  })

  it('take those of the schedule once for both, and keep as many as they are told', async () => {
    const env = { SNAPSHOT_INTERVAL_SECONDS: '2', SNAPSHOT_KEEP: '1' }
    await start(env)
    await start(env)
    const said = (what: RegExp) =>
      both.flatMap((one) => one.logLines()).flatMap(({ msg }) => what.exec(msg)?.[1] ?? [])
    const endMs = performance.now() + 15_000
    for (; said(/^removed snapshot (\S+):/).length === 0; await delay(20))
      expect(performance.now(), 'the schedule does nothing').to.be.lessThan(endMs)
    const times = said(/^snapshot (\S+) is complete/)
      .map(scheduledAtMs)
      .sort()
    expect(times).to.have.length(2)
    expect(times[1]! - times[0]!).to.be.at.least(2000)
    const left = readdirSync(root).filter((file) => !file.startsWith('.'))
    expect(left).to.have.length(1)
    for (const { level } of both.flatMap((one) => one.logLines())) expect(level).to.be.below(50)
  })
})
