/** A large collection after a change that has not been stored yet: a transaction, or a command, changes it again. */
import type { Parts } from '../../step.ts'

type Changes = ReadonlyMap<number, Buffer | null>

/** Its parts: those that were changed, and the others as they were. */
export class PartsAfter implements Parts {
  private readonly before: Parts
  private readonly changes: Changes

  constructor(before: Parts, changes: Changes) {
    this.before = before
    this.changes = changes
  }

  get(ids: readonly number[]): readonly (Buffer | null)[] {
    const { before, changes } = this
    const others = before.get(ids.filter((id) => !changes.has(id))).values()
    return ids.map((id) => (changes.has(id) ? changes.get(id)! : others.next().value!))
  }
}

/** What is stored of two changes, one after the other. */
export function bothChanges(first: Changes | undefined, second: Changes | undefined): Changes {
  return new Map([...(first ?? []), ...(second ?? [])])
}
