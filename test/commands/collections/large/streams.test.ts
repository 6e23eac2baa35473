/**
 * Streams in parts: few parts are read and written, however many there are; what is stored in one piece is upgraded by its
 * first write; and what is damaged or lost is found.
 */
import { expect } from 'chai'
import { sizes } from '../../../../src/commands/collections/large/sizes.ts'
import { DamagedCollection } from '../../../../src/commands/collections/texts.ts'
import { entryOf } from '../../../../src/commands/streams/entry-run.ts'
import { Group } from '../../../../src/commands/streams/groups.ts'
import { LEAST_ID, streamId } from '../../../../src/commands/streams/ids.ts'
import { flatStream, splitStream } from '../../../../src/commands/streams/large/split.ts'
import { Pending, pendingBytes } from '../../../../src/commands/streams/pending.ts'
import { STREAM_STEPS } from '../../../../src/commands/streams/specs.ts'
import { FlatStream, NewStream } from '../../../../src/commands/streams/stored.ts'
import { KIND_STREAM } from '../../../../src/core/codec.ts'
import { partsNamedIn } from '../../../../src/core/large-root.ts'
import { inOneGo } from '../../../../src/core/work.ts'
import { NeedsParts, PartsChanged, type Held, type Stepped } from '../../../../src/commands/step.ts'
import { StepExecutor } from '../../../servers/resp/steps-executor.ts'
import { expectWholeStream, PartsInMap, SMALL, withSizes } from '../../../support/large.ts'
import { LIMITS } from '../../../support/steps.ts'
import { bytesOf } from '../compare.ts'

const GENERATION = Buffer.from('0123456789abcdef', 'hex')
const TEXTS = [Buffer.from('number'), Buffer.from('some value of a few bytes')]

/** @param pending how many of the first entries the group `g` has delivered */
function flatOf(entries: number, pending = 0): Buffer {
  const ids = Array.from({ length: entries }, (_, i) => streamId(i + 1, 0))
  const delivery = { consumer: 0, deliveredMs: 1, deliveries: 1n }
  const owned = new Pending(Buffer.concat(ids.slice(0, pending).map((id) => pendingBytes(id, delivery))))
  const consumers = [{ name: Buffer.from('c'), seenMs: 1, activeMs: 1 }]
  const lastId = ids[pending - 1] ?? LEAST_ID
  const group = new Group({
    name: Buffer.from('g'),
    lastId,
    read: BigInt(pending),
    consumers,
    pending: owned,
  })
  return new NewStream({
    ...{ lastId: ids.at(-1)!, maxDeletedId: LEAST_ID, added: BigInt(entries) },
    entries: { count: entries, runs: ids.map((id) => entryOf(id, TEXTS)) },
    groups: [group],
  }).value()
}

/** Runs a command on it. @returns what it asked for, round by round, and what it stores */
function run(value: Buffer, all: ReadonlyMap<number, Buffer>, args: readonly string[]) {
  const parts = new PartsInMap(value, all)
  const held: Held = { value, kind: KIND_STREAM, expiresAtMs: 0, parts }
  const step = STREAM_STEPS[args[0]!]!.make(bytesOf(args), 10, LIMITS)
  if (step.needs !== 'value') throw new Error('it does not look at the stream')
  const stepped: Stepped = parts.while(() => step.apply([held], 10))
  const next = stepped.next?.[0]
  const changed = [...(next?.changedParts?.values() ?? [])]
  return {
    ...{ rounds: parts.rounds.length, read: parts.read, next },
    ...{ written: changed.filter((part) => part).length, dropped: changed.filter((part) => !part).length },
  }
}

