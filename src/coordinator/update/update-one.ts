/**
 * Read, modify, write at `one`: the first healthy home replica decides.
 *
 *   1. Read as any read at `one` (read.ts).
 *   2. Make the result, and store it on the first home replica that accepts writes, by one atomic script and only if
 *      that replica still holds what was read. If it holds something newer: again from 1. If it holds something older
 *      than what was read (it missed a write), the result is newer than both.
 *   3. Send the result to the other home replicas and the fallback replicas, as any write at `one`, without waiting.
 *
 * Not a lock: during a fault two coordinators may choose different replicas as the first, and both succeed.
 */
import type { Member } from '../../cluster/member.ts'
import { compareVersions, VERSION_BYTES, VERSION_ZERO, type Version } from '../../core/clock.ts'
import { KIND_TOMBSTONE, type NewRecord, type StoredRecord } from '../../core/codec.ts'
import { planWrite } from '../../core/plan.ts'
import type { Node, NodeFailure, StoreCall } from '../../nodes/node.ts'
import { memberOf, placedNow, type CoordinatorContext, type Replicas, type ServedBy } from '../context.ts'
import { DecidedByOne } from './decided-by-one.ts'
import { tellWaiters } from '../waiting/stored.ts'
import { Copies, lifeWhileAway, noteMiss } from '../write/misses.ts'
import { asStored, patching } from './read-modify-write.ts'
import type { Modified, Modify, UpdateDone } from './update.ts'
import { inWords } from '../../core/sentence.ts'

export class UpdateOne extends DecidedByOne<UpdateDone> implements StoreCall {
  private readonly key: Buffer
  /** Of the latest attempt. */
  private replicas: Replicas
  private readonly modify: Modify

  private before: StoredRecord | null = null
  private result: NewRecord | null = null
  private lifeMs = 0
  private copies: readonly Member[] = []

  constructor(
    context: CoordinatorContext,
    key: Buffer,
    replicas: Replicas,
    modify: Modify,
    done: UpdateDone,
  ) {
    super(context, replicas, 'one', 'update', done)
    this.key = key
    this.replicas = replicas
    this.modify = modify
  }

  onApplied(node: Node): void {
    this.context.background.end()
    const { homes, preference } = this.replicas
    const first = memberOf(preference, node)
    const copies = new Copies(this.context, this.key, this.result!, homes, [first, ...this.copies])
    copies.send(this.copies, this.lifeMs)
    tellWaiters(this.context, this.key, this.result!, this.before)
    if (this.finish()) this.done.updated(this.before, asStored(this.result!), node)
  }

  onStale(node: Node, held: Buffer): void {
    this.context.background.end()
    this.context.cluster.versions.observe(held)
    if (this.isFinished) return
    this.mayBeApplied = false
    const heldVersion = held.subarray(0, VERSION_BYTES)
    if (this.before && compareVersions(heldVersion, this.before.version) < 0) {
      this.send(node, undefined) // it missed what was read elsewhere
    } else this.overtaken()
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.context.background.end()
    if (failure.reason !== 'wrong-type' && failure.reason !== 'other-epoch') {
      const member = memberOf(this.replicas.preference, node)
      const why = `it missed a write: ${inWords(failure.message)}`
      noteMiss(this.context, member, why, this.copies, this.key, this.result!)
      if (failure.kind === 'unknown') tellWaiters(this.context, this.key, this.result!, this.before)
    }
    this.decidingFailed(failure)
  }

  protected attempt(): void {
    this.replicas = placedNow(this.context, this.key, this.replicas)
    this.readFirst(this.key, this.replicas, (record, by) => this.decide(record, by))
  }

  private decide(before: StoredRecord | null, by?: ServedBy): void {
    this.before = before
    const modified: Modified = this.modify(before)
    if (modified.kind === 'refuse') {
      this.end(modified.error, by)
      return
    }
    if (modified.kind === 'keep') {
      this.finish()
      this.done.updated(before, before, by)
      return
    }
    const { cluster, graceMs } = this.context
    const isDelete = modified.record.kind === KIND_TOMBSTONE
    const plan = planWrite(this.replicas, isDelete)
    const [first, ...copies] = plan.targets
    if (!first) {
      this.fail('No node accepts writes now.')
      return
    }
    this.copies = copies
    const { record, lifeMs } = this.recordOf(this.key, modified.record, cluster.versions)
    this.result = patching(record, before)
    this.lifeMs = plan.missing.length > 0 ? lifeWhileAway(lifeMs, isDelete, graceMs) : lifeMs
    this.send(first.node, before?.version ?? VERSION_ZERO)
  }

  private send(node: Node, onlyIf: Version | undefined): void {
    this.mayBeApplied = true
    this.context.background.begin()
    const condition = { ...(onlyIf && { onlyIf }), epochs: this.replicas }
    node.store(this.key, this.result!, this.lifeMs, this, condition)
  }
}
