// The table of the near cache: what is found by the bytes of a request, what has to go when it is full.
import { expect } from 'chai'
import { KIND_VALUE, newRecord, StoredRecord } from '../../src/core/codec.ts'
import { storedKey } from '../../src/core/keys.ts'
import { ENTRY_BYTES, NearTable, sizeOf, type Source } from '../../src/nodes/near/near-table.ts'
import { seeded, seeds } from '../support/random.ts'

function recordOf(text: string): StoredRecord {
  const stamp = (target: Buffer, at: number) => void target.fill(7, at, at + 12)
  const { head, value } = newRecord(KIND_VALUE, { stamp }, 0, Buffer.from(text))
  return new StoredRecord(Buffer.concat([head, value]))
}

/** As the table does it, in the first database. @param hash of what is before it */
function hashOf(text: string, hash = 0x811c9dc5): number {
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash
}

describe('the table of the near cache', () => {
  let source: { generation: number }
  let table: NearTable<Source>
  beforeEach(() => {
    source = { generation: 1 }
    table = new NearTable(64 * 1024)
  })
  const add = (key: string, text = 'v', database = 0) =>
    table.add(source, 0, storedKey(database, Buffer.from(key)), recordOf(text))
  const find = (key: string, database = 0) => {
    const input = Buffer.from(`before${key}after`)
    return table.find(database, input, 6, 6 + Buffer.byteLength(key))
  }
  const replyOf = (key: string, database = 0) => find(key, database)?.reply?.toString()

  it('finds a key among the bytes of a request, and by its name on the nodes', () => {
    add('k', 'value')
    expect(replyOf('k')).to.equal('value\r\n')
    const found = table.findStored(Buffer.from('k'))!
    expect(found.record.equals(recordOf('value').bytes)).to.equal(true)
    for (const other of ['', 'K', 'k2', 'kk']) expect(find(other)).to.equal(null)
  })

  it('keeps databases apart, and nothing that no client can name', () => {
    add('k', 'zero')
    add('k', 'three', 3)
    expect([replyOf('k'), replyOf('k', 3), find('k', 1)]).to.deep.equal(['zero\r\n', 'three\r\n', null])
    expect(find('__rondo:db3:k')).to.equal(null)
    table.add(source, 0, Buffer.from('__rondo:node'), recordOf('v'))
    expect(table.size).to.equal(2)
  })

  it('has one entry for a key, and counts its bytes', () => {
    add('k', 'a')
    add('k', 'longer')
    expect(replyOf('k')).to.equal('longer\r\n')
    expect(table).to.include({ size: 1, bytes: sizeOf(1, recordOf('longer').bytes.length) })
    table.remove(find('k')!)
    expect(table).to.include({ size: 0, bytes: 0 })
    expect(find('k')).to.equal(null)
  })

  it('answers by itself with short values only', () => {
    add('long', 'x'.repeat(16 * 1024 + 1))
    expect(find('long')!.reply).to.equal(null)
    expect(find('long')!.record.length).to.equal(recordOf('x'.repeat(16 * 1024 + 1)).bytes.length)
  })

  it('lets go of what was not used, and gives what was used a second chance', () => {
    const fits = Math.floor((64 * 1024) / sizeOf(4, recordOf('v').bytes.length))
    const name = (i: number) => String(i).padStart(4, '0')
    for (let i = 0; i < fits; i++) add(name(i))
    find(name(0))!.isUsed = true
    add('next')
    expect([find(name(0)), find(name(1)), find(name(2))].map(Boolean)).to.deep.equal([true, false, true])
    // Its chance is spent.
    for (let i = 0; i < fits; i++) add(name(1000 + i))
    expect(find(name(0))).to.equal(null)
  })

  it('gives no second chance to what was dropped, and takes no long to make room where all were used', () => {
    const fits = Math.floor((64 * 1024) / sizeOf(4, recordOf('v').bytes.length))
    const name = (i: number) => String(i).padStart(4, '0')
    for (let i = 0; i < fits; i++) add(name(i))
    for (let i = 0; i < fits; i++) find(name(i))!.isUsed = true
    add('next')
    expect(table.size).to.equal(fits)
    // 64 were passed over.
    expect([find(name(63)), find(name(64)), find(name(65))].map(Boolean)).to.deep.equal([true, false, true])
    source.generation++
    for (let i = 0; i < 10; i++) add(`new${i}`)
    expect(find(name(66))).to.equal(null)
  })

  it('costs no more to look up where keys were chosen to collide', () => {
    // Two texts after which the hash is the same, then two from there: sixteen keys of one hash.
    let colliding = ['']
    for (let round = 0; round < 4; round++) {
      const from = hashOf(colliding[0]!)
      const seen = new Map<number, string>()
      for (let i = 0; ; i++) {
        const text = (Math.imul(i, 0x9e3779b1) >>> 0).toString(36).padStart(8, '0')
        const hash = hashOf(text, from)
        const other = seen.get(hash)
        seen.set(hash, text)
        if (other === undefined) continue
        colliding = colliding.flatMap((key) => [key + other, key + text])
        break
      }
    }
    expect(new Set(colliding.map((key) => hashOf(key))).size).to.equal(1)
    expect(new Set(colliding).size).to.equal(16)
    for (const key of colliding) add(key, key)
    expect(table.size).to.equal(8)
    const kept = colliding.filter((key) => find(key))
    expect(kept).to.deep.equal(colliding.slice(-8))
    for (const key of kept) expect(replyOf(key)).to.equal(`${key}\r\n`)
    for (const key of [kept[3]!, kept[0]!, kept[7]!]) table.remove(find(key)!)
    expect(colliding.filter((key) => find(key))).to.deep.equal([1, 2, 4, 5, 6].map((i) => kept[i]!))
  })

  it('is the same as a plain map, whatever is added and removed, as long as there is room', () => {
    const seed = seeds(1)[0]!
    const random = seeded(seed)
    const large = new NearTable<Source>(1024 * 1024 * ENTRY_BYTES)
    const plain = new Map<string, string>()
    for (let i = 0; i < 20_000; i++) {
      const key = `k${random.below(500)}`
      const found = large.findStored(Buffer.from(key))
      expect(found?.record.equals(recordOf(plain.get(key) ?? '').bytes) ?? null, `seed ${seed}`).to.equal(
        plain.has(key) ? true : null,
      )
      if (random.below(3) === 0) {
        if (found) large.remove(found)
        plain.delete(key)
      } else {
        large.add(source, 0, Buffer.from(key), recordOf(String(i)))
        plain.set(key, String(i))
      }
    }
    expect(large.size).to.equal(plain.size)
  })
})
