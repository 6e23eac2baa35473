/** Messages within this process: what a Redis does with SUBSCRIBE, PSUBSCRIBE and PUBLISH. */
import type { Timers } from '../../core/clock.ts'
import { SHUT } from '../failures.ts'
import type { Listening, Messenger, MessengerEvents, PublishCall } from '../node.ts'

/** All messengers of one node. */
export class MemoryMessages {
  private readonly open = new Set<MemoryMessenger>()
  /** How often each name is listened to. */
  private readonly byTopic = new Map<string, Set<MemoryMessenger>>()

  messenger(events: MessengerEvents, timers: Timers): Messenger {
    const messenger = new MemoryMessenger(this, events, timers)
    this.open.add(messenger)
    return messenger
  }

  /** As when the process is gone. */
  endAll(why: string): void {
    for (const messenger of [...this.open]) messenger.end(why)
  }

  add(topic: string, messenger: MemoryMessenger): void {
    const all = this.byTopic.get(topic) ?? new Set()
    this.byTopic.set(topic, all.add(messenger))
  }

  remove(topic: string, messenger: MemoryMessenger): void {
    const all = this.byTopic.get(topic)
    all?.delete(messenger)
    if (all?.size === 0) this.byTopic.delete(topic)
  }

  closed(messenger: MemoryMessenger): void {
    this.open.delete(messenger)
  }

  /** @returns the number of copies */
  publish(topic: Buffer, bytes: Buffer): number {
    const name = topic.toString('latin1')
    let copies = 0
    for (const messenger of this.byTopic.get(name) ?? []) {
      copies++
      messenger.hear(topic, bytes)
    }
    for (const messenger of this.open) {
      for (const prefix of messenger.prefixes) {
        if (!name.startsWith(prefix)) continue
        copies++
        messenger.hear(topic, bytes)
      }
    }
    return copies
  }
}

class MemoryMessenger implements Messenger {
  readonly prefixes = new Set<string>()
  private readonly topics = new Set<string>()
  private readonly all: MemoryMessages
  private readonly events: MessengerEvents
  private readonly timers: Timers
  /** Calls of this turn, and what was heard: all of it happens in order, at the end of the turn. */
  private queue: (() => void)[] = []
  private readonly inFlight = new Set<PublishCall>()
  private readonly listening = new Set<(why: string | null) => void>()
  private isOver = false

  constructor(all: MemoryMessages, events: MessengerEvents, timers: Timers) {
    this.all = all
    this.events = events
    this.timers = timers
    this.soon(() => events.opened())
  }

  listen(to: Listening, done: (why: string | null) => void): void {
    if (this.isOver) {
      done(null)
      return
    }
    this.listening.add(done)
    this.soon(() => {
      this.listening.delete(done)
      for (const name of namesOf(to)) {
        if ('prefixes' in to) this.prefixes.add(name)
        else {
          this.topics.add(name)
          this.all.add(name, this)
        }
      }
      done(null)
    })
  }

  unlisten(to: Listening): void {
    this.soon(() => {
      for (const name of namesOf(to)) {
        if ('prefixes' in to) this.prefixes.delete(name)
        else {
          this.topics.delete(name)
          this.all.remove(name, this)
        }
      }
    })
  }

  publish(topic: Buffer, bytes: Buffer, call: PublishCall): void {
    if (this.isOver) {
      call.onFailure({ ...SHUT, kind: 'not-sent' })
      return
    }
    this.inFlight.add(call)
    this.soon(() => {
      this.inFlight.delete(call)
      call.onPublished(this.all.publish(topic, bytes))
    })
  }

  hear(topic: Buffer, bytes: Buffer): void {
    this.soon(() => this.events.message(topic, bytes))
  }

  close(): void {
    this.isOver = true
    this.queue = []
    for (const topic of this.topics) this.all.remove(topic, this)
    this.topics.clear()
    this.prefixes.clear()
    this.all.closed(this)
  }

  end(why: string): void {
    if (this.isOver) return
    const calls = [...this.inFlight]
    this.close()
    for (const done of this.listening) done(null)
    for (const call of calls) call.onFailure(SHUT)
    this.events.ended(why)
  }

  private soon(run: () => void): void {
    if (this.isOver || this.queue.push(run) > 1) return
    this.timers.endOfTurn(() => {
      const due = this.queue
      this.queue = []
      for (const one of due) if (!this.isOver) one()
    })
  }
}

function namesOf(to: Listening): string[] {
  return ('prefixes' in to ? to.prefixes : to.topics).map((name) => name.toString('latin1'))
}
