/** Patterns of SORT: keys, and fields of hashes, that are named by the elements of what is sorted. */
import { KIND_HASH } from '../../core/codec.ts'
import { hashTagOf } from '../../core/token.ts'
import { cString } from '../arguments.ts'
import { CommandError, type Held } from '../step.ts'
import type { Entries } from './entries.ts'
import { entriesOrRefusal, HASH } from './steps.ts'

const STAR = 0x2a
const ARROW = Buffer.from('->')

/** The name of a key around an element, and perhaps of a field of the hash there. */
export class Pattern {
  private readonly option: string
  private readonly before: Buffer
  private readonly behind: Buffer
  /** Null = the value of the key itself. */
  readonly field: Buffer | null

  private constructor(text: Buffer, star: number, option: string) {
    const arrow = text.indexOf(ARROW, star + 1)
    const hasField = arrow !== -1 && arrow + ARROW.length < text.length
    this.option = option
    this.before = text.subarray(0, star)
    this.behind = text.subarray(star + 1, hasField ? arrow : text.length)
    this.field = hasField ? text.subarray(arrow + ARROW.length) : null
  }

  /** Null = it names no key. */
  static of(text: Buffer, option: string): Pattern | null {
    const star = cString(text).indexOf(STAR)
    return star === -1 ? null : new Pattern(text, star, option)
  }

  keyFor(element: Buffer): Buffer {
    return Buffer.concat([this.before, element, this.behind])
  }

  /** All of its keys are where this one is. */
  sharesTagWith(key: Buffer): boolean {
    const tag = hashTagOf(this.before)
    return tag !== null && (hashTagOf(key)?.equals(tag) ?? false)
  }

  denied(): CommandError {
    return new CommandError(
      `ERR ${this.option} option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots.`,
    )
  }
}

/** The keys that patterns name for these elements; no more of them are looked for than are too many. */
export function namedBy(patterns: readonly Pattern[], entries: Entries, most: number): Buffer[] {
  const named = new Map<string, Buffer>()
  for (let i = 0; i < entries.length && named.size <= most; i++) {
    for (const pattern of patterns) {
      const key = pattern.keyFor(entries.key(i))
      named.set(key.toString('latin1'), key)
    }
  }
  return [...named.values()]
}

/** What is stored under keys that patterns name. */
export class NamedValues {
  private readonly held: ReadonlyMap<string, Held | null>
  /** By pattern and key: a hash is not searched again for each element. */
  private readonly found = new Map<Pattern, Map<string, Buffer | null>>()

  constructor(keys: readonly Buffer[], held: readonly (Held | null)[]) {
    this.held = new Map(keys.map((key, i): [string, Held | null] => [key.toString('latin1'), held[i]!]))
  }

  has(pattern: Pattern, element: Buffer): boolean {
    return this.held.has(pattern.keyFor(element).toString('latin1'))
  }

  valueOf(pattern: Pattern, element: Buffer): Buffer | null {
    const name = pattern.keyFor(element).toString('latin1')
    let found = this.found.get(pattern)
    if (!found) this.found.set(pattern, (found = new Map<string, Buffer | null>()))
    let value = found.get(name)
    if (value === undefined) found.set(name, (value = valueIn(this.held.get(name) ?? null, pattern.field)))
    return value
  }
}

function valueIn(held: Held | null, field: Buffer | null): Buffer | null {
  if (!held) return null
  if (field === null) return held.kind === undefined ? held.value : null
  if (held.kind !== KIND_HASH) return null
  const hash = entriesOrRefusal(held, HASH)
  if ('reply' in hash) return null
  const at = hash.indexOf(field)
  return at === -1 ? null : hash.value(at)
}
