/** A messenger of a driver of the embedding program, kept to its contract (node.ts): see guarded-node.ts. */
import type { Timers } from '../core/clock.ts'
import { NOT_CONNECTED } from './failures.ts'
import type { Messenger, MessengerEvents, NodeFailure, PublishCall } from './node.ts'

export function guardedMessenger(
  open: (events: MessengerEvents) => Messenger,
  to: MessengerEvents,
  timers: Timers,
): Messenger {
  let inner: Messenger | null = null
  let isOver = false
  const end = (why: string) => {
    if (isOver) return
    isOver = true
    closeQuietly()
    timers.endOfTurn(() => to.ended(why))
  }
  const closeQuietly = () => {
    try {
      inner?.close()
    } catch {
      // it is not used any more
    }
  }
  const attempt = (run: (inner: Messenger) => void, otherwise: (failure: NodeFailure) => void) => {
    if (isOver || !inner) {
      otherwise(NOT_CONNECTED)
      return
    }
    try {
      run(inner)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      otherwise({ kind: 'unknown', reason: 'error', message: why })
      end(why)
    }
  }
  try {
    inner = open({
      opened: () => isOver || to.opened(),
      message: (topic, bytes) => isOver || to.message(topic, bytes),
      ended: end,
    })
  } catch (error) {
    end(error instanceof Error ? error.message : String(error))
  }
  return {
    listen(listening, done) {
      const one = once(done)
      attempt(
        (messenger) => messenger.listen(listening, one),
        () => one(null),
      )
    },
    unlisten: (listening) =>
      attempt(
        (messenger) => messenger.unlisten(listening),
        () => undefined,
      ),
    publish(topic, bytes, call) {
      const failed = (failure: NodeFailure) => answer(() => call.onFailure(failure))
      const answer = once((deliver: () => void) => deliver())
      const guarded: PublishCall = {
        onPublished: (copies) => answer(() => call.onPublished(copies)),
        onFailure: failed,
      }
      attempt((messenger) => messenger.publish(topic, bytes, guarded), failed)
    },
    close() {
      isOver = true
      closeQuietly()
    },
  }
}

/** Only the first call counts. */
function once<T>(run: (value: T) => void): (value: T) => void {
  let isDone = false
  return (value) => {
    if (isDone) return
    isDone = true
    run(value)
  }
}
