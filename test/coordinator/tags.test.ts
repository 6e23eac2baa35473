/** Tagged values: what they cost, and when they are there. */
import { expect } from 'chai'
import type { ConsistencyLevel } from '../../src/core/consistency.ts'
import { KIND_VALUE, type StoredRecord } from '../../src/core/codec.ts'
import { RondoError } from '../../src/core/errors.ts'
import { tagKey } from '../../src/core/tags.ts'
import { CoordinatorUnderTest } from '../support/coordinator-under-test.ts'

const TAG = tagKey(0, Buffer.from('tag'))
const OTHER = tagKey(0, Buffer.from('other'))
const HOUR_MS = 3_600_000

describe('tagged values', () => {
  let under: CoordinatorUnderTest

  beforeEach(async () => {
    under = await CoordinatorUnderTest.started()
  })
  afterEach(() => under.cluster.stop())

  const calls = () => under.nodes.reduce((sum, node) => sum + node.calls.length, 0)
  const costOf = async (run: () => Promise<unknown>) => {
    const before = calls()
    await run()
    return calls() - before
  }
  const put = (key: string, tags: readonly Buffer[], expiresAtMs = 0, level: ConsistencyLevel = 'quorum') =>
    under.done(
      new Promise<string>((resolve) => {
        const failed = (error: RondoError) => resolve(error.code)
        under.coordinator.tagging(
          tags,
          expiresAtMs,
          {
            tagging: (made) =>
              under.coordinator.write(
                Buffer.from(key),
                Buffer.from('value'),
                expiresAtMs,
                { written: () => resolve('ok'), failed },
                level,
                made,
              ),
            failed,
          },
          level,
        )
      }),
    )
  const get = (key: string | Buffer, level: ConsistencyLevel = 'quorum') =>
    under.done(
      new Promise<StoredRecord | RondoError | null>((resolve) =>
        under.coordinator.read(Buffer.from(key), { read: resolve, failed: resolve }, level),
      ),
    )
  const shown = async (key: string, level: ConsistencyLevel = 'quorum') => {
    const found = await get(key, level)
    if (found instanceof RondoError) return found.code
    return under.coordinator.isLive(found) ? found.value.toString() : '(nothing)'
  }
  const invalidate = (tag: Buffer, level: ConsistencyLevel = 'quorum') =>
    under.done(
      new Promise<string>((resolve) =>
        under.coordinator.remove(
          tag,
          { written: () => resolve('ok'), failed: ({ code }) => resolve(code) },
          level,
        ),
      ),
    )

  for (const level of ['one', 'quorum'] as const) {
    it(`cost others nothing at ${level}, and a read a round for all tags`, async () => {
      const plain = level === 'one' ? 1 : 3
      await under.put('plain', 'value')
      expect(await costOf(() => shown('plain', level))).to.equal(plain)
      await put('tagged', [TAG, OTHER], 0, level)
      expect(await costOf(() => shown('tagged', level))).to.equal(3 * plain)
      expect(await shown('tagged', level)).to.equal('value')
    })
  }

  it('share the reads of their tags within a turn', async () => {
    for (let i = 0; i < 20; i++) await put(`k${i}`, [TAG])
    const cost = await costOf(() => {
      const reads = Array.from(
        { length: 20 },
        (_, i) =>
          new Promise<unknown>((resolve) =>
            under.coordinator.read(Buffer.from(`k${i}`), { read: resolve, failed: resolve }, 'quorum'),
          ),
      )
      return under.done(Promise.all(reads))
    })
    expect(cost).to.be.at.most(20 * 3 + 20)
  })

  it('are gone when one of their tags is, and their memory is given back', async () => {
    await put('both', [TAG, OTHER])
    await put('one', [OTHER])
    expect(await invalidate(TAG)).to.equal('ok')
    expect(await shown('one')).to.equal('value')
    expect(await shown('both')).to.equal('(nothing)')
    await under.done(Promise.resolve())
    for (const node of under.nodesOf('both').slice(0, 3)) expect(node.held('both')!.valueLength).to.equal(0)
    await put('both', [TAG])
    expect(await shown('both')).to.equal('value')
  })

  it('stay gone when the tag is used again, at either level', async () => {
    await put('old', [TAG])
    await invalidate(TAG)
    await put('new', [TAG])
    for (const level of ['one', 'quorum'] as const) {
      expect(await shown('old', level)).to.equal('(nothing)')
      expect(await shown('new', level)).to.equal('value')
    }
  })

  it('are not written where too few nodes can make the tag, unless at one', async () => {
    for (const node of under.nodesOf(TAG.toString()).slice(0, 2)) node.cut()
    expect(await put('key', [TAG])).to.equal('QUORUM_NOT_MET')
    expect(await put('key', [TAG], 0, 'one')).to.equal('ok')
    expect(await shown('key', 'one')).to.equal('value')
  })

  it('cannot be read where their tags cannot', async () => {
    const homesOf = (key: string) => under.nodesOf(key).slice(0, 3)
    const ofTag = homesOf(TAG.toString())
    const key = Array.from({ length: 50 }, (_, i) => `key${i}`).find(
      (one) => !ofTag.every((node) => homesOf(one).includes(node)),
    )!
    await put(key, [TAG])
    const alone = ofTag.find((node) => !homesOf(key).includes(node))!
    for (const node of [alone, ofTag.find((one) => one !== alone)!]) node.cut()
    expect(await shown(key)).to.equal('QUORUM_NOT_MET')
  })

  it('that were replaced before their tag went are not taken for the value that is there', async () => {
    await put('key', [TAG])
    for (const node of under.nodes) node.answerAfterMs = 10
    const reading = new Promise<unknown>((resolve) =>
      under.coordinator.read(
        Buffer.from('key'),
        {
          read: (found) => resolve(under.coordinator.isLive(found) ? found.value.toString() : '(nothing)'),
          failed: resolve,
        },
        'quorum',
      ),
    )
    await under.time.advance(1)
    const done = { written: () => undefined, failed: () => undefined }
    under.coordinator.write(Buffer.from('key'), Buffer.from('later'), 0, done, 'quorum')
    await under.time.advance(1)
    under.coordinator.remove(TAG, done, 'quorum')
    expect(await under.done(reading)).to.equal('later')
  })

  it('have tags that live an hour longer, and as long as a value whose life is extended', async () => {
    const nowMs = Math.ceil(under.coordinator.nowMs())
    const endOf = async () => ((await get(TAG)) as StoredRecord).expiresAtMs - nowMs
    await put('short', [TAG], nowMs + 60_000)
    expect(await endOf()).to.equal(60_000 + HOUR_MS)
    const generation = ((await get(TAG)) as StoredRecord).value.toString('hex')
    await put('long', [TAG], nowMs + 5 * HOUR_MS)
    expect(await endOf()).to.be.within(10 * HOUR_MS - 1000, 10 * HOUR_MS)
    await under.done(
      new Promise<void>((resolve, failed) =>
        under.coordinator.update(
          Buffer.from('short'),
          (current) => ({
            kind: 'write',
            record: { kind: KIND_VALUE, value: current!.value, expiresAtMs: 0, tags: current!.tags },
          }),
          { updated: () => resolve(), failed },
          'quorum',
        ),
      ),
    )
    await under.time.advance(50)
    expect(((await get(TAG)) as StoredRecord).expiresAtMs).to.equal(0)
    expect(((await get(TAG)) as StoredRecord).value.toString('hex')).to.equal(generation)
    expect(await shown('short')).to.equal('value')
  })
})
