/**
 * Events of the lower layers: transitions, not attempts. telemetry/telemetry.ts turns them into log lines and metrics,
 * so that no lower layer needs a logger.
 */
export type NodeState = 'up' | 'suspect' | 'down'

/**
 * Whether a node holds all acknowledged writes, and nothing that was deleted. `unknown`: its marker was not read yet;
 * `stale`: it was not compared with others for longer than tombstones are kept; `refused`: it is not ours.
 */
export type Completeness = 'unknown' | 'clean' | 'filling' | 'stale' | 'refused'

/**
 * What became of a MULTI over keys that do not share a replica set: its commands were executed one by one, or it was
 * refused, by the setting or because it watched keys.
 */
export type CrossSetOutcome = 'unordered' | 'refuse' | 'refuse-watch'

export type SnapshotWork = 'snapshot' | 'restore'

export type RondoEvent =
  | { kind: 'node-state'; node: string; from: NodeState; to: NodeState; why: string }
  | { kind: 'node-completeness'; node: string; from: Completeness; to: Completeness; why: string }
  | { kind: 'node-writable'; node: string; writable: boolean; why: string; unlogged?: number }
  | { kind: 'node-behind'; node: string; why: string }
  | { kind: 'node-clock'; node: string; offMs: number; far: boolean }
  | { kind: 'node-evicting'; node: string; policy: string; evictedKeys: number }
  /** The node evicts keys when it is full, by this policy. */
  | { kind: 'eviction-policy'; node: string; policy: string }
  | { kind: 'node-caught-up'; node: string }
  | { kind: 'fill'; node: string; state: 'started' | 'finished'; checked: number; sent: number }
  /** A memory node reads what it has on its disk. */
  | { kind: 'disk-loading'; node: string; bytes: number; keys: number }
  /** `lost`: acknowledged writes may be missing. */
  | { kind: 'disk-loaded'; node: string; keys: number; bytes: number; ms: number; lost: boolean }
  /** The end of its log was never written completely, and is cut off. */
  | { kind: 'disk-torn'; node: string; path: string; file: string; at: number; bytes: number }
  | { kind: 'disk-damaged'; node: string; path: string; file: string; at: number; why: string }
  /** Its log cannot be written: it takes no writes. */
  | { kind: 'disk-failed'; node: string; path: string; why: string }
  | { kind: 'disk-recovered'; node: string; path: string }
  | { kind: 'disk-snapshot'; node: string; path: string; entries: number; bytes: number; ms: number }
  | { kind: 'disk-snapshot-failed'; node: string; path: string; why: string }
  /** The process that used the folder before has ended without giving it back. */
  | { kind: 'disk-lock-stale'; path: string; pid: number }
  | { kind: 'stale-dropped'; node: string; state: 'started' | 'finished'; dropped: number }
  | { kind: 'stale-kept'; node: string; sinceMs: number }
  | { kind: 'data-loss-possible'; node: string }
  | { kind: 'hints-delivered'; node: string; hints: number }
  /** Its marker was lost, or replaced by one that is not ours. */
  | { kind: 'marker-mismatch'; node: string }
  /** Another coordinator has given it a new marker, after a restart or because it lost data. */
  | { kind: 'marker-changed'; node: string; restarted: boolean }
  /** Its data is older than this coordinator, or most other nodes, know of. */
  | { kind: 'node-older'; node: string; sinceMs: number; othersMs: number }
  /** `about`: estimated from some of its keys. */
  | { kind: 'node-had-keys'; node: string; keys: number; about: boolean }
  /** So many large collections were deleted since the last event: parts of them were on no replica. */
  | { kind: 'collection-lost'; times: number }
  | { kind: 'keys-misplaced'; node: string; keys: number }
  | { kind: 'cluster-known'; cluster: string; founded: boolean }
  | { kind: 'cluster-left'; cluster: string; members: number; other: string; otherMembers: number }
  /** `reached`: members without a marker. `refused`: those whose markers do not have the ids of REDIS_URLS. */
  | { kind: 'cluster-waiting'; reached: number; needed: number; members: number; refused: number }
  /** None of the nodes that were reached belongs to the cluster that this coordinator is told to use. */
  | { kind: 'cluster-missing'; cluster: string; reached: number; others: readonly string[] }
  /** A node does not let this coordinator listen to announcements of changes. */
  | { kind: 'announcements-refused'; node: string; why: string }
  /** Why nothing is kept of a node in the near cache; null = it is again. */
  | { kind: 'near-cache'; node: string; why: string | null }
  /** Why a node that is up carries no messages of clients (pub/sub); null = it does again. */
  | { kind: 'messages-unavailable'; node: string; why: string | null }
  /** Why a node does not tell which keys change (CLIENT TRACKING); null = it does again. */
  | { kind: 'tracking-unavailable'; node: string; why: string | null }
  /** Subscribers were cut because they read too slowly. `before`: how many since the last line. */
  | { kind: 'subscriber-cut'; client: string; bytes: number; before: number }
  /** What is wrong with the answers of a member's Sentinels; null = nothing any more. */
  | { kind: 'sentinels-unclear'; node: string; why: string | null }
  /** Sentinels have made another server the primary of a member. `waiting`: it is not used yet, and why. */
  /** What a script has told with redis.log. */
  | { kind: 'script-log'; level: 'debug' | 'verbose' | 'notice' | 'warning'; sha: string; text: string }
  | {
      kind: 'failover'
      node: string
      from: string
      to: string
      state: 'noticed' | 'waiting' | 'followed'
      why: string | null
    }
  | { kind: 'clusters-tied'; clusters: readonly string[]; each: number }
  | { kind: 'rings-differ'; differ: boolean }
  /** The cluster was founded with other nodes. `added`: those that do not hold their keys yet. */
  | { kind: 'members-differ'; missing: readonly string[]; added: readonly string[] }
  /** What answers at this address is not used any more. `url`: where its id is now; null = it is no member. */
  | { kind: 'node-dismissed'; node: string; address: string; url: string | null }
  /** A change of members had waited for its turn, and could not begin. `change`: its id and what it was about. */
  | { kind: 'change-dropped'; change: string; why: string }
  | { kind: 'change-undone'; change: string; why: string }
  /** Why the name of DISCOVERY_URL cannot be resolved; null = it can be again. */
  | { kind: 'discovery-name'; name: string; why: string | null }
  /** Servers that the name leads to join, or wait for their turn. */
  | { kind: 'discovered'; name: string; nodes: readonly string[]; waits: boolean }
  /** A server that the name leads to may not join. */
  | { kind: 'discovery-refused'; name: string; address: string; why: string }
  /** The name no longer leads to a member. */
  | { kind: 'discovery-gone'; name: string; node: string; address: string }
  | {
      kind: 'anti-entropy'
      result: 'complete' | 'partial' | 'stopped'
      why: readonly string[]
      startedAtMs: number
      ms: number
      checkedKeys: number
      rangesCompared: number
      rangesDiffering: number
      copied: number
      movedHome: number
      forgotten: number
      removedParts: number
      evicting: readonly string[]
    }
  /** A command of the Redis protocol failed on our side. `before`: failures of this kind since the last one reported. */
  | { kind: 'command-failed'; command: string; error: string; before: number }
  /** A client's MULTI over keys that do not share a replica set. */
  | { kind: 'cross-set-multi'; then: CrossSetOutcome }
  | {
      kind: 'flush'
      database: number | null
      deleted: number
      failed: number
      seconds: number
      finished: boolean
      /** Why it ended before the last key; null = it did not. */
      stopped: string | null
    }
  /** A delete job begins to run here, or goes on, or is done. */
  | {
      kind: 'delete-job'
      id: string
      database: number
      state: 'running' | 'done'
      deleted: number
      kept: number
    }
  /** Memory of flushed keys was given back. `more`: records since the last of these events. */
  | { kind: 'flushed'; node: string; dropped: number; more: number; seconds: number; finished: boolean }
  /** A connection to the RESP port that used another protocol: emitted once a minute per address. */
  | { kind: 'other-protocol'; address: string; protocol: 'tls' | 'http' | 'proxy' | 'binary' | 'unknown' }
  /** A wrong token, the count-th in a row from its address: emitted once a minute per address. */
  | { kind: 'token-refused'; address: string; server: 'http' | 'resp' | 'grpc'; count: number }
  /** Connections were closed because clients used too much memory (MAX_CLIENT_MEMORY). */
  | { kind: 'clients-cut'; connections: number; bytes: number }
  /** A connection of a client could not be accepted. */
  | { kind: 'accept-failed'; why: string }
  /** Calls of the origin (LOADER_URL) fail, or no longer do. */
  | { kind: 'origin'; failing: boolean; why: string | null }
  | { kind: 'snapshot-started'; what: SnapshotWork; name: string }
  | {
      kind: 'snapshot-finished'
      what: SnapshotWork
      name: string
      counts: Readonly<Record<string, number>>
      ms: number
    }
  /** `name`: null = it did not begin. */
  | { kind: 'snapshot-failed'; what: SnapshotWork; name: string | null; cancelled: boolean; why: string }
  /** One of the schedule's, because there are more than are kept. */
  | { kind: 'snapshot-removed'; name: string; keep: number }
  /** Files that were not finished, of processes that were killed, are deleted. */
  | { kind: 'snapshot-leftovers'; path: string; files: number }
  /** The folder for snapshots cannot be used. */
  | { kind: 'snapshot-folder'; path: string; why: string }
  | { kind: 'background-failed'; what: string; why: string }

export type Emit = (event: RondoEvent) => void
