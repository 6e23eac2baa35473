import { expect } from 'chai'
import fc from 'fast-check'
import {
  HEAD_BYTES,
  isVersioned,
  KIND_HASH,
  KIND_LIST,
  KIND_SET,
  KIND_SORTED_SET,
  KIND_STREAM,
  KIND_NOTHING,
  KIND_TOMBSTONE,
  KIND_VALUE,
  newRecord,
  StoredRecord,
  versionOf,
} from '../../src/core/codec.ts'
import { VERSION_ZERO } from '../../src/core/clock.ts'
import { record, version } from '../support/node-calls.ts'

const hex = (...parts: string[]) => Buffer.from(parts.join('').replaceAll(' ', ''), 'hex')
const VERSION = version({ ms: 0x0102030405, counter: 0x1122, coordinator: 0xdeadbeef })

/** Section 4 of the design, byte for byte. These never change: users' data is stored so. */
const GOLDEN = {
  value: hex('ff5244 01 00', '000102030405 1122 deadbeef', '0000000000000000', '000000000000', '6869'),
  expiring: hex('ff5244 01 00', '000102030405 1122 deadbeef', '0000000000000000', '0000075bcd15', '6869'),
  tombstone: hex('ff5244 01 01', '000102030405 1122 deadbeef', '0000000000000000', '000000000000'),
  replaced: hex('ff5244 01 00', '000102030405 1122 deadbeef', '00000000ffff 0007', '000000000000', '6869'),
  promised: hex(
    'ff5244 01 10',
    '000102030405 1122 deadbeef',
    '0000000000000000',
    '000000000000',
    '000102030406 0000 00000001',
    '6869',
  ),
  nothing: hex(
    'ff5244 01 12',
    '000000000000 0000 00000000',
    '0000000000000000',
    '000000000000',
    '000102030406 0000 00000001',
  ),
}

