/** Errors of the coordinator as errors of the Redis protocol, and refusals of steps as errors of the other servers. */
import { RondoError } from '../core/errors.ts'
import { CODES } from '../core/error-codes.ts'
import { RespError, type Reply } from './reply.ts'
import { CommandError, Refusal } from './step.ts'
import { sentenceOf } from '../core/sentence.ts'

/** Hints to HTTP paths in a message; in the Redis protocol they become commands. */
const COMMANDS_OF_PATHS: readonly (readonly [RegExp, string])[] = [
  [/\/status\b/, 'RONDO STATUS'],
  [/\/cluster\b/, 'RONDO CLUSTER'],
  [/POST \/rebalance\/cancel\b/, 'RONDO REBALANCE CANCEL'],
  [/POST \/topology\/recover\b/, 'RONDO RECOVER'],
  [/DELETE \/topology\/changes\b/, 'RONDO REBALANCE WITHDRAW ALL'],
  [/POST \/members\/([^/ )]+)\/replace\b/, 'RONDO REPLACE $1'],
  [/PATCH \/members\/([^/ )]+)/, 'RONDO MOVE $1'],
  [/\/members lists\b/, 'RONDO MEMBERS lists'],
]

export function errorOf(error: RondoError): RespError {
  if (error.code === 'WRONG_TYPE') return new RespError(`WRONGTYPE ${error.message}`, false, error)
  // Any other error code would promise that the write did not happen.
  const { resp, http } = CODES[error.code]
  const word = error.details.outcome === 'unknown' ? 'UNKNOWN' : resp
  const sentence = COMMANDS_OF_PATHS.reduce(
    (text, [path, command]) => text.replace(path, command),
    error.message,
  )
  return new RespError(`${word} ${sentence}`, http >= 500, error)
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

/** The same error for a server whose errors have codes and that answers Redis's own texts. */
export function codedErrorOf(reply: RespError): RondoError {
  const { cause, text } = reply
  if (cause) return new RondoError(cause.code, text, cause.details)
  return reply instanceof Refusal
    ? new RondoError(reply.code, text, { outcome: 'not-applied' })
    : new RondoError('BAD_REQUEST', text)
}
