/** What Redis dumps is restored as the same value, and the other way round; what nobody dumps is refused. */
import { expect } from 'chai'
import fc from 'fast-check'
import { startRedis, type RedisServer } from '../../../scripts/redis-server.ts'
import { Entries } from '../../../src/commands/collections/entries.ts'
import { HASH, LIST, SET, SORTED_SET } from '../../../src/commands/collections/steps.ts'
import { Crc64 } from '../../../src/commands/dump/crc64.ts'
import { dump, restore } from '../../../src/commands/dump/dump.ts'
import { encodeReply } from '../../../src/commands/reply.ts'
import { CommandError, type Held, type Step, type StepOf } from '../../../src/commands/step.ts'
import { ASCII_DUMP } from '../../support/ascii-dump.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'
import { Oracle } from '../../servers/resp/steps-oracle.ts'

const MAX_VALUE_BYTES = 1024 * 1024
const LIMITS = {
  maxValueBytes: MAX_VALUE_BYTES,
  defaultTtlMs: 0,
  database: 0,
  databases: 16,
  random: Math.random,
}
const bytes = (...words: (string | Buffer)[]) =>
  words.map((word) => (typeof word === 'string' ? Buffer.from(word, 'latin1') : word))

/** With version and checksum. */
function sealed(value: Buffer, version = 9): Buffer {
  const all = Buffer.concat([value, Buffer.from([version, 0])])
  return Buffer.concat([all, new Crc64().add(all).bytes()])
}

function restored(payload: Buffer, ...options: string[]): { reply: string; held: Held | null } {
  const step = restore(bytes('restore', 'k', '0', payload, ...options), 1000, LIMITS)
  return applied(step, null)
}

function applied(step: Step, held: Held | null): { reply: string; held: Held | null } {
  const { reply, next } = (step as StepOf<'value', Held>).apply([held], 1000)
  return { reply: encodeReply(reply, 2).toString('latin1').slice(0, -2), held: next?.[0] ?? null }
}

function dumped(held: Held): Buffer {
  const reply = applied(dump(bytes('dump', 'k')), held)
  const encoded = Buffer.from(reply.reply, 'latin1')
  return encoded.subarray(encoded.indexOf('\r\n') + 2)
}

/** The texts of a collection in a form in which equal ones are the same. */
function textsOf({ kind, value }: Held): unknown {
  if (kind === undefined) return value.toString('latin1')
  const type = [HASH, SET, SORTED_SET, LIST].find((one) => one.kind === kind)!
  const entries = Entries.of(value, type.shape)
  const all = Array.from({ length: entries.length }, (_, i) => [
    entries.key(i).toString('latin1'),
    type === HASH ? entries.value(i).toString('latin1') : type === SORTED_SET ? entries.score(i) : 0,
  ])
  return { type: type.name, all: type === LIST ? all : all.sort() }
}

