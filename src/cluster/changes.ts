/**
 * Changes of members that somebody asks for: checks them, and begins them.
 *
 *   request    members join and leave, weights, zones and the number of copies change: in three epochs (core/topology.ts)
 *   replace    another server takes the place of a member, which may be gone: one epoch, then it is filled
 *   move       a member has another address: one epoch
 *
 * One change is under way at a time; others wait (queue.ts). A node that joins is checked before (candidate.ts). No change
 * begins while a member lacks data, or cannot be reached, unless it leaves.
 */
import { RondoError } from '../core/errors.ts'
import type { Asked, AskedChange, Queued } from '../core/queued.ts'
import { sentenceOf } from '../core/sentence.ts'
import {
  begin,
  cancel,
  move,
  onlyIn,
  recover,
  replace,
  StepRefused,
  votingLayout,
  type Layout,
  type Topology,
  type TopologyMember,
} from '../core/topology.ts'
import { checkCandidate } from './candidate.ts'
import { checkLoss, checkRecovery, gone } from './loss.ts'
import type { Member } from './member.ts'
import type { Membership } from './membership.ts'
import { checkMoved, takeAsRestarted } from './moved.ts'
import type { Proposal } from './register.ts'

export interface Joining {
  readonly id: string
  /** redis[s]://host:port without credentials; null = a node in this process. */
  readonly url: string | null
  /** Where the url names Sentinels: host:port of the primary that they name now. */
  readonly primary?: string
  readonly weight: number
  readonly zone: string | null
}

export interface ChangeRequest {
  readonly join: readonly Joining[]
  /** Those that join are emptied; otherwise they must be empty. */
  readonly dropData: boolean
  /** Ids. */
  readonly leave: readonly string[]
  /** Members that leave may be gone with the last copies of keys. */
  readonly acceptLoss: boolean
  /** By id: the new weight, and the new zone. */
  readonly weights: ReadonlyMap<string, number>
  readonly zones: ReadonlyMap<string, string | null>
  /** The new N; null = as it is. */
  readonly replicas: number | null
}

export const NO_CHANGE: ChangeRequest = {
  join: [],
  dropData: false,
  leave: [],
  acceptLoss: false,
  weights: new Map(),
  zones: new Map(),
  replicas: null,
}

/** In the form of the register. */
export function askedOf(request: ChangeRequest): AskedChange {
  const { join, leave, weights, zones } = request
  return {
    ...request,
    kind: 'change',
    join: [...join],
    leave: [...leave],
    weights: [...weights],
    zones: [...zones],
  }
}

export function requestOf({ weights, zones, ...asked }: AskedChange): ChangeRequest {
  return { ...asked, weights: new Map(weights), zones: new Map(zones) }
}

export interface ChangesOptions {
  readonly membership: Membership
  /** In use now. */
  readonly members: () => readonly Member[]
  /** @throws Error if its address cannot be used */
  readonly memberOf: (member: TopologyMember) => Member
  /** Before any connection is made. @throws RondoError BAD_REQUEST if no node may be there */
  readonly checkAddress: (url: string) => Promise<void>
  /** The host:port of the primary, for a url that names Sentinels; null for others. @throws Error */
  readonly primaryOf: (url: string) => Promise<string | null>
  /** Returns a new random string of at least 64 bits. */
  readonly randomId: () => string
}

const MAX_MEMBERS = 1000
const MAX_REPLICAS = 16
/** How often a proposal is made again that another coordinator interfered with. */
const TRIES = 5

export class Changes {
  private readonly options: ChangesOptions

  constructor(options: ChangesOptions) {
    this.options = options
  }

  /**
   * Begins a change.
   *
   * @returns the topology of its first phase
   * @throws RondoError CONFLICT, BAD_REQUEST, MEMBER_NOT_FOUND, UNAVAILABLE; UnderWay
   */
  request(some: Partial<ChangeRequest>): Promise<Topology> {
    return this.requestAll([{ ...NO_CHANGE, ...some }])
  }

  /**
   * Begins several changes as one.
   *
   * @param taken ids of those that have waited, and do not from then on
   * @throws RondoError as `request`
   */
  async requestAll(asked: readonly ChangeRequest[], taken: readonly string[] = []): Promise<Topology> {
    const from = this.stable()
    const all = await Promise.all(asked.map((one) => this.locatedAll(one)))
    const layout = all.reduce((layout, one) => nextLayout({ ...from, layout }, one), from.layout)
    const leaving = all.flatMap(({ leave }) => leave)
    this.checkMembers(leaving)
    const lost = this.lostBy(from, all)
    const joining = layout.members.filter(({ life }) => life > from.epoch)
    return this.withCandidates(joining, async (nodes) => {
      for (const [i, node] of nodes.entries()) {
        const { dropData } = all.find(({ join }) => join.some(({ id }) => id === node.id))!
        await this.checkCandidate(node, nodes.slice(0, i), { from, dropData })
      }
      const next = () => {
        this.checkMembers(leaving)
        return begin(from, layout, lost)
      }
      return this.decide(from, next, nodes, taken)
    })
  }

