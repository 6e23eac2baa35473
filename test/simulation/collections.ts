/**
 * Operations on collections: as a server makes them, by the steps of commands; and what each does to a model of the
 * collection, a text: `1,2,3` is a list, `a=1 b=2` a hash or a sorted set, null is nothing. Streams: streams.ts.
 */
import type { Reply } from '../../src/commands/reply.ts'
import { knownOf } from '../../src/commands/run/known.ts'
import { STEPS } from '../../src/commands/specs.ts'
import type { Held, Step, StepOf } from '../../src/commands/step.ts'
import type { StoredRecord } from '../../src/core/codec.ts'
import { LIMITS } from '../support/steps.ts'
import { afterOnStream, isOnStream, STREAM_COMMANDS, streamToldBy, type StreamKind } from './streams.ts'
import { plain, type Effect, type Operands, type Plain, type Told } from './told.ts'

export type CollectionKind =
  | 'push'
  | 'pop'
  | 'unpop'
  | 'elements'
  | 'set-field'
  | 'drop-field'
  | 'count-field'
  | 'fields'
  | 'score'
  | 'pop-lowest'
  | 'unpop-lowest'
  | 'scores'
  | StreamKind
export const LIST = 'list'
export const HASH = 'hash'
export const QUEUE = 'queue'
export const BOARD = 'board'
const FIELDS = ['a', 'b', 'c']
/** From this value on, collections have more fields: so many that they are stored in parts (schedule.ts, isInParts). */
export const FIRST_IN_PARTS = 60_000_000
const MORE_FIELDS = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
const MEMBERS = ['x', 'y', 'z']
const MORE_MEMBERS = ['t', 'u', 'v', 'w', 'x', 'y', 'z']

/** Each command, and its operands. What it is about: an entry of a stream, or what was popped from a sorted set. */
const COMMANDS: Readonly<Record<CollectionKind, readonly [command: string, Operands]>> = {
  push: ['rpush', (value) => [String(value)]],
  pop: ['lpop', () => []],
  unpop: ['lpush', (value) => [String(value)]],
  elements: ['lrange', () => ['0', '-1']],
  'set-field': ['hset', (value) => [fieldOf(value), String(value)]],
  'drop-field': ['hdel', (value) => [fieldOf(value)]],
  'count-field': ['hincrby', (value) => [fieldOf(value), String(pointsOf(value))]],
  fields: ['hgetall', () => []],
  score: ['zincrby', (value) => [String(pointsOf(value)), memberOf(value)]],
  'pop-lowest': ['zpopmin', () => []],
  'unpop-lowest': ['zadd', (_value, pair) => ['NX', ...pair!.split('=').reverse()]],
  scores: ['zrange', () => ['0', '-1', 'WITHSCORES']],
  ...STREAM_COMMANDS,
}

export function isOnCollection(kind: string): kind is CollectionKind {
  return Object.hasOwn(COMMANDS, kind)
}

const ONLY_READ: ReadonlySet<string> = new Set(['elements', 'fields', 'scores', 'entries'])

export function onlyLooks(kind: string): boolean {
  return ONLY_READ.has(kind)
}

function fieldOf(value: number): string {
  const fields = value < FIRST_IN_PARTS ? FIELDS : MORE_FIELDS
  return fields[value % fields.length]!
}

function memberOf(value: number): string {
  const members = value < FIRST_IN_PARTS ? MEMBERS : MORE_MEMBERS
  return members[value % members.length]!
}

/** Different ones, so that each one is missed. */
function pointsOf(value: number): number {
  return 1 + ((value * 7) % 11)
}

export function collectionStep(
  kind: CollectionKind,
  key: string,
  value: number,
  about: string | null,
  nowMs: number,
): Step {
  const [command, operands] = COMMANDS[kind]
  const words = [command, ...withKey(key, operands(value, about))]
  return STEPS[command]!.make(
    words.map((word) => Buffer.from(word)),
    nowMs,
    LIMITS,
  )
}

/** Some commands have something before their key. */
function withKey(key: string, operands: string[]): string[] {
  const at = operands.indexOf('KEY')
  if (at < 0) return [key, ...operands]
  return operands.map((word) => (word === 'KEY' ? key : word))
}

/** The reply of a step that only reads. */
export function lookAt(step: Step, record: StoredRecord | null): Reply {
  return (step as StepOf<'value', Held>).apply([record && (knownOf(record) as Held)], 0).reply
}

/** @throws Error if the step has refused what it may not refuse */
export function toldBy(kind: CollectionKind, reply: Reply): Told {
  if (isOnStream(kind)) return streamToldBy(kind, reply)
  const told = plain(reply)
  if (!Array.isArray(told)) return told === null ? null : Number(told)
  const items = (told as readonly Plain[]).flat().map(String)
  if (items.length === 0) return null
  if (kind === 'elements') return items.join(',')
  return textOf(new Map(items.flatMap((field, i) => (i % 2 === 0 ? [[field, items[i + 1]!]] : []))))
}

/** What is there after it; none if it cannot have been told this. */
export function collectionsAfter(
  kind: CollectionKind,
  effect: Effect,
  seen: string | null,
): (string | null)[] {
  if (isOnStream(kind)) return afterOnStream(kind, effect, seen)
  const [told, next] = outcome(kind, effect, seen)
  return effect.result === undefined || effect.result === told ? [next] : []
}

function outcome(
  kind: Exclude<CollectionKind, StreamKind>,
  { value, about }: Effect,
  seen: string | null,
): [Told, string | null] {
  const elements = seen?.split(',') ?? []
  const fields = new Map(seen?.split(' ').map((pair) => pair.split('=') as [string, string]))
  const field = fieldOf(value)
  const had = fields.has(field) ? 1 : 0
  const counted = (name: string): [Told, string | null] => {
    const sum = Number(fields.get(name) ?? 0) + pointsOf(value)
    return [sum, textOf(fields.set(name, String(sum)))]
  }
  switch (kind) {
    case 'push':
      return [elements.length + 1, [...elements, value].join(',')]
    case 'unpop':
      return [elements.length + 1, [value, ...elements].join(',')]
    case 'pop':
      return [elements[0] === undefined ? null : Number(elements[0]), elements.slice(1).join(',') || null]
    case 'set-field':
      return [1 - had, textOf(fields.set(field, String(value)))]
    case 'drop-field':
      fields.delete(field)
      return [had, textOf(fields)]
    case 'count-field':
      return counted(field)
    case 'score':
      return counted(memberOf(value))
    case 'pop-lowest': {
      const lowest = lowestOf(fields)
      if (lowest === null) return [null, seen]
      fields.delete(lowest.split('=')[0]!)
      return [lowest, textOf(fields)]
    }
    case 'unpop-lowest': {
      const [member, score] = about!.split('=') as [string, string]
      return fields.has(member) ? [0, seen] : [1, textOf(fields.set(member, score))]
    }
    case 'elements':
    case 'fields':
    case 'scores':
      return [seen, seen]
  }
}

function lowestOf(scores: ReadonlyMap<string, string>): string | null {
  const pairs = [...scores].sort(([a, x], [b, y]) => Number(x) - Number(y) || (a < b ? -1 : 1))
  return pairs[0]?.join('=') ?? null
}

function textOf(fields: ReadonlyMap<string, string>): string | null {
  const pairs = [...fields].map(([field, value]) => `${field}=${value}`)
  return pairs.sort().join(' ') || null
}
