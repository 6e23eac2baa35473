// Snapshots by the whole program: killed in the middle, on a full disk, with workers.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { startRedisCluster, type RedisServer } from '../../scripts/redis-server.ts'
import { Program } from '../support/program.ts'
import { ended, listed, post } from '../support/snapshots.ts'

const KEYS = 700
const VALUE_BYTES = 500
const MOST_FILE_BYTES = 256 * 1024

describe('the program and its snapshots', function () {
  this.timeout(40_000)
  let folder: string
  let servers: RedisServer[]
  const programs: Program[] = []

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rondo-snapshots-'))
    servers = await startRedisCluster(2)
    const port = await start()
    const items = Array.from({ length: KEYS }, (_, i) => ({
      key: `k${i}`,
      value: randomBytes(VALUE_BYTES).toString('base64'),
    }))
    expect((await post(port, '/api/v1/mset', { items })).status).to.equal(200)
  })
  afterEach(async () => {
    for (const program of programs.splice(0)) await program.stop()
  })
  after(async () => {
    await Promise.all(servers.map((server) => server.stop()))
    rmSync(folder, { recursive: true })
  })
  async function start(
    env: Record<string, string> = {},
    options: { mostFileBytes?: number } = {},
  ): Promise<number> {
    const REDIS_URLS = servers.map(({ url }) => url).join()
    const program = new Program(
      { REDIS_URLS, REPLICATION_FACTOR: '2', SNAPSHOT_DIR: folder, ...env },
      options,
    )
    programs.push(program)
    return program.listening()
  }

  it('says that the disk is full, leaves no file, and goes on', async () => {
    const port = await start({}, { mostFileBytes: MOST_FILE_BYTES })
    const job = await ended(port, await post(port, '/snapshots', { name: 'large' }))
    expect(job).to.include({ state: 'failed' })
    expect(job.error).to.match(/EFBIG/)
    expect(readdirSync(folder)).to.deep.equal([])
    const again = await ended(port, await post(port, '/snapshots', { name: 'large' }))
    expect(again).to.include({ state: 'failed' })
    expect((await listed(port)).snapshots).to.deep.equal([])
  })

  it('is taken by one of several workers, and shown by each', async () => {
    const port = await start({ WORKERS: '2' })
    const begun = await post(port, '/snapshots', { name: 'whole' })
    const others = await Promise.all(
      Array.from({ length: 8 }, () => post(port, '/snapshots', { name: 'whole' })),
    )
    expect(new Set(others.map(({ status }) => status))).to.deep.equal(new Set([409]))
    for (let i = 0; i < 8; i++) expect((await listed(port)).job).to.include({ name: 'whole' })
    expect(await ended(port, begun)).to.include({ state: 'finished', keys: KEYS })
    expect(statSync(join(folder, 'whole.ndjson.gz')).mode & 0o777).to.equal(0o600)
    const restored = await ended(port, await post(port, '/snapshots/whole/restore'))
    expect(restored).to.include({ state: 'finished', kept: KEYS, restored: 0 })
  })

  it('leaves no half snapshot under a name when it is killed, and cleans up at its next start', async () => {
    const port = await start()
    expect((await post(port, '/snapshots', { name: 'half' })).status).to.equal(202)
    const parts = () => readdirSync(folder).filter((file) => file.endsWith('.part'))
    while (!parts().some((part) => statSync(join(folder, part)).size > 0)) await delay(2)
    await programs[0]!.stop()
    expect(parts()).to.have.length(1)
    expect(readdirSync(folder).filter((file) => !file.startsWith('.'))).to.deep.equal(['whole.ndjson.gz'])
    const next = await start()
    while (parts().length > 0) await delay(5)
    expect((await listed(next)).snapshots.map(({ name, state }) => `${name} ${state}`)).to.deep.equal([
      'whole complete',
    ])
  })
})
