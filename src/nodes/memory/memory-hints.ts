/**
 * The hints that a memory node keeps for one other node. Listed from newest to oldest, like keys (key-order.ts): every
 * hint that exists during the whole listing is returned, while others come and go.
 */
import { KeyOrder } from './key-order.ts'
import type { Hint } from '../node.ts'

export interface HintsPage {
  /** Where to continue, 0 = the end. */
  readonly cursor: number
  readonly hints: readonly Hint[]
}

/** Is told of every change, by the key as latin1. */
export interface HintsRecorder {
  noted(name: string, version: Buffer): void
  dropped(name: string): void
}

export class MemoryHints {
  private readonly recorder: HintsRecorder
  /** By the key as latin1. */
  private readonly noted = new Map<string, { readonly hint: Hint; readonly number: number }>()
  private readonly order = new KeyOrder()

  constructor(recorder: HintsRecorder) {
    this.recorder = recorder
  }

  get size(): number {
    return this.noted.size
  }

  /** @returns false if there are already `max`, and none for this key */
  note(hint: Hint, max: number): boolean {
    const name = hint.key.toString('latin1')
    const before = this.noted.get(name)
    if (!before && this.noted.size >= max) return false
    this.noted.set(name, { hint, number: before?.number ?? this.order.append(name) })
    this.recorder.noted(name, hint.version)
    return true
  }

  /** Only if it still has this version. */
  drop(key: Buffer, version: Buffer): void {
    const name = key.toString('latin1')
    const noted = this.noted.get(name)
    if (!noted?.hint.version.equals(version)) return
    this.noted.delete(name)
    this.order.remove(noted.number)
    this.recorder.dropped(name)
  }

  /** Up to `count` that were noted after the one of this number, oldest first; 0 = from the first one on. */
  pageAbove(number: number, count: number): { next: number; hints: readonly Hint[] } {
    const { names, next } = this.order.above(number, count)
    return { next, hints: names.map((name) => this.noted.get(name)!.hint) }
  }

  /** Up to `count` from the cursor on; 0 = from the beginning. */
  page(cursor: number, count: number): HintsPage {
    const { names, next } = this.order.below(cursor === 0 ? Infinity : cursor, count)
    return { cursor: next, hints: names.map((name) => this.noted.get(name)!.hint) }
  }
}
