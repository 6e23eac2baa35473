/**
 * What goes wrong, carried out. A fault that would break the bound of the promise (fewer than a majority of a key's home
 * replicas have lost data and not been refilled) is left out, as far as the schedule asks for the bound.
 */
import { ALL_SERVERS, FOREIGN_SERVER, type Fault, type Schedule } from './schedule.ts'
import type { SimLink } from './link.ts'
import type { Path, Wire } from './network.ts'
import type { Server, Snapshot } from './server.ts'
import { Operator } from './operator.ts'
import { MARKER_KEY } from '../../src/core/keys.ts'
import type { World } from './world.ts'

const SLOW_TRACKING_MS = 250
/** Of a coordinator that dies over what it was asked for. */
const DEAD_MS = 200

interface Dead {
  readonly disk: Snapshot
  readonly returns: boolean
  readonly isLoss: boolean
}

export class Faults {
  /** Servers that lost data at any time, or may have. */
  readonly touched = new Set<number>()
  /** Servers that were to take the place of a member. */
  readonly replacements = new Set<Server>()
  /** Servers that are gone, and what is on their disks. */
  private readonly dead = new Map<Server, Dead>()
  /** Servers that are down, and come back with nothing. */
  private readonly blankWhenBack = new Set<Server>()
  private readonly world: World
  private readonly operator: Operator
  private readonly schedule: Schedule
  private fromMs = 0
  private healed = false
  private ending = new Set<() => void>()

  constructor(world: World, schedule: Schedule) {
    this.world = world
    const replaces = (replaced: Server, next: Server) => {
      for (const { index } of [replaced, next]) this.touched.add(index)
      this.replacements.add(next)
    }
    const kills = (coordinator: number) =>
      this.strike({ kind: 'kill', at: 0, forMs: DEAD_MS, coordinator }, null)
    this.operator = new Operator(world, replaces, kills)
    this.schedule = schedule
  }

  begin(fromMs: number): void {
    this.fromMs = fromMs
    for (const fault of this.schedule.faults) this.plan(fault)
  }

  /** Ends everything that still goes on, except what lasts by its nature (lost data, wrong clocks). */
  heal(): void {
    this.healed = true
    this.operator.stop()
    for (const end of [...this.ending]) end()
    const { topologies } = this.world
    const { lost = [] } = topologies.newest.layout
    for (const [server, { disk, returns, isLoss }] of this.dead) {
      const id = topologies.memberIdOf(server)
      if (isLoss && id !== null && lost.length === 0) this.world.fault(`${id} is gone, and was not removed`)
      if (!returns && (id === null || lost.includes(id))) continue
      this.world.note(`${server.id} is back`)
      server.isGone = false
      server.start(disk)
    }
  }

  /** Somebody undoes a change that cannot end. */
  cancel(): void {
    this.operator.cancelAfterAll()
  }

  private plan(fault: Fault): void {
    const { epoch } = fault
    if (epoch === undefined) this.planAt(fault, this.fromMs + fault.at)
    else {
      this.world.whenMarked(epoch, (atMs) => {
        if (!this.healed) this.planAt(fault, atMs + fault.at)
      })
    }
  }

  private planAt(fault: Fault, at: number): void {
    const { scheduler } = this.world
    // What is on disk at a crash is what was there a while before.
    let onDisk: Snapshot | null = null
    if (fault.kind === 'crash' || fault.kind === 'failover') {
      scheduler.at(Math.max(this.fromMs, at - fault.lostMs), () => {
        onDisk = this.serverNow(fault).process?.snapshot() ?? null
      })
    }
    const strikes = () => this.strike(fault, onDisk)
    const isWaiting = fault.kind === 'flush' && fault.whenBrought === true
    if (!isWaiting) scheduler.at(at, strikes)
    else scheduler.at(at, () => this.world.whenBrought(this.world.servers[fault.server]!, strikes))
  }

  /** Whose data is concerned. */
  private serverNow(fault: Extract<Fault, { kind: 'crash' | 'failover' }>): Server {
    const server = this.world.servers[fault.server]!
    return fault.kind === 'failover' ? this.world.sentinels.primaryOf(server.id) : server
  }

