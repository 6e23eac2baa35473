/** Errors of the coordinator as errors of the Redis protocol, and refusals of steps as errors of the other servers. */
import { RondoError } from '../core/errors.ts'
import { CODES } from '../core/error-codes.ts'
import { RespError, type Reply } from './reply.ts'
import { CommandError, Refusal } from './step.ts'
import { sentenceOf } from '../core/sentence.ts'

/** A hint to an HTTP path in a message; in the Redis protocol it becomes a command. */
const STATUS_PATH = '/status'
const STATUS_COMMAND = 'RONDO STATUS'
const WRONG_TYPE = 'WRONGTYPE Operation against a key holding the wrong kind of value'

export function errorOf(error: RondoError): RespError {
  if (error.code === 'WRONG_TYPE') return new RespError(WRONG_TYPE)
  // Any other error code would promise that the write did not happen.
  const { resp, http } = CODES[error.code]
  const word = error.details.outcome === 'unknown' ? 'UNKNOWN' : resp
  return new RespError(`${word} ${error.message.replace(STATUS_PATH, STATUS_COMMAND)}`, http >= 500)
}

/** The error reply for anything that was thrown. */
export function replyOf(error: unknown): RespError {
  if (error instanceof RondoError) return errorOf(error)
  if (error instanceof CommandError) return new RespError(error.message)
  return errorOf(new RondoError('INTERNAL', `A fault of Rondo's own: ${sentenceOf(error)}.`))
}

/** What a server whose errors have codes answers when a step has refused; null = it has not. */
export function refusalIn(reply: Reply): RondoError | null {
  if (!(reply instanceof RespError)) return null
  const { code, sentence } = reply instanceof Refusal ? reply : new Refusal(reply.text)
  return new RondoError(code, sentence, { outcome: 'not-applied' })
}
