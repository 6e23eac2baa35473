/** XGROUP. */
import { integerArgument, shown, word } from '../arguments.ts'
import { OK } from '../reply.ts'
import { CommandError, Refusal, resultOrError, type Step, type StepLimits } from '../step.ts'
import { Group, UNKNOWN_READ, withGroup } from './groups.ts'
import { anyIdArgument, idArgument, type StreamId } from './ids.ts'
import { Pending } from './pending.ts'
import { changeStream, NO_STREAM, type Changed } from './steps.ts'
import type { Stream } from './stream.ts'

const NO_KEY = new Refusal(
  'ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to ' +
    'create an empty stream automatically.',
  'KEY_NOT_FOUND',
)
const BUSY = new Refusal('BUSYGROUP Consumer Group name already exists', 'PRECONDITION_FAILED')

export function badSubcommand(command: string, given: Buffer): string {
  return `ERR unknown subcommand or wrong number of arguments for '${shown(given)}'. Try ${command} HELP.`
}

interface Options {
  readonly makesStream: boolean
  readonly read: bigint
}

/** @throws CommandError */
function optionsOf(args: readonly Buffer[], mayMakeStream: boolean): Options {
  let makesStream = false
  let read = UNKNOWN_READ
  for (let at = 5; at < args.length; at++) {
    const option = word(args[at]!)
    if (option === 'MKSTREAM' && mayMakeStream) makesStream = true
    else if (option === 'ENTRIESREAD' && at + 1 < args.length) {
      read = BigInt(integerArgument(args[++at]!))
      if (read < UNKNOWN_READ) throw new CommandError('ERR value for ENTRIESREAD must be positive or -1')
    } else throw new CommandError(badSubcommand('XGROUP', args[1]!))
  }
  return { makesStream, read }
}

export function xgroupCreate(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const { makesStream, read } = optionsOf(args, true)
  const [, , key, name, id] = args as [Buffer, Buffer, Buffer, Buffer, Buffer]
  return changeStream(key, nowMs, limits, (there) => {
    if (!there && !makesStream) return { reply: NO_KEY }
    if (args.length > 8) return { reply: new Refusal(badSubcommand('XGROUP', args[1]!)) }
    const stream = there ?? NO_STREAM
    const lastId = idOr(stream, id, idArgument)
    if (lastId instanceof Refusal) return { reply: lastId }
    if (stream.group(name)) return { reply: BUSY }
    const group = new Group({ name, lastId, read, consumers: [], pending: Pending.NONE })
    return { reply: OK, stream: stream.with({ groups: withGroup(stream.groups, group) }) }
  })
}

export function xgroupSetid(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const { read } = optionsOf(args, false)
  return changeGroup(args, nowMs, limits, (stream, group) => {
    if (args.length > 7) return { reply: new Refusal(badSubcommand('XGROUP', args[1]!)) }
    const lastId = idOr(stream, args[4]!, anyIdArgument)
    if (lastId instanceof Refusal) return { reply: lastId }
    return {
      reply: OK,
      stream: stream.with({ groups: withGroup(stream.groups, group.with({ lastId, read })) }),
    }
  })
}

/** Redis looks at it after it has found the stream. */
function idOr(stream: Stream, id: Buffer, parse: (id: Buffer) => StreamId): StreamId | Refusal {
  if (id.length === 1 && id[0] === 0x24) return stream.lastId
  const parsed = resultOrError(() => parse(id))
  return parsed instanceof CommandError ? new Refusal(parsed.message) : parsed
}

export function xgroupDestroy(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const [, , key, name] = args as [Buffer, Buffer, Buffer, Buffer]
  return changeStream(key, nowMs, limits, (stream) => {
    if (!stream) return { reply: NO_KEY }
    const groups = stream.groups.filter((group) => !group.name.equals(name))
    return groups.length === stream.groups.length
      ? { reply: 0 }
      : { reply: 1, stream: stream.with({ groups }) }
  })
}

export function xgroupCreateconsumer(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return changeGroup(args, nowMs, limits, (stream, group, applyMs) => {
    const name = args[4]!
    if (group.consumer(name) !== -1) return { reply: 0 }
    const consumers = [...group.consumers, { name, seenMs: applyMs, activeMs: 0 }]
    return { reply: 1, stream: stream.with({ groups: withGroup(stream.groups, group.with({ consumers })) }) }
  })
}

export function xgroupDelconsumer(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  return changeGroup(args, nowMs, limits, (stream, group) => {
    const place = group.consumer(args[4]!)
    if (place === -1) return { reply: 0 }
    const pending = group.pending.withoutConsumer(place)
    const consumers = group.consumers.toSpliced(place, 1)
    const groups = withGroup(stream.groups, group.with({ consumers, pending }))
    return { reply: group.pending.length - pending.length, stream: stream.with({ groups }) }
  })
}

/** A change of a group that must exist. */
function changeGroup(
  args: readonly Buffer[],
  nowMs: number,
  limits: StepLimits,
  change: (stream: Stream, group: Group, nowMs: number) => Changed,
): Step {
  const [, , key, name] = args as [Buffer, Buffer, Buffer, Buffer]
  return changeStream(key, nowMs, limits, (stream, applyMs) => {
    if (!stream) return { reply: NO_KEY }
    const group = stream.group(name)
    return group ? change(stream, group, applyMs) : { reply: noSuchGroup(name, key) }
  })
}

export function noSuchGroup(name: Buffer, key: Buffer): Refusal {
  return new Refusal(
    `NOGROUP No such consumer group '${shown(name)}' for key name '${shown(key)}'`,
    'KEY_NOT_FOUND',
  )
}
