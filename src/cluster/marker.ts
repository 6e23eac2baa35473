/**
 * The marker: stored on each node under MARKER_KEY, it names the cluster and node id, and whether the node holds all
 * acknowledged writes. A restarted coordinator reads it again, and every batch ends by reading it.
 *
 * Any coordinator decides by what it finds, with compare-and-set:
 *
 *   no marker                               → filling, with a new token: the node is new, or was wiped or flushed
 *   another run id                          → filling: a restart may have lost the last acknowledged writes
 *   another run id, appendfsync always      → gets the new run id and keeps its state: a restart loses nothing
 *   another replication id (Sentinel)       → filling: it was a replica meanwhile, and took over what another server held
 *   a token that was replaced before        → filling: another node had this address meanwhile and took its writes
 *   another cluster's or another node's     → refused: nothing is written to it
 *
 * `drop_before` is set while a stale node is emptied, before it is filled (repair/stale.ts): older records are dropped.
 * A restart removes it, so that the decision to empty the node is made again.
 *
 * Pure.
 */
import { isName } from '../core/printable.ts'

/** Which topology the node has: operations that were planned under an earlier one count for nothing here. */
export interface MarkedTopology {
  readonly epoch: number
  /** core/topology.ts, sumOf */
  readonly sum: string
  /** The first epoch of the last change of which the node has received all; 0 = none. */
  readonly received: number
  /** Of the member that the node was, when it was marked (core/topology.ts); absent = 1. */
  readonly life?: number
}

export interface Marker {
  readonly cluster: string
  readonly id: string
  readonly runId: string
  /** Of a server that Sentinels watch: its replication id, which changes whenever a server is promoted. */
  readonly replid?: string
  /** Changes whenever a new fill starts, so that an outdated fill cannot mark the node clean. */
  readonly token: string
  readonly state: 'clean' | 'filling'
  /** The number of fills after which data may have been lost. */
  readonly epoch: number
  /** Absent = the first epoch. */
  readonly topology?: MarkedTopology
  /** Cluster time: older records are being dropped. */
  readonly dropBeforeMs?: number
}

export function encodeMarker(marker: Marker): Buffer {
  const { cluster, id, runId, replid, token, state, epoch, dropBeforeMs, topology } = marker
  const first = { cluster, id, run_id: runId, replid, token, state, epoch, drop_before: dropBeforeMs }
  // Releases without changes of members look for `state`, and refuse a node that has seen one.
  return Buffer.from(
    JSON.stringify(topology ? { ...first, version: 2, state: undefined, data: state, topology } : first),
  )
}

/**
 * Why the marker that was found is not the one from before.
 *
 * @param runId of the node now
 */
export function whyOtherMarker(before: Marker, found: Buffer | null, runId: string): string {
  const now = found && decodeMarker(found)
  const isSame = now !== null && hasLostNothing(before, now) && runId === before.runId
  return isSame ? 'the members have changed meanwhile' : 'it has lost its data, or was restarted, meanwhile'
}

/** The epoch that the node has. */
export function epochOf({ topology }: Marker): number {
  return topology?.epoch ?? 1
}

/** The node has lost nothing between the two; it may have been filled. */
export function hasLostNothing(from: Marker, to: Marker): boolean {
  const isSame = (['cluster', 'id', 'runId', 'replid', 'token', 'dropBeforeMs'] as const).every(
    (part) => from[part] === to[part],
  )
  return isSame && (from.state === to.state || to.state === 'clean')
}

/** Null for bytes that are not a marker. */
export function decodeMarker(bytes: Buffer): Marker | null {
  let found: unknown
  try {
    found = JSON.parse(bytes.toString('utf8'))
  } catch {
    return null // not written by Rondo: the caller refuses the node
  }
  if (typeof found !== 'object' || found === null) return null
  const {
    cluster,
    id,
    run_id: runId,
    replid,
    token,
    version,
    data,
    epoch,
    drop_before: dropBeforeMs,
    ...rest
  } = found as Record<string, unknown>
  const state = version === 2 ? data : rest.state
  const topology = version === 2 ? topologyIn(rest.topology) : undefined
  if (topology === null || (version !== undefined && version !== 2)) return null
  if (!isName(cluster) || !isName(id) || !isName(runId) || !isName(token)) return null
  if (replid !== undefined && !isName(replid)) return null
  if (typeof epoch !== 'number' || !Number.isSafeInteger(epoch)) return null
  if (state !== 'clean' && state !== 'filling') return null
  const named = { cluster, id, runId, ...(replid !== undefined && { replid }), token }
  const marker = { ...named, state, epoch, ...(topology && { topology }) } as const
  if (dropBeforeMs === undefined) return marker
  return typeof dropBeforeMs === 'number' && Number.isFinite(dropBeforeMs)
    ? { ...marker, dropBeforeMs }
    : null
}

function topologyIn(found: unknown): MarkedTopology | null {
  if (typeof found !== 'object' || found === null) return null
  const { epoch, sum, received, life = 1 } = found as Record<string, unknown>
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
  if (!isCount(epoch) || epoch < 2 || !isName(sum) || !isCount(received) || !isCount(life)) return null
  return { epoch, sum, received, ...(life > 1 && { life }) }
}

/** Why a node is not used that the configuration calls by another id, and what to do. */
function otherIdSentence({ cluster, id }: Marker, configuredId: string): string {
  return (
    `it is node ${id} of cluster ${cluster}, and REDIS_URLS calls it ${configuredId}: give it the id that it has ` +
    `there (${id}=host:port), or correct the address; a node whose data is not needed can be emptied with FLUSHALL`
  )
}

