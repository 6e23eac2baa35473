/**
 * The acks of one record from its home replicas: who holds it, and for how long.
 *
 * A copy counts only if it is kept as long as the longest-lived one; otherwise an older value that some replica still
 * returns could outlive it (core/lifetime.ts). Once a majority holds the record, the longest life among its copies is
 * long enough, because one of them replaced whatever was acknowledged before. Then the shorter ones are sent the record
 * again with that life, and count once they ack it. Usually all have replaced the same version, and nothing more is
 * sent.
 */
import { lastingCopy, type NewRecord } from '../../core/codec.ts'
import { LIFE_TOLERANCE_MS } from '../../core/lifetime.ts'
import type { Fence, Node, NodeFailure, StoreCall } from '../../nodes/node.ts'
import type { Answering } from '../../core/replica-set.ts'
import type { Member } from '../../cluster/member.ts'
import type { ConsistencyLevel } from '../../core/consistency.ts'
import { placesOf, positionOf, type CoordinatorContext, type Replicas } from '../context.ts'

interface Ack {
  readonly node: Node
  /** Only a clean replica counts, or one that the change of members fills. The others are lengthened too: they may vote later. */
  readonly counts: boolean
  keptMs: number
  /** The life that was last requested. */
  askedMs: number
}

export class Acks implements StoreCall {
  /** Pending lengthenings. */
  pending = 0
  /** The failure of the last lengthening that failed. */
  failure: NodeFailure | null = null

  private readonly context: CoordinatorContext
  private readonly key: Buffer
  private readonly record: NewRecord
  private readonly replicas: Replicas
  private readonly level: ConsistencyLevel
  private readonly changed: () => void
  private readonly acks: Ack[] = []
  private longest = 0

  /**
   * @param level quorum or all
   * @param changed called when a lengthening has ended
   */
  constructor(
    context: CoordinatorContext,
    key: Buffer,
    record: NewRecord,
    replicas: Replicas,
    level: ConsistencyLevel,
    changed: () => void,
  ) {
    this.context = context
    this.key = key
    this.record = record
    this.replicas = replicas
    this.level = level
    this.changed = changed
  }

  /** A home replica holds the record. */
  add(node: Node, answering: Answering, keptMs: number): void {
    this.note({ node, counts: this.counts(node, answering), keptMs, askedMs: keptMs })
  }

  /**
   * A clean home replica held the record and has replaced it with a newer one. Its life was at least the requested one,
   * and there is nothing left to lengthen.
   */
  addReplaced(node: Node, askedMs: number): void {
    this.note({ node, counts: true, keptMs: askedMs, askedMs: Infinity })
  }

  /** The home replicas that hold the record long enough, by their index. */
  get counted(): readonly number[] {
    return this.placesOf(({ counts, keptMs }) => counts && !this.isShort(keptMs))
  }

  /** The same. */
  get holders(): readonly Member[] {
    return this.counted.map((place) => this.replicas.homes[place]!)
  }

  /** So many of them as the level requires. */
  get areEnough(): boolean {
    return this.replicas.isHeld(this.counted, this.level)
  }

  /** The longest known life of a copy. */
  get longestMs(): number {
    return this.longest
  }

  private note(ack: Ack): void {
    this.acks.push(ack)
    if (ack.counts) this.longest = Math.max(this.longest, Math.min(ack.keptMs, this.context.graceMs))
    if (
      !this.replicas.isHeld(
        this.placesOf(({ counts }) => counts),
        this.level,
      )
    )
      return
    for (const other of this.acks) if (this.isShort(other.askedMs)) this.lengthen(other)
  }

  private counts(node: Node, answering: Answering): boolean {
    return this.replicas.holdsBy(answering, positionOf(this.replicas.homes, node))
  }

  private placesOf(which: (ack: Ack) => boolean): number[] {
    const nodes = this.acks.filter(which).map(({ node }) => node)
    return placesOf(this.replicas, nodes)
  }

  private isShort(lifeMs: number): boolean {
    return lifeMs < this.longest - LIFE_TOLERANCE_MS
  }

  private lengthen(ack: Ack): void {
    ack.askedMs = this.longest
    this.pending++
    this.context.background.begin()
    ack.node.store(this.key, lastingCopy(this.record), this.longest, this)
  }

  onApplied(node: Node, fence: Fence, keptMs: number): void {
    const ack = this.acks.find((one) => one.node === node)!
    if (this.counts(node, fence)) ack.keptMs = Math.max(ack.keptMs, keptMs)
    this.ended()
  }

  onStale(_node: Node, held: Buffer): void {
    this.context.cluster.versions.observe(held)
    this.ended()
  }

  onFailure(_node: Node, failure: NodeFailure): void {
    this.failure = failure
    this.ended()
  }

  private ended(): void {
    this.pending--
    this.context.background.end()
    this.changed()
  }
}
