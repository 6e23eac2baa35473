/**
 * Under which names the server is called, and by whose pages.
 *
 * A web page can make a browser call us in two ways. Under its own name, pointed at our address after the page has
 * loaded (DNS rebinding): the browser takes that for the page's own server, so only the Host header gives it away. Or
 * under our name, as a cross-site request: browsers say so in `Sec-Fetch-Site` or `Origin`.
 *
 * | Host header | token asked for | none, on loopback only | none, ALLOW_INSECURE=true |
 * | --- | --- | --- | --- |
 * | loopback, HOST, ALLOWED_HOSTS | yes | yes | yes |
 * | other IP address, name without a dot | yes | no | yes |
 * | other name with a dot | unless ALLOWED_HOSTS is set | no | no |
 *
 * Nobody can point an IP address elsewhere, or (outside of a local network) a name without a dot: such names are those
 * of containers and machines. What is no browser can send any header, and is stopped by tokens only.
 */
import type { IncomingMessage } from 'node:http'
import { isIPv4 } from 'node:net'
import { RondoError } from '../../core/errors.ts'

export interface HostOptions {
  /** Where the server listens. */
  readonly host: string
  /** In lower case; `*.example.com` stands for all names that end in `.example.com`. */
  readonly allowedHosts: readonly string[]
  /** Serve others than this machine although there are no tokens. */
  readonly allowInsecure: boolean
}

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i
const HOST_AND_PORT = /^([\w.-]{1,253}|\[[\da-f:.]{2,45}\])(?::\d{1,5})?$/i
/** With the port left out where it is the scheme's own, as browsers send both. */
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

  /** Null, or why a request that names this host is not served. @param guarded a token decides as well */
  refuseHost(host: string | undefined, guarded: boolean): RondoError | null {
    const { allowedHosts, allowInsecure } = this.options
    if (guarded && allowedHosts.length === 0) return null
    // HTTP/1.0 without a Host: no browser.
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

  /** Null, or why a browser's request on behalf of a page that we did not serve is refused. */
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
