/**
 * A transaction at `quorum` and `all`: the two rounds of an update (update.ts), for several keys under one ballot.
 *
 *   1. prepare every key on all home replicas. A replica counts when it has promised all of them.
 *   2. A majority of such promises: for each key, the newest record is the current one. modify() makes the results.
 *   3. accept all results in one script per node, which stores them only if every promise still stands: a node accepts
 *      all or nothing. Done when a majority of nodes accepted all, and keep each key as long as the others (acks.ts).
 *
 *   A key that is only read is left as it is if a majority holds it; its promise must still stand in 3, so nothing came
 *   in between. Otherwise the same record is accepted again (update.ts explains why). The same holds for a transaction
 *   that changes nothing: with several keys it runs 3 as well, because the promises of 1 are not of one moment.
 *
 * Why two transactions cannot each win a part: they meet on some node in every key that they share. There the one with
 * the older ballot either has all its keys stored before the newer one prepares the first of them, and is seen in all,
 * or finds a promise that no longer stands, and has none. So confirmed transactions and updates took effect in the
 * order of their ballots, each as a whole.
 *
 * Not guaranteed:
 *
 *   - An unknown outcome may cover a part of the keys. If the coordinator dies or is superseded after fewer than a
 *     majority of nodes have accepted, the next reader of one key may bring that key alone to a majority
 *     (quorum-read.ts, an update, a repair). A transaction over all the same keys brings all or none, unless a repair
 *     came before it.
 *   - Plain reads and writes concern one key. Two successive reads may see one key after a running transaction and the
 *     other before it; a plain write may come in between. To see several keys as of one moment, read them in a
 *     transaction.
 */
import type { Member } from '../../cluster/member.ts'
import { StoredRecord } from '../../core/codec.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import type { Answering } from '../../core/replica-set.ts'
import { newestOf } from '../../core/votes.ts'
import type { Fence, Node, NodeFailure, PrepareCall, StoreAllCall, StoreAllWrite } from '../../nodes/node.ts'
import { Acks } from '../write/acks.ts'
import { placesOf, positionOf, type CoordinatorContext, type Replicas } from '../context.ts'
import { asStored } from '../update/read-modify-write.ts'
import { tellWaiters } from '../waiting/stored.ts'
import {
  changesOf,
  placedKeysNow,
  shareReplicaSet,
  type AllModified,
  type ModifyAllSlowly,
  type PlacedKey,
  type TransactDone,
} from './transact.ts'
import { Ballot, isNewer, TwoRounds } from '../update/two-rounds.ts'

type Records = readonly (StoredRecord | null)[]

export class QuorumTransaction extends TwoRounds<TransactDone> {
  /** Placed for the latest attempt. */
  keys: readonly PlacedKey[]
  readonly modify: ModifyAllSlowly
  protected override readonly unknownSentence = 'It may have been applied, also to a part of the keys.'

  /** @param keys they share a replica set */
  constructor(
    context: CoordinatorContext,
    keys: readonly PlacedKey[],
    level: ConsistencyLevel,
    modify: ModifyAllSlowly,
    done: TransactDone,
  ) {
    super(context, keys[0]!.replicas, level, 'transaction', done)
    this.keys = keys
    this.modify = modify
  }

  protected place(): Replicas | null {
    this.keys = placedKeysNow(this.context, this.keys)
    return shareReplicaSet(this.keys) ? this.keys[0]!.replicas : null
  }

  protected prepare(usable: readonly Member[]): void {
    new TransactionAttempt(this, usable).prepare()
  }

  succeed(before: Records, after: Records): void {
    if (this.finishInTime()) this.done.transacted(before, after)
  }
}

/** One home replica's answers to the prepares so far. */
interface Promises {
  readonly held: (StoredRecord | null)[]
  missing: number
  counts: boolean
}

