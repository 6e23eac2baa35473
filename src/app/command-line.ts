/** The arguments of the program: `--help` and `--version`. Everything else is set in the environment. */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const

const HELP = `Usage: node dist/main.js [--help | --version]

Starts a coordinator, which serves HTTP on PORT, the Redis protocol on RESP_PORT
and gRPC on GRPC_PORT.

Settings are environment variables, or lines of a file .env.local in the current
directory: .env.local.example explains each of them. For example:

  REDIS_URLS=redis-1=localhost:6379,redis-2=localhost:6380 node dist/main.js

Without REDIS_URLS values are kept in the memory of the process.
`

/** What the program prints instead of starting. */
export interface Printed {
  readonly exitCode: number
  readonly stdout?: string
  readonly stderr?: string
}

/** @param args those behind the name of the program. @returns null = there are none: start */
export function readArguments(args: readonly string[]): Printed | null {
  try {
    const { help, version } = parseArgs({ args: [...args], options: OPTIONS }).values
    if (help) return { exitCode: 0, stdout: HELP }
    return version ? { exitCode: 0, stdout: `${versionText()}\n` } : null
  } catch (error) {
    // The second sentence of the error is advice for an argument that begins with a dash.
    const [what] = (error as Error).message.split('. ')
    return {
      exitCode: 2,
      stderr: `${what}. Settings are environment variables, for example PORT=8081; see --help.\n`,
    }
  }
}

export function versionText(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