describe('DUMP and RESTORE', function () {
  this.timeout(60_000)

  it('end in the checksum of Redis', () => {
    expect(new Crc64().add(Buffer.from('123456789')).bytes().reverse().toString('hex')).to.equal(
      'e9c6d914c4b8d9ca',
    )
    expect(restored(Buffer.from(ASCII_DUMP)).held!.value.toString()).to.equal('v650')
  })

  describe('of a real Redis', () => {
    let redis: RedisServer
    let oracle: Oracle
    before(async () => {
      redis = await startRedis()
      oracle = await Oracle.open(redis.port, 2)
    })
    after(async () => {
      oracle.close()
      await redis.stop()
    })
    const ask = async (...words: (string | Buffer)[]) => (await oracle.ask([bytes(...words)]))[0]!

    /** From Redis to here, back, and here again. */
    async function sameAgain(what: string, ...filling: (string | Buffer)[][]): Promise<void> {
      await ask('DEL', 'k', 'copy')
      for (const line of filling) expect((await ask(...line)).toString()).to.not.match(/^-/)
      const first = restored(payloadIn(await ask('DUMP', 'k')))
      expect(first.reply, what).to.equal('+OK')
      expect((await ask('RESTORE', 'copy', '0', dumped(first.held!))).toString(), what).to.equal('+OK\r\n')
      const second = restored(payloadIn(await ask('DUMP', 'copy')))
      expect(textsOf(second.held!), what).to.deep.equal(textsOf(first.held!))
      const type = (await ask('TYPE', 'k')).toString()
      const asked = READING[type.slice(1, -2)]!
      const [one, other] = [
        await ask(asked[0]!, 'k', ...asked.slice(1)),
        await ask(asked[0]!, 'copy', ...asked.slice(1)),
      ]
      if (type.startsWith('+set') || type.startsWith('+hash')) return
      expect(other.equals(one), what).to.equal(true)
    }
    const payloadIn = (reply: Buffer) => reply.subarray(reply.indexOf('\r\n') + 2, -2)
    const READING: Readonly<Record<string, string[]>> = {
      string: ['GET'],
      list: ['LRANGE', '0', '-1'],
      set: ['SMEMBERS'],
      hash: ['HGETALL'],
      zset: ['ZRANGE', '0', '-1', 'WITHSCORES'],
    }

    const INTEGERS = ['0', '-1', '12', '127', '-128', '4095', '-4096', '4096', '32767', '-32768', '8388607']
    const MORE_INTEGERS = [
      '-8388608',
      '2147483647',
      '-2147483648',
      '9223372036854775807',
      '-9223372036854775808',
    ]
    const ALL = [
      ...INTEGERS,
      ...MORE_INTEGERS,
      '',
      'x',
      '01',
      ' 1',
      '\xff\0\r\n',
      'l'.repeat(63),
      'm'.repeat(64),
    ]
    const TEXTS = [...ALL, 'n'.repeat(4095), 'o'.repeat(4096), 'random text '.repeat(20), 'p'.repeat(20_000)]

    it('strings, short and long, compressed, and as integers', async () => {
      for (const text of TEXTS) await sameAgain(text.slice(0, 30), ['SET', 'k', text])
    })

    for (const [name, entries, value] of [
      ['in one piece', '512', '100000'],
      ['in tables', '0', '0'],
    ] as const) {
      it(`collections ${name}`, async () => {
        for (const setting of ['hash-max-listpack', 'zset-max-listpack']) {
          await ask('CONFIG', 'SET', `${setting}-entries`, entries, `${setting}-value`, value)
        }
        await ask(
          'CONFIG',
          'SET',
          'set-max-intset-entries',
          entries,
          'list-max-listpack-size',
          entries === '0' ? '2' : '-2',
        )
        for (let many = 1; many <= TEXTS.length; many++) {
          const some = TEXTS.slice(-many)
          await sameAgain(`list ${many}`, ['RPUSH', 'k', ...some])
          await sameAgain(`set ${many}`, ['SADD', 'k', ...some])
          await sameAgain(`hash ${many}`, ['HSET', 'k', ...some.flatMap((text, i) => [text, some.at(-i)!])])
          const scores = ['1', '-2.5', 'inf', '-inf', '1e300', '0.1', '123456789012']
          await sameAgain(`zset ${many}`, ['ZADD', 'k', ...some.flatMap((text, i) => [scores[i % 7]!, text])])
        }
        for (const integers of [['1', '-2'], ['40000', '2'], INTEGERS, MORE_INTEGERS]) {
          await sameAgain(`integers ${integers[0]!}`, ['SADD', 'k', ...integers])
        }
      })
    }

    it('options and errors are those of Redis', async () => {
      const wrong = 'x'.repeat(12)
      for (const rest of [
        ['0', wrong],
        ['-1', wrong],
        ['x', wrong],
        ['0', ''],
        ['0', wrong, 'FOO'],
        ['0', wrong, 'replace', 'absttl'],
        ['0', wrong, 'IDLETIME'],
        ['0', wrong, 'IDLETIME', '-1'],
        ['0', wrong, 'IDLETIME', 'x'],
        ['0', wrong, 'FREQ', '256'],
        ['0', wrong, 'IDLETIME', '1', 'FREQ', '1'],
        ['0', wrong, 'FREQ', '1', 'IDLETIME', '1'],
        ['0', sealed(Buffer.from([0, 1, 0x61]), 200)],
        ['0', sealed(Buffer.from([0, 50, 0x61]))],
        ['0', sealed(Buffer.from([4, 0]))],
        ['0', ASCII_DUMP, 'FREQ', '255'],
        ['1', ASCII_DUMP, 'ABSTTL'],
      ]) {
        await ask('DEL', 'k')
        let ours: string
        try {
          ours = applied(restore(bytes('restore', 'k', ...rest), 1000, LIMITS), null).reply
        } catch (error) {
          if (!(error instanceof CommandError)) throw error
          ours = `-${error.message}`
        }
        expect(ours, rest.join(' ')).to.equal((await ask('RESTORE', 'k', ...rest)).toString().trimEnd())
      }
    })
  })

  /** As older versions wrote them. */
  const OLDER: Readonly<Record<string, readonly [Buffer, unknown]>> = {
    'a hash as a ziplist': [
      Buffer.concat([Buffer.from([13]), packed(ziplist(Buffer.from([1, 0x61]), Buffer.from([0xf3])))]),
      { type: 'hash', all: [['a', '2']] },
    ],
    'a list of ziplists': [
      Buffer.concat([
        Buffer.from([14, 2]),
        packed(ziplist(Buffer.from([0xc0, 0xfe, 0xff]), Buffer.from([0xfe, 0x80]))),
        packed(ziplist(Buffer.from([0xf0, 1, 0, 0]), Buffer.from([0x40, 1, 0x62]))),
      ]),
      {
        type: 'list',
        all: [
          ['-2', 0],
          ['-128', 0],
          ['1', 0],
          ['b', 0],
        ],
      },
    ],
    'a sorted set with scores as text': [
      Buffer.concat([
        Buffer.from([3, 3, 1, 0x61, 3]),
        Buffer.from('2.5'),
        Buffer.from([1, 0x62, 254, 1, 0x63, 255]),
      ]),
      {
        type: 'sorted set',
        all: [
          ['a', 2.5],
          ['b', Infinity],
          ['c', -Infinity],
        ],
      },
    ],
    'a sorted set as a ziplist': [
      Buffer.concat([
        Buffer.from([12]),
        packed(ziplist(Buffer.from([1, 0x61]), Buffer.from([3, 0x31, 0x2e, 0x35]))),
      ]),
      { type: 'sorted set', all: [['a', 1.5]] },
    ],
    'a list with an element of its own': [
      Buffer.from([18, 2, 1, 2, 0x61, 0x62, 2, 7, 7, 0, 0, 0, 0, 0, 0xff]),
      { type: 'list', all: [['ab', 0]] },
    ],
    'a set as a listpack': [
      Buffer.concat([Buffer.from([20]), packed(Buffer.from([12, 0, 0, 0, 2, 0, 0x81, 0x61, 2, 5, 1, 0xff]))]),
      {
        type: 'set',
        all: [
          ['5', 0],
          ['a', 0],
        ],
      },
    ],
  }
  for (const [name, [value, expected]] of Object.entries(OLDER)) {
    it(`${name} is restored`, () => {
      const { reply, held } = restored(sealed(value))
      expect(reply).to.equal('+OK')
      expect(textsOf(held!)).to.deep.equal(expected)
    })
  }

  it('what is too large is refused before room is made for it', () => {
    const lzf = Buffer.concat([Buffer.from([0, 0xc3, 4, 0x80, 0x7f, 0xff, 0xff, 0xff]), Buffer.from('bomb')])
    expect(restored(sealed(lzf)).reply).to.equal('-ERR Bad data format')
    const copies = Array.from({ length: 128_000 }, () => Buffer.from([0xe0, 0xff, 0]))
    const compressed = Buffer.concat([Buffer.from([0, 0x78]), ...copies])
    const head = Buffer.from([18, 2, 2, 0xc3, 0x80, 0, 0, 0, 0, 0x80, 0, 0, 0, 0])
    head.writeUInt32BE(compressed.length, 5)
    head.writeUInt32BE(1 + 128_000 * 264, 10)
    expect(restored(sealed(Buffer.concat([head, compressed]))).reply).to.match(
      /^-ERR The payload holds \d+ bytes/,
    )
    const many = Buffer.concat([Buffer.from([1, 0x80, 0, 0x20, 0, 1]), Buffer.alloc(2 ** 21 + 1)])
    expect(restored(sealed(many)).reply).to.match(/^-ERR A collection has at most/)
  })

  it('any bytes are refused, or are a value; at once, whatever they announce', () => {
    const values = [
      ...Object.values(OLDER).map(([value]) => value),
      Buffer.from([0, 0xc3, 9, 0x40, 0xc8, 1, 0x61, 0x61, 0xe0, 0xbb, 0, 1, 0x61, 0x61]),
      Buffer.from([18, 1, 2, 15, 15, 0, 0, 0, 3, 0, 0x81, 0x61, 2, 0x81, 0x62, 2, 1, 1, 0xff]),
      Buffer.from([16, 18, 18, 0, 0, 0, 4, 0, 0x81, 0x66, 2, 0x81, 0x76, 2, 0x81, 0x67, 2, 2, 1, 0xff]),
      Buffer.from([11, 14, 2, 0, 0, 0, 3, 0, 0, 0, 1, 0, 2, 0, 3, 0]),
      Buffer.from([5, 1, 1, 0x62, 0, 0, 0, 0, 0, 0, 4, 0x40]),
    ]
    const flipped = fc
      .tuple(fc.constantFrom(...values), fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 4 }))
      .map(([value, changes]) => {
        const changed = Buffer.from(value)
        for (const [at, byte] of changes) changed[at % changed.length] = byte
        return changed
      })
    const random = fc
      .tuple(
        fc.constantFrom(0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 16, 17, 18, 20, 21),
        fc.uint8Array({ maxLength: 60 }),
      )
      .map(([form, rest]) => Buffer.concat([Buffer.from([form]), rest]))
    const property = fc.property(fc.oneof(flipped, random), (value) => {
      const from = process.cpuUsage()
      const { reply, held } = restored(sealed(value))
      const { user, system } = process.cpuUsage(from)
      expect(user + system).to.be.below(100_000)
      if (held) textsOf(held)
      expect(reply).to.match(held ? /^\+OK$/ : /^-ERR (Bad data format|The payload holds|A collection has)/)
    })
    fc.assert(property, { numRuns: 20_000, interruptAfterTimeLimit: 20_000 })
  })

  describe('through a coordinator', () => {
    let running: RunningRondo
    let client: RawResp
    before(async () => {
      running = await startRondo({ REQUEST_TIMEOUT_MS: '20000' })
      client = await RawResp.open(running.rondo.respServer.port)
    })
    after(async () => {
      client.close()
      await running.stop()
    })
    beforeEach(() => client.ask('DEL', 'k', 'copy'))

    it('copies a collection with its expiry time, and replaces only if told', async () => {
      await client.ask('HSET', 'k', 'f', 'v')
      const reply = await client.ask('DUMP', 'k')
      expect(reply.startsWith('$16\r\n\x04\x01\x01f\x01v\t\0')).to.equal(true)
      expect(await client.ask('RESTORE', 'copy', '100000', ASCII_DUMP)).to.equal('+OK\r\n')
      expect(await client.ask('GET', 'copy')).to.equal('$4\r\nv650\r\n')
      expect(await client.ask('TTL', 'copy')).to.match(/^:(99|100)\r\n$/)
      expect(await client.ask('RESTORE', 'k', '0', ASCII_DUMP)).to.equal(
        '-BUSYKEY Target key name already exists.\r\n',
      )
      expect(await client.ask('HGET', 'k', 'f')).to.equal('$1\r\nv\r\n')
      expect(await client.ask('RESTORE', 'k', '0', ASCII_DUMP, 'REPLACE')).to.equal('+OK\r\n')
      expect(await client.ask('GET', 'k')).to.equal('$4\r\nv650\r\n')
      expect(await client.ask('RESTORE', 'k', '1', ASCII_DUMP, 'REPLACE', 'ABSTTL')).to.equal('+OK\r\n')
      expect(await client.ask('EXISTS', 'k')).to.equal(':0\r\n')
    })

    it('takes a stream of 36,000 entries with its groups, and gives it back to Redis', async () => {
      const redis = await startRedis()
      const there = await RawResp.open(redis.port)
      try {
        await there.ask('EVAL', MANY_ENTRIES, '1', 's')
        const given = bulkIn(await there.ask('DUMP', 's'))
        expect(given.length).to.be.above(2 * 1024 * 1024)
        expect(await client.ask('RESTORE', 'k', '0', given)).to.equal('+OK\r\n')
        expect(await client.ask('XLEN', 'k')).to.equal(':35000\r\n')
        const back = bulkIn(await client.ask('DUMP', 'k'))
        expect(await there.ask('RESTORE', 'back', '0', back)).to.equal('+OK\r\n')
        expect(await there.ask('EVAL', DIGEST, '1', 'back')).to.equal(
          await there.ask('EVAL', DIGEST, '1', 's'),
        )
        expect(await there.ask('XINFO', 'GROUPS', 'back')).to.equal(await there.ask('XINFO', 'GROUPS', 's'))
        const refused = await client.ask('RESTORE', 'k', '0', withoutLastByte(given), 'REPLACE')
        expect(refused).to.equal('-ERR DUMP payload version or checksum are wrong\r\n')
      } finally {
        there.close()
        await redis.stop()
      }
    })

    it('takes a large payload, in a transaction too', async () => {
      const large = sealed(Buffer.concat([Buffer.from([0, 0x80, 0, 1, 0, 0]), Buffer.alloc(65_536, 'x')]))
      expect(await client.ask('RESTORE', 'k', '0', large)).to.equal('+OK\r\n')
      expect(await client.ask('STRLEN', 'k')).to.equal(':65536\r\n')
      await client.ask('MULTI')
      await client.ask('RESTORE', 'k', '0', large, 'REPLACE')
      await client.ask('STRLEN', 'k')
      expect(await client.ask('EXEC')).to.equal('*2\r\n+OK\r\n:65536\r\n')
    })
  })
})

