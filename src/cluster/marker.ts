/**
 * The marker: a node's own note of whose it is and whether it holds all that was acknowledged. It lives in the node
 * (MARKER_KEY), so a coordinator that restarts knows no less, and every batch ends by reading it.
 *
 * What is found decides, by any coordinator, by compare-and-set:
 *
 *   no marker                               → filling with a fresh token: the node is new, or was wiped or flushed
 *   another run id                          → filling: a restart may have lost the tail of what was acknowledged
 *   another run id, appendfsync always      → stamped again, stays what it was: a restart loses nothing
 *   a token that was replaced before        → filling: the address led elsewhere, and back to who was there before
 *   another cluster's or another node's     → refused: not a byte is written
 *
 * `drop_before` stands in it while a node that was stale is emptied, before it is filled (repair/stale.ts): what is older
 * than that goes. A restart forgets it, so that whether to empty the node is decided anew.
 *
 * Pure.
 */
import { isName } from '../core/printable.ts'

export interface Marker {
  readonly cluster: string
  readonly id: string
  readonly runId: string
  /** Changes whenever filling begins anew, so that a fill that was overtaken cannot declare the node clean. */
  readonly token: string
  readonly state: 'clean' | 'filling'
  readonly epoch: number
  /** Cluster time: its older records are being removed. */
  readonly dropBeforeMs?: number
}

export function encodeMarker(marker: Marker): Buffer {
  const { cluster, id, runId, token, state, epoch, dropBeforeMs } = marker
  return Buffer.from(
    JSON.stringify({ cluster, id, run_id: runId, token, state, epoch, drop_before: dropBeforeMs }),
  )
}

/** Null for what is not a marker. */
export function decodeMarker(bytes: Buffer): Marker | null {
  let found: unknown
  try {
    found = JSON.parse(bytes.toString('utf8'))
  } catch {
    return null // somebody else's bytes: the caller refuses the node
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
  /** The cluster is being founded by us with this node: it starts out clean. */
  readonly founding: boolean
  /** Tokens that were seen here, and seen replaced. */
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
      : { kind: 'write', marker: fresh('filling'), why: 'it has no marker: it is new, or was wiped' }
  }
  const found = decodeMarker(bytes)
  if (!found) return { kind: 'refuse', why: 'its marker is not one of ours' }
  if (found.cluster !== cluster) return { kind: 'refuse', why: `it belongs to cluster ${found.cluster}` }
  if (found.id !== id) return { kind: 'refuse', why: `it is node ${found.id}, not ${id}` }
  if (context.former.has(found.token)) {
    const marker = { ...fresh('filling'), epoch: found.epoch }
    return { kind: 'write', marker, why: 'another one stood in for it, and took writes that it has missed' }
  }
  if (found.runId === runId) return { kind: 'keep', marker: found }
  if (context.durable) {
    return { kind: 'write', marker: { ...found, runId }, why: 'it restarted, and loses nothing at a restart' }
  }
  return {
    kind: 'write',
    marker: { ...fresh('filling'), epoch: found.epoch },
    why: 'it restarted, and may have lost its last writes',
  }
}
