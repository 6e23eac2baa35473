/**
 * The program: reads the configuration, runs one coordinator or several workers, listens, drains on SIGTERM, and
 * reloads files on SIGHUP.
 */
import cluster from 'node:cluster'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import closeWithGrace from 'close-with-grace'
import { pino, type Logger } from 'pino'
import { CertificateError, Certificates } from './certificates.ts'
import { isFilePath } from '../config/checks.ts'
import { describeConfig, loadConfig, type Config } from '../config/config.ts'
import { readEnvironment, SettingsFileError, unknownNames, type Environment } from '../config/environment.ts'
import { VARIABLES } from '../config/variables.ts'
import { DiskError } from '../nodes/memory/disk/load.ts'
import { setRequestIdPrefix } from '../servers/request-id.ts'
import { readTokens } from '../config/token-list.ts'
import { logLines } from './log-lines.ts'
import { onSighup } from './sighup.ts'
import { Rondo, type Addresses, type RondoOptions } from './rondo.ts'
import { onReload, runPrimary, sharedMetrics, shareRegistry, reportListening, type Ports } from './workers.ts'

/** A stop that takes longer, after SHUTDOWN_DELAY_SECONDS, ends the process anyway. */
const STOP_LIMIT_MS = 15_000
const STOP_SIGNALS = ['SIGINT', 'SIGQUIT', 'SIGTERM'] as const

// Whoever reads these may be gone (a log pipe that was closed); what is served does not depend on it.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

