/**
 * Positions on the ring: the uint32 tokens of keys and vnodes.
 *
 *   key    cart:{user:7}:items   →  Murmur3("user:7")    a hash tag keeps related keys on the same nodes
 *   key    user:7                →  Murmur3("user:7")
 *   part   a part of a large collection  →  the token of the collection's key (part-keys.ts)
 *   vnode  (redis-1, 42)         →  Murmur3("redis-1#42")
 *
 * The separator matters: without it the labels of ("10.0.0.1:300", 11) and ("10.0.0.1:3001", 1) are the same, and two
 * nodes would share their positions. With it no two vnodes share a label, because what follows the last `#` is always
 * the index. Two labels may still have the same token by chance; core/ring.ts breaks such ties.
 *
 * Every coordinator of a cluster must agree on these numbers, and so must every release: a change here moves all keys.
 *
 * Not guaranteed: resistance against keys chosen to collide. Murmur3 has no secret.
 */
import { Buffer } from 'node:buffer'
import murmur from 'murmurhash3js-revisited'
import { isPartKey, rootOf } from './part-keys.ts'

// The package checks byte by byte, which costs more than the hash itself. Only bytes are passed in: see tokenOf.
murmur.inputValidation = false

const OPEN = 0x7b // {
const CLOSE = 0x7d // }

/**
 * A key's position on the ring, uint32: Murmur3 x86 32 bit, seed 0, of its hash tag if it has one, or of all its bytes.
 *
 * The hash tag is the part between the first `{` and the first `}` after it, unless that is empty: exactly the rule of
 * Redis Cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
 * Creates no object for a key without one (V8 itself boxes a number from 2^31 on, where it does not inline the call).
 *
 * @throws TypeError if the key is not bytes. (Hashed as it is, every text of the same length would get one token.)
 */
export function tokenOf(key: Uint8Array): number {
  if (!ArrayBuffer.isView(key)) {
    throw new TypeError('A key must be bytes, such as Buffer.from(text): a text has no place on the ring.')
  }
  const placed = isPartKey(key) ? rootOf(key) : key
  return murmur.x86.hash32(hashTagOf(placed) ?? placed)
}

/** What alone decides where the key is; null = all of its bytes do. */
export function hashTagOf<T extends Uint8Array>(key: T): T | null {
  for (let open = 0; open < key.length; open++) {
    if (key[open] !== OPEN) continue
    const close = key.indexOf(CLOSE, open + 1)
    return close > open + 1 ? (key.subarray(open + 1, close) as T) : null
  }
  return null
}

/**
 * The position of a vnode on the ring, uint32. The whole label is hashed: braces in a node id are not a hash tag.
 *
 * @param index 0 … the node's number of vnodes − 1
 */
export function vnodeToken(nodeId: string, index: number): number {
  return murmur.x86.hash32(Buffer.from(`${nodeId}#${index}`))
}

/** Murmur3 x64 128 bit of a text, as 32 hex digits. For detecting differences, not for security. */
export function fingerprint(text: string): string {
  return murmur.x64.hash128(Buffer.from(text))
}
