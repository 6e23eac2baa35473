/**
 * Hinted handoff: delivers the records that a member missed once it is back.
 *
 * A write stores a hint (key and version) for each home replica that missed it, on every node that took it. Delivery
 * reads the record on the node with the hint, stores it on the target by compare-and-store, and removes the hint if it
 * still has that version. A copy on a fallback replica is removed once every home replica of the key holds it. Where the
 * members have changed, and the target is no home replica of the key any more, the record goes to all that are.
 *
 * Hints shorten the time during which replicas differ; no guarantee relies on them.
 */
import { encodeMarker } from '../cluster/marker.ts'
import type { Member } from '../cluster/member.ts'
import { compareVersions } from '../core/clock.ts'
import type { Hint } from '../nodes/node.ts'
import type { RepairContext } from './context.ts'
import { copyRecord, fetchRecord } from './round/copy.ts'

const PAGE_HINTS = 256

/**
 * Delivers all hints that the others keep for a node; returns their number. If it is a member, it must accept writes.
 *
 * @param target its id
 * @throws RepairStopped
 */
export async function deliverHints(context: RepairContext, target: string): Promise<number> {
  let delivered = 0
  for (const holder of context.cluster.members) {
    if (holder.id === target || !holder.node.ready) continue
    let cursor = '0'
    do {
      const page = await holder.node.hints(target, cursor, PAGE_HINTS)
      await Promise.all(page.hints.map((hint) => deliver(context, holder, target, hint)))
      delivered += page.hints.length
      cursor = page.cursor
    } while (cursor !== '0')
  }
  return delivered
}

async function deliver(context: RepairContext, holder: Member, target: string, hint: Hint): Promise<void> {
  const { cluster } = context
  const marker = encodeMarker(holder.marker!)
  const readAtMs = cluster.time.nowMs()
  const record = await fetchRecord(holder.node, hint.key, null)
  // Gone or older: it expired here, or was lost. Other replicas that hold it have their own hints. Forgotten: it may have
  // been deleted (cluster/freshness.ts).
  const { homes } = cluster.placement.replicaSetOf(hint.key)
  const home = homes.find(({ id }) => id === target)
  const isFallback = !homes.includes(holder)
  const isForgotten = record !== null && isFallback && cluster.freshness.isForgotten(holder, record)
  if (record?.versioned && !isForgotten && compareVersions(record.version, hint.version) >= 0) {
    const copyTo = (home: Member) => copyRecord(context, [holder.node], home.node, hint.key, record, readAtMs)
    if (home) await copyTo(home)
    if (isFallback || !home) {
      // The hint stays until the fallback replica's copy is removed, to find it again. The copy is removed once every
      // home replica holds it, or something newer.
      if (!homes.every((home) => home.takesValues && home.completeness === 'clean')) return
      await Promise.all(homes.filter((home) => home !== holder).map(copyTo))
      if (isFallback) await holder.node.dropCopy(marker, hint.key, Buffer.from(record.version))
    }
  }
  await holder.node.dropHint(target, hint.key, hint.version)
}
