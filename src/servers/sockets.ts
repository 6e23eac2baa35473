/** What sockets tell of how far their bytes have come. */
import type { Socket } from 'node:net'

interface Handle {
  readonly writeQueueSize?: number
  /** Below TLS. */
  readonly _parent?: Handle
}

/**
 * What the kernel has not taken yet. `writableLength` tells only of whole writes; node:net itself looks here, too, to
 * see whether a write makes progress.
 */
export function unsentBytes(socket: Socket): number {
  const handle = (socket as { _handle?: Handle | null })._handle
  return (handle?._parent ?? handle)?.writeQueueSize ?? 0
}

/** Bytes that the client has taken so far. */
export function takenBytes(socket: Socket): number {
  return socket.bytesWritten - unsentBytes(socket)
}
