/**
 * A whole Rondo in this process, for tests: on memory nodes, or on the Redis servers of REDIS_URLS, behind both servers
 * that must not differ, its own socket and a plain server around createApp(), with every log line kept.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { loadConfig } from '../../src/config/config.ts'
import { type Environment } from '../../src/config/environment.ts'
import { Rondo, type RondoOptions } from '../../src/app/rondo.ts'

export type LogLine = Record<string, unknown> & { level: number; msg: string }

export const HTTP_ENTRIES = ['socket', 'app'] as const
export type HttpEntry = (typeof HTTP_ENTRIES)[number]

export interface RunningRondo {
  readonly rondo: Rondo
  /** `socket`: rondo.listen(); `app`: rondo.app in a server of node:http without any settings. */
  readonly ports: Readonly<Record<HttpEntry, number>>
  /** 0 = without GRPC_PORT. */
  readonly grpcPort: number
  /** As they would have gone to stderr. */
  logText(): string
  logLines(): LogLine[]
  stop(): Promise<void>
}

/** @param env as in .env.local; without REDIS_URLS four memory nodes serve */
export async function startRondo(env: Environment = {}, options: RondoOptions = {}): Promise<RunningRondo> {
  const loaded = loadConfig({ PORT: '0', RESP_PORT: '0', ...env })
  if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
  const { config } = loaded
  let text = ''
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString('utf8')
      done()
    },
  })
  const rondo = new Rondo(config, { ...options, log: pino({ level: config.logLevel }, stream) })
  await rondo.start()
  const addresses = await rondo.listen()
  const { port } = addresses.http
  const appServer = createServer(rondo.app)
  await new Promise<void>((resolve) => appServer.listen(0, '127.0.0.1', resolve))
  return {
    rondo,
    grpcPort: addresses.grpc?.port ?? 0,
    ports: { socket: port, app: (appServer.address() as AddressInfo).port },
    logText: () => text,
    logLines: () =>
      text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as LogLine),
    async stop() {
      const closed = new Promise((resolve) => appServer.close(resolve))
      appServer.closeAllConnections()
      await closed
      await rondo.stop()
    },
  }
}

/** Open connections of rondo.listen()'s HTTP server. */
export function httpConnectionsOf(running: RunningRondo): Promise<number> {
  const { servers } = running.rondo as unknown as { servers: { server: { listener: Server } }[] }
  return new Promise((resolve) =>
    servers.at(-1)!.server.listener.getConnections((_error, count) => resolve(count)),
  )
}
