/**
 * Founding a cluster: the members agree on one cluster id, once, however many coordinators start at the same time.
 *
 * The topology register lies on the members themselves and is written in two rounds over a majority of them (Lamport's
 * single-decree Paxos; the acceptor is nodes/prepare.lua and accept.lua):
 *
 *   1. prepare(ballot) on all: a majority promises to refuse older ballots, and tells what it has accepted so far.
 *   2. accept(ballot, value) on all, where value is the newest accepted one if there is any, otherwise our own.
 *      A majority of acceptances decides; any two majorities share a member, so a second value cannot be decided.
 *
 * A round that was overtaken is tried again by the caller, with a later ballot.
 */
import type { VersionClock } from '../core/clock.ts'
import { KIND_VALUE, newRecord, StoredRecord, versionOf, type NewRecord } from '../core/codec.ts'
import { compareVersions } from '../core/clock.ts'
import type { Node, RegisterAnswer } from '../nodes/node.ts'

export interface Topology {
  readonly cluster: string
  readonly epoch: number
  readonly members: readonly string[]
}

/** Null for bytes that hold no topology (nothing decided, or only a promise). */
export function decodeTopology(bytes: Buffer | null): Topology | null {
  if (!bytes) return null
  const record = new StoredRecord(bytes)
  if (!record.versioned || record.kind !== KIND_VALUE || record.value.length === 0) return null
  return JSON.parse(record.value.toString('utf8')) as Topology
}

/** What the members have agreed on, or null when no majority answered or another coordinator came in between. */
export async function agreeOnTopology(
  reached: readonly Node[],
  memberCount: number,
  versions: VersionClock,
  own: Topology,
): Promise<Topology | null> {
  const majority = Math.floor(memberCount / 2) + 1
  const ballot = newRecord(KIND_VALUE, versions, 0)
  const promises = await answersOf(reached, versions, (node) => node.prepareRegister(versionOf(ballot)))
  if (promises.length < majority) return null

  let accepted: Buffer | null = null
  for (const { record } of promises) {
    if (!decodeTopology(record)) continue
    if (!accepted || compareVersions(versionAt(record!), versionAt(accepted)) > 0) accepted = record
  }
  const topology = decodeTopology(accepted) ?? own
  const proposal: NewRecord = { head: ballot.head, value: Buffer.from(JSON.stringify(topology)) }
  const acceptances = await answersOf(reached, versions, (node) => node.acceptRegister(proposal))
  return acceptances.length >= majority ? topology : null
}

function versionAt(record: Buffer): Uint8Array {
  return new StoredRecord(record).version
}

/** The agreeing answers; a newer ballot seen in a refusal makes our next one newer still. */
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
