/**
 * Founding a cluster: the members agree on one cluster id, once, however many coordinators start at the same time.
 *
 * The topology register is stored on the members and written in two rounds over a majority of them (Lamport's
 * single-decree Paxos; the acceptor is nodes/redis/prepare.lua and accept.lua):
 *
 *   1. prepare(ballot) on all: a majority promises to refuse older ballots, and returns what it has accepted so far.
 *   2. accept(ballot, value) on all, where value is the newest accepted one if there is any, otherwise our own.
 *      A majority of acceptances decides; any two majorities share a member, so a second value cannot be decided.
 *
 * The caller retries a superseded round with a later ballot.
 */
import type { VersionClock } from '../core/clock.ts'
import {
  KIND_NOTHING,
  KIND_VALUE,
  newRecord,
  StoredRecord,
  versionOf,
  type NewRecord,
} from '../core/codec.ts'
import { compareVersions, VERSION_ZERO } from '../core/clock.ts'
import { isName } from '../core/printable.ts'
import type { Node, RegisterAnswer } from '../nodes/node.ts'

export interface Topology {
  readonly cluster: string
  readonly epoch: number
  readonly members: readonly string[]
}

/**
 * Null for bytes that hold no topology (nothing decided, or only a promise); `damaged` for bytes that no coordinator
 * wrote.
 */
export function decodeTopology(bytes: Buffer | null): Topology | 'damaged' | null {
  if (!bytes) return null
  const record = new StoredRecord(bytes)
  if (!record.versioned) return 'damaged'
  if (record.kind === KIND_NOTHING) return null
  const topology = record.kind === KIND_VALUE ? parseTopology(record.value) : null
  return topology ?? 'damaged'
}

function parseTopology(value: Buffer): Topology | null {
  let found: unknown
  try {
    found = JSON.parse(value.toString('utf8'))
  } catch {
    return null // damaged, as the caller says
  }
  if (typeof found !== 'object' || found === null) return null
  const { cluster, epoch, members } = found as Record<string, unknown>
  if (!isName(cluster) || !Number.isSafeInteger(epoch)) return null
  if (!Array.isArray(members) || members.length === 0 || !members.every(isName)) return null
  return { cluster, epoch: epoch as number, members }
}

/** The topology that the members agreed on; null if no majority answered or another coordinator interfered. */
export async function agreeOnTopology(
  reached: readonly Node[],
  memberCount: number,
  versions: VersionClock,
  own: Topology,
): Promise<Topology | null> {
  const majority = Math.floor(memberCount / 2) + 1
  const ballot = newRecord(KIND_VALUE, versions, 0)
  // Damaged bytes may have held the decision: such a promise does not count.
  const answers = await answersOf(reached, versions, (node) => node.prepareRegister(versionOf(ballot)))
  const promises = answers.filter(({ record }) => decodeTopology(record) !== 'damaged')
  if (promises.length < majority) return null

  let topology = own
  let newest: Uint8Array = VERSION_ZERO
  for (const { record } of promises) {
    const accepted = decodeTopology(record)
    if (accepted === null || accepted === 'damaged' || compareVersions(versionAt(record!), newest) <= 0)
      continue
    newest = versionAt(record!)
    topology = accepted
  }
  const proposal: NewRecord = { head: ballot.head, value: Buffer.from(JSON.stringify(topology)) }
  const acceptances = await answersOf(reached, versions, (node) => node.acceptRegister(proposal))
  return acceptances.length >= majority ? topology : null
}

function versionAt(record: Buffer): Uint8Array {
  return new StoredRecord(record).version
}

/** The positive answers. A newer ballot in a refusal makes our next one newer still. */
async function answersOf(
  nodes: readonly Node[],
  versions: VersionClock,
  ask: (node: Node) => Promise<RegisterAnswer>,
): Promise<{ record: Buffer | null }[]> {
  const settled = await Promise.allSettled(nodes.map(ask))
  const agreeing: { record: Buffer | null }[] = []
  for (const result of settled) {
    if (result.status === 'rejected') continue // no answer is no vote; the next probe reports the node
    if (result.value.ok) agreeing.push(result.value)
    else versions.observe(result.value.newest)
  }
  return agreeing
}
