/** How the jobs of each language are built and started. */
import { readdirSync } from 'node:fs'
import { basename, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from './four-nodes.ts'
import type { Language, Library } from './libraries.ts'

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
} as const

/** Every file of jobs/ but those that jobs share, as `Library.shownBy` names them. */
export function jobFiles(): string[] {
  const shared = /\/(job\.\w+|Job\.pm|web\.py|main\.go)$/
  return readdirSync(JOBS, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join('jobs', basename(entry.parentPath), entry.name))
    .filter((path) => !shared.test(path))
}

/** Builds into the folder what does not run from its source; Go's jobs are one program. */
export async function build(language: Language, jobs: readonly Library[], folder: string): Promise<void> {
  if (language === 'Go') {
    const settings = ['GO111MODULE=off', 'GOFLAGS=', 'GOPATH=/usr/share/gocode', `GOCACHE=${folder}/go-cache`]
    const files = readdirSync(join(JOBS, 'go')).map((name) => join(JOBS, 'go', name))
    await built('/usr/bin/env', [
      ...settings,
      '/usr/bin/go',
      'build',
      '-o',
      join(folder, 'go-jobs'),
      ...files,
    ])
  }
  if (language === 'C') {
    for (const { shownBy } of jobs) {
      const program = join(folder, nameOf(shownBy))
      await built('/usr/bin/gcc', ['-Wall', '-Wextra', '-o', program, join(JOBS, '..', shownBy), '-lhiredis'])
    }
  }
}

async function built(compiler: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await run(compiler, args)
  if (code !== 0) throw new Error(`${compiler} ${args.join(' ')}:\n${stderr}`)
}

/** The command line that runs a job, without its arguments: the port, and the password. */
export function commandOf({ language, shownBy }: Library, folder: string): readonly string[] {
  if (language === 'Go') return [join(folder, 'go-jobs'), nameOf(shownBy)]
  if (language === 'C') return [join(folder, nameOf(shownBy))]
  return [...INTERPRETERS[language], join(JOBS, '..', shownBy)]
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
