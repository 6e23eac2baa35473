/**
 * What every request must pass before anything looks at it: sound framing, the loopback rule, the token.
 *
 * Without tokens Rondo serves this machine only. Then a request must name a loopback host: a web page that makes a
 * browser call us under a name of its own (DNS rebinding) names another. With a token the token decides.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { LRUCache } from 'lru-cache'
import { RondoError } from '../../core/errors.ts'

export type Scope = 'open' | 'data' | 'status'

export interface GuardOptions {
  readonly dataToken: string | null
  readonly adminToken: string | null
  /** Take any Host although there are no tokens. */
  readonly allowInsecure: boolean
}

/** Wrong tokens from one address within the window, beyond which it gets 429 whatever it sends. */
const MAX_WRONG_TOKENS = 20
const WRONG_TOKEN_WINDOW_MS = 60_000
/** Addresses remembered; beyond that the oldest are forgotten. */
const MAX_ADDRESSES = 10_000

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i

export class Guard {
  private readonly data: Buffer | null
  private readonly admin: Buffer | null
  private readonly anyHost: boolean
  /** Wrong tokens by address; an entry goes a window after its last one. */
  private readonly wrong = new LRUCache<string, number>({ max: MAX_ADDRESSES, ttl: WRONG_TOKEN_WINDOW_MS })

  constructor(options: GuardOptions) {
    this.data = options.dataToken === null ? null : digest(options.dataToken)
    this.admin = options.adminToken === null ? null : digest(options.adminToken)
    this.anyHost = options.allowInsecure || this.data !== null || this.admin !== null
  }

  /** Null, or why the connection has to end: two readers could disagree on where such a request ends. */
  framing(req: IncomingMessage): RondoError | null {
    if (req.httpVersionMajor < 1) return new RondoError('BAD_REQUEST', 'HTTP/0.9 is not spoken here.')
    const raw = req.rawHeaders
    let hosts = 0
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i]!
      if (name.length === 4 && name.toLowerCase() === 'host') hosts++
      else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') {
        if (raw[i + 1]!.toLowerCase() !== 'chunked') {
          return new RondoError('BAD_REQUEST', 'The only Transfer-Encoding taken is chunked.')
        }
      }
    }
    if (hosts > 1) return new RondoError('BAD_REQUEST', 'The request has two Host headers.')
    return null
  }

  /** Null, or why this request is not served. */
  admit(req: IncomingMessage, scope: Scope): RondoError | null {
    const host = req.headers.host
    if (!this.anyHost && host !== undefined && !LOOPBACK_HOST.test(host)) {
      return new RondoError(
        'FORBIDDEN',
        'Without DATA_TOKEN and ADMIN_TOKEN only this machine is served: the Host header must name localhost.',
      )
    }
    if (scope === 'open') return null
    const allowed = scope === 'data' ? [this.data] : [this.data, this.admin]
    const tokens = allowed.filter((token) => token !== null)
    return tokens.length === 0 ? null : this.checkToken(req, tokens)
  }

  private checkToken(req: IncomingMessage, tokens: Buffer[]): RondoError | null {
    const address = req.socket.remoteAddress ?? ''
    if (this.wrong.size > 0 && (this.wrong.get(address) ?? 0) >= MAX_WRONG_TOKENS) {
      return new RondoError('RATE_LIMITED', 'Too many wrong tokens came from this address; wait a minute.')
    }
    const sent = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(req.headers.authorization ?? '')?.[1]
    if (sent !== undefined) {
      const sentDigest = digest(sent)
      if (tokens.filter((token) => timingSafeEqual(token, sentDigest)).length > 0) return null
      this.wrong.set(address, (this.wrong.get(address) ?? 0) + 1)
    }
    return new RondoError('UNAUTHORIZED', 'Send the token as "Authorization: Bearer <token>".')
  }
}

/** Equal lengths for the comparison, which then takes the same time whatever was sent. */
function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
