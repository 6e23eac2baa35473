/** Keys that a command changes: what comes behind it on its connection, and touches one of them, waits until it has ended. */
import { tokenOf } from '../../../core/token.ts'
import type { Command } from '../command.ts'
import { EVERYTHING, type Connection } from './connection.ts'

/** @returns ends the claim; once */
export function claimKeys(connection: Connection, keys: readonly Buffer[], by?: Command): () => void {
  const tokens = keys.map((key) => tokenOf(key))
  return claimTokens(connection, tokens, by)
}

/** What comes behind waits, whatever it is. */
export function claimEverything(connection: Connection): () => void {
  return claimTokens(connection, [EVERYTHING])
}

function claimTokens(connection: Connection, tokens: readonly number[], by?: Command): () => void {
  connection.claim(tokens, by)
  return () => connection.released(tokens, by)
}
