/**
 * Connections from trusted proxies: before any other bytes (including TLS) the proxy may send the client's address in a
 * PROXY protocol header. Other connections go straight to the server, which treats such a header as another protocol.
 */
import type { Server, Socket } from 'node:net'
import type { Timers } from '../../../core/clock.ts'
import { plainAddress } from '../../../config/client-address.ts'
import { parseProxyHeader, type ClientEnd } from '../../proxy-header.ts'
import type { TrustedProxies } from '../../../config/trusted-proxies.ts'

/** A proxy sends its header at once. After this time a silent connection counts as one without a header; an incomplete header closes it. */
const HEADER_LIMIT_MS = 2000

export class ProxiedClients {
  /** By the proxy's address and port, because TLS creates another socket object for the same connection. */
  private readonly clients = new Map<string, ClientEnd>()

  /** The client's address. */
  clientOf(socket: Socket): ClientEnd {
    return (
      this.clients.get(endOf(socket)) ?? {
        address: plainAddress(socket.remoteAddress),
        port: socket.remotePort ?? 0,
      }
    )
  }

  /** Makes the server read headers before it handles new connections. */
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

/** Passes on the connection, paused, with all bytes after the header; or closes it. */
function readHeader(socket: Socket, timers: Timers, handOn: (client: ClientEnd | null) => void): void {
  let bytes: Buffer = Buffer.alloc(0)
  const leave = () => {
    timers.clearTimeout(timer)
    socket.off('data', onData).off('error', giveUp).off('end', giveUp).off('close', leave)
  }
  const giveUp = () => {
    leave()
    socket.on('error', () => undefined)
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
