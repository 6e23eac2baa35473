// As worst-input.test.ts, for large collections in parts: whoever walks over hundreds of thousands of entries, or stores as
// many, lets others have their turn. The collections are made once, by RESTORE, which is one of these commands.
import { expect } from 'chai'
import { Crc64 } from '../../../src/commands/dump/crc64.ts'
import { writeStream } from '../../../src/commands/dump/streams.ts'
import { entryOf } from '../../../src/commands/streams/entry-run.ts'
import { LEAST_ID, streamId } from '../../../src/commands/streams/ids.ts'
import { NewStream } from '../../../src/commands/streams/stored.ts'
import { inOneGo } from '../../../src/core/work.ts'
import { longestTurn, MAX_TURN_MS, send } from '../../support/longest-turn.ts'
import { command } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

/**
 * As many take too long in one piece, whatever is done with them. With RONDO_LARGE_ENTRIES=1400000 they are near the bound,
 * and all lines run: for some minutes.
 */
const ASKED = process.env.RONDO_LARGE_ENTRIES
const ALL = ASKED !== undefined
const ENTRIES = Number(ASKED ?? 120_000)
const MANY = String(Math.floor(ENTRIES * 0.9))
const SOME = String(Math.floor(ENTRIES / 3))
const [list, set, hash, zset] = ['{t}list', '{t}set', '{t}hash', '{t}zset']
const [HASH_FORM, SET_FORM, LIST_FORM, SORTED_SET_FORM] = [4, 2, 1, 5]

function text(words: string): Buffer {
  return Buffer.concat([Buffer.from([words.length]), Buffer.from(words)])
}

function score(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(value)
  return bytes
}

/** What RESTORE takes. */
function payload(form: number, each: (i: number) => Buffer[]): Buffer {
  const head = Buffer.from([form, 0x80, 0, 0, 0, 0])
  head.writeUInt32BE(ENTRIES, 2)
  const texts = Array.from({ length: ENTRIES }, (_, i) => each(i)).flat()
  const bytes = Buffer.concat([head, ...texts, Buffer.from([9, 0])])
  return Buffer.concat([bytes, new Crc64().add(bytes).bytes()])
}

const FIELD = Buffer.from('a field or a value')
const member = (i: number) => text(`member:${i.toString(36).padStart(5, '0')}`)
const PAYLOADS: readonly [key: string, form: number, each: (i: number) => Buffer[]][] = [
  [list, LIST_FORM, (i) => [member(i)]],
  [set, SET_FORM, (i) => [member(i)]],
  [hash, HASH_FORM, (i) => [member(i), text(String(i))]],
  // In no order.
  [zset, SORTED_SET_FORM, (i) => [member(i), score((i * 7919) % ENTRIES)]],
]

/** Those that change something come last: a later one works on what an earlier one has left. */
const LINES: readonly (readonly string[])[] = [
  ['COPY', zset, '{t}other', 'REPLACE'],
  ['ZRANGE', zset, '0', '-1', 'REV', 'WITHSCORES'],
  ['SRANDMEMBER', set, MANY],
  ['SUNIONSTORE', '{t}other', set, set],
  ['SORT', set, 'ALPHA', 'DESC', 'STORE', '{t}other'],
  ['EVAL', "return redis.call('SUNIONSTORE', KEYS[2], KEYS[1])", '2', set, '{t}other'],
  ['SPOP', set, SOME],
  ['ZREMRANGEBYRANK', zset, '0', SOME],
  ['ZMPOP', '1', zset, 'MIN', 'COUNT', SOME],
  ['RENAME', zset, '{t}zset2'],
]
const MORE_LINES: readonly (readonly string[])[] = [
  ['DUMP', zset],
  ['HGETALL', hash],
  ['LRANGE', list, '0', '-2'],
  ['ZRANGE', zset, '0', '-1', 'REV', 'WITHSCORES'],
  ['ZRANGEBYLEX', zset, '-', '+'],
  ['HRANDFIELD', hash, MANY, 'WITHVALUES'],
  ['SRANDMEMBER', set, MANY],
  ['SSCAN', set, '0', 'COUNT', '1000000'],
  ['SINTER', set, set, '{t}set2'],
  ['ZUNIONSTORE', '{t}other', '2', zset, set],
  ['ZRANGESTORE', '{t}other', zset, '0', '-1'],
  ['SORT', list, 'ALPHA', 'DESC', 'STORE', '{t}other'],
  ['LPOS', list, 'nosuch', 'COUNT', '0'],
  ['LREM', list, '0', 'nosuch'],
  ['RENAME', list, '{t}list2'],
  ['LPOP', '{t}list2', SOME],
  ['LMPOP', '1', '{t}list2', 'RIGHT', 'COUNT', SOME],
]

