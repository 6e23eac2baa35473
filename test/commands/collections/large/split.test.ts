import { expect } from 'chai'
import fc from 'fast-check'
import {
  DamagedCollection,
  Entries,
  NewEntries,
  pairEntry,
  plainEntry,
  scoredEntry,
} from '../../../../src/commands/collections/entries.ts'
import { LargeCollection } from '../../../../src/commands/collections/large/collection.ts'
import { FieldHash } from '../../../../src/commands/collections/large/field-hash.ts'
import {
  generationIn,
  isLarge,
  layoutOf,
  Root,
} from '../../../../src/commands/collections/large/root.ts'
import { flatten, split, type Split } from '../../../../src/commands/collections/large/split.ts'
import { countIn } from '../../../../src/commands/collections/entries.ts'
import { PartsChanged } from '../../../../src/commands/step.ts'
import { KIND_HASH, KIND_LIST, KIND_SET, KIND_SORTED_SET } from '../../../../src/core/codec.ts'
import { partsNamedIn } from '../../../../src/core/large-root.ts'
import { expectWhole, PartsInMap, TINY, withSizes } from '../../../support/large.ts'

const KINDS = { hash: KIND_HASH, set: KIND_SET, 'sorted set': KIND_SORTED_SET, list: KIND_LIST }
const GENERATION = Buffer.from('0123456789abcdef', 'hex')

const text = fc.oneof(
  fc.string({ maxLength: 12 }).map((one) => Buffer.from(one)),
  fc.constantFrom(
    Buffer.from('same beginning, and more of it: a'),
    Buffer.from('same beginning, and more of it: b'),
  ),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
)
const score = fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constantFrom(Infinity, -Infinity, 0.1))
const collection = fc.record({
  kind: fc.constantFrom(...Object.values(KINDS)),
  texts: fc.uniqueArray(fc.tuple(text, text, score), {
    minLength: 1,
    maxLength: 60,
    size: 'max',
    selector: ([key]) => key.toString('latin1'),
  }),
})

function flatOf({ kind, texts }: { kind: number; texts: [Buffer, Buffer, number][] }): Buffer {
  const next = new NewEntries()
  const all = [...texts]
  if (kind === KIND_SORTED_SET) all.sort(([a, , one], [b, , other]) => one - other || a.compare(b))
  for (const [key, value, score] of all) {
    if (kind === KIND_HASH) next.add(pairEntry(key, value))
    else next.add(kind === KIND_SORTED_SET ? scoredEntry(score, key) : plainEntry(key))
  }
  return next.value()
}

/** The entries; in their order, if it means something. */
function shown(kind: number, flat: Buffer): string[] {
  const entries = Entries.of(flat, layoutOf(kind).shape)
  const all = Array.from({ length: entries.length }, (_, i) => entries.run(i, i + 1).toString('hex'))
  return kind === KIND_HASH || kind === KIND_SET ? all.sort() : all
}

function back(kind: number, { root, parts }: Split, isSalvaged = false): Buffer {
  const read = new PartsInMap(root, parts, isSalvaged)
  return read.while(() => flatten(kind, root, read))
}

const holds = (check: (kind: number, flat: Buffer) => void) =>
  withSizes(TINY, () =>
    fc.assert(
      fc.property(collection, (one) => check(one.kind, flatOf(one))),
      { numRuns: 300 },
    ),
  )

