/** What the machine, or the container, lets this process have: memory, descriptors, a queue of connections to accept. */
import { readFileSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { getHeapStatistics } from 'node:v8'

/** Descriptors that are not for clients: files, the event loop's own, and some for each node. */
const RESERVED_DESCRIPTORS = 64
const DESCRIPTORS_A_NODE = 8
/** Connections that may wait to be accepted; the kernel cuts it to its own limit. Node's default is 511. */
export const BACKLOG = 16_384
const SMALL_BACKLOG = 1024
/** Where the limit of descriptors is not known. */
const CONNECTIONS_UNKNOWN = 20_000
const SOMAXCONN = '/proc/sys/net/core/somaxconn'

/** Memory of this machine, or what its container may have. */
export function memoryBytes(): number {
  const constrained = process.constrainedMemory()
  // Where nothing constrains it, Node tells nothing, 0 or a number without meaning.
  return constrained > 0 && constrained < totalmem() ? constrained : totalmem()
}

/**
 * What clients may make one process hold: a quarter of the memory, shared by the workers, and not more than half of the
 * JavaScript heap, because a part of it are objects and strings.
 */
export function defaultClientMemory(workers: number): number {
  return Math.floor(Math.min(memoryBytes() / 4 / workers, getHeapStatistics().heap_size_limit / 2))
}

/** How many descriptors this process may have open; null = not known here. */
export function descriptorLimit(): number | null {
  const found = /^Max open files\s+(\d+)/m.exec(textOf('/proc/self/limits') ?? '')
  return found ? Number(found[1]) : null
}

/** Connections of clients that the descriptors suffice for, with some left for nodes and files. */
export function connectionsWithin(descriptors: number, nodes: number): number {
  return Math.max(1, descriptors - RESERVED_DESCRIPTORS - DESCRIPTORS_A_NODE * nodes)
}

export interface ClientLimits {
  /** What clients may make this process hold. */
  readonly memoryBytes: number
  /** Connections of all servers together. */
  readonly connections: number
  /** For the log, at start. */
  readonly lines: readonly { level: 'info' | 'warn'; sentence: string }[]
}

export interface AskedFor {
  readonly maxClientMemory: number | null
  readonly maxConnections: number | null
  readonly workers: number | 'auto'
}

/** What is set, or what the machine allows; and what an operator should know of it. */
export function clientLimits(asked: AskedFor, nodes: number): ClientLimits {
  const workers = asked.workers === 'auto' ? availableParallelism() : asked.workers
  const memoryBytes = asked.maxClientMemory ?? defaultClientMemory(workers)
  const descriptors = descriptorLimit()
  const possible = descriptors === null ? CONNECTIONS_UNKNOWN : connectionsWithin(descriptors, nodes)
  const connections = Math.min(asked.maxConnections ?? possible, possible)
  const of =
    descriptors === null ? 'the limit of open files is not known here' : `of ${descriptors} open files`
  const mib = Math.round(memoryBytes / 1024 ** 2)
  const lines: ClientLimits['lines'][number][] = [
    {
      level: 'info',
      sentence: `clients may make this process hold ${mib} MiB (MAX_CLIENT_MEMORY) and have ${connections} connections (${of})`,
    },
  ]
  if (asked.maxConnections !== null && asked.maxConnections > possible) {
    const sentence = `MAX_CONNECTIONS is ${asked.maxConnections}, and the limit of open files allows ${possible}: raise it (ulimit -n)`
    lines.push({ level: 'warn', sentence })
  }
  const backlog = kernelBacklog()
  if (backlog !== null && backlog < SMALL_BACKLOG) {
    const sentence = `only ${backlog} connections can wait to be accepted, and more at once are reset: raise net.core.somaxconn`
    lines.push({ level: 'warn', sentence })
  }
  return { memoryBytes, connections, lines }
}

/** How many connections the kernel lets wait to be accepted; null = not known here. */
export function kernelBacklog(): number | null {
  const text = textOf(SOMAXCONN)
  return text === null ? null : Number(text)
}

/** Null where there is no such file: not Linux, or a container without it. */
function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (['ENOENT', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return null
    throw error
  }
}

/** accept() failed because there is no descriptor left, in this process or on the machine. */
export function isOutOfDescriptors(error: NodeJS.ErrnoException): boolean {
  return error.code === 'EMFILE' || error.code === 'ENFILE'
}
