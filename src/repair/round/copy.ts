/**
 * Copies one record from a node that holds it to a node that may lack it, for all repairs. It uses the same
 * compare-and-store as every write, so it may be repeated or done by two workers at once.
 *
 * A copy must not arrive late: a paused worker could restore a value that was deleted meanwhile and whose tombstone is
 * gone. So a copy is valid for a few seconds from when the record was read, checked by the target by its own clock.
 */
import type { Cluster } from '../../cluster/cluster.ts'
import { compareVersions } from '../../core/clock.ts'
import { holdsValue, recordToSend, StoredRecord, type RecordHead } from '../../core/codec.ts'
import { FAR_END_MS } from '../../core/lifetime.ts'
import { MAX_ASKED, type Fence, type Node, type NodeFailure, type StoreCall } from '../../nodes/node.ts'
import type { RepairContext } from '../context.ts'
import { inWords, sentenceOf } from '../../core/sentence.ts'
import { ended } from './each-of.ts'

/**
 * Time from reading a record until its copy must be stored: enough for all calls in between, and short compared with
 * how long whatever replaces it meanwhile is kept.
 */
const GOOD_FOR_MS = 5000

/** A node gave no valid answer: the repair stops, and starts again later. */
export class RepairStopped extends Error {
  constructor(node: Node, why: string) {
    super(`node ${node.id}: ${why}`)
    this.name = 'RepairStopped'
  }
}

/** Stops the repair if the node fails. */
export function answerOf<T>(node: Node, answer: Promise<T>): Promise<T> {
  return answer.catch((error: unknown) => {
    throw new RepairStopped(node, sentenceOf(error))
  })
}

/**
 * A node's record of a key.
 *
 * @param marker the marker that the answer's batch must have found, null = any
 * @throws RepairStopped
 */
export function fetchRecord(node: Node, key: Buffer, marker: Buffer | null): Promise<StoredRecord | null> {
  return new Promise((resolve, reject) => {
    node.get(key, {
      onRecord: (_node, bytes, fence: Fence) => {
        if (marker && !fence.marker.equals(marker)) reject(new RepairStopped(node, 'its marker has changed'))
        else resolve(bytes ? new StoredRecord(bytes) : null)
      },
      onFailure: (_node, failure: NodeFailure) => {
        // Another Redis type, or too long: not written by Rondo.
        if (failure.kind === 'refused' && !isAboutNode(failure)) resolve(null)
        else reject(new RepairStopped(node, inWords(failure.message)))
      },
    })
  })
}

/** The same of its head alone. */
export function fetchHead(node: Node, key: Buffer, marker: Buffer | null): Promise<RecordHead | null> {
  return new Promise((resolve, reject) => {
    node.peek(key, 'head', {
      onPeeked: (_node, record, fence: Fence) => {
        if (marker && !fence.marker.equals(marker)) reject(new RepairStopped(node, 'its marker has changed'))
        else resolve(record)
      },
      onFailure: (_node, failure: NodeFailure) => {
        if (failure.kind === 'refused' && !isAboutNode(failure)) resolve(null)
        else reject(new RepairStopped(node, inWords(failure.message)))
      },
    })
  })
}

/**
 * The first bytes of several records: null = nothing is stored, or what is no string.
 *
 * @param marker as in fetchRecord
 * @throws RepairStopped
 */
export function fetchStarts(
  node: Node,
  keys: readonly Buffer[],
  bytes: number,
  marker: Buffer | null,
): Promise<readonly (Buffer | null)[]> {
  return inGroups<Buffer | null>(keys, (group, resolve, reject) => {
    node.starts(group, bytes, {
      onStarts: (_node, starts, fence) => {
        if (marker && !fence.marker.equals(marker)) reject(new RepairStopped(node, 'its marker has changed'))
        else resolve(starts)
      },
      onFailure: (_node, failure) => reject(new RepairStopped(node, inWords(failure.message))),
    })
  })
}

/** How long several keys are kept: -1 without end, -2 absent. @throws RepairStopped */
export function fetchLives(node: Node, keys: readonly Buffer[]): Promise<readonly number[]> {
  return inGroups<number>(keys, (group, resolve, reject) => {
    node.lives(group, {
      onLives: (_node, livesMs) => resolve(livesMs),
      onFailure: (_node, failure) => reject(new RepairStopped(node, inWords(failure.message))),
    })
  })
}

async function inGroups<T>(
  keys: readonly Buffer[],
  ask: (
    group: readonly Buffer[],
    resolve: (answers: readonly T[]) => void,
    reject: (why: RepairStopped) => void,
  ) => void,
): Promise<readonly T[]> {
  const asked: Promise<readonly T[]>[] = []
  for (let at = 0; at < keys.length; at += MAX_ASKED) {
    const group = keys.slice(at, at + MAX_ASKED)
    asked.push(new Promise<readonly T[]>((resolve, reject) => ask(group, resolve, reject)))
  }
  return asked.length === 1 ? asked[0]! : (await Promise.all(asked)).flat()
}

