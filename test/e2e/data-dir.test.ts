/** The program with DATA_DIR, killed at a random moment under load: everything that was acknowledged is there afterwards. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { Program } from '../support/program.ts'
import { RawResp } from '../support/raw-resp.ts'
import { seeded, seeds } from '../support/random.ts'

const WRITERS = 6

describe('the program with DATA_DIR', function () {
  this.timeout(60_000)
  let folder: string
  const programs: Program[] = []

  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'rondo-data-'))))
  afterEach(async () => {
    for (const program of programs.splice(0)) await program.stop()
    rmSync(folder, { recursive: true })
  })

  async function start(
    env: Record<string, string> = {},
    options: { mostFileBytes?: number } = {},
  ): Promise<{ program: Program; http: string; resp: number }> {
    const always = { DATA_DIR: folder, DATA_FSYNC: 'always', PING_INTERVAL_SECONDS: '1' }
    const program = new Program({ ...always, ...env }, options)
    programs.push(program)
    const http = `http://127.0.0.1:${await program.listening()}`
    const resp = Number(/Redis client on \S+:(\d+)/.exec(program.stdout)![1])
    return { program, http, resp }
  }

  async function command(resp: number, text: string): Promise<string> {
    const client = await RawResp.open(resp)
    client.send(`${text}\r\n`)
    const [reply] = await client.replies(1)
    client.socket.destroy()
    return reply!
  }

  /** Writes until the server is gone. @param acknowledged is told of every acknowledged write */
  async function writeOverHttp(http: string, name: string, acknowledged: (n: number) => void): Promise<void> {
    for (let n = 0; ; n++) {
      const response = await fetch(`${http}/api/v1/keys/${name}-${n}`, { method: 'PUT', body: `value ${n}` })
      if (response.status === 200) acknowledged(n)
      await response.arrayBuffer()
    }
  }

  async function pushOverResp(resp: number, name: string, acknowledged: (n: number) => void): Promise<void> {
    const client = await RawResp.open(resp)
    try {
      for (let n = 0; ; n++) {
        client.send(`RPUSH ${name} ${n}\r\n`)
        const [reply] = await client.replies(1)
        if (reply!.startsWith(':')) acknowledged(n)
      }
    } finally {
      client.socket.destroy()
    }
  }

  /** In the middle of its log. */
  function flipBit(path: string): void {
    const log = join(
      path,
      readdirSync(path).find((name) => name.startsWith('log-'))!,
    )
    const bytes = readFileSync(log)
    bytes[bytes.length >> 1]! ^= 4
    writeFileSync(log, bytes)
  }

  async function checkKeys(http: string, name: string, from: number, to: number): Promise<void> {
    const keys = Array.from({ length: to - from + 1 }, (_, i) => `${name}-${from + i}`)
    const response = await fetch(`${http}/api/v1/mget?consistency=quorum`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ keys }),
    })
    const { results } = (await response.json()) as { results: { key: string; value?: string }[] }
    expect(results.map(({ value }) => value)).to.deep.equal(keys.map((_, i) => `value ${from + i}`))
  }

  it('has every acknowledged write after kill -9 at a random moment, and its nodes are clean at once; a damaged one is filled', async () => {
    const random = seeded(seeds(1)[0]!)
    const { program, http, resp } = await start()
    const last = new Map<string, number>()
    const writers = Array.from({ length: WRITERS }, (_, i) => {
      const name = `${i % 2 === 0 ? 'key' : 'list'}-${i}`
      const acknowledged = (n: number) => void last.set(name, n)
      return i % 2 === 0 ? writeOverHttp(http, name, acknowledged) : pushOverResp(resp, name, acknowledged)
    })
    const ended = Promise.allSettled(writers)
    await program.until(() => (last.size === WRITERS ? true : undefined))
    await delay(100 + random.below(600))
    program.signal('SIGKILL')
    await ended
    const isThere = async (at: { http: string; resp: number }) => {
      for (const [name, n] of last) {
        if (name.startsWith('key')) {
          for (let from = 0; from <= n; from += 100)
            await checkKeys(at.http, name, from, Math.min(n, from + 99))
        } else {
          const length = Number((await command(at.resp, `LLEN ${name}`)).slice(1))
          expect(length, name).to.be.within(n + 1, n + 2)
        }
      }
    }
    const again = await start()
    await isThere(again)
    const found = again.program.log
      .filter(({ msg }) => /clean|filling/.test(String(msg)))
      .map(({ msg }) => msg)
    expect(found).to.have.length.at.least(4)
    expect(found.join()).to.not.include('filling')
    again.program.signal('SIGTERM')
    expect(await again.program.ended).to.include({ code: 0 })
    flipBit(join(folder, 'memory-2'))
    const damaged = await start()
    await damaged.program.logged('node memory-2 is filling')
    await damaged.program.logged('node memory-2 is clean')
    await isThere(damaged)
    const lines = damaged.program.log.map(({ msg }) => msg).join('\n')
    expect(lines).to.match(/node memory-2: \S+memory-2\/log-\d+ is damaged at byte \d+/)
    expect(lines).to.not.match(/rebuilt from incomplete|memory-[134] is filling/)
  })

  it('refuses writes on a full disk, is read as before, and has everything acknowledged when there is room', async () => {
    const full = await start({}, { mostFileBytes: 100_000 })
    const value = 'x'.repeat(9000)
    const kept: number[] = []
    let refused = 0
    for (let n = 0; n < 40 || refused === 0; n++) {
      const reply = await command(full.resp, `SET key-${n} ${value}`)
      if (reply.startsWith('+OK')) kept.push(n)
      else {
        refused++
        expect(reply).to.match(/^-NOREPLICAS .*(EFBIG|No node accepts writes)/)
      }
    }
    expect(kept).to.have.length.above(3)
    const has = async (resp: number) => {
      for (const n of kept) expect(await command(resp, `GET key-${n}`)).to.equal(`$9000\r\n${value}\r\n`)
    }
    await has(full.resp)
    expect(full.program.log.map(({ msg }) => msg).join()).to.match(
      /cannot write to \S+ and takes no writes: EFBIG.* It can be read\. Make room/,
    )
    full.program.signal('SIGKILL')
    await full.program.ended
    const again = await start()
    await has(again.resp)
    expect(await command(again.resp, 'SET key v')).to.match(/^\+OK/)
    expect(again.program.stderr).to.not.include('filling')
  })

  it('comes back by itself with the default, everysec: clean after an orderly stop, filled after kill -9; a second process is refused', async () => {
    let { program, resp } = await start({ DATA_FSYNC: 'everysec' })
    const second = new Program({ DATA_DIR: folder })
    programs.push(second)
    expect(await second.ended).to.include({ code: 1 })
    expect(second.stderr).to.match(
      new RegExp(`Rondo cannot start: DATA_DIR \\S+ is in use by process ${program.pid} on `),
    )
    expect(await command(resp, 'HSET h a 1')).to.match(/^:1/)
    program.signal('SIGTERM')
    await program.ended
    ;({ program, resp } = await start({ DATA_FSYNC: 'everysec' }))
    expect(await command(resp, 'HGET h a')).to.equal('$1\r\n1\r\n')
    expect(program.stderr).to.not.include('filling')
    expect(await command(resp, 'SET k v')).to.match(/^\+OK/)
    program.signal('SIGKILL')
    await program.ended
    ;({ program, resp } = await start({ DATA_FSYNC: 'everysec' }))
    expect(await command(resp, 'GET k')).to.equal('$1\r\nv\r\n')
    for (let node = 1; node <= 4; node++) await program.logged(`node memory-${node} is clean`)
    expect(await command(resp, 'GET k')).to.equal('$1\r\nv\r\n')
    expect(readdirSync(folder).sort()).to.deep.equal(['lock', 'memory-1', 'memory-2', 'memory-3', 'memory-4'])
  })
})
