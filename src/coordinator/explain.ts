/** Where a key is placed and what each of its replicas holds, for debugging. */
import type { Member } from '../cluster/member.ts'
import { versionText } from '../core/clock.ts'
import { KIND_TOMBSTONE, holdsValue, type PeekedRecord } from '../core/codec.ts'
import { planRead, READ_NEVER } from '../core/plan.ts'
import { tagBytesIn, TAGS_END } from '../core/tags.ts'
import { tokenOf } from '../core/token.ts'
import { askNode } from './ask.ts'
import type { CoordinatorContext, Replicas } from './context.ts'
import { sentenceOf } from '../core/sentence.ts'

export interface Explanation {
  /** The key's position on the ring, uint32. */
  readonly token: number
  /** Ids of the home replicas, the primary first. */
  readonly replicaSet: readonly string[]
  /** Ids in the order in which a read at `one` would ask them now. */
  readonly readOrder: readonly string[]
  readonly replicas: readonly ReplicaView[]
}

export interface ReplicaView {
  readonly node: string
  readonly address: string
  readonly role: 'primary' | 'replica' | 'fallback'
  readonly state: string
  readonly completeness: string
  readonly mayBeBehind: boolean
  /** What the node holds, or the reason why it could not be asked. */
  readonly holds: RecordView | { readonly error: string } | null
}

export interface RecordView {
  readonly kind: 'value' | 'tombstone' | 'nothing'
  readonly version: string
  /** Milliseconds since 1970, 0 = never. */
  readonly expiresAtMs: number
  readonly expired: boolean
  readonly valueBytes: number
}

export async function explain(context: CoordinatorContext, key: Buffer, set: Replicas): Promise<Explanation> {
  const { homes, preference } = set
  const plan = planRead(set)
  const nowMs = context.cluster.time.nowMs()
  const views = preference.map(async (member, place): Promise<ReplicaView> => {
    return {
      node: member.id,
      address: member.node.address,
      role: place === 0 ? 'primary' : place < homes.length ? 'replica' : 'fallback',
      state: member.health.state,
      completeness: member.completeness,
      mayBeBehind: member.behind,
      holds: await holdsOf(member, key, nowMs),
    }
  })
  const replicas = await Promise.all(views)
  return {
    token: tokenOf(key),
    replicaSet: homes.map((member) => member.id),
    readOrder: [...plan.inTurn, ...plan.compared].map((member) => member.id),
    // Omit fallback replicas that hold nothing.
    replicas: replicas.filter((view) => view.role !== 'fallback' || view.holds !== null),
  }
}

async function holdsOf(member: Member, key: Buffer, nowMs: number): Promise<ReplicaView['holds']> {
  if (member.readRank === READ_NEVER) return { error: member.lastError ?? 'the node cannot be read now' }
  try {
    const record = await askNode(member, key, 'length')
    if (!record?.isTagged) return record && viewOf(record, nowMs, 0)
    const end = await askNode(member, key, TAGS_END)
    return end && viewOf(end, nowMs, end.isTagged ? tagBytesIn(end.part(TAGS_END), 0, end.valueLength) : 0)
  } catch (error) {
    return { error: sentenceOf(error) }
  }
}

/** @param tagBytes of what follows the head, those that are no value */
function viewOf(record: PeekedRecord, nowMs: number, tagBytes: number): RecordView {
  const { kind, expiresAtMs } = record
  return {
    kind: holdsValue(kind) ? 'value' : kind === KIND_TOMBSTONE ? 'tombstone' : 'nothing',
    version: versionText(record.version),
    expiresAtMs,
    expired: expiresAtMs > 0 && expiresAtMs <= nowMs,
    valueBytes: record.valueLength - tagBytes,
  }
}