  /**
   * Another server takes the place of a member.
   *
   * @throws RondoError as `request`
   */
  async replace(
    id: string,
    url: string,
    dropData: boolean,
    taken: readonly string[] = [],
  ): Promise<Topology> {
    const from = this.stable()
    const member = memberIn(from, id)
    checkNewUrl(from, url)
    this.checkMembers([id])
    const { primary } = await this.located({ url })
    const next = membersById(replace(from, id, url, primary)).get(member.id)!
    return this.withCandidates([next], async ([node]) => {
      await this.checkCandidate(node!, [], { from, dropData })
      const replaced = () => {
        this.checkMembers([id])
        return replace(from, id, url, primary)
      }
      return this.decide(from, replaced, [node!], taken)
    })
  }

  /**
   * A member has another address.
   *
   * @throws RondoError as `request`
   */
  async move(id: string, url: string, taken: readonly string[] = []): Promise<Topology> {
    const from = this.stable()
    memberIn(from, id)
    checkNewUrl(from, url)
    this.checkMembers([id])
    const { primary } = await this.located({ url })
    const next = membersById(move(from, id, url, true, primary)).get(id)!
    return this.withCandidates([next], async ([node]) => {
      const present = this.options.members().find((one) => one.id === id)
      const found = await checkMoved(node!, present, from)
      const isSame = found.runId === present?.report?.runId
      if (!isSame) await takeAsRestarted(node!, found, this.options.randomId())
      return this.decide(from, () => move(from, id, url, isSame, primary), [], taken)
    })
  }

  /**
   * Goes on with what is left where members are gone for good, and a majority cannot agree on anything without them.
   *
   * @param survivors ids: all members that are left
   * @throws RondoError CONFLICT, MEMBER_NOT_FOUND, UNAVAILABLE
   */
  async recover(survivors: readonly string[], acceptLoss: boolean): Promise<Topology> {
    const { membership } = this.options
    const from = membership.topology
    if (!from) throw notKnown()
    const voting = { ...from, layout: votingLayout(from) }
    for (const id of survivors) memberIn(voting, id)
    const left = voting.layout.members.filter(({ id }) => survivors.includes(id))
    const lost = voting.layout.members.filter((member) => !left.includes(member)).map(({ id }) => id)
    checkRecovery(voting, lost, gone(this.options.members()), acceptLoss)
    return this.decide(from, () => recover(from, survivors), [], [])
  }

  /**
   * Checks a change that is to begin later, as far as can be told now. Nothing is changed, and no node emptied.
   *
   * @param from what it is to begin with
   * @throws RondoError as `request`
   */
  async rehearse(from: Topology, asked: Asked): Promise<void> {
    const next = appliedTo(from, asked)
    const isNew = ({ id, url }: TopologyMember) =>
      !from.layout.members.some((one) => one.id === id && one.url === url)
    const added = await Promise.all(next.layout.members.filter(isNew).map((one) => this.located(one)))
    await this.withCandidates(added, async (nodes) => {
      if (asked.kind === 'move') return
      const { dropData } = asked
      for (const [i, node] of nodes.entries()) {
        await this.checkCandidate(node, nodes.slice(0, i), { from, dropData, writes: false })
      }
    })
  }

  /** Undoes the change that is under way. @throws RondoError CONFLICT, UNAVAILABLE */
  cancel(): Promise<Topology> {
    return this.step((now) => cancel(now), [])
  }

  // ---- checks

  /** @throws RondoError */
  private stable(): Topology {
    const { topology } = this.options.membership
    if (!topology) throw notKnown()
    if (topology.phase !== 'stable') throw new UnderWay(topology)
    return topology
  }

  private async locatedAll(asked: ChangeRequest): Promise<ChangeRequest> {
    return { ...asked, join: await Promise.all(asked.join.map((one) => this.located(one))) }
  }

