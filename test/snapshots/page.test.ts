// docs/SNAPSHOTS.md: its commands, run in order, answer as the page says.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { expect } from 'chai'
import { RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

const page = readFileSync(new URL('../../docs/SNAPSHOTS.md', import.meta.url), 'utf8')
const shown = [...page.matchAll(/^```console\n([^]*?)^```$/gm)].flatMap(([, block]) =>
  block!
    .split(/^\$ /m)
    .slice(1)
    .map((part) => ({
      command: part.slice(0, part.indexOf('\n')),
      printed: part.slice(part.indexOf('\n') + 1),
    })),
)

/** A reply as redis-cli prints it at a terminal. */
function printedOf(reply: string): string {
  const [first = '', ...rest] = reply.split('\r\n')
  if (first.startsWith('*')) {
    const texts = rest.filter((_, i) => i % 2 === 1)
    return texts.map((text, i) => `${i + 1}) "${text}"`).join('\n')
  }
  return first.startsWith(':') ? `(integer) ${first.slice(1)}` : first.slice(1)
}

/** Ids, times, sizes and names of machines differ each time. */
const alike = (text: string) =>
  text
    .replaceAll(/"(id|by|requestId|startedAt|finishedAt|takenAt)":"[^"]+"/g, '"$1":"…"')
    .replaceAll(/"(bytes|verifiedBytes)":[1-9]\d*/g, '"$1":"…"')
    .trimEnd()

describe('docs/SNAPSHOTS.md', () => {
  let folder: string
  let running: RunningRondo
  let redis: RawResp

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rondo-page-'))
    running = await startRondo({ SNAPSHOT_DIR: folder })
    redis = await RawResp.open(running.rondo.respServer.port)
  })
  after(async () => {
    redis.close()
    await running.stop()
    rmSync(folder, { recursive: true })
  })

  async function run(command: string): Promise<string> {
    const [, args] = /^redis-cli -p 6390 (.+)$/.exec(command) ?? []
    if (args !== undefined) return printedOf(await redis.ask(...args.split(' ')))
    const here = command.replace('localhost:8080', `localhost:${running.ports.socket}`)
    const line = here.replace(/^curl /, 'curl -sS --noproxy "*" ')
    return (await promisify(execFile)('sh', ['-c', line])).stdout
  }

  it('has commands only in its console blocks', () => {
    expect(shown.length).to.be.greaterThan(10)
    expect(shown).to.have.length([...page.matchAll(/^\$ (curl|redis-cli) /gm)].length)
  })

  for (const { command, printed } of shown) {
    it(command, async () => {
      let answer = await run(command)
      // The page shows it when the job has ended.
      while (command === 'curl localhost:8080/snapshots' && answer.includes('"running"'))
        answer = await run(command)
      expect(alike(answer)).to.equal(alike(printed))
      // As the page's zcat and jq print it.
      if (!answer.includes('"finished"') || !answer.includes('"kind":"snapshot"')) return
      const lines = gunzipSync(readFileSync(join(folder, 'before-upgrade.ndjson.gz')))
        .toString()
        .split('\n')
      const { key } = JSON.parse(lines[1]!) as { key: string }
      expect(['user:1', 'user:2', 'jobs']).to.include(Buffer.from(key, 'base64').toString())
    })
  }
})
