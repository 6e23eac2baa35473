/**
 * Checks that every request must pass first: valid framing, an allowed host and origin (hosts.ts), and the token for the
 * scope of the matched route (routes.ts).
 */
import type { IncomingMessage } from 'node:http'
import { RondoError } from '../../core/errors.ts'
import { plainAddress } from '../../config/client-address.ts'
import { isAmong, type Tokens } from '../tokens.ts'
import type { TokenTries } from '../token-tries.ts'
import type { TrustedProxies } from '../../config/trusted-proxies.ts'
import type { Exchange } from './exchange.ts'
import { Hosts, type HostOptions } from './hosts.ts'
import { WrongToken } from '../wrong-token.ts'
import { connectionOf } from './traffic.ts'

/** `usage`: for admins, but the answer names keys, so that without ADMIN_TOKEN it needs DATA_TOKEN, if there is one. */
export type Scope = 'open' | 'data' | 'status' | 'usage' | 'admin'

export interface GuardOptions extends HostOptions {
  readonly tokens: Tokens
  readonly tries: TokenTries
  /** Proxies whose X-Forwarded-For is trusted. */
  readonly proxies: TrustedProxies
}

export class Guard {
  private readonly tokens: Tokens
  /** Whether a scope needs a token; `open` counts as guarded if any token is set. */
  private readonly guarded: Readonly<Record<Scope, boolean>>
  private readonly hosts: Hosts
  private readonly tries: TokenTries
  private readonly proxies: TrustedProxies

  constructor(options: GuardOptions) {
    this.tokens = options.tokens
    this.tries = options.tries
    this.proxies = options.proxies
    const { data, admin, either } = options.tokens
    const guarded = either.length > 0
    this.guarded = {
      open: guarded,
      data: data.length > 0,
      status: guarded,
      usage: guarded,
      admin: admin.length > 0,
    }
    this.hosts = new Hosts(options)
  }

  /** Null, or the reason to close the connection: parsers could disagree on where such a request ends (request smuggling). */
  framing(req: IncomingMessage): RondoError | null {
    if (req.httpVersionMajor !== 1) return new RondoError('BAD_REQUEST', 'Only HTTP/1.1 is supported.')
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

  /**
   * Null, or the reason why this request is refused.
   *
   * @param options.tokenInQuery whether the token may stand in the query
   */
  admit(exchange: Exchange, scope: Scope, { tokenInQuery = false } = {}): RondoError | null {
    const { req, host } = exchange
    const foreign = this.hosts.refuseHost(host, this.guarded[scope])
    if (foreign) return foreign
    // Any site may link to an open page.
    if (scope !== 'open' || (req.method !== 'GET' && req.method !== 'HEAD')) {
      const refused = this.hosts.refuseOrigin(req, host)
      if (refused) return refused
    }
    const tokens = this.tokensFor(scope)
    if (tokens.length === 0) return null
    const inQuery = tokenInQuery ? exchange.sentToken : null
    const given = req.headers.authorization ?? (inQuery === null ? undefined : `Bearer ${inQuery}`)
    return this.checkToken(req, given, tokens)
  }

  /** Empty = no token is needed. */
  private tokensFor(scope: Scope): readonly Buffer[] {
    switch (scope) {
      case 'open':
        return []
      case 'data':
        return this.tokens.data
      case 'status':
        return this.tokens.either
      case 'usage':
        return this.tokens.admin.length > 0 ? this.tokens.admin : this.tokens.data
      case 'admin':
        return this.tokens.admin
    }
  }

  private checkToken(
    req: IncomingMessage,
    authorization: string | undefined,
    tokens: readonly Buffer[],
  ): RondoError | null {
    if (authorization === undefined) {
      return new RondoError('UNAUTHORIZED', 'This needs a token: send it as "Authorization: Bearer <token>".')
    }
    const sent = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(authorization)?.[1]
    if (sent === undefined) {
      return new RondoError(
        'UNAUTHORIZED',
        'The Authorization header is malformed: it must be "Bearer <token>", and no other scheme is offered.',
      )
    }
    if (isAmong(tokens, sent)) {
      connectionOf(req.socket)?.showedToken()
      return null
    }
    const peer = plainAddress(req.socket.remoteAddress)
    const client = this.proxies.clientOf(peer, req.headers['x-forwarded-for'])
    return new WrongToken(this.tries.note(client, 'http'))
  }
}
