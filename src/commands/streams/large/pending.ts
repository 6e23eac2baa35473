/** What is pending of a group of a large stream: the older ones in parts (id-index.ts). */
import type { Parts } from '../../step.ts'
import type { Edit, StreamId } from '../ids.ts'
import { Pending, type Delivery, type PendingEntries, type ReplaceablePending } from '../pending.ts'
import { changedIndex, newIndex, type ChangedIndex, type IndexSizes } from './changed-index.ts'
import { IdIndex, type IndexPlace } from './id-index.ts'
import { pendingIn } from './root.ts'

export class LargePending implements ReplaceablePending {
  readonly place: IndexPlace<Pending>
  /** What becomes of it; then it is written, and not asked any more. */
  readonly change: ChangedIndex | null
  readonly length: number
  private readonly index: IdIndex<Pending>
  private readonly sizes: IndexSizes
  /** By row, those of which some were replaced. */
  private readonly replaced: Map<number, Pending> | null

  static of(place: IndexPlace<Pending>, parts: Parts, sizes: IndexSizes): LargePending {
    return new LargePending(new IdIndex(place, parts, pendingIn), sizes)
  }

  private constructor(
    index: IdIndex<Pending>,
    sizes: IndexSizes,
    replaced: Map<number, Pending> | null = null,
    change: ChangedIndex | null = null,
    length = index.length,
  ) {
    this.index = index
    this.place = index.place
    this.sizes = sizes
    this.replaced = replaced
    this.change = change
    this.length = length
  }

  get freed(): number[] {
    return this.index.ids(0, this.index.rows)
  }

  id(i: number): StreamId {
    const { run, at } = this.index.itemAt(i)
    return run.id(at)
  }

  consumer(i: number): number {
    const { run, at } = this.index.itemAt(i)
    return run.consumer(at)
  }

  at(i: number): Delivery {
    const { run, at } = this.index.itemAt(i)
    const replaced =
      this.replaced && this.replaced.size > 0 ? this.replaced.get(this.index.rowAtPosition(i)) : null
    return (replaced ?? run).at(at)
  }

  firstFrom(id: StreamId): number {
    return this.index.firstsFrom([id])[0]!
  }

  find(ids: readonly StreamId[]): (Delivery | null)[] {
    const { index, replaced } = this
    return index.find(ids).map((found, i) => {
      if (!found) return null
      return (replaced?.get(index.rowOf(ids[i]!)) ?? found.run).at(found.at)
    })
  }

  countsOf(consumers: number): Uint32Array {
    return this.all().countsOf(consumers)
  }

  /** In one piece. */
  all(): Pending {
    return this.index.slice(0, this.index.length, (items, from, to) => items.slice(from, to))
  }

  copy(): ReplaceablePending {
    return new LargePending(this.index, this.sizes, new Map())
  }

  put(i: number, delivery: Delivery): void {
    const { at } = this.index.itemAt(i)
    const row = this.index.rowAtPosition(i)
    let run = this.replaced!.get(row)
    if (!run) this.replaced!.set(row, (run = this.index.items(row).copy()))
    run.put(at, delivery)
  }

  changed(edits: readonly Edit[]): PendingEntries {
    const replaced = this.replaced ? { replaced: this.replaced } : {}
    return this.after(changedIndex(this.index, { edits, ...replaced }, this.sizes), this.length)
  }

  withoutConsumer(gone: number): PendingEntries {
    const rest = this.all().withoutConsumer(gone)
    return this.after(newIndex(rest, this.sizes, this.freed), 0)
  }

  private after(change: ChangedIndex, length: number): LargePending {
    return new LargePending(this.index, this.sizes, null, change, length + change.more.count)
  }
}
