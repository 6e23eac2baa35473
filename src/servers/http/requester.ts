/** An HTTP connection as the origin of operations that wait for room at their nodes. */
import type { Socket } from 'node:net'
import type { Requester } from '../../coordinator/api.ts'

class HttpRequester implements Requester {
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

const requesters = new WeakMap<Socket, HttpRequester>()

export function requesterOf(socket: Socket): Requester {
  let requester = requesters.get(socket)
  if (!requester) requesters.set(socket, (requester = new HttpRequester(socket)))
  return requester
}
