/**
 * For those who write a node driver of their own (docs/EMBEDDING.md): the contract and its tests, and the decisions of a node,
 * for one that has no scripts. `import … from 'rondo/node-contract'`.
 */
export type * from '../../nodes/node.ts'
export { CHECKED_IN_MS, MAX_ASKED, MAX_CHECKED_IN, MAX_HINTS, MAX_NOTE_BYTES } from '../../nodes/node.ts'
export { NodeLoad, SMALL_BYTES } from '../../nodes/load.ts'
export * from '../../nodes/failures.ts'
export { MemoryNode, type MemoryNodeOptions } from '../../nodes/memory/memory-node.ts'

// What is stored, and how a node decides.
export {
  HEAD_BYTES,
  HEAD_WITH_PROMISE_BYTES,
  KIND_NOTHING,
  KIND_TOMBSTONE,
  KIND_VALUE,
  PeekedRecord,
  StoredRecord,
  type NewRecord,
} from '../../core/codec.ts'
export {
  compareVersions,
  VERSION_BYTES,
  VERSION_ZERO,
  versionMs,
  type Clock,
  type Timers,
  type Version,
} from '../../core/clock.ts'
export {
  decideAccept,
  decidePrepare,
  decideStore,
  promiseAlone,
  type PrepareDecision,
  type StoreDecision,
} from '../../core/store.ts'
export { decideStoreAll, type KeyToDecide, type StoreAllDecision } from '../../core/store-all.ts'
export { aboveFloor, Floors } from '../../core/floors.ts'
export { FAR_END_MS } from '../../core/lifetime.ts'
export { isMarkedWithin } from '../../core/marked-epoch.ts'
export { decodeSyncedAt, encodeSyncedAt, type SyncedAt } from '../../core/synced-at.ts'
export {
  DECIDED_KEY,
  isInternal,
  leaseKey,
  MARKER_KEY,
  SYNCED_AT_KEY,
  TOPOLOGY_KEY,
  WRITABLE_KEY,
} from '../../core/keys.ts'
export { Glob } from '../../core/glob.ts'
export type { ByteRange, Part } from '../../core/part.ts'
export type { Epochs } from '../../core/replica-set.ts'

// The tests.
export { describeNodeContract, GRACE_MS, MAX_HINTS as HINTS_UNDER_TEST } from './contract.ts'
export { runNodeContract, type ContractResult } from './runner.ts'
export type { NodeFactory, NodeUnderTest, RawServer, Runner } from './under-test.ts'
