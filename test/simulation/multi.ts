/**
 * MULTI across types: one transaction that adds to a list, to a field of a hash and to a score, and one that reads all three,
 * with the commands and the code of EXEC. The balance of the list is the sum of its elements.
 */
import type { Caller } from '../../src/commands/model.ts'
import type { Reply } from '../../src/commands/reply.ts'
import { runQueue } from '../../src/commands/run/queue.ts'
import { isStep } from '../../src/commands/run/together.ts'
import { KEY_COMMANDS } from '../../src/commands/table.ts'
import { OF_TYPES } from './schedule.ts'
import { plain, type Plain } from './told.ts'

const [LIST, HASH, SCORES] = OF_TYPES as [string, string, string]
const NAME = 'sum'

/** @returns what each holds then */
export async function addToAll(caller: Caller, value: number): Promise<number[]> {
  const replies = await transaction(caller, [
    ['rpush', LIST, String(value)],
    ['hincrby', HASH, NAME, String(value)],
    ['zincrby', SCORES, String(value), NAME],
    ['lrange', LIST, '0', '-1'],
  ])
  return [sumOf(replies[3]!), Number(replies[1]), Number(replies[2])]
}

export async function totalOfAll(caller: Caller): Promise<(number | null)[]> {
  const [elements, field, score] = await transaction(caller, [
    ['lrange', LIST, '0', '-1'],
    ['hget', HASH, NAME],
    ['zscore', SCORES, NAME],
  ])
  const number = (told: Plain) => (told === null ? null : Number(told))
  const isNothing = (elements as readonly Plain[]).length === 0
  return [isNothing ? null : sumOf(elements!), number(field!), number(score!)]
}

function sumOf(elements: Plain): number {
  return (elements as readonly string[]).reduce((sum, element) => sum + Number(element), 0)
}

/** Rejects with the coordinator's error. */
async function transaction(caller: Caller, commands: readonly string[][]): Promise<readonly Plain[]> {
  const steps = commands.map((words) => {
    const command = KEY_COMMANDS.find(({ name }) => name === words[0])!
    return command.step(
      caller,
      words.map((word) => Buffer.from(word)),
    )
  })
  const keys = OF_TYPES.map((key) => Buffer.from(key))
  if (!steps.every(isStep)) throw new Error('a command of the transaction was refused')
  const queued = {
    steps,
    keys,
    execute: () => Promise.reject<Reply>(new Error('all commands have keys')),
    lookedUp: () => undefined,
    handsOver: () => false,
    hold: () => undefined,
  }
  const policy = { crossSetMulti: 'refuse', onCrossSet: () => undefined } as const
  return plain(await runQueue(caller, queued, policy)) as readonly Plain[]
}
