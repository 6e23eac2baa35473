/**
 * What every request must pass before anything looks at it: sound framing, the loopback rule, the token.
 *
 * What no token guards is for this machine only. Such a request must name a loopback host: a web page that makes a
 * browser call us under a name of its own (DNS rebinding) names another. Where there is a token the token decides.
 */
import type { IncomingMessage } from 'node:http'
import { RondoError } from '../../core/errors.ts'
import { digest, TokenTries } from '../tokens.ts'

export type Scope = 'open' | 'data' | 'status' | 'admin'

export interface GuardOptions {
  readonly dataToken: string | null
  readonly adminToken: string | null
  /** Take any Host although there are no tokens. */
  readonly allowInsecure: boolean
}

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i

export class Guard {
  /** Digests of the tokens that open each scope; none = nobody is asked for one. */
  private readonly tokens: Readonly<Record<Scope, readonly Buffer[]>>
  /** Whether requests of a scope may name any host. */
  private readonly anyHost: Readonly<Record<Scope, boolean>>
  private readonly tries = new TokenTries()

  constructor(options: GuardOptions) {
    const { dataToken, adminToken, allowInsecure } = options
    const data = dataToken === null ? [] : [digest(dataToken)]
    const admin = adminToken === null ? [] : [digest(adminToken)]
    const either = [...data, ...admin]
    this.tokens = { open: [], data, status: either, admin }
    const guarded = either.length > 0
    this.anyHost = {
      open: allowInsecure || guarded,
      data: allowInsecure || data.length > 0,
      status: allowInsecure || guarded,
      admin: allowInsecure || admin.length > 0,
    }
  }

  /** Null, or why the connection has to end: two readers could disagree on where such a request ends. */
  framing(req: IncomingMessage): RondoError | null {
    if (req.httpVersionMajor !== 1) return new RondoError('BAD_REQUEST', 'Only HTTP/1.1 is spoken here.')
    if (req.url!.includes('#')) {
      return new RondoError('BAD_REQUEST', 'A # in a path or query is sent as %23.')
    }
    const raw = req.rawHeaders
    let hosts = 0
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i]!
      if (name.length === 4 && name.toLowerCase() === 'host') hosts++
      else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') {
        if (raw[i + 1]!.toLowerCase() !== 'chunked' || req.httpVersionMinor === 0) {
          return new RondoError('BAD_REQUEST', 'The only Transfer-Encoding taken is chunked, in HTTP/1.1.')
        }
      }
    }
    if (hosts > 1) return new RondoError('BAD_REQUEST', 'The request has two Host headers.')
    if (hosts === 0 && req.httpVersionMinor > 0) {
      return new RondoError('BAD_REQUEST', 'The request has no Host header.')
    }
    return null
  }

  /** Null, or why this request is not served. */
  admit(req: IncomingMessage, scope: Scope): RondoError | null {
    const host = req.headers.host
    if (!this.anyHost[scope] && host !== undefined && !LOOPBACK_HOST.test(host)) {
      return new RondoError(
        'FORBIDDEN',
        'Without a token for it this is served to this machine only: the Host header must name localhost.',
      )
    }
    const tokens = this.tokens[scope]
    return tokens.length === 0 ? null : this.checkToken(req, tokens)
  }

  private checkToken(req: IncomingMessage, tokens: readonly Buffer[]): RondoError | null {
    const address = req.socket.remoteAddress ?? ''
    if (this.tries.isBarred(address)) {
      return new RondoError('RATE_LIMITED', 'Too many wrong tokens came from this address; wait a minute.')
    }
    const sent = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(req.headers.authorization ?? '')?.[1]
    if (sent !== undefined && this.tries.accepts(address, sent, tokens)) return null
    return new RondoError('UNAUTHORIZED', 'Send the token as "Authorization: Bearer <token>".')
  }
}
