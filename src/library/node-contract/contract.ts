/**
 * What every node driver must do, whatever holds the data: src/nodes/node.ts in tests. Run by memory.test.ts, redis.test.ts
 * and map-node.test.ts in test/nodes/, and by whoever has written a driver; differential.test.ts compares the drivers where
 * no example was thought of.
 */
import { randomBytes } from 'node:crypto'
import { VERSION_ZERO } from '../../core/clock.ts'
import {
  HEAD_BYTES,
  HEAD_WITH_PROMISE_BYTES,
  KIND_NOTHING,
  KIND_TOMBSTONE,
  KIND_VALUE,
  lastingCopy,
  StoredRecord,
  type NewRecord,
} from '../../core/codec.ts'
import { Floors } from '../../core/floors.ts'
import {
  isInternal,
  MARKER_KEY,
  storedKey,
  SYNCED_AT_KEY,
  TAGS_DATABASE,
  TOPOLOGY_KEY,
} from '../../core/keys.ts'
import { GENERATION_BYTES, partKey } from '../../core/part-keys.ts'
import { EXPIRY_MARGIN_MS, FAR_END_MS, ownLifeMs } from '../../core/lifetime.ts'
import type { ByteRange, Part } from '../../core/part.ts'
import {
  MAX_ASKED,
  MAX_CHECKED_IN,
  type Fence,
  type Hint,
  type Listening,
  type Node,
  type NodeFailure,
  type NodeListener,
  type ScanEntry,
} from '../../nodes/node.ts'
import type { Epochs } from '../../core/replica-set.ts'
import { encodeMarker } from '../../cluster/marker.ts'
import { expect } from './expect.ts'
import { fenceOf, type NodeFactory, type NodeUnderTest, type RawServer, type Runner } from './under-test.ts'
import {
  accept,
  get,
  hint,
  lives,
  peek,
  prepare,
  record,
  starts,
  store,
  storeAll,
  version,
  type PeekResult,
  type StoreResult,
} from './calls.ts'

export const GRACE_MS = 86_400_000
export const MARKER = Buffer.from('{"cluster":"c","state":"clean"}')
/** The most hints that the nodes under test keep for one other. */
export const MAX_HINTS = 500

/** A listener that writes down what it is told. */
export class HeardListener implements NodeListener {
  readonly heard: string[] = []
  onBroken = (_node: Node, failure: NodeFailure) => void this.heard.push(`broken: ${failure.reason}`)
  onOtherMarker = () => (this.heard.push('foreign marker'), null)
  onUnwritable = (_node: Node, reason: string) => void this.heard.push(`unwritable: ${reason}`)
}

const KEY = Buffer.from('user:1')
const SECOND = 1000
const TOLERANCE_MS = 3 * SECOND
const VALUE_LIFE = (ttlMs: number) => ttlMs + EXPIRY_MARGIN_MS

/**
 * Describes the contract with the functions of a test runner: those of mocha, Vitest, Jest or node:test.
 *
 * @param name of the driver
 */