describe('a stream in parts', function () {
  this.timeout(30_000)

  it('of 100,000 entries, of which 20,000 are pending, is read and written in few parts', () => {
    const { root, parts } = inOneGo(splitStream(flatOf(100_000, 20_000), GENERATION))
    expect(parts.size).to.be.above(200)
    expect(root.length).to.be.below(24_000)
    const key = 's'
    const costs: readonly (readonly [line: string, read: number, rounds: number, written: number])[] = [
      [`xadd ${key} 100001-0 f v`, 0, 0, 0],
      [`xadd ${key} MAXLEN 50000 100001-0 f v`, 0, 0, 0],
      [`xadd ${key} MAXLEN ~ 50000 100001-0 f v`, 0, 0, 0],
      [`xtrim ${key} MAXLEN 12345`, 0, 0, 0],
      [`xtrim ${key} MINID 50000`, 1, 1, 0],
      [`xrange ${key} - + COUNT 3`, 1, 1, 0],
      [`xrange ${key} 50000 + COUNT 3`, 1, 1, 0],
      [`xrange ${key} 50000 50002`, 1, 1, 0],
      [`xrevrange ${key} + - COUNT 3`, 0, 0, 0],
      [`xread COUNT 3 STREAMS ${key} 99990`, 0, 0, 0],
      [`xread COUNT 3 STREAMS ${key} 5`, 1, 1, 0],
      [`xdel ${key} 50000`, 1, 1, 1],
      [`xreadgroup GROUP g c COUNT 3 STREAMS ${key} >`, 1, 1, 0],
      [`xack ${key} g 20000`, 0, 0, 0],
      [`xack ${key} g 1 2 3`, 1, 1, 1],
      [`xpending ${key} g - + 3`, 1, 1, 0],
      [`xclaim ${key} g d 0 1 2`, 2, 2, 1],
      [`xautoclaim ${key} g d 0 0 COUNT 3`, 2, 2, 1],
      [`xgroup CREATE ${key} h $`, 0, 0, 0],
      [`xgroup DESTROY ${key} g`, 0, 0, 0],
      [`xinfo GROUPS ${key}`, 0, 0, 0],
      [`xinfo STREAM ${key}`, 1, 1, 0],
      [`xsetid ${key} 200000`, 0, 0, 0],
    ]
    for (const [line, read, rounds, written] of costs) {
      const cost = run(root, parts, line.split(' '))
      expect({ read: cost.read, rounds: cost.rounds, written: cost.written }, line).to.deep.equal({
        ...{ read, rounds, written },
      })
      if (cost.next) expect(cost.next.value.length, line).to.be.below(26_000)
    }
    expect(run(root, parts, `xtrim ${key} MAXLEN 12345`.split(' ')).dropped).to.be.above(200)
    expect(run(root, parts, `xgroup DESTROY ${key} g`.split(' ')).dropped).to.be.above(70)
  })

  it('grows and is worked off, with the same in it all the time', () => {
    withSizes({ largeFrom: 512, partBytes: 128 }, () => {
      const executor = new StepExecutor(2, 1024 * 1024)
      const ask = (line: string) => executor.run(bytesOf(line.split(' ')), 10).toString()
      ask('xgroup create s g $ mkstream')
      for (let i = 1; i <= 200; i++) {
        ask(`xadd s ${i}-0 number ${i}`)
        ask(`xreadgroup group g c${i % 3} count 1 streams s >`)
        // Every fifth stays pending.
        if (i > 20 && i % 5 !== 0) expect(ask(`xack s g ${i - 20}-0`), String(i)).to.match(/^:[01]/)
      }
      expect(executor.partsOfChanged).to.be.above(400)
      expect(ask('xlen s')).to.equal(':200\r\n')
      expect(ask('xpending s g').split('\r\n')[1]).to.equal(':56')
      expect(ask('xrange s 100 100')).to.include('number\r\n$3\r\n100\r\n')
      expect(ask('xtrim s minid 196')).to.equal(':195\r\n')
      expect(ask('xlen s')).to.equal(':5\r\n')
      expect(ask('xautoclaim s g d 0 0 count 1000')).to.match(/^\*3\r\n\$3\r\n0-0\r\n\*[45]\r\n/)
    })
  })

  it('is what a long one in one piece becomes by its first write, and is in one piece again when it is short', () => {
    const flat = flatOf(4000, 3000)
    expect(flat.length).to.be.above(sizes.largeFrom)
    const { root, parts } = inOneGo(splitStream(flat, GENERATION))
    expectWholeStream(root, parts)
    const read = new PartsInMap(root, parts)
    expect(read.while(() => flatStream(root, read))).to.deep.equal(flat)
    // The form of before is read without that.
    const held: Held = { value: flat, kind: KIND_STREAM, expiresAtMs: 0 }
    const step = STREAM_STEPS.xadd!.make(bytesOf(['xadd', 's', '5000-0', 'f', 'v']), 10, LIMITS)
    const stepped = step.needs === 'value' ? step.apply([held], 10) : null
    expect(FlatStream.of(stepped!.next![0]!.value).length).to.equal(4001)
    const short = run(root, parts, ['xtrim', 's', 'MAXLEN', '20']).next!
    expect(short.value[0], 'it has much that is pending').to.equal(2)
    const bare = inOneGo(splitStream(flatOf(4000), GENERATION))
    const back = run(bare.root, bare.parts, ['xtrim', 's', 'MAXLEN', '20']).next!
    expect(FlatStream.of(back.value).length).to.equal(20)
  })

  it('that is damaged is refused or read, and never fails otherwise', () => {
    withSizes(SMALL, () => {
      const { root, parts } = inOneGo(splitStream(flatOf(12, 6), GENERATION))
      for (let at = 0; at < root.length; at++) {
        for (const changed of [root.subarray(0, at), flipped(root, at)]) {
          try {
            for (const line of ['xrange s - +', 'xreadgroup group g c streams s 0', 'xadd s 99-0 f v'])
              run(changed, parts, line.split(' '))
            partsNamedIn(KIND_STREAM, changed)
          } catch (error) {
            const isKnown =
              error instanceof DamagedCollection ||
              error instanceof PartsChanged ||
              error instanceof NeedsParts
            if (!isKnown && !(error as Error).constructor.name.includes('DamagedRoot')) throw error
          }
        }
      }
    })
  })

  it('of which a part is lost is not read at all', () => {
    withSizes(SMALL, () => {
      const { root, parts } = inOneGo(splitStream(flatOf(40, 30), GENERATION))
      const [first] = parts.keys()
      const rest = new Map([...parts].filter(([id]) => id !== first))
      expect(() => run(root, rest, ['xrange', 's', '-', '+'])).to.throw(PartsChanged)
    })
  })
})

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at]! ^= 0xff
  return copy
}
