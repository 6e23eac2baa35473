/**
 * The nodes for a key, and when enough of them agree.
 *
 * While members change, a key whose home replicas change has two sets of them: the voting set, which holds everything that
 * was acknowledged, and the other one, which receives it, or has handed it over:
 *
 *   voters A B C,  others B C D        homes  A B C | D     all of them get every write
 *
 *   what is current      a majority of the voters says it                              hasVotes
 *   what is held         a majority of each set holds it, so that whichever of them    isHeld
 *                        votes next knows it
 *
 * Otherwise there is one set, and both are the same: R + W > N (core/consistency.ts).
 */
import { required, type ConsistencyLevel } from './consistency.ts'

/** Of a placement, and of what was planned under it. */
export interface Epochs {
  /** Grows with every step of a change of members. */
  readonly epoch: number
  /** The first epoch of the last change. */
  readonly since: number
}

/** What is known of a node that answered: by the marker that the answer was fenced with. */
export interface Answering {
  /** It holds all acknowledged writes. */
  readonly clean: boolean
  /** The epoch that the node has. */
  readonly epoch: number
}

/** A set that does not hold something yet. */
export interface Lacking<T> {
  readonly set: readonly T[]
  /** While members change: whether they are the home replicas before that, or after it. */
  readonly when: 'now' | 'before' | 'after'
  /** So many of them do, or can. */
  readonly held: number
  readonly required: number
}

export class ReplicaSet<T> {
  /** Of the placement. */
  readonly epoch: number
  /** The first epoch of the last change of members. */
  readonly since: number
  /**
   * The home replicas, the primary first: N of them, or all nodes if there are fewer. While they change: the voters, then
   * those that are only in the other set.
   */
  readonly homes: readonly T[]
  /** The first so many of `homes` vote. */
  readonly voters: number
  /** The nodes that take copies in place of unavailable home replicas, in this order. */
  readonly fallbacks: readonly T[]
  /** The preference list: home replicas, then fallback replicas. */
  readonly preference: readonly T[]
  /** By the index in `homes`: whether it is in the other set; null = there is none. */
  private readonly inOther: readonly boolean[] | null
  private readonly others: number
  /** The other set is still being filled. */
  private readonly isReceiving: boolean
  /** The first home replica of the former set, once the next one votes: it decided at `one` before. */
  readonly formerFirst: T | null
  /**
   * By the index in `homes`: whether it has to be brought what the former set holds. Those that are in both sets as well,
   * where they are too few: what a majority of A B C holds, one of A B may lack, and two of two must hold it.
   */
  private readonly isGaining: readonly boolean[] | null

  /**
   * @param preference starts with the home replicas of the one set
   * @param replicas N
   */
  static stable<T>(epochs: Epochs, preference: readonly T[], replicas: number): ReplicaSet<T> {
    const homes = Object.freeze(preference.slice(0, replicas))
    const fallbacks = preference.slice(replicas)
    return new ReplicaSet(epochs, homes, homes.length, null, fallbacks, preference, false, null)
  }

  /**
   * @param rest nodes of neither set, in the order in which they take copies
   * @param isReceiving the other set is still being filled
   */
  static joint<T>(
    epochs: Epochs,
    voters: readonly T[],
    others: readonly T[],
    rest: readonly T[],
    isReceiving = false,
  ): ReplicaSet<T> {
    const homes = Object.freeze([...voters, ...others.filter((node) => !voters.includes(node))])
    const inOther = homes.map((home) => others.includes(home))
    const preference = [...homes, ...rest]
    const former = isReceiving ? null : (others[0] ?? null)
    return new ReplicaSet(epochs, homes, voters.length, inOther, rest, preference, isReceiving, former)
  }

  private constructor(
    { epoch, since }: Epochs,
    homes: readonly T[],
    voters: number,
    inOther: readonly boolean[] | null,
    fallbacks: readonly T[],
    preference: readonly T[],
    isReceiving: boolean,
    formerFirst: T | null,
  ) {
    this.formerFirst = formerFirst
    this.epoch = epoch
    this.since = since
    this.isReceiving = isReceiving
    this.homes = homes
    this.voters = voters
    this.inOther = inOther
    this.others = inOther?.filter(Boolean).length ?? 0
    this.fallbacks = Object.freeze(fallbacks)
    this.preference = Object.freeze(preference)
    this.isGaining = inOther && this.gaining(inOther)
    Object.freeze(this)
  }

