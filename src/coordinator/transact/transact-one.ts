/**
 * A transaction at `one`: the first healthy home replica decides.
 *
 *   1. Read every key as any read at `one` (read.ts).
 *   2. Make the results, and store all of them on the first home replica that accepts writes, by one atomic script and
 *      only if that replica still holds what was read of every key, including keys that are only read. If it holds
 *      something newer: again from 1. If it holds something older than what was read (it missed a write), the condition
 *      becomes that older version: the result is newer than both.
 *   3. Send the results to the other home replicas and the fallback replicas, as any write at `one`, without waiting.
 *
 * Parts of large collections go to all replicas in the turn of 2, before its script, which then has one condition more: the
 * deciding replica holds them. So no replica stores a root before its parts were sent to it, and none decides on a root
 * whose parts it lacks.
 *
 * If nothing changes, 2 is a script that only checks that what was read is there together.
 *
 * Not guaranteed: atomic visibility on the other replicas, where the keys arrive one by one. And not a lock: during a
 * fault two coordinators may choose different replicas as the first, and both succeed.
 */
import type { Member } from '../../cluster/member.ts'
import { compareVersions, VERSION_BYTES, VERSION_ZERO, type Version } from '../../core/clock.ts'
import {
  HEAD_BYTES,
  KIND_TOMBSTONE,
  KIND_VALUE,
  kindOf,
  newRecord,
  type StoredRecord,
} from '../../core/codec.ts'
import { FAR_END_MS } from '../../core/lifetime.ts'
import { planRead, planWrite } from '../../core/plan.ts'
import type { Node, NodeFailure, StoreAllCall, StoreAllWrite } from '../../nodes/node.ts'
import { memberOf, type CoordinatorContext } from '../context.ts'
import { crossReplicaSet } from '../errors.ts'
import { DecidedByOne } from '../update/decided-by-one.ts'
import { tellWaiters } from '../waiting/stored.ts'
import { WriteOne, type MakeRecord, type WriteDone } from '../write/write.ts'
import { Copies, lifeWhileAway, noteMiss } from '../write/misses.ts'
import { asStored, NewVersion, patching } from '../update/read-modify-write.ts'
import {
  changesOf,
  placedKeysNow,
  shareReplicaSet,
  type AllModified,
  type ModifyAllSlowly,
  type NewPart,
  type PlacedKey,
  type TransactDone,
} from './transact.ts'
import { inWords } from '../../core/sentence.ts'

/** Whether a part is held. */
const ITS_CONDITION_TELLS: WriteDone = { written: () => undefined, failed: () => undefined }

export class TransactionAtOne extends DecidedByOne<TransactDone> implements StoreAllCall {
  /** Placed for the latest attempt. */
  private keys: readonly PlacedKey[]
  private readonly modify: ModifyAllSlowly

  private before: readonly (StoredRecord | null)[] = []
  private writes: readonly StoreAllWrite[] = []
  /** By key: members that get a copy afterwards. */
  private copies: readonly (readonly Member[])[] = []

  /** @param keys they share a replica set */
  constructor(
    context: CoordinatorContext,
    keys: readonly PlacedKey[],
    modify: ModifyAllSlowly,
    done: TransactDone,
  ) {
    super(context, keys[0]!.replicas, 'one', 'transaction', done)
    this.keys = keys
    this.modify = modify
  }

  onApplied(node: Node): void {
    this.context.background.end()
    const first = memberOf(this.keys[0]!.replicas.preference, node)
    this.writes.forEach(({ key, record, lifeMs }, i) => {
      if (!record) return
      const targets = this.copies[i]!
      new Copies(this.context, key, record, this.homes, [first, ...targets]).send(targets, lifeMs)
      tellWaiters(this.context, key, record, this.before[i]!)
    })
    if (!this.finish()) return
    const after = this.before.map((before, i) => {
      const { record } = this.writes[i]!
      return record ? asStored(record) : before
    })
    this.done.transacted(this.before, after)
  }

  onStale(node: Node, held: readonly (Buffer | null)[]): void {
    this.context.background.end()
    for (const other of held) if (other) this.context.cluster.versions.observe(other)
    if (this.isFinished) return
    this.mayBeApplied = false
    const expected = held.map((other, i) => (other ? this.olderThanRead(other, i) : this.writes[i]!.onlyIf))
    if (expected.includes(null)) this.overtaken()
    else {
      // The replica missed what was read elsewhere.
      this.writes = this.writes.map((write, i) => ({ ...write, onlyIf: expected[i]! }))
      this.send(node)
    }
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.context.background.end()
    if (failure.reason !== 'wrong-type' && failure.reason !== 'other-epoch') this.noteMisses(node, failure)
    this.decidingFailed(failure)
  }