  /** With its primary, where the url names Sentinels. @throws RondoError */
  private async located<T extends { readonly url: string | null }>(
    one: T,
  ): Promise<T & { primary?: string }> {
    const { checkAddress, primaryOf } = this.options
    if (one.url === null) return one
    await checkAddress(one.url)
    try {
      const primary = await primaryOf(one.url)
      if (primary !== null) await checkAddress(`redis://${primary}`)
      return { ...one, ...(primary !== null && { primary }) }
    } catch (error) {
      if (error instanceof RondoError) throw error
      throw new RondoError(
        'UNAVAILABLE',
        `The primary is not known: ${sentenceOf(error)}. Nothing was changed.`,
      )
    }
  }

  /** @throws RondoError */
  private checkCandidate(
    candidate: Member,
    beside: readonly Member[],
    { from, dropData, writes = true }: { from: Topology; dropData: boolean; writes?: boolean },
  ): Promise<void> {
    const members = this.options.members()
    return checkCandidate(candidate, { members, beside, cluster: from.cluster, dropData, writes })
  }

  /** @param leaving ids @throws RondoError UNAVAILABLE */
  private checkMembers(leaving: readonly string[]): void {
    const lacking = gone(this.options.members()).filter(({ id }) => !leaving.includes(id))
    if (lacking.length === 0) return
    const which = lacking.map(({ id, health, completeness }) => `${id} (${health.state}, ${completeness})`)
    throw new RondoError(
      'UNAVAILABLE',
      `The change was not begun: all members that stay must be clean and reachable, and these are not: ${which.join(', ')}. Wait until /status shows them as clean, or let them leave.`,
    )
  }

  /** Ids of members whose data is given up; none, where enough copies are left. @throws RondoError CONFLICT */
  private lostBy(from: Topology, all: readonly ChangeRequest[]): readonly string[] {
    const ids = gone(this.options.members()).map(({ id }) => id)
    const leaving = all.flatMap(({ leave, acceptLoss }) => leave.map((id) => ({ id, acceptLoss })))
    const lost = leaving.filter(({ id }) => ids.includes(id))
    return checkLoss(
      from,
      lost.map(({ id }) => id),
      lost.every(({ acceptLoss }) => acceptLoss),
    )
  }

  // ---- steps

  /** Nodes that are not used in the end are closed. @throws RondoError */
  private async withCandidates<T>(
    joining: readonly TopologyMember[],
    run: (nodes: readonly Member[]) => Promise<T>,
  ): Promise<T> {
    const nodes = joining.map((one) => this.memberOf(one))
    try {
      return await run(nodes)
    } finally {
      const used = this.options.members()
      for (const one of nodes) if (!used.includes(one)) void one.node.close()
    }
  }

  /** @throws RondoError CONFLICT */
  private memberOf(member: TopologyMember): Member {
    try {
      return this.options.memberOf(member)
    } catch (error) {
      throw new RondoError('CONFLICT', `Node ${member.id} cannot join: ${sentenceOf(error)}.`)
    }
  }

  /** @param next may check again: the members were probed @throws RondoError */
  private async decide(
    from: Topology,
    next: () => Topology,
    joining: readonly Member[],
    taken: readonly string[],
  ): Promise<Topology> {
    let wanted = from
    const queue = (held: readonly Queued[]) => {
      if (!taken.every((id) => held.some((one) => one.id === id))) throw new UnderWay(from)
      return held.filter(({ id }) => !taken.includes(id))
    }
    const begun = await this.step(
      (now) => {
        // What was proposed before may have been decided by another coordinator, which found it begun.
        if (wanted !== from && leadsTo(now, wanted)) return now
        if (now.epoch !== from.epoch) throw new UnderWay(now)
        wanted = next()
        return wanted
      },
      joining,
      queue,
    )
    if (!leadsTo(begun, wanted)) throw new UnderWay(begun)
    return begun
  }

  private step(
    make: (now: Topology) => Topology,
    joining: readonly Member[] = [],
    queue?: Proposal['queue'],
  ): Promise<Topology> {
    return decided(() => this.options.membership.change(make, joining, queue))
  }
}

/** Tries again where another coordinator interferes. @throws RondoError */
export async function decided<T>(attempt: () => Promise<T | null>): Promise<T> {
  try {
    for (let tries = 0; tries < TRIES; tries++) {
      const decision = await attempt()
      if (decision) return decision
    }
  } catch (error) {
    if (error instanceof StepRefused) throw new RondoError('CONFLICT', inSentence(error.message))
    throw error
  }
  const sentence =
    'Too few members could be asked, or another coordinator is changing them. Nothing was changed as far as is known; see /cluster, and try again. ' +
    'If members are gone for good that a change needs which was begun before, name the members that are left (POST /topology/recover).'
  throw new RondoError('UNAVAILABLE', sentence)
}

