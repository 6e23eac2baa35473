/**
 * A connection for messages (PUBLISH, SUBSCRIBE) to a simulated server. Who is subscribed, and what becomes of a message, is
 * decided by the memory node there; here is the way to it. A server that is silent is noticed, as redis-messenger.ts does.
 */
import type { TimerHandle } from '../../src/core/clock.ts'
import { NOT_CONNECTED, SHUT } from '../../src/nodes/failures.ts'
import type { Listening, Messenger, MessengerEvents, PublishCall } from '../../src/nodes/node.ts'
import type { Host } from './host.ts'
import { Wire, type Path } from './network.ts'
import type { Process, Server } from './server.ts'

const CHECK_MS = 1000

export interface MessengerWorld {
  readonly host: Host
  readonly path: Path
  readonly resolve: () => Server
  readonly silentMs: number
  /** What others publish does not arrive now. */
  readonly losesMessages: () => boolean
}

/** A call that waits for its answer. */
interface Expected {
  readonly lost: () => void
}

export class SimMessenger implements Messenger {
  readonly wire: Wire
  private readonly world: MessengerWorld
  private readonly events: MessengerEvents
  private readonly onOver: (messenger: SimMessenger) => void
  private readonly expected = new Set<Expected>()
  /** At the server's end. */
  private remote: { readonly messenger: Messenger; readonly process: Process } | null = null
  private timer: TimerHandle
  private isOpen = false
  private isOver = false
  private heardAtMs = 0

  constructor(
    world: MessengerWorld,
    events: MessengerEvents,
    onOver: (messenger: SimMessenger) => void,
    openMs: number,
  ) {
    const { host, path, resolve } = world
    this.world = world
    this.events = events
    this.onOver = onOver
    this.wire = new Wire(path, host, resolve, { onClosed: (why) => this.end(why) })
    this.timer = host.setTimeout(() => this.end('it did not answer HELLO in time'), openMs)
    this.wire.send((process) => {
      const messenger = process.engine.messenger({
        opened: () => this.wire.reply(() => this.open()),
        message: (topic, bytes) => {
          if (!world.losesMessages()) this.wire.reply(() => this.hear(topic, bytes))
        },
        ended: () => undefined,
      })
      this.remote = { messenger, process }
      process.settle()
    })
  }

  listen(to: Listening, done: (why: string | null) => void): void {
    if (this.isOver) done(null)
    else {
      const answered = this.expect(() => done(null))
      this.ask((remote) => remote.listen(to, (why) => this.wire.reply(() => answered() && done(why))))
    }
  }

  unlisten(to: Listening): void {
    if (!this.isOver) this.ask((remote) => remote.unlisten(to))
  }

  publish(topic: Buffer, bytes: Buffer, call: PublishCall): void {
    if (this.isOver || !this.isOpen) {
      call.onFailure(NOT_CONNECTED)
      return
    }
    const answered = this.expect(() => call.onFailure(SHUT))
    this.ask((remote) =>
      remote.publish(topic, bytes, {
        onPublished: (copies) => this.wire.reply(() => answered() && call.onPublished(copies)),
        onFailure: (failure) => this.wire.reply(() => answered() && call.onFailure(failure)),
      }),
    )
  }

  close(): void {
    if (this.isOver) return
    this.isOver = true
    this.world.host.clearTimeout(this.timer)
    this.wire.close()
    // The server learns of it over the network, or when it is there again.
    this.world.path.carry('to', () => {
      if (!this.remote?.process.alive) return
      this.remote.messenger.close()
      this.remote.process.settle()
    })
    this.onOver(this)
  }

  /** Its coordinator has died: nobody is told. */
  abandon(): void {
    this.close()
    this.expected.clear()
  }

  private ask(what: (remote: Messenger) => void): void {
    this.wire.send((process) => {
      if (this.remote) what(this.remote.messenger)
      process.settle()
    })
  }

  /** @returns notes that the answer is there; false = it does not matter any more */
  private expect(lost: () => void): () => boolean {
    const expected: Expected = { lost }
    this.expected.add(expected)
    return () => {
      this.heardAtMs = this.world.host.monotonicMs()
      return this.expected.delete(expected)
    }
  }

  private open(): void {
    this.isOpen = true
    this.heardAtMs = this.world.host.monotonicMs()
    this.world.host.clearTimeout(this.timer)
    this.timer = this.world.host.setTimeout(this.check, CHECK_MS)
    this.events.opened()
  }

  private hear(topic: Buffer, bytes: Buffer): void {
    this.heardAtMs = this.world.host.monotonicMs()
    this.events.message(topic, bytes)
  }

  private readonly check = (): void => {
    const { host, silentMs } = this.world
    if (this.expected.size > 0 && host.monotonicMs() - this.heardAtMs > Math.max(silentMs, CHECK_MS)) {
      this.end('it did not answer in time')
      return
    }
    if (this.expected.size === 0) {
      const answered = this.expect(() => undefined)
      this.wire.send(() => this.wire.reply(() => answered()))
    }
    this.timer = host.setTimeout(this.check, CHECK_MS)
  }

  private end(why: string): void {
    if (this.isOver) return
    this.close()
    const lost = [...this.expected]
    this.expected.clear()
    for (const one of lost) one.lost()
    this.events.ended(why)
  }
}
