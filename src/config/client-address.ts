/** Client addresses: normalization, and the network that belongs to one client. */
import { isIPv6 } from 'node:net'

/** Normalizes an address: IPv4-mapped IPv6 (`::ffff:10.0.0.1`) to IPv4, other IPv6 without the zone (`%eth0`). */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return ''
  const percent = address.indexOf('%')
  const plain = percent < 0 ? address : address.slice(0, percent)
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain)?.[1] ?? plain
}

/** The /64 of an IPv6 address, which belongs to one customer or machine; an IPv4 address is its own network. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.toLowerCase().split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  // A trailing IPv4 address stands for two groups.
  const groups = before.length + after.length + (address.includes('.') ? 1 : 0)
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - groups }, () => '0')
  const first = [...before, ...zeros, ...after].slice(0, 4).map((group) => group.replace(/^0+(?=.)/, ''))
  return `${first.join(':')}::/64`
}

/** In Redis's format. */
export function addressText(address: string, port: number | undefined): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`
}
