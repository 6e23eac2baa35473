/**
 * Every error that can reach a client has one of these codes. core/error-codes.ts maps them to HTTP statuses and Redis
 * error codes.
 */
export const ERROR_CODES = [
  'BAD_REQUEST',
  'NOT_FOUND',
  'METHOD_NOT_ALLOWED',
  'KEY_NOT_FOUND',
  'MEMBER_NOT_FOUND',
  'JOB_NOT_FOUND',
  'KEY_RESERVED',
  'KEY_TOO_LONG',
  'VALUE_TOO_LARGE',
  'UNSUPPORTED_ENCODING',
  'PRECONDITION_FAILED',
  'CONFLICT',
  'WRONG_TYPE',
  'NOT_INTEGER',
  'CROSS_REPLICA_SET',
  'UNAUTHORIZED',
  'FORBIDDEN',
  'RATE_LIMITED',
  'UNAVAILABLE',
  'QUORUM_NOT_MET',
  'OUTCOME_UNKNOWN',
  'OVERLOADED',
  'LOAD_FAILED',
  'SNAPSHOT_NOT_FOUND',
  'SNAPSHOT_DAMAGED',
  'INTERNAL',
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

/** The outcome of a failed write: certainly not applied, or unknown. */
export type Outcome = 'not-applied' | 'unknown'

export interface ErrorDetails {
  outcome?: Outcome
  /** Replicas that hold the write, and how many the level requires. */
  acked?: number
  required?: number
  [detail: string]: unknown
}

/** An error with a stable code and a message that says what happened, why, and what to do. */
export class RondoError extends Error {
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, sentence: string, details: ErrorDetails = {}) {
    // Most of them are answers (a miss is one), and taking a stack trace costs a sixth of a miss over HTTP.
    const limit = Error.stackTraceLimit
    if (code !== 'INTERNAL') Error.stackTraceLimit = 0
    super(sentence)
    Error.stackTraceLimit = limit
    this.name = 'RondoError'
    this.code = code
    this.details = details
  }
}

/** Thrown for whoever can go on, and never logged. Taking its stack trace would cost more than what it interrupts. */
export class Signal extends Error {
  constructor(sentence?: string) {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(sentence)
    Error.stackTraceLimit = limit
  }
}

/** For what is not carried on, because the client has closed its end and waits no longer. */
export function stopped(what: 'listing' | 'request' | 'command'): RondoError {
  return new RondoError(
    'OVERLOADED',
    `The client has closed its end of the connection: the ${what} was stopped.`,
  )
}

export function asRondoError(thrown: unknown): RondoError {
  if (thrown instanceof RondoError) return thrown
  const error = new RondoError('INTERNAL', 'Internal error in the coordinator; see its log.')
  error.cause = thrown
  return error
}
