/** Runs a command on keys for a connection: adds its reply slot, and claims its keys so that later commands wait. */
import { MANY_ARGUMENTS } from '../../../commands/model.ts'
import { RespError } from '../../../commands/reply.ts'
import {
  isOneRead,
  runStep,
  readStep,
  runAlone,
  stepOf,
  type KeyedCommand,
} from '../../../commands/run/keyed.ts'
import { claimEverything, claimKeys } from '../connection/claims.ts'
import { ReplySlot } from '../connection/slot.ts'
import type { Client, Command } from '../model.ts'
import { readOne } from './fast.ts'

/** Its keys are not known yet: later commands wait, whatever theirs are. */
function runByItself(client: Client, command: Command, args: readonly Buffer[], keyed: KeyedCommand): void {
  const slot = new ReplySlot(client, command)
  client.add(slot)
  const released = claimEverything(client)
  slot.answerWith(runAlone(client, args, keyed).finally(released))
}

export function runKeyed(
  client: Client,
  command: Command,
  args: readonly Buffer[],
  keyed: KeyedCommand,
): void {
  if (args.length > MANY_ARGUMENTS) {
    runByItself(client, command, args, keyed)
    return
  }
  const step = stepOf(client, args, keyed)
  if (step instanceof RespError) {
    client.say(step, command)
    return
  }
  if (step.follow) {
    runByItself(client, command, args, keyed)
    return
  }
  if (isOneRead(client, step)) {
    readOne(client, command, step)
    return
  }
  const slot = new ReplySlot(client, command)
  client.add(slot)
  // Reads at `one` that start now run before later writes. Keys need a claim only if some reads cannot start yet. At other
  // levels a read may ask twice.
  const claims = step.writes || client.readLevel !== 'one'
  let released = claimKeys(client, claims ? step.keys : [], command)
  const heldUp = () => {
    released()
    released = claimKeys(client, step.keys)
  }
  const answer = step.writes ? runStep(client, step, args, keyed) : readStep(client, step, keyed.name, heldUp)
  slot.answerWith(answer.finally(() => released()))
}
