import { expect } from 'chai'
import fc from 'fast-check'
import {
  asDeleted,
  contentOf,
  FLAGS_AT,
  KIND_HASH,
  KIND_LIST,
  KIND_SET,
  KIND_SORTED_SET,
  KIND_STREAM,
  KIND_TOMBSTONE,
  KIND_VALUE,
  kindOf,
  newRecordOf,
  PeekedRecord,
  recordToSend,
  StoredRecord,
} from '../../src/core/codec.ts'
import { decodeTags, encodeTags, GENERATION_BYTES, tagKey, tagName } from '../../src/core/tags.ts'

const clock = { stamp: (target: Buffer, at: number) => void target.fill(7, at, at + 12) }
const generation = (byte: number) => Buffer.alloc(GENERATION_BYTES, byte)
const TAGS = encodeTags([
  { key: tagKey(0, Buffer.from('news')), generation: generation(1) },
  { key: tagKey(12, Buffer.from('user:1')), generation: generation(2) },
])
const tagged = (kind: number, value = Buffer.from('value')) => {
  const made = newRecordOf({ kind, value, expiresAtMs: 5000, tags: TAGS }, clock)
  return { made, stored: new StoredRecord(Buffer.concat([made.head, made.value])) }
}

describe('tags in a record', () => {
  it('follow the value, which is read without them, for every type', () => {
    for (const kind of [KIND_VALUE, KIND_HASH, KIND_SET, KIND_SORTED_SET, KIND_LIST, KIND_STREAM]) {
      const { made, stored } = tagged(kind)
      expect(kindOf(made)).to.equal(kind)
      expect(stored).to.include({ kind, isTagged: true, expiresAtMs: 5000, valueLength: 5 })
      expect(stored.value.toString()).to.equal('value')
      expect(stored.isLive(4999)).to.equal(true)
      expect(decodeTags(stored.tags!)!.map(({ key }) => tagName(key).toString())).to.deep.equal([
        'news',
        'user:1',
      ])
      const part = PeekedRecord.ofValue(stored, { from: 3, to: -1 })
      expect([part.valueLength, part.part({ from: 3, to: -1 }).toString()]).to.deep.equal([5, 'ue'])
      expect(contentOf(made)).to.deep.equal({
        kind,
        value: Buffer.from('value'),
        expiresAtMs: 5000,
        tags: TAGS,
      })
    }
  })

  it('make it a kind that earlier releases do not know, and so take for nothing', () => {
    for (const kind of [KIND_VALUE, KIND_HASH, KIND_STREAM]) {
      const nibble = tagged(kind).stored.bytes[FLAGS_AT]! & 0x0f
      expect(nibble).to.be.greaterThan(KIND_STREAM)
    }
  })

  it('go with it to other nodes', () => {
    const { made, stored } = tagged(KIND_VALUE)
    const { head, value } = recordToSend(stored)
    expect(Buffer.concat([head, value])).to.deep.equal(Buffer.concat([made.head, made.value]))
  })

  it('leave a record of the same version that is deleted, once they are gone', () => {
    const { stored } = tagged(KIND_VALUE)
    const gone = asDeleted(stored)
    expect(gone).to.include({ kind: KIND_TOMBSTONE, isTagged: false, expiresAtMs: 0, valueLength: 0 })
    expect(gone.version).to.deep.equal(stored.version)
  })

  it('are none where they are damaged, however', () => {
    const { stored } = tagged(KIND_VALUE)
    const at = stored.bytes.length - TAGS.length
    fc.assert(
      fc.property(fc.nat(TAGS.length - 1), fc.nat(255), fc.nat(TAGS.length), (place, byte, cut) => {
        const bytes = Buffer.from(stored.bytes.subarray(0, stored.bytes.length - cut))
        if (at + place < bytes.length) bytes[at + place] = byte
        const record = new StoredRecord(bytes)
        expect(record.valueLength).to.be.at.least(0)
        expect(record.value.length + record.tags!.length).to.equal(bytes.length - 31)
        const found = decodeTags(record.tags!)
        if (found) expect(encodeTags(found)).to.deep.equal(record.tags)
      }),
    )
  })
})
