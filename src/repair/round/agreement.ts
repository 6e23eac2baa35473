/**
 * Before a record is copied to a member that is being filled: do its other home replicas agree on it?
 *
 * What a minority holds alone is an unfinished write: it may still fail, or be found and finished by a read or an update.
 * Every such path asks a majority first. A fill does not, and its copy would make a majority out of the minority, behind
 * the back of an update that has promises of the others and was answered without that write. So a record is copied only if
 * so many clean home replicas hold it that every majority includes one of them, and none of them has promised a newer
 * one. If they differ, they are asked once more, because a write may be on its way to all of them; then two rounds settle
 * the key: they finish what is unfinished, under a new version.
 *
 * With fewer clean home replicas than a majority nothing can be acknowledged, nor settled: then the newest is copied.
 */
import type { Member } from '../../cluster/member.ts'
import { required } from '../../core/consistency.ts'
import { compareVersions } from '../../core/clock.ts'
import {
  HEAD_WITH_PROMISE_BYTES,
  isSameEndless,
  PeekedRecord,
  type RecordHead,
  type StoredRecord,
} from '../../core/codec.ts'
import { agreesOn, newestOf } from '../../core/votes.ts'
import type { RepairContext } from '../context.ts'
import { fetchHead, fetchRecord, fetchStarts, RepairStopped } from './copy.ts'

/** Time for a write to reach all home replicas. */
const UNDER_WAY_MS = 20
const MOST_TRIES = 4

/** A node that is read, with its marker when the merge began. */
export interface Source {
  readonly member: Member
  readonly marker: Buffer
}

/** A key that several nodes are asked for. */
export interface Asked {
  readonly key: Buffer
  readonly at: readonly Source[]
}

/** Who must agree on a record; no voters = it needs no agreement. */
export interface Proposal {
  readonly voters: readonly Source[]
  /** N − Q + 1: how many of them. */
  readonly sufficient: number
}

/**
 * The starts of what these nodes hold of each key, in their order; the one that is read anyway is left out.
 *
 * @throws RepairStopped
 */
export async function startsAt(all: readonly Asked[], from: Member): Promise<Start[][]> {
  const heads = all.map(({ at }) => new Array<Start>(at.length).fill(undefined))
  const asked = new Map<Member, Questions>()
  for (let of = 0; of < all.length; of++) {
    const { key, at } = all[of]!
    for (let node = 0; node < at.length; node++) {
      const { member, marker } = at[node]!
      if (member === from) continue
      let questions = asked.get(member)
      if (!questions) asked.set(member, (questions = { marker, keys: [], of: [], node: [] }))
      questions.keys.push(key)
      questions.of.push(of)
      questions.node.push(node)
    }
  }
  await Promise.all(
    [...asked].map(async ([{ node }, questions]) => {
      const starts = await fetchStarts(node, questions.keys, HEAD_WITH_PROMISE_BYTES, questions.marker)
      for (let i = 0; i < starts.length; i++) heads[questions.of[i]!]![questions.node[i]!] = starts[i]!
    }),
  )
  return heads
}

/** The start of what a node holds; null = nothing; undefined = it was left out. */
export type Start = Buffer | null | undefined

interface Questions {
  readonly marker: Buffer
  readonly keys: Buffer[]
  /** Of each: the index of the key, and that of the node in `at`. Two lists, because objects would cost as much as a read. */
  readonly of: number[]
  readonly node: number[]
}

/**
 * Whether the voters agree on this very record at first sight.
 *
 * @param heads what they hold; undefined = the record itself
 */
export function agreesAtOnce(
  { voters, sufficient }: Proposal,
  record: RecordHead,
  heads: readonly Start[],
  nowMs: number,
): boolean {
  if (voters.length === 0) return true
  const isSame = (head: Start) => head && isSameEndless(record.bytes, head)
  if (voters.length >= sufficient && heads.every((head) => head === undefined || isSame(head))) {
    return record.promise === null
  }
  const held = heads.map((head) => (head === undefined ? record : head && new PeekedRecord(head)))
  const evicts = voters.map(({ member }) => member.evicts)
  const newest = newestOf(held)
  return (
    newest !== null &&
    compareVersions(newest.version, record.version) === 0 &&
    agreesOn(held, evicts, sufficient, nowMs)
  )
}

/**
 * The record of the key at a source, once it may be copied; null = it holds none by now.
 *
 * @param voters its clean home replicas
 * @param replicas how many home replicas vote
 * @throws RepairStopped if a node fails, or the key cannot be settled
 */
export async function agreedRecord(
  context: RepairContext,
  key: Buffer,
  source: Source,
  voters: readonly Source[],
  replicas: number,
): Promise<StoredRecord | null> {
  const majority = required('quorum', replicas)
  const sufficient = replicas - majority + 1
  for (let tries = 1; ; tries++) {
    const reading = fetchRecord(source.member.node, key, source.marker)
    const heads = voters.map((voter) =>
      voter.member === source.member ? reading : fetchHead(voter.member.node, key, voter.marker),
    )
    const [record, ...held] = await Promise.all([reading, ...heads])
    const evicts = voters.map(({ member }) => member.evicts)
    if (agreesOn(held, evicts, sufficient, context.cluster.time.nowMs())) return record
    if (voters.length < majority) return record
    if (tries === 1) await pause(context)
    else if (tries < MOST_TRIES) await settle(context, key, voters, held)
    else throw new RepairStopped(source.member.node, 'the home replicas do not agree on a key')
  }
}

async function settle(
  context: RepairContext,
  key: Buffer,
  voters: readonly Source[],
  held: readonly (RecordHead | null)[],
): Promise<void> {
  const newest = newestOf(held)
  const { member, marker } = voters[held.indexOf(newest)]!
  const record = await fetchRecord(member.node, key, marker)
  if (!record) return // it has expired meanwhile: look again
  await context.settle(key, record).catch((error: unknown) => {
    throw new RepairStopped(
      member.node,
      `its home replicas differ, and could not be settled: ${String(error)}`,
    )
  })
}

function pause({ timers }: RepairContext): Promise<void> {
  return new Promise((resolve) => void timers.setTimeout(resolve, UNDER_WAY_MS))
}
