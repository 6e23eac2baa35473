/** Errors as statuses of gRPC (https://grpc.io/docs/guides/status-codes/). */
import type { Metadata } from '@grpc/grpc-js'
import { CODES } from '../../core/error-codes.ts'
import type { RondoError } from '../../core/errors.ts'

/** In the order of their numbers. */
const NAMES = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const

export type StatusName = (typeof NAMES)[number]

export interface Status {
  readonly code: number
  readonly details: string
  readonly metadata: Metadata
}

export function statusName(code: number): string {
  return NAMES[code] ?? String(code)
}

export function statusCode(name: StatusName): number {
  return NAMES.indexOf(name)
}

/**
 * @param trailers are added to: the error's own code, and of a write what is known of it
 * @param name if it is not that of the table
 */
export function statusOf(error: RondoError, trailers: Metadata, name?: StatusName): Status {
  const { outcome, acked, required } = error.details
  trailers.set('rondo-code', error.code)
  if (outcome !== undefined) trailers.set('rondo-outcome', outcome)
  if (acked !== undefined) trailers.set('rondo-acked', String(acked))
  if (required !== undefined) trailers.set('rondo-required', String(required))
  // The library encodes it as a URI, which half of a surrogate pair cannot be.
  const details = error.message.toWellFormed()
  return { code: statusCode(name ?? CODES[error.code].grpc), details, metadata: trailers }
}
