/**
 * A run as data: what clients do, what goes wrong, and the seed of everything else (delays, turns). It is made from one
 * seed (make-schedule.ts), and can be cut down entry by entry (shrink.ts) and read by a person (print.ts).
 *
 * Times are virtual milliseconds since the cluster stood; with `epoch`, since the first node was marked with that epoch.
 */
import type { CollectionKind } from './collections.ts'
import type { WaitKind } from './waiting.ts'

export type QuorumKind =
  | 'read'
  | 'write'
  | 'delete'
  | 'nx'
  | 'cas'
  | 'incr'
  | 'take'
  | 'move'
  | 'total'
  | 'flush-all'
  | 'tag-write'
  | 'invalidate'
  | 'delete-job'
  | 'cached-read'
  | 'multi'
  | 'multi-total'
  | CollectionKind
  | WaitKind

/**
 * move takes an amount, `value`, from its key and gives it to the next one of these, in one transaction; total reads all of
 * them in one. So their sum stays 0. flush-all deletes all keys, at one moment.
 * tag-write writes a value with the only tag of the run, and invalidate lets all values go that have it.
 */
export const ACCOUNTS: readonly string[] = ['{accounts}a', '{accounts}b', '{accounts}c']

/** MULTI: multi adds its number to each of these, in the way of its type; multi-total reads all of them. */
export const OF_TYPES: readonly string[] = ['{types}list', '{types}hash', '{types}scores']

/** Every other move is made by a script, which does the same. */
export function isByScript({ kind, value }: Operation): boolean {
  return kind === 'move' && value % 4 === 3
}

/** The keys of an operation. */
export function keysOf({ kind, key }: Operation): readonly string[] {
  if (kind === 'total') return ACCOUNTS
  if (kind === 'multi' || kind === 'multi-total') return OF_TYPES
  if (kind === 'move') return [key, ACCOUNTS[(ACCOUNTS.indexOf(key) + 1) % ACCOUNTS.length]!]
  return [key]
}

interface Timed {
  /** Never, if no node is marked with it before all is healed. */
  readonly epoch?: number
}

export interface Operation extends Timed {
  readonly at: number
  readonly client: number
  /** Which coordinator it asks. */
  readonly coordinator: number
  readonly key: string
  readonly level: 'one' | 'quorum' | 'all'
  readonly kind: QuorumKind
  /** Unique in the run. */
  readonly value: number
  readonly ttlMs: number
  /** Who waits: how long; 0 = for ever. */
  readonly waitMs?: number
  /** The client goes away after this. */
  readonly leavesMs?: number
  /** After the element that it gets was there, or after it came itself. */
  readonly mustBeServedMs?: number
  /** After healing, beside others on the same key: of two updates that meet, one may not know what came of it. */
  readonly isContended?: boolean
}

export type Fault = Timed & Happening

type Happening =
  | {
      readonly kind: 'cut'
      at: number
      forMs: number
      coordinator: number
      server: number
      direction: 'to' | 'from' | 'both'
    }
  | { readonly kind: 'reset'; at: number; coordinator: number; server: number; loses: boolean }
  | { readonly kind: 'slow'; at: number; forMs: number; coordinator: number; server: number; extraMs: number }
  | { readonly kind: 'pause'; at: number; forMs: number; server: number }
  | { readonly kind: 'crash'; at: number; forMs: number; server: number; lostMs: number; noticed: boolean }
  | { readonly kind: 'wipe'; at: number; forMs: number; server: number; noticed: boolean }
  /** @param whenBrought at the end of the next fill: it is about to be declared clean */
  | { readonly kind: 'flush'; at: number; server: number; whenBrought?: boolean }
  | { readonly kind: 'swap'; at: number; forMs: number; server: number; other: number }
  | {
      readonly kind: 'refuse'
      at: number
      forMs: number
      server: number
      reason: 'out-of-memory' | 'read-only'
    }
  | { readonly kind: 'evict'; at: number; server: number; key: string }
  /** @param server ALL_SERVERS: somebody has set all of them wrong */
  | { readonly kind: 'clock'; at: number; server: number; offMs: number }
  | { readonly kind: 'wall'; at: number; coordinator: number; offMs: number }
  | { readonly kind: 'stall'; at: number; forMs: number; coordinator: number }
  | { readonly kind: 'kill'; at: number; forMs: number; coordinator: number }
  /** The connection on which a near cache hears of changes is held up, slow, or ends. */
  | {
      readonly kind: 'tracking'
      at: number
      forMs: number
      coordinator: number
      server: number
      how: 'to' | 'from' | 'slow' | 'reset'
    }
  /** Another server takes the place of a member; the former one goes on running. @param pick which of them */
  | { readonly kind: 'replace'; at: number; coordinator: number; pick: number }
  /** A member gets another address, by which the same server is reached. @param pick which of them */
  | { readonly kind: 'move'; at: number; coordinator: number; pick: number }
  /** @param join how many servers join @param leave how many members leave @param pick which of them */
  | {
      readonly kind: 'change'
      at: number
      coordinator: number
      join: number
      leave: number
      replicas: number | null
      pick: number
      /** Although another one may be asked for. */
      readonly beside?: boolean
    }
  | { readonly kind: 'cancel'; at: number; coordinator: number }
  /**
   * A server is gone, and only comes back when all is healed, with its old data: as a member that was not removed, or as a
   * former one, if it `returns`. @param isLoss although others may be gone, or lack data
   */
  | {
      readonly kind: 'die'
      at: number
      server: number
      noticed: boolean
      isLoss: boolean
      returns: boolean
    }
  /**
   * Sentinels make the replica of a member its primary, with what the former one held a while ago. @param runsMs the former one
   * hears of it after this; null = it has died
   */
  | { readonly kind: 'failover'; at: number; server: number; lostMs: number; runsMs: number | null }
  /**
   * Those of these servers that are gone are removed, whatever is lost with them if `acceptsLoss`; by naming the members that
   * are left, where a majority is gone.
   */
  | {
      readonly kind: 'remove'
      at: number
      coordinator: number
      servers: readonly number[]
      acceptsLoss: boolean
      /** The first coordinator that is asked for a recovery dies so long after that. */
      readonly diesMs?: number
    }

export type FaultKind = Fault['kind']

export interface Schedule {
  readonly seed: number
  /** The members that it is founded with. */
  readonly servers: number
  /** Servers that may join. Absent = the members never change. */
  readonly spares?: number
  readonly replicas: number
  readonly coordinators: number
  /** appendfsync always, on all of them. */
  readonly durable: boolean
  /** When the last fault must have ended; then the network is calm. */
  readonly healAt: number
  readonly operations: readonly Operation[]
  readonly faults: readonly Fault[]
  /** More replicas than a quorum can spare may lose data: only crashes and stuck requests are looked for. */
  readonly beyond: boolean
  /** Collections of two entries are stored in parts, and what nobody needs of them is removed by rounds of anti-entropy. */
  readonly isInParts?: boolean
  /** Then, of how many bytes; omitted = of very few. */
  readonly partBytes?: number
  /** The founding members are watched by Sentinels. */
  readonly areWatched?: boolean
  /** Coordinators have a near cache. */
  readonly isNear?: boolean
}

/** At the address of another server: a Redis of another cluster. */
export const FOREIGN_SERVER = -1
export const ALL_SERVERS = -2
