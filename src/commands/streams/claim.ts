/** XCLAIM and XAUTOCLAIM: pending entries get another consumer. */
import { integerArgument, shown, word } from '../arguments.ts'
import type { Reply } from '../reply.ts'
import { CommandError, Refusal, resultOrError, SYNTAX_ERROR, type Step, type StepLimits } from '../step.ts'
import { MOST_IDS, TOO_MANY_IDS } from './add.ts'
import { Claimant } from './deliver.ts'
import { withGroup, type Group } from './groups.ts'
import { idArgument, idIn, idText, LEAST_ID, startArgument, type StreamId } from './ids.ts'
import type { Delivery } from './pending.ts'
import { noGroup } from './read.ts'
import { chosenReply } from './replies.ts'
import { changeStream, LOOKED_UP, type Changed } from './steps.ts'
import type { FoundEntry, Stream } from './stream.ts'

/** What becomes of what is claimed. */
interface Claim {
  readonly deliveredMs: number
  /** Null = one more than before, unless only ids are asked for. */
  readonly deliveries: bigint | null
  readonly onlyIds: boolean
}

class Claiming extends Claimant {
  private readonly claim: Claim
  private readonly ids: StreamId[] = []
  private readonly entries: FoundEntry[] = []

  constructor(stream: Stream, group: Group, name: Buffer, nowMs: number, claim: Claim) {
    super(stream, group, name, nowMs)
    this.claim = claim
  }

  take(id: StreamId, entry: FoundEntry, { deliveries }: Pick<Delivery, 'deliveries'>): void {
    const { claim } = this
    this.pending.put(id, {
      consumer: this.place,
      deliveredMs: claim.deliveredMs,
      deliveries: claim.deliveries ?? (claim.onlyIds ? deliveries : deliveries + 1n),
    })
    if (!claim.onlyIds) entry.run.checkTexts(entry.at, entry.at + 1)
    this.ids.push(id)
    this.entries.push(entry)
    this.active()
  }

  get reply(): Reply {
    const { ids, entries, claim } = this
    return claim.onlyIds ? ids.map((id) => idText(id)) : chosenReply(entries)
  }
}

// ---- XCLAIM

interface ClaimArguments extends Claim {
  readonly leastIdleMs: number
  readonly ids: readonly StreamId[]
  readonly isForced: boolean
  readonly lastId: StreamId
}

export function xclaim(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const [, key, name, consumer] = args as [Buffer, Buffer, Buffer, Buffer]
  return changeStream(
    key,
    nowMs,
    limits,
    (stream, applyMs) => {
      const group = stream?.group(name)
      if (!stream || !group) return noGroup(key, name)
      // Redis looks at the arguments after it has found the group.
      const given = resultOrError(() => claimArguments(args, applyMs))
      if (given instanceof CommandError) return { reply: new Refusal(given.message) }
      const isAhead = given.lastId.compare(group.lastId) > 0
      const moved = isAhead ? group.with({ lastId: given.lastId }) : group
      const claiming = new Claiming(stream, moved, consumer, applyMs, given)
      claiming.pending.expect(given.ids)
      const entries = stream.find(given.ids)
      for (const [i, id] of given.ids.entries()) claimOne(claiming, id, entries[i]!, given)
      return changed(claiming, isAhead ? moved : null, claiming.reply)
    },
    LOOKED_UP,
  )
}

/** @param moved the group if it was changed before */
function changed(claiming: Claiming, moved: Group | null, reply: Reply): Changed {
  const { stream } = claiming
  const group = claiming.result() ?? moved
  return group ? { reply, stream: stream.with({ groups: withGroup(stream.groups, group) }) } : { reply }
}

function claimOne(
  claiming: Claiming,
  id: StreamId,
  entry: FoundEntry | null,
  { leastIdleMs, isForced }: ClaimArguments,
): void {
  const { pending, nowMs } = claiming
  const delivery = pending.get(id)
  if (!entry) {
    if (delivery) pending.put(id, null)
    return
  }
  if (delivery ? isTooYoung(delivery, leastIdleMs, nowMs) : !isForced) return
  claiming.take(id, entry, delivery ?? { deliveries: 1n })
}

/** With 0 none is: another coordinator, whose clock is ahead, may have delivered it later than now. */
function isTooYoung({ deliveredMs }: Delivery, leastIdleMs: number, nowMs: number): boolean {
  return leastIdleMs > 0 && nowMs - deliveredMs < leastIdleMs
}