describe("a record's bytes", () => {
  const whole = ({ head, value }: { head: Buffer; value: Buffer }) => Buffer.concat([head, value])

  it('are as the design has them', () => {
    expect(whole(record(VERSION, 'hi'))).to.deep.equal(GOLDEN.value)
    expect(whole(record(VERSION, 'hi', { expiresAtMs: 123456789 }))).to.deep.equal(GOLDEN.expiring)
    expect(whole(record(VERSION, '', { kind: KIND_TOMBSTONE }))).to.deep.equal(GOLDEN.tombstone)
    expect(GOLDEN.tombstone).to.have.length(HEAD_BYTES)
  })

  it('are read as the design has them', () => {
    const read = (bytes: Buffer) => {
      const { versioned, kind, version, expiresAtMs, replaced, promise, value } = new StoredRecord(bytes)
      return [
        versioned,
        kind,
        Buffer.from(version).toString('hex'),
        expiresAtMs,
        replaced.toString('hex'),
        promise && Buffer.from(promise).toString('hex'),
        value.toString(),
      ]
    }
    const at = '0001020304051122deadbeef'
    const promise = '000102030406000000000001'
    const zeros = '0'.repeat(16)
    expect(read(GOLDEN.value)).to.deep.equal([true, KIND_VALUE, at, 0, zeros, null, 'hi'])
    expect(read(GOLDEN.expiring)).to.deep.equal([true, KIND_VALUE, at, 123456789, zeros, null, 'hi'])
    expect(read(GOLDEN.tombstone)).to.deep.equal([true, KIND_TOMBSTONE, at, 0, zeros, null, ''])
    expect(read(GOLDEN.replaced)).to.deep.equal([true, KIND_VALUE, at, 0, '00000000ffff0007', null, 'hi'])
    expect(read(GOLDEN.promised)).to.deep.equal([true, KIND_VALUE, at, 0, zeros, promise, 'hi'])
    expect(read(GOLDEN.nothing)).to.deep.equal([true, KIND_NOTHING, '0'.repeat(24), 0, zeros, promise, ''])
  })

  it('come back as they were stored', () => {
    const parts = fc.record({
      ms: fc.integer({ min: 1, max: 2 ** 47 - 1 }),
      counter: fc.integer({ min: 0, max: 0xffff }),
      coordinator: fc.integer({ min: 0, max: 0xffffffff }),
    })
    const expiry = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 2 ** 48 - 1 }))
    fc.assert(
      fc.property(parts, expiry, fc.uint8Array(), (at, expiresAtMs, value) => {
        const made = record(version(at), Buffer.from(value), { expiresAtMs })
        const read = new StoredRecord(whole(made))
        expect(Buffer.from(read.version)).to.deep.equal(version(at))
        expect(versionOf(made)).to.deep.equal(version(at))
        expect(read.expiresAtMs).to.equal(expiresAtMs)
        expect(read.value).to.deep.equal(Buffer.from(value))
      }),
    )
  })

  it('have the version that the clock gave them, and nothing left over from memory used before', () => {
    for (let i = 0; i < 100; i++) {
      Buffer.allocUnsafe(HEAD_BYTES).fill(0xff)
      const { head } = newRecord(KIND_VALUE, { stamp: (target, at) => void VERSION.copy(target, at) }, 0)
      expect(head).to.deep.equal(GOLDEN.tombstone.fill(KIND_VALUE, 4, 5))
    }
    GOLDEN.tombstone[4] = KIND_TOMBSTONE
  })

  const foreign: [string, Buffer][] = [
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('hello')],
    ['long text', Buffer.from('hello '.repeat(20))],
    ['the magic alone', hex('ff524401')],
    ['a head that lacks one byte', GOLDEN.tombstone.subarray(0, HEAD_BYTES - 1)],
    ['a later format', Buffer.concat([hex('ff524402'), GOLDEN.value.subarray(4)])],
    ['another magic', Buffer.concat([hex('ff524501'), GOLDEN.value.subarray(4)])],
    ['a promise that is cut off', GOLDEN.nothing.subarray(0, -1)],
  ]
  for (const [what, bytes] of foreign) {
    it(`of ${what} are a value at version 0, all of it`, () => {
      const read = new StoredRecord(bytes)
      expect(isVersioned(bytes)).to.equal(false)
      expect(read.kind).to.equal(KIND_VALUE)
      expect(read.version).to.equal(VERSION_ZERO)
      expect(read.value).to.equal(bytes)
      expect(read.promise).to.equal(null)
      expect(read.isLive(Number.MAX_SAFE_INTEGER)).to.equal(true)
      expect(read.replaced).to.deep.equal(Buffer.alloc(8))
    })
  }

  it('are copied by nobody who reads them', () => {
    const { value, version: at } = new StoredRecord(GOLDEN.value)
    expect(value.buffer).to.equal(GOLDEN.value.buffer)
    expect(at.buffer).to.equal(GOLDEN.value.buffer)
  })

  it('are a value to the user until the very millisecond of their expiry', () => {
    const read = new StoredRecord(GOLDEN.expiring)
    expect(read.isLive(123456788.9)).to.equal(true)
    expect(read.isLive(123456789)).to.equal(false)
    expect(new StoredRecord(GOLDEN.value).isLive(2 ** 48)).to.equal(true)
    expect(new StoredRecord(GOLDEN.tombstone).isLive(0)).to.equal(false)
    expect(new StoredRecord(GOLDEN.nothing).isLive(0)).to.equal(false)
  })

  it('of a kind that only a later Rondo knows are no value', () => {
    const bytes = Buffer.from(GOLDEN.value)
    bytes[4] = 9
    expect(new StoredRecord(bytes).kind).to.equal(9)
    expect(new StoredRecord(bytes).isLive(0)).to.equal(false)
  })

  it('of a collection are a value that expires as a string does', () => {
    for (const kind of [KIND_HASH, KIND_SET, KIND_SORTED_SET, KIND_LIST, KIND_STREAM]) {
      const bytes = Buffer.from(GOLDEN.value)
      bytes[4] = kind
      expect(new StoredRecord(bytes).isLive(0)).to.equal(true)
      expect(new StoredRecord(bytes).isForeign).to.equal(false)
      bytes.writeUIntBE(1000, 25, 6)
      expect(new StoredRecord(bytes).isLive(999)).to.equal(true)
      expect(new StoredRecord(bytes).isLive(1000)).to.equal(false)
    }
  })
})
