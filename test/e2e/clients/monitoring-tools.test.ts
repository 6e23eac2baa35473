/** Programs that watch a Redis: redis-cli's own modes, redis-py's parser of INFO, redis_exporter, and HAProxy's checks. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { expect } from 'chai'
import type { Context } from 'mocha'
import { RawResp } from '../../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'
import { findTool, PYTHON, run, whyNoPython } from './four-nodes.ts'

const LIMIT_MS = 15_000

describe('programs that watch a Redis', function () {
  this.timeout(40_000)
  let running: RunningRondo
  let port: string
  const started: ChildProcess[] = []

  before(async () => {
    running = await startRondo()
    port = String(running.rondo.respServer.port)
    const client = await RawResp.open(Number(port))
    await client.ask('MSET', 'small', '1', 'large', 'x'.repeat(5000), 'middle', 'y'.repeat(50))
    await client.ask('MGET', 'small', 'none')
    client.close()
  })
  after(async () => {
    await Promise.all(started.map((child) => (child.kill('SIGKILL'), once(child, 'close'))))
    await running.stop()
  })

  const cli = async (...args: string[]) => {
    const { stdout, stderr } = await run((await findTool('redis-cli'))!, ['-p', port, ...args])
    return stderr + stdout
  }

  it('redis-cli --bigkeys and --memkeys find the largest key', async function () {
    if (!(await findTool('redis-cli'))) return skip(this, 'there is no redis-cli')
    expect(await cli('--bigkeys')).to.match(/Biggest string found .*large.* has 5000 bytes/)
    expect(await cli('--memkeys')).to.match(/Biggest string found .*large.* has \d{4,} bytes/)
  })

  it('redis-cli --stat and --latency run until they are stopped', async function () {
    const tool = await findTool('redis-cli')
    if (!tool) return skip(this, 'there is no redis-cli')
    const child = spawn(tool, ['-p', port, '--stat', '-i', '0.02'])
    // Written in pieces of 4096 bytes, some fifty lines.
    const [first] = (await once(child.stdout, 'data')) as [Buffer]
    child.kill('SIGKILL')
    expect(first.toString()).to.match(/keys +mem +clients +blocked +requests/)
    expect(await cli('--latency', '-i', '1', '--raw')).to.match(/^\d+ \d+ \d+\.\d+ \d+/)
  })

  it("redis-py's info() reads every section", async function () {
    const reason = await whyNoPython()
    if (reason) return skip(this, reason)
    const script = [
      'import redis, sys',
      'i = redis.Redis(port=int(sys.argv[1])).info("all")',
      'print(i["db0"]["keys"], i["keyspace_hits"] > 0, i["used_memory"] <= i["maxmemory"],',
      '      i["cmdstat_mget"]["calls"], i["used_cpu_user"] > 0, i["role"])',
    ].join('\n')
    const { stdout, stderr } = await run(PYTHON, ['-c', script, port])
    expect(stderr + stdout).to.equal('3 True True 1 True master\n')
  })

  it('redis_exporter scrapes without an error', async function () {
    const tool = await findTool('prometheus-redis-exporter')
    if (!tool) return skip(this, 'there is no prometheus-redis-exporter')
    const its = `127.0.0.1:${await freePort()}`
    const child = spawn(tool, ['-redis.addr', `redis://127.0.0.1:${port}`, '-web.listen-address', its])
    started.push(child)
    let log = ''
    child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()))
    const text = await fetched(`http://${its}/metrics`, (text) => text.includes('redis_up '))
    for (const line of [
      'redis_up 1',
      'redis_exporter_last_scrape_error{err=""} 0',
      'redis_db_keys{db="db0"} 3',
      'redis_db_keys_expiring{db="db0"} NaN',
      'redis_commands_total{cmd="mget"} 1',
      'redis_slowlog_length ',
    ]) {
      expect(text).to.include(`\n${line}`)
    }
    expect(log).not.to.match(/level=error|WARNING/)
  })

  it("HAProxy's checks find it well: PING, and the role", async function () {
    const tool = (await findTool('haproxy')) ?? (await findTool('../sbin/haproxy'))
    if (!tool) return skip(this, 'there is no haproxy')
    const folder = await mkdtemp(join(tmpdir(), 'rondo-haproxy-'))
    const stats = await freePort()
    await writeFile(join(folder, 'haproxy.cfg'), haproxyConfig(port, stats))
    started.push(spawn(tool, ['-db', '-f', join(folder, 'haproxy.cfg')], { stdio: 'ignore' }))
    const csv = await fetched(`http://127.0.0.1:${stats}/;csv`, (text) => text.split(',L7OK,').length === 3)
    expect(csv)
      .to.match(/^ping,rondo,.*,L7OK,/m)
      .and.match(/^role,rondo,.*,L7OK,/m)
    await rm(folder, { recursive: true })
  })
})

function skip(context: Context, reason: string): void {
  context.test!.title += ` (skipped: ${reason})`
  context.skip()
}

const haproxyConfig = (port: string, stats: number) => `defaults
  mode tcp
  timeout connect 2s
  timeout client 5s
  timeout server 5s
backend ping
  option redis-check
  server rondo 127.0.0.1:${port} check inter 200ms
backend role
  option tcp-check
  tcp-check connect
  tcp-check send PING\\r\\n
  tcp-check expect string +PONG
  tcp-check send info\\ replication\\r\\n
  tcp-check expect string role:master
  tcp-check send QUIT\\r\\n
  tcp-check expect string +OK
  server rondo 127.0.0.1:${port} check inter 200ms
listen stats
  mode http
  bind 127.0.0.1:${stats}
  stats enable
  stats uri /
`

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

/** Asks again until the text is as expected; then, or at the end, returns it. */
async function fetched(url: string, isExpected: (text: string) => boolean): Promise<string> {
  const endMs = Date.now() + LIMIT_MS
  for (;;) {
    const text = await fetch(url).then(
      (response) => response.text(),
      () => '',
    )
    if (isExpected(text) || Date.now() > endMs) return text
    await wait(50)
  }
}
