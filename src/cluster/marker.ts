/**
 * The marker: stored on each node under MARKER_KEY, it names the cluster and node id, and whether the node holds all
 * acknowledged writes. A restarted coordinator reads it again, and every batch ends by reading it.
 *
 * Any coordinator decides by what it finds, with compare-and-set:
 *
 *   no marker                               → filling, with a new token: the node is new, or was wiped or flushed
 *   another run id                          → filling: a restart may have lost the last acknowledged writes
 *   another run id, appendfsync always      → gets the new run id and keeps its state: a restart loses nothing
 *   a token that was replaced before        → filling: another node had this address meanwhile and took its writes
 *   another cluster's or another node's     → refused: nothing is written to it
 *
 * `drop_before` is set while a stale node is emptied, before it is filled (repair/stale.ts): older records are dropped.
 * A restart removes it, so that the decision to empty the node is made again.
 *
 * Pure.
 */
import { isName } from '../core/printable.ts'

export interface Marker {
  readonly cluster: string
  readonly id: string
  readonly runId: string
  /** Changes whenever a new fill starts, so that an outdated fill cannot mark the node clean. */
  readonly token: string
  readonly state: 'clean' | 'filling'
  readonly epoch: number
  /** Cluster time: older records are being dropped. */
  readonly dropBeforeMs?: number
}

export function encodeMarker(marker: Marker): Buffer {
  const { cluster, id, runId, token, state, epoch, dropBeforeMs } = marker
  return Buffer.from(
    JSON.stringify({ cluster, id, run_id: runId, token, state, epoch, drop_before: dropBeforeMs }),
  )
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
    token,
    state,
    epoch,
    drop_before: dropBeforeMs,
  } = found as Record<string, unknown>
  if (!isName(cluster) || !isName(id) || !isName(runId) || !isName(token)) return null
  if (typeof epoch !== 'number' || !Number.isSafeInteger(epoch)) return null
  if (state !== 'clean' && state !== 'filling') return null
  const marker = { cluster, id, runId, token, state, epoch } as const
  if (dropBeforeMs === undefined) return marker
  return typeof dropBeforeMs === 'number' && Number.isFinite(dropBeforeMs)
    ? { ...marker, dropBeforeMs }
    : null
}

export type MarkerVerdict =
  | { readonly kind: 'keep'; readonly marker: Marker }
  | { readonly kind: 'write'; readonly marker: Marker; readonly why: string }
  | { readonly kind: 'refuse'; readonly why: string }

export interface MarkerContext {
  readonly cluster: string
  readonly id: string
  readonly runId: string
  readonly durable: boolean
  readonly freshToken: () => string
  /** We are founding the cluster with this node: it starts clean. */
  readonly founding: boolean
  /** Tokens that this node had before. */
  readonly former: ReadonlySet<string>
}

export function judgeMarker(bytes: Buffer | null, context: MarkerContext): MarkerVerdict {
  const { cluster, id, runId } = context
  const fresh = (state: Marker['state']): Marker => ({
    cluster,
    id,
    runId,
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
  if (!found) return { kind: 'refuse', why: 'its marker is not one of ours' }
  if (found.cluster !== cluster) return { kind: 'refuse', why: `it belongs to cluster ${found.cluster}` }
  if (found.id !== id) return { kind: 'refuse', why: `it is node ${found.id}, not ${id}` }
  if (context.former.has(found.token)) {
    const marker = { ...fresh('filling'), epoch: found.epoch }
    return {
      kind: 'write',
      marker,
      why: 'another node had its address meanwhile, and took writes that it has missed',
    }
  }
  if (found.runId === runId) return { kind: 'keep', marker: found }
  if (context.durable) {
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
