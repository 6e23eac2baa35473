/**
 * The epoch in a node's marker, for the scripts that check it themselves (nodes/redis/accept.lua, store-all.lua, store.lua)
 * and for nodes without Lua. cluster/marker.ts writes it; a marker without one is of the first epoch.
 */
import type { Epochs } from './replica-set.ts'

const MARKED = /"topology":\{.*?"epoch":(\d+)/
const FIRST_EPOCH = 1

/** @param marker the bytes of the node's marker; null = none */
export function isMarkedWithin(marker: Buffer | null, { since, epoch }: Epochs): boolean {
  const [, found] = (marker && MARKED.exec(marker.toString('latin1'))) ?? []
  const marked = found === undefined ? FIRST_EPOCH : Number(found)
  return marked >= since && marked <= epoch
}
