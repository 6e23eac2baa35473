/** TRUSTED_PROXIES, and the client address of a request that one of them forwarded. */
import { BlockList, isIP, isIPv6 } from 'node:net'
import { plainAddress } from './client-address.ts'

export class TrustedProxies {
  private readonly list = new BlockList()
  readonly isEmpty: boolean

  /** @param proxies addresses and networks, as `isNetwork` takes them */
  constructor(proxies: readonly string[]) {
    this.isEmpty = proxies.length === 0
    for (const proxy of proxies) {
      const [address = '', bits] = proxy.split('/')
      if (bits === undefined) this.list.addAddress(address, familyOf(address))
      else this.list.addSubnet(address, Number(bits), familyOf(address))
    }
  }

  has(address: string): boolean {
    return !this.isEmpty && isIP(address) !== 0 && this.list.check(address, familyOf(address))
  }

  /**
   * The rightmost address of X-Forwarded-For that is not a trusted proxy: anything left of it may be forged.
   *
   * @param peer address of the connection's other end
   */
  clientOf(peer: string, forwardedFor: string | string[] | undefined): string {
    let client = peer
    if (this.isEmpty || forwardedFor === undefined) return client
    const hops = String(forwardedFor).split(',')
    while (this.has(client)) {
      const hop = hopAddress(hops.pop())
      if (hop === null) break
      client = hop
    }
    return client
  }
}

/** An address, or a network as `10.0.0.0/8`. */
export function isNetwork(text: string): boolean {
  const [, address = '', bits] = /^([^/]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text) ?? []
  const version = isIP(address)
  if (version === 0 || address.includes('%')) return false
  return bits === undefined || Number(bits) <= (version === 4 ? 32 : 128)
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4'
}

/** Some proxies add the port. */
function hopAddress(hop: string | undefined): string | null {
  const text = hop?.trim() ?? ''
  const bare =
    /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text)?.[1] ?? text
  return isIP(bare) === 0 ? null : plainAddress(bare)
}
