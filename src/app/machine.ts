/** Limits that the machine or the container sets for this process: memory, file descriptors, listen backlog. */
import { readFileSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { getHeapStatistics } from 'node:v8'

/** Descriptors reserved for files, the event loop and nodes. */
const RESERVED_DESCRIPTORS = 64
const DESCRIPTORS_A_NODE = 8
/** Listen backlog; the kernel caps it at its own limit. Node's default is 511. */
export const BACKLOG = 16_384
const SMALL_BACKLOG = 1024
/** Used where the limit of descriptors is unknown. */
const CONNECTIONS_UNKNOWN = 20_000
const SOMAXCONN = '/proc/sys/net/core/somaxconn'

/** Memory of the machine, or the container's limit. */
export function memoryBytes(): number {
  const constrained = process.constrainedMemory()
  // Without a limit Node returns undefined, 0 or a meaningless number.
  return constrained > 0 && constrained < totalmem() ? constrained : totalmem()
}

/**
 * Default client memory of one process: a quarter of the machine's memory, divided by the workers, and at most half of
 * the JavaScript heap, because part of it is objects and strings.
 */
function defaultClientMemory(workers: number): number {
  return Math.floor(Math.min(memoryBytes() / 4 / workers, getHeapStatistics().heap_size_limit / 2))
}

/** How many descriptors this process may open; null = unknown on this system. */
function descriptorLimit(): number | null {
  const found = /^Max open files\s+(\d+)/m.exec(textOf('/proc/self/limits') ?? '')
  return found ? Number(found[1]) : null
}

/** Client connections that the descriptors allow, less those reserved for nodes and files. */
export function connectionsWithin(descriptors: number, nodes: number): number {
  return Math.max(1, descriptors - RESERVED_DESCRIPTORS - DESCRIPTORS_A_NODE * nodes)
}

export interface ClientLimits {
  /** Memory that clients may use in this process. */
  readonly memoryBytes: number
  /** Of all servers together. */
  readonly connections: number
  /** For the log, at start. */
  readonly lines: readonly { level: 'info' | 'warn'; sentence: string }[]
}

export interface AskedFor {
  readonly maxClientMemory: number | null
  readonly maxConnections: number | null
  readonly workers: number | 'auto'
}

/** The limits that are set, or else those that the machine allows, with log lines for the operator. */
export function clientLimits(asked: AskedFor, nodes: number): ClientLimits {
  const workers = asked.workers === 'auto' ? availableParallelism() : asked.workers
  const memoryBytes = asked.maxClientMemory ?? defaultClientMemory(workers)
  const descriptors = descriptorLimit()
  const possible = descriptors === null ? CONNECTIONS_UNKNOWN : connectionsWithin(descriptors, nodes)
  const connections = Math.min(asked.maxConnections ?? possible, possible)
  const of = descriptors === null ? 'the limit of open files is unknown' : `of ${descriptors} open files`
  const mib = Math.round(memoryBytes / 1024 ** 2)
  const lines: ClientLimits['lines'][number][] = [
    {
      level: 'info',
      sentence: `clients may use ${mib} MiB of memory (MAX_CLIENT_MEMORY) and ${connections} connections (${of})`,
    },
  ]
  if (asked.maxConnections !== null && asked.maxConnections > possible) {
    const sentence = `MAX_CONNECTIONS is ${asked.maxConnections}, but the limit of open files allows ${possible}: raise it (ulimit -n)`
    lines.push({ level: 'warn', sentence })
  }
  const backlog = kernelBacklog()
  if (backlog !== null && backlog < SMALL_BACKLOG) {
    const sentence = `the listen backlog is limited to ${backlog}, and connections beyond it are reset: raise net.core.somaxconn`
    lines.push({ level: 'warn', sentence })
  }
  return { memoryBytes, connections, lines }
}

/** The kernel's limit for the listen backlog; null = unknown on this system. */
function kernelBacklog(): number | null {
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