  private strike(fault: Fault, onDisk: Snapshot | null): void {
    const { world } = this
    if (this.healed) return
    const loses = this.loses(fault)
    if (loses && !this.mayLose((fault as { server: number }).server)) return
    if (loses) this.touched.add((fault as { server: number }).server)
    world.counters.count(`fault: ${fault.kind}`)
    world.note(`FAULT ${fault.kind}`, () => JSON.stringify(fault))
    switch (fault.kind) {
      case 'cut': {
        const directions = fault.direction === 'both' ? (['to', 'from'] as const) : [fault.direction]
        for (const path of this.pathsOf(fault)) {
          for (const direction of directions) path.cut(direction)
          this.lasting(fault.forMs, () => directions.forEach((direction) => path.heal(direction)))
        }
        return
      }
      case 'reset': {
        const { links, host } = world.coordinators[fault.coordinator]!
        if (host.alive)
          for (const wire of wiresTo(links, world.servers[fault.server]!)) wire.reset(fault.loses)
        return
      }
      case 'slow': {
        for (const path of this.pathsOf(fault)) {
          path.slow(fault.extraMs)
          this.lasting(fault.forMs, () => path.slow(0))
        }
        return
      }
      case 'tracking':
        this.disturbTracking(fault)
        return
      case 'pause': {
        const process = world.servers[fault.server]!.process
        process?.pause()
        this.lasting(fault.forMs, () => process?.resume())
        return
      }
      case 'crash':
        this.restart(fault.server, fault.noticed, fault.forMs, () => onDisk)
        return
      case 'wipe':
        this.restart(fault.server, fault.noticed, fault.forMs, () => null)
        return
      case 'flush':
        world.servers[fault.server]!.process?.flush()
        return
      case 'swap':
        this.swap(fault.server, fault.other, fault.forMs)
        return
      case 'refuse': {
        const server = world.servers[fault.server]!
        server.refuses = fault.reason
        this.lasting(fault.forMs, () => (server.refuses = null))
        return
      }
      case 'evict':
        world.servers[fault.server]!.process?.engine.storage.delete(Buffer.from(fault.key))
        return
      case 'clock':
        for (const server of world.servers) {
          if (fault.server === ALL_SERVERS || fault.server === server.index) server.clockOffMs = fault.offMs
        }
        return
      case 'wall':
        world.coordinators[fault.coordinator]!.host.wallOffMs = fault.offMs
        return
      case 'stall':
        world.coordinators[fault.coordinator]!.host.stall(fault.forMs)
        return
      case 'kill': {
        if (!world.coordinators[fault.coordinator]!.host.alive) return
        world.killCoordinator(fault.coordinator)
        this.lasting(fault.forMs, () => void world.startCoordinator(fault.coordinator))
        return
      }
      case 'change':
        this.operator.change(fault)
        return
      case 'replace':
        this.operator.replace(fault, (server) => this.mayLose(server.index))
        return
      case 'move':
        this.operator.move(fault)
        return
      case 'cancel':
        this.operator.cancel(fault.coordinator)
        return
      case 'die':
        this.die(fault)
        return
      case 'failover':
        this.failOver(fault, onDisk)
        return
      case 'remove': {
        const servers = fault.servers.map((index) => world.servers[index]!)
        this.operator.remove(fault, () => servers.filter((server) => this.dead.has(server)))
      }
    }
  }

  private pathsOf({ coordinator, server }: { coordinator: number; server: number }): readonly Path[] {
    const { paths, trackingPaths } = this.world
    return [paths, trackingPaths].flatMap((all) => all[coordinator]![server] ?? [])
  }

  private disturbTracking({ how, forMs, coordinator, server }: Extract<Fault, { kind: 'tracking' }>): void {
    const { world } = this
    const path = world.trackingPaths[coordinator]![server]!
    if (how === 'reset') {
      const { links, host } = world.coordinators[coordinator]!
      const isIts = (link: SimLink) => link.server === world.servers[server]
      if (!host.alive) return
      for (const link of links.filter(isIts)) for (const wire of link.trackingWires()) wire.reset(false)
    } else if (how === 'slow') {
      path.slow(SLOW_TRACKING_MS)
      this.lasting(forMs, () => path.slow(0))
    } else {
      path.cut(how)
      this.lasting(forMs, () => path.heal(how))
    }
  }

  private loses(fault: Fault): boolean {
    if (fault.kind === 'crash') return !(this.schedule.durable && fault.lostMs === 0)
    if (fault.kind === 'die') return !fault.isLoss
    return fault.kind === 'wipe' || fault.kind === 'flush' || fault.kind === 'evict'
  }

