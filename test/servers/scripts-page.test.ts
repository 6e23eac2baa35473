// docs/SCRIPTS.md: its commands, run in order, print what the page says.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { shownIn } from '../support/doc-page.ts'
import { RawResp } from '../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../support/rondo.ts'

const shown = shownIn(readFileSync(new URL('../../docs/SCRIPTS.md', import.meta.url), 'utf8'))

/** As a shell and redis-cli split a line. */
function argsOf(line: string): string[] {
  const words = line.replace('redis-cli -p 6390 ', '').matchAll(/"([^"]*)"|(\S+)/g)
  return [...words].map(([, quoted, plain]) => quoted?.replaceAll('\\n', '\n') ?? plain!)
}

/** As redis-cli prints it at a terminal. */
function printedOf(reply: string): string {
  const lines = reply.split('\r\n')
  const one = (at: number): string => {
    const [mark, rest] = [lines[at]![0]!, lines[at]!.slice(1)]
    if (mark === '$') return `"${lines[at + 1]}"`
    return { ':': `(integer) ${rest}`, '+': rest, '-': `(error) ${rest}` }[mark]!
  }
  if (!reply.startsWith('*')) return one(0)
  const items: string[] = []
  for (let at = 1; at < lines.length - 1; at += lines[at]!.startsWith('$') ? 2 : 1) items.push(one(at))
  return items.map((item, i) => `${i + 1}) ${item}`).join('\n')
}

describe('docs/SCRIPTS.md', function () {
  this.timeout(30_000)
  let running: RunningRondo
  before(async () => (running = await startRondo({ REQUEST_TIMEOUT_MS: '20000' })))
  after(() => running.stop())

  it('its cookbook prints what it says', async () => {
    const client = await RawResp.open(running.rondo.respServer.port)
    // The thread starts with the first one.
    await client.ask('EVAL', 'return 1', '0')
    expect(shown.length).to.be.above(10)
    for (const { command, printed } of shown) {
      expect(printedOf(await client.ask(...argsOf(command))), command).to.equal(printed.trimEnd())
    }
    client.close()
  })
})
