import { expect } from 'chai'
import type { Carriers } from '../../src/coordinator/channels/carriers.ts'
import type { Carrier } from '../../src/coordinator/channels/carrier.ts'
import { encodeHashes, ID_BYTES } from '../../src/coordinator/channels/envelope.ts'
import type { Awaited, Replies } from '../../src/coordinator/channels/replies.ts'
import { Wakes } from '../../src/coordinator/channels/wakes.ts'
import type { PublishCall } from '../../src/nodes/node.ts'
import { VirtualTime } from '../support/virtual-time.ts'

const WHO_WAITS = Buffer.from([2])
const HASH = 7

describe('what coordinators tell each other of clients that wait', () => {
  it('tells one that begins to listen also of keys where nobody waits just now, and that are not announced again', async () => {
    const sent: Buffer[] = []
    const carrier = {
      publish: (_topic: Buffer, bytes: Buffer, call: PublishCall) => {
        sent.push(bytes)
        call.onPublished(0)
      },
    } as unknown as Carrier
    const expected = new Map<number, Awaited>()
    let nowMs = 0
    let number = 0
    const wakes = new Wakes(
      {
        id: Buffer.alloc(ID_BYTES, 1),
        clock: { monotonicMs: () => nowMs },
        timers: { endOfTurn: setImmediate, setTimeout, clearTimeout } as never,
        carriers: { anyCarrier: () => carrier, carrierOf: () => carrier } as unknown as Carriers,
        replies: {
          expect: (asked: number, _place: object, awaited: Awaited) => void expected.set(asked, awaited),
          passedOn: (asked: number) => expected.get(asked)!.done(0, true),
          drop: () => undefined,
        } as unknown as Replies,
        nextNumber: () => ++number,
        start: () => Promise.resolve(),
        hasOthers: () => true,
      },
      { hashes: [], wakeAll: () => undefined },
    )
    await wakes.announce([HASH])
    expect(sent).to.have.length(1)

    nowMs = 9000
    wakes.onAsked('another', WHO_WAITS)
    expect(sent).to.have.length(2)
    expect(sent[1]!.subarray(-4)).to.deep.equal(encodeHashes([HASH]).subarray(-4))
    expect(wakes.announce([HASH]), 'all know').to.equal(null)
    expect(sent).to.have.length(2)

    nowMs = 40_000
    wakes.onAsked('another', WHO_WAITS)
    expect(sent, 'forgotten after half a minute').to.have.length(2)
  })

  /** With two others, of which `answering` answer. */
  function besideTwo(time: VirtualTime) {
    const asked = { times: 0, answering: 0 }
    const carrier = {
      publish: (_topic: Buffer, _bytes: Buffer, call: PublishCall) => {
        asked.times++
        call.onPublished(2)
      },
    } as unknown as Carrier
    let waiting: Awaited | null = null
    const wakes = new Wakes(
      {
        id: Buffer.alloc(ID_BYTES, 1),
        clock: time,
        timers: time,
        carriers: { anyCarrier: () => carrier, carrierOf: () => carrier } as unknown as Carriers,
        replies: {
          expect: (_asked: number, _place: object, awaited: Awaited) => void (waiting = awaited),
          passedOn: (_asked: number, copies: number) => waiting!.done(0, asked.answering === copies),
          drop: () => undefined,
        } as unknown as Replies,
        nextNumber: () => asked.times,
        start: () => Promise.resolve(),
        hasOthers: () => true,
      },
      { hashes: [], wakeAll: () => undefined },
    )
    return { wakes, asked }
  }

  it('asks again who waits while some have not answered, for a few seconds', async () => {
    const time = new VirtualTime()
    const { wakes, asked } = besideTwo(time)
    wakes.wake(Buffer.from('k'))
    await time.advance(10)
    expect(asked.times).to.equal(1)
    await time.advance(1000)
    expect(asked.times).to.equal(2)
    asked.answering = 2
    await time.advance(2000)
    expect(asked.times).to.equal(3)
    await time.advance(60_000)
    expect(asked.times, 'all have answered').to.equal(3)
  })

  it('tells again what one waits for, as long as some have not answered', async () => {
    const time = new VirtualTime()
    const { wakes, asked } = besideTwo(time)
    const look = async () => {
      void wakes.announce([HASH])
      await time.advance(1000)
    }
    await look()
    asked.answering = 1
    await look()
    asked.answering = 2
    await look()
    expect(asked.times).to.equal(3)
    await look()
    expect(asked.times, 'all know').to.equal(3)
  })
})
