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
 * While members change, a placement is joint: it has two rings, and a key has the home replicas of both (replica-set.ts),
 * unless they are the same. Its ranges are those between the vnodes of both rings:
 *
 *   voting ring     ├────── A ──────┤├──────── B ────────┤
 *   other ring      ├── A ──┤├────── D ──────┤├──── B ───┤
 *   ranges          ├── A ──┤├─ A D ┤├─ B D ─┤├──── B ───┤
 *
 * Performance: the replica sets are made with the placement, one for each distinct preference list, so a lookup costs
 * what the ring's does and allocates nothing. With N of eight or more the ring's lists are too short, and each lookup
 * walks the ring. A joint placement looks up both rings.
 */
import { required } from './consistency.ts'
import { ReplicaSet, type Epochs } from './replica-set.ts'
import { LISTED_NODES, Ring, type RingNode, type RingShape, type TokenRange } from './ring.ts'
import { tokenOf } from './token.ts'

export interface PlacementOptions<T extends RingNode> {
  /** Grows with every change of the members. */
  readonly epoch: number
  /** The first epoch of the last change (core/topology.ts). By default 1: there was none. */
  readonly since?: number
  readonly members: Iterable<T>
  /** N: how many home replicas a key has, as far as there are members. */
  readonly replicationFactor: number
  /** Vnodes of a member of weight 1. */
  readonly vnodesPerNode: number
  /** Weight and zone of a member on this ring; by default its own. */
  readonly shapeOf?: (member: T) => RingShape
  /**
   * Members that are gone for good, with what they held. Where they leave less than a majority of a replica set, those that
   * are left are the set; where they leave none, the next nodes in the order are, with the copies that they took.
   */
  readonly lost?: ReadonlySet<T>
}

export class Placement<T extends RingNode = RingNode> {
  readonly epoch: number
  /** The first epoch of the last change: an answer from before it counts for nothing. */
  readonly since: number
  /** The ring of the voting sets. */
  readonly ring: Ring<T>
  /** N: the number of voters of a key. */
  readonly replicas: number
  /** All nodes that hold keys, sorted by id. */
  readonly members: readonly T[]
  /** The placement of the other sets; null = there are none. */
  private readonly other: Placement<T> | null
  private readonly isReceiving: boolean
  private readonly lost: ReadonlySet<T>
  /** By the index of the vnode that a key belongs to; null = walk the ring instead. */
  private readonly sets: readonly ReplicaSet<T>[] | null
  /** Where the ranges of a joint placement end, sorted. */
  private readonly ends: Uint32Array | null
  /** The joint sets, by the sets that they join. */
  private readonly joined = new Map<ReplicaSet<T>, Map<ReplicaSet<T>, ReplicaSet<T>>>()

  /** @throws Error, RangeError as `Ring.of` */
  static of<T extends RingNode>(options: PlacementOptions<T>): Placement<T> {
    const { epoch, since = 1, members, replicationFactor, vnodesPerNode, shapeOf, lost } = options
    const ring = Ring.of(members, { vnodesPerNode, shapeOf })
    return new Placement({ epoch, since }, ring, replicationFactor, null, false, lost)
  }

  /**
   * For the time of a change.
   *
   * @param epochs its epoch, and the first one of the change
   * @param voting its sets hold all that was acknowledged
   * @param other the same nodes must be the same objects
   * @param isReceiving the other sets are still being filled
   */
  static joint<T extends RingNode>(
    epochs: Epochs,
    voting: Placement<T>,
    other: Placement<T>,
    isReceiving = false,
  ): Placement<T> {
    return new Placement(epochs, voting.ring, voting.replicas, other, isReceiving, voting.lost)
  }

  private constructor(
    { epoch, since }: Epochs,
    ring: Ring<T>,
    replicationFactor: number,
    other: Placement<T> | null,
    isReceiving: boolean,
    lost: ReadonlySet<T> = new Set(),
  ) {
    this.epoch = epoch
    this.since = since
    this.isReceiving = isReceiving
    this.lost = lost
    this.ring = ring
    this.replicas = Math.min(replicationFactor, ring.nodes.length)
    this.other = other
    this.sets = this.replicas < LISTED_NODES ? this.makeSets() : null
    this.members = other ? united(ring.nodes, other.members) : ring.nodes
    this.ends = other && endsOf(ring, other.ring)
    Object.freeze(this)
  }

  /** Members change: some keys have two sets of home replicas. */
  get isJoint(): boolean {
    return this.other !== null
  }

  /** N − Q + 1: so many home replicas of a key hold every write that a majority holds. */
  get sufficient(): number {
    return this.replicas - required('quorum', this.replicas) + 1
  }

  /** The same for placements that look for every key on the same nodes, whatever their epoch. */
  get fingerprint(): string {
    const own = `${this.ring.checksum} ${this.replicas}`
    return this.other ? `${own} and ${this.other.fingerprint}` : own
  }

