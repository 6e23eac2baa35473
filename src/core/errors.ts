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
  'KEY_RESERVED',
  'KEY_TOO_LONG',
  'VALUE_TOO_LARGE',
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
    super(sentence)
    this.name = 'RondoError'
    this.code = code
    this.details = details
  }
}
