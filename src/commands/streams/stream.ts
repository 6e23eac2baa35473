/**
 * A stream as commands see it: in one piece (stored.ts), or in parts (large/). One in parts reads the parts that a command
 * looks at, and no others: what is asked together is read together.
 */
import type { EntryRun } from './entry-run.ts'
import type { Group } from './groups.ts'
import type { StreamId } from './ids.ts'

/** What a stream knows beside its entries and groups. */
export interface StreamHead {
  readonly lastId: StreamId
  /** Of those that XDEL has deleted. */
  readonly maxDeletedId: StreamId
  /** Entries added so far, 64 bits without sign. */
  readonly added: bigint
}

/** What becomes of a stream; what is left out stays. */
export interface StreamChange extends Partial<StreamHead> {
  /** So many go, from the first on. */
  readonly trimmed?: number
  /** Behind the last one, with its id. */
  readonly entry?: { readonly id: StreamId; readonly bytes: Buffer }
  /** Ids of entries that are there, each once, in their order. */
  readonly deleted?: readonly StreamId[]
  readonly groups?: readonly Group[]
}

/** The entry with an id. */
export interface FoundEntry {
  readonly run: EntryRun
  readonly at: number
}

/** What is asked of it may throw DamagedCollection; of one in parts NeedsParts and PartsChanged as well. */
export interface Stream extends StreamHead {
  readonly length: number
  /** Of the first entry, 0-0 = there is none. */
  readonly firstId: StreamId
  /** Of the last entry that is still there, 0-0 = there is none. */
  readonly topId: StreamId
  /** By name. */
  readonly groups: readonly Group[]
  /** Of all groups. */
  readonly pendingBytes: number
  group(name: Buffer): Group | null
  /** The positions of the first entries with these ids or greater ones. */
  firstsFrom(ids: readonly StreamId[]): number[]
  /** The entries from `from` up to, without, `to`. */
  entries(from: number, to: number): EntryRun
  /** In the order of the ids; null = it is not there. */
  find(ids: readonly StreamId[]): (FoundEntry | null)[]
  with(change: StreamChange): ChangedStream
}

/** A stream to be stored. */
export interface ChangedStream {
  readonly count: number
  /** Of the entries alone. */
  readonly entryBytes: number
  /** Of the groups without what is pending. */
  readonly groupBytes: number
  readonly pendingBytes: number
  /** @throws RootTooLong, and what Stream throws */
  stored(): { readonly value: Buffer; readonly changedParts?: ReadonlyMap<number, Buffer | null> }
}

/** The first one with this id or a greater one. */
export function firstFrom(stream: Stream, id: StreamId): number {
  return stream.firstsFrom([id])[0]!
}

export function groupNamed(groups: readonly Group[], name: Buffer): Group | null {
  return groups.find((group) => group.name.equals(name)) ?? null
}
