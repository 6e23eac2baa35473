/**
 * The socket of the Redis protocol door, every limit set: how many connections, and for how long one may hold back the
 * rest of a command, or not take its replies.
 */
import net from 'node:net'
import tls from 'node:tls'
import type { RespDoor } from './door.ts'
import { ProxiedClients } from './proxied.ts'

export const MAX_CONNECTIONS = 20_000
const KEEP_ALIVE_MS = 300_000
const CHECK_MS = 1000

/** @param limits tests set shorter ones */
export function createRespServer(
  door: RespDoor,
  tlsOptions: tls.TlsOptions | null,
  limits = { maxConnections: MAX_CONNECTIONS },
): net.Server {
  const proxied = new ProxiedClients()
  const serve = (socket: net.Socket) => {
    if (door.connections.size >= limits.maxConnections) {
      socket.on('error', () => socket.destroy())
      socket.end('-ERR max number of clients reached\r\n')
      return
    }
    door.connected(socket, proxied.clientOf(socket))
    // One that was read for a header has been paused. Not before TLS has it: what follows the header would be lost.
    socket.resume()
  }
  const options = {
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
    allowHalfOpen: true,
  }
  const server = tlsOptions
    ? tls.createServer({ ...options, ...tlsOptions, handshakeTimeout: 10_000 }, serve)
    : net.createServer(options, serve)
  proxied.watch(server, door.options.proxies, door.options.timers)
  server.on('listening', () => {
    door.port = (server.address() as net.AddressInfo).port
  })
  const check = setInterval(() => door.endOverdue(), CHECK_MS)
  server.on('close', () => clearInterval(check))
  return server
}
