/** How the jobs of each language are built and started. */
import { readdirSync } from 'node:fs'
import { basename, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from './four-nodes.ts'
import type { Library } from './libraries.ts'

/** As in production, Rondo asks the jobs for a password. */
export const PASSWORD = 'the-password-of-an-application'

const JOBS = fileURLToPath(new URL('jobs', import.meta.url))

/** Debian's own programs: others on PATH do not see Debian's packages. */
const INTERPRETERS = {
  JavaScript: [process.execPath],
  Python: ['/usr/bin/python3', '-B'],
  PHP: ['/usr/bin/php'],
  Ruby: ['/usr/bin/ruby'],
  Perl: ['/usr/bin/perl'],
  Lua: ['/usr/bin/lua5.1'],
  Erlang: ['/usr/bin/escript'],
} as const

/** Every file of jobs/ but those that jobs share, as `Library.shownBy` names them. */
export function jobFiles(): string[] {
  const shared = /\/(job\.\w+|Job\.pm|web\.py|main\.go)$/
  return readdirSync(JOBS, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join('jobs', basename(entry.parentPath), entry.name))
    .filter((path) => !shared.test(path))
}

/** The command line that runs a job, without its arguments: the port, and the password. */
export async function commandOf(library: Library, folder: string): Promise<readonly string[]> {
  if (library.language === 'Go') return goCommand(library, folder)
  if (library.language === 'C') return cCommand(library, folder)
  return [...INTERPRETERS[library.language], join(JOBS, '..', library.shownBy)]
}

/** Go's jobs are one program, which is built once. */
let goProgram: Promise<string> | undefined

async function goCommand({ shownBy }: Library, folder: string): Promise<readonly string[]> {
  goProgram ??= buildGo(folder)
  return [await goProgram, nameOf(shownBy)]
}

async function buildGo(folder: string): Promise<string> {
  const program = join(folder, 'go-jobs')
  const settings = ['GO111MODULE=off', 'GOFLAGS=', 'GOPATH=/usr/share/gocode', `GOCACHE=${folder}/go-cache`]
  const files = readdirSync(join(JOBS, 'go')).map((name) => join(JOBS, 'go', name))
  await compile('/usr/bin/env', [...settings, '/usr/bin/go', 'build', '-o', program, ...files])
  return program
}

async function cCommand({ shownBy }: Library, folder: string): Promise<readonly string[]> {
  const program = join(folder, nameOf(shownBy))
  await compile('/usr/bin/gcc', ['-Wall', '-Wextra', '-o', program, join(JOBS, '..', shownBy), '-lhiredis'])
  return [program]
}

async function compile(compiler: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await run(compiler, args)
  if (code !== 0) throw new Error(`${compiler} ${args.join(' ')}:\n${stderr}`)
}

const nameOf = (path: string) => basename(path, extname(path))

/** The installed packages of Debian and their versions; none elsewhere. */
export async function debianPackages(): Promise<ReadonlyMap<string, string>> {
  const lines = await run('dpkg-query', [
    '-W',
    '-f',
    '${db:Status-Status} ${Package} ${source:Upstream-Version}\n',
  ]).then(
    ({ stdout }) => stdout.split('\n'),
    () => [],
  )
  const installed = lines.map((line) => line.split(' ')).filter(([status]) => status === 'installed')
  return new Map(installed.map(([, name, version]) => [name!, version!]))
}
