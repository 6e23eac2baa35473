/**
 * Whose operation begins next, of those that wait at one node: connections take turns.
 *
 *   few    connections with a few operations that wait (a GET, a SET): in turn, one operation each
 *   many   connections with many (an MGET of large values): in order of arrival; the first of them are seated, and take
 *          turns among themselves
 *
 * The two kinds alternate. Were all that have many served in turn, all would be half done for most of the time, and what
 * they have got so far would be held in memory for all of them at once.
 */
import type { Asker } from '../asker.ts'

const FEW = 4
const SEATS = 4

type Lines<T> = Map<Asker, T[]>

export class Turns<T extends { readonly asker: Asker }> {
  private readonly few: Lines<T> = new Map()
  private readonly many: Lines<T> = new Map()
  private readonly seated: Lines<T> = new Map()
  private fewWereLast = false

  /** Each asker's come in the order in which they were added. */
  add(waiting: T): void {
    const { asker } = waiting
    const line = this.few.get(asker) ?? this.many.get(asker) ?? this.seated.get(asker) ?? []
    line.push(waiting)
    if (asker.waiting > FEW) {
      this.few.delete(asker)
      if (!this.seated.has(asker)) this.many.set(asker, line)
    } else if (line.length === 1) this.few.set(asker, line)
  }

  /** There must be one. */
  next(): T {
    for (const [asker, line] of this.many) {
      if (this.seated.size >= SEATS) break
      this.many.delete(asker)
      this.seated.set(asker, line)
    }
    this.fewWereLast = this.few.size > 0 && (this.seated.size === 0 || !this.fewWereLast)
    return takeTurn(this.fewWereLast ? this.few : this.seated)
  }
}

function takeTurn<T>(lines: Lines<T>): T {
  const [asker, line] = lines.entries().next().value!
  const next = line.shift()!
  lines.delete(asker)
  if (line.length > 0) lines.set(asker, line)
  return next
}
