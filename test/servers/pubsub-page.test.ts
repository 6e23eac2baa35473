// docs/PUBSUB.md: its commands, run in order, print what the page says.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

const page = readFileSync(new URL('../../docs/PUBSUB.md', import.meta.url), 'utf8')
const shown = [...page.matchAll(/^```console\n([^]*?)^```$/gm)].flatMap(([, block]) =>
  block!
    .split(/^\$ /m)
    .slice(1)
    .map((part) => ({
      args: part.slice(0, part.indexOf('\n')).replace('redis-cli -p 6390 ', '').split(' '),
      printed: part.slice(part.indexOf('\n') + 1).trimEnd(),
    })),
)

/** As redis-cli prints it at a terminal. */
function printedOf(reply: string): string {
  const lines = reply.split('\r\n')
  const items: string[] = []
  for (let at = lines[0]!.startsWith('*') ? 1 : 0; at < lines.length - 1; at++) {
    const line = lines[at]!
    items.push(line.startsWith(':') ? `(integer) ${line.slice(1)}` : `"${lines[++at]}"`)
  }
  return lines[0]!.startsWith('*') ? items.map((item, i) => `${i + 1}) ${item}`).join('\n') : items[0]!
}

describe('docs/PUBSUB.md', () => {
  let running: RunningRondo
  before(async () => (running = await startRondo()))
  after(() => running.stop())

  it('its cookbook prints what it says, and the subscriber gets its message', async () => {
    const port = running.rondo.respServer.port
    const [window, other] = [await RawResp.open(port), await RawResp.open(port)]
    expect(shown.length).to.be.above(5)
    for (const { args, printed } of shown) {
      const reply = await (args[0] === 'SUBSCRIBE' ? window : other).ask(...args)
      expect(printedOf(reply), args.join(' ')).to.equal(printed)
    }
    expect(printedOf(await window.reply())).to.equal('1) "message"\n2) "news"\n3) "hello"')
    window.close()
    other.close()
  })
})
