import { expect } from 'chai'
import { HeavyHitters } from '../../src/core/heavy-hitters.ts'
import { seeded, seeds } from '../support/random.ts'

const KEEP = 32
const chanceOf = (seed: number) => {
  const random = seeded(seed)
  return () => random.next()
}
const keyOf = (i: number) => Buffer.from(`key:${i}`)

/** Ranks with Zipf's distribution of exponent 1, by the inverse of its sum. */
function zipf(count: number, next: () => number): () => number {
  const sums: number[] = []
  for (let i = 1, sum = 0; i <= count; i++) sums.push((sum += 1 / i))
  return () => {
    const wanted = next() * sums.at(-1)!
    let [low, high] = [0, count - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if (sums[middle]! < wanted) low = middle + 1
      else high = middle
    }
    return low
  }
}

describe('heavy hitters', () => {
  for (const seed of seeds(2)) {
    it(`are found among very many keys, with their counts (seed ${seed})`, () => {
      const chance = chanceOf(seed)
      const hitters = new HeavyHitters(KEEP, chance)
      const next = zipf(50_000, chance)
      const counts = new Map<number, number>()
      for (let i = 0; i < 200_000; i++) {
        const rank = next()
        counts.set(rank, (counts.get(rank) ?? 0) + 1)
        hitters.add(keyOf(rank), 1, false)
      }
      const found = new Map(hitters.top.map(({ key, count }) => [key.toString(), count]))
      expect(found.size).to.equal(KEEP)
      for (let rank = 0; rank < 10; rank++) {
        const real = counts.get(rank)!
        expect(found.get(`key:${rank}`), `count of the key of rank ${rank}`).to.be.within(0.9 * real, real)
      }
      const shown = [...found.values()]
      expect(shown).to.deep.equal([...shown].sort((a, b) => b - a))
    })
  }

  it('are told nearly right, although many rare keys share their places', () => {
    const chance = chanceOf(2)
    const hitters = new HeavyHitters(KEEP, chance)
    for (let i = 0; i < 200_000; i++) hitters.add(keyOf(i % 500 === 0 ? 1 : 10 + i), 1, false)
    const [first] = hitters.top
    expect(first!.key.toString()).to.equal('key:1')
    expect(first!.count).to.be.within(340, 400)
  })

  it('are never said to have come more often than they have', () => {
    const hitters = new HeavyHitters(KEEP, chanceOf(1))
    for (let i = 0; i < 100_000; i++) hitters.add(keyOf(i), 1, false)
    expect(hitters.top).to.have.length(KEEP)
    for (const { key, count } of hitters.top) expect(count, key.toString()).to.equal(1)
  })

  it('count by the weight of a sample, also when it changes', () => {
    const hitters = new HeavyHitters(KEEP, chanceOf(1))
    for (let i = 0; i < 100; i++) hitters.add(keyOf(1), 5, i % 2 === 0)
    for (let i = 0; i < 100; i++) hitters.add(keyOf(1), 1, false)
    expect(hitters.top).to.deep.equal([{ key: keyOf(1), count: 600, writes: 250 }])
  })

  it('are replaced by others when they do not come any more', () => {
    const hitters = new HeavyHitters(2, chanceOf(1))
    for (let i = 0; i < 1000; i++) hitters.add(keyOf(i % 2), 1, false)
    hitters.scale(0.001)
    for (let i = 0; i < 40; i++) hitters.add(keyOf(2 + (i % 2)), 1, false)
    expect(hitters.top.map(({ key }) => key.toString())).to.have.members(['key:2', 'key:3'])
  })

  it('lose their names when nothing is left of their counts', () => {
    const hitters = new HeavyHitters(KEEP, chanceOf(1))
    for (let i = 0; i < 100; i++) hitters.add(keyOf(1), 1, false)
    hitters.scale(0.001)
    expect(hitters.top).to.deep.equal([])
  })

  it('may be any bytes', () => {
    const hitters = new HeavyHitters(KEEP, chanceOf(1))
    const keys = [Buffer.from([0, 255, 10]), Buffer.alloc(1), Buffer.from('ключ')]
    for (const key of keys) hitters.add(key, 1, false)
    expect(hitters.top.map(({ key }) => key.toString('hex'))).to.have.members(
      keys.map((key) => key.toString('hex')),
    )
  })
})
