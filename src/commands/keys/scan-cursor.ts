/**
 * Cursors of SCAN. The coordinator's are texts (coordinator/listing/listing.ts): an epoch, the index of a node, its own
 * cursor, and the indexes of the nodes that were not sound when the listing started. Redis clients accept only 64-bit
 * integers, some only 63 or 53 bits. So the text is encoded as a number with the node's cursor in the highest digits,
 * because it is small: Redis's is below the size of its key table.
 *
 *   (((cursor × nodes + place) × (nodes + 1) + 0) × (nodes + 1) + not sound + 1 …) × 1024 + epoch mod 1024
 *
 * The number contains everything in the text: any coordinator of the same nodes can continue with it. A text that does not
 * fit 62 bits (dozens of nodes that are not sound) is kept here instead, a limited number of them, under a random number
 * above 2^62; these are lost with the process, and then the listing starts over. So it does after a change of the nodes,
 * whose indexes mean something else then. (A client that comes back after 1,024 changes in a row may miss keys.)
 */
import { LRUCache } from 'lru-cache'
import type { KeyStore } from '../../coordinator/api.ts'

const MAX_KEPT = 1000
const KEPT_FROM = 2n ** 62n
const MAX_CURSOR = 2n ** 64n - 1n
const EPOCHS = 1024n
const LISTING_CURSOR = /^(\d+):(\d+)-(\d+)((?:\.\d+)*)$/

export class ScanCursors {
  private readonly store: Pick<KeyStore, 'nodes' | 'epoch'>
  private readonly random: () => number
  private readonly kept = new LRUCache<string, string>({ max: MAX_KEPT })

  constructor(store: Pick<KeyStore, 'nodes' | 'epoch'>, random: () => number) {
    this.store = store
    this.random = random
  }

  /** The coordinator's cursor as a decimal number; '0' stays '0'. */
  toNumber(cursor: string): string {
    if (cursor === '0') return cursor
    const [, epoch, place, nodeCursor, others] = LISTING_CURSOR.exec(cursor) ?? []
    if (place === undefined || nodeCursor === undefined || others === undefined) return this.keep(cursor)
    if (Number(epoch) !== this.store.epoch) return this.keep(cursor)
    const { nodes, base } = this
    let number = (BigInt(nodeCursor) * nodes + BigInt(place)) * base
    for (const other of others.split('.').slice(1)) number = number * base + BigInt(other) + 1n
    number = number * EPOCHS + this.shortEpoch
    return number < KEPT_FROM ? String(number) : this.keep(cursor)
  }

  /** The coordinator's cursor; an empty text starts, as in Redis; null = invalid, or no longer kept. */
  toCursor(number: string): string | null {
    if (!/^\d{0,20}$/.test(number)) return null
    let rest = BigInt(number)
    if (rest === 0n) return '0'
    if (rest >= KEPT_FROM) return rest > MAX_CURSOR ? null : (this.kept.get(String(rest)) ?? null)
    if (rest % EPOCHS !== this.shortEpoch) return '0'
    rest /= EPOCHS
    const { nodes, base } = this
    const others: bigint[] = []
    for (; rest % base !== 0n; rest /= base) others.unshift((rest % base) - 1n)
    rest /= base
    const notSound = others.map((other) => `.${other}`).join('')
    return `${this.store.epoch}:${rest % nodes}-${rest / nodes}${notSound}`
  }

  private get nodes(): bigint {
    return BigInt(this.store.nodes.length)
  }

  /** One more than there are nodes: digit 0 ends the list of those that were not sound. */
  private get base(): bigint {
    return this.nodes + 1n
  }

  private get shortEpoch(): bigint {
    return BigInt(this.store.epoch) % EPOCHS
  }

  private keep(cursor: string): string {
    const half = () => BigInt(Math.floor(this.random() * 2 ** 31))
    const number = String(KEPT_FROM + ((half() << 31n) | half()))
    this.kept.set(number, cursor)
    return number
  }
}
