/**
 * Tokens that clients show, compared without telling by the time it takes how much of one was right. An address that
 * sends many wrong ones is not listened to for a while.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'

/** Wrong tokens from one address within the window, beyond which none of its tokens is looked at. */
export const MAX_WRONG_TOKENS = 20
const WRONG_TOKEN_WINDOW_MS = 60_000
/** Addresses remembered; beyond that the oldest are forgotten. */
const MAX_ADDRESSES = 10_000

/** Equal lengths for the comparison, which then takes the same time whatever was sent. */
export function digest(token: string | Buffer): Buffer {
  return createHash('sha256').update(token).digest()
}

export class TokenTries {
  /** Wrong tokens by address; an entry goes a window after its last one. */
  private readonly wrong = new LRUCache<string, number>({ max: MAX_ADDRESSES, ttl: WRONG_TOKEN_WINDOW_MS })

  /** Too many wrong tokens came from this address. */
  isBarred(address: string): boolean {
    return this.wrong.size > 0 && (this.wrong.get(address) ?? 0) >= MAX_WRONG_TOKENS
  }

  /**
   * Whether what was sent is one of the tokens; if not, that is noted.
   *
   * @param tokens their digests
   */
  accepts(address: string, sent: string | Buffer, tokens: readonly Buffer[]): boolean {
    const sentDigest = digest(sent)
    if (tokens.filter((token) => timingSafeEqual(token, sentDigest)).length > 0) return true
    this.wrong.set(address, (this.wrong.get(address) ?? 0) + 1)
    return false
  }
}