  protected attempt(): void {
    this.keys = placedKeysNow(this.context, this.keys)
    if (!shareReplicaSet(this.keys)) {
      this.end(crossReplicaSet())
      return
    }
    const before: (StoredRecord | null)[] = []
    let missing = this.keys.length
    this.keys.forEach(({ key, replicas }, i) => {
      this.readFirst(key, replicas, (record) => {
        before[i] = record
        if (--missing === 0) this.decide(before)
      })
    })
  }

  private decide(before: readonly (StoredRecord | null)[]): void {
    this.before = before
    this.modify(before, (modified) => {
      if (!this.isFinished) this.store(before, modified)
    })
  }

  private store(before: readonly (StoredRecord | null)[], modified: AllModified): void {
    if (modified.kind === 'refuse') {
      this.end(modified.error)
      return
    }
    const { cluster } = this.context
    this.writes = changesOf(modified, this.keys).map((change, i) => {
      const onlyIf = before[i]?.version ?? VERSION_ZERO
      const { key } = this.keys[i]!
      if (!change) return { key, record: null, lifeMs: 0, onlyIf }
      const { record, lifeMs } = this.recordOf(key, change, cluster.versions)
      return { key, record: patching(record, before[i]!), lifeMs, onlyIf }
    })
    const first = this.changesAnything ? this.planWrites() : this.firstToRead()
    if (!first) {
      this.fail('None of the nodes that could decide can be reached now.')
      return
    }
    const parts = modified.kind === 'write' ? (modified.parts ?? []) : []
    this.writes = [...this.writes, ...parts.map((part) => this.storePart(part))]
    this.send(first.node)
  }

  /** @returns the condition that it is held */
  private storePart({ key, value }: NewPart): StoreAllWrite {
    const version = new NewVersion(this.context.cluster.versions)
    const record = newRecord(KIND_VALUE, version, 0, value)
    this.context.sizes.learn(key, HEAD_BYTES + value.length)
    let isMade = false
    const make: MakeRecord = () => {
      if (isMade) return null // what is not held as it is now is not waited for
      isMade = true
      return { record, lifeMs: FAR_END_MS }
    }
    new WriteOne(this.context, key, this.keys[0]!.replicas, make, ITS_CONDITION_TELLS).start()
    return { key, record: null, lifeMs: 0, onlyIf: version.version }
  }

  /** The deciding replica; if no home replica can, it may be a fallback replica of all the keys. */
  private planWrites(): Member | undefined {
    const { graceMs } = this.context
    const { onlyDeletes } = this
    const plans = this.keys.map(({ replicas }) => planWrite(replicas, onlyDeletes))
    this.writes = this.writes.map((write, i) => {
      if (!write.record || plans[i]!.missing.length === 0) return write
      const isDelete = kindOf(write.record) === KIND_TOMBSTONE
      return { ...write, lifeMs: lifeWhileAway(write.lifeMs, isDelete, graceMs) }
    })
    const first = plans[0]!.targets[0]
    this.copies = plans.map(({ targets }) => targets.slice(1))
    return plans.every(({ targets }) => targets[0] === first) ? first : undefined
  }

  private firstToRead(): Member | undefined {
    const { inTurn, compared } = planRead(this.keys[0]!.replicas)
    return inTurn[0] ?? compared[0]
  }

  private send(node: Node): void {
    this.mayBeApplied = this.changesAnything
    this.context.background.begin()
    node.storeAll(this.writes, 'if-held', this, this.keys[0]!.replicas)
  }

  /** What the replica holds of a key if that is older than what was read; otherwise null. */
  private olderThanRead(held: Buffer, i: number): Version | null {
    const version = held.subarray(0, VERSION_BYTES)
    const isPromise = held.length === VERSION_BYTES
    const read = this.before[i]
    return !isPromise && read && compareVersions(version, read.version) < 0 ? version : null
  }

  private noteMisses(node: Node, failure: NodeFailure): void {
    const member = memberOf(this.keys[0]!.replicas.preference, node)
    const why = `it missed a write: ${inWords(failure.message)}`
    this.writes.forEach(({ key, record }, i) => {
      if (!record) return
      noteMiss(this.context, member, why, this.copies[i]!, key, record)
      if (failure.kind === 'unknown') tellWaiters(this.context, key, record, this.before[i]!)
    })
  }

  private get homes(): readonly Member[] {
    return this.keys[0]!.replicas.homes
  }

  private get changesAnything(): boolean {
    return this.writes.some(({ record }) => record !== null)
  }

  private get onlyDeletes(): boolean {
    return this.writes.every(({ record }) => !record || kindOf(record) === KIND_TOMBSTONE)
  }
}
