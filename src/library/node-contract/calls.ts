/**
 * Promises around a node's data path, for tests. They also watch over the contract of a completion object: exactly one
 * method, exactly once, and never before the call has returned. A breach throws where it happens, which mocha reports.
 */
import { KIND_VALUE, newRecord, type NewRecord, type PeekedRecord } from '../../core/codec.ts'
import { FAR_END_MS } from '../../core/lifetime.ts'
import type { Part } from '../../core/part.ts'
import type { Epochs } from '../../core/replica-set.ts'
import type {
  Fence,
  HintCall,
  Node,
  NodeFailure,
  PrepareCall,
  StoreAllCall,
  StoreAllMode,
  StoreAllWrite,
  StoreCall,
  StoreCondition,
} from '../../nodes/node.ts'

export type Failed = { kind: 'failed'; failure: NodeFailure }
export type GetResult =
  { kind: 'found'; bytes: Buffer; fence: Fence } | { kind: 'absent'; fence: Fence } | Failed
export type PeekResult =
  { kind: 'found'; record: PeekedRecord; fence: Fence } | { kind: 'absent'; fence: Fence } | Failed
export type StoreResult =
  { kind: 'applied'; fence: Fence; keptMs: number } | { kind: 'stale'; held: Buffer; fence: Fence } | Failed
export type HintResult = { kind: 'applied'; fence: Fence } | Failed
export type PrepareResult =
  | { kind: 'promised'; bytes: Buffer | null; fence: Fence }
  | { kind: 'refused'; newest: Buffer; fence: Fence }
  | Failed
export type StoreAllResult =
  | { kind: 'applied'; fence: Fence; keptMs: readonly number[] }
  | { kind: 'stale'; held: readonly (Buffer | null)[]; fence: Fence }
  | Failed
export type CallResult = GetResult | PeekResult | StoreResult | HintResult | PrepareResult | StoreAllResult

export function get(node: Node, key: Buffer | string): Promise<GetResult> {
  return complete((end) =>
    node.get(Buffer.from(key), {
      onRecord: (_node, bytes, fence) =>
        end(bytes ? { kind: 'found', bytes, fence } : { kind: 'absent', fence }),
      onFailure: (_node, failure) => end({ kind: 'failed', failure }),
    }),
  )
}

export function peek(node: Node, key: Buffer | string, part: Part): Promise<PeekResult> {
  return complete((end) =>
    node.peek(Buffer.from(key), part, {
      onPeeked: (_node, record, fence) =>
        end(record ? { kind: 'found', record, fence } : { kind: 'absent', fence }),
      onFailure: (_node, failure) => end({ kind: 'failed', failure }),
    }),
  )
}

/** @param lifeMs the record's own life, by default that of a value without expiry */
export function store(
  node: Node,
  key: Buffer | string,
  record: NewRecord,
  lifeMs = FAR_END_MS,
  condition?: StoreCondition,
): Promise<StoreResult> {
  return complete((end) => node.store(Buffer.from(key), record, lifeMs, storeCall(end), condition))
}

export function prepare(
  node: Node,
  key: Buffer | string,
  ballot: Buffer,
  expectedBytes?: number,
): Promise<PrepareResult> {
  return complete((end) => {
    const call: PrepareCall = {
      onPromised: (_node, bytes, fence) => end({ kind: 'promised', bytes, fence }),
      onRefused: (_node, newest, fence) => end({ kind: 'refused', newest, fence }),
      onFailure: (_node, failure) => end({ kind: 'failed', failure }),
    }
    node.prepare(Buffer.from(key), ballot, call, expectedBytes)
  })
}

export function accept(
  node: Node,
  key: Buffer | string,
  record: NewRecord,
  lifeMs = FAR_END_MS,
  epochs?: Epochs,
): Promise<StoreResult> {
  return complete((end) => node.accept(Buffer.from(key), record, lifeMs, storeCall(end), epochs))
}

export function storeAll(
  node: Node,
  writes: readonly StoreAllWrite[],
  mode: StoreAllMode = 'if-held',
  epochs?: Epochs,
): Promise<StoreAllResult> {
  return complete((end) => {
    const call: StoreAllCall = {
      onApplied: (_node, fence, keptMs) => end({ kind: 'applied', fence, keptMs }),
      onStale: (_node, held, fence) => end({ kind: 'stale', held, fence }),
      onFailure: (_node, failure) => end({ kind: 'failed', failure }),
    }
    node.storeAll(writes, mode, call, epochs)
  })
}

export function hint(node: Node, target: string, key: Buffer | string, version: Buffer): Promise<HintResult> {
  return complete((end) => {
    const call: HintCall = {
      onApplied: (_node, fence) => end({ kind: 'applied', fence }),
      onFailure: (_node, failure) => end({ kind: 'failed', failure }),
    }
    node.hint(target, Buffer.from(key), version, call)
  })
}

/** Rejects with the failure. */
export function starts(
  node: Node,
  keys: readonly Buffer[],
  bytes: number,
): Promise<readonly (Buffer | null)[]> {
  return answered((end, fail) =>
    node.starts(keys, bytes, {
      onStarts: (_node, found) => end(found),
      onFailure: (_node, failure) => fail(failure),
    }),
  )
}

/** Rejects with the failure. */
export function lives(node: Node, keys: readonly Buffer[]): Promise<readonly number[]> {
  return answered((end, fail) =>
    node.lives(keys, {
      onLives: (_node, livesMs) => end(livesMs),
      onFailure: (_node, failure) => fail(failure),
    }),
  )
}

async function answered<T>(call: (end: (found: T) => void, fail: (failure: NodeFailure) => void) => void) {
  const result = await complete<{ found: T } | Failed>((end) => {
    const fail = (failure: NodeFailure) => end({ kind: 'failed', failure })
    call((found) => end({ found }), fail)
  })
  // eslint-disable-next-line @typescript-eslint/only-throw-error -- what a call fails with
  if ('failure' in result) throw result.failure
  return result.found
}

function storeCall(end: (result: StoreResult) => void): StoreCall {
  return {
    onApplied: (_node, fence, keptMs) => end({ kind: 'applied', fence, keptMs }),
    onStale: (_node, held, fence) => end({ kind: 'stale', held, fence }),
    onFailure: (_node, failure) => end({ kind: 'failed', failure }),
  }
}

function complete<T>(start: (end: (result: T) => void) => void): Promise<T> {
  return new Promise((resolve) => {
    let returned = false
    let ended = false
    start((result) => {
      if (!returned) throw new Error('a call completed before it had returned')
      if (ended) throw new Error('a call completed twice')
      ended = true
      resolve(result)
    })
    returned = true
  })
}

export interface VersionParts {
  ms: number
  counter?: number
  coordinator?: number
}

/** 12 bytes. */
export function version({ ms, counter = 0, coordinator = 1 }: VersionParts): Buffer {
  const bytes = Buffer.alloc(12)
  bytes.writeUIntBE(ms, 0, 6)
  bytes.writeUInt16BE(counter, 6)
  bytes.writeUInt32BE(coordinator, 8)
  return bytes
}

/** A record of that version; a number stands for its milliseconds. */
export function record(
  at: number | Buffer,
  value: Buffer | string = '',
  { kind = KIND_VALUE, expiresAtMs = 0 } = {},
): NewRecord {
  const stamped = typeof at === 'number' ? version({ ms: at }) : at
  const clock = { stamp: (target: Buffer, place: number) => void stamped.copy(target, place) }
  return newRecord(kind, clock, expiresAtMs, Buffer.from(value))
}
