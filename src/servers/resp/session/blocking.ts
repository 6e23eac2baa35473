/**
 * Commands that wait for an element. Later commands of the connection wait until it has its answer.
 *
 * A client that closes its connection, or its own end of it, while its command waits is gone, as in Redis: it takes nothing any
 * more, what it was just taking is given back, and what it has sent behind is dropped.
 */
import type { Wait } from '../../../coordinator/api.ts'
import { errorOf, replyOf } from '../../../commands/errors.ts'
import { RespError, type Reply } from '../../../commands/reply.ts'
import { beginWaiting, planOf, type BlockingCommand } from '../../../commands/run/blocking.ts'
import { claimEverything } from '../connection/claims.ts'
import { compacted } from '../connection/compact.ts'
import { WaitingSlot } from '../connection/waiting-slot.ts'
import type { Client, Command } from '../model.ts'
import { runKeyed } from './run-keyed.ts'

/** About what waiting at a key takes: its place in the order of that key, and what is known of the key. */
const WAITED_KEY_BYTES = 1024

export const CLOSING = new RespError('UNBLOCKED this coordinator is shutting down: wait at another one')

export function runBlocking(
  client: Client,
  command: Command,
  args: readonly Buffer[],
  blocking: BlockingCommand,
): void {
  if (planOf(client, args, blocking) === null) {
    runKeyed(client, command, args, blocking)
    return
  }
  const own = compacted([...args])
  const plan = planOf(client, own, blocking)!
  if (plan instanceof RespError) {
    client.say(plan, command)
    return
  }
  const isGone = () => client.gone || client.inputEnded
  const heldBytes = plan.keys.length * WAITED_KEY_BYTES
  client.account.add(heldBytes)
  const wait = client.account.isRefused
    ? errorOf(client.account.refusal())
    : beginWaiting(client, own, blocking, plan, isGone)
  if (wait instanceof RespError) {
    client.account.add(-heldBytes)
    client.say(wait, command)
    return
  }
  const slot = new WaitingSlot(client, command)
  client.add(slot)
  const released = claimEverything(client)
  void hand(client, slot, wait, () => {
    client.account.add(-heldBytes)
    released()
  })
}

async function hand(
  client: Client,
  slot: WaitingSlot,
  wait: Wait<Reply>,
  released: () => void,
): Promise<void> {
  client.wait = wait
  if (client.server.isClosing) wait.end(CLOSING)
  try {
    const handed = await wait.result
    if (client.inputEnded && !client.gone) {
      slot.suppressed = true
      client.end()
    }
    slot.handOver(handed, client.server.nowUs())
  } catch (error) {
    slot.answer(replyOf(error))
  } finally {
    client.wait = null
    released()
  }
}
