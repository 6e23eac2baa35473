/**
 * Every error that can reach a user has one of these codes. What a code becomes at a server (an HTTP status, a Redis
 * error word) stands in one table: core/error-codes.ts.
 */
export const ERROR_CODES = [
  'BAD_REQUEST',
  'NOT_FOUND',
  'METHOD_NOT_ALLOWED',
  'KEY_NOT_FOUND',
  'KEY_RESERVED',
  'KEY_TOO_LONG',
  'VALUE_TOO_LARGE',
  'PRECONDITION_FAILED',
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

/** What is known of a write that failed: it certainly did not happen, or nobody can say. */
export type Outcome = 'not-applied' | 'unknown'

export interface ErrorDetails {
  outcome?: Outcome
  /** Replicas that hold the write, and how many the level asked for. */
  acked?: number
  required?: number
  [detail: string]: unknown
}

/** An error with a stable code and a sentence that says what happened, why, and what to do. */
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
