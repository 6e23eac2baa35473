/**
 * Whether a node may become a member: asked before the change begins, so that nothing is changed, and nothing is written to
 * a node that may not.
 *
 *   no answer, loading, busy                        → 503: try again
 *   another kind of server, too old, a replica,
 *   a member already, of a cluster, forbidding      → 409: says what to do
 *   with data                                       → 409, unless it is to be dropped
 *   with a vote of a round that was not ended       → it may: that is no data
 *
 * Values that Rondo did not write cannot be kept: where two home replicas have nothing and the third has such a value, some
 * reads find it and others do not. They have to be written through Rondo.
 *
 * Which policy the node evicts by is no reason: it is told of in the log, as for nodes of the configuration.
 */
import { RondoError } from '../core/errors.ts'
import { inWords, sentenceOf } from '../core/sentence.ts'
import { NotANode } from '../nodes/failures.ts'
import type { NodeReport } from '../nodes/node.ts'
import { decodeMarker } from './marker.ts'
import type { Member } from './member.ts'
import { registeredIn } from './register.ts'

export interface CandidateContext {
  /** In use now. */
  readonly members: readonly Member[]
  /** They join in the same change, and were checked before. */
  readonly beside: readonly Member[]
  readonly cluster: string
  /** Removes the data of the node; otherwise one with data is refused. */
  readonly dropData: boolean
  /** False: it joins later, so nothing is written to it yet. */
  readonly writes: boolean
}

/** What is tested (docs/OPERATING.md). */
const OLDEST_REDIS = { major: 6, minor: 2 }

/**
 * Empties it, if that was asked for.
 *
 * @throws RondoError UNAVAILABLE, CONFLICT
 */
export async function checkCandidate(candidate: Member, context: CandidateContext): Promise<void> {
  const report = await probed(candidate)
  candidate.report = report
  checkServer(candidate, report, context)
  checkMarker(candidate, report, context)
  await checkPermissions(candidate)
  const { marker } = report
  const own = report.topology === null ? 0 : 1
  const keys = report.keys > own ? (await recounted(candidate)) - own : 0
  if (keys > 0 && !context.dropData) {
    refuse(candidate, `holds ${keys} keys; a node that joins must be empty. ${EMPTY_IT}`)
  }
  if (!context.writes) return
  if (keys > 0) await empty(candidate, marker)
  // One that cannot write to its disk, or lacks replicas, would be in the way of every write.
  await candidate.node.lease('join', 'join', 1).catch(unusable(candidate))
}

const EMPTY_IT =
  'If nobody needs them, ask again with adopt=drop, which empties it; otherwise move them first (docs/OPERATING.md, Moving in).'

/** Keys whose time is over count until somebody looks at them: so does the lease of a check a moment ago. */
async function recounted(candidate: Member): Promise<number> {
  await candidate.node.scan('0', null, LOOKED_AT).catch(unusable(candidate))
  return (await probed(candidate)).keys
}

const LOOKED_AT = 100

/** @throws RondoError */
async function probed(candidate: Member): Promise<NodeReport> {
  try {
    return await candidate.node.probe()
  } catch (error) {
    if (error instanceof NotANode) refuse(candidate, `cannot join: ${error.message}.`)
    return unusable(candidate)(error)
  }
}

function checkServer(
  candidate: Member,
  { runId, isReplica, software }: NodeReport,
  { members, beside }: CandidateContext,
): void {
  const same = [...members, ...beside].find(({ report }) => report?.runId === runId)
  if (same) {
    refuse(candidate, `is ${same.id}, at ${same.node.address}: a server counts once. Give another server.`)
  }
  if (isReplica) {
    refuse(
      candidate,
      'is a replica of another server, and takes no writes: give its primary, or make it one (REPLICAOF NO ONE) and empty it.',
    )
  }
  if (isTooOld(software)) refuse(candidate, `runs ${software}; Rondo needs Redis 6.2 or newer, or Valkey.`)
}

function isTooOld(software: string): boolean {
  const [, major, minor] = /^redis (\d+)\.(\d+)/.exec(software) ?? []
  if (major === undefined) return false // Valkey, or one that hides its version
  const difference = Number(major) - OLDEST_REDIS.major || Number(minor) - OLDEST_REDIS.minor
  return difference < 0
}

/** Nobody can tell whether the coordinators of another cluster are still there: its nodes are never emptied from here. */
function checkMarker(
  candidate: Member,
  { marker: bytes, topology }: NodeReport,
  { members, cluster, dropData }: CandidateContext,
): void {
  const found = bytes && decodeMarker(bytes)
  if (bytes && !found) {
    refuse(candidate, `holds a key __rondo:node that Rondo did not write. ${FLUSH_IT}`)
  }
  if (found && found.cluster !== cluster) {
    refuse(candidate, `belongs to cluster ${found.cluster}, or did, as node ${found.id}. ${FLUSH_IT}`)
  }
  if (found && members.some(({ id }) => id === found.id)) {
    refuse(
      candidate,
      `holds the data of ${found.id}, which is a member: to use it as ${found.id}, change the address of that member (PATCH /members/${found.id}). ${FLUSH_IT}`,
    )
  }
  const isFormer = found !== null || !isOnlyVote(topology, cluster)
  if (isFormer && !dropData) {
    const what = found ? `was node ${found.id} of this cluster` : 'was a node of a cluster'
    refuse(
      candidate,
      `${what}, and what it holds is old: values and deletes since then are missing. Ask again with adopt=drop, which empties it, or empty it by hand (FLUSHALL).`,
    )
  }
}

/**
 * It was asked to agree to a change of this cluster that was not decided, because the coordinator stopped for instance.
 * What it has promised stays: the next round finds it there.
 */
function isOnlyVote(topology: Buffer | null, cluster: string): boolean {
  const vote = registeredIn(topology)
  return (
    vote === null || (vote !== 'damaged' && vote.kind === 'topology' && vote.topology.cluster === cluster)
  )
}

const FLUSH_IT = 'If nobody uses it any more, empty it by hand (FLUSHALL) and ask again.'

/** @throws RondoError */
async function checkPermissions(candidate: Member): Promise<void> {
  const forbidden = await candidate.node.forbidden().catch(unusable(candidate))
  if (forbidden.length === 0) return
  refuse(
    candidate,
    `forbids commands that Rondo needs: ${forbidden.join(', ')}. Allow them to its user (ACL SETUSER), or do not rename them.`,
  )
}

/** @throws RondoError */
async function empty(candidate: Member, marker: Buffer | null): Promise<void> {
  const isEmpty = await candidate.node.empty(marker).catch(unusable(candidate))
  if (!isEmpty)
    refuse(candidate, 'was given another marker meanwhile: somebody else uses it. Nothing was removed.')
}

function refuse({ id, node }: Member, why: string): never {
  throw new RondoError('CONFLICT', `Node ${id} at ${node.address} ${why}`)
}

function unusable({ id, node }: Member): (error: unknown) => never {
  return (error) => {
    const why = inWords(sentenceOf(error))
    throw new RondoError(
      'UNAVAILABLE',
      `Node ${id} at ${node.address} cannot be used: ${why}. Nothing was changed; try again when that is mended.`,
    )
  }
}
