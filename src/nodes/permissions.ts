/** What a node's user must be allowed to do, and what is said where it is not. */
import { printable } from '../core/printable.ts'

/** Of the scripts and of the control path, as check-permissions.lua tries them. */
export const CHECKED_COMMANDS = [
  'GET',
  'GETRANGE',
  'STRLEN',
  'EXISTS',
  'STRLEN',
  'EXISTS',
  'SET',
  'SETRANGE',
  'DEL',
  'PTTL',
  'PEXPIRE',
  'HLEN',
  'HGET',
  'HEXISTS',
  'HDEL',
  'HSCAN',
  'TIME',
  'SCAN',
  'HSET',
] as const

/** Those that a script cannot try: the answers to them tell. */
export const CALLED_COMMANDS = ['INFO', 'EVAL', 'EVALSHA', 'SCRIPT LOAD'] as const

const KEYS = 'access to the keys __rondo:*'

/**
 * What the error says is forbidden, or null for another error. A server that has not got a command, because it was
 * renamed, forbids it as well.
 */
export function forbiddenBy(command: string, message: string): string | null {
  if (/^NOPERM .*\bkeys\b/.test(message)) return KEYS
  if (!/^(NOPERM\b|ERR unknown command\b)/i.test(message)) return null
  const named = /'([\w|-]{1,40})'/.exec(message)?.[1]
  return named?.toUpperCase().replace('|', ' ') ?? command
}

export function forbiddenSentence(forbidden: readonly string[]): string {
  const names = [...new Set(forbidden)].sort().join(', ')
  return printable(
    `the node forbids what Rondo needs: ${names}; allow it to the user (ACL SETUSER), or do not rename it`,
    400,
  )
}