const config = configOrExit()
// Lines for people go to stdout, log lines to stderr.
const log = pino(
  { level: config.logLevel, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
  logLines(),
)
if (cluster.isPrimary) for (const warning of unknownNames(process.cwd())) log.warn(warning)
const workers = config.workers === 'auto' ? availableParallelism() : config.workers

if (workers > 1 && cluster.isPrimary) {
  log.info({ config: describeConfig(config), workers }, 'starting')
  const primary = runPrimary(workers, log, {
    listening: (ports) => greet(config, ports),
    cannotStart: (why) => {
      log.fatal(`the workers cannot start: the first one ended (${why})`)
      process.exit(1)
    },
  })
  closeWithGrace({ delay: stopLimitMs(config), logger: log, skip: ['SIGHUP'] }, () => primary.stop())
  onSighup(() => primary.reload())
} else {
  await serve(config, log)
}

async function serve(config: Config, log: Logger): Promise<void> {
  const alone = cluster.isPrimary
  if (alone) log.info({ config: describeConfig(config) }, 'starting')
  if (config.nodes.kind === 'memory' && !config.nodes.files) {
    log.warn(
      'REDIS_URLS is not set: values are kept in the memory of this process, and are lost when it stops (DATA_DIR keeps them)',
    )
  }
  setRequestIdPrefix(`${process.pid.toString(36)}-${Date.now().toString(36)}-`)
  const rondo = rondoOrExit(config, { log, ...(alone ? {} : { metrics: sharedMetrics() }) })
  if (!alone) shareRegistry(rondo.telemetry.registry)
  const reload = () => reloadFiles(rondo, log)
  onSighup(reload)
  if (!alone) onReload(reload)
  const skip = alone ? (['SIGHUP'] as const) : (['SIGHUP', ...STOP_SIGNALS] as const)
  const grace = closeWithGrace(
    { delay: stopLimitMs(config), logger: log, skip: [...skip] },
    async ({ err, signal }) => {
      if (err) log.fatal({ err }, 'stopping after an unhandled error')
      else {
        log.info(`stopping (${signal ?? 'requested'})`)
        await rondo.leave()
      }
      await rondo.stop()
    },
  )
  if (!alone) onFirstSignal(() => grace.close())
  await startOrExit(rondo)
  try {
    const addresses = await rondo.listen()
    const ports = portsOf(addresses)
    if (alone) greet(config, ports)
    else reportListening(ports)
  } catch (error) {
    explainListenError(error as NodeJS.ErrnoException, config)
    await rondo.stop()
    process.exit(1)
  }
}

function stopLimitMs({ shutdownDelayMs }: Config): number {
  return shutdownDelayMs + STOP_LIMIT_MS
}

/**
 * A second signal means "at once" to a single process. A worker normally gets two: a terminal or a service manager
 * signals the whole process group, and then the primary signals its workers.
 */
function onFirstSignal(stop: () => void): void {
  let stopping = false
  for (const signal of STOP_SIGNALS) {
    process.on(signal, () => {
      if (stopping) return
      stopping = true
      stop()
    })
  }
}

function reloadFiles(rondo: Rondo, log: Logger): void {
  try {
    rondo.reload()
    log.info('reloaded files (SIGHUP)')
  } catch (error) {
    log.error(`cannot reload files (SIGHUP), nothing is changed: ${(error as Error).message}`)
  }
}

function portsOf(addresses: Addresses): Ports {
  const ports = Object.entries(addresses).map(([server, { port }]) => [server, port] as const)
  return { ...Object.fromEntries(ports), http: addresses.http.port }
}

function greet(config: Config, ports: Ports): void {
  const scheme = config.tls ? 'https' : 'http'
  const host = ['0.0.0.0', '::', '127.0.0.1', '::1'].includes(config.host) ? 'localhost' : config.host
  const { tokens, file } = config.dataTokens
  const asks = tokens.length > 0 || file !== null
  const token = !asks ? '' : ` -H "Authorization: Bearer $DATA_TOKEN"`
  const url = `${scheme}://${host}:${ports.http}`
  const lines = [
    `Rondo listens on ${url}`,
    `  try:  curl -X PUT ${url}/api/v1/keys/hello -H 'Content-Type: application/json' -d '{"value":"world"}'${token}`,
    `        curl ${url}/api/v1/keys/hello${token}`,
  ]
  if (ports.resp !== undefined) {
    const options = `${config.tls ? ' --tls' : ''}${!asks ? '' : ' -a "$DATA_TOKEN"'}`
    lines.push(
      `and to any Redis client on ${host}:${ports.resp}`,
      `  try:  redis-cli -p ${ports.resp}${options}`,
    )
  }
  if (ports.grpc !== undefined) lines.push(`and to any gRPC client on ${host}:${ports.grpc}`)
  process.stdout.write(lines.join('\n') + '\n')
}

function explainListenError(error: NodeJS.ErrnoException & { port?: number }, config: Config): void {
  const named = { PORT: config.port, RESP_PORT: config.respPort, GRPC_PORT: config.grpcPort }
  const [name = 'PORT'] = Object.entries(named).find(([, port]) => port === error.port) ?? []
  const where = `${config.host}:${error.port ?? config.port}`
  const sentence =
    error.code === 'EADDRINUSE'
      ? `Port ${where} is taken by another program: stop it, or set ${name} to a free one (${name}=0 takes any).`
      : error.code === 'EACCES'
        ? `Port ${where} may not be opened by this user: set ${name} to one above 1023.`
        : `Cannot listen on ${where}: ${error.message}.`
  process.stderr.write(`${sentence}\n`)
}

function rondoOrExit(config: Config, options: RondoOptions): Rondo {
  try {
    return new Rondo(config, options)
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error
    process.stderr.write(`Rondo cannot start: ${error.message}\n`)
    process.exit(1)
  }
}

async function startOrExit(rondo: Rondo): Promise<void> {
  try {
    await rondo.start()
  } catch (error) {
    if (!(error instanceof DiskError)) throw error
    process.stderr.write(`Rondo cannot start: ${error.message}\n`)
    process.exit(1)
  }
}

function configOrExit(): Config {
  const { env, unread } = environment()
  const loaded = loadConfig(env)
  const found = [...unread, ...(loaded.ok ? [] : loaded.problems), ...unreadableFiles(env)]
  if (loaded.ok && found.length === 0)
    found.push(...tokenProblems(loaded.config), ...tlsProblems(loaded.config))
  if (loaded.ok && found.length === 0) return loaded.config
  const problems = found.map((problem) => `  - ${problem}\n`).join('')
  process.stderr.write(`Rondo cannot start with this configuration:\n${problems}See .env.local.example.\n`)
  process.exit(1)
}

/** If `.env.local` cannot be read, that is a problem among others: those of the environment are named as well. */
function environment(): { env: Environment; unread: string[] } {
  try {
    return { env: readEnvironment(process.cwd()), unread: [] }
  } catch (error) {
    if (!(error instanceof SettingsFileError)) throw error
    return { env: process.env, unread: [error.message] }
  }
}

/** A sentence for each file that a setting names and that cannot be read, also if other settings are wrong. */
function unreadableFiles(env: Environment): string[] {
  return VARIABLES.flatMap(({ name }) => {
    const path = name.endsWith('_FILE') ? (env[name]?.trim() ?? '') : ''
    if (!isFilePath(path)) return []
    try {
      readFileSync(path)
      return []
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // A token may stand where its file should be named.
      return name.endsWith('TOKEN_FILE')
        ? [`The file that ${name} names cannot be read: ${code}. Correct the name or the file.`]
        : [`${name} is ${path}, which cannot be read (${code}). Correct one of them.`]
    }
  })
}

/** Read again when a coordinator is made; here, so that all problems are named together, and with workers only once. */
function tlsProblems(config: Config): string[] {
  const withoutNodes = {
    ...config,
    nodes: { kind: 'memory', count: 1, maxBytesPerNode: 1, maxEntriesPerNode: 0, files: null },
  } as const
  const problems = [
    withoutNodes,
    { ...withoutNodes, tls: config.tls && { ...config.tls, clientCaFile: null } },
    { ...config, tls: null },
  ].flatMap((part) => {
    try {
      new Certificates(part)
      return []
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error
      return [error.message]
    }
  })
  return [...new Set(problems)]
}

function tokenProblems({ dataTokens, adminTokens }: Config): string[] {
  const sources = [
    ['DATA_TOKEN_FILE', dataTokens],
    ['ADMIN_TOKEN_FILE', adminTokens],
  ] as const
  return sources.flatMap(([name, source]) => {
    try {
      readTokens(name, source)
      return []
    } catch (error) {
      return [(error as Error).message]
    }
  })
}
