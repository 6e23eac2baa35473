/** Forms of rows in the tables of commands: flags, and where the keys stand. */
import type { CommandSpec, StepMaker } from './step.ts'

export const READ = ['readonly', 'fast']
export const SLOW_READ = ['readonly']
export const WRITE = ['write', 'denyoom', 'fast']
export const SLOW_WRITE = ['write', 'denyoom']
/** Writes that need no additional memory. */
export const LEAN_WRITE = ['write', 'fast']
export const SLOW_LEAN_WRITE = ['write']

export function oneKey(arity: number, flags: readonly string[], make: StepMaker): CommandSpec {
  return { arity, flags, firstKey: 1, lastKey: 1, keyStep: 1, make }
}

export function twoKeys(arity: number, flags: readonly string[], make: StepMaker): CommandSpec {
  return { arity, flags, firstKey: 1, lastKey: 2, keyStep: 1, make }
}

export function allKeys(arity: number, flags: readonly string[], make: StepMaker): CommandSpec {
  return keysFrom(1, arity, flags, make)
}

export function keysFrom(
  firstKey: number,
  arity: number,
  flags: readonly string[],
  make: StepMaker,
): CommandSpec {
  return { arity, flags, firstKey, lastKey: -1, keyStep: 1, make }
}

export function pairsOfKeyAndValue(arity: number, flags: readonly string[], make: StepMaker): CommandSpec {
  return { arity, flags, firstKey: 1, lastKey: -1, keyStep: 2, make }
}

/** The first argument says how many pairs follow; options may stand behind them. */
export function countedPairs(arity: number, flags: readonly string[], make: StepMaker): CommandSpec {
  return { arity, flags, firstKey: 2, lastKey: -1, keyStep: 2, keyCountAt: 1, make }
}
