/** Maps each error code to the errors of each server. */
import type { ErrorCode } from './errors.ts'

interface CodeByServer {
  /** HTTP status. */
  readonly http: number
  /** The title in problem+json. */
  readonly title: string
  /** The error code of the Redis protocol. NOREPLICAS means that certainly nothing was done. */
  readonly resp: string
  /**
   * The name of the gRPC status. UNAVAILABLE invites clients to try again, so nothing has it that may have been done
   * (of QUORUM_NOT_MET, what was done does no harm when it is done again).
   */
  readonly grpc: GrpcStatus
}

/** Statuses of gRPC by name. */
export type GrpcStatus =
  | 'UNKNOWN'
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'UNAUTHENTICATED'

export const CODES: Readonly<Record<ErrorCode, CodeByServer>> = {
  BAD_REQUEST: { http: 400, title: 'Bad request', resp: 'ERR', grpc: 'INVALID_ARGUMENT' },
  NOT_FOUND: { http: 404, title: 'No such path', resp: 'ERR', grpc: 'UNIMPLEMENTED' },
  METHOD_NOT_ALLOWED: { http: 405, title: 'Method not allowed', resp: 'ERR', grpc: 'UNIMPLEMENTED' },
  KEY_NOT_FOUND: { http: 404, title: 'Key not found', resp: 'ERR', grpc: 'NOT_FOUND' },
  MEMBER_NOT_FOUND: { http: 404, title: 'No such member', resp: 'ERR', grpc: 'NOT_FOUND' },
  JOB_NOT_FOUND: { http: 404, title: 'No such job', resp: 'ERR', grpc: 'NOT_FOUND' },
  KEY_RESERVED: { http: 403, title: 'Key is reserved', resp: 'ERR', grpc: 'PERMISSION_DENIED' },
  KEY_TOO_LONG: { http: 414, title: 'Key too long', resp: 'ERR', grpc: 'INVALID_ARGUMENT' },
  VALUE_TOO_LARGE: { http: 413, title: 'Value too large', resp: 'ERR', grpc: 'RESOURCE_EXHAUSTED' },
  UNSUPPORTED_ENCODING: {
    http: 415,
    title: 'Unsupported encoding of the body',
    resp: 'ERR',
    grpc: 'UNIMPLEMENTED',
  },
  PRECONDITION_FAILED: { http: 412, title: 'Precondition failed', resp: 'ERR', grpc: 'FAILED_PRECONDITION' },
  CONFLICT: { http: 409, title: 'Not now', resp: 'ERR', grpc: 'ABORTED' },
  WRONG_TYPE: { http: 409, title: 'Wrong type', resp: 'WRONGTYPE', grpc: 'FAILED_PRECONDITION' },
  NOT_INTEGER: { http: 409, title: 'Not an integer', resp: 'ERR', grpc: 'FAILED_PRECONDITION' },
  CROSS_REPLICA_SET: {
    http: 409,
    title: 'Keys live on different replicas',
    resp: 'CROSSSLOT',
    grpc: 'FAILED_PRECONDITION',
  },
  UNAUTHORIZED: { http: 401, title: 'Unauthorized', resp: 'NOAUTH', grpc: 'UNAUTHENTICATED' },
  FORBIDDEN: { http: 403, title: 'Forbidden', resp: 'NOPERM', grpc: 'PERMISSION_DENIED' },
  RATE_LIMITED: { http: 429, title: 'Too many attempts', resp: 'ERR', grpc: 'RESOURCE_EXHAUSTED' },
  UNAVAILABLE: { http: 503, title: 'Unavailable', resp: 'NOREPLICAS', grpc: 'UNAVAILABLE' },
  QUORUM_NOT_MET: { http: 503, title: 'Consistency level not met', resp: 'NOREPLICAS', grpc: 'UNAVAILABLE' },
  OUTCOME_UNKNOWN: { http: 503, title: 'Outcome unknown', resp: 'UNKNOWN', grpc: 'UNKNOWN' },
  OVERLOADED: { http: 503, title: 'Overloaded', resp: 'TRYAGAIN', grpc: 'UNAVAILABLE' },
  LOAD_FAILED: { http: 502, title: 'Loading failed', resp: 'TRYAGAIN', grpc: 'UNAVAILABLE' },
  SNAPSHOT_NOT_FOUND: { http: 404, title: 'No such snapshot', resp: 'ERR', grpc: 'NOT_FOUND' },
  SNAPSHOT_DAMAGED: { http: 422, title: 'Snapshot is damaged', resp: 'ERR', grpc: 'FAILED_PRECONDITION' },
  INTERNAL: { http: 500, title: 'Internal error', resp: 'ERR', grpc: 'INTERNAL' },
}
