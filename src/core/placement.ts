/**
 * Placement: which nodes hold which key, for one state of the cluster's members. An immutable value; a change of the
 * members makes a new one with a later epoch, and swaps it whole.
 *
 *   placement (epoch 7) ──▶ replica set of a key ──▶ homes      A B C     N nodes, whatever their health
 *                                                └─▶ fallbacks  D E       in the order in which they take copies
 *
 * An operation takes its replica set once, when it starts, and keeps it until it ends: whatever changes meanwhile, it
 * counts the answers of these nodes.
 *
 * Performance: the replica sets are made with the placement, one for each distinct preference list, so a lookup costs
 * what the ring's does and allocates nothing. With N of eight or more the ring's lists are too short, and each lookup
 * walks the ring.
 */
import { required } from './consistency.ts'
import { LISTED_NODES, Ring, type RingNode } from './ring.ts'
import { tokenOf } from './token.ts'

/** The nodes for a key. */
export interface ReplicaSet<T> {
  /** Of the placement. */
  readonly epoch: number
  /** The home replicas, the primary first: N of them, or all nodes if there are fewer. */
  readonly homes: readonly T[]
  /** The nodes that take copies in place of unavailable home replicas, in this order. */
  readonly fallbacks: readonly T[]
  /** The preference list: home replicas, then fallback replicas. */
  readonly preference: readonly T[]
}

export interface PlacementOptions<T extends RingNode> {
  /** Grows with every change of the members. */
  readonly epoch: number
  readonly members: Iterable<T>
  /** N: how many home replicas a key has, as far as there are members. */
  readonly replicationFactor: number
  /** Vnodes of a member of weight 1. */
  readonly vnodesPerNode: number
}

export class Placement<T extends RingNode = RingNode> {
  readonly epoch: number
  readonly ring: Ring<T>
  /** N: the number of home replicas of a key. */
  readonly replicas: number
  /** By the index of the vnode that a key belongs to; null = walk the ring instead. */
  private readonly sets: readonly ReplicaSet<T>[] | null

  /** @throws Error, RangeError as `Ring.of` */
  static of<T extends RingNode>(options: PlacementOptions<T>): Placement<T> {
    const { epoch, members, replicationFactor, vnodesPerNode } = options
    return new Placement(epoch, Ring.of(members, { vnodesPerNode }), replicationFactor)
  }

  private constructor(epoch: number, ring: Ring<T>, replicationFactor: number) {
    this.epoch = epoch
    this.ring = ring
    this.replicas = Math.min(replicationFactor, ring.nodes.length)
    this.sets = this.replicas < LISTED_NODES ? this.makeSets() : null
    Object.freeze(this)
  }

  /** N − Q + 1: so many home replicas of a key hold every write that a majority holds. */
  get sufficient(): number {
    return this.replicas - required('quorum', this.replicas) + 1
  }

  /** The same for placements that look for every key on the same nodes, whatever their epoch. */
  get fingerprint(): string {
    return `${this.ring.checksum} ${this.replicas}`
  }

  /** Sorted by id. */
  get members(): readonly T[] {
    return this.ring.nodes
  }

  /** The replica set of a key. */
  replicaSetOf(key: Uint8Array): ReplicaSet<T> {
    return this.replicaSetAt(tokenOf(key))
  }

  /** The same for callers that have the key's token (uint32) already. */
  replicaSetAt(token: number): ReplicaSet<T> {
    return this.sets === null
      ? this.setOf([...this.ring.walkAt(token)])
      : this.sets[this.ring.indexAt(token)]!
  }

  /** The replica set of every token range of the ring, in the order of the ring; many come more than once. */
  *replicaSets(): Generator<ReplicaSet<T>> {
    for (let i = 0; i < this.ring.size; i++) yield this.replicaSetAt(this.ring.vnodeAt(i).token)
  }

  private makeSets(): ReplicaSet<T>[] {
    const shared = new Map<readonly T[], ReplicaSet<T>>()
    return Array.from({ length: this.ring.size }, (_, i) => {
      const preference = this.ring.preferenceListAt(this.ring.vnodeAt(i).token)
      let set = shared.get(preference)
      if (!set) shared.set(preference, (set = this.setOf(preference)))
      return set
    })
  }

  private setOf(preference: readonly T[]): ReplicaSet<T> {
    return Object.freeze({
      epoch: this.epoch,
      homes: Object.freeze(preference.slice(0, this.replicas)),
      fallbacks: Object.freeze(preference.slice(this.replicas)),
      preference,
    })
  }
}
