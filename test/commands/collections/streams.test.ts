/** Streams: texts of errors, limits, groups through several coordinators, DUMP, and docs/STREAMS.md. */
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { createClient } from 'redis-6'
import { startRedis, startRedisCluster, type RedisServer } from '../../../scripts/redis-server.ts'
import { STEPS } from '../../../src/commands/specs.ts'
import type { Held, Step } from '../../../src/commands/step.ts'
import { planXreadgroup } from '../../../src/commands/streams/blocking.ts'
import { readArguments } from '../../../src/commands/streams/read-arguments.ts'
import { withKnownIds } from '../../../src/commands/streams/read.ts'
import { inOneGo } from '../../../src/core/work.ts'
import { runShown, shownIn } from '../../support/doc-page.ts'
import { RawResp } from '../../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'
import { LIMITS } from '../../support/steps.ts'

const words = (line: string) => line.split(' ').map((word) => Buffer.from(word))

describe('a stream', () => {
  let running: RunningRondo
  let client: RawResp
  before(async () => {
    running = await startRondo()
    client = await RawResp.open(running.rondo.respServer.port)
  })
  after(async () => {
    client.close()
    await running.stop()
  })
  beforeEach(() => client.ask('FLUSHALL'))
  const ask = async (line: string) => (await client.ask(...line.split(' '))).trimEnd()

  it('is refused what Redis refuses, in its words', async () => {
    await ask('XADD s 5-5 f v')
    for (const [line, error] of [
      ['XADD s 5-5 f v', 'ERR The ID specified in XADD is equal or smaller than the target stream top item'],
      ['XADD s 0-0 f v', 'ERR The ID specified in XADD must be greater than 0-0'],
      ['XADD s 0-* f v', 'ERR The ID specified in XADD is equal or smaller than the target stream top item'],
      ['XADD s x f v', 'ERR Invalid stream ID specified as stream command argument'],
      ['XADD s 6-1 f', "ERR wrong number of arguments for 'xadd' command"],
      ['XSETID s 4-0', 'ERR The ID specified in XSETID is smaller than the target stream top item'],
      [
        'XSETID s 9-0 MAXDELETEDID 9-1',
        'ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id',
      ],
      [
        'XSETID s 9-0 ENTRIESADDED 0',
        'ERR The entries_added specified in XSETID is smaller than the target stream length',
      ],
      ['XSETID nosuch 1-1', 'ERR no such key'],
      [
        'XREADGROUP GROUP g c STREAMS s >',
        "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option",
      ],
      ['XCLAIM s g c 0 1-1', "NOGROUP No such key 's' or consumer group 'g'"],
      ['XGROUP SETID s g 0', "NOGROUP No such consumer group 'g' for key name 's'"],
      ['XREAD STREAMS s +', 'ERR Invalid stream ID specified as stream command argument'],
    ] as const) {
      expect(await ask(line), line).to.equal(`-${error}`)
    }
    expect(await ask('XLEN s')).to.equal(':1')
    await ask('XADD s 99999999999999-5 f v')
    expect(await ask('XADD s * f v')).to.equal('$16\r\n99999999999999-6')
    expect(await ask('XADD s 99999999999999-* f v')).to.equal('$16\r\n99999999999999-7')
    expect(await ask('XLEN s')).to.equal(':4')
    await ask('XADD full 5-18446744073709551615 f v')
    expect(await ask('XADD full 5-* f v')).to.equal('-ERR Elements are too large to be stored')
    await ask('XADD s 18446744073709551615-18446744073709551615 f v')
    expect(await ask('XADD s * f v')).to.equal(
      '-ERR The stream has exhausted the last possible ID, unable to add more items',
    )
  })

  it('keeps its last id and what XDEL deleted, below which XSETID does not go, as in Redis 7.2', async () => {
    for (const line of ['XADD s 1-1 f v', 'XADD s 2-2 f v', 'XDEL s 2-2']) await ask(line)
    expect(await ask('XSETID s 2-1')).to.equal(
      '-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id',
    )
    await ask('XDEL s 1-1')
    expect(await ask('TYPE s')).to.equal('+stream')
    expect(await ask('OBJECT ENCODING s')).to.equal('$6\r\nstream')
    expect(await ask('XADD s 2-2 f v')).to.match(/^-ERR The ID specified/)
    expect(await ask('SCAN 0 COUNT 1000 TYPE stream')).to.include('\r\ns')
  })

  it('tells when consumers were seen and active, as Redis 7.2 does', async () => {
    for (const line of ['XADD s 1-1 f v', 'XGROUP CREATE s g 0', 'XGROUP CREATECONSUMER s g c'])
      await ask(line)
    expect(await ask('XINFO CONSUMERS s g')).to.match(/idle\r\n:\d{1,4}\r\n\$8\r\ninactive\r\n:-1$/)
    expect(await ask('XCLAIM s g d 0 1-1')).to.equal('*0')
    expect(await ask('XINFO CONSUMERS s g')).to.match(/^\*2\r\n/)
    await ask('XREADGROUP GROUP g c STREAMS s >')
    expect(await ask('XINFO CONSUMERS s g')).to.match(/inactive\r\n:\d{1,4}\r\n/)
    expect(await ask('XINFO STREAM s FULL')).to.match(/active-time\r\n:\d{13}\r\n/)
  })

  it('that is full refuses more, and can still be read by a group and acknowledged', async () => {
    const value = Buffer.alloc(1000 * 1024, 'v')
    for (let i = 1; i <= 32; i++) await client.ask('XADD', 's', `${i}-0`, 'f', value)
    expect(
      await client.ask('XADD', 's', '99-0', 'f', Buffer.concat([value, value.subarray(24_000)])),
    ).to.match(
      /^-ERR The stream would have \d+ bytes; at most 33554432 are allowed \(a fixed limit: use several keys\)\.\r\n$/,
    )
    expect(await ask('XLEN s')).to.equal(':32')
    expect((await client.ask('XADD', 's', 'MAXLEN', '32', '99-0', 'f', value)).trimEnd()).to.equal(
      '$4\r\n99-0',
    )
    await ask('XGROUP CREATE s g 30')
    expect(await ask('XREADGROUP GROUP g c STREAMS s >')).to.match(/^\*1\r\n/)
    expect(await ask('XACK s g 31-0 32-0 99-0')).to.equal(':3')
  })

  it('refuses groups whose names are too long together', async () => {
    await ask('XADD s 1-1 f v')
    expect(await client.ask('XGROUP', 'CREATE', 's', 'n'.repeat(262_000), '0')).to.equal('+OK\r\n')
    expect(await client.ask('XGROUP', 'CREATE', 's', 'm'.repeat(1000), '0')).to.match(
      /^-ERR The groups of the stream would have/,
    )
  })

  it('keeps what other consumers have pending when one is removed', async () => {
    for (let i = 1; i <= 4; i++) await ask(`XADD s ${i}-0 f v`)
    await ask('XGROUP CREATE s g 0')
    for (const [consumer, count] of [
      ['a', 1],
      ['b', 2],
      ['c', 1],
    ] as const) {
      await ask(`XREADGROUP GROUP g ${consumer} COUNT ${count} STREAMS s >`)
    }
    expect(await ask('XGROUP DELCONSUMER s g a')).to.equal(':1')
    expect((await ask('XPENDING s g')).match(/\$1\r\n\w\r\n\$1\r\n\d/g)).to.deep.equal([
      '$1\r\nb\r\n$1\r\n2',
      '$1\r\nc\r\n$1\r\n1',
    ])
    expect(await ask('XREADGROUP GROUP g c STREAMS s 0')).to.include('4-0')
  })

  it('trims whole hundreds with ~', async () => {
    for (let i = 1; i <= 250; i++) await ask(`XADD s ${i}-0 f v`)
    expect(await ask('XTRIM s MAXLEN ~ 60')).to.equal(':100')
    expect(await ask('XTRIM s MAXLEN ~ 40 LIMIT 50')).to.equal(':0')
    expect(await ask('XTRIM s MINID ~ 201')).to.equal(':100')
    expect(await ask('XTRIM s MAXLEN = 10')).to.equal(':40')
  })

  it('tells for how long a command may wait, and behind which ids', () => {
    const known = (line: string) => withKnownIds(words(line), [null], 1000).join(' ')
    const blockMs = (line: string, isGroup: boolean) => readArguments(words(line), isGroup, 1000).blockMs
    expect(blockMs('XREAD BLOCK 1500 STREAMS s $', false)).to.equal(1500)
    expect(blockMs('XREADGROUP GROUP g c BLOCK 0 STREAMS s >', true)).to.equal(0)
    expect(blockMs('XREAD STREAMS s 0', false)).to.equal(null)
    expect(known('XREAD BLOCK 0 STREAMS s $')).to.equal('XREAD BLOCK 0 STREAMS s 0-0')
  })

  for (const keys of ['{t}a', '{t}a {t}b']) {
    it(`stores once that a consumer of a group waits, however often it is tried: ${keys}`, () => {
      const create = STEPS.xgroup!.make(words('XGROUP CREATE s g $ MKSTREAM'), 1000, LIMITS)
      const run = (step: Step, held: (Held | null)[], nowMs: number) => {
        if (step.needs !== 'value') throw new Error('it needs the value')
        const sliced = step.slow ? inOneGo(step.slow.slices(held, nowMs)) : step.apply(held, nowMs)
        expect(step.apply(held, nowMs)).to.deep.equal(sliced)
        return sliced.next
      }
      const [stream] = run(create, [null], 1000)!
      const count = keys.split(' ').length
      const line = `XREADGROUP GROUP g c BLOCK 0 STREAMS ${keys} ${'> '.repeat(count).trim()}`
      const plan = planXreadgroup(words(line), 1000, LIMITS)!
      const noted = run(plan.stepAt(0), Array<Held>(count).fill(stream!), 2000)
      expect(noted).to.have.length(count)
      plan.missed!()
      expect(run(plan.stepAt(0), noted as Held[], 60_000)).to.equal(undefined)
    })
  }

  describe('in docs/STREAMS.md', () => {
    const page = readFileSync(new URL('../../../docs/STREAMS.md', import.meta.url), 'utf8')
    it('does what the page shows', async () => {
      const shown = shownIn(page)
      expect(shown.length).to.be.above(8)
      for (const { command, printed } of shown)
        expect((await runShown(command, client, running.ports.socket)).trimEnd(), command).to.equal(
          printed.trimEnd(),
        )
    })
  })
})

