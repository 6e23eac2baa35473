/** Keys that a command changes: what comes behind it on its connection, and touches one of them, waits until it has ended. */
import { tokenOf } from '../../../core/token.ts'
import type { Client, Command } from '../model.ts'

/** Claimed in place of a key's token: all keys. */
export const EVERYTHING = -1

/** @returns ends the claim; once */
export function claimKeys(client: Client, keys: readonly Buffer[], by?: Command): () => void {
  const tokens = keys.map((key) => tokenOf(key))
  return claimTokens(client, tokens, by)
}

/** What comes behind waits, whatever it is. */
export function claimEverything(client: Client): () => void {
  return claimTokens(client, [EVERYTHING])
}

function claimTokens(client: Client, tokens: readonly number[], by?: Command): () => void {
  client.claim(tokens, by)
  return () => client.released(tokens, by)
}
