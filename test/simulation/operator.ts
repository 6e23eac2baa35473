/**
 * Who changes the members: asks a coordinator for it, and again if it cannot be done yet. Empties a server that was a
 * member before it joins again.
 */
import type { ChangeRequest } from '../../src/cluster/changes.ts'
import { RondoError } from '../../src/core/errors.ts'
import { membersOf, type Topology } from '../../src/core/topology.ts'
import type { Fault } from './schedule.ts'
import type { Server } from './server.ts'
import type { Running, World } from './world.ts'

export type ChangeStep = Extract<Fault, { kind: 'change' }>
export type ReplaceStep = Extract<Fault, { kind: 'replace' }>
export type RemoveStep = Extract<Fault, { kind: 'remove' }>
export type MoveStep = Extract<Fault, { kind: 'move' }>

/** Until all coordinators that live have noticed that members are gone. */
const MOST_TRIES_TO_REMOVE = 16
const ENDS_WITHIN_MS = 2500

type Asked = Pick<ChangeRequest, 'join' | 'leave' | 'replicas' | 'weights'>

/** With two, one wrong clock would make cluster time wrong. */
const FEWEST_MEMBERS = 3
const AGAIN_MS = 300
const MOST_TRIES = 8

export class Operator {
  private readonly world: World
  private readonly onReplaced: (replaced: Server, next: Server) => void
  /** Another server may take a member's place at any moment. */
  private replacement: Server | null = null
  /** Requests that have not ended, or whose coordinator died. */
  private underWay = 0
  private stopped = false
  private moves = 0
  /** A coordinator, over a recovery. */
  private hasDied = false
  private readonly kills: (coordinator: number) => void

  /**
   * @param onReplaced what a member holds is given up, and the server in its place has nothing yet
   * @param kills ends the process of a coordinator
   */
  constructor(
    world: World,
    onReplaced: (replaced: Server, next: Server) => void,
    kills: (coordinator: number) => void,
  ) {
    this.world = world
    this.kills = kills
    this.onReplaced = onReplaced
  }

  get isReplacing(): boolean {
    const { replacement, world } = this
    return replacement !== null && !world.topologies.isMember(replacement)
  }

  /** Asks for nothing more. */
  stop(): void {
    this.stopped = true
  }

  change(step: ChangeStep, tries = MOST_TRIES): void {
    const { world } = this
    const running = world.coordinators[(step.coordinator + tries) % world.coordinators.length]!
    const again = () => {
      if (tries > 1) world.scheduler.after(AGAIN_MS, () => this.change(step, tries - 1))
    }
    if (this.stopped) return
    const { phase } = world.topologies.newest
    if (!running.host.alive || (this.underWay > 0 && !step.beside) || phase !== 'stable') {
      again()
      return
    }
    const asked = this.requestOf(step)
    if (asked) this.ask(running, kindOf(asked), () => running.cluster.changes.request(asked), again)
  }

  /** @param mayLose whether enough is left without the server */
  replace({ coordinator, pick }: ReplaceStep, mayLose: (server: Server) => boolean): void {
    const { world } = this
    const { topologies, servers } = world
    const running = world.coordinators[coordinator]!
    const isAsked = this.stopped || this.underWay > 0 || this.isReplacing
    if (isAsked || !running.host.alive || topologies.newest.phase !== 'stable') return
    const members = servers.filter((server) => topologies.isMember(server))
    const [replaced] = rotated(members, pick)
    const [next] = rotated(
      servers.filter((server) => !topologies.isMember(server)),
      pick >> 4,
    ).filter((server) => this.empty(server))
    if (!replaced || !next || !mayLose(replaced)) return
    if (world.isFounding(replaced) && !world.knowsTheWay(replaced)) return
    this.replacement = next
    this.onReplaced(replaced, next)
    const id = topologies.memberIdOf(replaced)!
    const request = () => running.cluster.changes.replace(id, urlOf(next), false)
    this.ask(running, 'replace', request, () => (this.replacement = null))
  }

  move({ coordinator, pick }: MoveStep): void {
    const { world } = this
    const { topologies, servers } = world
    const running = world.coordinators[coordinator]!
    if (this.stopped || this.underWay > 0 || !running.host.alive) return
    if (topologies.newest.phase !== 'stable') return
    const [server] = rotated(
      servers.filter((one) => topologies.isMember(one)),
      pick,
    )
    if (!server) return
    const url = `redis://${server.id}.${++this.moves}:6379`
    const id = topologies.memberIdOf(server)!
    const request = () => running.cluster.changes.move(id, url)
    this.ask(running, 'move', request, () => undefined)
  }

