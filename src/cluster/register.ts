/**
 * The topology register: the members agree on each epoch of the topology (core/topology.ts), once, however many
 * coordinators propose one at the same time. It is stored on the members and written in two rounds (Lamport's
 * single-decree Paxos; the acceptor is nodes/redis/prepare.lua and accept.lua):
 *
 *   1. prepare(ballot) on all: each promises to refuse older ballots, and returns what it has accepted so far. Enough is a
 *      majority of the members that vote under the base, the newest topology that is known to be decided.
 *   2. accept(ballot, value) on all. What another coordinator has begun, the epoch after the base, is finished; only if
 *      there is nothing our own value is proposed. Decided is what a majority of every list of the base and of the value
 *      has accepted: whoever starts from either of them finds it.
 *
 * In the first epoch each coordinator has its members from its own configuration, and those may differ by more than a
 * minority. So the second epoch needs every node that stays, in both rounds: whoever's members overlap meets it there.
 *
 * A node that was wiped has forgotten what it promised, so its answer counts only if it is sound before and after: the
 * caller says what that means. A superseded round is tried again by the caller with a later ballot.
 */
import { compareVersions, VERSION_ZERO, type VersionClock } from '../core/clock.ts'
import {
  KIND_NOTHING,
  KIND_VALUE,
  newRecord,
  StoredRecord,
  versionOf,
  type NewRecord,
} from '../core/codec.ts'
import { required } from '../core/consistency.ts'
import type { Queued } from '../core/queued.ts'
import {
  electorsOf,
  encodeTopology,
  foundedWith,
  parseTopology,
  shapeOf,
  sumOf,
  votingLayout,
  type Layout,
  type Registered,
  type Topology,
  type TopologyMember,
} from '../core/topology.ts'
import type { Node, RegisterAnswer } from '../nodes/node.ts'

export interface Proposal {
  /** By `voterOf`: all nodes that can be reached now. */
  readonly nodes: ReadonlyMap<string, Node>
  readonly versions: VersionClock
  /** The newest topology that is known to be decided; null = none is, the cluster is being founded. */
  readonly base: Topology | null
  readonly want: Topology
  /** What waits from then on, of what waits now; absent = the same. @throws to change nothing */
  readonly queue?: (held: readonly Queued[]) => readonly Queued[]
  /** Whether a node's answer counts, by `voterOf`; asked after it has answered. */
  readonly isSound: (voter: string, node: Node) => Promise<boolean>
}

export type Decision =
  /** Ours, or another one of the same epoch. `queue`: what waits; absent = nothing. */
  | { readonly kind: 'decided'; readonly topology: Topology; readonly queue?: readonly Queued[] }
  /** The register is further than the base: learn this first. */
  | { readonly kind: 'behind'; readonly newest: Topology }
  /** Another coordinator, which has other members in the first epoch, may have decided this. */
  | { readonly kind: 'disputed'; readonly topology: Topology }
  /** Too few answered, or another coordinator interfered. */
  | { readonly kind: 'none' }

const NONE: Decision = { kind: 'none' }

/**
 * Null for bytes that hold no topology (nothing decided, or only a promise); `damaged` for bytes that no coordinator
 * wrote.
 */
export function registeredIn(bytes: Buffer | null): Registered | 'damaged' | null {
  if (!bytes) return null
  const record = new StoredRecord(bytes)
  if (!record.versioned) return 'damaged'
  if (record.kind === KIND_NOTHING) return null
  return (record.kind === KIND_VALUE ? parseTopology(record.value) : null) ?? 'damaged'
}

/** @throws what `isSound` and `queue` throw */
export async function propose(proposal: Proposal): Promise<Decision> {
  const { versions, base, want, queue = (held) => held } = proposal
  const ballot = newRecord(KIND_VALUE, versions, 0)
  const promises = await answersOf(proposal, (node) => node.prepareRegister(versionOf(ballot)))
  // Damaged bytes may have held the decision: such a promise does not count.
  for (const [voter, record] of promises) if (registeredIn(record) === 'damaged') promises.delete(voter)
  // Those who are left where a majority was given up decide without it, and whatever it had begun.
  const isRecovery = base !== null && want.generation > base.generation
  if (!isMajority(votingLayout(isRecovery ? { ...want, phase: 'stable' } : (base ?? want)), promises))
    return NONE

  const newest = newestIn([...promises.values()], want)
  const accepted = newest?.topology ?? null
  const waiting = newest?.queue ?? []
  // The same recovery, of a coordinator that died over it: nobody else can end it, and nothing else can be decided any more.
  const isRecovered = isRecovery && accepted?.generation === want.generation && accepted.epoch === want.epoch
  const isAhead = base && accepted && accepted.epoch > base.epoch + 1 && !isRecovered
  if (isAhead && !(isRecovery && accepted.generation === base.generation))
    return { kind: 'behind', newest: accepted }
  const isNext = accepted !== null && !isRecovery && (base === null || accepted.epoch === base.epoch + 1)
  if (isNext && base && isDisputed(base, accepted, promises)) return { kind: 'disputed', topology: accepted }
  const isBegun = isRecovered || (isNext && !isOthers(base, accepted))
  const topology = isBegun ? accepted : want
  const then = isBegun ? waiting : queue(waiting)
  if (!staying(base, topology).every((voter) => promises.has(voter))) return NONE
  const record: NewRecord = { head: ballot.head, value: encodeTopology(topology, then) }
  const acceptances = await answersOf(proposal, (node) => node.acceptRegister(record))
  const isDecided =
    accepting(base, topology).every((list) => isMajority(list, acceptances)) &&
    staying(base, topology).every((voter) => acceptances.has(voter))
  return isDecided ? { kind: 'decided', topology, ...(then.length > 0 && { queue: then }) } : NONE
}

