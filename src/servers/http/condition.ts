/**
 * `If-Match` and `If-None-Match`: preconditions of a write. PUT and DELETE with one are an update, which stores its result
 * only if the condition holds for what it replaces; SET NX and XX of the Redis protocol know no versions, and are steps.
 */
import type { IncomingMessage } from 'node:http'
import { recordOf } from '../../commands/run/held.ts'
import type { Modified, Modify } from '../../coordinator/api.ts'
import { compareVersions, parseVersion, type Version } from '../../core/clock.ts'
import type { StoredRecord } from '../../core/codec.ts'
import { RondoError } from '../../core/errors.ts'

/** A precondition on the current record. */
export type Condition =
  | { readonly kind: 'absent' }
  | { readonly kind: 'present' }
  /** Exactly this version is live. */
  | { readonly kind: 'version'; readonly version: Version }

/**
 * Null = no condition.
 * @throws RondoError BAD_REQUEST: ignoring an invalid condition could lose data
 */
export function conditionOf(req: IncomingMessage): Condition | null {
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = req.headers
  if (ifMatch === undefined && ifNoneMatch === undefined) return null
  if (ifMatch !== undefined && ifNoneMatch !== undefined) {
    throw new RondoError('BAD_REQUEST', 'Send If-Match or If-None-Match, not both.')
  }
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() === '*') return { kind: 'absent' }
    throw new RondoError('BAD_REQUEST', 'A write takes If-None-Match: * only: "if the key does not exist".')
  }
  if (ifMatch!.trim() === '*') return { kind: 'present' }
  const quoted = /^\s*"([^"]*)"\s*$/.exec(ifMatch!)?.[1]
  const version = quoted === undefined ? null : parseVersion(quoted)
  if (!version)
    throw new RondoError('BAD_REQUEST', 'If-Match takes one ETag as it was answered, in quotes, or *.')
  return { kind: 'version', version }
}

/**
 * Stores a value if the condition holds; otherwise refuses with PRECONDITION_FAILED.
 * @param nowMs cluster time, called once per attempt
 */
export function putIf(
  condition: Condition,
  value: Buffer,
  expiresAtMs: number,
  nowMs: () => number,
  tags?: Buffer,
): Modify {
  const record = recordOf({ value, expiresAtMs, tags })
  return modifyIf(condition, { kind: 'write', record }, nowMs)
}

/** Deletes if the condition holds; otherwise refuses with PRECONDITION_FAILED. */
export function deleteIf(condition: Condition, nowMs: () => number): Modify {
  return modifyIf(condition, { kind: 'write', record: recordOf(null) }, nowMs)
}

function modifyIf(condition: Condition, modified: Modified, nowMs: () => number): Modify {
  return (current) => {
    const unmet = whyUnmet(condition, current?.isLive(nowMs()) ? current : null)
    if (!unmet) return modified
    const error = new RondoError('PRECONDITION_FAILED', unmet, { outcome: 'not-applied' })
    return { kind: 'refuse', error }
  }
}

/** Null = the condition holds. */
function whyUnmet(condition: Condition, live: StoredRecord | null): string | null {
  switch (condition.kind) {
    case 'absent':
      return live ? 'The key exists.' : null
    case 'present':
      return live ? null : 'The key does not exist.'
    case 'version':
      return live && compareVersions(live.version, condition.version) === 0
        ? null
        : 'The key holds another version than the one named, or nothing.'
  }
}
