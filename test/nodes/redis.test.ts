import { randomBytes } from 'node:crypto'
import net from 'node:net'
import { expect } from 'chai'
import {
  KIND_HASH,
  KIND_LIST,
  KIND_TOMBSTONE,
  lastingCopy,
  StoredRecord,
  versionOf,
} from '../../src/core/codec.ts'
import { hintsKey, MARKER_KEY, TOPOLOGY_KEY } from '../../src/core/keys.ts'
import { FAR_END_MS } from '../../src/core/lifetime.ts'
import { byteRange } from '../../src/core/part.ts'
import { editsBetween } from '../../src/core/patch.ts'
import type { Fence } from '../../src/nodes/node.ts'
import { errorReason } from '../../src/nodes/redis/error-replies.ts'
import {
  accept,
  get,
  hint,
  peek,
  prepare,
  record,
  store,
  version,
  type CallResult,
} from '../support/node-calls.ts'
import { fenceOf, redisNodeUnderTest } from '../support/nodes-under-test.ts'
import { realTimers } from '../support/real-time.ts'
import { startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import {
  describeNodeContract,
  GRACE_MS,
  HeardListener,
  MARKER,
  MAX_HINTS,
} from '../../src/library/node-contract/contract.ts'

let redis: RedisServer

before(async () => {
  redis = await startRedis()
})
after(() => redis.stop())

describeNodeContract(
  'the redis node',
  {
    otherTypes: true,
    create: () => redisNodeUnderTest(redis, { graceMs: GRACE_MS, maxHints: MAX_HINTS }),
  },
  { describe, it, beforeEach, afterEach },
)

describe('the redis node, where only a redis can go wrong', () => {
  const endOfTurn = () => new Promise<void>((resolve) => realTimers.endOfTurn(resolve))
  const failureOf = (result: CallResult) =>
    result.kind === 'failed' ? `${result.failure.kind}: ${result.failure.reason}` : result.kind
  let under: Awaited<ReturnType<typeof redisNodeUnderTest>>
  let listener: HeardListener
  let fence: Fence

  async function opened(options: Partial<Parameters<typeof redisNodeUnderTest>[1]> = {}) {
    under = await redisNodeUnderTest(redis, { graceMs: GRACE_MS, ...options })
    listener = new HeardListener()
    under.node.listener = listener
    fence = await fenceOf(under.node, MARKER)
    await under.server.setRaw(MARKER_KEY, MARKER)
    await under.node.open(fence)
  }

  async function reopened(options: Parameters<typeof opened>[0]) {
    await under.close()
    await opened(options)
  }

  beforeEach(() => opened())
  afterEach(async () => {
    if (redis.pid !== undefined) redis.resume()
    await under.client.config('SET', 'maxmemory', '0')
    await under.client.replicaof('NO', 'ONE')
    await under.close()
  })

  it('asks for the hints of all peers with one command, as long as there are none', async () => {
    const peers = Array.from({ length: 50 }, (_, i) => `n${i}`)
    await under.client.config('RESETSTAT')
    expect((await under.node.probe(peers)).hints.size).to.equal(0)
    const stats = await under.client.info('commandstats')
    expect(stats)
      .to.match(/cmdstat_exists:calls=1,/)
      .and.not.match(/cmdstat_hlen/)
    await hint(under.node, 'n7', 'k', version({ ms: 1 }))
    expect([...(await under.node.probe(peers)).hints]).to.deep.equal([['n7', 1]])
  })

  it('fetches the register again only when it has changed', async () => {
    const { node, client } = under
    const write = async (ms: number, value: string) => {
      await node.prepareRegister(version({ ms }))
      await node.acceptRegister(record(ms, value))
    }
    const sent = async () => {
      const text = (await node.probe()).topology!
      await client.config('RESETSTAT')
      expect((await node.probe()).topology).to.deep.equal(text)
      const stats = await client.info('commandstats')
      expect(stats).to.match(/cmdstat_get:calls=2,/, 'the marker, and when it was synced')
      return new StoredRecord(text).value.toString()
    }
    await write(5, 'a'.repeat(100_000))
    expect(await sent()).to.equal('a'.repeat(100_000))
    await write(6, 'b'.repeat(100_000))
    expect(await sent()).to.equal('b'.repeat(100_000))
    await node.prepareRegister(version({ ms: 7 }))
    expect(await sent()).to.equal('b'.repeat(100_000))
    await client.del(TOPOLOGY_KEY)
    expect((await node.probe()).topology).to.equal(null)
  })

  it('ends calls in flight as unknown when it is shut', async () => {
    await redis.pause()
    const calls = [
      get(under.node, 'k'),
      store(under.node, 'k', record(5)),
      prepare(under.node, 'k', version({ ms: 6 })),
      hint(under.node, 'b', 'k', version({ ms: 6 })),
    ]
    await endOfTurn()
    under.node.shut('test')
    expect((await Promise.all<CallResult>(calls)).map(failureOf)).to.deep.equal(
      Array.from(calls, () => 'unknown: closed'),
    )
    expect(listener.heard).to.deep.equal([])
  })

  it('ends calls as unknown, tells the listener, and is no longer ready when no answer comes in time', async () => {
    await reopened({ nodeTimeoutMs: 50 })
    await redis.pause()
    expect(failureOf(await store(under.node, 'k', record(5)))).to.equal('unknown: timeout')
    expect(under.node.ready).to.equal(false)
    expect(listener.heard).to.deep.equal(['broken: timeout'])
  })

  it('refuses calls beyond those that may wait for the node, and has room again when they were answered', async () => {
    const MAY_WAIT = 100_000
    const ask = async (calls: number) => {
      const results = await Promise.all(Array.from({ length: calls }, () => get(under.node, 'k')))
      return results.filter(({ kind }) => kind === 'absent').length
    }
    expect(await ask(MAY_WAIT + 5)).to.equal(MAY_WAIT)
    expect(await ask(MAY_WAIT)).to.equal(MAY_WAIT)
  })

  it('works although the server has forgotten the scripts', async () => {
    await under.client.script('FLUSH')
    const results = await Promise.all<CallResult>([
      store(under.node, 'k', record(5, 'v')),
      store(under.node, 'k', record(4)),
      store(under.node, 'k', record(6, 'w'), 60_000, { onlyIf: version({ ms: 5 }) }),
      store(under.node, 'k', record(7), 60_000, { onlyIf: version({ ms: 5 }) }),
      prepare(under.node, 'l', version({ ms: 5 })),
      accept(under.node, 'l', record(5)),
      hint(under.node, 'b', 'k', version({ ms: 5 })),
      peek(under.node, 'l', 'length'),
    ])
    expect(results.map(({ kind }) => kind)).to.deep.equal([
      'applied',
      'stale',
      'applied',
      'stale',
      'promised',
      'applied',
      'applied',
      'found',
    ])
    await under.client.script('FLUSH')
    expect((await under.node.prepareRegister(version({ ms: 1 }))).ok).to.equal(true)
    expect(await under.node.lease('fill', 'one', 60_000)).to.equal(true)
    await under.node.dropCopy(MARKER, Buffer.from('k'), version({ ms: 6 }))
    expect(await under.server.getRaw(Buffer.from('k'))).to.equal(null)
  })

  it('reads behind a store see it, although the server had forgotten its script', async () => {
    for (const reads of [
      () => get(under.node, 'k').then((found) => found.kind === 'found' && new StoredRecord(found.bytes)),
      ...(['head', 'length', { from: 0, to: 1 }] as const).map(
        (part) => () => peek(under.node, 'k', part).then((found) => found.kind === 'found' && found.record),
      ),
    ]) {
      await under.server.deleteRaw(Buffer.from('k'))
      expect((await store(under.node, 'k', record(5))).kind).to.equal('applied')
      await under.client.script('FLUSH')
      expect((await peek(under.node, 'other', 'length')).kind).to.equal('absent')
      const [stored, found] = await Promise.all([store(under.node, 'k', record(6)), reads()])
      expect(stored.kind).to.equal('applied')
      expect(found && Buffer.from(found.version)).to.deep.equal(version({ ms: 6 }))
    }
  })

  it('sends nothing again under a foreign marker, also where the script was forgotten', async () => {
    await under.client.script('FLUSH')
    await under.server.deleteRaw(MARKER_KEY)
    expect(failureOf(await store(under.node, 'k', record(5)))).to.equal('unknown: marker')
    expect(await under.server.getRaw(Buffer.from('k'))).to.equal(null)
  })

  it('reads and deletes on a full server, and is told that it takes no more', async () => {
    await store(under.node, 'k', record(5, 'v'))
    await prepare(under.node, 'l', version({ ms: 5 }))
    await under.client.config('SET', 'maxmemory', '1')
    const full = 'refused: out-of-memory'
    expect(failureOf(await store(under.node, 'other', record(5)))).to.equal(full)
    expect(listener.heard).to.deep.equal(['unwritable: out-of-memory'])
    expect(failureOf(await prepare(under.node, 'k', version({ ms: 6 })))).to.equal(full)
    expect(failureOf(await hint(under.node, 'b', 'k', version({ ms: 6 })))).to.equal(full)
    const found = await get(under.node, 'k')
    expect(found.kind === 'found' && new StoredRecord(found.bytes).value.toString()).to.equal('v')
    const tombstone = (ms: number) => record(ms, '', { kind: KIND_TOMBSTONE })
    expect((await store(under.node, 'k', tombstone(6), 60_000)).kind).to.equal('applied')
    expect((await accept(under.node, 'l', tombstone(5), 60_000)).kind).to.equal('applied')
    expect((await store(under.node, 'l', lastingCopy(tombstone(5)), 90_000)).kind).to.equal('applied')
    expect(new StoredRecord((await under.server.getRaw(Buffer.from('l')))!).isLasting).to.equal(true)
    expect(await under.server.ttl(Buffer.from('l'))).to.be.above(80_000)
    expect(await under.node.tryWrite().catch((error: Error) => error.message)).to.match(/^OOM/)
  })

  it('refuses the values of one turn on a full server, and takes the delete among them', async () => {
    await store(under.node, 'k', record(5, 'v'))
    await under.client.config('SET', 'maxmemory', '1')
    const results = await Promise.all([
      store(under.node, 'a', record(5)),
      store(under.node, 'b', record(5)),
      store(under.node, 'k', record(6, '', { kind: KIND_TOMBSTONE }), 60_000),
      store(under.node, 'c', record(5)),
    ])
    const full = 'refused: out-of-memory'
    expect(
      results.map((result) => (result.kind === 'failed' ? failureOf(result) : result.kind)),
    ).to.deep.equal([full, full, 'applied', full])
    expect(await under.client.exists('a', 'b', 'c')).to.equal(0)
  })

  it('takes the stores of one turn after the script was forgotten, and replaces the key of another type', async () => {
    await under.client.script('FLUSH')
    await under.client.rpush('list', 'x')
    const results = await Promise.all(['a', 'list', 'b'].map((key) => store(under.node, key, record(5))))
    expect(
      results.map((result) => (result.kind === 'failed' ? failureOf(result) : result.kind)),
    ).to.deep.equal(['applied', 'applied', 'applied'])
    expect(await under.client.type('list')).to.equal('string')
  })

  describe('a patch of something else than the server holds, which is sent again as a whole', () => {
    const held = record(5, Buffer.alloc(2000, 'h').toString())
    const base = record(7, Buffer.alloc(2000, 'a').toString())
    const next = record(8, Buffer.alloc(2000, 'a').fill('b', 1990).toString())
    const patched = {
      ...next,
      patch: { base: versionOf(base), edits: editsBetween(base.value, next.value)! },
    }
    const reads = async () => {
      const ofValue = get(under.node, 'k')
      const ofHead = peek(under.node, 'k', 'head')
      const ofRange = peek(under.node, 'k', byteRange(1990, 1999))
      const found = await ofValue
      const records = [found.kind === 'found' ? new StoredRecord(found.bytes) : null]
      const peeked = (await Promise.all([ofHead, ofRange])).map((one) =>
        one.kind === 'found' ? one.record : null,
      )
      return [...records, ...peeked].map((one) => one && Buffer.from(one.version))
    }

    it('is not overtaken by reads of the same turn, also if the server has forgotten all scripts', async () => {
      for (const forget of [false, true]) {
        await store(under.node, 'k', held, FAR_END_MS)
        if (forget) await under.client.script('FLUSH')
        const stored = store(under.node, 'k', patched, FAR_END_MS)
        expect(await reads()).to.deep.equal(Array(3).fill(version({ ms: 8 })))
        expect((await stored).kind).to.equal('applied')
        await under.client.del('k')
      }
    })

    it('keeps no read waiting, however many are sent', async () => {
      await store(under.node, 'k', held, FAR_END_MS)
      const onlyIf = Buffer.from(versionOf(base))
      let turns = 0
      let isWaiting = true
      const again = () => {
        if (!isWaiting || ++turns === 1000) return
        void store(under.node, 'k', patched, FAR_END_MS, { onlyIf, epochs: { since: 1, epoch: 1 } })
        setImmediate(again)
      }
      again()
      expect(await reads()).to.deep.equal(Array(3).fill(version({ ms: 5 })))
      isWaiting = false
      expect(turns).to.be.below(1000)
    })
  })

  it('prepares the keys of one turn in one script call, also after it was forgotten, and refuses only one of another type', async () => {
    await under.client.script('FLUSH')
    await under.client.rpush('list', 'x')
    await prepare(under.node, 'newer', version({ ms: 9 }))
    await under.client.script('FLUSH')
    for (const calls of ['2', '1']) {
      await under.client.config('RESETSTAT')
      const results = await Promise.all(
        ['a', 'list', 'newer', 'b'].map((key) => prepare(under.node, key, version({ ms: 5 }))),
      )
      expect(results.map(failureOf)).to.deep.equal(['promised', 'refused: wrong-type', 'refused', 'promised'])
      expect(await scriptCalls()).to.equal(calls)
    }
    expect(await under.client.lrange('list', 0, -1)).to.deep.equal(['x'])
  })

  it('promises all of the keys of one turn on a full server, or none', async () => {
    await store(under.node, 'k', record(9, 'v'))
    await under.client.config('SET', 'maxmemory', '1')
    const results = await Promise.all(
      ['k', 'a', 'b'].map((key) => prepare(under.node, key, version({ ms: 5 }))),
    )
    expect(results.map(failureOf)).to.deep.equal(Array(3).fill('refused: out-of-memory'))
    expect(await under.client.exists('a', 'b')).to.equal(0)
  })

  it('prepares no more than 64 keys by one script call, and none that is large beside others', async () => {
    const names = Array.from({ length: 200 }, (_, i) => `k${i}`)
    await under.client.config('RESETSTAT')
    await Promise.all(names.map((key) => prepare(under.node, key, version({ ms: 5 }))))
    expect(await scriptCalls()).to.equal('4')
    await under.client.config('RESETSTAT')
    await Promise.all(
      [0, 20_000, 16_000, 0].map((bytes, i) => prepare(under.node, `l${i}`, version({ ms: 5 }), bytes)),
    )
    expect(await scriptCalls()).to.equal('3')
  })

  it('reads no more by one script call than it may, however much the keys hold that were expected to be small', async () => {
    const values = Array.from({ length: 5 }, (_, i) => randomBytes(600_000 + i))
    await Promise.all(values.map((value, i) => store(under.node, `large${i}`, record(5, value))))
    await under.client.config('RESETSTAT')
    const results = await Promise.all(
      values.map((_, i) => prepare(under.node, `large${i}`, version({ ms: 6 }))),
    )
    for (const [i, result] of results.entries()) {
      const before = result.kind === 'promised' && new StoredRecord(result.bytes!)
      expect(before && before.value.equals(values[i]!)).to.equal(true)
      const after = new StoredRecord((await under.server.getRaw(Buffer.from(`large${i}`)))!)
      expect(after.promise).to.deep.equal(version({ ms: 6 }))
    }
    expect(await scriptCalls()).to.equal('3')
  })

  /** Both by their SHA1 and by their text. */
  async function scriptCalls() {
    const stats = await under.client.info('commandstats')
    const calls = [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)]
    return String(calls.reduce((sum, [, count]) => sum + Number(count), 0))
  }

  it('keeps a full server from refusing a delete without losing what the tombstone replaces', async () => {
    await store(under.node, 'k', record(5, 'v'))
    await under.client.config('SET', 'maxmemory', '1')
    await store(under.node, 'k', record(6, '', { kind: KIND_TOMBSTONE }), 60_000)
    await under.client.config('SET', 'maxmemory', '0')
    const held = new StoredRecord((await under.server.getRaw(Buffer.from('k')))!)
    expect(held.kind).to.equal(KIND_TOMBSTONE)
    expect(held.replaced).to.deep.equal(record(5).head.subarray(5, 13))
    expect(await under.server.ttl(Buffer.from('k'))).to.be.above(GRACE_MS - 3000)
  })

  it('is told that the server has become a replica, and still reads from it', async () => {
    await under.client.replicaof('127.0.0.1', '1')
    expect(failureOf(await store(under.node, 'k', record(5)))).to.equal('refused: read-only')
    expect(listener.heard).to.deep.equal(['unwritable: read-only'])
    expect((await get(under.node, 'k')).kind).to.equal('absent')
    expect(await under.node.tryWrite().catch((error: Error) => error.message)).to.match(/^READONLY/)
  })

  it('is told that the server is busy, which is no foreign marker', async () => {
    const stuck = under.client.duplicate()
    await under.client.config('SET', 'lua-time-limit', '1')
    const running = stuck.eval('while true do end', 0).catch((error: Error) => error.message)
    try {
      await untilBusy()
      const results = await Promise.all([get(under.node, 'k'), store(under.node, 'k', record(5))])
      expect(results.map(failureOf)).to.deep.equal(['refused: busy', 'refused: busy'])
      expect(listener.heard).to.deep.equal(['unwritable: busy', 'unwritable: busy'])
      expect(under.node.ready).to.equal(true)
    } finally {
      await under.client.script('KILL')
      await running
      await under.client.config('SET', 'lua-time-limit', '5000')
      stuck.disconnect()
    }
    expect(await get(under.node, 'k')).to.deep.equal({ kind: 'absent', fence })
  })

  async function untilBusy() {
    for (;;) {
      const answer = await under.client.ping().catch((error: Error) => error.message)
      if (answer.startsWith('BUSY')) return
      await endOfTurn()
    }
  }

  it('fails a call alone whose value is larger than is taken', async () => {
    await reopened({ maxValueBytes: 100 })
    const [large, small] = [Buffer.alloc(1_000_000, 'x'), Buffer.from('small')]
    await under.server.setRaw(Buffer.from('large'), large)
    await under.server.setRaw(Buffer.from('small'), small)
    const results = await Promise.all<CallResult>([
      get(under.node, 'small'),
      get(under.node, 'large'),
      get(under.node, 'absent'),
      prepare(under.node, 'large', version({ ms: 5 })),
      get(under.node, 'small'),
    ])
    expect(results.map(failureOf)).to.deep.equal([
      'found',
      'refused: too-long',
      'absent',
      'unknown: too-long', // the promise stands, and only the answer was not taken
      'found',
    ])
    for (const i of [1, 3]) {
      const result = results[i]!
      expect(result.kind === 'failed' && result.failure.message).to.match(/larger than MAX_VALUE_BYTES/)
    }
    expect(results[4]).to.deep.include({ bytes: small })
    expect(listener.heard).to.deep.equal([])
  })

  it('opens although values may be of one byte only: the greeting is longer', async () => {
    await reopened({ maxValueBytes: 1 })
    expect(under.node.ready).to.equal(true)
  })

  it('keeps hints without an end', async () => {
    await hint(under.node, 'b', 'k', version({ ms: 5 }))
    expect(await under.server.ttl(hintsKey('b'))).to.equal(-1)
  })

  it('lists keys with what they hold at one moment: nothing that changes after it has asked gets in between', async () => {
    const names = ['a', 'b', 'c', 'd', 'e'].map((name) => Buffer.from(name))
    let asked = Infinity
    const proxy = await heldUp(redis.port, async () => {
      if (asked++ === 0) return
      await under.client.del('b', 'd')
      await under.client.lpush('d', 'x')
      await under.client.set('e', '')
    })
    try {
      await reopened({ address: { host: '127.0.0.1', port: proxy.port, tls: false } })
      await under.node.scan('0', null, 1) // from now on the server knows the script
      for (const name of names) await under.server.setRaw(name, Buffer.from('value'))
      asked = 0
      const { entries } = await under.node.scan('0', Buffer.from('?'), 100)
      const shown = entries.map(({ key, head }) => `${key.toString()} ${head.toString()}`)
      expect(shown.sort()).to.deep.equal(names.map((name) => `${name.toString()} value`))
    } finally {
      await under.node.close()
      await proxy.close()
    }
  })

  it('lists strings, the empty one too, and what others stored, and looks at a thousand keys at most in one call', async () => {
    await under.client.mset(Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`key:${i}`, 'value'])))
    await under.client.lpush('list', 'x')
    await under.client.hset('__rondo:hints:other', 'k', 'v')
    await under.client.hset('__rondo:db3:hash', 'k', 'v')
    await under.client.set('empty', '')
    const listed = new Map<string, string>()
    let cursor = '0'
    do {
      const page = await under.node.scan(cursor, null, 1_000_000)
      expect(page.entries.length).to.be.below(1100)
      for (const { key, head } of page.entries) listed.set(key.toString(), head.toString('latin1'))
      cursor = page.cursor
    } while (cursor !== '0')
    expect(listed.get('empty')).to.equal('')
    expect(listed.has('__rondo:hints:other')).to.equal(false)
    const kinds = ['list', '__rondo:db3:hash'].map(
      (key) => new StoredRecord(Buffer.from(listed.get(key)!, 'latin1')),
    )
    expect(kinds.map(({ kind, isForeign }) => [kind, isForeign])).to.deep.equal([
      [KIND_LIST, true],
      [KIND_HASH, true],
    ])
    expect([...listed.values()].filter((head) => head === 'value')).to.have.length(3000)
  })
})

