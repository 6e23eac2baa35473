/** The table of commands on keys, to run by themselves (`execute`), or as steps of a transaction. */
import type { Execute } from './model.ts'
import type { RespError } from './reply.ts'
import { runAlone, stepInSlices, stepOf, type KeyedCommand, type StepContext } from './run/keyed.ts'
import { STEPS } from './specs.ts'
import type { CommandSpec, Step } from './step.ts'
import type { Sliced } from '../core/work.ts'

/** Commands that change their keys one by one. */
const ONE_BY_ONE = new Set(['del', 'unlink'])

/**
 * Commands that take a value away or change its expiry time, and do nothing where there is none: to them a key that is too
 * long is absent.
 */
const ONLY_EXISTING = new Set(
  'del delex delifeq expire expireat getdel getex persist pexpire pexpireat unlink'.split(' '),
)

export interface KeyCommand extends CommandSpec, KeyedCommand {
  readonly execute: Execute
  /** The step, or the reason why there is none. */
  readonly step: (caller: StepContext, args: readonly Buffer[]) => Step | RespError
  /** The same, for more than MANY_ARGUMENTS. */
  readonly stepInSlices: (caller: StepContext, args: readonly Buffer[]) => Sliced<Step | RespError>
}

export const KEY_COMMANDS: readonly KeyCommand[] = Object.entries(STEPS).map(([name, spec]) => {
  const keyed: KeyedCommand = {
    ...spec,
    name,
    several: ONE_BY_ONE.has(name) ? 'each' : 'together',
    onlyExisting: ONLY_EXISTING.has(name),
  }
  return {
    ...spec,
    ...keyed,
    execute: (caller, args, inTransaction) => runAlone(caller, args, keyed, inTransaction),
    step: (caller, args) => stepOf(caller, args, keyed),
    stepInSlices: (caller, args) => stepInSlices(caller, args, keyed),
  }
})