/** @throws CommandError */
function claimArguments(args: readonly Buffer[], nowMs: number): ClaimArguments {
  const leastIdleMs = Number(integerArgument(args[4]!, 'ERR Invalid min-idle-time argument for XCLAIM'))
  const ids: StreamId[] = []
  let at = 5
  for (; at < args.length; at++) {
    const id = idIn(args[at]!)
    if (!id) break
    if (ids.length === MOST_IDS) throw new CommandError(TOO_MANY_IDS)
    ids.push(id)
  }
  let deliveredMs = nowMs
  let deliveries: bigint | null = null
  let isForced = false
  let onlyIds = false
  let lastId = LEAST_ID
  const time = (argument: Buffer, option: string) => {
    return BigInt(integerArgument(argument, `ERR Invalid ${option} option argument for XCLAIM`))
  }
  for (; at < args.length; at++) {
    const option = word(args[at]!)
    const value = args[at + 1]
    if (option === 'FORCE') isForced = true
    else if (option === 'JUSTID') onlyIds = true
    else if (!value || !['IDLE', 'TIME', 'RETRYCOUNT', 'LASTID'].includes(option))
      throw new CommandError(`ERR Unrecognized XCLAIM option '${shown(args[at]!)}'`)
    else {
      at++
      if (option === 'LASTID') lastId = idArgument(value)
      else if (option === 'RETRYCOUNT') {
        const count = time(value, option)
        deliveries = count < 0n ? null : count
      } else {
        const given = time(value, option)
        const givenMs = option === 'IDLE' ? BigInt(nowMs) - given : given
        deliveredMs = givenMs < 0n || givenMs > BigInt(nowMs) ? nowMs : Number(givenMs)
      }
    }
  }
  return { leastIdleMs, ids, deliveredMs, deliveries, isForced, onlyIds, lastId }
}

// ---- XAUTOCLAIM

const DEFAULT_COUNT = 100
/** For each entry that is wanted, so many pending ones are looked at. */
const ATTEMPTS = 10
/** More are not claimed at once: the reply tells where the next call goes on. */
const MOST_CLAIMED = 10_000
/** As in Redis, whose limit is what it could allocate. */
const MOST_COUNT = 576_460_752_303_423_487n
const BAD_COUNT = 'ERR COUNT must be > 0'

interface AutoclaimArguments {
  readonly leastIdleMs: number
  readonly start: StreamId
  readonly count: number
  readonly onlyIds: boolean
}

export function xautoclaim(args: readonly Buffer[], nowMs: number, limits: StepLimits): Step {
  const [, key, name, consumer] = args as [Buffer, Buffer, Buffer, Buffer]
  const given = autoclaimArguments(args)
  return changeStream(
    key,
    nowMs,
    limits,
    (stream, applyMs) => {
      const group = stream?.group(name)
      if (!stream || !group) return noGroup(key, name)
      const claim = { deliveredMs: applyMs, deliveries: null, onlyIds: given.onlyIds }
      const claiming = new Claiming(stream, group, consumer, applyMs, claim)
      const { next, deleted } = claimFrom(claiming, group, given)
      return changed(claiming, null, [next, claiming.reply, deleted])
    },
    LOOKED_UP,
  )
}

/** @throws CommandError */
function autoclaimArguments(args: readonly Buffer[]): AutoclaimArguments {
  const leastIdleMs = Number(integerArgument(args[4]!, 'ERR Invalid min-idle-time argument for XAUTOCLAIM'))
  const start = startArgument(args[5]!)
  let count = DEFAULT_COUNT
  let onlyIds = false
  for (let at = 6; at < args.length; at++) {
    const option = word(args[at]!)
    if (option === 'COUNT' && at + 1 < args.length) {
      const given = BigInt(integerArgument(args[++at]!, BAD_COUNT))
      if (given < 1n || given > MOST_COUNT) throw new CommandError(BAD_COUNT)
      count = Number(given)
    } else if (option === 'JUSTID') onlyIds = true
    else throw new CommandError(SYNTAX_ERROR)
  }
  return { leastIdleMs, start, count, onlyIds }
}

/** @returns where the next call goes on, and the ids that are pending no longer because their entries are gone */
function claimFrom(
  claiming: Claiming,
  { pending }: Group,
  { leastIdleMs, start, count }: AutoclaimArguments,
): { next: string; deleted: string[] } {
  const { stream, nowMs } = claiming
  const deleted: string[] = []
  let left = Math.min(count, MOST_CLAIMED)
  let at = pending.firstFrom(start)
  let attempts = left * ATTEMPTS
  while (attempts > 0 && left > 0 && at < pending.length) {
    // No more than are wanted: what is in parts is looked up together.
    const ids: StreamId[] = []
    for (let i = at; i < pending.length && ids.length < Math.min(left, attempts); i++) ids.push(pending.id(i))
    const entries = stream.find(ids)
    for (const [i, id] of ids.entries()) {
      const delivery = pending.at(at + i)
      const entry = entries[i]
      if (!entry) {
        claiming.pending.put(id, null)
        deleted.push(idText(id))
      } else if (isTooYoung(delivery, leastIdleMs, nowMs)) continue
      else claiming.take(id, entry, delivery)
      left--
    }
    at += ids.length
    attempts -= ids.length
  }
  return { next: at < pending.length ? idText(pending.id(at)) : idText(LEAST_ID), deleted }
}
