/** An HTTP connection as the origin of operations that wait for room at their nodes. */
import type { Socket } from 'node:net'
import type { Asker } from '../../coordinator/api.ts'

class HttpAsker implements Asker {
  waiting = 0
  begunAtMs = 0
  private readonly socket: Socket

  constructor(socket: Socket) {
    this.socket = socket
  }

  get gone(): boolean {
    return this.socket.destroyed
  }

  noneWaits(): void {
    // requests of one connection do not wait for each other
  }
}

const askers = new WeakMap<Socket, HttpAsker>()

export function askerOf(socket: Socket): Asker {
  let asker = askers.get(socket)
  if (!asker) askers.set(socket, (asker = new HttpAsker(socket)))
  return asker
}
