/**
 * Where the keys of a command stand among its arguments: at fixed places, or as many as an argument says (MSETEX), perhaps
 * behind another one (ZUNIONSTORE), or behind an option (GEORADIUS … STORE).
 */
import { parseInteger, word } from './arguments.ts'
import type { KeyPlaces, StoreOption } from './step.ts'

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
  const { firstKey, keyStep, targetAt, storeOption } = places
  const last = Math.min(lastKeyAmong(places, args) ?? 0, args.length - 1)
  const keys: Buffer[] = targetAt === undefined ? [] : args.slice(targetAt, targetAt + 1)
  if (firstKey > 0) for (let i = firstKey; i <= last; i += keyStep) keys.push(args[i]!)
  const storeAt = storeOption ? storeOptionAt(storeOption, args) : null
  if (storeAt !== null) keys.push(args[storeAt]!)
  return keys
}

/** Index of the key behind the last store option; null = there is none. */
export function storeOptionAt({ from, names, passes }: StoreOption, args: readonly Buffer[]): number | null {
  let found: number | null = null
  for (let at = from; at < args.length; at++) {
    const option = word(args[at]!)
    if (names.includes(option) && at + 1 < args.length) found = ++at
    else at += passes?.get(option) ?? 0
  }
  return found
}