  /** @param dead members that are gone */
  remove(step: RemoveStep, dead: () => readonly Server[], tries = MOST_TRIES_TO_REMOVE): void {
    const { world } = this
    const { topologies } = world
    const gone = dead().filter((server) => topologies.isMember(server))
    if (this.stopped || gone.length === 0) return
    const running = world.coordinators[(step.coordinator + tries) % world.coordinators.length]!
    const again = () => {
      if (tries > 1) world.scheduler.after(AGAIN_MS, () => this.remove(step, dead, tries - 1))
    }
    const { phase, layout } = topologies.newest
    const isStuck = tries <= MOST_TRIES_TO_REMOVE - 4 // as by a change that was begun with those that are gone
    const isMajority = 2 * gone.length < layout.members.length && !(isStuck && step.acceptsLoss)
    if (!running.host.alive || this.underWay > 0 || (phase !== 'stable' && isMajority)) {
      again()
      return
    }
    const { changes } = running.cluster
    // What nobody has accepted is refused, as long as anything would be lost. Each coordinator is asked both ways.
    const isAccepted = step.acceptsLoss && (tries % 4 === 1 || tries % 4 === 2)
    const ids = gone.map((server) => topologies.memberIdOf(server)!)
    const left = layout.members.map(({ id }) => id).filter((id) => !ids.includes(id))
    const begun = ({ epoch, layout: { lost = [] } }: Topology) => {
      if (lost.length > 0 && !isAccepted) world.fault(`${lost.join(' ')} given up, which nobody has accepted`)
      world.note(`in epoch ${epoch} without ${lost.join(' ')}`)
      // A change that does not know that members are gone with the last copies of keys cannot end.
      const next = Math.min(tries - 1, MOST_TRIES_TO_REMOVE / 2)
      if (step.acceptsLoss) world.scheduler.after(ENDS_WITHIN_MS, () => this.remove(step, dead, next))
    }
    const request = () =>
      isMajority ? changes.request({ leave: ids, acceptLoss: isAccepted }) : changes.recover(left, isAccepted)
    const what = isMajority ? `remove ${ids.length}` : 'recover'
    this.ask(running, what, () => request().then(begun), again)
    if (isMajority || !isAccepted || step.diesMs === undefined || this.hasDied) return
    this.hasDied = true
    world.scheduler.after(step.diesMs, () => this.kills(running.index))
  }

  cancel(coordinator: number): void {
    const running = this.world.coordinators[coordinator]!
    if (this.stopped || !running.host.alive || this.world.topologies.newest.phase === 'stable') return
    this.ask(
      running,
      'cancel',
      () => running.cluster.changes.cancel(),
      () => undefined,
    )
  }

  /** Also when nothing more is asked for. */
  cancelAfterAll(): void {
    this.stopped = false
    this.cancel(0)
    this.stopped = true
  }

  private ask(running: Running, what: string, request: () => Promise<unknown>, again: () => void): void {
    const { world } = this
    world.note(`c${running.index} is asked: ${what}`)
    if (what !== 'cancel') this.underWay++
    let ended = false
    const end = () => {
      if (!ended && what !== 'cancel') this.underWay--
      ended = true
    }
    world.scheduler.after(10_000, end) // its coordinator may have died
    const look = () => {
      if (ended) return
      if (running.host.alive) world.scheduler.after(AGAIN_MS, look)
      else {
        end()
        again()
      }
    }
    if (what.startsWith('remove') || what === 'recover') look()
    running.host.enter(() => {
      request().then(
        () => {
          end()
          world.counters.count(`change: ${what} begun`)
        },
        (error: unknown) => {
          end()
          if (!(error instanceof RondoError)) {
            world.fault(`${what} failed: ${(error as Error).stack ?? String(error)}`)
            return
          }
          world.counters.count(`change: ${what} ${error.code}`)
          world.note(`c${running.index} refuses: ${what}`, () => error.message)
          again()
        },
      )
    })
  }

  /** What the step means for the members of now; null = nothing. */
  private requestOf({ join, leave, replicas, pick }: ChangeStep): Asked | null {
    const { world } = this
    const { topologies, servers } = world
    const members = servers.filter((server) => topologies.isMember(server))
    const outside = servers.filter((server) => !topologies.isMember(server))
    const joining = rotated(outside, pick)
      .filter((server) => this.empty(server))
      .slice(0, join)
    const most = members.length + joining.length - FEWEST_MEMBERS
    const leaving = rotated(members, pick >> 4).slice(0, Math.min(leave, most, members.length - 1))
    const now = membersOf(topologies.newest).length > 0 ? topologies.newest.layout.replicas : 0
    const isOther = replicas !== null && replicas !== now
    if (joining.length + leaving.length === 0 && !isOther) return null
    return {
      join: joining.map((server) => ({ id: this.newId(server), url: urlOf(server), weight: 1, zone: null })),
      leave: leaving.map((server) => topologies.memberIdOf(server)!),
      replicas: isOther ? replicas : null,
      weights: new Map(),
    }
  }

  /** Its own name, unless a server that has taken its place has it. */
  private newId({ id }: Server): string {
    const taken = membersOf(this.world.topologies.newest).some((member) => member.id === id)
    return taken ? `${id}-again` : id
  }

  /** False if it must not be emptied: the founding members lead coordinators that start to the present ones. */
  private empty(server: Server): boolean {
    const { world } = this
    if (!server.process || world.route[server.index] !== server.index) return false
    if (server.process.keys === 0) return true
    if (world.isFounding(server) && !world.knowsTheWay(server)) return false
    world.note(`${server.id} is emptied`)
    world.counters.count('change: emptied before it joins again')
    server.process.flush()
    return true
  }
}

function urlOf({ id }: Server): string {
  return `redis://${id}:6379`
}

function kindOf({ join, leave, replicas }: Asked): string {
  const of = [
    join.length > 0 ? `join ${join.length}` : '',
    leave.length > 0 ? `leave ${leave.length}` : '',
    replicas !== null ? 'replicas' : '',
  ]
  return of.filter(Boolean).join(' ')
}

function rotated<T>(list: readonly T[], by: number): T[] {
  const at = list.length > 0 ? by % list.length : 0
  return [...list.slice(at), ...list.slice(0, at)]
}
