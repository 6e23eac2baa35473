/** Clients that wait until a key holds something for them, as commands and servers see it. */
import type { ConsistencyLevel } from '../../core/consistency.ts'

/** What a client waits for. */
export interface Waiting<T> {
  /** Stored names, each once, in the order in which they are looked at. */
  readonly keys: readonly Buffer[]
  /** What a key has to hold: KIND_LIST and so on. */
  readonly kind: number
  /** Those that wait in the same line at a key take turns, first come, first served; null = it takes nothing away. */
  readonly line: string | null
  /** An attempt is at all keys, whatever its place. */
  readonly isWhole: boolean
  readonly level: ConsistencyLevel
  /** 0 = for ever. */
  readonly timeoutMs: number
  readonly timedOut: T
  /** Nobody is there to get what it takes. */
  readonly isGone: () => boolean
  /**
   * Looks once, and takes what it finds. It never runs twice at once.
   *
   * @param place of the key in `keys` @param turn to be asked, and told, whenever it is decided what is taken
   * @throws RondoError
   */
  attempt(place: number, turn: Turn): Promise<Attempt<T>>
}

/** Of an attempt among those of one line that run at once. */
export interface Turn {
  /** All before it have found something. Otherwise it takes nothing, even if something is there by now. */
  mayTake(): boolean
  hasFound(isFound: boolean): void
}

export type Attempt<T> =
  | { readonly kind: 'nothing' }
  /** The key holds something of another type. Whoever has waited goes on, and for others it is the answer. */
  | { readonly kind: 'other-type'; readonly answer: T }
  | {
      readonly kind: 'answer'
      readonly answer: T
      /** Puts back what was taken; null = nothing was. @throws RondoError */
      readonly giveBack: (() => Promise<void>) | null
    }

/** What a client gets. */
export interface Handed<T> {
  readonly answer: T
  /** It had to wait for it. */
  readonly hasWaited: boolean
  /** The client does not get it: puts back what was taken. */
  readonly giveBack: (() => void) | null
}

/** A client that waits. */
export interface Wait<T> {
  /** Rejects with a RondoError if it cannot be known what was taken, or waiting is of no use. */
  readonly result: Promise<Handed<T>>
  /** It has found nothing at first. */
  readonly isBlocked: boolean
  /** Ends it with this answer, or as if its time were over; unless it is just getting another one. */
  end(answer?: T): void
}

export interface Waiters {
  /** How many clients of this coordinator wait now. */
  readonly blocked: number
  wait<T>(waiting: Waiting<T>): Wait<T>
}
