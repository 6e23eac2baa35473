// docs/BLOCKING.md: its commands, run in order, print what the page says.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

const page = readFileSync(new URL('../../docs/BLOCKING.md', import.meta.url), 'utf8')
const shown = [...page.matchAll(/^```console\n([^]*?)^```$/gm)].flatMap(([, block]) =>
  block!
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const [line, ...printed] = part.trimEnd().split('\n')
      const words = line!.replace('redis-cli -p 6390 ', '').matchAll(/"([^"]*)"|\S+/g)
      return { args: [...words].map(([word, quoted]) => quoted ?? word), printed: printed.join('\n') }
    }),
)

/** As redis-cli prints it at a terminal. */
function printedOf(reply: string): string {
  if (reply === '*-1\r\n') return '(nil)'
  const lines = reply.split('\r\n')
  const items: string[] = []
  for (let at = lines[0]!.startsWith('*') ? 1 : 0; at < lines.length - 1; at++) {
    const line = lines[at]!
    items.push(line.startsWith(':') ? `(integer) ${line.slice(1)}` : `"${lines[++at]}"`)
  }
  return lines[0]!.startsWith('*') ? items.map((item, i) => `${i + 1}) ${item}`).join('\n') : items[0]!
}

describe('docs/BLOCKING.md', () => {
  let running: RunningRondo
  before(async () => (running = await startRondo()))
  after(() => running.stop())

  it('its cookbook prints what it says, and the worker gets its job', async () => {
    const port = running.rondo.respServer.port
    const [worker, other] = [await RawResp.open(port), await RawResp.open(port)]
    const [waiting, ...others] = shown
    expect(others.length).to.be.above(5)
    const job = worker.ask(...waiting!.args)
    for (const { args, printed } of others) {
      expect(printedOf(await other.ask(...args)), args.join(' ')).to.equal(printed)
    }
    expect(printedOf(await job)).to.equal(waiting!.printed)
    worker.close()
    other.close()
  })
})
