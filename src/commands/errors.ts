/** Converts errors of the coordinator to errors of the Redis protocol. */
import { RondoError } from '../core/errors.ts'
import { CODES } from '../core/error-codes.ts'
import { RespError } from './reply.ts'
import { CommandError } from './step.ts'

/** A hint to an HTTP path in a message; in the Redis protocol it becomes a command. */
const STATUS_PATH = '/status'
const STATUS_COMMAND = 'RONDO STATUS'
const WRONG_TYPE = 'WRONGTYPE Operation against a key holding the wrong kind of value'

export function errorOf(error: RondoError): RespError {
  if (error.code === 'WRONG_TYPE') return new RespError(WRONG_TYPE)
  // Any other error code would promise that the write did not happen.
  const word = error.details.outcome === 'unknown' ? 'UNKNOWN' : CODES[error.code].resp
  return new RespError(`${word} ${error.message.replace(STATUS_PATH, STATUS_COMMAND)}`)
}

/** The error reply for anything that was thrown. */
export function replyOf(error: unknown): RespError {
  if (error instanceof RondoError) return errorOf(error)
  if (error instanceof CommandError) return new RespError(error.message)
  return errorOf(new RondoError('INTERNAL', `A fault of Rondo's own: ${String(error)}`))
}
