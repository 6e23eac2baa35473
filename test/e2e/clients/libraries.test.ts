/** Libraries of applications do the work of their users on Rondo: every job of libraries.ts, and docs/CLIENTS.md. */
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { RawResp } from '../../support/raw-resp.ts'
import { RondoUnderTest } from '../../support/rondo-under-test.ts'
import { run, startFourNodes, type FourNodes } from './four-nodes.ts'
import { commandOf, debianPackages, jobFiles, PASSWORD } from './job-runner.ts'
import { LIBRARIES, table, type Library } from './libraries.ts'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
const jobs = LIBRARIES.filter(({ shownBy }) => shownBy.startsWith('jobs/'))
const installed = await debianPackages()
const shortVersion = (version: string) => version.split(/[.+]/).slice(0, 2).join('.')

/** What of Debian 12 a library needs and is not there; its own package in another version is another library. */
function missing({ language, packages, version }: Library): string[] {
  if (language === 'JavaScript') return []
  const absent = packages.filter((name) => !installed.has(name))
  if (absent.length > 0) return absent
  const [own] = packages
  return shortVersion(installed.get(own!)!) === version ? [] : [`${own} ${version}`]
}

describe('libraries of applications', function () {
  this.timeout(60_000)
  // Most of a job is the start of its interpreter: while one runs, the next one runs on another cluster.
  const lanes: Lane[] = []
  const running = new Map<Library, Promise<Outputs>>()
  const started = (index: number) => {
    const library = jobs[index]
    if (!library || missing(library).length > 0 || running.has(library)) return
    running.set(library, lanes[index % 2]!.outputs(library))
  }

  before(async () => {
    lanes.push(...(await Promise.all([Lane.open(), Lane.open()])))
  })
  after(async () => {
    await Promise.allSettled(running.values())
    await Promise.all(lanes.map((lane) => lane.close()))
  })

  for (const [index, library] of jobs.entries()) {
    const title = `${library.name} ${library.version} (${library.language}): ${library.note}`
    const without = missing(library).join(', ')
    if (without) {
      it.skip(`${title} (skipped: without ${without} of Debian 12)`)
      continue
    }
    it(title, async () => {
      started(index)
      started(index + 1)
      const { output, withRefusal } = await running.get(library)!
      expect(output).to.equal(expected(library))
      if (library.mixesReplicaSets) expect(withRefusal).to.include('CROSSSLOT')
    })
  }

  it('one library of each language does the same while a node is down', async () => {
    await Promise.allSettled(running.values())
    await lanes[0]!.loseNode()
    const present = jobs.filter((library) => missing(library).length === 0)
    const first = new Map(present.toReversed().map((library) => [library.language, library]))
    for (const library of first.values()) {
      const { output } = await lanes[0]!.outputs(library)
      expect(output, library.name).to.equal(expected(library))
    }
  })
})

function expected({ lacks }: Library): string {
  return [...lacks.map(([what, command]) => `lacks ${what}: ${command}`), 'ok', ''].join('\n')
}

interface Outputs {
  readonly output: string
  /** That with RESP_CROSS_SET_MULTI=refuse, for libraries that mix replica sets. */
  readonly withRefusal: string
}

/** Where one job runs at a time. */
class Lane {
  private constructor(
    private readonly folder: string,
    private readonly nodes: FourNodes,
    private readonly strict: RondoUnderTest,
  ) {}

  static async open(): Promise<Lane> {
    const folder = await mkdtemp(join(tmpdir(), 'rondo-clients-'))
    const nodes = await startFourNodes({ DATA_TOKEN: PASSWORD })
    const env = { DATA_TOKEN: PASSWORD, RESP_CROSS_SET_MULTI: 'refuse' }
    return new Lane(folder, nodes, await RondoUnderTest.start(nodes.rondo.servers, env))
  }

  async loseNode(): Promise<void> {
    await this.nodes.rondo.servers[0]!.kill()
  }

  async close(): Promise<void> {
    await this.strict.stop()
    await this.nodes.stop()
    await rm(this.folder, { recursive: true })
  }

  /** Rejects never: a job that does not start is a failed one. */
  async outputs(library: Library): Promise<Outputs> {
    try {
      const command = await commandOf(library, this.folder)
      const output = await this.output(command, this.nodes.port)
      const withRefusal = library.mixesReplicaSets ? await this.output(command, this.strict.respPort) : ''
      return { output, withRefusal }
    } catch (error) {
      return { output: String(error), withRefusal: '' }
    }
  }

  private async output([program, ...args]: readonly string[], port: number): Promise<string> {
    const client = await RawResp.open(this.nodes.port)
    expect(await client.ask('AUTH', PASSWORD)).to.equal('+OK\r\n')
    expect(await client.ask('FLUSHALL')).to.equal('+OK\r\n')
    client.close()
    const { code, stdout, stderr } = await run(program!, [...args, String(port), PASSWORD])
    return `${stderr}${stdout}${code === 0 ? '' : `exit code ${code}`}`
  }
}

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

  it('has the versions of package.json', () => {
    const { dependencies, devDependencies } = JSON.parse(read('../../../package.json')) as Record<
      'dependencies' | 'devDependencies',
      Record<string, string>
    >
    for (const { name, language, packages, version } of LIBRARIES) {
      if (language !== 'JavaScript') continue
      const exact = { ...dependencies, ...devDependencies }[packages[0]!]
      expect(shortVersion(exact!.replace(/^npm:.*@/, '')), name).to.equal(version)
    }
  })

  it('has libraries that .ci/run installs', () => {
    const listed = read('../../../.ci/debian-packages').trim().split('\n')
    for (const { language, packages } of LIBRARIES) {
      if (language !== 'JavaScript') expect(listed).to.include.members([...packages])
    }
  })
})
