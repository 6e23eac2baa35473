import { expect } from 'chai'
import {
  Entries,
  HASH_SHAPE,
  NewEntries,
  pairEntry,
  PLAIN_SHAPE,
  plainEntry,
  scoredEntry,
  SORTED_SET_SHAPE,
  valueInPairs,
} from '../../../src/commands/collections/entries.ts'
import { DamagedCollection } from '../../../src/commands/collections/texts.ts'
import { seeded, seeds, type Random } from '../../support/random.ts'

interface Row {
  readonly key: Buffer
  readonly value: Buffer
  readonly score: number
}

const SHAPES = { hash: HASH_SHAPE, list: PLAIN_SHAPE, 'sorted set': SORTED_SET_SHAPE } as const
/** Around the lengths from which on a text has a longer head. */
const LENGTHS = [0, 1, 5, 5, 5, 253, 254, 255, 300, 70_000]

function randomRows(random: Random): Row[] {
  return Array.from({ length: random.below(30) }, (_, i) => {
    const key = Buffer.concat([
      Buffer.from(`k${i}`),
      Buffer.alloc(random.pick(LENGTHS), 0x61 + random.below(3)),
    ])
    return { key, value: Buffer.alloc(random.pick(LENGTHS), random.below(256)), score: i / 2 }
  })
}

function encoded(rows: readonly Row[], shape: keyof typeof SHAPES): Buffer {
  const entries = new NewEntries()
  for (const { key, value, score } of rows) {
    if (shape === 'hash') entries.add(pairEntry(key, value))
    else entries.add(shape === 'list' ? plainEntry(key) : scoredEntry(score, key))
  }
  return entries.value()
}

/** Asks for this entry in one of the ways in which commands do. */
function look(entries: Entries, rows: readonly Row[], i: number, random: Random): void {
  const row = rows[i]!
  const ways = [
    () => expect(entries.indexOf(row.key)).to.equal(i),
    () => expect(entries.indexOf(Buffer.from('absent'))).to.equal(-1),
    () => expect(entries.key(i).equals(row.key)).to.equal(true),
    () => expect(entries.hasKey(i, row.key)).to.equal(true),
    () =>
      expect(entries.run(0, i).length + entries.run(i, rows.length).length).to.equal(
        entries.runBytes(0, rows.length),
      ),
    () => expect(entries.slice(i, rows.length).key(0).equals(row.key)).to.equal(true),
    () => expect(entries.slice(0, i).length).to.equal(i),
  ]
  random.pick(ways)()
}

describe('entries of a collection', () => {
  for (const shape of Object.keys(SHAPES) as (keyof typeof SHAPES)[]) {
    it(`of a ${shape} are found in whatever order they are asked for`, () => {
      for (const seed of seeds(40)) {
        const random = seeded(seed)
        const rows = randomRows(random)
        const entries = Entries.of(encoded(rows, shape), SHAPES[shape])
        for (let times = random.below(6); times > 0 && rows.length > 0; times--) {
          const i = random.below(rows.length)
          look(entries, rows, i, random)
          if (shape === 'hash') expect(entries.value(i).equals(rows[i]!.value), `seed ${seed}`).to.equal(true)
          if (shape === 'sorted set') expect(entries.score(i), `seed ${seed}`).to.equal(rows[i]!.score)
        }
        expect(entries.keys(0, rows.length)).to.deep.equal(rows.map(({ key }) => key))
      }
    })

    it(`of a ${shape} are refused where bytes are missing or left over`, () => {
      const bytes = encoded(randomRows(seeded(1)), shape)
      for (let length = 0; length < bytes.length; length += length < 600 ? 1 : 997) {
        const read = () => Entries.of(bytes.subarray(0, length), SHAPES[shape])
        expect(read, `${length} bytes`).to.throw(DamagedCollection)
        if (shape !== 'hash') continue
        const readOne = () => valueInPairs(bytes.subarray(0, length), Buffer.from('k0'))
        expect(readOne, `${length} bytes`).to.throw(DamagedCollection)
      }
      const longer = Buffer.concat([bytes, Buffer.from('x')])
      expect(() => Entries.of(longer, SHAPES[shape])).to.throw(DamagedCollection)
      if (shape === 'hash') expect(() => valueInPairs(longer, Buffer.from('k0'))).to.throw(DamagedCollection)
    })
  }

  it('of a hash have the same value if only that is looked for', () => {
    for (const seed of seeds(40)) {
      const rows = randomRows(seeded(seed))
      const bytes = encoded(rows, 'hash')
      for (const { key, value } of rows) {
        expect(valueInPairs(bytes, key)!.equals(value), `seed ${seed}`).to.equal(true)
        expect(valueInPairs(bytes, Buffer.concat([key, Buffer.from('x')])), `seed ${seed}`).to.equal(null)
      }
      expect(valueInPairs(bytes, Buffer.alloc(0)), `seed ${seed}`).to.equal(null)
    }
  })
})
