/** A moment of what `npm run fuzz -- --server http` does for ten minutes. */
import { expect } from 'chai'
import { seeds } from '../../support/random.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'
import { DOOR_ENV } from '../oracle.ts'
import { Fuzz, printed } from './fuzz.ts'
import { judge } from './judge.ts'
import { TOKENS, type Stream } from './streams.ts'

const LIMIT_MS = 3000

describe('random bytes to the HTTP server', function () {
  this.timeout(60_000) // for making a failure short
  let running: RunningRondo
  before(async () => {
    running = await startRondo({ ...DOOR_ENV, DATA_TOKEN: TOKENS.data, ADMIN_TOKEN: TOKENS.admin })
  })
  after(() => running.stop())

  it('are answered in HTTP, by nothing that the sender may not have, and nobody else is disturbed', async () => {
    const [seed] = seeds(1)
    const fuzz = new Fuzz(running.ports.socket)
    await fuzz.run(seed!, LIMIT_MS)
    if (fuzz.failure) throw new Error(`${printed(fuzz.failure)}\nRONDO_SEED=${seed}`)
    expect(fuzz.streams).to.be.above(20)
  })

  it('finds what is not an answer, and what is not for the sender', () => {
    const stream = (sender: Stream['sender']): Stream => ({ sender, pieces: [], writes: 1, leaves: false })
    const answer = (head: string, body = '') =>
      Buffer.from(
        `HTTP/1.1 ${head}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      )
    const wrong = (sender: Stream['sender'], bytes: Buffer) => judge(stream(sender), bytes, ['{"open":1}'])
    expect(wrong('nobody', answer('200 OK', '{"open":1}'))).to.equal(null)
    expect(wrong('nobody', answer('200 OK', '{"value":"v"}'))).to.match(/what nobody must not get/)
    expect(wrong('admin', answer('200 OK', '{"value":"v"}'))).to.match(/what admin must not get/)
    expect(wrong('data', answer('202 Accepted', '{"lastRound":1}'))).to.match(/what data must not get/)
    expect(wrong('data', answer('200 OK', '{"value":"v"}'))).to.equal(null)
    expect(wrong('data', answer('500 Internal Server Error', '{}'))).to.match(/unexpected status/)
    expect(wrong('data', answer('200 OK', '{'))).to.match(/no JSON/)
    expect(wrong('data', answer('200 OK', '{}').subarray(0, -1))).to.match(/has 1 of 2/)
  })
})