  /** All other servers hold all that was acknowledged. */
  private mayLose(server: number): boolean {
    const { world } = this
    // A blank server at the address of another one becomes that one, and is refused when it is back at its own.
    if (world.route[server] !== server) return false
    if (this.schedule.beyond) return true
    if (this.operator.isReplacing) return false
    const loser = world.servers[server]!
    if (world.isFounding(loser) && !world.topologies.isMember(loser) && !world.knowsTheWay(loser))
      return false
    return world.servers.every(
      (other) =>
        other === loser ||
        !world.topologies.isMember(other) ||
        (other.process?.isClean ?? false) ||
        !this.touched.has(other.index),
    )
  }

  private failOver(fault: Extract<Fault, { kind: 'failover' }>, held: Snapshot | null): void {
    const { sentinels, servers } = this.world
    const { id } = servers[fault.server]!
    const [former, next] = [sentinels.primaryOf(id), sentinels.otherOf(id)]
    if (!held || !former.process || (next.process && !next.process.isReplica)) return
    const isAlone = servers.every(({ index }) => {
      const isOther = index !== former.index && index !== next.index
      return !isOther || !this.touched.has(index) || (servers[index]!.process?.isClean ?? true)
    })
    if (!isAlone) return
    for (const { index } of [former, next]) this.touched.add(index)
    this.replacements.add(next)
    sentinels.promote(id, held)
    if (fault.runsMs === null) {
      this.world.killServer(former, true)
      this.lasting(1000, () => {
        former.start(null)
        former.process!.isReplica = sentinels.primaryOf(id) !== former
      })
    } else this.lasting(fault.runsMs, () => sentinels.demote(former))
  }

  private die({ server: index, noticed, returns, isLoss }: Extract<Fault, { kind: 'die' }>): void {
    const server = this.world.servers[index]!
    if (!server.process || this.world.route[index] !== index) return
    if (this.world.isFounding(server) && !this.world.knowsTheWay(server)) return
    server.isGone = true
    this.touched.add(index)
    this.dead.set(server, { disk: server.process.snapshot(), returns, isLoss })
    this.world.killServer(server, noticed)
  }

  private restart(index: number, noticed: boolean, downMs: number, onDisk: () => Snapshot | null): void {
    const { world } = this
    const server = world.servers[index]!
    if (!server.process) return
    world.killServer(server, noticed)
    if (!hasMarker(onDisk())) this.blankWhenBack.add(server)
    this.lasting(downMs, () => {
      world.note(`${server.id} is back`)
      this.blankWhenBack.delete(server)
      server.start(onDisk())
    })
  }

  /** The address leads to another server, and its connections are gone. */
  private swap(index: number, other: number, forMs: number): void {
    const { route } = this.world
    if (route[index] !== index || (other !== FOREIGN_SERVER && route[other] !== other)) return
    // As in mayLose: nobody can tell whose a server without a marker is, so it is not moved before it has one.
    if (this.isBlank(index) || this.isBlank(other)) return
    route[index] = other
    if (other !== FOREIGN_SERVER) route[other] = index
    this.resetAll(index, other)
    this.lasting(forMs, () => {
      route[index] = index
      if (other !== FOREIGN_SERVER) route[other] = other
      this.resetAll(index, other)
    })
  }

  private isBlank(index: number): boolean {
    const server = this.world.server(index)
    return server.process ? server.process.markerBytes === null : this.blankWhenBack.has(server)
  }

  private resetAll(...addresses: number[]): void {
    for (const { links, host } of this.world.coordinators) {
      if (!host.alive) continue
      for (const address of addresses) {
        const server = this.world.servers[address]
        if (server) for (const wire of wiresTo(links, server)) wire.reset(false)
      }
    }
  }

  private lasting(forMs: number, end: () => void): void {
    const once = () => {
      if (this.ending.delete(once)) end()
    }
    this.ending.add(once)
    this.world.scheduler.after(forMs, once)
  }
}

function wiresTo(links: readonly SimLink[], server: Server): Wire[] {
  return links.filter((link) => link.server === server).flatMap((link) => link.wires())
}

function hasMarker(snapshot: Snapshot | null): boolean {
  return snapshot?.entries.some(({ key }) => key.equals(MARKER_KEY)) ?? false
}
