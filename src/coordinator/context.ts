/** What every operation of a coordinator needs. */
import type { Cluster } from '../cluster/cluster.ts'
import type { Member } from '../cluster/member.ts'
import type { Timers } from '../core/clock.ts'
import type { Deadlines } from '../core/deadlines.ts'
import type { RondoError } from '../core/errors.ts'
import type { ReplicaSet } from '../core/replica-set.ts'
import type { ClientCall, Requester } from './requester.ts'
import type { Background } from './background.ts'
import type { Hedging } from './read/hedging.ts'
import type { BigKeys } from './usage/big-keys.ts'
import type { Sizes } from './admission/sizes.ts'
import type { StoredRecord } from '../core/codec.ts'
import type { ConsistencyLevel } from '../core/consistency.ts'
import type { KeyQueues } from './update/key-queues.ts'
import type { RoundTimes } from './update/round-times.ts'
import type { Contention } from './write/contention.ts'

export interface CoordinatorContext {
  readonly cluster: Cluster
  readonly background: Background
  readonly deadlines: Deadlines
  readonly hedging: Hedging
  readonly sizes: Sizes
  readonly queues: KeyQueues
  readonly contention: Contention
  readonly roundTimes: RoundTimes
  readonly tags: TagJudge
  /** Those who wait for what is stored. */
  readonly waiters: { stored(key: Buffer): void }
  /** Null = not watched. */
  readonly bigKeys: BigKeys | null
  /** How many healthy nodes one operation at `one` may try. */
  readonly maxTries: number
  readonly graceMs: number
  readonly requestTimeoutMs: number
  readonly timers: Timers
  /** Returns a number in [0, 1). */
  readonly random: () => number
}

/** Whether tagged values are there (tags/tags.ts). Untagged ones are not asked about. */
export interface TagJudge {
  /** @param judged gets the record itself, or, if one of its tags is gone, the same version as a deleted one */
  judge(
    record: StoredRecord,
    level: ConsistencyLevel,
    judged: (shown: StoredRecord) => void,
    failed: (error: RondoError) => void,
  ): void
  /** Sees to it that these tags are kept as long as a value that is stored with them. */
  lengthen(tags: Buffer, expiresAtMs: number): void
  /** Gives back the memory of a value whose tags are gone. */
  drop(key: Buffer, record: StoredRecord): void
}

/** The completion object of an operation. Exactly one of its methods is called, once, after the operation has started. */
export interface Failing {
  /** The connection that asks. */
  readonly requester?: Requester
  /** Where many requests share a connection: the one that asks. The operation ends when its client gives up. */
  readonly call?: ClientCall | undefined
  /** @param by if the error is what the nodes say of the key */
  failed(error: RondoError, by?: ServedBy): void
}

/** Who asks, for the completion object of an operation that another one needs. */
export function askedBy({ requester, call }: Failing): Pick<Failing, 'requester' | 'call'> {
  return { ...(requester && { requester }), ...(call && { call }) }
}

/**
 * The nodes that an answer is of. At `one` the one that answered, or, after a fault, those that were compared. At `quorum` and
 * `all` those that are known to hold what is answered: as many as the level needs, at least.
 */
export type ServedBy = Identified | readonly Identified[]

export interface Identified {
  readonly id: string
  /** For so long, what it holds was kept in this process (nodes/node.ts, Near). */
  readonly ageMs?: number
}

/** The nodes for a key. An operation takes them once and keeps them until it ends. */
export type Replicas = ReplicaSet<Member>

/** The nodes for the key as of now: the same, unless members have changed since. */
export function placedNow({ cluster }: CoordinatorContext, key: Buffer, replicas: Replicas): Replicas {
  const { placement } = cluster
  return placement.epoch === replicas.epoch ? replicas : placement.replicaSetOf(key)
}

/** The indexes of these nodes among the home replicas. */
export function placesOf(replicas: Replicas, nodes: Iterable<object>): number[] {
  const places: number[] = []
  for (const node of nodes) places.push(positionOf(replicas.homes, node))
  return places
}

/** The member of this node in a preference list that contains it. */
export function memberOf(members: readonly Member[], node: object): Member {
  return members[positionOf(members, node)]!
}

/** The index of this node's member in a preference list; -1 = not in it. */
export function positionOf(members: readonly Member[], node: object): number {
  for (let i = 0; i < members.length; i++) if (members[i]!.node === node) return i
  return -1
}
