/** Errors as statuses of gRPC. */
import { Metadata, status } from '@grpc/grpc-js'
import { CODES } from '../../core/error-codes.ts'
import type { RondoError } from '../../core/errors.ts'

/** Names of statuses by number. */
export function statusName(code: number): string {
  return status[code] ?? String(code)
}

export interface Status {
  readonly code: status
  readonly details: string
  readonly metadata: Metadata
}

/**
 * @param trailers are added to: the error's own code, and of a write what is known of it
 * @param isLate the client's deadline has passed, which explains the error
 */
export function statusOf(error: RondoError, trailers: Metadata, isLate: boolean): Status {
  const { outcome, acked, required } = error.details
  trailers.set('rondo-code', error.code)
  if (outcome !== undefined) trailers.set('rondo-outcome', outcome)
  if (acked !== undefined) trailers.set('rondo-acked', String(acked))
  if (required !== undefined) trailers.set('rondo-required', String(required))
  return {
    code: isLate ? status.DEADLINE_EXCEEDED : status[CODES[error.code].grpc],
    // The library encodes it as a URI, which half of a surrogate pair cannot be.
    details: error.message.toWellFormed(),
    metadata: trailers,
  }
}
