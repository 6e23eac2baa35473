import { expect } from 'chai'
import { DigestTree, leafOf, leavesPerRange } from '../../src/core/merkle.ts'
import { version } from '../support/node-calls.ts'
import { seeded, seeds } from '../support/random.ts'

const LEAVES = 16
const key = (name: string | number) => Buffer.from(String(name))

/** A tree of keys in leaves by their number, each at a version. */
function treeOf(entries: readonly (readonly [key: number, ms: number])[]): DigestTree {
  const tree = new DigestTree(LEAVES)
  for (const [name, ms] of entries) tree.add(name % LEAVES, key(name), version({ ms }))
  return tree
}

describe('digest trees', () => {
  const entries = Array.from({ length: 1000 }, (_, i) => [i, 1000 + i] as const)

  it('agree on the same records, in whatever order they came', () => {
    for (const seed of seeds(20)) {
      const random = seeded(seed)
      const shuffled = entries
        .map((entry) => ({ entry, at: random.next() }))
        .sort((a, b) => a.at - b.at)
        .map(({ entry }) => entry)
      const [a, b] = [treeOf(entries), treeOf(shuffled)]
      expect(a.agreesWith(b), `seed ${seed}`).to.equal(true)
      expect(a.differences(b), `seed ${seed}`).to.deep.equal([])
      expect(a.root).to.deep.equal(b.root)
    }
  })

  it('differ in exactly the leaves of the records that are missing, older, or other', () => {
    for (const seed of seeds(200)) {
      const random = seeded(seed)
      const differing = new Set<number>()
      const other = entries.flatMap(([name, ms]) => {
        if (!random.chance(0.003)) return [[name, ms] as const]
        differing.add(name % LEAVES)
        const kinds = [[], [[name, ms - 1]], [[name + 16_000, ms]]] as const
        return random.pick(kinds)
      })
      const [a, b] = [treeOf(entries), treeOf(other)]
      const expected = [...differing].sort((x, y) => x - y)
      expect(a.differences(b), `seed ${seed}`).to.deep.equal(expected)
      expect(b.differences(a), `seed ${seed}`).to.deep.equal(expected)
      expect(a.agreesWith(b), `seed ${seed}`).to.equal(expected.length === 0)
    }
  })

  it('tell every byte of a version, and where the version ends and the key begins', () => {
    const roots = new Set<string>()
    const add = (name: Buffer, stamped: Buffer) => {
      const tree = new DigestTree(1)
      tree.add(0, name, stamped)
      roots.add(tree.root.join())
    }
    const plain = version({ ms: 1, counter: 1, coordinator: 1 })
    for (let at = 0; at < 12; at++) {
      const changed = Buffer.from(plain)
      changed[at]! ^= 0x80
      add(key('k'), changed)
    }
    add(key('k'), plain)
    add(key(''), plain)
    add(Buffer.from([0]), plain)
    add(Buffer.from([0, 0]), plain)
    add(Buffer.alloc(70_000), plain)
    expect(roots.size).to.equal(17)
  })

  it('a record that a scan brought twice does not look like one that is not there', () => {
    const twice = treeOf([...entries, entries[5]!])
    const without = treeOf(entries.filter((entry) => entry !== entries[5]))
    expect(twice.agreesWith(without)).to.equal(false)
    expect(twice.differences(without)).to.deep.equal([5])
  })

  it('one difference does not hide another: the same records in another leaf', () => {
    const swapped = new DigestTree(LEAVES)
    for (const [name, ms] of entries) swapped.add((name + 1) % LEAVES, key(name), version({ ms }))
    expect(treeOf(entries).differences(swapped)).to.have.length(LEAVES)
  })

  it('count what is in a leaf', () => {
    const tree = treeOf(entries)
    expect(tree.count(0) + tree.count(1)).to.equal(63 + 63)
    expect(tree.root[2]).to.equal(1000)
  })

  /** 16 of the 64 bits, where chance can be watched: of n pairs n / 2^16 agree. */
  it('the bits of a digest are like random ones: 16 of them agree by chance as often as they should', () => {
    const seen = new Map<number, number>()
    let pairs = 0
    const count = 20_000
    for (let i = 0; i < count; i++) {
      const tree = new DigestTree(1)
      tree.add(0, key(`user:${i}`), version({ ms: 1_700_000_000_000 + i, coordinator: 7 }))
      const bits = (tree.root[0] & 0xff) | ((tree.root[1] & 0xff) << 8)
      pairs += seen.get(bits) ?? 0
      seen.set(bits, (seen.get(bits) ?? 0) + 1)
    }
    const expected = (count * (count - 1)) / 2 / 2 ** 16
    expect(pairs).to.be.closeTo(expected, 6 * Math.sqrt(expected))
  })
})

describe('leaves of a token range', () => {
  const ranges = [
    { start: 100, end: 200 },
    { start: 2 ** 32 - 50, end: 49 }, // over the end of the ring
    { start: 7, end: 7 }, // the whole ring
    { start: 5, end: 6 },
    { start: 0, end: 2 ** 32 - 1 },
  ]

  it('cover it from its first token to its last, in order', () => {
    for (const range of ranges) {
      const width = (range.end - range.start) >>> 0 || 2 ** 32
      expect(leafOf((range.start + 1) >>> 0, range, LEAVES), JSON.stringify(range)).to.equal(0)
      expect(leafOf(range.end, range, LEAVES), JSON.stringify(range)).to.equal(width === 1 ? 0 : LEAVES - 1)
      let last = 0
      for (let step = 1; step <= 1000; step++) {
        const token = (range.start + Math.ceil((width * step) / 1000)) >>> 0
        const leaf = leafOf(token, range, LEAVES)
        expect(leaf).to.be.within(last, LEAVES - 1)
        last = leaf
      }
    }
  })

  it('are about equally wide', () => {
    const counts = new Array<number>(LEAVES).fill(0)
    const range = { start: 2 ** 32 - 500, end: 500 }
    for (let i = 1; i <= 1000; i++) counts[leafOf((range.start + i) >>> 0, range, LEAVES)]!++
    for (const count of counts) expect(count).to.be.within(62, 63)
  })

  it('are a bounded number in all: many for few ranges, one each for many', () => {
    expect([1, 80, 400, 1000, 100_000, 2 ** 21].map(leavesPerRange)).to.deep.equal([256, 256, 128, 64, 1, 1])
  })
})