describe('large collections', () => {
  it('hash fields with the published function', () => {
    const hash = new FieldHash(Buffer.from([0, 1, 2, 3, 4, 5, 6, 7]))
    // The first two vectors of the reference implementation.
    expect(hash.of(Buffer.alloc(0))).to.equal(0x5b9f35a9)
    expect(hash.of(Buffer.from([0]))).to.equal(0xb85a4727)
  })

  it('come out of their parts as they went in', () => {
    let several = 0
    holds((kind, flat) => {
      const made = split(kind, flat, GENERATION)
      expect(isLarge(made.root)).to.equal(true)
      expect(generationIn(made.root)).to.deep.equal(GENERATION)
      expect(countIn(made.root)).to.equal(countIn(flat))
      expect([...partsNamedIn(kind, made.root).keys()].sort((a, b) => a - b)).to.deep.equal([...made.parts.keys()])
      expect(shown(kind, back(kind, made))).to.deep.equal(shown(kind, flat))
      if (made.parts.size > 4) several++
    })
    expect(several).to.be.greaterThan(100)
  })

  it('have entries in the parts whose separators say so', () => {
    holds((kind, flat) => {
      const made = split(kind, flat, GENERATION)
      expectWhole(kind, made.root, made.parts)
    })
  })

  it('with a part of another change are not taken for one of them', () => {
    holds((kind, flat) => {
      const made = split(kind, flat, GENERATION)
      const [rows] = new Root(kind, made.root).indexes
      const id = rows!.id(rows!.length - 1)
      for (const change of [
        (part: Buffer) => part.writeUIntBE(2, 13, 6),
        (part: Buffer) => part.writeUInt32BE(id + 1, 9),
        (part: Buffer) => part.writeUInt8(part[1]! ^ 1, 1),
      ]) {
        const part = Buffer.from(made.parts.get(id)!)
        change(part)
        const parts = new Map(made.parts).set(id, part)
        expect(() => back(kind, { root: made.root, parts })).to.throw(PartsChanged)
      }
      const parts = new Map(made.parts)
      parts.delete(id)
      expect(() => back(kind, { root: made.root, parts })).to.throw(PartsChanged)
    })
  })

  it('that are damaged are refused, and never something else', () => {
    withSizes(TINY, () =>
      fc.assert(
        fc.property(collection, fc.nat(), fc.nat(), fc.boolean(), (one, place, bit, inRoot) => {
          const made = split(one.kind, flatOf(one), GENERATION)
          const all = [...made.parts.keys()]
          const id = all[place % all.length]!
          const target = Buffer.from(inRoot ? made.root : made.parts.get(id)!)
          target[bit % target.length]! ^= 1 << (place % 8)
          const cutOff = target.subarray(0, bit % target.length)
          for (const bytes of [target, cutOff]) {
            const damaged = inRoot
              ? { root: bytes, parts: made.parts }
              : { root: made.root, parts: new Map(made.parts).set(id, bytes) }
            for (const isSalvaged of [false, true]) {
              try {
                back(one.kind, damaged, isSalvaged)
              } catch (error) {
                expect(
                  error instanceof DamagedCollection || error instanceof PartsChanged,
                  String(error),
                ).to.equal(true)
                if (isSalvaged) expect(error).to.be.instanceOf(DamagedCollection)
              }
            }
          }
        }),
        { numRuns: 500 },
      ),
    )
  })

  it('are salvaged from the parts that there are, each entry once', () => {
    withSizes(TINY, () =>
      fc.assert(
        fc.property(collection, fc.array(fc.nat()), (one, places) => {
          const flat = flatOf(one)
          const made = split(one.kind, flat, GENERATION)
          const parts = new Map(made.parts)
          const ids = [...parts.keys()]
          for (const place of places) parts.delete(ids[place % ids.length]!)
          const left = shown(one.kind, back(one.kind, { root: made.root, parts }, true))
          const all = shown(one.kind, flat)
          expect(all).to.include.members(left)
          const [rows] = new Root(one.kind, made.root).indexes
          const lost = [...Array(rows!.length).keys()].filter((k) => !parts.has(rows!.id(k)))
          const most = lost.reduce((sum, k) => sum + rows!.count(k), 0)
          expect(left.length).to.be.at.least(all.length - most)
          if (one.kind === KIND_SORTED_SET)
            expect(all.filter((entry) => left.includes(entry))).to.deep.equal(left)
        }),
        { numRuns: 300 },
      ),
    )
  })

  it('are salvaged with the newest of what the parts say of a member', () => {
    withSizes(TINY, () => {
      const flat = flatOf({
        kind: KIND_SORTED_SET,
        texts: Array.from({ length: 30 }, (_, i) => [Buffer.from(`m${i}`), Buffer.alloc(0), i]),
      })
      const before = split(KIND_SORTED_SET, flat, GENERATION)
      const read = new PartsInMap(before.root, before.parts)
      const { value, changedParts } = read.while(() => {
        const zset = LargeCollection.of(KIND_SORTED_SET, before.root, read)
        const next = new NewEntries()
          .keep(zset, 0, 2)
          .keep(zset, 3, 30)
          .add(scoredEntry(99, Buffer.from('m2')))
        return next.changed()
      })
      const after = new Map(before.parts)
      for (const [id, part] of changedParts!) if (part) after.set(id, part)
      // Each replica that has missed one of the writes.
      const [byScore] = new Root(KIND_SORTED_SET, value).indexes
      const ids = [...changedParts!.keys()].filter((id) => before.parts.has(id))
      expect(ids.length).to.be.greaterThan(2)
      for (const id of ids) {
        const parts = new Map(after).set(id, before.parts.get(id)!)
        if (byScore!.ids(0, byScore!.length).includes(id)) {
          expect(() => back(KIND_SORTED_SET, { root: value, parts })).to.throw(PartsChanged)
        }
        const salvaged = Entries.of(
          back(KIND_SORTED_SET, { root: value, parts }, true),
          layoutOf(KIND_SORTED_SET).shape,
        )
        expect(salvaged.length).to.equal(30)
        expect(salvaged.score(salvaged.indexOf(Buffer.from('m2')))).to.equal(99)
      }
    })
  })
})
