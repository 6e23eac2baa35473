/** What an error reply of Redis means for the call and the node. */
import type { FailureReason, UnwritableReason } from '../node.ts'

const ERROR_REASONS: Record<string, FailureReason> = {
  OOM: 'out-of-memory',
  READONLY: 'read-only',
  LOADING: 'loading',
  MISCONF: 'misconf',
  BUSY: 'busy',
  WRONGTYPE: 'wrong-type',
}

const UNWRITABLE: ReadonlySet<FailureReason> = new Set<UnwritableReason>([
  'out-of-memory',
  'read-only',
  'loading',
  'misconf',
  'busy',
  'no-permission',
])

/** Of a command, that is: a user that may not use a key may use others. */
const FORBIDDEN_COMMAND =
  /^-?(NOPERM .*\bcommand\b|ERR unknown command\b|ERR .*(The user executing the script can't run this command|Unknown (Redis )?command called from))/

/**
 * The first word of an error reply is its code. Redis before 7 quotes the error inside a script, with a dash if the
 * command was not executed and without one if it was:
 *
 *     ERR Error running script (call to f_0a9b…): @user_script:41: @user_script: 41: -OOM command not allowed when …
 *     ERR Error running script (call to f_0a9b…): @user_script:41: WRONGTYPE Operation against a key holding …
 */
export function errorReason(text: string): FailureReason {
  if (FORBIDDEN_COMMAND.test(text)) return 'no-permission'
  const word = /^-?([A-Z]+)\b/.exec(text)?.[1] ?? ''
  const inScript = /^-?ERR Error running script .*@user_script: ?\d+: -?([A-Z]+) /.exec(text)?.[1] ?? ''
  return ERROR_REASONS[word] ?? ERROR_REASONS[inScript] ?? 'error'
}

export function isUnwritable(reason: FailureReason): reason is UnwritableReason {
  return UNWRITABLE.has(reason)
}