describe('an error reply', () => {
  const F = 'ERR Error running script (call to f_8f55ae4a3be429c6d38c5d5db3e80edf89197b64):'
  const texts: [string, string, string][] = [
    ['out of memory', 'out-of-memory', "OOM command not allowed when used memory > 'maxmemory'."],
    [
      'out of memory in a script',
      'out-of-memory',
      "OOM command not allowed when used memory > 'maxmemory'. script: 3a1bd27ef5ea3fc8, on @user_script:41.",
    ],
    [
      'out of memory in a script of Redis 6',
      'out-of-memory',
      `${F} @user_script:41: @user_script: 41: -OOM command not allowed when used memory > 'maxmemory'.   `,
    ],
    ['a replica', 'read-only', "READONLY You can't write against a read only replica."],
    [
      'a replica, met by a script of Redis 6',
      'read-only',
      `${F} @user_script:4: @user_script: 4: -READONLY You can't write against a read only replica.   `,
    ],
    [
      'a failed snapshot, met by a script of Redis 6',
      'misconf',
      `${F} @user_script:2: @user_script: 2: -MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.   `,
    ],
    [
      'a failing disk, met by a script of Redis 6',
      'misconf',
      `${F} @user_script:60: @user_script: 60: -MISCONF Errors writing to the AOF file: No space left on device   `,
    ],
    ['another type', 'wrong-type', 'WRONGTYPE Operation against a key holding the wrong kind of value'],
    [
      'another type, met by a script of Redis 6',
      'wrong-type',
      `${F} @user_script:19: WRONGTYPE Operation against a key holding the wrong kind of value `,
    ],
    ['loading', 'loading', 'LOADING Redis is loading the dataset in memory'],
    [
      'a busy server',
      'busy',
      'BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.',
    ],
    ['a mistake of ours', 'error', 'ERR value is not an integer or out of range'],
    [
      'a command that was renamed, met by a script of Redis 6',
      'no-permission',
      `${F} @user_script:1: @user_script: 1: Unknown Redis command called from Lua script `,
    ],
    [
      'a command that was renamed',
      'no-permission',
      "ERR unknown command 'EVALSHA', with args beginning with: ",
    ],
    [
      'a command that the user may not use',
      'no-permission',
      "NOPERM this user has no permissions to run the 'evalsha' command",
    ],
    [
      'a command that a script may not use',
      'no-permission',
      "ERR The user executing the script can't run this command or subcommand script: 6294b9fc, on @user_script:1.",
    ],
    [
      'a key that the user may not use',
      'error',
      'NOPERM this user has no permissions to access one of the keys used as arguments',
    ],
    ['what only begins like one', 'error', 'OOMPH'],
    ['nothing', 'error', ''],
  ]
  for (const [what, reason, text] of texts) {
    it(`is understood: ${what}`, () => {
      expect(errorReason(text)).to.equal(reason)
      expect(errorReason(`-${text}`)).to.equal(reason)
    })
  }
})

/** A way to a server on which `before` runs before anything that a client sends goes on. */
async function heldUp(targetPort: number, before: (bytes: Buffer) => Promise<void>) {
  const sockets = new Set<net.Socket>()
  const server = net.createServer((near) => {
    const far = net.connect(targetPort, '127.0.0.1')
    let sent = Promise.resolve()
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => undefined) // its end is told by 'close'
    }
    near.on('data', (bytes) => {
      sent = sent.then(() => before(bytes)).then(() => void far.write(bytes))
    })
    far.pipe(near)
    near.on('close', () => far.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as net.AddressInfo).port,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