class TransactionAttempt implements StoreAllCall {
  private readonly transaction: QuorumTransaction
  /** Of the latest round. */
  private replicas: Replicas
  /** The epoch in which it was promised. */
  private readonly promisedIn: number
  /** A promise was of another epoch, and did not count. */
  private otherEpoch = false
  private keys: readonly PlacedKey[]
  private usable: readonly Member[]
  private readonly ballot: Ballot
  private round: 'prepare' | 'modify' | 'accept' | 'over' = 'prepare'
  private pending = 0
  private readonly promises = new Map<Node, Promises>()
  /** Nodes that have promised every key. */
  private readonly promised: Node[] = []
  /** Nodes that did so while the results were made: they do not count, but should hold the results too. */
  private readonly late: Node[] = []
  /** What the clean ones of them hold, by key, as far as the results take it into account. */
  private readonly votes: Map<Node, StoredRecord | null>[]
  private before: Records = []
  /** The same as their tags have them. */
  private shown: Records = []
  private modified: AllModified | null = null
  /** Set once decided. */
  private writes: readonly StoreAllWrite[] | null = null
  /** By key; null = only checked. */
  private acks: readonly (Acks | null)[] = []
  /** Clean nodes that have accepted all. */
  private confirmed: Node[] = []
  /** Accepts that were applied, or may have been. */
  private touched = 0
  /** Nodes that refused the results because of their epoch: they lack them, if others have confirmed them. */
  private readonly turnedAway: Node[] = []
  /** Home replicas that failed or are no longer waited for, with the reason. */
  private readonly failed = new Map<Node, string>()

  constructor(transaction: QuorumTransaction, usable: readonly Member[]) {
    this.transaction = transaction
    this.replicas = transaction.replicas
    this.promisedIn = transaction.replicas.epoch
    this.keys = transaction.keys
    this.usable = usable
    this.ballot = new Ballot(transaction.context.cluster.versions)
    this.votes = this.keys.map(() => new Map<Node, StoredRecord | null>())
  }

  // ---- round 1

  prepare(): void {
    const { sizes } = this.transaction.context
    const calls = this.keys.map((_, i) => this.callFor(i))
    const expected = this.keys.map(({ key }) => sizes.expected(key))
    for (const { node } of this.usable) {
      this.promises.set(node, { held: [], missing: this.keys.length, counts: true })
      this.keys.forEach(({ key }, i) => {
        this.begin()
        node.prepare(key, this.ballot.version, calls[i]!, expected[i])
      })
    }
  }

  private callFor(i: number): PrepareCall {
    return {
      onPromised: (node, bytes, fence) => this.onPromised(i, node, bytes, fence),
      onRefused: (node, newest) => this.onRefused(node, newest),
      onFailure: (node, failure) => this.onFailure(node, failure),
    }
  }

  private onPromised(i: number, node: Node, bytes: Buffer | null, fence: Fence): void {
    this.end()
    const promises = this.promises.get(node)!
    promises.held[i] = bytes ? new StoredRecord(bytes) : null
    if (!this.replicas.isOfEpoch(fence)) this.otherEpoch = true
    if (!this.counts(node, fence)) promises.counts = false
    if (--promises.missing === 0) this.hasPromisedAll(node, promises)
    else this.check()
  }

  private counts(node: Node, answering: Answering): boolean {
    return this.replicas.holdsBy(answering, positionOf(this.replicas.homes, node))
  }

  private hasPromisedAll(node: Node, { held, counts }: Promises): void {
    if (this.writes) {
      // Nothing newer than what the results were made of: its vote would have changed nothing.
      const isOlder = counts && held.every((record, i) => !isNewer(record, this.before[i]!))
      if (isOlder) this.votes.forEach((votes, i) => votes.set(node, held[i]!))
      this.acceptAt(node) // late, but it should hold the results too
      return
    }
    if (this.round === 'modify') this.late.push(node)
    if (this.round !== 'prepare' || this.transaction.isFinished) return
    this.promised.push(node)
    if (counts) this.votes.forEach((votes, i) => votes.set(node, held[i]!))
    if (this.transaction.arePromisedBy([...this.votes[0]!.keys()])) this.decide()
    else this.checkPromises()
  }

  private onRefused(node: Node, newest: Buffer): void {
    this.end()
    this.transaction.context.cluster.versions.observe(newest)
    if (this.round === 'prepare' && !this.transaction.isFinished) {
      this.round = 'over'
      this.transaction.overtaken()
      return
    }
    if (this.writes) this.missedOnce(node, 'it had promised a newer version')
    else if (this.round === 'modify') this.failed.set(node, 'it had promised a newer version')
    this.check()
  }

