/**
 * Addresses that somebody gives over an API are checked before any connection is made: a coordinator could otherwise be
 * used to reach what only its machine can reach (server-side request forgery), or itself.
 *
 * A name is resolved again for each connection. Who controls the name's DNS can change it after the check: give addresses,
 * or names of your own.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { isUnsafeTarget, parseNodeList, placeText } from '../config/node-addresses.ts'
import { RondoError } from '../core/errors.ts'

export interface NewAddressOptions {
  /** Where this coordinator listens. */
  readonly host: string
  readonly ports: () => readonly number[]
}

/** @throws RondoError BAD_REQUEST */
export async function checkNewAddress(url: string, { host, ports }: NewAddressOptions): Promise<void> {
  const [node] = parseNodeList(url).nodes
  if (!node) throw new RondoError('BAD_REQUEST', 'The node has no address that this coordinator understands.')
  if (node.service) {
    for (const sentinel of node.service.sentinels) await checkNewAddress(placeText(sentinel), { host, ports })
    return
  }
  const found = await addressesOf(node.host)
  if (found.length === 0) throw new RondoError('BAD_REQUEST', `The name ${node.host} leads to no address.`)
  if (found.some(isUnsafeTarget)) {
    throw new RondoError(
      'BAD_REQUEST',
      `${node.address} is a link-local, multicast, unspecified or cloud metadata address; no node can join from there.`,
    )
  }
  if (!ports().includes(node.port)) return
  const own = await ownAddresses(host)
  if (found.some((address) => own.includes(address))) {
    throw new RondoError(
      'BAD_REQUEST',
      `${node.address} is this coordinator itself: give the address of a Redis.`,
    )
  }
}

async function addressesOf(host: string): Promise<string[]> {
  if (isIP(host) !== 0) return [host]
  const found = await lookup(host, { all: true }).catch(() => []) // a name that leads nowhere is refused by the caller
  return found.map(({ address }) => address)
}

/** An unspecified host listens on all addresses of this machine. */
function ownAddresses(host: string): Promise<string[]> {
  if (host !== '0.0.0.0' && host !== '::') return addressesOf(host)
  const all = Object.values(networkInterfaces()).flatMap((addresses = []) => addresses)
  return Promise.resolve(all.map(({ address }) => address))
}
