/** XACK and XPENDING. */
import { integerArgument, word } from '../arguments.ts'
import { NULL_ARRAY, type Reply } from '../reply.ts'
import { CommandError, Refusal, SYNTAX_ERROR, type Step, type StepLimits } from '../step.ts'
import { idsOrRefusal } from './add.ts'
import { withGroup, type Group } from './groups.ts'
import { endArgument, idText, startArgument, type StreamId } from './ids.ts'
import { PendingChanges } from './pending.ts'
import { noGroup } from './read.ts'
import { integerReply, pendingReply } from './replies.ts'
import { changeStream, LOOKED_UP, lookAtStream } from './steps.ts'

export function xack(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const [, key, name] = args as [Buffer, Buffer, Buffer]
  return changeStream(
    key,
    nowMs,
    limits,
    (stream) => {
      const group = stream?.group(name)
      if (!stream || !group) return { reply: 0 }
      const ids = idsOrRefusal(args.slice(3))
      if (ids instanceof Refusal) return { reply: ids }
      const changes = new PendingChanges(group.pending)
      changes.expect(ids)
      for (const id of ids) if (changes.get(id)) changes.put(id, null)
      if (changes.isEmpty) return { reply: 0 }
      const pending = changes.result()
      const groups = withGroup(stream.groups, group.with({ pending }))
      return { reply: group.pending.length - pending.length, stream: stream.with({ groups }) }
    },
    LOOKED_UP,
  )
}

interface Wanted {
  readonly start: StreamId
  readonly end: StreamId
  readonly count: number
  readonly leastIdleMs: number
  /** Null = of all. */
  readonly consumer: Buffer | null
}

export function xpending(args: readonly Buffer[]): Step {
  const [, key, name] = args as [Buffer, Buffer, Buffer]
  const wanted = wantedOf(args)
  return lookAtStream(key, (stream, nowMs) => {
    const group = stream?.group(name)
    if (!group) return noGroup(key, name).reply
    return wanted ? detailsOf(group, wanted, nowMs) : summaryOf(group)
  })
}

/** Null = the summary. @throws CommandError */
function wantedOf(args: readonly Buffer[]): Wanted | null {
  if (args.length === 3) return null
  if (args.length < 6 || args.length > 9) throw new CommandError(SYNTAX_ERROR)
  let at = 3
  let leastIdleMs = 0
  if (word(args[3]!) === 'IDLE') {
    leastIdleMs = Number(integerArgument(args[4]!))
    if (args.length < 8) throw new CommandError(SYNTAX_ERROR)
    at += 2
  }
  const count = Math.max(Number(integerArgument(args[at + 2]!)), 0)
  const start = startArgument(args[at]!)
  const end = endArgument(args[at + 1]!)
  return { start, end, count, leastIdleMs, consumer: args[at + 3] ?? null }
}

function summaryOf({ pending, consumers }: Group): Reply {
  if (pending.length === 0) return [0, null, null, NULL_ARRAY]
  const counts = pending.countsOf(consumers.length)
  const named = consumers
    .map(({ name }, i): [Buffer, string] => [name, String(counts[i])])
    .filter((_, i) => counts[i]! > 0)
    .sort(([one], [other]) => one.compare(other))
  const ends = [0, pending.length - 1].map((i) => Buffer.from(idText(pending.id(i))))
  return [pending.length, ...ends, named]
}

function detailsOf({ pending, consumers }: Group, wanted: Wanted, nowMs: number): Reply {
  const { start, end, count, leastIdleMs, consumer } = wanted
  const only = consumer ? consumers.findIndex(({ name }) => name.equals(consumer)) : null
  if (only === -1) return []
  const places: number[] = []
  for (let i = pending.firstFrom(start); i < pending.length && places.length < count; i++) {
    if (pending.id(i).compare(end) > 0) break
    if (only !== null && pending.consumer(i) !== only) continue
    if (leastIdleMs !== 0 && nowMs - pending.at(i).deliveredMs < leastIdleMs) continue
    places.push(i)
  }
  return pendingReply(places.length, (i) => {
    const place = places[i]!
    const { consumer: owner, deliveredMs, deliveries } = pending.at(place)
    const idleMs = Math.max(nowMs - deliveredMs, 0)
    return [idText(pending.id(place)), consumers[owner]!.name, idleMs, integerReply(deliveries)]
  })
}