  /** The replica set of a key. */
  replicaSetOf(key: Uint8Array): ReplicaSet<T> {
    return this.replicaSetAt(tokenOf(key))
  }

  /** The same for callers that have the key's token (uint32) already. */
  replicaSetAt(token: number): ReplicaSet<T> {
    const set =
      this.sets === null ? this.setOf([...this.ring.walkAt(token)]) : this.sets[this.ring.indexAt(token)]!
    return this.other === null ? set : this.join(set, this.other, token)
  }

  // ---- ranges: all keys in one have the same replica set

  /** Number of ranges. */
  get size(): number {
    return this.ends?.length ?? this.ring.size
  }

  /** Index (0 … size − 1) of the range that a token (uint32) lies in. */
  rangeIndexAt(token: number): number {
    return this.ends ? firstFrom(this.ends, token) : this.ring.indexAt(token)
  }

  /** The ranges in the order of the ring, with their replica sets; many sets come more than once. */
  *ranges(): Generator<{ readonly range: TokenRange; readonly set: ReplicaSet<T> }> {
    const endAt = (i: number) => (this.ends ? this.ends[i]! : this.ring.vnodeAt(i).token)
    for (let i = 0; i < this.size; i++) {
      const end = endAt(i)
      // Of vnodes that share a token only the first has keys.
      const before = endAt(i === 0 ? this.size - 1 : i - 1)
      const range = this.ends ? { start: before, end } : this.ring.rangeOf(end)
      yield { range, set: this.replicaSetAt(end) }
    }
  }

  /** The replica set of every range. */
  *replicaSets(): Generator<ReplicaSet<T>> {
    for (const { set } of this.ranges()) yield set
  }

  private makeSets(): ReplicaSet<T>[] {
    const shared = new Map<readonly T[], ReplicaSet<T>>()
    return Array.from({ length: this.ring.size }, (_, i) => {
      const { token } = this.ring.vnodeAt(i)
      // All of a list may be lost.
      const preference =
        this.lost.size === 0 ? this.ring.preferenceListAt(token) : [...this.ring.walkAt(token)]
      let set = shared.get(preference)
      if (!set) shared.set(preference, (set = this.setOf(preference)))
      return set
    })
  }

  private setOf(preference: readonly T[]): ReplicaSet<T> {
    const { replicas, lost } = this
    if (lost.size === 0) return ReplicaSet.stable(this, preference, replicas)
    const survivors = preference.slice(0, replicas).filter((home) => !lost.has(home))
    if (survivors.length >= required('quorum', replicas)) return ReplicaSet.stable(this, preference, replicas)
    const left = preference.filter((node) => !lost.has(node))
    // Its own first homes come first in it.
    return ReplicaSet.stable(this, left, survivors.length || Math.min(replicas, left.length))
  }

  private join(voting: ReplicaSet<T>, placement: Placement<T>, token: number): ReplicaSet<T> {
    const other = placement.replicaSetAt(token)
    // Sets that are made by walking the ring are new each time.
    if (this.sets === null || placement.sets === null) return this.joinedOf(voting, other)
    let byOther = this.joined.get(voting)
    if (!byOther) this.joined.set(voting, (byOther = new Map<ReplicaSet<T>, ReplicaSet<T>>()))
    let set = byOther.get(other)
    if (!set) byOther.set(other, (set = this.joinedOf(voting, other)))
    return set
  }

  private joinedOf(voting: ReplicaSet<T>, other: ReplicaSet<T>): ReplicaSet<T> {
    const all = [...new Set([...voting.preference, ...other.preference])]
    const rest = all.filter((node) => !voting.homes.includes(node) && !other.homes.includes(node))
    // Where only the first home replica changes, decisions at `one` move from one to the other.
    const isSame =
      voting.homes[0] === other.homes[0] &&
      voting.homes.length === other.homes.length &&
      voting.homes.every((home) => other.homes.includes(home))
    return isSame
      ? ReplicaSet.stable(this, [...voting.homes, ...rest], voting.homes.length)
      : ReplicaSet.joint(this, voting.homes, other.homes, rest, this.isReceiving)
  }
}

function united<T extends RingNode>(one: readonly T[], two: readonly T[]): readonly T[] {
  return Object.freeze([...new Set([...one, ...two])].sort((a, b) => (a.id < b.id ? -1 : 1)))
}

function endsOf(one: Ring, two: Ring): Uint32Array {
  const tokens = new Set<number>()
  for (const ring of [one, two]) for (let i = 0; i < ring.size; i++) tokens.add(ring.vnodeAt(i).token)
  return Uint32Array.from(tokens).sort()
}

/** Index of the first token at or after this one, clockwise. */
function firstFrom(tokens: Uint32Array, token: number): number {
  let low = 0
  let high = tokens.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (tokens[middle]! < token) low = middle + 1
    else high = middle
  }
  return low === tokens.length ? 0 : low
}
