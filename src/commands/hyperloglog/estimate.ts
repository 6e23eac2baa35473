/** How many different elements a HyperLogLog has seen: Otmar Ertl's estimator (arXiv:1702.01284), as in Redis. */
import { REGISTERS } from './format.ts'

/** Bits of the hash that do not choose the register. */
const HASH_BITS = 50
const ALPHA = 0.7213475204444817 // 0.5 / ln 2
/** Six bits: no register holds more. */
const LARGEST = 63

export function estimate(registers: Uint8Array): number {
  const counts = new Uint32Array(LARGEST + 1)
  for (const register of registers) counts[register]!++
  let z = REGISTERS * tau((REGISTERS - counts[HASH_BITS + 1]!) / REGISTERS)
  for (let i = HASH_BITS; i >= 1; i--) z = (z + counts[i]!) * 0.5
  z += REGISTERS * sigma(counts[0]! / REGISTERS)
  return Math.round((ALPHA * REGISTERS * REGISTERS) / z)
}

function sigma(share: number): number {
  if (share === 1) return Infinity
  let [x, y, z, before] = [share, 1, share, NaN]
  while (z !== before) {
    x *= x
    before = z
    z += x * y
    y += y
  }
  return z
}

function tau(share: number): number {
  if (share === 0 || share === 1) return 0
  let [x, y, z, before] = [share, 1, 1 - share, NaN]
  while (z !== before) {
    x = Math.sqrt(x)
    before = z
    y *= 0.5
    z -= (1 - x) ** 2 * y
  }
  return z / 3
}
