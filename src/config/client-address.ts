/** Addresses of clients: one spelling for each, and the network that one client may have for itself. */
import { isIPv6 } from 'node:net'

/** IPv4 addresses that an IPv6 socket tells (`::ffff:10.0.0.1`) as IPv4, others without their zone (`%eth0`). */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return ''
  const percent = address.indexOf('%')
  const plain = percent < 0 ? address : address.slice(0, percent)
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain)?.[1] ?? plain
}

/** The /64 of an IPv6 address, which belongs to one customer or machine; other addresses are their own network. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.toLowerCase().split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  // An IPv4 address at the end takes the place of two groups.
  const groups = before.length + after.length + (address.includes('.') ? 1 : 0)
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - groups }, () => '0')
  const first = [...before, ...zeros, ...after].slice(0, 4).map((group) => group.replace(/^0+(?=.)/, ''))
  return `${first.join(':')}::/64`
}

/** As Redis writes it. */
export function addressText(address: string, port: number | undefined): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`
}
