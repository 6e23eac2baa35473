/**
 * Which addresses an origin may have: public ones, and private ones that LOADER_ALLOW names, by the network or by the name
 * that leads to them. So a DNS name that someone else can change leads to no machine of ours.
 */
import { BlockList, isIP, isIPv6 } from 'node:net'
import { plainAddress } from './client-address.ts'
import type { LoaderAllow } from './loader-url.ts'

/** Nobody can make these lead elsewhere (RFC 6761). */
const LOCALHOST = /^(.+\.)?localhost\.?$/
const LOOPBACK = ['127.0.0.1', '::1']

type Networks = Readonly<Record<'ipv4' | 'ipv6', BlockList>>

/** Loopback, private, link-local, shared, documentation, multicast and reserved, and IPv4 in the clothes of IPv6. */
const NOT_PUBLIC = networks([
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'],
  ...['192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24'],
  ...['203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
  ...['::/96', '::ffff:0:0/96', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32'],
  ...['2002::/16', '3fff::/20', '5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
])

export class OriginAddresses {
  private readonly hosts: readonly string[]
  private readonly allowed: Networks

  constructor(allow: LoaderAllow) {
    this.hosts = allow.hosts
    this.allowed = networks(allow.networks)
  }

  /** @param host the name that has led to the address, in lower case; the address itself, if the URL has that */
  allows(host: string, address: string): boolean {
    const plain = plainAddress(address)
    if (isIP(plain) === 0) return false
    return this.names(host) || isIn(this.allowed, plain) || !isIn(NOT_PUBLIC, plain)
  }

  /**
   * Whether some address of the host may be allowed, as far as that is known before it is resolved.
   *
   * @param host of a URL, in its normal form
   */
  mayAllow(host: string): boolean {
    const plain = plainHost(host)
    if (LOCALHOST.test(plain)) return LOOPBACK.some((address) => this.allows(plain, address))
    return isIP(plain) === 0 || this.allows(plain, plain)
  }

  private names(host: string): boolean {
    return this.hosts.some((name) => (name.startsWith('*.') ? host.endsWith(name.slice(1)) : host === name))
  }
}

/** Without the brackets of an IPv6 address. */
export function plainHost(host: string): string {
  return host.replace(/^\[|\]$/g, '')
}

/** One list for each family: a BlockList takes IPv4 for IPv6 where both are in it. */
function networks(all: readonly string[]): Networks {
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() }
  for (const network of all) {
    const [address = '', bits] = network.split('/')
    const family = familyOf(address)
    if (bits === undefined) lists[family].addAddress(address, family)
    else lists[family].addSubnet(address, Number(bits), family)
  }
  return lists
}

function isIn(lists: Networks, address: string): boolean {
  const family = familyOf(address)
  return lists[family].check(address, family)
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4'
}
