/**
 * Checks the host name and the origin of a request.
 *
 * A web page can make a browser call this server in two ways. With its own name, pointed at our address after the page has
 * loaded (DNS rebinding): the browser treats it as same-origin, so only the Host header shows it. Or with our name, as a
 * cross-site request: browsers then send `Sec-Fetch-Site` or `Origin`.
 *
 * | Host header | token asked for | none, on loopback only | none, ALLOW_INSECURE=true |
 * | --- | --- | --- | --- |
 * | loopback, HOST, ALLOWED_HOSTS | yes | yes | yes |
 * | other IP address, name without a dot | yes | no | yes |
 * | other name with a dot | unless ALLOWED_HOSTS is set | no | no |
 *
 * An IP address cannot be rebound, nor (outside a local network) a name without a dot: such names belong to containers
 * and machines. Clients other than browsers can send any header; only tokens stop them.
 */
import type { IncomingMessage } from 'node:http'
import { isIPv4 } from 'node:net'
import { RondoError } from '../../core/errors.ts'

export interface HostOptions {
  /** Where the server listens. */
  readonly host: string
  /** In lower case; `*.example.com` stands for all names that end in `.example.com`. */
  readonly allowedHosts: readonly string[]
  /** Serve other machines although there are no tokens. */
  readonly allowInsecure: boolean
}

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i
const HOST_AND_PORT = /^([\w.-]{1,253}|\[[\da-f:.]{2,45}\])(?::\d{1,5})?$/i
/** Without the port if it is the scheme's default, as browsers send both. */
const HTTP_ORIGIN = /^https?:\/\/([^/]{1,300})$/i

export class Hosts {
  private readonly options: HostOptions
  private readonly own: string
  private readonly listed: ReadonlySet<string>
  private readonly suffixes: readonly string[]

  constructor(options: HostOptions) {
    this.options = options
    const { host, allowedHosts } = options
    this.own = bracketed(host.toLowerCase())
    this.listed = new Set(allowedHosts.map(bracketed))
    this.suffixes = allowedHosts.filter((name) => name.startsWith('*.')).map((name) => name.slice(1))
  }

  /** Null, or the reason why a request with this host is refused. @param guarded a token is checked as well */
  refuseHost(host: string | undefined, guarded: boolean): RondoError | null {
    const { allowedHosts, allowInsecure } = this.options
    if (guarded && allowedHosts.length === 0) return null
    // HTTP/1.0 without a Host: not a browser.
    if (host === undefined || LOOPBACK_HOST.test(host)) return null
    const name = HOST_AND_PORT.exec(host)?.[1]?.toLowerCase()
    if (name !== undefined) {
      if (name === this.own || this.isListed(name)) return null
      if ((guarded || allowInsecure) && cannotBeRebound(name)) return null
    }
    return new RondoError(
      'FORBIDDEN',
      guarded || allowInsecure
        ? 'The Host header names a host that is not in ALLOWED_HOSTS: add its name there, or call by IP address.'
        : 'Without a token for it this is served to this machine only: the Host header must name localhost, or a ' +
            'host in ALLOWED_HOSTS.',
    )
  }

  /** Null, or the reason why a browser's cross-site request is refused. */
  refuseOrigin({ headers }: IncomingMessage, host: string | undefined): RondoError | null {
    const { origin } = headers
    const site = headers['sec-fetch-site']
    const isForeign =
      (site !== undefined && site !== 'same-origin' && site !== 'none') ||
      (origin !== undefined && !this.isOwnOrigin(origin, host))
    if (!isForeign) return null
    return new RondoError(
      'FORBIDDEN',
      'A web page of another origin may not call this server: let a backend call it. If this is the page at /, ' +
        "reached through a proxy that changes the Host header, add the proxy's host name to ALLOWED_HOSTS.",
    )
  }

  private isOwnOrigin(origin: string, host: string | undefined): boolean {
    const authority = HTTP_ORIGIN.exec(origin)?.[1]?.toLowerCase()
    if (authority === undefined) return false
    if (authority === host?.toLowerCase()) return true
    const name = HOST_AND_PORT.exec(authority)?.[1]
    return name !== undefined && this.isListed(name)
  }

  private isListed(name: string): boolean {
    return this.listed.has(name) || this.suffixes.some((suffix) => name.endsWith(suffix))
  }
}

/** As in a Host header. */
function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}

function cannotBeRebound(name: string): boolean {
  return name.startsWith('[') || isIPv4(name) || !name.includes('.')
}
