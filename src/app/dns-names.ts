/** The name of DISCOVERY_URL, and those of members, as this machine resolves them. */
import { lookup as lookUp } from 'node:dns/promises'
import { isIP, isIPv4 } from 'node:net'
import { parseHost, parseNodeList, placeText, type Place } from '../config/node-addresses.ts'
import type { TimerHandle, Timers } from '../core/clock.ts'
import type { Names } from '../repair/discovery.ts'

/** All addresses of a name, as text. Rejects if there is none. */
export type Lookup = (host: string) => Promise<readonly string[]>

export interface DnsNamesOptions {
  /** What is found by this name, at this port. */
  readonly at: Place
  readonly lookup: Lookup
  readonly timers: Timers
}

/** With search domains and /etc/hosts, as other programs of this machine. */
export async function lookupHere(host: string): Promise<readonly string[]> {
  const found = await lookUp(host, { all: true })
  return found.map(({ address }) => address)
}

/** The system's resolver may try for much longer. */
const LOOKUP_MS = 3000

export class DnsNames implements Names {
  private readonly options: DnsNamesOptions

  constructor(options: DnsNamesOptions) {
    this.options = options
  }

  /** IPv6 only where there is nothing else: a server with an address of each kind is one server. */
  async find(): Promise<readonly string[]> {
    const { host, port } = this.options.at
    const all = await this.addressesOf(host)
    const preferred = all.some((address) => isIPv4(address)) ? all.filter((address) => isIPv4(address)) : all
    if (preferred.length === 0) throw new Error(`${host} leads to no address`)
    return placesAt(preferred, port)
  }

  async placesOf(url: string): Promise<readonly string[]> {
    const [node] = parseNodeList(url).nodes
    if (!node || node.service) return []
    // Whether it can be reached is shown by its health; here it only is not recognised.
    return placesAt(await this.addressesOf(node.host).catch(() => []), node.port)
  }

  private async addressesOf(host: string): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host]
    const { lookup, timers } = this.options
    let timer: TimerHandle
    const late = new Promise<never>((_resolve, reject) => {
      timer = timers.setTimeout(() => reject(new Error(`no answer within ${LOOKUP_MS} ms`)), LOOKUP_MS)
    })
    return Promise.race([lookup(host), late]).finally(() => timers.clearTimeout(timer))
  }
}

/** In one order, each once. */
function placesAt(addresses: readonly string[], port: number): string[] {
  const places = addresses.map((address) => placeText({ host: parseHost(address) ?? address, port }))
  return [...new Set(places)].sort()
}
