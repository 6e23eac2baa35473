/**
 * Digest trees: find where two replicas of a token range differ, without transferring keys.
 *
 *                    root                        all of the range
 *        ┌──────┬─────┴─────┬──────┐
 *      leaf 0  leaf 1  …  leaf L − 1             L equal stretches of the range, by token
 *        │
 *     digest(key, version) ⊕ digest(key, version) ⊕ …
 *
 * A digest is 64 bits: two Murmur3 of 32 bits with different seeds, over the version (12 bytes, always) and the key. A
 * leaf is the XOR of the digests of its records, so the order of a scan does not matter, and their number. The root is
 * the XOR of the leaves. Equal roots end the comparison; otherwise the leaves are compared, and only those that differ
 * must be listed. There are no inner nodes because one process holds both trees: inner nodes save messages, and there
 * are none.
 *
 * How sure is "equal"? Two leaves look equal although they differ only if the digests of all that one has and the other
 * has not XOR to 0. For digests like random numbers that is 2^-64 a leaf, whatever the difference is. A round that meets
 * 50,000 differing leaves every hour for a hundred years overlooks one with a probability of 50,000 × 876,600 × 2^-64,
 * about 2 in 10^9; and the next round, after any change in that leaf, would find it. (One record that is missing, or has
 * another version, is overlooked if its 64 bits are 0, or those of both versions are the same. Versions whose bytes
 * differ within one aligned word of 32 bits never are: each step of Murmur3 is a bijection.)
 *
 * Why the number: SCAN may return a record twice, and XOR-ed twice it vanishes, so a replica that has it would agree
 * with one that lacks it. The numbers differ.
 *
 * Not guaranteed: resistance against keys chosen to collide (Murmur3 has no secret), and small
 * leaves: all keys with the same hash tag lie in the same one.
 *
 * Source: Merkle, "A Digital Signature Based on a Conventional Encryption Function" (1987), for comparing by trees;
 * Amazon's Dynamo (SOSP 2007), section 4.7, for one a token range; Bellare and Micciancio, "A New Paradigm for
 * Collision-Free Hashing" (1997), for combining digests so that the order does not matter.
 */
import { Buffer } from 'node:buffer'
import murmur from 'murmurhash3js-revisited'
import { VERSION_BYTES, type Version } from './clock.ts'
import type { TokenRange } from './ring.ts'

// As in core/token.ts: only bytes are passed in.
murmur.inputValidation = false

/** From SHA-256's constants; any two different ones work. */
const SEED_A = 0x428a2f98
const SEED_B = 0x71374491
/** Two halves of the digest, and how many records. */
const WORDS = 3

/** Approximate number of leaves of all trees of one replica: 12 bytes each. */
const LEAVES_PER_RING = 65_536
const MOST_LEAVES = 256

/** Leaves per tree on a ring of so many ranges: a power of two. */
export function leavesPerRange(ranges: number): number {
  const fair = Math.floor(Math.log2(LEAVES_PER_RING / Math.max(1, ranges)))
  return Math.min(MOST_LEAVES, 2 ** Math.max(0, fair))
}

/** The leaf of a token, 0 … leaves − 1. */
export function leafOf(token: number, { start, end }: TokenRange, leaves: number): number {
  const width = (end - start) >>> 0 || 2 ** 32
  // 1 … width, and so 0 … width − 1: the range ends with its own token.
  const place = ((token - start) >>> 0 || 2 ** 32) - 1
  return Math.floor((place * leaves) / width)
}

export class DigestTree {
  readonly leaves: number
  private readonly words: Uint32Array

  constructor(leaves: number) {
    this.leaves = leaves
    this.words = new Uint32Array(leaves * WORDS)
  }

  add(leaf: number, key: Uint8Array, version: Version): void {
    const bytes = joined(version, key)
    const at = leaf * WORDS
    this.words[at]! ^= murmur.x86.hash32(bytes, SEED_A)
    this.words[at + 1]! ^= murmur.x86.hash32(bytes, SEED_B)
    this.words[at + 2]!++
  }

  /** The number of records in the leaf. */
  count(leaf: number): number {
    return this.words[leaf * WORDS + 2]!
  }

  /** XOR of all digests, two halves, and the number of records: three uint32. */
  get root(): readonly [number, number, number] {
    let a = 0
    let b = 0
    let count = 0
    for (let at = 0; at < this.words.length; at += WORDS) {
      a ^= this.words[at]!
      b ^= this.words[at + 1]!
      count += this.words[at + 2]!
    }
    return [a >>> 0, b >>> 0, count >>> 0]
  }

  agreesWith(other: DigestTree): boolean {
    const mine = this.root
    return other.root.every((word, i) => word === mine[i])
  }

  /** The leaves in which the two differ. */
  differences(other: DigestTree): number[] {
    const found: number[] = []
    for (let leaf = 0; leaf < this.leaves; leaf++) {
      const at = leaf * WORDS
      let same = true
      for (let i = at; i < at + WORDS; i++) same &&= this.words[i] === other.words[i]
      if (!same) found.push(leaf)
    }
    return found
  }
}

let scratch = Buffer.alloc(4096)

function joined(version: Version, key: Uint8Array): Uint8Array {
  const length = VERSION_BYTES + key.length
  if (length > scratch.length) scratch = Buffer.alloc(2 * length)
  scratch.set(version)
  scratch.set(key, VERSION_BYTES)
  return scratch.subarray(0, length)
}
