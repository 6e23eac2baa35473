/** Progress of a socket's output. */
import type { Socket } from 'node:net'

interface Handle {
  readonly writeQueueSize?: number
  /** Below TLS. */
  readonly _parent?: Handle
}

/**
 * Bytes that the kernel has not accepted yet. `writableLength` counts only whole writes; node:net itself also looks here
 * to see whether a write makes progress.
 */
export function unsentBytes(socket: Socket): number {
  const handle = (socket as { _handle?: Handle | null })._handle
  return (handle?._parent ?? handle)?.writeQueueSize ?? 0
}

/** Bytes passed to the kernel so far. */
export function takenBytes(socket: Socket): number {
  return socket.bytesWritten - unsentBytes(socket)
}
