/**
 * The server on memory nodes as a process of its own, so that one that crashes or hangs is seen from outside. It tells its
 * port, and when it is asked, what it holds after a garbage collection.
 */
import type { MemoryNode } from '../../src/nodes/memory/memory-node.ts'
import { startRondo } from '../support/rondo.ts'
import { DOOR_ENV } from './oracle.ts'

/** Soon full, so that the heap says something about leaks; and what is evicted is long not used any more. */
const NODE_BYTES = 8 * 1024 * 1024

export interface Holdings {
  /** Without what the nodes store: they fill up all the while. */
  readonly heapBytes: number
  readonly connections: number
}

const { rondo } = await startRondo({ ...DOOR_ENV, MEMORY_NODE_MAX_BYTES: String(NODE_BYTES) })
process.on('disconnect', () => process.exit())
process.on('message', () => {
  global.gc!()
  global.gc!()
  const { heapUsed, external } = process.memoryUsage()
  const nodes = rondo.cluster.members.map(({ node }) => node as MemoryNode)
  const storedBytes = nodes.reduce((sum, { storage }) => sum + storage.usedBytes, 0)
  const heapBytes = heapUsed + external - storedBytes
  const holdings: Holdings = { heapBytes, connections: rondo.respServer.connections.size }
  process.send!(holdings)
})
process.send!({ port: rondo.respServer.port })
