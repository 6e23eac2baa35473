/** Libraries of applications do the work of their users on Rondo: every job of libraries.ts, and docs/CLIENTS.md. */
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { RawResp } from '../../support/raw-resp.ts'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'
import { run, startFourNodes, type FourNodes } from './four-nodes.ts'
import { build, commandOf, debianPackages, jobFiles, PASSWORD } from './job-runner.ts'
import { LIBRARIES, table, type Library } from './libraries.ts'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
const jobs = LIBRARIES.filter(({ shownBy }) => shownBy.startsWith('jobs/'))
const installed = await debianPackages()
const missing = ({ language, packages }: Library) =>
  language === 'JavaScript' ? [] : packages.filter((name) => !installed.has(name))

describe('libraries of applications', function () {
  this.timeout(60_000)
  let nodes: FourNodes
  let strict: RondoUnderTest
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rondo-clients-'))
    nodes = await startFourNodes({ DATA_TOKEN: PASSWORD })
    const env = { DATA_TOKEN: PASSWORD, RESP_CROSS_SET_MULTI: 'refuse' }
    strict = await RondoUnderTest.start(nodes.rondo.servers, env)
  })
  after(async () => {
    await strict.stop()
    await nodes.stop()
    await rm(folder, { recursive: true })
  })

  const output = async (library: Library, port: number) => {
    const client = await RawResp.open(nodes.port)
    expect(await client.ask('AUTH', PASSWORD)).to.equal('+OK\r\n')
    expect(await client.ask('FLUSHALL')).to.equal('+OK\r\n')
    client.close()
    const [program, ...args] = commandOf(library, folder)
    const { code, stdout, stderr } = await run(program!, [...args, String(port), PASSWORD])
    return `${stderr}${stdout}${code === 0 ? '' : `exit code ${code}`}`
  }

  for (const language of new Set(jobs.map((job) => job.language))) {
    describe(language, () => {
      const libraries = jobs.filter((job) => job.language === language)
      before(async () => {
        if (libraries.every((library) => missing(library).length === 0))
          await build(language, libraries, folder)
      })

      for (const library of libraries) {
        const without = missing(library).join(', ')
        const title = `${library.name} ${library.version}: ${library.note}`
        if (without) {
          it.skip(`${title} (skipped: ${without} of Debian 12 is not installed)`)
          continue
        }
        it(title, async () => {
          const lacks = library.lacks.map(([what, needs]) => `lacks ${what}: ${needs}\n`)
          expect(await output(library, nodes.port)).to.equal(`${lacks.join('')}ok\n`)
          if (library.mixesReplicaSets) {
            expect(await output(library, strict.respPort)).to.include('CROSSSLOT')
          }
        })
      }
    })
  }
})

describe('docs/CLIENTS.md', () => {
  it('has the table of libraries.ts', () => {
    expect(read('../../../docs/CLIENTS.md')).to.include(`\n${table()}\n`)
  })

  it('has a row for each job, and a job or test for each row', () => {
    expect(jobs.map(({ shownBy }) => shownBy).sort()).to.deep.equal(jobFiles().sort())
    for (const { shownBy, packages } of LIBRARIES.filter((library) => !jobs.includes(library))) {
      for (const name of packages) expect(read(shownBy)).to.include(` from '${name}'`)
    }
  })

  it('has the versions that are tested', () => {
    const { dependencies, devDependencies } = JSON.parse(read('../../../package.json')) as Record<
      'dependencies' | 'devDependencies',
      Record<string, string>
    >
    for (const { name, language, packages, version } of LIBRARIES) {
      const [first] = packages
      const tested =
        language === 'JavaScript' ? { ...dependencies, ...devDependencies }[first!] : installed.get(first!)
      // A Debian other than 12 has others, and is not what the table tells of.
      if (tested === undefined || (language !== 'JavaScript' && !isDebian12())) continue
      const [major, minor] = tested.replace(/^npm:.*@/, '').split(/[.+]/)
      expect(`${major}.${minor}`, name).to.equal(version)
    }
  })

  it('has libraries that .ci/run installs', () => {
    const listed = read('../../../.ci/debian-packages').trim().split('\n')
    for (const { language, packages } of LIBRARIES) {
      if (language !== 'JavaScript') expect(listed).to.include.members([...packages])
    }
  })
})

function isDebian12(): boolean {
  try {
    return /^VERSION_CODENAME=bookworm$/m.test(readFileSync('/etc/os-release', 'utf8'))
  } catch {
    return false
  }
}
