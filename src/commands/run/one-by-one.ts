/**
 * Runs a transaction that cannot be atomic (RESP_CROSS_SET_MULTI=unordered): each command by itself, as if there were no
 * MULTI. Commands on different keys run concurrently, in slices (slices.ts); those on the same key run in order; a command
 * without keys runs when all before it have ended.
 */
import { answerBytes, leftOut } from './answer-limit.ts'
import type { Caller } from '../model.ts'
import { RespError, type Reply } from '../reply.ts'
import { allInSlices } from './slices.ts'
import { isStep, type Queue } from './together.ts'

/** Cost of a command without keys. */
const UNITS_WITHOUT_KEYS = 16

/**
 * @param queue the steps of the commands, for their keys
 * @param execute runs the command at this index by itself; never rejects
 */
export async function oneByOne(
  caller: Caller,
  queue: Queue,
  execute: (place: number) => Promise<Reply>,
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
      await sideBySide(caller, queue.slice(from, to), (i) => answer(from + i))
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

async function sideBySide(
  caller: Caller,
  queue: Queue,
  answer: (place: number) => Promise<void>,
): Promise<void> {
  /** By key: the last command on it. */
  const lastOn = new Map<string, Promise<void>>()
  await allInSlices(caller, queue.length, (place) => {
    const queued = queue[place]!
    const names = isStep(queued) ? queued.keys.map((key) => key.toString('latin1')) : []
    const before = names.flatMap((name) => lastOn.get(name) ?? [])
    const answered = before.length > 0 ? Promise.all(before).then(() => answer(place)) : answer(place)
    for (const name of names) lastOn.set(name, answered)
    return answered
  })
}