export function describeNodeContract(name: string, factory: NodeFactory, runner: Runner): void {
  const { describe, it, beforeEach, afterEach } = runner
  describe(`${name} keeps the node contract`, () => {
    let under: NodeUnderTest
    let node: Node
    let server: RawServer
    let listener: HeardListener
    let fence: Fence

    beforeEach(async () => {
      under = await factory.create()
      ;({ node, server } = under)
      listener = new HeardListener()
      node.listener = listener
      await server.setRaw(MARKER_KEY, MARKER)
      fence = await fenceOf(node, MARKER)
      await node.open(fence)
    })
    afterEach(() => under.close())

    const rawRecord = async (key = KEY) => new StoredRecord((await server.getRaw(key))!)
    const failureOf = (result: { kind: string; failure?: NodeFailure }) =>
      result.failure ? { kind: result.failure.kind, reason: result.failure.reason } : result.kind
    /** Gives how long the node says that it keeps it. */
    async function applied(next: NewRecord, lifeMs = FAR_END_MS, key = KEY): Promise<number> {
      return keptOf(await store(node, key, next, lifeMs), lifeMs)
    }
    function keptOf(result: StoreResult, askedMs: number): number {
      if (result.kind !== 'applied') throw new Error(result.kind)
      expect(result.fence).to.equal(fence)
      expect(result.keptMs).to.be.at.least(askedMs)
      return result.keptMs
    }
    async function value(key = KEY): Promise<string> {
      const found = await get(node, key)
      return found.kind === 'found' ? new StoredRecord(found.bytes).value.toString() : found.kind
    }

    describe('reading and writing', () => {
      const values: [string, Buffer][] = [
        ['no bytes', Buffer.alloc(0)],
        ['every byte', Buffer.from(Array.from({ length: 256 }, (_, i) => i))],
        ['line ends and protocol', Buffer.from('$5\r\nhello\r\n-ERR\r\n')],
        ['what looks like a record', record(9, 'inner').head],
        ['1 MiB', randomBytes(1024 * 1024)],
      ]
      for (const [what, bytes] of values) {
        it(`gives back a value of ${what}`, async () => {
          await applied(record(5, bytes))
          const found = await get(node, KEY)
          expect(found).to.include({ kind: 'found', fence })
          const read = new StoredRecord((found as { bytes: Buffer }).bytes)
          expect(read.value.equals(bytes)).to.equal(true)
          expect(Buffer.from(read.version)).to.deep.equal(version({ ms: 5 }))
        })
      }

      it('holds keys apart by their bytes, the empty one and those that are not text too', async () => {
        const keys = ['', '\0', 'a', 'A', 'é', '\xff\xfe', '\xff\xfd', 'a\r\nb', ' '].flatMap((text) => [
          Buffer.from(text, 'latin1'),
          Buffer.from(`${text}!`, 'utf8'),
        ])
        await Promise.all(keys.map((key, i) => applied(record(1, String(i)), FAR_END_MS, key)))
        expect(await Promise.all(keys.map((key) => value(key)))).to.deep.equal(keys.map((_, i) => String(i)))
      })

      it('tells an absent key from a failure', async () => {
        expect(await get(node, KEY)).to.deep.equal({ kind: 'absent', fence })
      })

      it('lets the newer write win, whichever comes first', async () => {
        await applied(record(5, 'newer'))
        expect((await store(node, KEY, record(4, 'older'))).kind).to.equal('stale')
        expect(await value()).to.equal('newer')
        await applied(record(6, 'newest'))
        expect(await value()).to.equal('newest')
      })

      it('tells a stale write the version that is held and what that one replaced here', async () => {
        await applied(record(3))
        await applied(record(version({ ms: 7, counter: 2, coordinator: 9 })))
        const result = await store(node, KEY, record(5))
        const held = Buffer.concat([
          version({ ms: 7, counter: 2, coordinator: 9 }),
          version({ ms: 3 }).subarray(0, 8),
        ])
        expect(result).to.deep.equal({ kind: 'stale', held, fence })
      })

      it('applies the same record again without a change', async () => {
        await applied(record(3))
        await applied(record(5, 'same'), VALUE_LIFE(10 * SECOND))
        const before = await server.getRaw(KEY)
        await applied(record(5, 'same'), VALUE_LIFE(10 * SECOND))
        expect(await server.getRaw(KEY)).to.deep.equal(before)
        expect(await server.ttl(KEY)).to.be.at.most(GRACE_MS)
      })

      it('takes other bytes under a version that is held as stale', async () => {
        await applied(record(5, 'one'))
        expect((await store(node, KEY, record(5, 'two'))).kind).to.equal('stale')
        expect((await store(node, KEY, record(5, 'one', { expiresAtMs: 1 }))).kind).to.equal('stale')
        expect((await store(node, KEY, record(5, 'one', { kind: KIND_TOMBSTONE }))).kind).to.equal('stale')
        expect(await value()).to.equal('one')
      })

      it('keeps a tombstone, which older writes do not pass', async () => {
        await applied(record(3, 'value'))
        await applied(record(5, '', { kind: KIND_TOMBSTONE }), EXPIRY_MARGIN_MS)
        expect((await store(node, KEY, record(4, 'late'))).kind).to.equal('stale')
        expect((await rawRecord()).kind).to.equal(KIND_TOMBSTONE)
        await applied(record(6, 'again'))
        expect(await value()).to.equal('again')
      })

      it('takes the stores of one turn each by itself, and each after those before it', async () => {
        const keys = Array.from({ length: 100 }, (_, i) => Buffer.from(`turn:${i}`))
        await Promise.all(keys.map((key, i) => store(node, key, record(i % 3 === 0 ? 9 : 3, 'before'))))
        const results = await Promise.all([
          ...keys.map((key) => store(node, key, record(5, 'after'))),
          get(node, keys[1]!),
          store(node, keys[1]!, record(6, 'later')),
          store(node, keys[1]!, record(5, 'after')),
          store(node, keys[2]!, record(7, '', { kind: KIND_TOMBSTONE }), EXPIRY_MARGIN_MS),
          store(node, keys[2]!, record(6, 'too old')),
          get(node, keys[1]!),
        ])
        expect(results.slice(0, 100).map(({ kind }) => kind)).to.deep.equal(
          keys.map((_, i) => (i % 3 === 0 ? 'stale' : 'applied')),
        )
        expect(results.slice(100).map(({ kind }) => kind)).to.deep.equal([
          'found',
          'applied',
          'stale',
          'applied',
          'stale',
          'found',
        ])
        const valueIn = (result: unknown) =>
          new StoredRecord((result as { bytes: Buffer }).bytes).value.toString()
        expect([valueIn(results[100]), valueIn(results[105])]).to.deep.equal(['after', 'later'])
      })

      it('compares versions as unsigned numbers', async () => {
        await applied(record(version({ ms: 0x7fffffffffff, counter: 0x7fff, coordinator: 0x7fffffff })))
        await applied(record(version({ ms: 0x7fffffffffff, counter: 0x7fff, coordinator: 0x80000000 })))
        await applied(record(version({ ms: 0x7fffffffffff, counter: 0x8000, coordinator: 0 })))
        await applied(
          record(version({ ms: 0x7fffffffffff, counter: 0xffff, coordinator: 0xffffffff }), 'last'),
        )
        expect(await value()).to.equal('last')
      })

      it('takes a record with an impossible version for a value of somebody else, which any write replaces', async () => {
        for (const ms of [0x800000000000, 0xffffffffffff]) {
          const impossible = record(version({ ms, counter: 0xffff, coordinator: 0xffffffff }), 'false')
          await applied(impossible)
          await node.dropCopy(MARKER, KEY, version({ ms, counter: 0xffff, coordinator: 0xffffffff }))
          const found = await get(node, KEY)
          expect(new StoredRecord((found as { bytes: Buffer }).bytes).versioned).to.equal(false)
          await applied(record(5, 'right'))
          expect(await value()).to.equal('right')
          await applied(impossible)
          expect(await prepare(node, KEY, version({ ms: 9 }))).to.have.property('kind', 'promised')
          await applied(record(10, 'later'))
          expect(await value()).to.equal('later')
        }
      })

      it('does not change what it has handed out', async () => {
        await applied(record(5, 'first'))
        const found = await get(node, KEY)
        await applied(record(6, 'other'))
        expect(new StoredRecord((found as { bytes: Buffer }).bytes).value.toString()).to.equal('first')
      })

      if (factory.otherTypes) {
        it('answers one of another type with a refusal of that call alone', async () => {
          await server.setOtherType!(KEY)
          const other = Buffer.from('other')
          const results = await Promise.all([
            get(node, KEY),
            prepare(node, KEY, version({ ms: 5 })),
            store(node, other, record(5)),
          ])
          const refused = { kind: 'refused', reason: 'wrong-type' }
          expect(results.map(failureOf)).to.deep.equal([refused, refused, 'applied'])
          expect(listener.heard).to.deep.equal([])
        })

        it('stores over one of another type as over nothing of Rondo, and only that', async () => {
          await server.setOtherType!(KEY)
          expect(await accept(node, KEY, record(5))).to.deep.include({ kind: 'stale' })
          expect((await store(node, KEY, record(5), 1000, { onlyIf: version({ ms: 4 }) })).kind).to.equal(
            'stale',
          )
          expect(failureOf(await get(node, KEY))).to.deep.equal({ kind: 'refused', reason: 'wrong-type' })
          expect((await store(node, KEY, record(5), 1000, { onlyIf: VERSION_ZERO })).kind).to.equal('applied')
          await server.deleteRaw(KEY)
          await server.setOtherType!(KEY)
          await applied(record(6, 'v'))
          expect(await value()).to.equal('v')
        })
      }
    })

    describe('a look at a part of a record', () => {
      const BALLOT = version({ ms: 9 })
      const looked = async (part: Part) => {
        const result = await peek(node, KEY, part)
        expect(result.kind).to.equal('found')
        return result as Extract<PeekResult, { kind: 'found' }>
      }
      const part = async (range: ByteRange) => (await looked(range)).record.part(range).toString('latin1')

      it('tells head, length and bytes, of a record with a promise as of one without', async () => {
        await applied(record(5, 'hello world', { expiresAtMs: 7777 }))
        for (const promised of [false, true]) {
          if (promised) await prepare(node, KEY, BALLOT)
          const { record: head, fence: seen } = await looked('head')
          expect(head).to.deep.include({ kind: KIND_VALUE, expiresAtMs: 7777 })
          expect(head.version).to.deep.equal(version({ ms: 5 }))
          expect(head.promise).to.deep.equal(promised ? BALLOT : null)
          expect(seen).to.equal(fence)
          expect((await looked('length')).record.valueLength).to.equal(11)
          expect(await part({ from: 0, to: 4 })).to.equal('hello')
          expect(await part({ from: -5, to: -1 })).to.equal('world')
          expect(await part({ from: 9, to: 100 })).to.equal('ld')
          expect(await part({ from: -100, to: 0 })).to.equal('h')
          expect(await part({ from: 11, to: 12 })).to.equal('')
          expect((await looked({ from: 20, to: 30 })).record.valueLength).to.equal(11)
        }
      })

      it('tells of a tombstone, and of a promise over nothing, that they hold no value', async () => {
        await applied(record(5, '', { kind: KIND_TOMBSTONE }))
        expect((await looked('head')).record.kind).to.equal(KIND_TOMBSTONE)
        const other = Buffer.from('other')
        await prepare(node, other, BALLOT)
        const result = await peek(node, other, 'length')
        expect(result.kind === 'found' && [result.record.kind, result.record.valueLength]).to.deep.equal([
          KIND_NOTHING,
          0,
        ])
      })

      it('tells an absent key from an empty string that somebody else stored', async () => {
        for (const asked of ['head', 'length', { from: 0, to: 5 }] as const) {
          expect((await peek(node, 'absent', asked)).kind).to.equal('absent')
          await server.setRaw(KEY, Buffer.alloc(0))
          const { record: empty } = await looked(asked)
          expect(empty.versioned).to.equal(false)
          expect(empty.isLive(0)).to.equal(true)
          if (asked !== 'head') expect(empty.valueLength).to.equal(0)
          else expect(() => empty.valueLength).to.throw('only the head')
        }
      })

      it('tells of what somebody else stored, short or long', async () => {
        for (const length of [1, 30, 31, 43, 44, 5000]) {
          const bytes = randomBytes(length).fill(0x61, 0, 1)
          await server.setRaw(KEY, bytes)
          expect((await looked('head')).record.versioned).to.equal(false)
          expect((await looked('length')).record.valueLength).to.equal(length)
          const range = { from: -2, to: -1 }
          expect((await looked(range)).record.part(range)).to.deep.equal(bytes.subarray(-2))
        }
      })

      it('sees what came before it in its batch, and not what comes behind', async () => {
        const [before, , after] = await Promise.all([
          peek(node, KEY, 'head'),
          store(node, KEY, record(5, 'v')),
          peek(node, KEY, 'length'),
        ])
        expect([before.kind, after.kind]).to.deep.equal(['absent', 'found'])
      })

      it('fetches no more than was asked for', async () => {
        await applied(record(5, Buffer.alloc(100_000, 'v')))
        const { record: head } = await looked('head')
        expect(head.bytes.length).to.equal(HEAD_WITH_PROMISE_BYTES)
      })

      it('is no answer under another marker', async () => {
        await applied(record(5, 'v'))
        await server.setRaw(MARKER_KEY, Buffer.from('another'))
        const results = await Promise.all([peek(node, KEY, 'head'), peek(node, KEY, 'length')])
        expect(results.map(failureOf)).to.deep.equal([
          { kind: 'unknown', reason: 'marker' },
          { kind: 'unknown', reason: 'marker' },
        ])
      })

      if (factory.otherTypes)
        it('answers one of another type with a refusal of that call alone', async () => {
          await server.setOtherType!(KEY)
          const results = await Promise.all([
            peek(node, KEY, 'head'),
            peek(node, KEY, { from: 0, to: 1 }),
            get(node, 'absent'),
          ])
          expect(results.map(failureOf)).to.deep.equal([
            { kind: 'refused', reason: 'wrong-type' },
            { kind: 'refused', reason: 'wrong-type' },
            'absent',
          ])
        })
    })

    describe('a write on a condition', () => {
      const storeIf = (onlyIf: Uint8Array, next: NewRecord, lifeMs = FAR_END_MS) =>
        store(node, KEY, next, lifeMs, { onlyIf })
      const staleOver = (held: Buffer) => ({ kind: 'stale', held, fence })
      const ZEROS = Buffer.alloc(20)

      it('is applied over exactly the version it asks for', async () => {
        await applied(record(3))
        await applied(record(version({ ms: 5, counter: 1, coordinator: 2 }), 'held'))
        const held = (await server.getRaw(KEY))!.subarray(5, 25)
        for (const near of [
          version({ ms: 3 }),
          version({ ms: 5, counter: 1, coordinator: 3 }),
          version({ ms: 5, counter: 2, coordinator: 2 }),
          version({ ms: 6, counter: 1, coordinator: 2 }),
          VERSION_ZERO,
        ]) {
          expect(await storeIf(near, record(9, 'next'))).to.deep.equal(staleOver(held))
        }
        expect(await value()).to.equal('held')
        expect(
          (await storeIf(version({ ms: 5, counter: 1, coordinator: 2 }), record(9, 'next'))).kind,
        ).to.equal('applied')
        expect(await value()).to.equal('next')
      })

      it('is stale where nothing is held, and tells zeros', async () => {
        expect(await storeIf(version({ ms: 5 }), record(9))).to.deep.equal(staleOver(ZEROS))
        await server.setRaw(KEY, Buffer.from('plain'))
        expect(await storeIf(version({ ms: 5 }), record(9))).to.deep.equal(staleOver(ZEROS))
        expect(await value()).to.equal('plain')
      })

      it('finds version zero where nothing is held, or nothing of ours', async () => {
        expect((await storeIf(VERSION_ZERO, record(9, 'first'))).kind).to.equal('applied')
        expect(await storeIf(VERSION_ZERO, record(10))).to.deep.equal(
          staleOver(Buffer.concat([version({ ms: 9 }), Buffer.alloc(8)])),
        )
        await server.setRaw(KEY, Buffer.from('plain'))
        expect((await storeIf(VERSION_ZERO, record(10, 'upgraded'))).kind).to.equal('applied')
        expect(await value()).to.equal('upgraded')
      })

      it('does not find nothing in a tombstone', async () => {
        await applied(record(5, '', { kind: KIND_TOMBSTONE }), EXPIRY_MARGIN_MS)
        expect((await storeIf(VERSION_ZERO, record(9))).kind).to.equal('stale')
        expect((await storeIf(version({ ms: 5 }), record(9))).kind).to.equal('applied')
      })

      it('must be newer all the same, also than a promise', async () => {
        await applied(record(5))
        expect((await storeIf(version({ ms: 5 }), record(4))).kind).to.equal('stale')
        await prepare(node, KEY, version({ ms: 8 }))
        expect(await storeIf(version({ ms: 5 }), record(7))).to.deep.equal(staleOver(version({ ms: 8 })))
        expect((await storeIf(version({ ms: 8 }), record(9))).kind).to.equal('stale')
        expect((await storeIf(version({ ms: 5 }), record(9))).kind).to.equal('applied')
      })

      it('meets what came before it in its own batch', async () => {
        const results = await Promise.all([
          storeIf(VERSION_ZERO, record(1)),
          storeIf(VERSION_ZERO, record(2)),
          storeIf(version({ ms: 1 }), record(3)),
          storeIf(version({ ms: 1 }), record(4)),
        ])
        expect(results.map(({ kind }) => kind)).to.deep.equal(['applied', 'stale', 'applied', 'stale'])
      })

      it('changes no life where it is stale', async () => {
        await applied(record(5), VALUE_LIFE(10 * SECOND))
        await storeIf(version({ ms: 4 }), record(9))
        expect(await server.ttl(KEY)).to.be.at.most(VALUE_LIFE(10 * SECOND))
      })
    })

    describe('under a floor', () => {
      const OTHER = storedKey(3, KEY)
      const partOf = (key: Buffer) => partKey(key, Buffer.alloc(GENERATION_BYTES, 7), { id: 1, stamp: 2 })
      const floors = new Floors([
        { database: null, version: version({ ms: 10 }) },
        { database: 3, version: version({ ms: 20 }) },
      ])
      beforeEach(() => node.open({ ...fence, floors }))
      const put = async (key: Buffer, ms: number) => {
        expect((await store(node, key, record(ms, 'v'), FAR_END_MS)).kind).to.equal('applied')
      }

      it('answers as if it held nothing below it', async () => {
        await put(KEY, 10)
        await put(OTHER, 20)
        await server.setRaw(Buffer.from('theirs'), Buffer.from('not ours'))
        for (const key of [KEY, OTHER, Buffer.from('theirs')]) {
          expect((await get(node, key)).kind).to.equal('absent')
          for (const part of ['head', 'length', { from: 0, to: -1 }] as const) {
            expect((await peek(node, key, part)).kind).to.equal('absent')
          }
        }
        const users = ({ key }: { key: Buffer }) => !isInternal(key)
        expect((await node.scan('0', null, 1000)).entries.filter(users)).to.deep.equal([])
        const asked = [KEY, OTHER, Buffer.from('theirs')]
        expect(await starts(node, asked, 43)).to.deep.equal([null, null, null])
        const promised = await prepare(node, KEY, version({ ms: 30 }))
        expect(promised).to.deep.include({ kind: 'promised', bytes: null })
        expect((await accept(node, KEY, record(30, 'new'), FAR_END_MS)).kind).to.equal('applied')
        expect(new StoredRecord((await server.getRaw(KEY))!).value.toString()).to.equal('new')
      })

      it('shows what is above it, of its own database', async () => {
        await put(KEY, 11)
        await put(OTHER, 21)
        for (const key of [KEY, OTHER]) {
          const found = await get(node, key)
          expect(found.kind === 'found' && new StoredRecord(found.bytes).value.toString()).to.equal('v')
        }
        const listed = (await node.scan('0', null, 1000)).entries.map(({ key }) => key.toString())
        expect(listed).to.include.members([KEY.toString(), OTHER.toString()])
      })

      it('stores on the condition of nothing what is below it, and not what is above it', async () => {
        const onlyIf = VERSION_ZERO
        const write = (key: Buffer, ms: number) => ({ key, record: record(ms), lifeMs: FAR_END_MS, onlyIf })
        await put(KEY, 10)
        await put(OTHER, 20)
        const checked = [{ ...write(OTHER, 0), record: null, lifeMs: 0 }, write(KEY, 12)]
        expect((await storeAll(node, checked, 'if-held')).kind).to.equal('applied')
        expect((await storeAll(node, [write(KEY, 13)], 'if-held')).kind).to.equal('stale')
        expect((await store(node, OTHER, record(22), FAR_END_MS, { onlyIf })).kind).to.equal('applied')
        expect((await store(node, OTHER, record(23), FAR_END_MS, { onlyIf })).kind).to.equal('stale')
      })

      it('gives back the memory of what is below it, keeps promises, and stops under another marker', async () => {
        const promised = Buffer.from('promised')
        const keys = [KEY, OTHER, promised, Buffer.from('theirs'), Buffer.from('above')]
        await put(KEY, 10)
        await put(OTHER, 20)
        await put(promised, 9)
        await prepare(node, promised, version({ ms: 30 }))
        await server.setRaw(keys[3]!, Buffer.from('not ours'))
        await put(keys[4]!, 11)
        const scripts = [`script:${'0'.repeat(40)}`, 'libraries', '9999:scripts'].map((name) => {
          return storedKey(TAGS_DATABASE, Buffer.from(name))
        })
        for (const key of scripts) await put(key, 5)
        // Parts of collections are of the database that their collection is of.
        const [partOfOther, partOfKey] = [partOf(OTHER), partOf(KEY)]
        await put(partOfOther, 15)
        await put(partOfKey, 15)
        const other = Buffer.from('{"cluster":"c","state":"filling"}')
        expect(await node.dropBelow(other, floors, '0', 1000)).to.equal(null)
        expect(await node.dropBelow(fence.marker, floors, '0', 1000)).to.deep.equal({
          cursor: '0',
          dropped: 5,
        })
        expect((await get(node, partOfKey)).kind).to.equal('found')
        for (const key of [KEY, OTHER, keys[3]!, partOfOther]) expect(await server.getRaw(key)).to.equal(null)
        const left = new StoredRecord((await server.getRaw(promised))!)
        expect([left.kind, left.promise, left.value.length]).to.deep.equal([
          KIND_NOTHING,
          version({ ms: 30 }),
          0,
        ])
        expect((await accept(node, promised, record(30), FAR_END_MS)).kind).to.equal('applied')
        expect(await server.getRaw(keys[4]!)).to.not.equal(null)
        for (const key of scripts) expect((await get(node, key)).kind).to.equal('found')
        expect(await server.getRaw(MARKER_KEY)).to.deep.equal(fence.marker)
        const again = await node.dropBelow(fence.marker, floors, '0', 1000)
        expect(again).to.deep.equal({ cursor: '0', dropped: 0 })
      })
    })

    describe('a write with a time until which it may come', () => {
      const nowMs = async () => (await node.probe()).timeMs

      it('is applied before, by the clock of the node', async () => {
        const untilMs = (await nowMs()) + 60 * SECOND
        expect((await store(node, KEY, record(5, 'v'), FAR_END_MS, { untilMs })).kind).to.equal('applied')
        const onlyIf = version({ ms: 5 })
        const next = await store(node, KEY, record(6, 'w'), FAR_END_MS, { onlyIf, untilMs })
        expect(next.kind).to.equal('applied')
        expect((await store(node, KEY, record(7), FAR_END_MS, { onlyIf, untilMs })).kind).to.equal('stale')
        expect(await value()).to.equal('w')
      })

      it('is refused as too late afterwards, and changes nothing, although it would be stale or the same', async () => {
        await applied(record(5, 'held'), VALUE_LIFE(10 * SECOND))
        const before = await server.getRaw(KEY)
        const untilMs = (await nowMs()) - 1
        const tooLate = { kind: 'refused', reason: 'too-late' }
        for (const next of [record(4), record(5, 'held'), lastingCopy(record(5, 'held')), record(6)]) {
          expect(failureOf(await store(node, KEY, next, FAR_END_MS, { untilMs }))).to.deep.equal(tooLate)
        }
        expect(await server.getRaw(KEY)).to.deep.equal(before)
        expect(await server.ttl(KEY)).to.be.at.most(VALUE_LIFE(10 * SECOND))
        expect(listener.heard).to.deep.equal([])
      })
    })

    describe('a write on the condition of an epoch', () => {
      const refused = { kind: 'refused', reason: 'other-epoch' }
      const epochs = (since: number, epoch: number) => ({ since, epoch })
      async function markedWith(epoch: number): Promise<void> {
        const topology = { epoch, sum: 'of"topology":{"epoch":9', received: 8 }
        const id = 'of"topology":{"epoch":9'
        const marker = encodeMarker({
          ...{ cluster: 'c', id, runId: 'r', token: 't', state: 'clean', epoch: 7 },
          ...(epoch > 1 && { topology }),
        })
        await server.setRaw(MARKER_KEY, marker)
        await node.open(await fenceOf(node, marker))
      }
      const storeUnder = (ms: number, of: Epochs) => store(node, KEY, record(ms), FAR_END_MS, { epochs: of })
      const acceptUnder = (ms: number, of: Epochs) => accept(node, KEY, record(ms), FAR_END_MS, of)
      const storeAllUnder = (ms: number, of: Epochs) => {
        const write = { key: KEY, record: record(ms), lifeMs: FAR_END_MS, onlyIf: version({ ms }) }
        return storeAll(node, [write], 'if-promised', of)
      }

      for (const marked of [1, 2, 5]) {
        it(`is applied where the marker names one of the epochs (${marked})`, async () => {
          await markedWith(marked)
          for (const of of [epochs(marked, marked), epochs(1, 12), epochs(1, marked), epochs(marked, 12)]) {
            await server.deleteRaw(KEY)
            expect((await storeUnder(5, of)).kind).to.equal('applied')
            await prepare(node, KEY, version({ ms: 6 }))
            expect((await acceptUnder(6, of)).kind).to.equal('applied')
            await prepare(node, KEY, version({ ms: 7 }))
            expect((await storeAllUnder(7, of)).kind).to.equal('applied')
          }
        })

        it(`is refused, and changes nothing, where it names another (${marked})`, async () => {
          await markedWith(marked)
          for (const of of [epochs(marked + 1, marked + 3), epochs(1, marked - 1)]) {
            await server.deleteRaw(KEY)
            await prepare(node, KEY, version({ ms: 6 }))
            const before = await server.getRaw(KEY)
            expect(failureOf(await storeUnder(7, of))).to.deep.equal(refused)
            expect(failureOf(await acceptUnder(6, of))).to.deep.equal(refused)
            expect(failureOf(await storeAllUnder(6, of))).to.deep.equal(refused)
            expect(await server.getRaw(KEY)).to.deep.equal(before)
          }
          expect(listener.heard).to.deep.equal([])
        })
      }

      it('is refused although it would be stale, and as too late before that', async () => {
        await markedWith(5)
        await applied5()
        expect(failureOf(await storeUnder(4, epochs(1, 4)))).to.deep.equal(refused)
        const untilMs = (await node.probe()).timeMs - 1
        const late = await store(node, KEY, record(7), FAR_END_MS, { untilMs, epochs: epochs(1, 4) })
        expect(failureOf(late)).to.deep.equal({ kind: 'refused', reason: 'too-late' })
      })
      const applied5 = () => store(node, KEY, record(5))

      it('holds for that write alone, whatever is sent beside it', async () => {
        await markedWith(5)
        const keys = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => Buffer.from(name))
        const asked = [undefined, epochs(4, 4), epochs(5, 5), undefined, epochs(6, 7), epochs(1, 5)]
        const results = await Promise.all(
          keys.map((key, i) => {
            const of = asked[i]
            return store(node, key, record(5, `value of ${String(key)}`), FAR_END_MS, of && { epochs: of })
          }),
        )
        const isRefused = [false, true, false, false, true, false]
        expect(results.map(({ kind }) => kind === 'failed')).to.deep.equal(isRefused)
        for (const [i, key] of keys.entries()) {
          const bytes = await server.getRaw(key)
          const held = bytes && new StoredRecord(bytes).value.toString()
          expect(held).to.equal(isRefused[i] ? null : `value of ${String(key)}`)
        }
      })

      it('goes on with the version that must be held', async () => {
        await markedWith(5)
        await applied5()
        const condition = { onlyIf: version({ ms: 4 }), epochs: epochs(5, 5) }
        expect((await store(node, KEY, record(6), FAR_END_MS, condition)).kind).to.equal('stale')
        const met = { onlyIf: version({ ms: 5 }), epochs: epochs(5, 5) }
        expect((await store(node, KEY, record(6), FAR_END_MS, met)).kind).to.equal('applied')
      })
    })

    describe('a write in two rounds', () => {
      const ballot = (ms: number) => version({ ms })
      const promisedOver = (bytes: Buffer | null) => ({ kind: 'promised', bytes, fence })
      const staleOver = (held: Buffer) => ({ kind: 'stale', held, fence })
      const refusedBy = (ms: number) => ({ kind: 'refused', newest: ballot(ms), fence })
      const ZEROS = Buffer.alloc(20)

      it('is promised over nothing, and then stored', async () => {
        expect(await prepare(node, KEY, ballot(5))).to.deep.equal(promisedOver(null))
        const promised = await rawRecord()
        expect(promised.kind).to.equal(KIND_NOTHING)
        expect(promised.promise).to.deep.equal(ballot(5))
        keptOf(await accept(node, KEY, record(5, 'chosen')), FAR_END_MS)
        expect(await value()).to.equal('chosen')
        expect((await rawRecord()).promise).to.equal(null)
        expect((await rawRecord()).replaced).to.deep.equal(Buffer.alloc(8))
      })

      it('is told the record as it was, with an older promise if there is one', async () => {
        await applied(record(3, 'before'))
        const held = (await server.getRaw(KEY))!
        expect(await prepare(node, KEY, ballot(5))).to.deep.equal(promisedOver(held))
        expect(await value()).to.equal('before')
        const promised = (await server.getRaw(KEY))!
        expect(await prepare(node, KEY, ballot(7))).to.deep.equal(promisedOver(promised))
        expect(await prepare(node, KEY, ballot(7))).to.deep.include({ kind: 'promised' }) // asked again
        expect((await accept(node, KEY, record(7, 'after'))).kind).to.equal('applied')
        expect((await rawRecord()).replaced).to.deep.equal(ballot(3).subarray(0, 8))
      })

      it('gives back a record of any size, and any bytes', async () => {
        for (const bytes of [Buffer.alloc(0), Buffer.from('$5\r\nhello\r\n-0+'), randomBytes(1024 * 1024)]) {
          const key = randomBytes(8)
          await applied(record(3, bytes), FAR_END_MS, key)
          const found = await prepare(node, key, ballot(5))
          const before = new StoredRecord((found as { bytes: Buffer }).bytes)
          expect(before.value.equals(bytes)).to.equal(true)
          keptOf(await accept(node, key, record(5, bytes)), FAR_END_MS)
        }
      })

      it('is refused by a promise or a record that is newer, which is named', async () => {
        await prepare(node, KEY, ballot(7))
        expect(await prepare(node, KEY, ballot(6))).to.deep.equal(refusedBy(7))
        await accept(node, KEY, record(7))
        expect(await prepare(node, KEY, ballot(7))).to.deep.equal(refusedBy(7))
        expect(await prepare(node, KEY, ballot(6))).to.deep.equal(refusedBy(7))
        await prepare(node, KEY, ballot(9))
        expect(await prepare(node, KEY, ballot(5))).to.deep.equal(refusedBy(9))
      })

      it('is stale in its second round when its promise went to another', async () => {
        await applied(record(3, 'before'))
        await prepare(node, KEY, ballot(5))
        await prepare(node, KEY, ballot(7))
        const held = staleOver(ballot(7))
        expect(await accept(node, KEY, record(5, 'late'))).to.deep.equal(held)
        expect(await accept(node, KEY, record(9, 'never promised'))).to.deep.equal(held)
        expect(await value()).to.equal('before')
        await accept(node, KEY, record(7, 'chosen'))
        expect(await accept(node, KEY, record(5, 'late'))).to.deep.equal(
          staleOver(Buffer.concat([ballot(7), ballot(3).subarray(0, 8)])),
        )
        expect(await value()).to.equal('chosen')
      })

      it('is stale in its second round where there is no promise', async () => {
        expect(await accept(node, KEY, record(5))).to.deep.equal(staleOver(ZEROS))
        expect(await server.getRaw(KEY)).to.equal(null)
        await server.setRaw(KEY, Buffer.from('plain'))
        expect(await accept(node, KEY, record(5))).to.deep.equal(staleOver(ZEROS))
        await applied(record(3))
        expect((await accept(node, KEY, record(5))).kind).to.equal('stale')
      })

      it('is applied once, and says so again', async () => {
        await prepare(node, KEY, ballot(5))
        await accept(node, KEY, record(5, 'x'))
        const before = await server.getRaw(KEY)
        expect((await accept(node, KEY, record(5, 'x'))).kind).to.equal('applied')
        expect(await server.getRaw(KEY)).to.deep.equal(before)
      })

      it('keeps plain writes below it out, and gives way to one above it', async () => {
        await applied(record(3, 'old'))
        await prepare(node, KEY, ballot(7))
        expect(await store(node, KEY, record(6))).to.deep.equal(staleOver(ballot(7)))
        await applied(record(3, 'old')) // it is here already
        expect((await rawRecord()).promise).to.deep.equal(ballot(7))
        await applied(record(8, 'newer'))
        expect(await accept(node, KEY, record(7))).to.deep.equal(
          staleOver(Buffer.concat([ballot(8), ballot(3).subarray(0, 8)])),
        )
      })

      it('upgrades what somebody else stored, which can be read all the while', async () => {
        await server.setRaw(KEY, Buffer.from('plain'), 500 * SECOND)
        expect(await prepare(node, KEY, ballot(5))).to.deep.equal(promisedOver(Buffer.from('plain')))
        expect(await value()).to.equal('plain')
        expect(await server.ttl(KEY)).to.be.within(500 * SECOND - TOLERANCE_MS, 500 * SECOND)
        await accept(node, KEY, record(5, 'ours'))
        expect(await value()).to.equal('ours')
        expect((await rawRecord()).replaced).to.deep.equal(Buffer.alloc(8))
      })

      it('may delete', async () => {
        await applied(record(3, 'value'))
        await prepare(node, KEY, ballot(5))
        await accept(node, KEY, record(5, '', { kind: KIND_TOMBSTONE }), EXPIRY_MARGIN_MS)
        expect((await rawRecord()).kind).to.equal(KIND_TOMBSTONE)
        expect((await rawRecord()).replaced).to.deep.equal(ballot(3).subarray(0, 8))
      })

      it('goes through in one batch, in order', async () => {
        const results = await Promise.all([
          prepare(node, KEY, ballot(5)),
          accept(node, KEY, record(5, 'one')),
          prepare(node, KEY, ballot(6)),
          store(node, KEY, record(7, 'two')),
          accept(node, KEY, record(6)),
        ])
        expect(results.map(({ kind }) => kind)).to.deep.equal([
          'promised',
          'applied',
          'promised',
          'applied',
          'stale',
        ])
      })

      it('is promised for each of several keys by itself, whatever becomes of the others', async () => {
        const [plain, newer, held] = ['plain', 'newer', 'held'].map((name) => Buffer.from(name))
        await server.setRaw(plain!, Buffer.from('plain'))
        await prepare(node, newer!, ballot(7))
        await applied(record(3, 'value'), FAR_END_MS, held)
        const before = (await server.getRaw(held!))!
        const asked: [Buffer, number][] = [
          [KEY, 5],
          [newer!, 5],
          [plain!, 5],
          [held!, 3],
          [held!, 4],
          [KEY, 4],
          [held!, 6],
        ]
        const results = await Promise.all(asked.map(([key, ms]) => prepare(node, key, ballot(ms))))
        const promised = new StoredRecord((results[6] as { bytes: Buffer }).bytes)
        expect(promised.promise).to.deep.equal(ballot(4))
        expect(results.slice(0, 6)).to.deep.equal([
          promisedOver(null),
          refusedBy(7),
          promisedOver(Buffer.from('plain')),
          refusedBy(3),
          promisedOver(before),
          refusedBy(5),
        ])
        const accepted = await Promise.all(
          [KEY, plain!, newer!].map((key) => accept(node, key, record(5, 'chosen'))),
        )
        expect(accepted.map(({ kind }) => kind)).to.deep.equal(['applied', 'applied', 'stale'])
      })

      describe('and the life of its key', () => {
        const within = async (expectedMs: number) => {
          expect(await server.ttl(KEY)).to.be.within(expectedMs - TOLERANCE_MS, expectedMs)
          expect(await node.lifeMs(KEY)).to.be.within(expectedMs - TOLERANCE_MS, expectedMs)
        }

        it('is the grace where there is nothing but the promise', async () => {
          await prepare(node, KEY, ballot(5))
          await within(GRACE_MS)
        })

        for (const [what, lifeMs] of [
          ['a TTL', VALUE_LIFE(10 * SECOND)],
          ['a far end', FAR_END_MS],
        ] as const) {
          it(`is not changed by a promise: ${what}`, async () => {
            await applied(record(3), lifeMs)
            await prepare(node, KEY, ballot(5))
            await within(lifeMs)
            await prepare(node, KEY, ballot(6))
            await within(lifeMs)
          })
        }

        it('is not changed by a promise: no end', async () => {
          await server.setRaw(KEY, Buffer.from('plain'))
          await prepare(node, KEY, ballot(5))
          expect(await server.ttl(KEY)).to.equal(-1)
        })

        const SHORT = VALUE_LIFE(1 * SECOND)
        const LONG = VALUE_LIFE(1000 * SECOND)
        const cases: [string, number | null, number, number][] = [
          ['over a promise alone: its own', null, SHORT, SHORT],
          ['over a promise alone, without expiry: a far end', null, FAR_END_MS, FAR_END_MS],
          ['shorter than what it replaces: to the end of that', LONG, SHORT, LONG],
          ['longer than what it replaces: its own', SHORT, LONG, LONG],
          ['over one without expiry: the grace', FAR_END_MS, SHORT, GRACE_MS],
          ['beyond the grace: its own', FAR_END_MS, 2 * GRACE_MS, 2 * GRACE_MS],
        ]
        for (const [what, beforeMs, lifeMs, expectedMs] of cases) {
          it(what, async () => {
            if (beforeMs !== null) await applied(record(3), beforeMs)
            await prepare(node, KEY, ballot(5))
            await accept(node, KEY, record(5), lifeMs)
            await within(expectedMs)
          })
        }

        it('over somebody else’s without an end: the grace', async () => {
          await server.setRaw(KEY, Buffer.from('plain'))
          await prepare(node, KEY, ballot(5))
          await accept(node, KEY, record(5), SHORT)
          await within(GRACE_MS)
        })

        it('is that of the replaced for a tombstone', async () => {
          await applied(record(3), LONG)
          await prepare(node, KEY, ballot(5))
          await accept(node, KEY, record(5, '', { kind: KIND_TOMBSTONE }), EXPIRY_MARGIN_MS)
          await within(LONG)
        })
      })
    })

    describe('hints', () => {
      const at = (ms: number) => version({ ms })
      const noted = async (target: string, key: string | Buffer, ms: number) =>
        expect(await hint(node, target, key, at(ms))).to.deep.equal({ kind: 'applied', fence })
      const shown = ({ key, version }: Hint) => `${key.toString('latin1')} ${version.toString('hex')}`
      const hintOf = (key: string, ms: number) => shown({ key: Buffer.from(key, 'latin1'), version: at(ms) })
      async function list(
        target: string,
        count: number,
        between?: (page: readonly Hint[]) => Promise<unknown>,
      ) {
        const all: string[] = []
        let cursor = '0'
        for (let pages = 1; ; pages++) {
          const page = await node.hints(target, cursor, count)
          all.push(...page.hints.map(shown))
          await between?.(page.hints)
          cursor = page.cursor
          if (cursor === '0') return { all: all.sort(), pages }
          if (pages > 10_000) throw new Error('it does not end')
        }
      }
      /** Long ones, so that a Redis, too, gives them in pages. */
      const names = (n: number) => Array.from({ length: n }, (_, i) => `${i}:`.padEnd(80, 'x'))

      it('are kept for each target apart, with the last version of each key', async () => {
        await noted('b', 'k', 5)
        await noted('b', 'other', 6)
        await noted('c', 'k', 7)
        await noted('b', 'k', 9)
        expect((await list('b', 10)).all).to.deep.equal([hintOf('k', 9), hintOf('other', 6)])
        expect((await list('c', 10)).all).to.deep.equal([hintOf('k', 7)])
        expect(await node.hints('nobody', '0', 10)).to.deep.equal({ cursor: '0', hints: [] })
      })

      it('are of keys of any bytes', async () => {
        const keys = ['', '\0', '\xff\xfe', 'a\r\nb']
        await Promise.all(keys.map((key) => noted('b', Buffer.from(key, 'latin1'), 1)))
        expect((await list('b', 10)).all).to.deep.equal(keys.map((key) => hintOf(key, 1)).sort())
      })

      it('are counted by a probe for those who are asked about, and left out where there are none', async () => {
        await Promise.all([noted('b', 'k', 1), noted('b', 'l', 1), noted('c', 'k', 1)])
        expect([...(await node.probe(['a', 'b'])).hints]).to.deep.equal([['b', 2]])
        expect((await node.probe()).hints.size).to.equal(0)
        await node.dropHint('c', Buffer.from('k'), at(1))
        expect([...(await node.probe(['c', 'b'])).hints]).to.deep.equal([['b', 2]])
      })

      it('are dropped only in the version that was delivered', async () => {
        await noted('b', 'k', 5)
        await node.dropHint('b', Buffer.from('k'), at(4))
        await node.dropHint('b', Buffer.from('l'), at(5))
        await node.dropHint('c', Buffer.from('k'), at(5))
        expect((await list('b', 10)).all).to.deep.equal([hintOf('k', 5)])
        await noted('b', 'k', 6) // another miss, while the first is being delivered
        await node.dropHint('b', Buffer.from('k'), at(5))
        expect((await list('b', 10)).all).to.deep.equal([hintOf('k', 6)])
        await node.dropHint('b', Buffer.from('k'), at(6))
        expect((await list('b', 10)).all).to.deep.equal([])
      })

      it('come all in pages, also when each page is dropped as it comes and others are noted', async () => {
        const keys = names(MAX_HINTS - 100)
        await Promise.all(keys.map((key) => noted('b', key, 1)))
        const { all, pages } = await list('b', 10)
        expect([...new Set(all)]).to.deep.equal(keys.map((key) => hintOf(key, 1)).sort())
        expect(pages).to.be.above(5)

        let more = 0
        const listed = await list('b', 10, async (page) => {
          await Promise.all(page.map(({ key, version }) => node.dropHint('b', key, version)))
          if (more < 10) await noted('b', `new ${more++}`.padEnd(80), 2)
        })
        const seen = new Set(listed.all)
        expect(keys.filter((key) => !seen.has(hintOf(key, 1)))).to.deep.equal([])
      })

      it('are refused beyond their bound, but a newer version of a noted one is not', async () => {
        await Promise.all(names(MAX_HINTS).map((key) => noted('b', key, 1)))
        const [beyond, again, elsewhere] = await Promise.all([
          hint(node, 'b', 'beyond', at(1)),
          hint(node, 'b', names(1)[0]!, at(2)),
          hint(node, 'c', 'beyond', at(1)),
        ])
        expect(beyond).to.deep.equal({
          kind: 'failed',
          failure: { kind: 'refused', reason: 'error', message: 'the hints for b are full' },
        })
        expect([again.kind, elsewhere.kind]).to.deep.equal(['applied', 'applied'])
        expect((await node.probe(['b'])).hints.get('b')).to.equal(MAX_HINTS)
        expect(listener.heard).to.deep.equal([])
        await node.dropHint('b', Buffer.from(names(1)[0]!), at(2))
        await noted('b', 'beyond', 1)
      })

      it('are neither listed nor read as keys', async () => {
        await noted('b', 'k', 1)
        const { entries } = await node.scan('0', null, 100)
        expect(entries.map(({ key }) => key.toString())).to.deep.equal([MARKER_KEY.toString()])
        expect(await get(node, 'k')).to.deep.equal({ kind: 'absent', fence })
      })

      it('go when the server is flushed', async () => {
        await noted('b', 'k', 1)
        await server.flush()
        expect((await list('b', 10)).all).to.deep.equal([])
      })

      it('travel with the write that they tell of', async () => {
        const results = await Promise.all([store(node, KEY, record(5)), hint(node, 'b', KEY, at(5))])
        expect(results.map(({ kind }) => kind)).to.deep.equal(['applied', 'applied'])
      })

      it('refuse a cursor that is none', async () => {
        const refusal = await node.hints('b', 'x', 10).catch((error: Error) => error.message)
        expect(refusal).to.match(/invalid cursor/)
      })
    })

    describe('a lease', () => {
      it('is had by one at a time, who may prolong it', async () => {
        expect(await node.lease('fill', 'one', 60 * SECOND)).to.equal(true)
        expect(await node.lease('fill', 'two', 60 * SECOND)).to.equal(false)
        expect(await node.lease('fill', 'one', 90 * SECOND)).to.equal(true)
        const key = Buffer.from('__rondo:lease:fill')
        expect(await server.ttl(key)).to.be.within(90 * SECOND - TOLERANCE_MS, 90 * SECOND)
        expect(await node.lease('fill', 'two', 100 * SECOND)).to.equal(false)
        expect(await server.ttl(key)).to.be.at.most(90 * SECOND)
      })

      it('says nothing of one by another name', async () => {
        await node.lease('fill', 'one', 60 * SECOND)
        expect(await node.lease('other', 'two', 60 * SECOND)).to.equal(true)
      })

      it('is free again when its time is over', async () => {
        await node.lease('fill', 'one', 1)
        await new Promise((resolve) => setTimeout(resolve, 20)) // the server's own clock
        expect(await node.lease('fill', 'two', 60 * SECOND)).to.equal(true)
      })
    })

    describe('a copy', () => {
      const drop = (ms: number, marker = MARKER) => node.dropCopy(marker, KEY, version({ ms }))

      it('is dropped if it still is of that version', async () => {
        await applied(record(5, 'value'))
        await drop(4)
        await drop(6)
        expect(await value()).to.equal('value')
        await drop(5)
        expect(await server.getRaw(KEY)).to.equal(null)
        await drop(5)
      })

      it('stays under another marker than that under which the work was begun', async () => {
        await applied(record(5, 'value'))
        await drop(5, Buffer.from('another'))
        await server.deleteRaw(MARKER_KEY)
        await drop(5)
        expect(await server.getRaw(KEY)).to.not.equal(null)
        await server.setRaw(MARKER_KEY, MARKER)
        await drop(5)
        expect(await server.getRaw(KEY)).to.equal(null)
      })

      it('is dropped as a tombstone, too', async () => {
        await applied(record(5, '', { kind: KIND_TOMBSTONE }), EXPIRY_MARGIN_MS)
        await drop(5)
        expect(await server.getRaw(KEY)).to.equal(null)
      })

      it('stays while something is promised on it', async () => {
        await applied(record(5, 'value'))
        await prepare(node, KEY, version({ ms: 7 }))
        await drop(5)
        await drop(7)
        expect((await rawRecord()).promise).to.deep.equal(version({ ms: 7 }))
        await accept(node, KEY, record(7))
        await drop(7)
        expect(await server.getRaw(KEY)).to.equal(null)
      })

      it('goes with what is promised on it where the marker names an epoch', async () => {
        const marked = Buffer.from('{"cluster":"c","version":2,"data":"clean","topology":{"epoch":4}}')
        await applied(record(5, 'value'))
        await prepare(node, KEY, version({ ms: 7 }))
        await server.setRaw(MARKER_KEY, marked)
        await drop(7, marked)
        expect((await rawRecord()).promise).to.deep.equal(version({ ms: 7 }))
        await drop(5, marked)
        expect(await server.getRaw(KEY)).to.equal(null)
      })

      it('stays if somebody else wrote it', async () => {
        await server.setRaw(KEY, Buffer.from('plain'))
        await node.dropCopy(MARKER, KEY, Buffer.from(VERSION_ZERO))
        expect(await value()).to.equal('plain')
        const { head } = record(5)
        head[3] = 2 // a format to come
        await server.setRaw(KEY, head)
        await drop(5)
        expect(await server.getRaw(KEY)).to.deep.equal(head)
      })
    })

    describe('announcements', () => {
      it('reach whoever subscribes, until it is closed', async () => {
        const heard: string[] = []
        const until = async (what: string, count: number) => {
          for (let i = 0; i < 200 && heard.filter((one) => one === what).length < count; i++) {
            await new Promise((resolve) => setTimeout(resolve, 5))
          }
          expect(heard.filter((one) => one === what)).to.have.length(count)
        }
        const subscribe = () =>
          node.subscribe({
            subscribed: () => heard.push('subscribed'),
            announced: () => heard.push('announced'),
            ended: (why) => heard.push(why),
          })
        const [one, two] = [subscribe(), subscribe()]
        expect(heard).to.deep.equal([])
        await until('subscribed', 2)
        await node.announce()
        await until('announced', 2)
        one.close()
        await node.announce()
        await until('announced', 3)
        two.close()
        await node.announce()
        await node.announce()
        expect(heard).to.have.length(5)
      })
    })

    describe('messages', () => {
      /** What one messenger hears and is answered, in order. */
      async function open() {
        const heard: string[] = []
        let wake = () => undefined as void
        const note = (what: string) => {
          heard.push(what)
          wake()
        }
        const until = async (what: string) => {
          while (!heard.includes(what)) await new Promise<void>((resolve) => (wake = resolve))
        }
        const messenger = node.messenger({
          opened: () => note('opened'),
          message: (topic, bytes) => note(`${topic.toString('latin1')}: ${bytes.toString('latin1')}`),
          ended: (why) => note(`ended: ${why}`),
        })
        expect(heard).to.deep.equal([])
        await until('opened')
        heard.length = 0
        const listen = (to: Listening) =>
          new Promise<string | null>((resolve) => messenger.listen(to, resolve))
        const publish = (topic: string, bytes: string | Buffer) =>
          new Promise<number>((resolve, reject) =>
            messenger.publish(Buffer.from(topic), Buffer.from(bytes), {
              onPublished: resolve,
              onFailure: ({ message }) => reject(new Error(message)),
            }),
          )
        return { heard, until, messenger, listen, publish }
      }
      const names = (...all: string[]) => all.map((name) => Buffer.from(name))

      it('reach whoever listens to their topic, or to its beginning, once for each, in order', async () => {
        const [one, two] = [await open(), await open()]
        expect(await one.publish('t:a', 'nobody')).to.equal(0)
        expect(await one.listen({ topics: names('t:a', 't:b') })).to.equal(null)
        expect(await two.listen({ prefixes: names('t:') })).to.equal(null)
        const copies = await Promise.all([
          two.publish('t:a', '1'),
          two.publish('other', '2'),
          two.publish('t:c', '3'),
          two.publish('t:b', Buffer.from([0, 13, 10, 255])),
          two.publish('t:a', '4'),
        ])
        expect(copies).to.deep.equal([2, 0, 1, 2, 2])
        await Promise.all([one.until('t:a: 4'), two.until('t:a: 4')])
        expect(one.heard).to.deep.equal(['t:a: 1', 't:b: \0\r\n\xff', 't:a: 4'])
        expect(two.heard).to.deep.equal(['t:a: 1', 't:c: 3', 't:b: \0\r\n\xff', 't:a: 4'])
        // A second copy for whoever listens to both.
        await two.listen({ topics: names('t:a') })
        expect(await one.publish('t:a', '5')).to.equal(3)
        one.messenger.close()
        two.messenger.close()
      })

      it('are not heard any more by whoever has stopped listening, or has closed', async () => {
        const [one, two, three] = [await open(), await open(), await open()]
        await one.listen({ topics: names('t:a') })
        await two.listen({ prefixes: names('t:') })
        one.messenger.unlisten({ topics: names('t:a') })
        two.messenger.unlisten({ prefixes: names('t:') })
        await one.listen({ topics: names('t:b') })
        await two.listen({ topics: names('t:b') })
        expect(await three.publish('t:a', '1')).to.equal(0)
        two.messenger.close()
        await one.publish('t:b', '2')
        await one.until('t:b: 2')
        expect(one.heard).to.deep.equal(['t:b: 2'])
        expect(two.heard).to.deep.equal([])
        one.messenger.close()
        three.messenger.close()
      })

      it('end with the process of the node: calls fail, and a new messenger begins', async () => {
        const { messenger, until, heard } = await open()
        const failures: string[] = []
        await Promise.all([
          server.restart(),
          new Promise<void>((resolve) => {
            const timer = setInterval(() => {
              if (!heard.some((one) => one.startsWith('ended'))) return
              clearInterval(timer)
              resolve()
            }, 5)
          }),
        ])
        await until(heard.at(-1)!)
        expect(heard).to.have.length(1)
        messenger.publish(Buffer.from('t'), Buffer.from('x'), {
          onPublished: () => failures.push('published'),
          onFailure: ({ kind }) => failures.push(kind),
        })
        expect(failures).to.deep.equal(['not-sent'])
        const again = await open()
        expect(await again.publish('t', 'x')).to.equal(0)
        again.messenger.close()
      })
    })

    describe('notes of coordinators', () => {
      const idsOf = (notes: readonly { readonly id: string }[] | null) => notes?.map(({ id }) => id)

      it('are returned to whoever asks, the newest first, with their age', async () => {
        expect(await node.checkIn(MARKER, 'one', 'a note\nof one', false)).to.deep.equal([])
        const notes = await node.checkIn(MARKER, 'two', '{"é":1}', true)
        expect(
          [...notes!].sort((a, b) => (a.id < b.id ? -1 : 1)).map(({ id, text }) => [id, text]),
        ).to.deep.equal([
          ['one', 'a note\nof one'],
          ['two', '{"é":1}'],
        ])
        for (const { agoMs } of notes!) expect(agoMs).to.be.within(0, 5000)
        await node.checkIn(MARKER, 'one', 'another', false)
        const again = await node.checkIn(MARKER, 'two', 'x', true)
        expect(again!.find(({ id }) => id === 'one')!.text).to.equal('another')
      })

      it('are neither left nor told under another marker', async () => {
        expect(await node.checkIn(Buffer.from('{"cluster":"other"}'), 'one', 'x', true)).to.equal(null)
        expect(idsOf(await node.checkIn(MARKER, 'two', 'x', true))).to.deep.equal(['two'])
      })

      it('are bounded: the oldest go', async () => {
        for (let i = 0; i < MAX_CHECKED_IN + 40; i++) await node.checkIn(MARKER, `c${i}`, 'x', false)
        await new Promise((resolve) => setTimeout(resolve, 5)) // the server's own clock
        const notes = await node.checkIn(MARKER, 'last', 'x', true)
        expect(notes).to.have.length(MAX_CHECKED_IN)
        expect(idsOf(notes)![0]).to.equal('last')
        expect(idsOf(await node.checkIn(MARKER, 'last', 'x', true))).to.have.members([...idsOf(notes)!])
      })

      it('are forgotten with everything else, and are no keys of users', async () => {
        await node.checkIn(MARKER, 'one', 'x', true)
        const { entries } = await node.scan('0', null, 1000)
        expect(entries.filter(({ key }) => !isInternal(key))).to.deep.equal([])
        await server.flush()
        expect(await node.checkIn(MARKER, 'two', 'x', true)).to.equal(null)
      })
    })

    describe('emptying', () => {
      it('removes everything under the expected marker, and nothing under another one', async () => {
        await server.setRaw(KEY, Buffer.from('x'))
        for (const other of [null, Buffer.from('{"cluster":"other"}'), Buffer.alloc(0)]) {
          expect(await node.empty(other)).to.equal(false)
        }
        expect((await node.probe()).keys).to.equal(2)
        expect(await node.empty(MARKER)).to.equal(true)
        expect((await node.probe()).keys).to.equal(0)
      })

      it('of a node without a marker', async () => {
        await server.deleteRaw(MARKER_KEY)
        await server.setRaw(KEY, Buffer.from('x'))
        expect(await node.empty(MARKER)).to.equal(false)
        expect(await node.empty(null)).to.equal(true)
        expect((await node.probe()).keys).to.equal(0)
      })
    })

    describe('when it was last compared', () => {
      const at = async () => (await node.probe()).syncedAt
      const OTHER = Buffer.from('{"cluster":"other"}')

      it('is told by a probe, and moves forward only', async () => {
        expect(await at()).to.equal(null)
        expect(await node.stamp(MARKER, { atMs: 1_700_000_000_000.7, assumed: true })).to.equal(true)
        expect(await at()).to.deep.equal({ atMs: 1_700_000_000_000, assumed: true })
        for (const atMs of [999, 1_700_000_000_000]) {
          expect(await node.stamp(MARKER, { atMs, assumed: false })).to.equal(true)
          expect(await at()).to.deep.equal({ atMs: 1_700_000_000_000, assumed: true })
        }
        expect(await node.stamp(MARKER, { atMs: 1_700_000_000_001, assumed: false })).to.equal(true)
        expect(await at()).to.deep.equal({ atMs: 1_700_000_000_001, assumed: false })
      })

      it('with the placement under which its misplaced copies are settled', async () => {
        for (const [i, settled] of [`${'0a'.repeat(16)} 3`, null].entries()) {
          expect(await node.stamp(MARKER, { atMs: 5 + i, assumed: false, settled })).to.equal(true)
          expect(await at()).to.deep.equal({ atMs: 5 + i, assumed: false, settled })
        }
      })

      it('is not noted under another marker, nor without one', async () => {
        expect(await node.stamp(OTHER, { atMs: 5, assumed: false })).to.equal(false)
        await server.deleteRaw(MARKER_KEY)
        expect(await node.stamp(MARKER, { atMs: 5, assumed: false })).to.equal(false)
        expect(await at()).to.equal(null)
      })

      it('is not known where something else stands in its place, which is replaced', async () => {
        await server.setRaw(SYNCED_AT_KEY, Buffer.from('soon'))
        expect(await at()).to.equal(null)
        expect(await node.stamp(MARKER, { atMs: 5, assumed: false })).to.equal(true)
        expect(await at()).to.deep.equal({ atMs: 5, assumed: false })
      })

      it('is forgotten with everything else', async () => {
        await node.stamp(MARKER, { atMs: 5, assumed: false })
        await server.flush()
        expect(await at()).to.equal(null)
      })
    })

    describe('dropping what is old', () => {
      const key = (name: string) => Buffer.from(name)
      const left = async (...names: string[]) => {
        const held = await Promise.all(names.map((name) => server.getRaw(key(name))))
        return names.filter((_, i) => held[i] !== null)
      }
      const drop = (names: string[], marker = MARKER) => node.dropOlder(marker, names.map(key), 100)

      it('takes values, tombstones and what is promised on them, and tells how many', async () => {
        await applied(record(99, 'v'), FAR_END_MS, key('value'))
        await applied(record(5, '', { kind: KIND_TOMBSTONE }), EXPIRY_MARGIN_MS, key('tombstone'))
        await applied(record(5, 'v'), FAR_END_MS, key('promised'))
        await prepare(node, key('promised'), version({ ms: 500 }))
        await applied(record(5, 'v'), FAR_END_MS, key('not asked'))
        expect(await drop(['value', 'tombstone', 'promised', 'absent'])).to.equal(3)
        expect(await left('value', 'tombstone', 'promised', 'not asked')).to.deep.equal(['not asked'])
      })

      it('leaves what is as young, or younger', async () => {
        await applied(record(100), FAR_END_MS, key('as young'))
        await applied(record(2 ** 45), FAR_END_MS, key('younger'))
        expect(await drop(['as young', 'younger'])).to.equal(0)
        expect(await left('as young', 'younger')).to.have.length(2)
      })

      it('leaves what Rondo did not write', async () => {
        await server.setRaw(key('raw'), Buffer.from('plain'))
        await server.setRaw(key('short'), record(5).head.subarray(0, 30))
        await server.setRaw(key('raw and promised'), Buffer.from('plain'))
        await prepare(node, key('raw and promised'), version({ ms: 5 }))
        await prepare(node, key('promised'), version({ ms: 5 }))
        const { head } = record(5)
        head[3] = 2 // a format to come
        await server.setRaw(key('to come'), head)
        await server.setOtherType?.(key('list'))
        const names = ['raw', 'short', 'raw and promised', 'promised', 'to come']
        expect(await drop([...names, 'list'])).to.equal(0)
        expect(await left(...names)).to.deep.equal(names)
      })

      it('does nothing under another marker, or without one', async () => {
        await applied(record(5, 'v'), FAR_END_MS, key('value'))
        expect(await drop(['value'], Buffer.from('{}'))).to.equal(null)
        await server.deleteRaw(MARKER_KEY)
        expect(await drop(['value'])).to.equal(null)
        expect(await left('value')).to.deep.equal(['value'])
      })

      it('may be of many keys, and of none', async () => {
        const names = Array.from({ length: 1000 }, (_, i) => `k${i}`)
        for (const name of names) await applied(record(5), FAR_END_MS, key(name))
        expect(await drop(names)).to.equal(1000)
        expect(await drop([])).to.equal(0)
      })
    })

    describe('how long a key is kept', () => {
      const TTL_VALUE = VALUE_LIFE(10 * SECOND)
      const NO_EXPIRY = record(3, 'for ever')
      const EXPIRING = record(3, 'for a while', { expiresAtMs: 7 })
      const tombstone = record(9, '', { kind: KIND_TOMBSTONE })
      const cases: [string, [NewRecord, number] | null, [NewRecord, number], number][] = [
        [
          'a value with a TTL over nothing: to its expiry and a margin',
          null,
          [record(9), TTL_VALUE],
          TTL_VALUE,
        ],
        [
          'a value with a TTL over one without: the grace',
          [NO_EXPIRY, FAR_END_MS],
          [record(9), TTL_VALUE],
          GRACE_MS,
        ],
        [
          'a long TTL over a short one: its own',
          [record(3), VALUE_LIFE(1)],
          [record(9), TTL_VALUE],
          TTL_VALUE,
        ],
        [
          'a short TTL over a longer one: that one',
          [record(3), TTL_VALUE],
          [record(9), VALUE_LIFE(1)],
          TTL_VALUE,
        ],
        ['a TTL beyond the grace: its own', [NO_EXPIRY, FAR_END_MS], [record(9), 2 * GRACE_MS], 2 * GRACE_MS],
        ['a value without expiry: a far end', [EXPIRING, TTL_VALUE], [record(9), FAR_END_MS], FAR_END_MS],
        [
          'a value without expiry over another: a far end',
          [NO_EXPIRY, FAR_END_MS],
          [record(9), FAR_END_MS],
          FAR_END_MS,
        ],
        [
          'a value without expiry over a tombstone: a far end',
          [record(3, '', { kind: KIND_TOMBSTONE }), TTL_VALUE],
          [record(9), FAR_END_MS],
          FAR_END_MS,
        ],
        [
          'a tombstone over nothing: the margin',
          null,
          [tombstone, ownLifeMs(KIND_TOMBSTONE, 0, 0)],
          60 * SECOND,
        ],
        [
          'a tombstone over a value without expiry: the grace',
          [NO_EXPIRY, FAR_END_MS],
          [tombstone, 60 * SECOND],
          GRACE_MS,
        ],
        [
          'a tombstone over a TTL: to the end of that',
          [record(3), TTL_VALUE],
          [tombstone, 60 * SECOND],
          TTL_VALUE,
        ],
      ]
      for (const [what, first, [next, lifeMs], expectedMs] of cases) {
        it(what, async () => {
          if (first) await applied(...first)
          await applied(next, lifeMs)
          expect(await server.ttl(KEY)).to.be.within(expectedMs - TOLERANCE_MS, expectedMs)
          expect(await node.lifeMs(KEY)).to.be.within(expectedMs - TOLERANCE_MS, expectedMs)
        })
      }

      it('counts what somebody else stored like a record: without an end, or with its own', async () => {
        await server.setRaw(KEY, Buffer.from('plain'))
        await applied(record(9), TTL_VALUE)
        expect(await server.ttl(KEY)).to.be.within(GRACE_MS - TOLERANCE_MS, GRACE_MS)
        const other = Buffer.from('other')
        await server.setRaw(other, Buffer.from('plain'), 500 * SECOND)
        await applied(record(9), TTL_VALUE, other)
        expect(await server.ttl(other)).to.be.within(500 * SECOND - TOLERANCE_MS, 500 * SECOND)
      })

      it('is told with the ack: as long as was asked, or longer where something must be outlived', async () => {
        const about = (ms: number) => [ms - TOLERANCE_MS, ms] as const
        expect(await applied(record(3), TTL_VALUE)).to.equal(TTL_VALUE)
        expect(await applied(record(5), VALUE_LIFE(1))).to.be.within(...about(TTL_VALUE))
        expect(await applied(record(7), 60_000_000)).to.equal(60_000_000)
        expect(await applied(tombstone, 60 * SECOND)).to.be.within(...about(60_000_000))
        await prepare(node, KEY, version({ ms: 12 }))
        const accepted = await accept(node, KEY, record(12), VALUE_LIFE(1))
        expect(keptOf(accepted, VALUE_LIFE(1))).to.be.within(...about(60_000_000))
        const again = await accept(node, KEY, record(12), VALUE_LIFE(1))
        expect(keptOf(again, VALUE_LIFE(1))).to.be.within(...about(60_000_000))
      })

      it('becomes longer by the same record again, if more is asked, and never shorter', async () => {
        const within = async (ms: number) => expect(await server.ttl(KEY)).to.be.within(ms - TOLERANCE_MS, ms)
        const [SHORT, LONG] = [VALUE_LIFE(1), VALUE_LIFE(1000 * SECOND)]
        await applied(record(9, 'same'), SHORT)
        expect(await applied(record(9, 'same'), LONG)).to.equal(LONG)
        await within(LONG)
        expect(await applied(record(9, 'same'), SHORT)).to.be.within(LONG - TOLERANCE_MS, LONG)
        await within(LONG)
        await prepare(node, KEY, version({ ms: 12 }))
        expect(await applied(record(9, 'same'), 2 * LONG)).to.equal(2 * LONG) // under a promise, too
        await accept(node, KEY, record(12), SHORT)
        keptOf(await accept(node, KEY, record(12), 3 * LONG), 3 * LONG)
        await within(3 * LONG)
        await server.setRaw(KEY, (await server.getRaw(KEY))!) // without an end
        expect(await applied(record(12), LONG)).to.equal(LONG)
        expect(await server.ttl(KEY)).to.equal(-1)
      })

      it('is marked as lasting where it is about the grace, which is more than was asked', async () => {
        const isLasting = async () => (await rawRecord()).isLasting
        await applied(NO_EXPIRY)
        expect(await isLasting()).to.equal(false)
        await applied(tombstone, 60 * SECOND)
        expect(await isLasting()).to.equal(true)
        await prepare(node, KEY, version({ ms: 12 }))
        expect(await isLasting()).to.equal(true)
        await accept(node, KEY, record(12), TTL_VALUE)
        expect(await isLasting()).to.equal(true) // by what the tombstone had left, nearly all of the grace
        await server.deleteRaw(KEY)
        await applied(record(13), TTL_VALUE)
        await applied(record(14), TTL_VALUE)
        expect(await isLasting()).to.equal(false)
      })

      it('is marked as lasting by the same record again, which says so, and stays marked', async () => {
        await applied(record(3), TTL_VALUE)
        await applied(record(9, 'same'), TTL_VALUE)
        const before = (await server.getRaw(KEY))!
        expect(await applied(lastingCopy(record(9, 'same')), VALUE_LIFE(1))).to.be.above(VALUE_LIFE(1))
        const marked = await rawRecord()
        expect(marked.isLasting).to.equal(true)
        expect(marked.bytes.subarray(5)).to.deep.equal(before.subarray(5)) // and nothing else has changed
        expect(await server.ttl(KEY)).to.be.within(TTL_VALUE - TOLERANCE_MS, TTL_VALUE)
        await applied(record(9, 'same'), TTL_VALUE)
        expect((await rawRecord()).isLasting).to.equal(true)
        expect(await value()).to.equal('same')
        await applied(lastingCopy(record(20, '', { kind: KIND_TOMBSTONE })), TTL_VALUE)
        expect((await rawRecord()).kind).to.equal(KIND_TOMBSTONE)
        expect((await rawRecord()).isLasting).to.equal(true)
      })

      it('is not changed by a stale write', async () => {
        await applied(record(9), TTL_VALUE)
        await store(node, KEY, record(3), FAR_END_MS)
        expect(await server.ttl(KEY)).to.be.at.most(TTL_VALUE)
      })

      it('is told as -1 without an end and -2 without a key', async () => {
        expect(await node.lifeMs(KEY)).to.equal(-2)
        await server.setRaw(KEY, Buffer.from('plain'))
        expect(await node.lifeMs(KEY)).to.equal(-1)
      })
    })

    describe('values that Rondo did not write', () => {
      for (const text of ['plain', '', '\xffRD\x01 but short']) {
        const bytes = Buffer.from(text, 'latin1')
        it(`are read as they are, keep their TTL, and the first write upgrades them: ${JSON.stringify(text)}`, async () => {
          await server.setRaw(KEY, bytes, 500 * SECOND)
          const found = await get(node, KEY)
          expect(found).to.deep.equal({ kind: 'found', bytes, fence })
          expect(await node.lifeMs(KEY)).to.be.within(500 * SECOND - TOLERANCE_MS, 500 * SECOND)
          await applied(record(version({ ms: 0, counter: 0, coordinator: 1 }), 'ours'))
          expect(await value()).to.equal('ours')
          expect((await rawRecord()).replaced).to.deep.equal(Buffer.alloc(8))
        })
      }
    })

    describe('the register', () => {
      const ballot = (ms: number) => version({ ms })
      const raw = () => server.getRaw(TOPOLOGY_KEY)
      const write = (at: number, text = '') => store(node, TOPOLOGY_KEY, record(at, text))

      it('is written in two rounds, and then read by a probe', async () => {
        expect(await node.prepareRegister(ballot(5))).to.deep.equal({ ok: true, record: null })
        expect((await rawRecord(TOPOLOGY_KEY)).kind).to.equal(KIND_NOTHING)
        expect(await node.lifeMs(TOPOLOGY_KEY)).to.equal(-1)
        expect(await node.acceptRegister(record(5, 'topology'))).to.deep.equal({ ok: true, record: null })
        const { topology } = await node.probe()
        expect(topology).to.deep.equal(await raw())
        expect(new StoredRecord(topology!).value.toString()).to.equal('topology')
        expect(await node.lifeMs(TOPOLOGY_KEY)).to.equal(-1)
      })

      it('tells the next round what was chosen before', async () => {
        await node.prepareRegister(ballot(5))
        await node.acceptRegister(record(5, 'first'))
        const before = await raw()
        expect(await node.prepareRegister(ballot(7))).to.deep.equal({ ok: true, record: before })
        const promised = await rawRecord(TOPOLOGY_KEY)
        expect(promised.promise).to.deep.equal(ballot(7))
        expect(promised.value.toString()).to.equal('first')
        expect((await node.acceptRegister(record(7, 'second'))).ok).to.equal(true)
        expect((await rawRecord(TOPOLOGY_KEY)).replaced).to.deep.equal(ballot(5).subarray(0, 8))
      })

      it('refuses ballots below a promise or a record, and names what is newer', async () => {
        await node.prepareRegister(ballot(7))
        expect(await node.prepareRegister(ballot(6))).to.deep.equal({ ok: false, newest: ballot(7) })
        expect(await node.acceptRegister(record(6))).to.deep.equal({ ok: false, newest: ballot(7) })
        expect(await node.acceptRegister(record(8))).to.deep.equal({ ok: false, newest: ballot(7) })
        await node.acceptRegister(record(7))
        expect(await node.prepareRegister(ballot(7))).to.deep.equal({ ok: false, newest: ballot(7) })
        expect(await node.acceptRegister(record(6))).to.deep.equal({ ok: false, newest: ballot(7) })
      })

      it('accepts nothing without a promise, and the same record twice', async () => {
        expect(await node.acceptRegister(record(5))).to.deep.equal({ ok: false, newest: Buffer.alloc(12) })
        await node.prepareRegister(ballot(5))
        expect((await node.acceptRegister(record(5, 'x'))).ok).to.equal(true)
        expect((await node.acceptRegister(record(5, 'x'))).ok).to.equal(true)
      })

      it('blocks plain writes below its promise; a newer write drops the promise', async () => {
        await write(3, 'old')
        await node.prepareRegister(ballot(7))
        const result = await write(6)
        expect(result.kind === 'stale' && result.held).to.deep.equal(ballot(7))
        expect((await write(3, 'old')).kind).to.equal('applied') // it is here already
        expect((await rawRecord(TOPOLOGY_KEY)).promise).to.deep.equal(ballot(7))
        expect((await write(8, 'newer')).kind).to.equal('applied')
        expect((await rawRecord(TOPOLOGY_KEY)).promise).to.equal(null)
        expect(await node.acceptRegister(record(7))).to.deep.equal({ ok: false, newest: ballot(8) })
      })

      it('takes bytes of somebody else for version 0, and keeps their life', async () => {
        await server.setRaw(TOPOLOGY_KEY, Buffer.from('plain'), 500 * SECOND)
        expect(await node.prepareRegister(ballot(5))).to.deep.equal({
          ok: true,
          record: Buffer.from('plain'),
        })
        expect((await rawRecord(TOPOLOGY_KEY)).value.toString()).to.equal('plain')
        expect(await server.ttl(TOPOLOGY_KEY)).to.be.within(490 * SECOND, 500 * SECOND)
        await node.acceptRegister(record(5))
        expect(await server.ttl(TOPOLOGY_KEY)).to.equal(-1)
      })

      it('is the same for the data path', async () => {
        await node.prepareRegister(ballot(5))
        expect(await prepare(node, TOPOLOGY_KEY, ballot(4))).to.deep.equal({
          kind: 'refused',
          newest: ballot(5),
          fence,
        })
        expect((await accept(node, TOPOLOGY_KEY, record(5, 'x'))).kind).to.equal('applied')
        expect(await node.acceptRegister(record(5, 'x'))).to.deep.equal({ ok: true, record: null })
      })
    })

    describe('the marker', () => {
      const foreign = { kind: 'unknown', reason: 'marker' }
      const other = Buffer.from('another marker')

      const upsets: [string, () => Promise<unknown>][] = [
        ['gone', () => server.deleteRaw(MARKER_KEY)],
        ['flushed away with everything', () => server.flush()],
        ['another', () => server.setRaw(MARKER_KEY, other)],
        ['longer', () => server.setRaw(MARKER_KEY, Buffer.concat([MARKER, other]))],
        ['empty', () => server.setRaw(MARKER_KEY, Buffer.alloc(0))],
      ]
      for (const [what, upset] of upsets) {
        it(`${what}: a batch counts for nothing, and the listener is told once`, async () => {
          await applied(record(3))
          await upset()
          const results = await Promise.all([
            get(node, KEY),
            store(node, KEY, record(5)),
            prepare(node, KEY, version({ ms: 7 })),
            accept(node, KEY, record(7)),
            hint(node, 'b', KEY, version({ ms: 7 })),
            get(node, Buffer.from('x')),
          ])
          expect(results.map(failureOf)).to.deep.equal(Array.from(results, () => foreign))
          expect(listener.heard).to.deep.equal(['foreign marker'])
        })
      }

      it('counts in each batch anew: what comes back under the right one is answered', async () => {
        await server.setRaw(MARKER_KEY, other)
        expect(failureOf(await get(node, KEY))).to.deep.equal(foreign)
        await server.setRaw(MARKER_KEY, MARKER)
        expect((await get(node, KEY)).kind).to.equal('absent')
      })

      it('that is expected can be changed, from the next call on', async () => {
        const nextFence = { ...fence, marker: other, clean: false }
        const before = get(node, KEY)
        const opened = node.open(nextFence)
        const after = get(node, KEY)
        await opened
        expect(await before).to.deep.equal({ kind: 'absent', fence })
        expect(failureOf(await after)).to.deep.equal(foreign)
        await node.swapMarker(MARKER, other)
        expect(await get(node, KEY)).to.deep.equal({ kind: 'absent', fence: nextFence })
      })

      it('that is not the expected one does not let the data path open', async () => {
        node.shut('test')
        await server.setRaw(MARKER_KEY, other)
        const refused = await node.open(fence).then(
          () => null,
          (error: Error) => error.message,
        )
        expect(refused).to.match(/does not hold the expected marker$/)
        expect(node.ready).to.equal(false)
        expect(listener.heard).to.deep.equal(['foreign marker'])
      })

      it('of another run does not let the data path open, though it is there', async () => {
        node.shut('test')
        const refused = await node.open({ ...fence, runId: 'another' }).then(
          () => null,
          (error: Error) => error.message,
        )
        expect(refused).to.match(/not the one in its marker/)
        expect(node.ready).to.equal(false)
        expect(listener.heard).to.deep.equal(['foreign marker'])
        expect(failureOf(await get(node, KEY))).to.deep.equal({ kind: 'not-sent', reason: 'not-connected' })
        await node.open(fence)
        expect(await get(node, KEY)).to.deep.equal({ kind: 'absent', fence })
      })

      it('of another run closes a data path that is open, and what it overtakes is not sent', async () => {
        const overtaken = store(node, KEY, record(5))
        const refused = await node.open({ ...fence, runId: 'another' }).then(
          () => null,
          (error: Error) => error.message,
        )
        expect(refused).to.match(/not the one in its marker/)
        expect(node.ready).to.equal(false)
        expect(failureOf(await overtaken)).to.deep.equal({ kind: 'not-sent', reason: 'closed' })
        expect(listener.heard).to.deep.equal(['foreign marker'])
      })

      it('is written only over what was expected there', async () => {
        expect(await node.swapMarker(null, other)).to.equal(false)
        expect(await node.swapMarker(other, other)).to.equal(false)
        expect(await node.swapMarker(Buffer.alloc(0), other)).to.equal(false)
        expect(await server.getRaw(MARKER_KEY)).to.deep.equal(MARKER)
        expect(await node.swapMarker(MARKER, other)).to.equal(true)
        expect(await server.getRaw(MARKER_KEY)).to.deep.equal(other)
        await server.deleteRaw(MARKER_KEY)
        expect(await node.swapMarker(other, MARKER)).to.equal(false)
        expect(await node.swapMarker(null, MARKER)).to.equal(true)
        expect(await server.ttl(MARKER_KEY)).to.equal(-1)
      })

      it('tells an empty one from none', async () => {
        await server.setRaw(MARKER_KEY, Buffer.alloc(0))
        expect(await node.swapMarker(null, other)).to.equal(false)
        expect(await node.swapMarker(Buffer.alloc(0), other)).to.equal(true)
      })
    })

    describe('opening and shutting', () => {
      const notConnected = { kind: 'not-sent', reason: 'not-connected' }

      it('is ready between open and shut', async () => {
        expect(node.ready).to.equal(true)
        node.shut('test')
        expect(node.ready).to.equal(false)
        await node.open(fence)
        expect(node.ready).to.equal(true)
      })

      it('sends nothing while it is shut, and says so after the call has returned', async () => {
        node.shut('test')
        const results = await Promise.all([
          get(node, KEY),
          store(node, KEY, record(5)),
          prepare(node, KEY, version({ ms: 5 })),
          accept(node, KEY, record(5)),
          hint(node, 'b', KEY, version({ ms: 5 })),
        ])
        expect(results.map(failureOf)).to.deep.equal(Array.from(results, () => notConnected))
        expect(await server.getRaw(KEY)).to.equal(null)
        expect((await node.probe(['b'])).hints.size).to.equal(0)
      })

      it('ends calls that shut overtakes in their own turn as not sent', async () => {
        const calls = [
          get(node, KEY),
          store(node, KEY, record(5)),
          prepare(node, KEY, version({ ms: 5 })),
          accept(node, KEY, record(5)),
          hint(node, 'b', KEY, version({ ms: 5 })),
        ]
        node.shut('test')
        const closed = { kind: 'not-sent', reason: 'closed' }
        expect((await Promise.all(calls)).map(failureOf)).to.deep.equal(Array.from(calls, () => closed))
        await node.open(fence)
        expect(await get(node, KEY)).to.deep.equal({ kind: 'absent', fence })
        expect(listener.heard).to.deep.equal([]) // who shuts it knows
      })

      it('does not open when it is shut meanwhile', async () => {
        node.shut('test')
        const opening = node.open(fence).then(
          () => 'opened',
          () => 'not opened',
        )
        node.shut('test')
        expect(await opening).to.equal('not opened')
        expect(node.ready).to.equal(false)
      })

      it('is of no more use once it is closed', async () => {
        await node.close()
        expect(failureOf(await get(node, KEY))).to.deep.equal(notConnected)
        for (const use of [
          () => node.open(fence),
          () => node.probe(),
          () => node.tryWrite(),
          () => node.lease('fill', 'one', SECOND),
          () => node.hints('b', '0', 10),
          () => node.dropCopy(MARKER, KEY, version({ ms: 5 })),
        ]) {
          expect(await (use() as Promise<unknown>).then(String, (error: Error) => error.message)).to.match(
            /closed/,
          )
        }
      })
    })

    describe('a batch', () => {
      it('is carried out in the order of its calls, and answered in it', async () => {
        const answered: string[] = []
        const note = (name: string) => (result: { kind: string }) =>
          void answered.push(`${name} ${result.kind}`)
        const found = get(node, KEY)
        await Promise.all([
          found.then(note('a')),
          store(node, KEY, record(5, 'one')).then(note('b')),
          get(node, KEY).then(note('c')),
          store(node, KEY, record(4)).then(note('d')),
          store(node, KEY, record(6, '', { kind: KIND_TOMBSTONE })).then(note('e')),
          store(node, KEY, record(5)).then(note('f')),
        ])
        expect(answered).to.deep.equal([
          'a absent',
          'b applied',
          'c found',
          'd stale',
          'e applied',
          'f stale',
        ])
      })

      it('may be made by the answers to another', async () => {
        const results: Promise<StoreResult>[] = []
        await new Promise<void>((resolve, reject) => {
          node.get(KEY, {
            onRecord: () => {
              results.push(store(node, KEY, record(5)), store(node, KEY, record(4)))
              resolve()
            },
            onFailure: () => reject(new Error('failed')),
          })
        })
        expect((await Promise.all(results)).map(({ kind }) => kind)).to.deep.equal(['applied', 'stale'])
      })

      it('may be large', async () => {
        const big = randomBytes(100_000)
        const keys = Array.from({ length: 500 }, (_, i) => Buffer.from(`key:${i}`))
        const stores = await Promise.all(
          keys.map((key, i) => store(node, key, record(1, i % 50 ? 'v' : big))),
        )
        expect(stores.every(({ kind }) => kind === 'applied')).to.equal(true)
        const gets = await Promise.all(keys.map((key) => get(node, key)))
        gets.forEach((result, i) => {
          const bytes = result.kind === 'found' ? new StoredRecord(result.bytes).value : null
          expect(bytes?.equals(i % 50 ? Buffer.from('v') : big)).to.equal(true)
        })
      })

      it('may hold more keys than a socket buffer, and keeps the order of calls with one key', async () => {
        const results = await Promise.all(
          Array.from({ length: 2000 }, (_, i) => store(node, KEY, record(i + 1, String(i)))),
        )
        expect(results.every(({ kind }) => kind === 'applied')).to.equal(true)
        expect(await value()).to.equal('1999')
      })
    })

    describe('listing', () => {
      async function list(match: string | null, count: number, between?: () => Promise<unknown>) {
        const entries: ScanEntry[] = []
        let cursor = '0'
        let pages = 0
        do {
          const page = await node.scan(cursor, match === null ? null : Buffer.from(match, 'latin1'), count)
          entries.push(...page.entries)
          cursor = page.cursor
          pages++
          if (pages > 10_000) throw new Error('it does not end')
          await between?.()
        } while (cursor !== '0')
        return { keys: entries.map(({ key }) => key.toString('latin1')), entries, pages }
      }
      const users = (keys: string[]) => keys.filter((key) => !key.startsWith('__rondo:'))
      const names = (prefix: string, n: number) => Array.from({ length: n }, (_, i) => `${prefix}:${i}`)
      const fill = (keys: string[]) =>
        Promise.all(keys.map((key) => store(node, Buffer.from(key, 'latin1'), record(1, 'some value'))))

      it('gives every key once while nothing changes, over pages, with what is stored there', async () => {
        const keys = [...names('key', 300), '', '\xff\0\r\n']
        await fill(keys)
        const { keys: listed, entries, pages } = await list(null, 10)
        expect([...listed].sort()).to.deep.equal([...keys, MARKER_KEY.toString()].sort())
        expect(pages).to.be.above(5)
        const entry = entries.find(({ key }) => key.toString() === 'key:7')!
        expect(new StoredRecord(entry.head).version).to.deep.equal(version({ ms: 1 }))
      })

      it('shows the first 43 bytes of a record, which hold all but the value', async () => {
        await store(node, KEY, record(1, 'x'.repeat(100)))
        await server.setRaw(Buffer.from('plain'), Buffer.from('plain'))
        const { entries } = await list(null, 100)
        const heads = new Map(entries.map(({ key, head }) => [key.toString(), head]))
        expect(heads.get(KEY.toString())).to.deep.equal((await server.getRaw(KEY))!.subarray(0, 43))
        expect(heads.get('plain')!.toString()).to.equal('plain')
      })

      it('of nothing is one empty page', async () => {
        await server.flush()
        expect(await node.scan('0', null, 10)).to.deep.equal({ cursor: '0', entries: [] })
      })

      it('takes a glob', async () => {
        await fill(['user:1', 'user:22', 'order:1', 'USER:1', '\xffuser:1'])
        expect((await list('user:*', 2)).keys.sort()).to.deep.equal(['user:1', 'user:22'])
        expect((await list('user:?', 2)).keys).to.deep.equal(['user:1'])
        expect((await list('[^_u]*', 2)).keys.sort()).to.deep.equal(
          ['USER:1', 'order:1', '\xffuser:1'].sort(),
        )
        expect((await list('\xff*', 2)).keys).to.deep.equal(['\xffuser:1'])
        expect((await list('nothing', 2)).keys).to.deep.equal([])
      })

      it('misses no key that is there all the time, while others come and go', async () => {
        const stay = names('stay', 200)
        const go = names('go', 200)
        await fill([...go.slice(0, 100), ...stay, ...go.slice(100)])
        let round = 0
        const { keys } = await list(null, 7, async () => {
          const gone = go.splice(0, 10)
          await Promise.all(gone.map((key) => server.deleteRaw(Buffer.from(key))))
          if (round < 20) await fill(names(`new:${round++}`, 10))
          await fill([stay[round]!]) // an old key is used again
          await get(node, stay[0]!)
        })
        const listed = new Set(users(keys))
        expect(stay.filter((key) => !listed.has(key))).to.deep.equal([])
      })

      it('shows nothing that has expired', async () => {
        await server.setRaw(Buffer.from('short'), Buffer.from('x'), 1)
        await fill(['long'])
        await new Promise((resolve) => setTimeout(resolve, 20)) // the server's own clock
        expect(users((await list(null, 10)).keys)).to.deep.equal(['long'])
        expect(await get(node, 'short')).to.deep.equal({ kind: 'absent', fence })
        expect(await node.lifeMs(Buffer.from('short'))).to.equal(-2)
      })

      it('refuses a cursor that is none', async () => {
        const refusal = await node.scan('x', null, 10).catch((error: Error) => error.message)
        expect(refusal).to.match(/invalid cursor/)
      })
    })

    describe('a page of names', () => {
      it('holds every string key, and comes with a cursor for the next one', async () => {
        const keys = Array.from({ length: 300 }, (_, i) => `key:${i}`)
        await Promise.all(keys.map((key) => store(node, Buffer.from(key), record(1))))
        await server.setRaw(Buffer.from('plain'), Buffer.from('plain'))
        if (factory.otherTypes) await server.setOtherType!(Buffer.from('a list'))
        const found = new Set<string>()
        let pages = 0
        let cursor = '0'
        do {
          const next = await node.keys(cursor, 10)
          for (const key of next.keys) found.add(key.toString())
          cursor = next.cursor
          pages++
        } while (cursor !== '0')
        expect(pages).to.be.above(5)
        found.delete('a list') // names of other types may be among them
        expect([...found].sort()).to.deep.equal([MARKER_KEY.toString(), 'plain', ...keys].sort())
        expect(await node.keys('x', 10).catch((error: Error) => error.message)).to.match(/invalid cursor/)
      })
    })

    describe('reads of several keys', () => {
      const named = (names: readonly string[]) => names.map((name) => Buffer.from(name))
      const stored = (key: string) => server.getRaw(Buffer.from(key))

      it('show the first bytes of each record', async () => {
        await store(node, Buffer.from('short'), record(1, 'x'.repeat(99 - HEAD_BYTES)))
        await store(node, Buffer.from('long'), record(1, 'x'.repeat(101 - HEAD_BYTES)))
        await store(node, Buffer.from(''), record(1, '\0\r\n\xff'))
        await server.setRaw(Buffer.from('plain'), Buffer.from('plain'))
        await server.setRaw(Buffer.from('empty'), Buffer.from(''))
        const found = await starts(node, named(['short', 'absent', 'long', '', 'plain', 'empty']), 100)
        expect(found).to.deep.equal([
          await stored('short'),
          null,
          (await stored('long'))!.subarray(0, 100),
          await stored(''),
          await stored('plain'),
          null,
        ])
      })

      if (factory.otherTypes) {
        it('take one of another type for nothing', async () => {
          await server.setOtherType!(KEY)
          await store(node, Buffer.from('other'), record(1))
          expect(await starts(node, [KEY, Buffer.from('other')], 512)).to.deep.equal([
            null,
            await stored('other'),
          ])
        })
      }

      it('tell how long each is kept', async () => {
        await store(node, Buffer.from('ends'), record(1, 'v', { expiresAtMs: 5000 }), 90_000)
        await server.setRaw(Buffer.from('plain'), Buffer.from('plain'))
        const [ends, plain, absent] = await lives(node, named(['ends', 'plain', 'absent']))
        expect(ends).to.be.within(60_000, 90_000)
        expect([plain, absent]).to.deep.equal([-1, -2])
      })

      it('take as many as allowed, beside other calls of the turn', async () => {
        const keys = Array.from({ length: MAX_ASKED }, (_, i) => Buffer.from(`key:${i}`))
        await Promise.all(keys.map((key) => store(node, key, record(1, key.toString()))))
        const [before, found, kept, after] = await Promise.all([
          get(node, 'key:1'),
          starts(node, keys, 512),
          lives(node, keys),
          get(node, 'key:2'),
        ])
        expect(found.map((start) => start!.subarray(HEAD_BYTES).toString())).to.deep.equal(keys.map(String))
        expect(kept.every((lifeMs) => lifeMs > 1e12)).to.equal(true)
        expect([before.kind, after.kind]).to.deep.equal(['found', 'found'])
      })

      it('fail under a marker that is not the node’s, and where nothing is connected', async () => {
        await server.setRaw(MARKER_KEY, Buffer.from('another'))
        expect(await starts(node, [KEY], 43).catch((failure: NodeFailure) => failure.reason)).to.equal(
          'marker',
        )
        node.shut('test')
        const refused = await lives(node, [KEY]).catch((failure: NodeFailure) => failure.reason)
        expect(refused).to.equal('not-connected')
      })
    })

    describe('a probe', () => {
      it('reports who the node is, what time it has, and its marker', async () => {
        const sentMs = Date.now()
        const report = await node.probe()
        expect(report.marker).to.deep.equal(MARKER)
        expect(report.topology).to.equal(null)
        expect(report.runId).to.match(/./)
        expect(report.software).to.match(/./)
        expect(report.evictionPolicy).to.match(/./)
        expect(report.evictedKeys).to.equal(0)
        expect(report.memoryUsedBytes).to.be.above(0)
        expect(report.durable).to.equal(factory.durable ?? false)
        expect(report.receivedAtMonotonicMs).to.be.at.least(report.sentAtMonotonicMs)
        expect(report.timeMs).to.be.within(sentMs - 2000, Date.now() + 2000)
      })

      it('leaves out the topology that the marker names, which is asked for when it is newer', async () => {
        expect(await node.decided()).to.equal(null)
        expect(await node.swapMarker(MARKER, MARKER, Buffer.from('members'))).to.equal(true)
        expect(await node.decided()).to.deep.equal(Buffer.from('members'))
      })

      it('works while the data path is shut', async () => {
        node.shut('test')
        expect((await node.probe()).marker).to.deep.equal(MARKER)
        await node.tryWrite()
      })

      it('tells a restart by its run id, and by nothing being there', async () => {
        const { runId } = await node.probe()
        expect((await node.probe()).runId).to.equal(runId)
        await hint(node, 'b', KEY, version({ ms: 5 }))
        await server.restart()
        const after = await untilProbed(node)
        expect(after.runId).to.not.equal(runId)
        expect(after.marker).to.equal(null)
        expect(node.ready).to.equal(false)
        expect(listener.heard).to.deep.equal(['broken: closed'])
        await node.swapMarker(null, MARKER)
        expect(await node.open(fence).then(String, (error: Error) => error.message)).to.match(
          /not the one in its marker/,
        )
        await node.open(await fenceOf(node, MARKER))
        expect((await get(node, KEY)).kind).to.equal('absent')
        expect((await node.probe(['b'])).hints.size).to.equal(0)
      })
    })
  })
}

/** The first probe after a restart may still meet the connection of before. */
async function untilProbed(node: Node) {
  for (let tries = 0; ; tries++) {
    try {
      return await node.probe()
    } catch (error) {
      if (tries === 5) throw error
    }
  }
}
