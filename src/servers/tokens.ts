/** The currently valid tokens, and their comparison in constant time. */
import { createHash, timingSafeEqual } from 'node:crypto'

export interface PlainTokens {
  readonly data: readonly string[]
  readonly admin: readonly string[]
}

export class Tokens {
  // Digests, all of one length. Empty = no token is required, which does not change while the process runs.
  data: readonly Buffer[] = []
  admin: readonly Buffer[] = []
  /** Data and admin. */
  either: readonly Buffer[] = []

  constructor(plain: PlainTokens) {
    this.replace(plain)
  }

  /** Replaces all tokens. Connections that are already authenticated stay so. */
  replace({ data, admin }: PlainTokens): void {
    this.data = data.map(digest)
    this.admin = admin.map(digest)
    this.either = [...this.data, ...this.admin]
  }
}

/** @param tokens digests */
export function isAmong(tokens: readonly Buffer[], sent: string | Buffer): boolean {
  const sentDigest = digest(sent)
  return tokens.filter((token) => timingSafeEqual(token, sentDigest)).length > 0
}

function digest(token: string | Buffer): Buffer {
  return createHash('sha256').update(token).digest()
}