function otherClusterSentence({ cluster, id }: Marker): string {
  return (
    `it belongs to cluster ${cluster}, as node ${id}: correct its address in REDIS_URLS, ` +
    'or, if its data is not needed, empty it with FLUSHALL'
  )
}

const NO_MARKER =
  'its marker is not one of ours: another program wrote the key __rondo:node; correct its address in REDIS_URLS, ' +
  'or, if its data is not needed, empty it with FLUSHALL'

/** Why a node is not used whose marker names no member of the configuration; null = it may be used. */
export function refusedSentence(bytes: Buffer | null, configuredId: string): string | null {
  if (!bytes) return null
  const found = decodeMarker(bytes)
  if (!found) return NO_MARKER
  return found.id === configuredId ? null : otherIdSentence(found, configuredId)
}

const WAS_REPLICA =
  'it was a replica of another server meanwhile, and may have lost writes that it had acknowledged'

const PROMOTED =
  'a failover made it the primary, and it may lack writes that the former one had acknowledged: it is brought up to date'

const EARLIER_LIFE =
  'it is the server that had this id before another one took its place: what it holds is old, and is brought up to date. ' +
  'If it should not be here, stop it'

export type MarkerVerdict =
  | { readonly kind: 'keep'; readonly marker: Marker }
  | { readonly kind: 'write'; readonly marker: Marker; readonly why: string }
  | { readonly kind: 'refuse'; readonly why: string }
  /** The node has a later epoch than this coordinator. */
  | { readonly kind: 'later' }

export interface MarkerContext {
  readonly cluster: string
  readonly id: string
  readonly runId: string
  /** Of a server that Sentinels watch, its replication id: a restart of it may lose writes in any case. */
  readonly replid?: string
  readonly durable: boolean
  readonly freshToken: () => string
  /** We are founding the cluster with this node: it starts clean. */
  readonly founding: boolean
  /** Tokens that this node had before. */
  readonly former: ReadonlySet<string>
  /** The topology that this coordinator uses; null = the first epoch. */
  readonly topology: { readonly epoch: number; readonly sum: string; readonly life: number } | null
}

export function judgeMarker(bytes: Buffer | null, context: MarkerContext): MarkerVerdict {
  const found = bytes && decodeMarker(bytes)
  const [its, ours] = [found ? epochOf(found) : 1, context.topology?.epoch ?? 1]
  const isOther = found?.topology && its === ours && found.topology.sum !== context.topology?.sum
  const verdict = judgeData(bytes, context)
  if (verdict.kind === 'refuse' || verdict.kind === 'later') return verdict
  if (its > ours) return { kind: 'later' }
  if (isOther) return { kind: 'refuse', why: `it has other members in epoch ${its}` }
  if (!context.topology || (its === ours && verdict.kind === 'keep')) return verdict
  // What a node had received before it lost its data does not count.
  const isSame = found !== null && found.token === verdict.marker.token
  const { epoch, sum, life } = context.topology
  const marked = { epoch, sum, received: isSame ? (found.topology?.received ?? 0) : 0 }
  const topology = { ...marked, ...(life > 1 && { life }) }
  const marker = { ...verdict.marker, topology }
  return { kind: 'write', marker, why: verdict.kind === 'write' ? verdict.why : 'its marker says so' }
}

/** The same without regard to the topology. */
function judgeData(bytes: Buffer | null, context: MarkerContext): MarkerVerdict {
  const { cluster, id, runId, replid } = context
  const fresh = (state: Marker['state']): Marker => ({
    cluster,
    id,
    runId,
    ...(replid !== undefined && { replid }),
    token: context.freshToken(),
    state,
    epoch: 1,
  })
  if (!bytes) {
    return context.founding
      ? { kind: 'write', marker: fresh('clean'), why: 'the cluster is founded with it' }
      : { kind: 'write', marker: fresh('filling'), why: 'it has no marker: it is new or was wiped' }
  }
  const found = decodeMarker(bytes)
  if (!found) return { kind: 'refuse', why: NO_MARKER }
  if (found.cluster !== cluster) return { kind: 'refuse', why: otherClusterSentence(found) }
  if (found.id !== id) return { kind: 'refuse', why: otherIdSentence(found, id) }
  if ((found.topology?.life ?? 1) < (context.topology?.life ?? 1)) {
    const marker = { ...fresh('filling'), epoch: found.epoch }
    return { kind: 'write', marker, why: replid === undefined ? EARLIER_LIFE : PROMOTED }
  }
  if (context.former.has(found.token)) {
    const marker = { ...fresh('filling'), epoch: found.epoch }
    return {
      kind: 'write',
      marker,
      why: 'another node had its address meanwhile, and took writes that it has missed',
    }
  }
  if (found.runId === runId) return judgeSameRun(found, replid, fresh)
  if (context.durable && replid === undefined) {
    return {
      kind: 'write',
      marker: { ...found, runId },
      why: 'it was restarted, and a restart loses nothing',
    }
  }
  return {
    kind: 'write',
    marker: { ...fresh('filling'), epoch: found.epoch },
    why: 'it was restarted, and may have lost its last writes',
  }
}

/** A server that was demoted and promoted again is the same run, with what the other one held. */
function judgeSameRun(
  found: Marker,
  replid: string | undefined,
  fresh: (state: Marker['state']) => Marker,
): MarkerVerdict {
  if (replid === undefined || found.replid === replid) return { kind: 'keep', marker: found }
  if (found.replid === undefined) {
    return { kind: 'write', marker: { ...found, replid }, why: 'its marker says so' }
  }
  return { kind: 'write', marker: { ...fresh('filling'), epoch: found.epoch }, why: WAS_REPLICA }
}
