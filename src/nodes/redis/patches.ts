/**
 * Stores that are sent as a patch of what the node is expected to hold (core/patch.ts). Where it holds something else, the
 * whole record is sent, as if nothing had been: patch.lua changes nothing then.
 */
import { compareVersions, VERSION_ZERO } from '../../core/clock.ts'
import {
  EXPIRY_AT,
  FLAGS_AT,
  HEAD_BYTES,
  holdsValue,
  VERSION_AT,
  versionOf,
  type NewRecord,
} from '../../core/codec.ts'
import { MARKER_KEY } from '../../core/keys.ts'
import { FAR_END_MS } from '../../core/lifetime.ts'
import type { Patch } from '../../core/patch.ts'
import type { Epochs } from '../../core/replica-set.ts'
import { OTHER_EPOCH } from '../failures.ts'
import type { Fence, StoreAllMode, StoreAllWrite, StoreCondition } from '../node.ts'
import { isDigit } from './data-replies.ts'
import { REPLY_INTEGER, type Link } from './link.ts'
import { decimal, encoded, PendingScript, type CallHost, type DataCall } from './redis-calls.ts'
import { headsOf, PATCH, type ScriptHeads } from './scripts.ts'

/** A script call for several records costs less than one for each: only what is longer is sent as a patch by itself. */
const WORTH_A_CALL_BYTES = 1024
const MOST_CHECKS = 8
/** More than there are edits in a patch. */
const PLACES = 16

/** What is sent, and the keys that are only checked. */
export interface Patched {
  readonly key: Buffer
  readonly record: NewRecord
  readonly patch: Patch
  readonly checks: readonly StoreAllWrite[]
  readonly epochs: Epochs | undefined
}

export interface PatchDone extends DataCall {
  onPatched(fence: Fence): void
  /** The node holds something else, and has changed nothing. */
  onOther(): void
}

/** A store that may be sent as a patch; null = it may not. */
export function patchedStore(
  key: Buffer,
  record: NewRecord,
  lifeMs: number,
  { onlyIf, epochs, untilMs }: StoreCondition = {},
): Patched | null {
  const { patch } = record
  if (!patch || !isSimple(record, patch, lifeMs) || untilMs !== undefined) return null
  const isWorthIt = onlyIf
    ? compareVersions(onlyIf, patch.base) === 0
    : !epochs && record.value.length >= WORTH_A_CALL_BYTES
  return isWorthIt ? { key, record, patch, checks: [], epochs } : null
}

/** The same for a change of one key, beside which others are only checked. */
export function patchedStoreAll(
  writes: readonly StoreAllWrite[],
  mode: StoreAllMode,
  epochs: Epochs | undefined,
): Patched | null {
  if (mode !== 'if-held' || writes.length > 1 + MOST_CHECKS) return null
  const checks = writes.filter(({ record }) => record === null)
  const changed = writes.find(({ record }) => record !== null)
  const { key, record = null, lifeMs = 0, onlyIf } = changed ?? {}
  if (!key || !record?.patch || checks.length !== writes.length - 1) return null
  const { patch } = record
  if (!isSimple(record, patch, lifeMs) || compareVersions(onlyIf!, patch.base) !== 0) return null
  // Nothing, or what is below a floor, is for the other script.
  if (checks.some((check) => compareVersions(check.onlyIf, VERSION_ZERO) === 0)) return null
  return { key, record, patch, checks, epochs }
}

/** Whether the node would keep the end of the key, and the head but for the version. */
function isSimple(record: NewRecord, { base }: Patch, lifeMs: number): boolean {
  const { head } = record
  const isEndless = lifeMs === FAR_END_MS && head.readUIntBE(EXPIRY_AT, HEAD_BYTES - EXPIRY_AT) === 0
  return (
    isEndless &&
    holdsValue(head[FLAGS_AT]!) &&
    compareVersions(base, VERSION_ZERO) > 0 &&
    compareVersions(versionOf(record), base) > 0
  )
}

export class PendingPatch extends PendingScript {
  readonly heads: ScriptHeads
  protected readonly call: PatchDone
  private readonly patched: Patched

  constructor(node: CallHost, patched: Patched, done: PatchDone) {
    const { key, patch, checks } = patched
    super(
      node,
      key,
      patch.edits.reduce((sum, { bytes }) => sum + bytes.length, 0),
    )
    this.heads = headsFor(checks.length, patch.edits.length)
    this.call = done
    this.patched = patched
  }

  override encode(link: Link): void {
    const { key, record, patch, checks, epochs } = this.patched
    const { head, value } = record
    link.bulk(key)
    link.bulk(MARKER_KEY)
    for (const check of checks) link.bulk(check.key)
    link.bulk(encoded(epochs))
    link.bulkOfTwo(head, 0, VERSION_AT, Buffer.from(patch.base))
    link.bulk(decimal(HEAD_BYTES + value.length))
    link.bulk(Buffer.from(versionOf(record)))
    for (const { onlyIf } of checks) link.bulk(Buffer.from(onlyIf))
    for (const { at, bytes } of patch.edits) {
      link.bulk(decimal(HEAD_BYTES + at))
      link.bulk(bytes)
    }
  }

  protected override replied(fence: Fence): boolean {
    const { replyType, reply } = this
    if (replyType === REPLY_INTEGER && isDigit(reply!, 1)) this.call.onPatched(fence)
    else if (replyType === REPLY_INTEGER && isDigit(reply!, 0)) this.call.onOther()
    else if (this.isOtherEpoch()) this.lost(OTHER_EPOCH)
    else return false
    return true
  }
}

const HEADS = new Map<number, ScriptHeads>()

function headsFor(checks: number, edits: number): ScriptHeads {
  const place = checks * PLACES + edits
  let heads = HEADS.get(place)
  if (!heads) HEADS.set(place, (heads = headsOf(PATCH, 4 + checks + 2 * edits, 2 + checks)))
  return heads
}
