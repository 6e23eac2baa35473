/**
 * What happened in a run, counted: a simulation that never met a stale write has proved nothing about stale writes.
 *
 * What the coordinator makes of the answers is seen from outside: which of its objects waits for a call says what the
 * call is for (a store that a round of a read waits for is a write-back).
 */
import type { Fence } from '../../src/nodes/node.ts'
import type { SentCall } from './server.ts'

export class Counters {
  readonly counts = new Map<string, number>()

  count(what: string, by = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + by)
  }

  add(other: Counters): void {
    for (const [what, n] of other.counts) this.count(what, n)
  }
}

const rounds = new WeakMap<object, Set<object>>()

/** Counts a round of an operation that is not its first. */
function noteRound(counters: Counters, round: object, parent: string, again: string): void {
  const operation = (round as Record<string, object | undefined>)[parent]
  if (!operation) return
  let known = rounds.get(operation)
  if (!known) rounds.set(operation, (known = new Set()))
  if (known.has(round)) return
  known.add(round)
  if (known.size > 1) counters.count(again)
}

/** Counts calls for updates that run together, and for operations that waited in a per-key queue. */
function noteLine(counters: Counters, call: SentCall, operation: object): void {
  const { done } = operation as { done: object }
  const { members } = done as { members?: readonly object[] }
  if (members)
    counters.count(`${call.method} for ${members.length > 1 ? 'updates together' : 'an update that waited'}`)
  if (done.constructor.name === 'QueuedTransaction')
    counters.count(`${call.method} for a transaction that waited`)
}

interface Epochs {
  readonly epoch: number
  readonly since: number
  readonly isJoint: boolean
}

/** Counts calls while the home replicas of their key change, and records that are sent again under another epoch. */
function noteChange(counters: Counters, method: string, name: string, waiting: object): void {
  const { replicas, isRenewed } = waiting as { replicas?: Epochs; isRenewed?: boolean }
  if (replicas?.isJoint) counters.count(`while home replicas change: ${method} of ${name}`)
  if (isRenewed) counters.count(`under another epoch: ${method} of ${name}`)
}

export function noteSent(counters: Counters, call: SentCall): void {
  const waiting = call.args[call.doneAt] as object
  const name = waiting.constructor.name
  counters.count(`${call.method} of ${name}`)
  if (name === 'QuorumAttempt') noteRound(counters, waiting, 'write', 'quorum write retried after stale')
  else if (name === 'ReadRound') noteRound(counters, waiting, 'read', 'quorum read begun again')
  else if (name === 'UpdateAttempt') noteRound(counters, waiting, 'update', 'quorum update begun again')
  else if (name === 'Attempt') noteRound(counters, waiting, 'write', 'write at one retried after stale')
  noteChange(counters, call.method, name, waiting)
  const { update, transaction } = waiting as { update?: object; transaction?: object }
  if (update ?? transaction) noteLine(counters, call, (update ?? transaction)!)
}

export function noteAnswer(
  counters: Counters,
  call: SentCall,
  method: string,
  args: readonly unknown[],
): void {
  const waiting = call.args[call.doneAt] as object
  const name = waiting.constructor.name
  const fence = args.find((arg): arg is Fence => typeof (arg as Partial<Fence> | null)?.clean === 'boolean')
  if (method !== 'onFailure') {
    const { replicas } = waiting as { replicas?: Epochs }
    if (fence && replicas && fence.epoch > replicas.epoch) counters.count(`a later epoch: answer to ${name}`)
    if (fence && replicas && fence.epoch < replicas.since)
      counters.count(`an earlier epoch: answer to ${name}`)
    if (fence?.clean === false) counters.count(`unclean: ${call.method} of ${name} ${method.slice(2)}`)
    if (method !== 'onRecord' && method !== 'onPeeked')
      counters.count(`${call.method} of ${name} ${method.slice(2)}`)
  }
}
