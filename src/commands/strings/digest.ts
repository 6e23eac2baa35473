/**
 * The digest of a value, as DIGEST returns it and IFDEQ and IFDNE compare it: XXH3, 64 bits, no seed, 16 hexadecimal
 * digits in lower case. Clients compute the same from a value of their own.
 *
 * The package is WebAssembly, which is compiled asynchronously; from then on a digest is computed at once (1 MiB in 0.3
 * ms). Rondo.start() waits for it. There is no top-level await, so that require() can load this module as well.
 */
import { createXXHash3 } from 'hash-wasm'

type Hasher = Awaited<ReturnType<typeof createXXHash3>>

export const DIGEST_DIGITS = 16

let hasher: Hasher | null = null
let loading: Promise<void> | null = null

/** Call it once before the first command; later calls cost nothing. */
export function loadDigest(): Promise<void> {
  return (loading ??= createXXHash3().then((made) => void (hasher = made)))
}

/** @throws Error before loadDigest() has resolved */
export function digestOf(value: Buffer): string {
  if (!hasher) throw new Error('loadDigest() has not been awaited')
  // One hasher for all: nothing else runs between init() and digest().
  return hasher.init().update(value).digest()
}
