// docs/DIALECTS.md: its curl lines, run in order by the curl of this machine, answer as the page says.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const page = readFileSync(new URL('../../../docs/DIALECTS.md', import.meta.url), 'utf8')
const blocks = [...page.matchAll(/^```console\n([^]*?)^```$/gm)].map(([, text]) => text!)

/** The commands of a block, each with what it prints. */
function linesOf(block: string): { command: string; printed: string }[] {
  return block
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const end = part.indexOf('\n')
      return { command: part.slice(0, end), printed: part.slice(end + 1) }
    })
}

describe('docs/DIALECTS.md', () => {
  let running: RunningRondo
  let folder: string
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'rondo-dialects-'))
    running = await startRondo({ COMPAT_APIS: 'upstash,ringg,lru,cache-cluster', SNAPSHOT_DIR: folder })
  })
  after(async () => {
    await running.stop()
    rmSync(folder, { recursive: true })
  })

  it('has console blocks, and curl lines only in them', () => {
    expect(blocks.length).to.be.greaterThan(0)
    expect(blocks.flatMap(linesOf).length).to.equal([...page.matchAll(/^\$ curl /gm)].length)
  })

  for (const { command, printed } of blocks.flatMap(linesOf)) {
    it(`${command}`, async () => {
      const here = command.replaceAll('localhost:8080', `localhost:${running.ports.socket}`)
      const { stdout } = await promisify(execFile)('sh', [
        '-c',
        here.replace(/^curl /, 'curl -sS --noproxy "*" '),
      ])
      expect(stdout.trimEnd()).to.equal(printed.trimEnd())
    })
  }
})