describe('DUMP and RESTORE of streams', function () {
  this.timeout(20_000)
  let redis: RedisServer
  let running: RunningRondo
  let [theirs, ours]: RawResp[] = []
  before(async () => {
    redis = await startRedis()
    running = await startRondo()
    theirs = await RawResp.open(redis.port)
    ours = await RawResp.open(running.rondo.respServer.port)
  })
  after(async () => {
    for (const client of [theirs, ours]) client?.close()
    await running.stop()
    await redis.stop()
  })
  const payloadOf = async (client: RawResp, key: string) => {
    const reply = await client.ask('DUMP', key)
    return Buffer.from(reply.slice(reply.indexOf('\r\n') + 2, -2), 'latin1')
  }
  const all = async (client: RawResp, key: string) => {
    const range = await client.ask('XRANGE', key, '-', '+')
    const pending = await client.ask('XPENDING', key, 'g')
    const groups = await client.ask('XINFO', 'GROUPS', key)
    return [range, pending, groups, await client.ask('XADD', key, 'NOMKSTREAM', '9999999999999-*', 'a', 'b')]
  }

  it('take them from a real Redis to Rondo, and back', async () => {
    const fill: (string | Buffer)[][] = [['DEL', 's']]
    for (let i = 1; i <= 230; i++)
      fill.push(['XADD', 's', `${i * 1000}-${i % 3}`, 'same', String(i), 'n', '-7'])
    fill.push([
      'XADD',
      's',
      '300000-18446744073709551615',
      'other',
      'x'.repeat(5000),
      '',
      '\0',
      'z',
      '123456789012',
    ])
    fill.push(['XDEL', 's', '5000-2', '130000-1'])
    fill.push(
      ['XGROUP', 'CREATE', 's', 'g', '0'],
      ['XGROUP', 'CREATE', 's', 'empty', '$', 'ENTRIESREAD', '7'],
    )
    for (const [consumer, count] of [
      ['a', '20'],
      ['b', '3'],
      ['a', '90'],
    ])
      fill.push(['XREADGROUP', 'GROUP', 'g', consumer!, 'COUNT', count!, 'STREAMS', 's', '>'])
    fill.push(['XACK', 's', 'g', '1000-1', '2000-2'], ['XREADGROUP', 'GROUP', 'g', 'b', 'STREAMS', 's', '0'])
    for (const line of fill) expect(await theirs!.ask(...line), String(line[0])).to.not.match(/^-/)
    expect(await ours!.ask('RESTORE', 'here', '0', await payloadOf(theirs!, 's'))).to.equal('+OK\r\n')
    expect(await theirs!.ask('RESTORE', 'back', '0', await payloadOf(ours!, 'here'))).to.equal('+OK\r\n')
    const wanted = await all(theirs!, 's')
    expect(await all(ours!, 'here')).to.deep.equal(wanted)
    expect(await all(theirs!, 'back')).to.deep.equal(wanted)
  })

  it('refuse what is damaged, and never fail', async () => {
    for (const line of [
      'DEL s',
      'XADD s 1-1 f v',
      'XADD s 2-1 f v',
      'XGROUP CREATE s g 0',
      'XREADGROUP GROUP g c STREAMS s >',
    ])
      await theirs!.ask(...line.split(' '))
    const payload = await payloadOf(theirs!, 's')
    const { Crc64 } = await import('../../../src/commands/dump/crc64.ts')
    let refused = 0
    for (let at = 1; at < payload.length - 10; at++) {
      for (const flip of [0x01, 0x80, 0xff]) {
        const damaged = Buffer.from(payload.subarray(0, -8))
        damaged[at]! ^= flip
        const sealed = Buffer.concat([damaged, new Crc64().add(damaged).bytes()])
        const reply = await ours!.ask('RESTORE', 'damaged', '0', sealed, 'REPLACE')
        expect(reply).to.match(/^(\+OK|-ERR (Bad data format|A collection has|The ))/)
        if (reply.startsWith('-')) refused++
        else expect(await ours!.ask('XINFO', 'STREAM', 'damaged', 'FULL')).to.match(/^\*/)
      }
    }
    expect(refused).to.be.above(payload.length)
  })
})

