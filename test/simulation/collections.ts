/**
 * Operations on a list, a hash and a sorted set: as a server makes them, by the steps of commands; and what each does to a
 * model of the collection, a text: `1,2,3` is a list, `a=1 b=2` a hash or a sorted set, null is nothing.
 */
import { hdel, hgetall, hset } from '../../src/commands/collections/hashes.ts'
import { lpop, lrange, rpush } from '../../src/commands/collections/lists.ts'
import { zrange } from '../../src/commands/collections/sorted-ranges.ts'
import { zadd, zpopmin } from '../../src/commands/collections/sorted-sets.ts'
import { Double, itemsOf, RespError, type Reply } from '../../src/commands/reply.ts'
import { knownOf } from '../../src/commands/run/known.ts'
import type { Held, Step, StepMaker, StepOf } from '../../src/commands/step.ts'
import type { StoredRecord } from '../../src/core/codec.ts'
import { LIMITS } from '../support/steps.ts'

export type CollectionKind =
  'push' | 'pop' | 'elements' | 'set-field' | 'drop-field' | 'fields' | 'add-member' | 'pop-least' | 'members'
/** What an operation was told: a number, or a collection. */
export type Told = number | string | null

export const LIST = 'list'
export const HASH = 'hash'
export const SORTED_SET = 'sorted-set'
const FIELDS = ['a', 'b', 'c']
/** From this value on, collections have more fields: so many that they are stored in parts (schedule.ts, isInParts). */
export const FIRST_IN_PARTS = 60_000_000
const MORE_FIELDS = ['a', 'b', 'c', 'd', 'e', 'f', 'g']

/** How each is made of its unique number. */
const COMMANDS: Readonly<Record<CollectionKind, readonly [StepMaker, (value: number) => string[]]>> = {
  push: [rpush, (value) => [String(value)]],
  pop: [lpop, () => []],
  elements: [lrange, () => ['0', '-1']],
  'set-field': [hset, (value) => [fieldOf(value), String(value)]],
  'drop-field': [hdel, (value) => [fieldOf(value)]],
  fields: [hgetall, () => []],
  'add-member': [zadd, (value) => [scoreOf(value), fieldOf(value)]],
  'pop-least': [zpopmin, () => []],
  members: [zrange, () => ['0', '-1', 'WITHSCORES']],
}

export function isOnCollection(kind: string): kind is CollectionKind {
  return Object.hasOwn(COMMANDS, kind)
}

function fieldOf(value: number): string {
  const fields = value < FIRST_IN_PARTS ? FIELDS : MORE_FIELDS
  return fields[value % fields.length]!
}

function scoreOf(value: number): string {
  return String(Math.floor(value / 7) % 5)
}

export function collectionStep(kind: CollectionKind, key: string, value: number): Step {
  const [make, operands] = COMMANDS[kind]
  const words = [kind, key, ...operands(value)]
  return make(
    words.map((word) => Buffer.from(word)),
    0,
    LIMITS,
  )
}

/** The reply of a step that only reads, and has no parts to read. */
export function lookAt(step: Step, record: StoredRecord | null): Reply {
  return (step as StepOf<'value', Held>).apply([record && (knownOf(record) as Held)], 0).reply
}

/** @throws Error if the step has refused */
export function toldBy(kind: CollectionKind, reply: Reply): Told {
  if (reply instanceof RespError) throw new Error(`${kind} was refused: ${reply.text}`)
  const items = itemsOf(reply, 2)?.map((item) =>
    item instanceof Double ? String(item.value) : (item as Buffer).toString(),
  )
  if (!items) return reply === null ? null : Number(reply)
  if (items.length === 0) return null
  if (kind === 'elements') return items.join(',')
  return textOf(new Map(items.flatMap((field, i) => (i % 2 === 0 ? [[field, items[i + 1]!]] : []))))
}

/** What is there after it; none if it cannot have been told this. @param result undefined = nobody knows what */
export function collectionsAfter(
  kind: CollectionKind,
  value: number,
  result: Told | undefined,
  seen: string | null,
): (string | null)[] {
  const [told, next] = outcome(kind, value, seen)
  return result === undefined || result === told ? [next] : []
}

function outcome(kind: CollectionKind, value: number, seen: string | null): [Told, string | null] {
  const elements = seen?.split(',') ?? []
  const fields = new Map(seen?.split(' ').map((pair) => pair.split('=') as [string, string]))
  const field = fieldOf(value)
  const had = fields.has(field) ? 1 : 0
  switch (kind) {
    case 'push':
      return [elements.length + 1, [...elements, value].join(',')]
    case 'pop':
      return [elements[0] === undefined ? null : Number(elements[0]), elements.slice(1).join(',') || null]
    case 'set-field':
      return [1 - had, textOf(fields.set(field, String(value)))]
    case 'drop-field':
      fields.delete(field)
      return [had, textOf(fields)]
    case 'add-member':
      return [1 - had, textOf(fields.set(field, scoreOf(value)))]
    case 'pop-least': {
      const [least] = [...fields].sort(
        ([a, one], [b, other]) => Number(one) - Number(other) || (a < b ? -1 : 1),
      )
      if (!least) return [null, null]
      fields.delete(least[0])
      return [least.join('='), textOf(fields)]
    }
    case 'elements':
    case 'fields':
    case 'members':
      return [seen, seen]
  }
}

function textOf(fields: ReadonlyMap<string, string>): string | null {
  const pairs = [...fields].map(([field, value]) => `${field}=${value}`)
  return pairs.sort().join(' ') || null
}
