/**
 * The program with DATA_DIR: a full disk, kill -9 under load, an orderly stop, a damaged file. Everything that was
 * acknowledged is there afterwards. (kill -9 with DATA_FSYNC=everysec: memory-nodes-page.test.ts.)
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { Program } from '../support/program.ts'
import { RawResp } from '../support/raw-resp.ts'
import { seeded, seeds } from '../support/random.ts'

const WRITERS = 6
const LARGE = 'x'.repeat(9000)

describe('the program with DATA_DIR', function () {
  this.timeout(60_000)
  let folder: string
  const programs: Program[] = []

  /** What was acknowledged: numbers of large values, and the last number that each writer wrote. */
  const large: number[] = []
  const last = new Map<string, number>()

  before(() => (folder = mkdtempSync(join(tmpdir(), 'rondo-data-'))))
  afterEach(async () => {
    for (const program of programs.splice(0)) await program.stop()
  })
  after(() => rmSync(folder, { recursive: true }))

  async function start(
    env: Record<string, string> = {},
    options: { mostFileBytes?: number } = {},
  ): Promise<{ program: Program; http: string; resp: number }> {
    const always = { DATA_DIR: folder, DATA_FSYNC: 'always', PING_INTERVAL_SECONDS: '1' }
    // At `one`, the node that is damaged later may be the only one that has an acknowledged write.
    const quorum = { READ_CONSISTENCY: 'quorum', WRITE_CONSISTENCY: 'quorum' }
    const program = new Program({ ...always, ...quorum, ...env }, options)
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

  async function checkLarge(resp: number): Promise<void> {
    for (const n of large)
      expect(await command(resp, `GET large-${n}`)).to.equal(`$${LARGE.length}\r\n${LARGE}\r\n`)
  }

  async function checkWritten(http: string, resp: number): Promise<void> {
    expect(last.size).to.equal(WRITERS)
    for (const [name, n] of last) {
      if (name.startsWith('key')) {
        for (let from = 0; from <= n; from += 100) await checkKeys(http, name, from, Math.min(n, from + 99))
      } else {
        const length = Number((await command(resp, `LLEN ${name}`)).slice(1))
        expect(length, name).to.be.within(n + 1, n + 2)
      }
    }
  }

  // Each begins with what the one before it has left: a start of the program costs a second.

  it('refuses writes on a full disk, is read as before, and refuses a second process', async () => {
    const full = await start({}, { mostFileBytes: 100_000 })
    const second = new Program({ DATA_DIR: folder })
    programs.push(second)
    for (let n = 0, refused = 0; n < 40 || refused === 0; n++) {
      const reply = await command(full.resp, `SET large-${n} ${LARGE}`)
      if (reply.startsWith('+OK')) large.push(n)
      // The first node to be full may be one of two that have to confirm.
      else if (!reply.startsWith('-UNKNOWN')) {
        refused++
        expect(reply).to.match(/^-NOREPLICAS /)
      }
    }
    expect(large).to.have.length.above(3)
    await checkLarge(full.resp)
    expect(full.program.log.map(({ msg }) => msg).join()).to.match(
      /cannot write to \S+ and takes no writes: EFBIG.* It can be read\. Make room/,
    )
    expect(await second.ended).to.include({ code: 1 })
    expect(second.stderr).to.match(
      new RegExp(`Rondo cannot start: DATA_DIR \\S+ is in use by process ${full.program.pid} on `),
    )
    full.program.signal('SIGKILL')
    await full.program.ended
  })

  it('has everything acknowledged when there is room, and takes writes; it is killed under load', async () => {
    const random = seeded(seeds(1)[0]!)
    const { program, http, resp } = await start()
    await checkLarge(resp)
    const writers = Array.from({ length: WRITERS }, (_, i) => {
      const name = `${i % 2 === 0 ? 'key' : 'list'}-${i}`
      const acknowledged = (n: number) => void last.set(name, n)
      return i % 2 === 0 ? writeOverHttp(http, name, acknowledged) : pushOverResp(resp, name, acknowledged)
    })
    const ended = Promise.allSettled(writers)
    await program.until(() => (last.size === WRITERS ? true : undefined))
    await delay(50 + random.below(300))
    program.signal('SIGKILL')
    await ended
    await program.ended
    expect(program.stderr).to.not.include('filling')
  })

  it('has every acknowledged write after kill -9 at a random moment, and its nodes are clean at once', async () => {
    // From here on with the default: what counts is how the earlier run has written.
    const { program, http, resp } = await start({ DATA_FSYNC: 'everysec' })
    await checkLarge(resp)
    await checkWritten(http, resp)
    const found = program.log.filter(({ msg }) => /clean|filling/.test(String(msg))).map(({ msg }) => msg)
    expect(found).to.have.length.at.least(4)
    expect(found.join()).to.not.include('filling')
    program.signal('SIGTERM')
    expect(await program.ended).to.include({ code: 0 })
    expect(readdirSync(folder).sort()).to.deep.equal(['memory-1', 'memory-2', 'memory-3', 'memory-4'])
  })

  it('fills a damaged node; the others are clean after an orderly stop, whatever DATA_FSYNC is', async () => {
    flipBit(join(folder, 'memory-2'))
    const { program, http, resp } = await start({ DATA_FSYNC: 'everysec' })
    await program.logged('node memory-2 is filling')
    await program.logged('node memory-2 is clean')
    await checkLarge(resp)
    await checkWritten(http, resp)
    const lines = program.log.map(({ msg }) => msg).join('\n')
    expect(lines).to.match(/node memory-2: \S+memory-2\/log-\d+ is damaged at byte \d+/)
    expect(lines).to.not.match(/rebuilt from incomplete|memory-[134] is filling/)
    expect(readdirSync(folder)).to.include('lock')
  })
})
