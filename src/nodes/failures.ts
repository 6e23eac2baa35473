/** Failures shared by both drivers. */
import type { NodeFailure } from './node.ts'

/** A call to a node failed: its health shows it, and nothing else has to be done. */
export class NodeCallFailed extends Error {}

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
  message: 'the node does not hold the expected marker: it was wiped, restored or swapped',
}

export const OTHER_RUN: NodeFailure = {
  kind: 'unknown',
  reason: 'marker',
  message: 'the run id of the node is not the one in its marker: it was restarted',
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

export function hintsFull(target: string): NodeFailure {
  return { kind: 'refused', reason: 'error', message: `the hints for ${target} are full` }
}