describe('the largest collections', function () {
  this.timeout(300_000)
  let running: RunningRondo
  const port = () => running.rondo.respServer.port
  before(async () => {
    running = await startRondo({
      MEMORY_NODES: '1',
      REPLICATION_FACTOR: '1',
      MEMORY_NODE_MAX_BYTES: '2GiB',
      MAX_CLIENT_MEMORY: '1GiB',
      MAX_BATCH_BYTES: '64MiB',
      MAX_REPLY_BYTES: '128MiB',
      REQUEST_TIMEOUT_MS: '60000',
    })
  })
  after(() => running.stop())

  for (const [key, form, each] of PAYLOADS.filter(([key]) => ALL || key === set || key === zset)) {
    it(`RESTORE ${key} lets others have their turn`, async () => {
      const line = command('RESTORE', key, '0', payload(form, each), 'REPLACE')
      expect(await longestTurn(port(), line)).to.be.below(MAX_TURN_MS)
      const { reply } = await send(port(), command('OBJECT', 'ENCODING', key))
      expect(reply).to.match(/^\$/)
    })
  }

  for (const line of ALL ? [...MORE_LINES, ...LINES] : LINES) {
    it(`${line.join(' ').slice(0, 60)} lets others have their turn`, async () => {
      expect(await longestTurn(port(), command(...line))).to.be.below(MAX_TURN_MS)
    })
  }

  it('a stream in parts lets others have their turn, however long it is', async () => {
    const count = Math.floor(ENTRIES / 3)
    const entries = Array.from({ length: count }, (_, i) => entryOf(streamId(i + 1, 0), [FIELD, FIELD]))
    const head = { lastId: streamId(count, 0), maxDeletedId: LEAST_ID, added: BigInt(count) }
    const flat = new NewStream({ ...head, entries: { count, runs: entries } }).value()
    const dumped = Buffer.concat([...inOneGo(writeStream(flat, undefined)), Buffer.from([10, 0])])
    const whole = Buffer.concat([dumped, new Crc64().add(dumped).bytes()])
    for (const line of [
      ['RESTORE', '{t}stream', '0', whole, 'REPLACE'],
      ['DUMP', '{t}stream'],
      ['COPY', '{t}stream', '{t}stream2', 'REPLACE'],
      ['XREVRANGE', '{t}stream', '+', '-'],
      ['XTRIM', '{t}stream', 'MAXLEN', '10'],
    ]) {
      expect(await longestTurn(port(), command(...line)), String(line[0])).to.be.below(MAX_TURN_MS)
    }
    expect((await send(port(), command('XLEN', '{t}stream2'))).reply).to.match(new RegExp(`^:${count}\r`))
  })

  it('many elements for a large one let others have their turn', async () => {
    const elements = Array.from({ length: 20_000 }, (_, i) => `new:${i}`)
    const scored = elements.flatMap((one, i) => [String((i * 7919) % ENTRIES), one])
    for (const line of [
      ['SADD', set, ...elements],
      ['SMISMEMBER', set, ...elements],
      ['ZADD', '{t}zset2', ...scored],
      ['ZREM', '{t}zset2', ...elements],
      ...(ALL ? [['HSET', hash, ...elements]] : []),
    ]) {
      expect(await longestTurn(port(), command(...line)), line[0]).to.be.below(MAX_TURN_MS)
    }
  })
})
