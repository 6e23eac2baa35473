/**
 * Floors: what FLUSHALL and FLUSHDB leave behind in the topology (core/topology.ts). Whatever has no later version than its
 * floor does not exist, values that Rondo did not write among them.
 *
 *   of all databases   ├────────────┤                    the later one of both counts
 *   of database 3      ├─────────────────────┤
 *                                   older versions → nothing
 *
 * A node's answers are judged by the floors of the epoch that the node has (Fence.floors), where they arrive: this is the only
 * place that decides it, and nothing above the nodes sees what is below a floor.
 */
import { compareVersions, VERSION_ZERO, type Version } from './clock.ts'
import { RecordHead } from './codec.ts'
import { clientKey, outlivesFlushes, TAGS_DATABASE } from './keys.ts'
import { isPartKey, rootOf } from './part-keys.ts'

export interface Floor {
  /** Null = all. */
  readonly database: number | null
  readonly version: Version
}

/** Whether the floor of one is that of the other, too. */
export function covers(database: number | null, other: number | null): boolean {
  return database === null || database === other
}

export class Floors {
  readonly all: readonly Floor[]

  /** At least one; without any there is none of this class. */
  constructor(all: readonly Floor[]) {
    this.all = all
  }

  /** The floor of a key, by its name on the nodes; VERSION_ZERO = none, as for internal keys and scripts. */
  of(key: Buffer): Version {
    // What is flushed with a collection is flushed with its parts.
    const named = clientKey(isPartKey(key) ? rootOf(key) : key)
    let highest = VERSION_ZERO
    if (named === null || (named.database === TAGS_DATABASE && outlivesFlushes(key))) return highest
    for (const { database, version } of this.all) {
      if (covers(database, named.database) && compareVersions(version, highest) > 0) highest = version
    }
    return highest
  }

  /** Whether a record of this version counts as nothing. */
  isBelow(key: Buffer, version: Version): boolean {
    const floor = this.of(key)
    return floor !== VERSION_ZERO && compareVersions(version, floor) <= 0
  }
}

class Head extends RecordHead {}

/** The bytes that a node holds under a key, or of a record's start, as far as they exist. */
export function aboveFloor(
  floors: Floors | null | undefined,
  key: Buffer,
  bytes: Buffer | null,
): Buffer | null {
  return floors && bytes && floors.isBelow(key, new Head(bytes).version) ? null : bytes
}
