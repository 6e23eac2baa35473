/** The permissions that a node's user needs, and the error if some are missing. */
import { printable } from '../core/printable.ts'

/**
 * Commands of the scripts and of the control path, checked by check-permissions.lua. A script cannot try INFO, EVAL,
 * EVALSHA and SCRIPT LOAD: their own replies show it.
 */
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

/** Without them collections that other programs stored are refused (redis/foreign.lua), and nothing else is. */
export const COMMANDS_FOR_COLLECTIONS = [
  'TYPE',
  'SCARD',
  'ZCARD',
  'LLEN',
  'XLEN',
  'MEMORY USAGE',
  'DUMP',
] as const

const KEYS = 'access to the keys __rondo:*'

/**
 * What an error says is forbidden; null for other errors. A command that the server lacks, because it was renamed,
 * counts as forbidden.
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
