/** Databases: MOVE, and the index that SELECT, MOVE and COPY … DB take. */
import { integerArgument } from '../arguments.ts'
import { CommandError, type Step, type StepLimits } from '../step.ts'

const INT32_MIN = -(2 ** 31)
const INT32_MAX = 2 ** 31 - 1

/** @throws CommandError */
export function databaseArgument(argument: Buffer, { databases }: Pick<StepLimits, 'databases'>): number {
  const index = integerArgument(argument)
  if (index < INT32_MIN || index > INT32_MAX) {
    throw new CommandError(`ERR value is out of range, value must between ${INT32_MIN} and ${INT32_MAX}`)
  }
  if (index < 0 || index >= databases) throw new CommandError('ERR DB index is out of range')
  return Number(index)
}

/** Replies with 0 if the key does not exist, or the other database has one of this name. */
export function move(args: readonly Buffer[], _nowMs: number, limits: StepLimits): Step {
  const [, key, index] = args as [Buffer, Buffer, Buffer]
  const target = databaseArgument(index, limits)
  if (target === limits.database) {
    throw new CommandError('ERR source and destination objects are the same')
  }
  return {
    needs: 'value',
    keys: [key, key],
    databases: [limits.database, target],
    reads: true,
    writes: true,
    apply([held = null, there = null]) {
      return held && !there ? { reply: 1, next: [null, held] } : { reply: 0 }
    },
  }
}
