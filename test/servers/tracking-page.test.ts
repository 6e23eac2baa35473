// docs/CLIENT-TRACKING.md: its commands, run in order on one connection, print what the page says.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { runShown, shownIn } from '../support/doc-page.ts'
import { RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

const page = readFileSync(new URL('../../docs/CLIENT-TRACKING.md', import.meta.url), 'utf8')

describe('docs/CLIENT-TRACKING.md', () => {
  let running: RunningRondo
  before(async () => (running = await startRondo()))
  after(() => running.stop())

  it('its commands print what it says, and the client is told of the key', async () => {
    const client = await RawResp.open(running.rondo.respServer.port)
    const other = await RawResp.open(running.rondo.respServer.port)
    await client.ask('HELLO', '3')
    const shown = shownIn(page)
    expect(shown.length).to.be.above(7)
    for (const { command, printed } of shown) {
      const answer = await runShown(command, client, running.ports.socket)
      expect(answer.trimEnd(), command).to.equal(printed.trimEnd())
      if (!command.includes('GET user:1')) continue
      await other.ask('SET', 'user:1', 'Grace')
      expect(await client.reply()).to.equal('>2\r\n$10\r\ninvalidate\r\n*1\r\n$6\r\nuser:1\r\n')
    }
    client.close()
    other.close()
  })
})
