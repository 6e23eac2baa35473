// docs/COLLECTIONS.md: its commands, run in order, print what the page says.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { runShown, shownIn } from '../support/doc-page.ts'
import { RawResp } from '../support/raw-resp.ts'
import { startRondo } from '../support/rondo.ts'

const page = readFileSync(new URL('../../docs/COLLECTIONS.md', import.meta.url), 'utf8')

describe('docs/COLLECTIONS.md', () => {
  it('its cookbook prints what it says', async () => {
    const running = await startRondo()
    const redis = await RawResp.open(running.rondo.respServer.port)
    const shown = shownIn(page)
    expect(shown.length).to.be.above(5)
    for (const { command, printed } of shown) {
      expect(await runShown(command, redis, running.ports.socket), command).to.equal(printed.trimEnd())
    }
    redis.close()
    await running.stop()
  })
})