describe('a consumer group through two coordinators', function () {
  this.timeout(30_000)
  let servers: RedisServer[]
  let both: RunningRondo[]
  before(async () => {
    servers = await startRedisCluster(3)
    const REDIS_URLS = servers.map(({ url }) => url).join(',')
    const env = {
      REDIS_URLS,
      READ_CONSISTENCY: 'quorum',
      WRITE_CONSISTENCY: 'quorum',
      NODE_TIMEOUT_MS: '5000',
      REQUEST_TIMEOUT_MS: '5000',
    }
    both = [await startRondo(env), await startRondo(env)]
  })
  after(async () => {
    await Promise.all(both.map((one) => one.stop()))
    await Promise.all(servers.map((server) => server.stop()))
  })

  it('delivers every entry to one consumer, while producers add', async () => {
    const clients = await Promise.all(
      [0, 1, 0, 1, 0, 1].map((at) => RawResp.open(both[at]!.rondo.respServer.port)),
    )
    const [one, other, ...consumers] = clients as [RawResp, RawResp, ...RawResp[]]
    expect(await one.ask('XGROUP', 'CREATE', 'work', 'g', '0', 'MKSTREAM')).to.equal('+OK\r\n')
    const ENTRIES = 120
    let added = 0
    let isDone = false
    /** Writers that compete may be told that the outcome is unknown: then the entry may be there. */
    const produce = async (client: RawResp) => {
      const ids: string[] = []
      while (added < ENTRIES) {
        added++
        const reply = await client.ask('XADD', 'work', '*', 'n', String(added))
        expect(reply).to.match(/^(\$\d+\r\n\d+-\d+\r\n$|-UNKNOWN )/)
        if (reply.startsWith('$')) ids.push(reply.split('\r\n')[1]!)
      }
      return ids
    }
    const consumersOf = new Map<string, Set<string>>()
    const known = async (client: RawResp, ...args: string[]) => {
      const reply = await client.ask(...args)
      expect(reply).to.match(/^(?!-)|^-UNKNOWN /)
      return reply.startsWith('-') ? null : reply
    }
    const consume = async (client: RawResp, name: string) => {
      let from = '>'
      for (;;) {
        const wasDone = isDone
        const reply = await known(
          client,
          'XREADGROUP',
          'GROUP',
          'g',
          name,
          'COUNT',
          '3',
          'STREAMS',
          'work',
          from,
        )
        // What an unknown outcome has left pending is read again.
        from = reply === null ? '0' : '>'
        const ids = reply?.match(/\d{13}-\d+/g) ?? []
        for (const id of ids) consumersOf.set(id, (consumersOf.get(id) ?? new Set()).add(name))
        while (ids.length > 0 && (await known(client, 'XACK', 'work', 'g', ...ids)) === null);
        if (wasDone && reply === '*-1\r\n') return
      }
    }
    const consumed = Promise.all(consumers.map((client, i) => consume(client, `c${i}`)))
    const made = (await Promise.all([produce(one), produce(other)])).flat()
    isDone = true
    await consumed
    expect(
      made.filter((id) => !consumersOf.has(id)),
      'acknowledged, and delivered to nobody',
    ).to.deep.equal([])
    expect(await one.ask('XLEN', 'work')).to.equal(`:${consumersOf.size}\r\n`)
    expect([...consumersOf.values()].filter((names) => names.size > 1)).to.deep.equal([])
    expect(await one.ask('XPENDING', 'work', 'g')).to.match(/^\*4\r\n:0\r\n/)
    for (const client of clients) client.close()
  })

  it('is taken over by another worker when one has crashed, with node-redis', async () => {
    const [ada, bob] = await Promise.all(
      both.map(async ({ rondo }) => {
        const client = createClient({ url: `redis://127.0.0.1:${rondo.respServer.port}` })
        await client.connect()
        return client
      }),
    )
    await ada!.xGroupCreate('jobs', 'workers', '0', { MKSTREAM: true })
    const ids = await Promise.all([1, 2, 3, 4].map((n) => bob!.xAdd('jobs', '*', { n: String(n) })))
    const taken = (await ada!.xReadGroup(
      'workers',
      'ada',
      { key: 'jobs', id: '>' },
      { COUNT: 3 },
    )) as unknown as [{ messages: { id: string }[] }]
    expect(taken[0].messages).to.have.length(3)
    await ada!.xAck('jobs', 'workers', taken[0].messages[0]!.id)
    ada!.destroy()
    const { messages, nextId, deletedMessages } = await bob!.xAutoClaim('jobs', 'workers', 'bob', 0, '0')
    expect([nextId, deletedMessages]).to.deep.equal(['0-0', []])
    const claimed = messages.map((message) => message!.id)
    expect(claimed).to.deep.equal(taken[0].messages.slice(1).map(({ id }) => id))
    await bob!.xAck('jobs', 'workers', claimed)
    const rest = (await bob!.xReadGroup('workers', 'bob', {
      key: 'jobs',
      id: '>',
    })) as unknown as typeof taken
    await bob!.xAck(
      'jobs',
      'workers',
      rest[0].messages.map(({ id }) => id),
    )
    expect((await bob!.xPending('jobs', 'workers')).pending).to.equal(0)
    expect(
      [taken[0].messages[0]!.id, ...claimed, ...rest[0].messages.map(({ id }) => id)].sort(),
    ).to.deep.equal(ids.sort())
    bob!.destroy()
  })
})