  private gaining(inOther: readonly boolean[]): boolean[] {
    const isVoter = (place: number) => place < this.voters
    const [isFormer, isNext] = this.isReceiving
      ? [isVoter, (place: number) => inOther[place]!]
      : [(place: number) => inOther[place]!, isVoter]
    const places = [...this.homes.keys()]
    const former = places.filter(isFormer)
    const next = places.filter(isNext)
    const leaving = former.filter((place) => !isNext(place)).length
    const entering = next.filter((place) => !isFormer(place)).length
    const held = required('quorum', former.length) - leaving + entering
    const isEnough = held >= required('quorum', next.length)
    return places.map((place) => isNext(place) && (!isFormer(place) || !isEnough))
  }

  /** The home replicas change. */
  get isJoint(): boolean {
    return this.inOther !== null
  }

  /**
   * Whether an answer is one of this epoch: the node does not refuse operations from this epoch yet, as it does from the
   * next change on, and does refuse those from before the last change.
   */
  isOfEpoch({ epoch }: Pick<Answering, 'epoch'>): boolean {
    return epoch <= this.epoch && epoch >= this.since
  }

  /** Whether what a voter says is current counts. */
  trusts(answering: Answering): boolean {
    return answering.clean && this.isOfEpoch(answering)
  }

  /**
   * Whether the ack of a home replica counts. One that is being filled in the course of the change may ack what it is
   * sent: it votes only once it has received the rest.
   *
   * @param place index in `homes`
   */
  holdsBy(answering: Answering, place: number): boolean {
    return this.isOfEpoch(answering) && this.mayHold(answering.clean, place)
  }

  /** The same, as far as it is known before it is asked. */
  mayHold(clean: boolean, place: number): boolean {
    return clean || (this.isReceiving && place >= this.voters)
  }

  /**
   * Whether the home replica lacks what the former set holds, until it was brought that by the change of members.
   *
   * @param place index in `homes`, -1 = it is none
   */
  isGainedBy(place: number): boolean {
    return this.isGaining?.[place] ?? false
  }

  /** So many voters hold every write that a majority of them holds. */
  get sufficient(): number {
    return this.voters - required('quorum', this.voters) + 1
  }

  /** How many of the voters must answer. */
  required(level: ConsistencyLevel): number {
    return required(level, this.voters)
  }

  /** @param among indexes in `homes`, each once */
  hasVotes(among: readonly number[], level: ConsistencyLevel): boolean {
    let votes = 0
    for (const place of among) if (place >= 0 && place < this.voters) votes++
    return votes >= required(level, this.voters)
  }

  /** @param among indexes in `homes`, each once */
  isHeld(among: readonly number[], level: ConsistencyLevel): boolean {
    if (!this.hasVotes(among, level)) return false
    if (this.inOther === null) return true
    let held = 0
    for (const place of among) if (this.inOther[place] === true) held++
    return held >= required(level, this.others)
  }

  /**
   * Which of the sets these are too few of; the first, if that is both.
   *
   * @param among indexes in `homes`, each once, for which isHeld() is false
   */
  lacking(among: readonly number[], level: ConsistencyLevel): Lacking<T> {
    const isOther = this.inOther !== null && this.hasVotes(among, level)
    const isIn = (place: number) => (isOther ? this.inOther[place]! : place < this.voters)
    const set = this.homes.filter((_, place) => isIn(place))
    const former = this.isReceiving ? !isOther : isOther
    return {
      set,
      when: this.inOther === null ? 'now' : former ? 'before' : 'after',
      held: among.filter((place) => place >= 0 && isIn(place)).length,
      required: required(level, set.length),
    }
  }

  /** The same nodes have the same parts: keys with such sets can be changed together. */
  isLike(set: ReplicaSet<T>): boolean {
    if (this === set) return true
    const { homes, inOther, voters } = this
    return (
      voters === set.voters &&
      homes.length === set.homes.length &&
      homes.every((home, i) => home === set.homes[i] && inOther?.[i] === set.inOther?.[i])
    )
  }
}