/**
 * Copies a record to a node unless it holds one at least as new. The copy lives as long as the record has left on the
 * source that keeps it longest. If the target holds the same record, its life is extended to that.
 *
 * A promise to a newer record refuses the copy, though that record may never be written: then two rounds settle the key.
 * Afterwards the target holds this record or a newer one.
 *
 * @param sources nodes that hold this version
 * @param readAtMs cluster time before it was read
 * @throws RepairStopped
 */
export async function copyRecord(
  context: RepairContext,
  sources: readonly Node[],
  target: Node,
  key: Buffer,
  record: StoredRecord,
  readAtMs: number,
): Promise<void> {
  const lifeMs = await lifeAmong(sources, key, record)
  if (lifeMs !== null) await storeCopy(context, target, key, { record, lifeMs, readAtMs })
}

/** A record to be copied, as it was read. */
export interface Copy {
  readonly record: StoredRecord
  /** How long the copy is to live; FAR_END_MS for a value without expiry. */
  readonly lifeMs: number
  /** Cluster time before it was read. */
  readonly readAtMs: number
}

export interface KeyedCopy extends Copy {
  readonly key: Buffer
}

/** The same, where its life is known. @throws RepairStopped */
export function storeCopy(context: RepairContext, target: Node, key: Buffer, copy: Copy): Promise<void> {
  return storeCopies(context, target, [{ key, ...copy }])
}

/** The same of several. Rejects with the first error, once all have ended. @throws RepairStopped */
export async function storeCopies(
  context: RepairContext,
  target: Node,
  copies: readonly KeyedCopy[],
): Promise<void> {
  if (copies.length === 0) return
  const refused = await storeAll(context, target, copies)
  await ended(refused.map((copy) => settleRefused(context, target, copy)))
}

/** The target holds something newer than the copy, or a promise to it. */
async function settleRefused(
  context: RepairContext,
  target: Node,
  { key, record, readAtMs }: KeyedCopy,
): Promise<void> {
  const here = await fetchRecord(target, key, null)
  if (here && compareVersions(here.version, record.version) >= 0) return
  if (context.cluster.time.nowMs() > readAtMs + GOOD_FOR_MS)
    throw new RepairStopped(target, 'the copy is too late')
  await context.settle(key, record).catch((error: unknown) => {
    throw new RepairStopped(
      target,
      `a promise keeps it from a copy, and the key could not be settled: ${sentenceOf(error)}`,
    )
  })
}

/** Null if it has been removed everywhere meanwhile. */
async function lifeAmong(
  sources: readonly Node[],
  key: Buffer,
  record: StoredRecord,
): Promise<number | null> {
  if (!canEnd(record)) return FAR_END_MS
  const lives = await Promise.all(sources.map((source) => lifeAt(source, key)))
  const lifeMs = Math.max(...lives)
  return lifeMs > 0 ? lifeMs : null
}

export function canEnd(record: RecordHead): boolean {
  return !holdsValue(record.kind) || record.expiresAtMs > 0
}

/** @param leftMs -1 = without end */
export function lifeToGive(leftMs: number): number {
  return leftMs === -1 ? FAR_END_MS : Math.max(1, leftMs)
}

/** Milliseconds that a key has left, 0 = absent. @throws RepairStopped */
export async function lifeAt(node: Node, key: Buffer): Promise<number> {
  const leftMs = await answerOf(node, node.lifeMs(key))
  return leftMs === -2 ? 0 : lifeToGive(leftMs)
}

/** How far the node's clock is ahead of cluster time. Measured before the data path was opened. */
function clockOffMs(cluster: Cluster, node: Node): number {
  return cluster.time.distance(node.id)?.offMs ?? 0
}

/**
 * Sends all of them in one turn.
 *
 * @returns those that the target has refused: it holds something newer, or a promise to it
 * @throws RepairStopped for the first that failed, once all have ended
 */
function storeAll(
  { cluster }: RepairContext,
  target: Node,
  copies: readonly KeyedCopy[],
): Promise<readonly KeyedCopy[]> {
  const offMs = clockOffMs(cluster, target)
  const refused: KeyedCopy[] = []
  let left = copies.length
  let why: RepairStopped | null = null
  return new Promise((resolve, reject) => {
    const end = () => {
      if (--left > 0) return
      if (why) reject(why)
      else resolve(refused)
    }
    for (const copy of copies) {
      const call: StoreCall = {
        onApplied: end,
        onStale: () => {
          refused.push(copy)
          end()
        },
        onFailure: (_node, failure) => {
          if (failure.reason !== 'wrong-type') why ??= new RepairStopped(target, inWords(failure.message))
          end()
        },
      }
      const untilMs = copy.readAtMs + GOOD_FOR_MS + offMs
      target.store(copy.key, recordToSend(copy.record), copy.lifeMs, call, { untilMs })
    }
  })
}

function isAboutNode(failure: NodeFailure): boolean {
  return !['wrong-type', 'error'].includes(failure.reason)
}
