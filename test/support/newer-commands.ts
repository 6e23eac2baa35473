/**
 * Commands that Redis 7.0 does not have: the tests that compare with one leave them out, and check them against what the
 * documentation of Redis 8.4 says, and of Valkey 9 for DELIFEQ.
 */
export const NEWER_COMMANDS: readonly string[] = ['delex', 'delifeq', 'digest', 'msetex']

/** Commands that have more options since Redis 7.2: their arity in 7.0. */
export const OLDER_ARITY: Readonly<Record<string, number>> = { zrank: 3, zrevrank: 3 }
