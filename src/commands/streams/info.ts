/** XINFO. Figures of Redis's tree are as it would have them if nothing had been deleted. */
import { integerArgument, word } from '../arguments.ts'
import type { Reply } from '../reply.ts'
import { CommandError, Refusal, resultOrError, type Step } from '../step.ts'
import { badSubcommand, noSuchGroup } from './groups-command.ts'
import { UNKNOWN_READ, type Consumer, type Group } from './groups.ts'
import { idText } from './ids.ts'
import { lagOf } from './progress.ts'
import { entriesReply, entryReply, integerReply, mapReply, pendingReply } from './replies.ts'
import { lookAtStream } from './steps.ts'
import type { Stream } from './stream.ts'
import { nodesOf } from './trim.ts'

const NO_KEY = new Refusal('ERR no such key', 'KEY_NOT_FOUND')
const DEFAULT_COUNT = 10

export function xinfoStream(args: readonly Buffer[]): Step {
  return about(args, (stream) => {
    const count = resultOrError(() => fullCount(args))
    if (count instanceof CommandError) return new Refusal(count.message)
    return count === null ? shortInfo(stream) : fullInfo(stream, count === 0 ? Infinity : count)
  })
}

export function xinfoGroups(args: readonly Buffer[]): Step {
  return about(args, (stream) =>
    stream.groups.map((group) => {
      const { name, consumers, pending, lastId } = group
      return mapReply({
        name,
        consumers: consumers.length,
        pending: pending.length,
        'last-delivered-id': idText(lastId),
        ...progressOf(stream, group),
      })
    }),
  )
}

export function xinfoConsumers(args: readonly Buffer[]): Step {
  const [, , key, name] = args as [Buffer, Buffer, Buffer, Buffer]
  return about(args, (stream, nowMs) => {
    const group = stream.group(name)
    if (!group) return noSuchGroup(name, key)
    const counts = group.pending.countsOf(group.consumers.length)
    return byName(group).map(({ consumer, place }) =>
      mapReply({
        name: consumer.name,
        pending: counts[place]!,
        idle: Math.max(nowMs - consumer.seenMs, 0),
        inactive: consumer.activeMs === 0 ? -1 : Math.max(nowMs - consumer.activeMs, 0),
      }),
    )
  })
}

/** A step on the key behind the subcommand. */
function about(args: readonly Buffer[], answer: (stream: Stream, nowMs: number) => Reply): Step {
  return lookAtStream(args[2]!, (stream, nowMs) => (stream ? answer(stream, nowMs) : NO_KEY))
}

/** Null = not FULL; 0 = all. @throws CommandError */
function fullCount(args: readonly Buffer[]): number | null {
  const options = args.slice(3)
  if (options.length === 0) return null
  const isFull = word(options[0]!) === 'FULL'
  if (!isFull || options.length > 3 || options.length === 2 || (options[1] && word(options[1]) !== 'COUNT'))
    throw new CommandError(badSubcommand('XINFO', args[1]!))
  const count = options[2] ? Number(integerArgument(options[2])) : DEFAULT_COUNT
  return count < 0 ? DEFAULT_COUNT : count
}

function headOf({ length, lastId, maxDeletedId, added, firstId }: Stream): Record<string, Reply> {
  const nodes = nodesOf(length)
  return {
    length,
    'radix-tree-keys': nodes,
    'radix-tree-nodes': nodes + 1,
    'last-generated-id': idText(lastId),
    'max-deleted-entry-id': idText(maxDeletedId),
    'entries-added': integerReply(BigInt.asIntN(64, added)),
    'recorded-first-entry-id': idText(firstId),
  }
}

function shortInfo(stream: Stream): Reply {
  const { length, groups } = stream
  const entry = (i: number): Reply => {
    if (length === 0) return null
    const run = stream.entries(i, i + 1)
    run.checkTexts(0, 1)
    return entryReply(run, 0)
  }
  return mapReply({
    ...headOf(stream),
    groups: groups.length,
    'first-entry': entry(0),
    'last-entry': entry(length - 1),
  })
}

function fullInfo(stream: Stream, count: number): Reply {
  return mapReply({
    ...headOf(stream),
    entries: entriesReply(stream.entries(0, Math.min(stream.length, count))),
    groups: stream.groups.map((group) => fullGroup(stream, group, count)),
  })
}

function fullGroup(stream: Stream, group: Group, count: number): Reply {
  const { name, lastId, pending, consumers } = group
  const counts = pending.countsOf(consumers.length)
  const delivery = (i: number, owner: boolean): Reply => {
    const { consumer, deliveredMs, deliveries } = pending.at(i)
    const id = idText(pending.id(i))
    return [id, ...(owner ? [consumers[consumer]!.name] : []), deliveredMs, integerReply(deliveries)]
  }
  return mapReply({
    name,
    'last-delivered-id': idText(lastId),
    ...progressOf(stream, group),
    'pel-count': pending.length,
    pending: pendingReply(Math.min(pending.length, count), (i) => delivery(i, true)),
    consumers: byName(group).map(({ consumer, place }) => {
      const places = placesOf(group, place, count)
      return mapReply({
        name: consumer.name,
        'seen-time': consumer.seenMs,
        'active-time': consumer.activeMs === 0 ? -1 : consumer.activeMs,
        'pel-count': counts[place]!,
        pending: pendingReply(places.length, (i) => delivery(places[i]!, false)),
      })
    }),
  })
}

/** The first pending entries of a consumer. */
function placesOf({ pending }: Group, consumer: number, count: number): number[] {
  const places: number[] = []
  for (let i = 0; i < pending.length && places.length < count; i++)
    if (pending.consumer(i) === consumer) places.push(i)
  return places
}

function progressOf(stream: Stream, group: Group): Record<string, Reply> {
  const lag = lagOf(stream, group)
  return {
    'entries-read': group.read === UNKNOWN_READ ? null : integerReply(group.read),
    lag: lag === null ? null : integerReply(lag),
  }
}

/** The consumers in the order of their names, each with its index. */
function byName({ consumers }: Group): { consumer: Consumer; place: number }[] {
  return consumers
    .map((consumer, place) => ({ consumer, place }))
    .sort((one, other) => one.consumer.name.compare(other.consumer.name))
}
