/**
 * Where the keys of a command stand among its arguments: at fixed places, or as many as an argument says (MSETEX), perhaps
 * behind another one (ZUNIONSTORE), or behind an option (GEORADIUS … STORE, XREAD … STREAMS).
 */
import { parseInteger, word } from './arguments.ts'
import type { HalfBehind, KeyPlaces, StoreOption } from './step.ts'

/** Index of the last key, possibly beyond the arguments; null = the argument that counts them is no count. */
export function lastKeyAmong(places: KeyPlaces, args: readonly Buffer[]): number | null {
  const { firstKey, lastKey, keyStep, keyCountAt, halfBehind } = places
  if (halfBehind) return halfOf(halfBehind, args)?.to ?? null
  if (keyCountAt === undefined) return lastKey < 0 ? args.length + lastKey : lastKey
  const given = args[keyCountAt]
  const count = given === undefined ? null : parseInteger(given)
  return count === null || count < 1 ? null : firstKey + (Number(count) - 1) * keyStep
}

/** The arguments that are keys, in their order. */
export function keysAmong(places: KeyPlaces, args: readonly Buffer[]): Buffer[] {
  const { firstKey, keyStep, targetAt, storeOption, halfBehind } = places
  if (halfBehind) {
    const half = halfOf(halfBehind, args)
    return half ? args.slice(half.from, half.to + 1) : []
  }
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

/** Indexes of the first and the last key; null = there are none, or they are not half of what stands there. */
export function halfOf(
  { from, option, passes }: HalfBehind,
  args: readonly Buffer[],
): { readonly from: number; readonly to: number } | null {
  for (let at = from; at < args.length; at++) {
    const given = word(args[at]!)
    const left = args.length - 1 - at
    if (given === option) return left === 0 || left % 2 !== 0 ? null : { from: at + 1, to: at + left / 2 }
    at += passes.get(given) ?? 0
  }
  return null
}
