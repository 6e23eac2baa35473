/** Large collections without nodes: their parts in a Map, and what runs a step on them. */
import { sizes } from '../../src/commands/collections/large/sizes.ts'
import { NeedsParts, type Parts } from '../../src/commands/step.ts'

/** Collections of a few entries have many parts meanwhile. */
export function withSizes<T>(small: Partial<typeof sizes>, run: () => T): T {
  const before = { ...sizes }
  Object.assign(sizes, small)
  const restore = () => void Object.assign(sizes, before)
  let result: T
  try {
    result = run()
  } catch (error) {
    restore()
    throw error
  }
  if (result instanceof Promise) return result.finally(restore) as T
  restore()
  return result
}

export const TINY = { largeFrom: 64, partBytes: 32 }

/** What a node holds; a step gets what it has asked for, and no more. */
export class PartsInMap implements Parts {
  readonly isSalvaged: boolean
  /** Ids that were asked for, in rounds. */
  readonly rounds: number[][] = []
  readonly #root: Buffer
  readonly #all: ReadonlyMap<number, Buffer>
  readonly #read = new Set<number>()

  constructor(root: Buffer, all: ReadonlyMap<number, Buffer>, isSalvaged = false) {
    this.#root = root
    this.#all = all
    this.isSalvaged = isSalvaged
  }

  get(ids: readonly number[]): (Buffer | null)[] {
    const missing = ids.filter((id) => !this.#read.has(id))
    if (missing.length > 0) throw new NeedsParts([...new Set(missing)], this.#root)
    return ids.map((id) => this.#all.get(id) ?? null)
  }

  /** Runs it again and again, with the parts that it has asked for. */
  while<T>(run: () => T): T {
    for (;;) {
      try {
        return run()
      } catch (error) {
        if (!(error instanceof NeedsParts)) throw error
        this.rounds.push([...error.ids])
        for (const id of error.ids) this.#read.add(id)
        if (this.rounds.length > 20) throw new Error('it asks again and again', { cause: error })
      }
    }
  }

  get read(): number {
    return this.#read.size
  }
}
