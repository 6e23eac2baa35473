/**
 * Handles a home replica that missed a write: marks it as behind, and stores a hint on every node that took the write,
 * in the same batch as the write if the miss is known in time (repair/hints.ts delivers hints).
 */
import type { Member } from '../../cluster/member.ts'
import { versionOf, type NewRecord } from '../../core/codec.ts'
import type { HintCall, Node, NodeFailure, StoreCall } from '../../nodes/node.ts'
import type { CoordinatorContext } from '../context.ts'
import { inWords } from '../../core/sentence.ts'

/**
 * A tombstone that a home replica misses must be kept until that replica is back, also on a fallback replica, which has
 * nothing to delete itself and would drop it after a minute.
 */
export function lifeWhileAway(lifeMs: number, isDelete: boolean, graceMs: number): number {
  return isDelete ? Math.max(lifeMs, graceMs) : lifeMs
}

/** @param holders all that took the record or are sent it; the reachable ones get the hints */
export function noteMiss(
  context: CoordinatorContext,
  missed: Member,
  why: string,
  holders: readonly Member[],
  key: Buffer,
  record: NewRecord,
): void {
  missed.markBehind(why)
  const note = new MissNote(context, missed)
  for (const holder of holders) {
    if (holder !== missed && holder.node.ready) note.leave(holder, key, versionOf(record))
  }
  note.left()
}

/** Copies of a record that is already confirmed: no caller waits for them, but misses are recorded. */
export class Copies implements StoreCall {
  private readonly context: CoordinatorContext
  private readonly key: Buffer
  private readonly record: NewRecord
  private readonly homes: readonly Member[]
  private readonly holders: readonly Member[]

  /** @param holders all that have the record or are sent it */
  constructor(
    context: CoordinatorContext,
    key: Buffer,
    record: NewRecord,
    homes: readonly Member[],
    holders: readonly Member[],
  ) {
    this.context = context
    this.key = key
    this.record = record
    this.homes = homes
    this.holders = holders
  }

  send(targets: readonly Member[], lifeMs: number): void {
    for (const target of targets) {
      this.context.background.begin()
      target.node.store(this.key, this.record, lifeMs, this)
    }
    for (const home of this.homes) {
      if (!this.holders.includes(home)) this.note(home, 'it accepted no writes and missed one')
    }
  }

  onApplied(): void {
    this.context.background.end()
  }

  onStale(_node: Node, held: Buffer): void {
    this.context.cluster.versions.observe(held)
    this.context.background.end()
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.context.background.end()
    const home = this.homes.find((member) => member.node === node)
    if (home && failure.reason !== 'wrong-type')
      this.note(home, `it missed a write: ${inWords(failure.message)}`)
  }

  private note(home: Member, why: string): void {
    noteMiss(this.context, home, why, this.holders, this.key, this.record)
  }
}

class MissNote implements HintCall {
  private readonly context: CoordinatorContext
  private readonly missed: Member
  /** 1 for the call that is still storing hints. */
  private pending = 1
  private noted = false

  constructor(context: CoordinatorContext, missed: Member) {
    this.context = context
    this.missed = missed
  }

  leave(holder: Member, key: Buffer, version: Buffer): void {
    this.pending++
    this.context.background.begin()
    holder.node.hint(this.missed.id, key, version, this)
  }

  left(): void {
    if (--this.pending === 0 && !this.noted) this.missed.missedUnnoted = true
  }

  onApplied(): void {
    this.noted = true
    this.onEnd()
  }

  onFailure(): void {
    this.onEnd()
  }

  private onEnd(): void {
    this.context.background.end()
    this.left()
  }
}
