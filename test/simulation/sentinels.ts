/**
 * Sentinels that watch the founding members. Each of these has two servers, a primary and a replica, and now and then Sentinels
 * promote the replica: it has what the primary held a while ago, and the primary runs on until it hears of it.
 *
 * They name one primary of each member at any moment (nodes/redis/sentinel.ts lets a majority of them decide); coordinators
 * learn of it when they ask, or are told.
 */
import type { Located } from '../../src/nodes/node.ts'
import type { Host } from './host.ts'
import type { Snapshot } from './server.ts'
import type { Server } from './server.ts'
import type { World } from './world.ts'

const LONGEST_ANSWER_MS = 20
const LONGEST_ANNOUNCEMENT_MS = 100

export class SimSentinels {
  private readonly world: World
  /** By the name of a member: its present primary. */
  private readonly primaries = new Map<string, Server>()
  private readonly pairs = new Map<string, readonly [Server, Server]>()
  private promotions = 0

  constructor(world: World) {
    this.world = world
  }

  watch(id: string, primary: Server, replica: Server): void {
    this.primaries.set(id, primary)
    this.pairs.set(id, [primary, replica])
    replica.process!.isReplica = true
  }

  watches(id: string): boolean {
    return this.pairs.has(id)
  }

  primaryOf(id: string): Server {
    return this.primaries.get(id)!
  }

  otherOf(id: string): Server {
    const primary = this.primaryOf(id)
    return this.pairs.get(id)!.find((server) => server !== primary)!
  }

  /** The replica takes over with what it has. */
  promote(id: string, held: Snapshot): void {
    const promoted = this.otherOf(id)
    if (!promoted.process) promoted.start(null)
    const { process } = promoted
    process!.become(held, `repl-${++this.promotions}`)
    this.primaries.set(id, promoted)
    for (const { host } of this.world.coordinators) {
      const afterMs = LONGEST_ANNOUNCEMENT_MS * this.world.chance.next()
      this.world.scheduler.after(afterMs, () => host.enter(() => this.heard.get(host)?.()))
    }
  }

  /** It hears that another one is the primary; all connections to it are closed. */
  demote(server: Server): void {
    if (!server.process || [...this.primaries.values()].includes(server)) return
    server.process.isReplica = true
    this.world.resetAllTo(server)
  }

  // ---- for coordinators

  private readonly heard = new Map<Host, () => void>()

  /** As seen by one coordinator. */
  askedBy(host: Host): { onSwitch(heard: () => void): void; close(): void } {
    return { onSwitch: (heard) => void this.heard.set(host, heard), close: () => undefined }
  }

  /** @param primary host:port; by default where it is now */
  placeOf(id: string, host: Host, primary?: string): Located {
    let address = primary ?? addressOf(this.primaryOf(id))
    return {
      get address() {
        return address
      },
      ask: () =>
        new Promise((resolve) => {
          const afterMs = LONGEST_ANSWER_MS * this.world.chance.next()
          this.world.scheduler.after(afterMs, () => host.enter(() => resolve(addressOf(this.primaryOf(id)))))
        }),
      moveTo: (to) => void (address = to),
    }
  }
}

export function addressOf({ id }: Server): string {
  return `${id}:6379`
}
