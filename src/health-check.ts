/**
 * The container's health check: asks /livez of the server that this configuration describes, and ends with 0 when it
 * is alive, with 1 and a line that says why otherwise.
 *
 * It asks this machine itself and sends no secret, so it does not verify the server's certificate. A server that asks
 * for a client certificate (TLS_CLIENT_CA_FILE) has answered when it says that one is missing.
 */
import http from 'node:http'
import https from 'node:https'
import { loadConfig, type Config } from './config/config.ts'
import { readEnvironment, SettingsFileError, type Environment } from './config/environment.ts'

const TIMEOUT_MS = 4000
const CERTIFICATE_REQUIRED = 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'
const ANY_ADDRESS: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '::1' }

const loaded = loadConfig(environment())
if (loaded.ok) ask(loaded.config)
else end(`the configuration is not valid: ${loaded.problems.join(' ')}`)

function environment(): Environment {
  try {
    return readEnvironment(process.cwd())
  } catch (error) {
    if (!(error instanceof SettingsFileError)) throw error
    end(`the configuration is not valid: ${error.message}`)
  }
}

function ask({ host, port, tls }: Config): void {
  const { get } = tls ? https : http
  const request = get({
    host: ANY_ADDRESS[host] ?? host,
    port,
    path: '/livez',
    headers: { Host: 'localhost' },
    agent: false,
    rejectUnauthorized: false,
    timeout: TIMEOUT_MS,
  })
  request.on('response', ({ statusCode }) => {
    end(statusCode === 200 ? null : `/livez answered ${statusCode}`)
  })
  request.on('timeout', () => end(`no answer within ${TIMEOUT_MS} ms`))
  request.on('error', (error: NodeJS.ErrnoException) => {
    end(tls?.clientCaFile && error.code === CERTIFICATE_REQUIRED ? null : error.message)
  })
}

function end(problem: string | null): never {
  if (problem !== null) process.stderr.write(`not healthy: ${problem}\n`)
  process.exit(problem === null ? 0 : 1)
}
