/** The notes of coordinators on a memory node: what check-in.lua keeps on a Redis. */
import { CHECKED_IN_MS, MAX_CHECKED_IN, type CheckedIn } from '../node.ts'

export class MemoryNotes {
  /** Is told of every note. */
  private readonly record: (id: string, text: string, atMs: number) => void
  private readonly notes = new Map<string, { readonly text: string; readonly atMs: number }>()

  constructor(record: (id: string, text: string, atMs: number) => void) {
    this.record = record
  }

  /** One from before. */
  restore(id: string, text: string, atMs: number): void {
    this.notes.set(id, { text, atMs })
  }

  /** Those that are kept: id, text, and when it was left. */
  all(): (readonly [string, string, number])[] {
    return [...this.notes].map(([id, { text, atMs }]) => [id, text, atMs] as const)
  }

  /** @returns all that are kept, the newest first */
  checkIn(id: string, text: string, nowMs: number): readonly CheckedIn[] {
    this.notes.set(id, { text, atMs: nowMs })
    this.record(id, text, nowMs)
    const all = [...this.notes].map(([one, note]) => ({
      id: one,
      agoMs: Math.max(0, Math.floor(nowMs - note.atMs)),
      text: note.text,
    }))
    all.sort((a, b) => a.agoMs - b.agoMs || (a.id < b.id ? -1 : 1))
    const kept = all.slice(0, MAX_CHECKED_IN).filter(({ agoMs }) => agoMs <= CHECKED_IN_MS)
    for (const one of all) if (!kept.includes(one)) this.notes.delete(one.id)
    return kept
  }

  clear(): void {
    this.notes.clear()
  }
}
