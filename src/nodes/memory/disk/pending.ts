/**
 * The changes that the disk does not have yet: their frames, who waits for them, and how each is taken back if they cannot
 * be written.
 *
 * A change that removes something (evictions, expired keys, copies that are not needed) is not taken back: it is recorded
 * again, and written when that can be done.
 */
import type { WallClock } from '../../../core/clock.ts'
import { isInternalName, MARKER_KEY } from '../../../core/keys.ts'
import type { NodeFailure } from '../../node.ts'
import type { Recorder } from '../memory-storage.ts'
import { FrameWriter } from './frames.ts'
import type { Fsync } from './journal-options.ts'

/** Who waits until all changes so far are kept. */
export interface Waiting {
  /** Of this file: up to which change it waits. */
  until: number
  readonly kept: () => void
  readonly failed: (failure: NodeFailure) => void
}

interface Change {
  readonly undo?: () => void
  readonly redo?: () => void
}

/** Frames on their way to the disk, and the number of their last change. */
export interface Taken {
  readonly bytes: Buffer
  readonly upTo: number
  /** To be reset when the bytes are not needed any more. */
  readonly frames: FrameWriter
}

const MARKER = MARKER_KEY.toString('latin1')

export class PendingChanges implements Recorder {
  /** Keys of users have changed since somebody set it to false. */
  changedKeys = false
  /** Acknowledged writes may be missing, and no marker tells it yet. */
  lost = false
  private readonly fsync: Fsync
  private readonly clock: WallClock
  private filling = new FrameWriter()
  private spare = new FrameWriter()
  /** Numbers of changes: made, and kept. */
  private made = 0
  private done = 0
  /** Those in between. */
  private changes: Change[] = []
  private waiting: Waiting[] = []

  constructor({ fsync, clock }: { readonly fsync: Fsync; readonly clock: WallClock }) {
    this.fsync = fsync
    this.clock = clock
  }

  // ---- what changes

  set(name: string, bytes: Buffer, lifeMs: number, undo: () => void): void {
    this.filling.set(name, bytes, this.clock.wallMs() + lifeMs)
    this.made++
    // Notes of the node and of coordinators change all the time.
    if (!isInternalName(name)) this.changedKeys = true
    this.changes.push({ undo: name === MARKER ? this.undoMarker(undo) : undo })
  }

  /** The marker tells from now on whether something was lost. */
  private undoMarker(undo: () => void): () => void {
    const { lost } = this
    this.lost = false
    return () => {
      undo()
      this.lost = lost
    }
  }

  remove(name: string, evicted: boolean): void {
    this.filling.remove(name, evicted)
    this.recorded(() => this.remove(name, evicted))
  }

  clear(): void {
    this.filling.clear()
    this.recorded(() => this.clear())
  }

  hint(target: string, name: string, version: Buffer): void {
    this.filling.hint(target, name, version)
    this.recorded(() => this.hint(target, name, version))
  }

  dropHint(target: string, name: string): void {
    this.filling.dropHint(target, name)
    this.recorded(() => this.dropHint(target, name))
  }

  note(id: string, text: string, atMs: number): void {
    this.filling.note(id, text, atMs)
    this.recorded(() => this.note(id, text, atMs))
  }

  /** A run of the program begins. */
  run(): void {
    this.filling.opened({ fsync: this.fsync, lost: this.lost })
    this.recorded(() => this.run())
  }

  private recorded(redo: () => void): void {
    this.made++
    this.changes.push({ redo })
  }

  /** Everything was told: nobody waits for this one. */
  closed(): void {
    this.filling.closed()
  }

  endBatch(): void {
    this.filling.endBatch()
  }

  // ---- on the way to the disk

  get bytes(): number {
    return this.filling.length
  }

  /** Everything that was changed so far is kept. */
  get isSettled(): boolean {
    return this.made === this.done
  }

  /** All there is, while nobody adds to it: the caller uses it before this turn ends. */
  peek(): Taken {
    return { bytes: this.filling.taken(), upTo: this.made, frames: this.filling }
  }

  /** All there is. What comes from now on goes elsewhere; only one may be out at a time. */
  take(): Taken {
    const taken = this.peek()
    this.filling = this.spare
    this.spare = taken.frames
    return taken
  }

  wait(waiting: Waiting): void {
    waiting.until = this.made
    this.waiting.push(waiting)
  }

  /** They are kept. */
  release({ upTo, frames }: Taken): void {
    frames.reset()
    this.changes = this.changes.slice(upTo - this.done)
    this.done = upTo
    let count = 0
    while (count < this.waiting.length && this.waiting[count]!.until <= upTo) count++
    const released = this.waiting.splice(0, count)
    for (const one of released) one.kept()
  }

  /** None of them can be kept: newest first, all is as it was before. */
  takeBack(failure: NodeFailure): void {
    const { changes, waiting } = this
    this.changes = []
    this.waiting = []
    this.filling.reset()
    this.spare.reset()
    this.done = this.made
    for (const { undo } of [...changes].reverse()) undo?.()
    for (const { redo } of changes) redo?.()
    for (const one of waiting) one.failed(failure)
  }
}

export function waitingOf(kept: () => void, failed: (error: Error) => void): Waiting {
  return { until: 0, kept: () => kept(), failed: ({ message }) => failed(new Error(message)) }
}
