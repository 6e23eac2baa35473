/** Maps each error code to the errors of each server. */
import type { ErrorCode } from './errors.ts'

interface CodeByServer {
  /** HTTP status. */
  readonly http: number
  /** The title in problem+json. */
  readonly title: string
  /** The error code of the Redis protocol. NOREPLICAS means that certainly nothing was done. */
  readonly resp: string
}

export const CODES: Readonly<Record<ErrorCode, CodeByServer>> = {
  BAD_REQUEST: { http: 400, title: 'Bad request', resp: 'ERR' },
  NOT_FOUND: { http: 404, title: 'No such path', resp: 'ERR' },
  METHOD_NOT_ALLOWED: { http: 405, title: 'Method not allowed', resp: 'ERR' },
  KEY_NOT_FOUND: { http: 404, title: 'Key not found', resp: 'ERR' },
  MEMBER_NOT_FOUND: { http: 404, title: 'No such member', resp: 'ERR' },
  KEY_RESERVED: { http: 403, title: 'Key is reserved', resp: 'ERR' },
  KEY_TOO_LONG: { http: 414, title: 'Key too long', resp: 'ERR' },
  VALUE_TOO_LARGE: { http: 413, title: 'Value too large', resp: 'ERR' },
  UNSUPPORTED_ENCODING: { http: 415, title: 'Unsupported encoding of the body', resp: 'ERR' },
  PRECONDITION_FAILED: { http: 412, title: 'Precondition failed', resp: 'ERR' },
  CONFLICT: { http: 409, title: 'Not now', resp: 'ERR' },
  WRONG_TYPE: { http: 409, title: 'Wrong type', resp: 'WRONGTYPE' },
  NOT_INTEGER: { http: 409, title: 'Not an integer', resp: 'ERR' },
  CROSS_REPLICA_SET: { http: 409, title: 'Keys live on different replicas', resp: 'CROSSSLOT' },
  UNAUTHORIZED: { http: 401, title: 'Unauthorized', resp: 'NOAUTH' },
  FORBIDDEN: { http: 403, title: 'Forbidden', resp: 'NOPERM' },
  RATE_LIMITED: { http: 429, title: 'Too many attempts', resp: 'ERR' },
  UNAVAILABLE: { http: 503, title: 'Unavailable', resp: 'NOREPLICAS' },
  QUORUM_NOT_MET: { http: 503, title: 'Consistency level not met', resp: 'NOREPLICAS' },
  OUTCOME_UNKNOWN: { http: 503, title: 'Outcome unknown', resp: 'UNKNOWN' },
  OVERLOADED: { http: 503, title: 'Overloaded', resp: 'TRYAGAIN' },
  LOAD_FAILED: { http: 502, title: 'Loading failed', resp: 'TRYAGAIN' },
  SNAPSHOT_NOT_FOUND: { http: 404, title: 'No such snapshot', resp: 'ERR' },
  SNAPSHOT_DAMAGED: { http: 422, title: 'Snapshot is damaged', resp: 'ERR' },
  INTERNAL: { http: 500, title: 'Internal error', resp: 'ERR' },
}
