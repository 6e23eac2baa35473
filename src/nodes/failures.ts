/** What both drivers, or their parts, say of calls that brought no answer. */
import type { NodeFailure } from './node.ts'

export const NOT_CONNECTED: NodeFailure = {
  kind: 'not-sent',
  reason: 'not-connected',
  message: 'the node is not connected',
}

/** For what was on its way; what was not sent yet is `not-sent`. */
export const SHUT: NodeFailure = { kind: 'unknown', reason: 'closed', message: 'the connection was closed' }

export const FOREIGN_MARKER: NodeFailure = {
  kind: 'unknown',
  reason: 'marker',
  message: 'the node does not hold the expected marker: it was wiped, restored or swapped',
}

export const OTHER_RUN: NodeFailure = {
  kind: 'unknown',
  reason: 'marker',
  message: 'the node is another process than the one that its marker names: it was restarted',
}

export const WRONG_TYPE: NodeFailure = {
  kind: 'refused',
  reason: 'wrong-type',
  message: 'the key holds another type than a string',
}

export const TOO_LATE: NodeFailure = {
  kind: 'refused',
  reason: 'too-late',
  message: 'it came after the time until which it was to be done',
}

export function hintsFull(target: string): NodeFailure {
  return { kind: 'refused', reason: 'error', message: `the hints for ${target} are full` }
}
