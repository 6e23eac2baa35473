// docs/MEMORY-NODES.md: its commands, run in order against the program, answer as the page says.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { RawResp } from '../support/raw-resp.ts'
import { Program } from '../support/program.ts'

const page = readFileSync(new URL('../../docs/MEMORY-NODES.md', import.meta.url), 'utf8')
const shown = [...page.matchAll(/^```console\n([^]*?)^```$/gm)].flatMap(([, block]) =>
  block!
    .split(/^\$ /m)
    .slice(1)
    .map((part) => ({
      command: part.slice(0, part.indexOf('\n')),
      printed: part.slice(part.indexOf('\n') + 1).trimEnd(),
    })),
)
const FOLDER = '/var/lib/rondo'

/** Versions, sizes and what is left of a TTL differ each time. */
const alike = (text: string) =>
  text
    .replace(/"version":"[0-9a-f]{24}"/, '"version":"…"')
    .replaceAll(/"bytes":\d+/g, '"bytes":"…"')
    .replace(/"ttl":3[56]\d\d\b/, '"ttl":"…"')
    .trimEnd()

describe('docs/MEMORY-NODES.md', function () {
  this.timeout(60_000)
  const folder = mkdtempSync(join(tmpdir(), 'rondo-page-'))
  let program: Program
  let places: Record<'http' | 'resp', string>

  async function start(): Promise<void> {
    program = new Program({ DATA_DIR: join(folder, 'data'), PING_INTERVAL_SECONDS: '1', COMPAT_APIS: 'lru' })
    const http = String(await program.listening())
    places = { http, resp: /Redis client on \S+:(\d+)/.exec(program.stdout)![1]! }
  }

  /** What redis-cli prints at a terminal. */
  async function redisCli(args: string): Promise<string> {
    const client = await RawResp.open(Number(places.resp))
    client.send(`${args}\r\n`)
    const [reply] = await client.replies(1)
    client.socket.destroy()
    const [first, text] = reply!.split('\r\n')
    return first!.startsWith('$') ? `"${text}"` : first!.replace(/^:/, '(integer) ').replace(/^\+/, '')
  }

  before(start)
  after(async () => {
    await program.stop()
    rmSync(folder, { recursive: true })
  })

  for (const { command, printed } of shown) {
    it(command, async () => {
      if (command === 'kill -9 "$RONDO" && npm start') {
        program.signal('SIGKILL')
        await program.ended
        await start()
        return
      }
      const [, args] = /^redis-cli -p 6390 (.+)$/.exec(command) ?? []
      if (args !== undefined) {
        expect(await redisCli(args)).to.equal(printed)
        return
      }
      const here = command
        .replaceAll('localhost:8080', `localhost:${places.http}`)
        .replace(/^curl /, 'curl -sS --noproxy "*" ')
      const env = { PATH: process.env.PATH, DATA_DIR: join(folder, 'data') }
      const { stdout } = await promisify(execFile)('sh', ['-c', here], { env })
      expect(alike(stdout.replaceAll(join(folder, 'data'), FOLDER))).to.equal(alike(printed))
    })
  }

  it('names every setting of memory nodes', () => {
    for (const name of ['MEMORY_NODE_MAX_ENTRIES', 'DATA_DIR', 'DATA_FSYNC', 'DATA_SNAPSHOT_SECONDS'])
      expect(page).to.include(name)
  })

  it('has metrics with the names that it says', async () => {
    const names = [...page.matchAll(/`(rondo_node_\w+)`/g)].map(([, name]) => name!)
    expect(names).to.have.lengthOf(6)
    const missing = async () => {
      const text = await (await fetch(`http://localhost:${places.http}/metrics`)).text()
      return names.filter((name) => !new RegExp(`^${name}\\{node="memory-1"\\} \\d`, 'm').test(text))
    }
    // They are of the last ping.
    await program.until(async () => ((await missing()).length === 0 ? true : undefined))
  })

  it('has nodes that compare their data after kill -9, say so, and are clean by themselves', async () => {
    for (let node = 1; node <= 4; node++) {
      await program.logged(`node memory-${node} is filling`)
      await program.logged(`node memory-${node} is clean`)
    }
    const said = 'was rebuilt from incomplete replicas: acknowledged writes may be lost'
    expect(page).to.include(said)
    expect(program.stderr).to.include(said)
    expect(await redisCli('HGET user:1 name')).to.equal('"Ada"')
  })

  it('answers POST /save and /load as DIALECTS.md says', async () => {
    const call = (path: string) => fetch(`http://localhost:${places.http}${path}`, { method: 'POST' })
    expect(await (await call('/save')).text()).to.equal('OK\n')
    const load = await call('/load')
    expect(load.status).to.equal(409)
    expect(await load.json())
      .to.have.property('error')
      .that.matches(/^There is no SNAPSHOT_DIR, .*What is in DATA_DIR is loaded at the start/)
  })
})
