/** Nodes that the embedding program brings, over a driver of its own (docs/EMBEDDING.md), instead of REDIS_URLS. */
import { isNodeId, isWeight, isZone } from '../config/node-addresses.ts'
import type { Config } from '../config/config.ts'
import type { Clock, Timers } from '../core/clock.ts'
import type { Node } from '../nodes/node.ts'

/** What a driver needs to know of this coordinator. */
export interface NodeSettings {
  /** How long a node keeps what was deleted (GRACE_SECONDS). */
  readonly graceMs: number
  /** Larger values are answered as `too-long`. */
  readonly maxValueBytes: number
  /** A call that takes longer has failed, and its outcome is unknown. */
  readonly nodeTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly clock: Clock
  readonly timers: Timers
}

export interface OwnNode {
  readonly node: Node
  /** Its share of the keys relative to others, 0.01 to 100; by default 1. */
  readonly weight?: number
  /** Its failure domain. */
  readonly zone?: string
}

export type CreateNodes = (settings: NodeSettings) => readonly OwnNode[]

/** A setting that would be ignored silently. @throws Error that says which */
export function checkOwnSettings(nodes: Config['nodes']): void {
  if (nodes.kind === 'memory' && nodes.files)
    throw new Error(
      'DATA_DIR is set, and so is the option `nodes`: DATA_DIR is for the memory nodes that Rondo makes itself, and ' +
        'nothing of yours would be written there. Remove one of them.',
    )
}

/** @throws Error that says what is wrong with which of them */
export function checkOwnNodes(nodes: readonly OwnNode[]): readonly OwnNode[] {
  const isList: boolean = Array.isArray(nodes)
  if (!isList || nodes.length === 0) {
    throw new Error('`nodes` must return a list of { node, weight, zone }, with at least one node.')
  }
  const ids = new Set<string>()
  for (const { node, weight = 1, zone } of nodes) {
    const { id }: { id?: unknown } = node ?? {}
    if (typeof id !== 'string' || !isNodeId(id)) {
      throw new Error(
        `The id of a node must be 1 to 64 letters, digits or . _ : -, not ${JSON.stringify(id)}.`,
      )
    }
    if (ids.has(id)) throw new Error(`Two nodes have the id ${id}: keys are placed by it.`)
    ids.add(id)
    if (!isWeight(weight)) throw new Error(`The weight of node ${id} must be from 0.01 to 100.`)
    if (zone !== undefined && !isZone(zone))
      throw new Error(`The zone of node ${id} must be 1 to 64 letters, digits or . _ -.`)
  }
  return nodes
}
