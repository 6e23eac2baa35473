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
import { FieldHash } from '../../../../src/commands/collections/large/field-hash.ts'
import { generationIn, isLarge, layoutOf, Root } from '../../../../src/commands/collections/large/root.ts'
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

function back(kind: number, { root, parts }: Split): Buffer {
  const read = new PartsInMap(root, parts)
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
      expect([...partsNamedIn(kind, made.root).keys()].sort((a, b) => a - b)).to.deep.equal([
        ...made.parts.keys(),
      ])
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
            try {
              back(one.kind, damaged)
            } catch (error) {
              expect(
                error instanceof DamagedCollection || error instanceof PartsChanged,
                String(error),
              ).to.equal(true)
            }
          }
        }),
        { numRuns: 500 },
      ),
    )
  })
})
