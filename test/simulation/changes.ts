/**
 * A connection over which a simulated server tells which keys change. What it tells is the memory node's; here is the way to the
 * coordinator, which ends when the data path does, or when a PING gets no answer in time, as in nodes/redis/tracking.ts.
 */
import type { TimerHandle } from '../../src/core/clock.ts'
import type { ChangeEvents, Subscription } from '../../src/nodes/node.ts'
import type { MessengerWorld } from './messenger.ts'
import { Wire } from './network.ts'
import type { Process } from './server.ts'

/** NEAR_CACHE_MAX_STALENESS_MS. */
export const MAX_STALENESS_MS = 1000
const PINGS = 3

export class SimChanges implements Subscription {
  readonly wire: Wire
  private readonly world: Pick<MessengerWorld, 'host' | 'path' | 'resolve'>
  private readonly to: ChangeEvents
  private readonly onOver: (changes: SimChanges) => void
  private remote: { readonly subscription: Subscription; readonly process: Process } | null = null
  private timer: TimerHandle
  private isAnswered = false
  private isOver = false

  /** @param runId of the process that the data path is open to; null = it is not open */
  constructor(
    world: SimChanges['world'],
    to: ChangeEvents,
    runId: string | null,
    onOver: (changes: SimChanges) => void,
  ) {
    const { host, path, resolve } = world
    this.world = world
    this.to = to
    this.onOver = onOver
    this.wire = new Wire(path, host, resolve, { onClosed: (why) => this.end(why) })
    if (runId === null) {
      this.timer = host.setTimeout(() => this.end('the node is not connected'), 0)
      return
    }
    this.timer = host.setTimeout(this.check, MAX_STALENESS_MS / PINGS)
    this.wire.send((process) => this.open(process, runId))
  }

  close(): void {
    if (this.isOver) return
    this.isOver = true
    this.world.host.clearTimeout(this.timer)
    this.wire.close()
    this.world.path.carry('to', () => this.remote?.subscription.close())
    this.onOver(this)
  }

  end(why: string): void {
    if (this.isOver) return
    this.close()
    this.to.ended(why)
  }

  private open(process: Process, runId: string): void {
    if (process.runId !== runId) {
      this.wire.reply(() => this.end('another process'))
      return
    }
    const subscription = process.engine.changes({
      opened: () => {
        this.wire.reply(() => {
          this.isAnswered = true
          this.to.opened()
        })
      },
      changed: (keys) => this.wire.reply(() => this.to.changed(keys)),
      ended: () => undefined,
    })
    this.remote = { subscription, process }
    process.settle()
  }

  private readonly check = (): void => {
    if (!this.isAnswered) {
      this.end('it was silent')
      return
    }
    this.isAnswered = false
    this.wire.send(() => this.wire.reply(() => (this.isAnswered = true)))
    this.timer = this.world.host.setTimeout(this.check, MAX_STALENESS_MS / PINGS)
  }
}
