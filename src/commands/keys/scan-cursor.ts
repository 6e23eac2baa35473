/**
 * Cursors of SCAN. The coordinator's are texts, `<index of a node>-<its own cursor>` and `.<index>` for each node that was
 * not sound when the listing started; Redis clients accept only 64-bit integers, some only 63 or 53 bits. So the text is
 * encoded as a number with the node's cursor in the highest digits, because it is small: Redis's is below the size of its
 * key table.
 *
 *   ((cursor × nodes + place) × (nodes + 1) + 0) × (nodes + 1) + not sound + 1 …
 *
 * The number contains everything in the text: any coordinator of the same nodes can continue with it. A text that does not
 * fit 62 bits (dozens of nodes that are not sound) is kept here instead, a limited number of them, under a random number
 * above 2^62; these are lost with the process, and then the listing starts over.
 */
import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'

const MAX_KEPT = 1000
const KEPT_FROM = 2n ** 62n
const MAX_CURSOR = 2n ** 64n - 1n
const LISTING_CURSOR = /^(\d+)-(\d+)((?:\.\d+)*)$/

export class ScanCursors {
  private readonly nodes: bigint
  private readonly kept = new LRUCache<string, string>({ max: MAX_KEPT })

  /** @param nodes how many the cluster has */
  constructor(nodes: number) {
    this.nodes = BigInt(nodes)
  }

  /** The coordinator's cursor as a decimal number; '0' stays '0'. */
  toNumber(cursor: string): string {
    if (cursor === '0') return cursor
    const [, place, nodeCursor, others] = LISTING_CURSOR.exec(cursor) ?? []
    if (place === undefined || nodeCursor === undefined || others === undefined) return this.keep(cursor)
    const base = this.nodes + 1n
    let number = (BigInt(nodeCursor) * this.nodes + BigInt(place)) * base
    for (const other of others.split('.').slice(1)) number = number * base + BigInt(other) + 1n
    return number < KEPT_FROM ? String(number) : this.keep(cursor)
  }

  /** The coordinator's cursor; an empty text starts, as in Redis; null = invalid, or no longer kept. */
  toCursor(number: string): string | null {
    if (!/^\d{0,20}$/.test(number)) return null
    let rest = BigInt(number)
    if (rest === 0n) return '0'
    if (rest >= KEPT_FROM) return rest > MAX_CURSOR ? null : (this.kept.get(String(rest)) ?? null)
    const base = this.nodes + 1n
    const others: bigint[] = []
    for (; rest % base !== 0n; rest /= base) others.unshift((rest % base) - 1n)
    rest /= base
    return `${rest % this.nodes}-${rest / this.nodes}${others.map((other) => `.${other}`).join('')}`
  }

  private keep(cursor: string): string {
    const number = String(KEPT_FROM + (randomBytes(8).readBigUInt64BE() >> 2n))
    this.kept.set(number, cursor)
    return number
  }
}
