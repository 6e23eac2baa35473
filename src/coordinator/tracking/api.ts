/** Telling clients which keys change, so that they may keep values themselves (CLIENT TRACKING). */
import type { Requester } from '../requester.ts'

/** A client that keeps values. */
export interface KeyTracker {
  /** Changes by this connection are not told (NOLOOP); null = all are. */
  readonly ignores: Requester | null
  /**
   * Never throws, and never waits.
   *
   * @param keys by their names on the nodes; null = all
   */
  changed(keys: readonly Buffer[] | null): void
}

export interface TrackingCounts {
  readonly trackers: number
  /** Keys that some tracker has read. */
  readonly keys: number
  /** Pairs of a key and a tracker that has read it. */
  readonly items: number
  /** Different ones that are broadcast. */
  readonly prefixes: number
  /** Nodes that tell which keys change. */
  readonly nodes: number
  // Since the start: keys told to trackers, of these those for which there was no room, and times that all keys were told.
  readonly told: number
  readonly evicted: number
  readonly flushes: number
}

export interface Tracking {
  readonly counts: TrackingCounts
  /**
   * @param prefixes by the names that clients use, in any database; null = it is told of keys that it has read
   * @returns resolves when the nodes tell of changes, as far as they can be reached; null = they do
   */
  begin(tracker: KeyTracker, prefixes: readonly Buffer[] | null): Promise<void> | null
  /** It is told nothing more. */
  end(tracker: KeyTracker): void
  /**
   * It is about to read these keys, and may keep what it gets until it is told. Call it before the read begins.
   *
   * @param keys by their names on the nodes
   */
  remember(tracker: KeyTracker, keys: readonly Buffer[]): void
}