  private checkPromises(): void {
    if (this.round !== 'prepare' || this.pending > 0 || this.transaction.isFinished) return
    this.round = 'over'
    if (this.otherEpoch) {
      this.transaction.againUnderOtherEpoch()
      return
    }
    const votes = this.votes[0]!.size
    this.transaction.fail(`${votes} of ${this.transaction.required} required replicas could promise.`)
  }

  private decide(): void {
    this.before = this.votes.map((votes) => newestOf(votes.values()))
    this.round = 'modify'
    const { context, level } = this.transaction
    const shown = [...this.before]
    let missing = 1
    const ready = () => {
      if (--missing > 0 || this.transaction.isFinished) return
      this.shown = shown
      this.modify()
    }
    this.before.forEach((record, i) => {
      if (!record?.isTagged) return
      missing++
      const judged = (one: StoredRecord) => {
        shown[i] = one
        ready()
      }
      context.tags.judge(record, level, judged, (error) => this.transaction.fail(error.message))
    })
    ready()
  }

  private modify(): void {
    this.transaction.modify(this.shown, (modified) => {
      if (this.transaction.isFinished) this.round = 'over'
      else this.accept(modified)
    })
  }

  private accept(modified: AllModified): void {
    const { transaction, keys } = this
    // A majority must hold them before any replica accepts what names them.
    if (modified.kind === 'write' && modified.parts) throw new Error('parts are stored first at quorum')
    this.modified = modified
    const changes = changesOf(this.modified, keys)
    const onlyIf = this.ballot.version
    this.writes = keys.map(({ key }, i) => {
      const before = this.before[i]!
      const agreed = transaction.isAtMajority(this.votes[i]!, before)
      const next = changes[i] ?? (agreed ? null : this.shown[i]!)
      if (!next) return { key, record: null, lifeMs: 0, onlyIf } // only checked
      return { key, ...transaction.recordOf(key, next, this.ballot), onlyIf }
    })
    if (this.modified.kind === 'refuse' && !this.writesAnything) {
      this.conclude()
      return
    }
    this.beginAccepts()
    if (this.changesAnything) transaction.sent()
    for (const node of [...this.promised, ...this.late]) this.acceptAt(node)
    for (const [node, why] of this.failed) this.missed(node, why)
  }

  // ---- round 2

  private beginAccepts(): void {
    this.round = 'accept'
    const { replicas, transaction } = this
    const { context, level } = transaction
    this.acks = this.writes!.map(({ key, record }) => {
      return record && new Acks(context, key, record, replicas, level, () => this.checkAccepts())
    })
  }

  private acceptAt(node: Node): void {
    this.begin()
    node.storeAll(this.writes!, 'if-promised', this, this.replicas)
  }

  onApplied(node: Node, fence: Fence, keptMs: readonly number[]): void {
    this.end()
    this.touched++
    const answering = this.transaction.accepted(fence)
    if (this.counts(node, answering)) this.confirmed.push(node)
    this.acks.forEach((acks, i) => acks?.add(node, answering, keptMs[i]!))
    this.checkAccepts()
  }

  onStale(node: Node, held: readonly (Buffer | null)[]): void {
    this.end()
    for (const other of held) if (other) this.transaction.context.cluster.versions.observe(other)
    // null: its promise stands. The key was refused because of another one, and lacks its result too.
    this.missed(
      node,
      'it had promised a newer version',
      (i) => !held[i] || this.ballot.isMissingFrom(held[i]),
    )
    this.checkAccepts()
  }

  onFailure(node: Node, failure: NodeFailure): void {
    this.end()
    if (failure.reason === 'other-epoch') {
      this.turnedAway.push(node)
      if (this.round === 'over') this.noteTurnedAway()
    } else if (this.writes) {
      if (failure.kind === 'unknown') this.touched++
      this.missedOnce(node, failure.message)
    } else this.failed.set(node, failure.message)
    if (failure.reason === 'wrong-type') this.transaction.wrongType(failure)
    else this.check()
  }

  /** One answer fewer is pending. Only the last one can decide anything; checking all keys after each would be slow. */
  private check(): void {
    if (this.pending > 0) return
    if (this.round === 'prepare') this.checkPromises()
    else this.checkAccepts()
  }