/**
 * The voters that have to take part, all of them: those that were members in the first epoch, and still are, there; and
 * all who are left where the cluster is recovered.
 */
function staying(base: Topology | null, { generation, epoch, layout, next }: Topology): string[] {
  if (base && generation > base.generation) {
    const { lost = [] } = layout
    return layout.members.filter(({ id }) => !lost.includes(id)).map(voterOf)
  }
  if (epoch !== 2 || base?.epoch === 2) return []
  const voters = layout.members.filter(({ life, isGiven }) => life === 1 && !isGiven).map(voterOf)
  return next ? voters.filter((voter) => next.members.some((member) => voterOf(member) === voter)) : voters
}

/**
 * The lists of which a majority has to accept. In `both` everybody who could propose something else asks the present list:
 * the next one is needed only for what makes it vote, and so a change that it does not take part in can be cancelled.
 */
function accepting(base: Topology | null, value: Topology): readonly Layout[] {
  if (base && value.generation > base.generation) return layoutsOf(value)
  if (base?.phase === 'both' && value.phase !== 'switched') return [base.layout]
  return [...layoutsOf(base ?? value), ...layoutsOf(value)]
}

/** It begins with other members than ours, in the first epoch. */
function isOthers(base: Topology | null, { layout }: Topology): boolean {
  return base?.epoch === 1 && shapeOf(base.layout) !== shapeOf(layout)
}

/** It is another's, and no node says that it was not decided: one that had to accept it, and promised first. */
function isDisputed(base: Topology, found: Topology, promises: ReadonlyMap<string, Buffer | null>): boolean {
  if (!isOthers(base, found)) return false
  const sum = sumOf(found)
  const hasOther = (record: Buffer | null) => {
    const held = registeredIn(record)
    return held === null || held === 'damaged' || held.kind === 'ids' || sumOf(held.topology) !== sum
  }
  return !staying(base, found).some((voter) => promises.has(voter) && hasOther(promises.get(voter)!))
}

function layoutsOf({ layout, next }: Topology): Layout[] {
  return next ? [layout, next] : [layout]
}

/** Who votes: the server that takes another one's place under the same id votes for itself. */
export function voterOf({ id, life }: Pick<TopologyMember, 'id' | 'life'>): string {
  return life === 1 ? id : `${id} ${life}`
}

function isMajority(layout: Layout, answers: ReadonlyMap<string, unknown>): boolean {
  const members = electorsOf(layout)
  return members.filter((member) => answers.has(voterOf(member))).length >= required('quorum', members.length)
}

/** The newest that was accepted. */
function newestIn(
  records: readonly (Buffer | null)[],
  want: Topology,
): { readonly topology: Topology; readonly queue?: readonly Queued[] } | null {
  let newest: ReturnType<typeof newestIn> = null
  let version: Uint8Array = VERSION_ZERO
  for (const bytes of records) {
    const found = registeredIn(bytes)
    if (found === null || found === 'damaged') continue
    const its = new StoredRecord(bytes!).version
    if (compareVersions(its, version) <= 0) continue
    version = its
    newest =
      found.kind === 'topology' ? found : { topology: foundedWith(found.cluster, found.ids, want.layout) }
  }
  return newest
}

/** By voter: what those that agreed had accepted before. A newer ballot in a refusal makes our next one newer still. */
async function answersOf(
  { nodes, versions, isSound }: Proposal,
  ask: (node: Node) => Promise<RegisterAnswer>,
): Promise<Map<string, Buffer | null>> {
  const agreeing = new Map<string, Buffer | null>()
  await Promise.all(
    [...nodes].map(async ([voter, node]) => {
      let answer: RegisterAnswer
      try {
        answer = await ask(node)
      } catch {
        return // no answer is no vote; the next probe reports the node
      }
      if (!answer.ok) versions.observe(answer.newest)
      else if (await isSound(voter, node)) agreeing.set(voter, answer.record)
    }),
  )
  return agreeing
}
