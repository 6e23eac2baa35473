/** What the contract needs: a driver's node, a way to the data behind it, and a test runner. */
import type { Fence, Node } from '../../nodes/node.ts'

/** The data behind a node, past its driver. */
export interface RawServer {
  /** @param ttlMs absent = without an end */
  setRaw(key: Buffer, bytes: Buffer, ttlMs?: number): Promise<void>
  getRaw(key: Buffer): Promise<Buffer | null>
  /** As PTTL: -1 without an end, -2 absent. */
  ttl(key: Buffer): Promise<number>
  deleteRaw(key: Buffer): Promise<void>
  /** Everything is gone, and connections stay. */
  flush(): Promise<void>
  /** As another process, with nothing of what was there. */
  restart(): Promise<void>
  /** Makes the key something else than a string, where there is such a thing. */
  setOtherType?(key: Buffer): Promise<void>
}

export interface NodeUnderTest {
  /** Not open, over an empty server. */
  readonly node: Node
  readonly server: RawServer
  close(): Promise<void>
}

export interface NodeFactory {
  /** Called for each case. The node keeps deleted keys for GRACE_MS, and MAX_HINTS hints for each other node. */
  create(): Promise<NodeUnderTest>
  /** The node can hold other types than strings, put there by somebody else. */
  readonly otherTypes?: boolean
  /** What a new one says in `probe().durable`; by default false. */
  readonly durable?: boolean
}

/** Of mocha, Vitest, Jest, or node:test. */
export interface Runner {
  readonly describe: (name: string, define: () => void) => unknown
  readonly it: (name: string, run: () => void | Promise<void>) => unknown
  readonly beforeEach: (run: () => void | Promise<void>) => unknown
  readonly afterEach: (run: () => void | Promise<void>) => unknown
}

/** What to expect of the process that the node is now, under this marker. */
export async function fenceOf(node: Node, marker: Buffer, clean = true): Promise<Fence> {
  const { runId } = await node.probe()
  return { marker, runId, clean, epoch: 1 }
}
