/**
 * Runs a transaction that cannot be atomic (RESP_CROSS_SET_MULTI=unordered): each command by itself, as if there were no
 * MULTI. Commands on different keys run concurrently, in slices (slices.ts); those on the same key run in order; a command
 * without keys runs when all before it have ended. Those that hand something over (hand-over.ts), and what follows them on
 * their keys, run when the others have ended: whoever takes an element finds all that belongs to it, as after a real
 * transaction.
 */
import { answerBytes, leftOut } from './answer-limit.ts'
import type { Sliced } from '../../core/work.ts'
import type { Caller } from '../model.ts'
import { RespError, type Reply } from '../reply.ts'
import { allInSlices } from './slices.ts'
import { isStep, type Queue } from './together.ts'

/** Cost of a command without keys. */
const UNITS_WITHOUT_KEYS = 16

/** The commands of a queue, by their places. */
export interface ByThemselves {
  /** Runs it by itself; never rejects. */
  readonly execute: (place: number) => Promise<Reply>
  /** Whether it hands something over (hand-over.ts). */
  readonly handsOver: (place: number) => boolean
}

/** @param queue the steps of the commands, for their keys */
export async function oneByOne(
  caller: Caller,
  queue: Queue,
  { execute, handsOver }: ByThemselves,
): Promise<Reply[]> {
  const replies: Reply[] = []
  let bytes = 0
  let heldBytes = 0
  const answer = async (place: number) => {
    const reply = await execute(place)
    const replyBytes = answerBytes(reply)
    bytes += replyBytes
    const isLeftOut = bytes > caller.settings.maxReplyBytes
    replies[place] = isLeftOut ? new RespError(leftOut(caller.settings)) : reply
    if (isLeftOut) return
    heldBytes += replyBytes
    caller.account.add(replyBytes)
  }
  try {
    let from = 0
    while (from < queue.length) {
      let to = from
      while (to < queue.length && queue[to] !== null) to++
      const { first, then } = await caller.work.outcomeOf(inTwo(queue, from, to, handsOver))
      await sideBySide(caller, queue, first, answer)
      await sideBySide(caller, queue, then, answer)
      if (to < queue.length) {
        await answer(to)
        await caller.work.yieldTurn(UNITS_WITHOUT_KEYS)
      }
      from = to + 1
    }
    return replies
  } finally {
    caller.account.add(-heldBytes)
  }
}

/** The places of commands that hand something over, with what follows them on their keys; and before them all others. */
function* inTwo(
  queue: Queue,
  from: number,
  to: number,
  handsOver: (place: number) => boolean,
): Sliced<{ first: readonly number[]; then: readonly number[] }> {
  const first: number[] = []
  const then: number[] = []
  const keysOfThen = new Set<string>()
  for (let place = from; place < to; place++) {
    const names = namesOf(queue[place]!)
    const isLater = handsOver(place) || names.some((name) => keysOfThen.has(name))
    if (isLater) for (const name of names) keysOfThen.add(name)
    const places = isLater ? then : first
    places.push(place)
    yield 1
  }
  return { first, then }
}

function namesOf(queued: Queue[number]): string[] {
  return isStep(queued) ? queued.keys.map((key) => key.toString('latin1')) : []
}

async function sideBySide(
  caller: Caller,
  queue: Queue,
  places: readonly number[],
  answer: (place: number) => Promise<void>,
): Promise<void> {
  /** By key: the last command on it. */
  const lastOn = new Map<string, Promise<void>>()
  await allInSlices(caller, places.length, (index) => {
    const place = places[index]!
    const names = namesOf(queue[place]!)
    const before = names.flatMap((name) => lastOn.get(name) ?? [])
    const answered = before.length > 0 ? Promise.all(before).then(() => answer(place)) : answer(place)
    for (const name of names) lastOn.set(name, answered)
    return answered
  })
}