  private checkAccepts(): void {
    if (this.round !== 'accept' || this.transaction.isFinished) return
    const { transaction, confirmed } = this
    const areConfirmed = this.replicas.isHeld(placesOf(this.replicas, confirmed), transaction.level)
    if (areConfirmed && this.acks.every((acks) => acks?.areEnough ?? true)) {
      this.conclude()
      return
    }
    const lengthening = this.acks.reduce((sum, acks) => sum + (acks?.pending ?? 0), 0)
    if (this.pending + lengthening > 0) return
    this.round = 'over'
    if (this.touched > 0 && this.changesAnything) {
      const goesOn = this.turnedAway.length > 0
      this.noteTurnedAway()
      this.tellWaiters()
      if (goesOn) this.goOn()
      else this.failUnconfirmed()
      return
    }
    // All have certainly refused, or nothing changed: no result will ever be visible.
    this.transaction.refused()
    if (this.turnedAway.length > 0) this.transaction.againUnderOtherEpoch()
    else this.transaction.overtaken()
  }

  private failUnconfirmed(): void {
    const { confirmed } = this
    const { required } = this.transaction
    const counted = this.acks.map((acks) => acks?.counted.length ?? confirmed.length)
    const accepted = Math.min(confirmed.length, ...counted)
    this.transaction.fail(`${accepted} of ${required} required replicas have confirmed the transaction.`)
  }

  /** Under the next epoch: see two-rounds.ts. */
  private goOn(): void {
    const { transaction, ballot } = this
    const { cluster } = transaction.context
    const again = (replicas: Replicas) => {
      if (this.keys.some(({ key }) => cluster.isFlushed(key, ballot.version))) {
        this.failUnconfirmed() // all keys were deleted meanwhile
        return
      }
      this.replicas = replicas
      this.keys = transaction.keys
      this.usable = replicas.homes.filter(({ node }) => this.votes[0]!.has(node))
      this.confirmed = []
      this.beginAccepts()
      for (const { node } of this.usable) this.acceptAt(node)
      this.checkAccepts() // if there is none
    }
    transaction.goOnUnderNextEpoch(this.promisedIn, again, () => this.failUnconfirmed())
  }

  private conclude(): void {
    this.round = 'over'
    this.noteTurnedAway()
    const modified = this.modified!
    const after = this.writes!.map(({ record }, i) => (record ? asStored(record) : this.shown[i]!))
    this.copyToOthers()
    this.tellWaiters()
    if (modified.kind === 'refuse') this.transaction.end(modified.error)
    else this.transaction.succeed(this.shown, after)
  }

  private tellWaiters(): void {
    this.writes!.forEach(({ key, record }, i) => {
      if (record) tellWaiters(this.transaction.context, key, record, this.shown[i]!)
    })
  }

  private copyToOthers(): void {
    this.writes!.forEach(({ key, record, lifeMs }, i) => {
      if (!record) return
      const longestMs = Math.max(lifeMs, this.acks[i]!.longestMs)
      this.transaction.copyToOthers(key, this.keys[i]!.replicas, record, longestMs, this.usable)
    })
  }

  private noteTurnedAway(): void {
    for (const node of this.turnedAway.splice(0)) this.missed(node, 'it had another epoch')
  }

  private missedOnce(node: Node, why: string): void {
    if (!this.failed.has(node)) this.missed(node, why)
    this.failed.set(node, why)
  }

  private missed(node: Node, why: string, which: (i: number) => boolean = () => true): void {
    this.writes!.forEach(({ key, record }, i) => {
      if (record && which(i)) this.transaction.missed(node, why, key, record)
    })
  }

  /** Whether anything is stored at all, even if unchanged. */
  private get writesAnything(): boolean {
    return this.writes!.some(({ record }) => record !== null)
  }

  /** Whether the client changes something. */
  private get changesAnything(): boolean {
    return changesOf(this.modified!, this.keys).some((change) => change !== undefined)
  }

  private begin(): void {
    this.pending++
    this.transaction.context.background.begin()
  }

  private end(): void {
    this.pending--
    this.transaction.context.background.end()
  }
}
