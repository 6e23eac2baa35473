/** Sorts in slices, by merging ever longer runs; what compares equal keeps its order. */
import type { Sliced } from '../../core/work.ts'

/** Items that are compared between two yields, and what that costs. */
const ITEMS_A_PIECE = 256
const UNITS_A_PIECE = 32

type Compare<T> = (one: T, other: T) => number

export function* mergeSort<T>(items: readonly T[], compare: Compare<T>): Sliced<T[]> {
  let runs: T[][] = []
  for (let from = 0; from < items.length; from += ITEMS_A_PIECE) {
    runs.push(items.slice(from, from + ITEMS_A_PIECE).sort(compare))
    yield UNITS_A_PIECE
  }
  while (runs.length > 1) {
    const longer: T[][] = []
    for (let i = 0; i < runs.length; i += 2) longer.push(yield* merged(runs[i]!, runs[i + 1] ?? [], compare))
    runs = longer
  }
  return runs[0] ?? []
}

function* merged<T>(one: readonly T[], other: readonly T[], compare: Compare<T>): Sliced<T[]> {
  const all: T[] = []
  let [i, j] = [0, 0]
  while (i < one.length || j < other.length) {
    const isFirst = j === other.length || (i < one.length && compare(one[i]!, other[j]!) <= 0)
    all.push(isFirst ? one[i++]! : other[j++]!)
    if (all.length % ITEMS_A_PIECE === 0) yield UNITS_A_PIECE
  }
  return all
}
