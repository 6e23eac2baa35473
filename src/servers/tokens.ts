/** The tokens that are valid now, and their comparison, which takes the same time however much of one was right. */
import { createHash, timingSafeEqual } from 'node:crypto'

export interface PlainTokens {
  readonly data: readonly string[]
  readonly admin: readonly string[]
}

export class Tokens {
  // Their digests, all of one length. None = nobody is asked for one; that does not change while the process runs.
  data: readonly Buffer[] = []
  admin: readonly Buffer[] = []
  /** Data and admin. */
  either: readonly Buffer[] = []

  constructor(plain: PlainTokens) {
    this.replace(plain)
  }

  /** From now on these are valid, and no others. Who has shown one before on a connection is not asked again. */
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
