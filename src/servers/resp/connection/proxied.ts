/**
 * Connections that a trusted proxy hands on: before anything else (TLS included) the proxy may say whose they are, in a
 * header of the PROXY protocol. From everybody else a connection goes straight to the server, which takes such a header
 * for another protocol.
 */
import type { Server, Socket } from 'node:net'
import type { Timers } from '../../../core/clock.ts'
import { plainAddress } from '../../../config/client-address.ts'
import { parseProxyHeader, type ClientEnd } from '../../proxy-header.ts'
import type { TrustedProxies } from '../../../config/trusted-proxies.ts'

/** A proxy sends its header at once. A connection that is silent for so long has none; one that has begun it is closed. */
const HEADER_LIMIT_MS = 2000

export class ProxiedClients {
  /** By the proxy's end of the connection: the socket that TLS makes of it is another object, with the same ends. */
  private readonly clients = new Map<string, ClientEnd>()

  /** Who is at the other end. */
  clientOf(socket: Socket): ClientEnd {
    return (
      this.clients.get(endOf(socket)) ?? {
        address: plainAddress(socket.remoteAddress),
        port: socket.remotePort ?? 0,
      }
    )
  }

  /** Puts the reading of headers in front of what the server does with a new connection. */
  watch(server: Server, proxies: TrustedProxies, timers: Timers): void {
    if (proxies.isEmpty) return
    const listeners = server.listeners('connection') as ((socket: Socket) => void)[]
    server.removeAllListeners('connection')
    const serve = (socket: Socket) => {
      for (const listener of listeners) listener.call(server, socket)
    }
    server.on('connection', (socket: Socket) => {
      if (!proxies.has(plainAddress(socket.remoteAddress))) {
        serve(socket)
        return
      }
      readHeader(socket, timers, (client) => {
        if (!server.listening) {
          socket.destroy() // stopped meanwhile
          return
        }
        if (client) this.remember(socket, client)
        serve(socket)
      })
    })
  }

  private remember(socket: Socket, client: ClientEnd): void {
    const end = endOf(socket)
    this.clients.set(end, client)
    socket.once('close', () => this.clients.delete(end))
  }
}

function endOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}

/** Hands the connection on, paused, with every byte that follows the header; or closes it. */
function readHeader(socket: Socket, timers: Timers, handOn: (client: ClientEnd | null) => void): void {
  let bytes: Buffer = Buffer.alloc(0)
  const leave = () => {
    timers.clearTimeout(timer)
    socket.off('data', onData).off('error', giveUp).off('end', giveUp).off('close', leave)
  }
  const giveUp = () => {
    leave()
    socket.on('error', () => undefined) // nobody is left to be told
    socket.destroy()
  }
  const finish = (used: number, client: ClientEnd | null) => {
    leave()
    socket.pause()
    if (bytes.length > used) socket.unshift(bytes.subarray(used))
    handOn(client)
  }
  const onData = (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
    const found = parseProxyHeader(bytes)
    if (found.kind === 'bad') giveUp()
    else if (found.kind === 'none') finish(0, null)
    else if (found.kind === 'header') finish(found.bytes, found.client)
  }
  const timer = timers.setTimeout(() => {
    if (bytes.length > 0) giveUp()
    else finish(0, null)
  }, HEADER_LIMIT_MS)
  socket.on('data', onData).on('error', giveUp).on('end', giveUp).on('close', leave)
}
