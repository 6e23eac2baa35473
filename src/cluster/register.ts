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
import {
  encodeTopology,
  foundedWith,
  parseTopology,
  votingLayout,
  type Layout,
  type Registered,
  type Topology,
} from '../core/topology.ts'
import type { Node, RegisterAnswer } from '../nodes/node.ts'

export interface Proposal {
  /** By id: all nodes that can be reached now. */
  readonly nodes: ReadonlyMap<string, Node>
  readonly versions: VersionClock
  /** The newest topology that is known to be decided; null = none is, the cluster is being founded. */
  readonly base: Topology | null
  readonly want: Topology
  /** Whether a node's answer counts; asked after it has answered. */
  readonly isSound: (id: string, node: Node) => Promise<boolean>
}

export type Decision =
  /** Ours, or another one of the same epoch. */
  | { readonly kind: 'decided'; readonly topology: Topology }
  /** The register is further than the base: learn this first. */
  | { readonly kind: 'behind'; readonly newest: Topology }
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

/** @throws what `isSound` throws */
export async function propose(proposal: Proposal): Promise<Decision> {
  const { versions, base, want } = proposal
  const ballot = newRecord(KIND_VALUE, versions, 0)
  const promises = await answersOf(proposal, (node) => node.prepareRegister(versionOf(ballot)))
  // Damaged bytes may have held the decision: such a promise does not count.
  for (const [id, record] of promises) if (registeredIn(record) === 'damaged') promises.delete(id)
  if (!isMajority(votingLayout(base ?? want), promises)) return NONE

  const accepted = newestIn([...promises.values()], want)
  if (base && accepted && accepted.epoch > base.epoch + 1) return { kind: 'behind', newest: accepted }
  const isNext = accepted !== null && (base === null || accepted.epoch === base.epoch + 1)
  const topology = isNext ? accepted : want
  const record: NewRecord = { head: ballot.head, value: encodeTopology(topology) }
  const acceptances = await answersOf(proposal, (node) => node.acceptRegister(record))
  const lists = [...layoutsOf(base ?? topology), ...layoutsOf(topology)]
  return lists.every((list) => isMajority(list, acceptances)) ? { kind: 'decided', topology } : NONE
}

function layoutsOf({ layout, next }: Topology): Layout[] {
  return next ? [layout, next] : [layout]
}

function isMajority({ members }: Layout, answers: ReadonlyMap<string, unknown>): boolean {
  return members.filter(({ id }) => answers.has(id)).length >= required('quorum', members.length)
}

/** The newest that was accepted. */
function newestIn(records: readonly (Buffer | null)[], want: Topology): Topology | null {
  let newest: Topology | null = null
  let version: Uint8Array = VERSION_ZERO
  for (const bytes of records) {
    const found = registeredIn(bytes)
    if (found === null || found === 'damaged') continue
    const its = new StoredRecord(bytes!).version
    if (compareVersions(its, version) <= 0) continue
    version = its
    newest = found.kind === 'topology' ? found.topology : foundedWith(found.cluster, found.ids, want.layout)
  }
  return newest
}

/** By id: what those that agreed had accepted before. A newer ballot in a refusal makes our next one newer still. */
async function answersOf(
  { nodes, versions, isSound }: Proposal,
  ask: (node: Node) => Promise<RegisterAnswer>,
): Promise<Map<string, Buffer | null>> {
  const agreeing = new Map<string, Buffer | null>()
  await Promise.all(
    [...nodes].map(async ([id, node]) => {
      let answer: RegisterAnswer
      try {
        answer = await ask(node)
      } catch {
        return // no answer is no vote; the next probe reports the node
      }
      if (!answer.ok) versions.observe(answer.newest)
      else if (await isSound(id, node)) agreeing.set(id, answer.record)
    }),
  )
  return agreeing
}
