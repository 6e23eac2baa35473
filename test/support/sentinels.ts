/** Real primaries with a replica each, and real Sentinels that watch them. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, startRedis, type RedisServer } from '../../scripts/redis-server.ts'
import { RawResp } from './raw-resp.ts'
import { until } from './rondo-under-test.ts'
import { tlsFile } from './tls-files.ts'

export interface WatchedService {
  readonly name: string
  /** The first primary, then its replica. */
  readonly servers: readonly RedisServer[]
}

export interface SentinelOptions {
  /** Of the servers. */
  readonly password?: string
  /** Of the Sentinels. */
  readonly sentinelPassword?: string
  /** All speak TLS to each other, and to the coordinators. */
  readonly tls?: boolean
}

/** How long a primary must be silent to count as gone. */
const DOWN_AFTER_MS = 2000

export class WatchedServices {
  readonly services: WatchedService[] = []
  readonly sentinels: RedisServer[] = []
  /** Where others reach it: its own port is for the test's questions. */
  private readonly portOf = new Map<RedisServer, number>()
  private readonly options: SentinelOptions
  private dir = ''

  private constructor(options: SentinelOptions) {
    this.options = options
  }

  static async start(names: readonly string[], options: SentinelOptions = {}): Promise<WatchedServices> {
    const all = new WatchedServices(options)
    all.dir = await mkdtemp(join(tmpdir(), 'rondo-sentinel-'))
    for (const name of names) all.services.push(await all.service(name))
    for (let i = 0; i < 3; i++) all.sentinels.push(await all.sentinel(i))
    for (const { name } of all.services) await all.isWatched(name)
    return all
  }

  private async service(name: string): Promise<WatchedService> {
    const { password } = this.options
    const auth = password === undefined ? [] : ['--requirepass', password, '--masterauth', password]
    const quick = [...auth, '--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1']
    const primary = await this.reached({ args: quick })
    const at = this.portOf.get(primary)!
    const replica = await this.reached({ args: [...quick, '--replicaof', `127.0.0.1 ${at}`] })
    return { name, servers: [primary, replica] }
  }

  private async reached({ args, configFile }: { args: string[]; configFile?: string }): Promise<RedisServer> {
    const { tls = false } = this.options
    const port = await freePort()
    const files = [
      'cert-file',
      tlsFile('node'),
      'key-file',
      tlsFile('node-key'),
      'ca-cert-file',
      tlsFile('ca'),
    ]
    const named = files.map((word, i) => (i % 2 === 0 ? `--tls-${word}` : word))
    const ofTls = [
      '--tls-port',
      String(port),
      ...named,
      '--tls-replication',
      'yes',
      '--tls-auth-clients',
      'no',
    ]
    const server = await startRedis({
      ...(configFile === undefined ? {} : { configFile }),
      args: [...args, ...(tls ? ofTls : [])],
    })
    this.portOf.set(server, tls ? port : server.port)
    return server
  }

  private async sentinel(i: number): Promise<RedisServer> {
    const { password, sentinelPassword } = this.options
    const lines = this.services.flatMap(({ name, servers }) => [
      `sentinel monitor ${name} 127.0.0.1 ${this.portOf.get(servers[0]!)} 2`,
      `sentinel down-after-milliseconds ${name} ${DOWN_AFTER_MS}`,
      `sentinel failover-timeout ${name} 4000`,
      ...(password === undefined ? [] : [`sentinel auth-pass ${name} ${password}`]),
    ])
    if (sentinelPassword !== undefined) {
      lines.push(`requirepass ${sentinelPassword}`, `sentinel sentinel-pass ${sentinelPassword}`)
    }
    const configFile = join(this.dir, `sentinel-${i}.conf`)
    await writeFile(configFile, `${lines.join('\n')}\n`)
    return this.reached({ configFile, args: ['--sentinel'] })
  }

  /** Every Sentinel knows the others and the replica: a failover is possible. */
  private async isWatched(name: string): Promise<void> {
    for (const sentinel of this.sentinels) {
      await until(
        `${name} is watched`,
        async () => {
          const text = await this.ask(sentinel, 'SENTINEL', 'MASTER', name)
          return (
            text.includes('num-slaves\r\n$1\r\n1\r\n') && text.includes('num-other-sentinels\r\n$1\r\n2\r\n')
          )
        },
        30_000,
      )
    }
  }

  async ask(server: RedisServer, ...words: string[]): Promise<string> {
    const isSentinel = this.sentinels.includes(server)
    const password = isSentinel ? this.options.sentinelPassword : this.options.password
    const client = await RawResp.open(server.port)
    if (password !== undefined) await client.ask('AUTH', password)
    const answer = await client.ask(...words)
    client.close()
    return answer
  }

  /** As in REDIS_URLS. */
  url(name: string): string {
    const { password, tls = false } = this.options
    const credentials = password === undefined ? '' : `:${password}@`
    const places = this.sentinels.map((sentinel) => `127.0.0.1:${this.portOf.get(sentinel)}`)
    return `${tls ? 'rediss' : 'redis'}+sentinel://${credentials}${name}@${places.join()}`
  }

  private server(name: string, port: number): RedisServer {
    const { servers } = this.services.find((one) => one.name === name)!
    return servers.find((one) => this.portOf.get(one) === port)!
  }

  /** By what all Sentinels say; null = they disagree. */
  async primaryOf(name: string): Promise<RedisServer | null> {
    const ports = await Promise.all(
      this.sentinels.map(async (sentinel) => {
        const answer = await this.ask(sentinel, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name)
        return Number(answer.trimEnd().split('\r\n').at(-1))
      }),
    )
    return new Set(ports).size === 1 ? this.server(name, ports[0]!) : null
  }

  async failedOver(name: string, from: RedisServer): Promise<RedisServer> {
    let primary: RedisServer | null = null
    await until(
      `${name} fails over`,
      async () => {
        primary = await this.primaryOf(name)
        return primary !== null && primary !== from
      },
      30_000,
    )
    return primary!
  }

  async stop(): Promise<void> {
    await Promise.all(
      [...this.sentinels, ...this.services.flatMap(({ servers }) => servers)].map((one) => one.stop()),
    )
    await rm(this.dir, { recursive: true, force: true })
  }
}
