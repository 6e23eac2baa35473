/**
 * Scripts that name keys which they were not given. Which ones depends on what other keys hold, so a key that another script
 * changes meanwhile costs a further attempt. So those of one coordinator take turns, by the hash tag of their keys: from the
 * time they look which keys they need until they are stored. In the queues of keys alone each attempt would come last again.
 */
import { LRUCache } from 'lru-cache'
import { hashTagOf } from '../../core/token.ts'

const MOST_KNOWN = 5000

/** What tells one script or function from the others. */
interface Code {
  readonly sha: string
  readonly functionName: string | null
}

export class Namers {
  /** How often they had to run before they had named all. */
  private readonly known = new LRUCache<string, number>({ max: MOST_KNOWN })
  /** By hash tag: the end of the last one that has a turn or waits for it. */
  private readonly last = new Map<string, Promise<void>>()

  /** How often it had to run last before it had named all keys; 0 = it has been given them. */
  runsOf(code: Code): number {
    return this.known.get(nameOf(code)) ?? 0
  }

  add(code: Code, runs: number): void {
    this.known.set(nameOf(code), runs)
  }

  /** Resolves when it is its turn, in the order of the calls. @returns ends the turn */
  async turn(key: Buffer): Promise<() => void> {
    const tag = (hashTagOf(key) ?? key).toString('latin1')
    let end = (): void => undefined
    const mine = new Promise<void>((resolve) => (end = resolve))
    const before = this.last.get(tag)
    this.last.set(tag, mine)
    await before
    return () => {
      if (this.last.get(tag) === mine) this.last.delete(tag)
      end()
    }
  }
}

function nameOf({ sha, functionName }: Code): string {
  return functionName === null ? sha : `${sha} ${functionName}`
}
