/**
 * Tasks and outcomes as bytes, between the thread that has the keys and the one that runs scripts. Structured clones would
 * copy the whole pool behind a small Buffer, and lose the classes of replies.
 *
 * Whatever a script answers, reading it must not hold up the thread that has the keys. So replies have a form of their own,
 * of which only what is looked at is read: long ones are read while they are sent to the client, in slices (reply.ts, Lazy).
 */
import { deserialize, serialize } from 'node:v8'
import { ReplyWriter, replyIn } from './reply-wire.ts'
import type { Outcome, Task } from './job.ts'

/** A script that several of them run is there once. */
export function encodeTasks(tasks: readonly Task[]): Buffer {
  return serialize(tasks)
}

export function decodeTasks(bytes: Uint8Array): readonly Task[] {
  return deserialize(bytes) as readonly Task[]
}

export function encodeOutcome(outcome: Outcome): Buffer {
  if (!('reply' in outcome)) return serialize(outcome)
  return serialize({ ...outcome, reply: new ReplyWriter().written(outcome.reply) })
}

export function decodeOutcome(bytes: Uint8Array): Outcome {
  const outcome = deserialize(bytes) as Outcome
  return 'reply' in outcome ? { ...outcome, reply: replyIn(outcome.reply as Buffer) } : outcome
}
