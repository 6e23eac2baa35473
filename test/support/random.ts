/** Chance from a seed, for tests: the same seed, the same run. (mulberry32) */
export interface Random {
  /** From 0 up to but without 1. */
  next(): number
  below(n: number): number
  /** True this often. */
  chance(probability: number): boolean
  pick<T>(from: readonly T[]): T
}

export function seeded(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number) => Math.floor(next() * n)
  return {
    next,
    below,
    chance: (probability) => next() < probability,
    pick: (from) => from[below(from.length)]!,
  }
}

/** Seeds of one run of the tests: `RONDO_SEED=7` repeats one, otherwise they differ from run to run. */
export function seeds(count: number): number[] {
  const given = process.env.RONDO_SEED
  if (given !== undefined) return [Number(given)]
  const first = Math.floor(Math.random() * 2 ** 31)
  return Array.from({ length: count }, (_, i) => first + i)
}
