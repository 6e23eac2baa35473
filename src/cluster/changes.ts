/**
 * Changes of members that somebody asks for: checks them, and begins them.
 *
 * One change is under way at a time. A node that joins must be a plain Redis server that can be reached from here, that
 * belongs to no cluster, and is empty. No change begins while a member lacks data, or cannot be reached, unless it leaves.
 */
import { RondoError } from '../core/errors.ts'
import { inWords, sentenceOf } from '../core/sentence.ts'
import {
  begin,
  cancel,
  StepRefused,
  type Layout,
  type Topology,
  type TopologyMember,
} from '../core/topology.ts'
import type { Member } from './member.ts'
import type { Membership } from './membership.ts'

export interface Joining {
  readonly id: string
  /** redis[s]://host:port without credentials; null = a node in this process. */
  readonly url: string | null
  readonly weight: number
  readonly zone: string | null
}

export interface ChangeRequest {
  readonly join: readonly Joining[]
  /** Ids. */
  readonly leave: readonly string[]
  /** By id: the new weight. */
  readonly weights: ReadonlyMap<string, number>
  /** The new N; null = as it is. */
  readonly replicas: number | null
}

const NO_CHANGE: ChangeRequest = { join: [], leave: [], weights: new Map(), replicas: null }

export interface ChangesOptions {
  readonly membership: Membership
  /** In use now. */
  readonly members: () => readonly Member[]
  /** @throws Error if its address cannot be used */
  readonly memberOf: (member: TopologyMember) => Member
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
   * @throws RondoError CONFLICT, BAD_REQUEST, UNAVAILABLE
   */
  async request(some: Partial<ChangeRequest>): Promise<Topology> {
    const asked = { ...NO_CHANGE, ...some }
    const from = this.known()
    if (from.phase !== 'stable') throw underWay(from)
    const layout = this.nextLayout(from.layout, asked)
    this.checkMembers(asked)
    const joining = layout.members.filter(({ id }) => asked.join.some((one) => one.id === id))
    const nodes = joining.map((one) => this.memberOf(one))
    try {
      for (const node of nodes) await checkCandidate(node)
      const begun = await this.step((now) => {
        if (now.epoch !== from.epoch) throw underWay(now)
        this.checkMembers(asked) // as they are after all were probed
        return begin(now, layout)
      }, nodes)
      if (begun.epoch === from.epoch + 1 && isLayout(begun.next, layout)) return begun
      throw underWay(begun)
    } finally {
      const used = this.options.members()
      for (const one of nodes) if (!used.includes(one)) void one.node.close()
    }
  }

  /** Undoes the change that is under way. @throws RondoError CONFLICT, UNAVAILABLE */
  cancel(): Promise<Topology> {
    return this.step((now) => cancel(now), [])
  }

  /** @throws RondoError CONFLICT */
  private memberOf(member: TopologyMember): Member {
    try {
      return this.options.memberOf(member)
    } catch (error) {
      throw new RondoError('CONFLICT', `Node ${member.id} cannot join: ${sentenceOf(error)}.`)
    }
  }

  private known(): Topology {
    const { topology } = this.options.membership
    if (!topology)
      throw new RondoError('UNAVAILABLE', 'The members of the cluster are not known yet; /status says why.')
    return topology
  }

  private async step(make: (now: Topology) => Topology, joining: readonly Member[]): Promise<Topology> {
    try {
      for (let tries = 0; tries < TRIES; tries++) {
        const decided = await this.options.membership.change(make, joining)
        if (decided) return decided
      }
    } catch (error) {
      if (error instanceof StepRefused) throw new RondoError('CONFLICT', inSentence(error.message))
      throw error
    }
    const sentence =
      'Too few members could be asked, or another coordinator is changing them. Nothing was changed as far as is known; see /cluster, and try again.'
    throw new RondoError('UNAVAILABLE', sentence)
  }

  /** @throws RondoError */
  private nextLayout(layout: Layout, { join, leave, weights, replicas }: ChangeRequest): Layout {
    for (const id of [...leave, ...weights.keys()]) {
      if (!layout.members.some((member) => member.id === id)) {
        throw new RondoError('MEMBER_NOT_FOUND', `There is no member ${id}; /members lists them.`)
      }
    }
    for (const { id, url } of join) {
      const same = layout.members.find((member) => member.id === id || (url !== null && member.url === url))
      if (same) throw new RondoError('CONFLICT', `${same.id} is a member already${urlOf(same)}.`)
    }
    const ids = join.map(({ id }) => id)
    if (new Set(ids).size < ids.length) throw new RondoError('BAD_REQUEST', 'A node is to join twice.')
    const last = Math.max(0, ...layout.members.map(({ ordinal }) => ordinal))
    const kept = layout.members.filter(({ id }) => !leave.includes(id))
    const members = [
      ...kept.map((member) => ({ ...member, weight: weights.get(member.id) ?? member.weight })),
      ...join.map((one, i) => ({ ...one, ordinal: last + 1 + i, life: 1 })),
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

  /** @throws RondoError UNAVAILABLE */
  private checkMembers({ leave }: ChangeRequest): void {
    const lacking = this.options
      .members()
      .filter(
        ({ id, completeness, node }) => !leave.includes(id) && (completeness !== 'clean' || !node.ready),
      )
    if (lacking.length === 0) return
    const which = lacking.map(({ id, health, completeness }) => `${id} (${health.state}, ${completeness})`)
    throw new RondoError(
      'UNAVAILABLE',
      `The change was not begun: all members that stay must be clean and reachable, and these are not: ${which.join(', ')}. Wait until /status shows them as clean, or let them leave.`,
    )
  }
}

/** @throws RondoError UNAVAILABLE, CONFLICT */
async function checkCandidate({ id, node }: Member): Promise<void> {
  const failed = (error: unknown): never => {
    throw new RondoError(
      'UNAVAILABLE',
      `Node ${id} at ${node.address} cannot be used: ${inWords(sentenceOf(error))}.`,
    )
  }
  const report = await node.probe().catch(failed)
  if (report.marker !== null) {
    throw new RondoError(
      'CONFLICT',
      `Node ${id} at ${node.address} belongs to a cluster, or did: it holds the key __rondo:node. Empty it (FLUSHALL), if nobody uses it any more.`,
    )
  }
  if (report.keys > 0) {
    throw new RondoError(
      'CONFLICT',
      `Node ${id} at ${node.address} holds ${report.keys} keys; a node that joins must be empty. Empty it (FLUSHALL), if nobody uses it any more.`,
    )
  }
  const forbidden = await node.forbidden().catch(failed)
  if (forbidden.length > 0) {
    throw new RondoError(
      'CONFLICT',
      `Node ${id} at ${node.address} forbids commands that Rondo needs: ${forbidden.join(', ')}.`,
    )
  }
}

function underWay({ epoch, phase }: Topology): RondoError {
  const what = phase === 'stable' ? 'Another change was made meanwhile' : 'Another change is under way'
  return new RondoError(
    'CONFLICT',
    `${what} (epoch ${epoch}, ${phase}); /cluster shows it. Try again when it has ended.`,
    {
      epoch,
      phase,
    },
  )
}

function isLayout(one: Layout | null, two: Layout): boolean {
  return JSON.stringify(one) === JSON.stringify(two)
}

function urlOf({ url }: TopologyMember): string {
  return url === null ? '' : ` at ${url}`
}

function inSentence(words: string): string {
  return `${words[0]!.toUpperCase()}${words.slice(1)}.`
}
