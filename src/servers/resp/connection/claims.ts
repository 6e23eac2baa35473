/** Claims on keys that a command changes: later commands of its connection on these keys wait until it has ended. */
import { tokenOf } from '../../../core/token.ts'
import type { Client, Command } from '../model.ts'

/** Claimed in place of a key's token: all keys. */
export const EVERYTHING = -1

/** @returns releases the claim; call it once */
export function claimKeys(client: Client, keys: readonly Buffer[], by?: Command): () => void {
  const tokens = keys.map((key) => tokenOf(key))
  return claimTokens(client, tokens, by)
}

/** All later commands wait. */
export function claimEverything(client: Client): () => void {
  return claimTokens(client, [EVERYTHING])
}

function claimTokens(client: Client, tokens: readonly number[], by?: Command): () => void {
  client.claim(tokens, by)
  return () => client.released(tokens, by)
}
