/** Tells of the keys that change in a memory node: what a Redis does with CLIENT TRACKING BCAST. */
import type { Timers } from '../../core/clock.ts'
import type { ChangeEvents, Subscription } from '../node.ts'
import type { MemoryStorage, Watcher } from './memory-storage.ts'

export class MemoryChanges implements Watcher, Subscription {
  private readonly storage: MemoryStorage
  private readonly to: ChangeEvents
  private readonly timers: Timers
  /** Of this turn; null = everything was removed. */
  private names = new Set<string>()
  private isCleared = false
  private isDue = false
  private isOver = false

  constructor(storage: MemoryStorage, to: ChangeEvents, timers: Timers) {
    this.storage = storage
    this.to = to
    this.timers = timers
    storage.watchers.add(this)
    timers.endOfTurn(() => {
      if (!this.isOver) to.opened()
    })
  }

  changed(name: string): void {
    this.names.add(name)
    this.soon()
  }

  cleared(): void {
    this.names.clear()
    this.isCleared = true
    this.soon()
  }

  close(): void {
    this.isOver = true
    this.storage.watchers.delete(this)
  }

  private soon(): void {
    if (this.isDue) return
    this.isDue = true
    this.timers.endOfTurn(() => this.flush())
  }

  private flush(): void {
    const { names, isCleared } = this
    this.names = new Set()
    this.isCleared = this.isDue = false
    if (this.isOver) return
    if (isCleared) this.to.changed(null)
    if (names.size > 0) this.to.changed([...names].map((name) => Buffer.from(name, 'latin1')))
  }
}
