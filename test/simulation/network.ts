/**
 * The network between one coordinator and one address, and the connections over it.
 *
 * A connection is two queues, in order each; how long a message takes is chance, and connections know nothing of each
 * other, so everything may be reordered between them. As in TCP, what was written to a connection is delivered once or
 * never: a cut holds it back until the cut heals, also when the one who wrote it has long gone (bytes in the socket
 * buffer); a reset or the death of the process at the other end loses it.
 */
import type { Random } from '../support/random.ts'
import type { Host } from './host.ts'
import type { Scheduler } from './scheduler.ts'
import type { Process, Server } from './server.ts'

export type Direction = 'to' | 'from'

const WEATHER_MS = 400
const SHORTEST_MEAN_MS = 0.15
const LONGEST_MEAN_MS = 60

/** The route from one coordinator to one address. */
export class Path {
  readonly scheduler: Scheduler
  private readonly random: Random
  private readonly isCut = { to: 0, from: 0 }
  private held: { direction: Direction; run: () => void }[] = []
  private weatherUntilMs = 0
  private readonly meanMs = { to: 1, from: 1 }
  /** Before the test proper, all is calm. */
  calm = true
  private extraMs = 0

  constructor(scheduler: Scheduler, random: Random) {
    this.scheduler = scheduler
    this.random = random
  }

  cut(direction: Direction): void {
    this.isCut[direction]++
  }

  heal(direction: Direction): void {
    this.isCut[direction]--
    const held = this.held
    this.held = []
    for (const { direction, run } of held) this.carry(direction, run)
  }

  slow(extraMs: number): void {
    this.extraMs = extraMs
  }

  /** Runs it at the other end, some time from now. */
  carry(direction: Direction, run: () => void): void {
    this.scheduler.after(this.delayMs(direction), () => {
      if (this.isCut[direction] > 0) this.held.push({ direction, run })
      else run()
    })
  }

  private delayMs(direction: Direction): number {
    if (this.calm) return 0.1 + this.random.next() * 0.2
    if (this.scheduler.nowMs >= this.weatherUntilMs) {
      this.weatherUntilMs = this.scheduler.nowMs + WEATHER_MS * this.random.next()
      for (const one of ['to', 'from'] as const) {
        this.meanMs[one] =
          SHORTEST_MEAN_MS * (LONGEST_MEAN_MS / SHORTEST_MEAN_MS) ** (this.random.next() * this.random.next())
      }
    }
    return -Math.log(1 - this.random.next()) * this.meanMs[direction] + this.extraMs * this.random.next()
  }
}

export interface WireEvents {
  /** The other end has closed it, or nobody is there. */
  onClosed(why: 'refused' | 'closed'): void
}

/** One connection. */
export class Wire {
  /** The process at the other end, once the first message has arrived there. */
  process: Process | null = null
  /** False once our end has closed it: replies are thrown away. */
  open = true
  private readonly path: Path
  private readonly host: Host
  private readonly resolve: () => Server
  private readonly events: WireEvents
  private broken = false
  private readonly queues: Record<Direction, (() => void)[]> = { to: [], from: [] }

  /** @param resolve who is at the address now */
  constructor(path: Path, host: Host, resolve: () => Server, events: WireEvents) {
    this.path = path
    this.host = host
    this.resolve = resolve
    this.events = events
  }

  /** @param execute carried out by the process at the other end */
  send(execute: (process: Process) => void): void {
    this.push('to', () => this.arrive(execute))
  }

  reply(deliver: () => void): void {
    if (this.broken) return
    this.push('from', () => {
      this.host.enter(() => {
        if (this.open) deliver()
      })
    })
  }

  close(): void {
    this.open = false
  }

  /** Somebody in between resets the connection. @param loses what is on its way to the node does not arrive */
  reset(loses: boolean): void {
    if (loses) {
      this.broken = true
      this.queues.to = []
    }
    this.queues.from = []
    this.tellClosed('closed')
  }

  /** The process has died; @param noticed its machine says so */
  died(noticed: boolean): void {
    this.broken = true
    if (noticed) this.path.carry('from', () => this.tellClosed('closed'))
  }

  private arrive(execute: (process: Process) => void): void {
    const server = this.resolve()
    if (!this.process && !this.broken) {
      if (!server.process) {
        this.broken = true
        this.path.carry('from', () => this.tellClosed('refused'))
        return
      }
      this.process = server.process
    }
    const { process } = this
    if (this.broken || !process?.alive) {
      if (server.process) this.path.carry('from', () => this.tellClosed('closed')) // the new process knows nothing of it
      return
    }
    process.receive(() => execute(process))
  }

  private tellClosed(why: 'refused' | 'closed'): void {
    this.host.enter(() => {
      if (!this.open) return
      this.open = false
      this.events.onClosed(why)
    })
  }

  /** First in, first out, however long each takes. */
  private push(direction: Direction, run: () => void): void {
    this.queues[direction].push(run)
    this.path.carry(direction, () => this.queues[direction].shift()?.())
  }
}