/** What a change leads to, without its phases. @throws RondoError as `Changes.request` */
export function appliedTo(from: Topology, asked: Asked): Topology {
  if (asked.kind === 'change') {
    const layout = nextLayout(from, requestOf(asked))
    if (isLayout(layout, from.layout)) throw new RondoError('CONFLICT', 'It would change nothing.')
    return { ...from, layout }
  }
  memberIn(from, asked.id)
  checkNewUrl(from, asked.url)
  return asked.kind === 'replace' ? replace(from, asked.id, asked.url) : move(from, asked.id, asked.url)
}

/** @throws RondoError */
function nextLayout(from: Topology, asked: ChangeRequest): Layout {
  const { layout } = from
  const { join, leave, weights, zones, replicas } = asked
  for (const id of [...leave, ...weights.keys(), ...zones.keys()]) memberIn(from, id)
  for (const { id, url } of join) {
    const same = layout.members.find((member) => member.id === id)
    if (same) throw new RondoError('CONFLICT', `${same.id} is a member already${urlOf(same)}.`)
    if (url !== null) checkNewUrl(from, url)
  }
  const ids = join.flatMap(({ id, url }) => (url === null ? [id] : [id, url]))
  if (new Set(ids).size < ids.length) throw new RondoError('BAD_REQUEST', 'A node is to join twice.')
  const last = Math.max(0, ...layout.members.map(({ ordinal }) => ordinal))
  const kept = layout.members.filter(({ id }) => !leave.includes(id))
  const life = from.epoch + 1
  const members = [
    ...kept.map((member) => ({
      ...member,
      weight: weights.get(member.id) ?? member.weight,
      zone: zones.has(member.id) ? zones.get(member.id)! : member.zone,
    })),
    ...join.map((one, i) => ({ ...one, ordinal: last + 1 + i, life, isGiven: true as const })),
  ]
  if (members.length === 0) throw new RondoError('CONFLICT', 'The last member cannot leave.')
  if (members.length > MAX_MEMBERS) {
    throw new RondoError('CONFLICT', `A cluster has at most ${MAX_MEMBERS} members.`)
  }
  if (replicas !== null && (replicas < 1 || replicas > MAX_REPLICAS)) {
    throw new RondoError('BAD_REQUEST', `Replicas are 1 to ${MAX_REPLICAS}.`)
  }
  return { ...layout, members, replicas: replicas ?? layout.replicas }
}

function membersById({ layout }: Topology): Map<string, TopologyMember> {
  return new Map(layout.members.map((member) => [member.id, member]))
}

/** @throws RondoError MEMBER_NOT_FOUND */
function memberIn({ layout }: Topology, id: string): TopologyMember {
  const member = layout.members.find((one) => one.id === id)
  if (!member) throw new RondoError('MEMBER_NOT_FOUND', `There is no member ${id}; /members lists them.`)
  return member
}

/** @throws RondoError CONFLICT */
function checkNewUrl({ layout }: Topology, url: string): void {
  const same = layout.members.find((member) => member.url === url)
  if (same) throw new RondoError('CONFLICT', `${same.id} is a member already${urlOf(same)}.`)
}

function notKnown(): RondoError {
  return new RondoError('UNAVAILABLE', 'The members of the cluster are not known yet; /status says why.')
}

/** Another change is under way, or was made meanwhile. */
export class UnderWay extends RondoError {
  constructor({ epoch, phase, layout, next }: Topology) {
    const change = next && { join: onlyIn(next, layout), leave: onlyIn(layout, next) }
    const sentence =
      phase === 'stable'
        ? 'Another change was made meanwhile: look at /cluster, and ask again if it is still wanted.'
        : `Another change is under way (epoch ${epoch}, ${phase}): wait until /cluster shows the phase stable, or undo that one (POST /rebalance/cancel).`
    super('CONFLICT', sentence, { epoch, phase, change })
  }
}

/** That it is the change which was wanted, or has come further with it. */
function leadsTo(found: Topology, wanted: Topology): boolean {
  return found.epoch >= wanted.epoch && isLayout(found.next ?? found.layout, wanted.next ?? wanted.layout)
}

function isLayout(one: Layout | null, two: Layout | null): boolean {
  return JSON.stringify(one) === JSON.stringify(two)
}

function urlOf({ url }: TopologyMember): string {
  return url === null ? '' : ` at ${url}`
}

function inSentence(words: string): string {
  return `${words[0]!.toUpperCase()}${words.slice(1)}.`
}