const MANY_ENTRIES = `
  for i = 1, 36000 do
    redis.call('XADD', KEYS[1], i .. '-1', 'number', i, 'text', redis.sha1hex(i))
  end
  for i = 1, 1000 do redis.call('XDEL', KEYS[1], (i * 7) .. '-1') end
  redis.call('XGROUP', 'CREATE', KEYS[1], 'g', '0')
  redis.call('XGROUP', 'CREATE', KEYS[1], 'h', '30000-0')
  for i = 1, 3 do redis.call('XREADGROUP', 'GROUP', 'g', 'c' .. i, 'COUNT', '4000', 'STREAMS', KEYS[1], '>') end
  redis.call('XREADGROUP', 'GROUP', 'h', 'd', 'COUNT', '500', 'STREAMS', KEYS[1], '>')`

function bulkIn(reply: string): Buffer {
  return Buffer.from(reply.slice(reply.indexOf('\n') + 1, -2), 'latin1')
}

/** Of all entries, and of what is pending without its times. */
const DIGEST = `
  local all = {}
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
    all[#all + 1] = entry[1] .. table.concat(entry[2], ',')
  end
  for _, group in ipairs({'g', 'h'}) do
    for _, one in ipairs(redis.call('XPENDING', KEYS[1], group, '-', '+', 100000)) do
      all[#all + 1] = one[1] .. one[2] .. one[4]
    end
  end
  return #all .. ' ' .. redis.sha1hex(table.concat(all, ';'))`

function withoutLastByte(payload: Buffer): Buffer {
  return Buffer.concat([payload.subarray(0, -11), payload.subarray(-10)])
}

/** A text in an RDB file. */
function packed(content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([content.length]), content])
}

function ziplist(...entries: Buffer[]): Buffer {
  const parts: Buffer[] = []
  let before = 0
  for (const entry of entries) {
    parts.push(Buffer.from([before]), entry)
    before = entry.length + 1
  }
  const body = Buffer.concat([...parts, Buffer.from([0xff])])
  const head = Buffer.alloc(10)
  head.writeUInt32LE(10 + body.length)
  head.writeUInt32LE(10 + body.length - 1 - before, 4)
  head.writeUInt16LE(entries.length, 8)
  return Buffer.concat([head, body])
}
