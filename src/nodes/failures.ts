/** Failures shared by both drivers. */
import type { Timers } from '../core/clock.ts'
import type { NodeFailure, Subscription } from './node.ts'

/** A call to a node failed: its health shows it, and nothing else has to be done. */
export class NodeCallFailed extends Error {}

/** What answers is no server that Rondo can use. */
export class NotANode extends Error {}

export const NOT_CONNECTED: NodeFailure = {
  kind: 'not-sent',
  reason: 'not-connected',
  message: 'the node is not connected',
}

/** For calls in flight; calls that were not sent yet get `not-sent`. */
export const SHUT: NodeFailure = { kind: 'unknown', reason: 'closed', message: 'the connection was closed' }

export const FOREIGN_MARKER: NodeFailure = {
  kind: 'unknown',
  reason: 'marker',
  /** Not why: another coordinator may have changed it. The next probe tells (Cluster.explainMarker). */
  message: 'the node does not hold the expected marker',
}

export const OTHER_RUN: NodeFailure = {
  kind: 'unknown',
  reason: 'marker',
  message: 'the run id of the node is not the one in its marker: it was restarted',
}

export const DEMOTED: NodeFailure = {
  kind: 'unknown',
  reason: 'marker',
  message: 'the node is a replica now, or was one meanwhile',
}

export const WRONG_TYPE: NodeFailure = {
  kind: 'refused',
  reason: 'wrong-type',
  message: 'the key holds a type other than string',
}

export const TOO_LATE: NodeFailure = {
  kind: 'refused',
  reason: 'too-late',
  message: 'it arrived after its time limit',
}

export const OTHER_EPOCH: NodeFailure = {
  kind: 'refused',
  reason: 'other-epoch',
  message: 'it has heard of another change of members',
}

export function hintsFull(target: string): NodeFailure {
  return { kind: 'refused', reason: 'error', message: `the hints for ${target} are full` }
}

/** A subscription that was over before it began. */
export function endedSoon(
  to: { ended(why: string): void },
  why: string,
  timers: Pick<Timers, 'endOfTurn'>,
): Subscription {
  let isClosed = false
  timers.endOfTurn(() => {
    if (!isClosed) to.ended(why)
  })
  return { close: () => (isClosed = true) }
}
