/** What each error code becomes at each door: the one table. */
import type { ErrorCode } from '../core/errors.ts'

interface CodeAtDoors {
  /** HTTP status. */
  readonly http: number
  /** What the kind of problem is called, for problem+json. */
  readonly title: string
}

export const CODES: Readonly<Record<ErrorCode, CodeAtDoors>> = {
  BAD_REQUEST: { http: 400, title: 'Bad request' },
  NOT_FOUND: { http: 404, title: 'No such path' },
  METHOD_NOT_ALLOWED: { http: 405, title: 'Method not allowed' },
  KEY_NOT_FOUND: { http: 404, title: 'Key not found' },
  KEY_RESERVED: { http: 403, title: 'Key is reserved' },
  KEY_TOO_LONG: { http: 414, title: 'Key too long' },
  VALUE_TOO_LARGE: { http: 413, title: 'Value too large' },
  PRECONDITION_FAILED: { http: 412, title: 'Precondition failed' },
  WRONG_TYPE: { http: 409, title: 'Wrong type' },
  NOT_INTEGER: { http: 409, title: 'Not an integer' },
  CROSS_REPLICA_SET: { http: 409, title: 'Keys live on different replicas' },
  UNAUTHORIZED: { http: 401, title: 'Unauthorized' },
  FORBIDDEN: { http: 403, title: 'Forbidden' },
  RATE_LIMITED: { http: 429, title: 'Too many attempts' },
  UNAVAILABLE: { http: 503, title: 'Unavailable' },
  QUORUM_NOT_MET: { http: 503, title: 'Consistency level not met' },
  OUTCOME_UNKNOWN: { http: 503, title: 'Outcome unknown' },
  OVERLOADED: { http: 503, title: 'Overloaded' },
  INTERNAL: { http: 500, title: 'Internal error' },
}
