/** `If-Match` and `If-None-Match`, as preconditions of a write. */
import type { IncomingMessage } from 'node:http'
import type { Condition } from '../../commands/modify.ts'
import { parseVersion } from '../../core/clock.ts'
import { RondoError } from '../../core/errors.ts'

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
