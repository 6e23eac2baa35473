/** Where the keys of a command stand among its arguments: at fixed places, or as many as an argument says (MSETEX). */
import { parseInteger } from './arguments.ts'
import type { KeyPlaces } from './step.ts'

/** Index of the last key, possibly beyond the arguments; null = the argument that counts them is no count. */
export function lastKeyAmong(places: KeyPlaces, args: readonly Buffer[]): number | null {
  const { firstKey, lastKey, keyStep, keyCountAt } = places
  if (keyCountAt === undefined) return lastKey < 0 ? args.length + lastKey : lastKey
  const given = args[keyCountAt]
  const count = given === undefined ? null : parseInteger(given)
  return count === null || count < 1 ? null : firstKey + (Number(count) - 1) * keyStep
}

/** The arguments that are keys, in their order. */
export function keysAmong(places: KeyPlaces, args: readonly Buffer[]): Buffer[] {
  const { firstKey, keyStep } = places
  const last = Math.min(lastKeyAmong(places, args) ?? 0, args.length - 1)
  const keys: Buffer[] = []
  if (firstKey > 0) for (let i = firstKey; i <= last; i += keyStep) keys.push(args[i]!)
  return keys
}
