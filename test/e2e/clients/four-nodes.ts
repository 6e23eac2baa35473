/** A coordinator over four real servers, for the clients of other people. */
import { spawn } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { findRedisServer } from '../../../scripts/find-redis-server.mjs'
import { startRedisCluster } from '../../../scripts/redis-server.ts'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'

const TOOL_LIMIT_MS = 30_000

export interface FourNodes {
  readonly rondo: RondoUnderTest
  readonly port: number
  stop(): Promise<void>
}

export async function startFourNodes(env: Record<string, string> = {}): Promise<FourNodes> {
  const servers = await startRedisCluster(4)
  const rondo = await RondoUnderTest.start(servers, env)
  return {
    rondo,
    port: rondo.respPort,
    async stop() {
      await rondo.stop()
      await Promise.all(servers.map((server) => server.stop()))
    },
  }
}

/** A program of Redis (`redis-cli`), or its Valkey twin: on PATH, or beside the server; null = there is none. */
export async function findTool(name: string): Promise<string | null> {
  const dirs = [...(process.env.PATH ?? '').split(delimiter), dirname(await findRedisServer())]
  const paths = [name, name.replace('redis', 'valkey')].flatMap((tool) => dirs.map((dir) => join(dir, tool)))
  for (const path of paths) if (await isExecutable(path)) return path
  return null
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  )
}

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end; one that does not end is killed. */
export function run(path: string, args: readonly string[], input: string | Buffer = ''): Promise<Ran> {
  const child = spawn(path, args, { timeout: TOOL_LIMIT_MS, killSignal: 'SIGKILL' })
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
  child.stdin.on('error', () => undefined) // it has ended without reading all; its exit code tells
  child.stdin.end(input)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      resolve({ code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() })
    })
  })
}

/** Debian's own interpreter: another one on PATH does not see Debian's packages. */
export const PYTHON = '/usr/bin/python3'

/** Null, or why redis-py cannot be used. */
export async function whyNoPython(): Promise<string | null> {
  if (!(await isExecutable(PYTHON))) return `there is no ${PYTHON}`
  const { code } = await run(PYTHON, ['-c', 'import redis'])
  return code === 0 ? null : 'python3-redis is not installed'
}
