/**
 * Tasks and outcomes as bytes, between the thread that has the keys and the one that runs scripts. Structured clones would
 * copy the whole pool behind a small Buffer, and lose the classes of replies.
 *
 * Runs of scripts, and outcomes without log lines and publications, are nearly all of them, and have a form of their own
 * (job-wire.ts): `serialize` costs as much as such a script. The first byte tells which form it is.
 *
 * Whatever a script answers, reading it must not hold up the thread that has the keys. So replies have a form of their own,
 * of which only what is looked at is read: long ones are read while they are sent to the client, in slices (reply.ts, Lazy).
 */
import { deserialize, serialize } from 'node:v8'
import { JobReader, JobWriter } from './job-wire.ts'
import { ReplyWriter, replyIn } from './reply-wire.ts'
import type { Outcome, Task } from './job.ts'

const SERIALIZED = 0
const OWN = 1
/** The same of an outcome whose run has taken little time. */
const OWN_SHORT = 2

/** A script that several of them run is there once. */
export function encodeTasks(tasks: readonly Task[]): Buffer {
  const jobs = tasks.flatMap((task) => (task.kind === 'run' ? [task.job] : []))
  return jobs.length === tasks.length ? new JobWriter(OWN).jobs(jobs) : serialized(tasks)
}

export function decodeTasks(bytes: Uint8Array): readonly Task[] {
  const content = contentOf(bytes)
  if (bytes[0] === SERIALIZED) return deserialize(content) as readonly Task[]
  return new JobReader(content).jobs().map((job) => ({ kind: 'run', job }))
}

/** @param isShort whether its run has taken little time */
export function encodeOutcome(outcome: Outcome, isShort = false): Buffer {
  if (!('reply' in outcome)) return serialized(outcome)
  const reply = new ReplyWriter().written(outcome.reply)
  if (outcome.logs || outcome.published) return serialized({ ...outcome, reply })
  return new JobWriter(isShort ? OWN_SHORT : OWN).stepped(reply, outcome.next)
}

export function decodeOutcome(bytes: Uint8Array): Outcome {
  const content = contentOf(bytes)
  if (bytes[0] !== SERIALIZED) {
    const { reply, next } = new JobReader(content).stepped()
    const isShort = bytes[0] === OWN_SHORT
    return next ? { reply: replyIn(reply), next, isShort } : { reply: replyIn(reply), isShort }
  }
  const outcome = deserialize(content) as Outcome
  return 'reply' in outcome ? { ...outcome, reply: replyIn(outcome.reply as Buffer) } : outcome
}

function serialized(value: unknown): Buffer {
  const content = serialize(value)
  const bytes = Buffer.allocUnsafeSlow(1 + content.length)
  bytes[0] = SERIALIZED
  content.copy(bytes, 1)
  return bytes
}

/** What follows the first byte. */
function contentOf({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset + 1, length - 1)
}
