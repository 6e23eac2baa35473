/** What every operation of a coordinator needs. */
import type { Cluster } from '../cluster/cluster.ts'
import type { Member } from '../cluster/member.ts'
import type { Timers } from '../core/clock.ts'
import type { Deadlines } from '../core/deadlines.ts'
import type { RondoError } from '../core/errors.ts'
import { tokenOf } from '../core/token.ts'
import type { Asker } from './asker.ts'
import type { Background } from './background.ts'
import type { Hedging } from './read/hedging.ts'
import type { Sizes } from './admission/sizes.ts'

export interface CoordinatorContext {
  readonly cluster: Cluster
  readonly background: Background
  readonly deadlines: Deadlines
  readonly hedging: Hedging
  readonly sizes: Sizes
  /** N: how many home replicas a key has; never more than there are members. */
  readonly replicas: number
  /** How many healthy nodes one operation at `one` may try. */
  readonly maxTries: number
  readonly graceMs: number
  readonly requestTimeoutMs: number
  readonly timers: Timers
  /** A number from 0 up to 1. */
  readonly random: () => number
}

/** Whoever waits for an operation. Exactly one call, exactly once, never before the operation was started. */
export interface Failing {
  /** Who asks. */
  readonly asker?: Asker
  failed(error: RondoError): void
}

/** The nodes for this key, home replicas first, then fallback replicas. */
export function preferenceListOf({ cluster, replicas }: CoordinatorContext, key: Buffer): readonly Member[] {
  return cluster.preferenceListAt(tokenOf(key), replicas)
}

/** The member in a preference list that is this node. */
export function positionOf(members: readonly Member[], node: object): number {
  for (let i = 0; i < members.length; i++) if (members[i]!.node === node) return i
  return -1
}
