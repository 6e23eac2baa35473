// The package as another program installs it, and what README.md says of it.
import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { freePort } from '../scripts/redis-server.ts'
import { COMMANDS } from '../src/servers/resp/table.ts'
import { ROUTES } from '../src/servers/http/routes.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const operating = readFileSync(join(root, 'docs/OPERATING.md'), 'utf8')
const embedding = readFileSync(join(root, 'docs/EMBEDDING.md'), 'utf8')
const dialects = readFileSync(join(root, 'docs/DIALECTS.md'), 'utf8')
const invalidation = readFileSync(join(root, 'docs/INVALIDATION.md'), 'utf8')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  description: string
  version: string
  dependencies: Record<string, string>
}
const tsx = pathToFileURL(join(root, 'node_modules/tsx/dist/loader.mjs')).href
const TSCONFIG = {
  compilerOptions: {
    target: 'es2023',
    module: 'nodenext',
    strict: true,
    skipLibCheck: false,
    noEmit: true,
    types: ['node'],
  },
}

describe('the package', function () {
  this.timeout(60_000)
  let dir: string
  let packedBytes: number

  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'rondo-package-'))
    const packed = run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', dir], root)
    const [{ filename, size }] = JSON.parse(packed) as [{ filename: string; size: number }]
    packedBytes = size
    const modules = join(dir, 'node_modules')
    for (const scope of ['@types', '@grpc']) mkdirSync(join(modules, scope), { recursive: true })
    run('tar', ['-xzf', join(dir, filename), '-C', modules], dir)
    run('mv', ['package', 'rondo'], modules)
    // What npm would install with it, and types of Node.js and Keyv, which its user has.
    for (const name of [...Object.keys(manifest.dependencies), '@types/node', 'keyv'])
      symlinkSync(join(root, 'node_modules', name), join(modules, name))
    writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
    writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify(TSCONFIG))
  })
  after(() => rmSync(dir, { recursive: true }))

  const examplesIn = (page: string) => [...page.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, text]) => text!)

  it('has types that compile under strict, in each example of README.md and EMBEDDING.md, without packages that it does not bring', () => {
    const blocks = [readme, embedding].flatMap(examplesIn)
    expect(blocks.length).to.be.at.least(6)
    for (const [i, text] of blocks.entries()) writeFileSync(join(dir, `example-${i}.ts`), text)
    run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.'], dir)
  })

  it('answers as README.md says', () => {
    const [, text] = /^```ts\n(import \{ Ring \}[^]*?)^```$/m.exec(readme)!
    const shown = [...text!.matchAll(/^(ring\..*) \/\/ ('.*'|\[.*\])$/gm)]
    expect(shown).to.have.length(2)
    const lines = text!.replaceAll(/^(ring\..*) \/\/ ('.*'|\[.*\])$/gm, 'console.log($1)')
    writeFileSync(join(dir, 'answers.js'), lines)
    const said = run(process.execPath, ['answers.js'], dir).trim().split('\n')
    expect(said).to.deep.equal(shown.map(([, , answer]) => answer!.replaceAll(/^'|'$/g, '')))
  })

  it('does what docs/EMBEDDING.md says, example by example', async () => {
    const port = String(await freePort())
    const examples = examplesIn(embedding)
    for (const [i, text] of examples.entries()) {
      writeFileSync(join(dir, `run-${i}.ts`), text.replaceAll('8080', port))
    }
    const imports = examples.map((_, i) => `await import('./run-${i}.ts')`)
    writeFileSync(join(dir, 'run.ts'), `${imports.join('\nconsole.log("---")\n')}\nexport {}\n`)
    const said = examples.map((text) =>
      [...text.matchAll(/^console\.log\(.*\) \/\/ (.*)$/gm)].map(([, answer]) => answer!),
    )
    for (const lines of said) expect(lines.length).to.be.at.least(1)
    const printed = run(process.execPath, ['--import', tsx, 'run.ts'], dir)
    expect(printed.split('---\n').map((part) => part.trim().split('\n'))).to.deep.equal(said)
  })

  it('runs the contract of a node under node:test', () => {
    const [factory] = examplesIn(embedding).at(-1)!.split('const results')
    const runner = "import { afterEach, beforeEach, describe, it } from 'node:test'\n"
    const call = 'describeNodeContract("mine", factory, { describe, it, beforeEach, afterEach })\n'
    writeFileSync(
      join(dir, 'contract.test.ts'),
      runner + factory!.replace('runNodeContract', 'describeNodeContract') + call,
    )
    const printed = run(process.execPath, ['--import', tsx, '--test', 'contract.test.ts'], dir)
    expect(printed)
      .to.match(/^# pass 1\d\d$/m)
      .and.match(/^# fail 0$/m)
  })

  it('can be required from CommonJS', () => {
    writeFileSync(
      join(dir, 'common.cjs'),
      "const { Ring, Coordinator, createApp } = require('rondo')\n" +
        "const { KeyvRondo } = require('rondo/keyv')\n" +
        "const { runNodeContract } = require('rondo/node-contract')\n" +
        "console.log(Ring.of([{ id: 'a' }]).owner(Buffer.from('k')).id, typeof Coordinator, typeof createApp)\n" +
        'console.log(typeof KeyvRondo, typeof runNodeContract)',
    )
    expect(run(process.execPath, ['common.cjs'], dir)).to.equal('a function function\nfunction function\n')
  })

  it('has no leftovers of the compiler', () => {
    expect(readdirSync(join(dir, 'node_modules/rondo/dist')))
      .to.include('main.js')
      .and.not.include('.tsbuildinfo')
  })

  it('has all that its pages link to, and stays small', () => {
    const installed = join(dir, 'node_modules/rondo')
    const pages = readdirSync(installed, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.md'))
      .map((file) => ({ file, text: readFileSync(join(installed, file), 'utf8') }))
    const anchors = new Map(pages.map(({ file, text }) => [file, anchorsIn(text)]))
    const broken: string[] = []
    for (const { file, text } of pages) {
      for (const [, link] of withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(link!)) continue
        const [path, anchor] = link!.split('#') as [string, string?]
        const target = path === '' ? file : normalize(join(dirname(file), path))
        const isThere = existsSync(join(installed, target))
        if (!isThere || (anchor !== undefined && !anchors.get(target)?.has(anchor)))
          broken.push(`${file}: ${link}`)
      }
    }
    expect(broken).to.deep.equal([])
    expect(pages.map(({ file }) => file)).to.include.members(['README.md', 'docs/LOADING.md', 'SECURITY.md'])
    expect(packedBytes).to.be.lessThan(2_500_000)
  })

  it('says in its description that it speaks the Redis protocol', () => {
    expect(manifest.description).to.match(/Redis protocol/)
  })
})

describe('the arguments of the program', function () {
  this.timeout(20_000)
  const main = join(root, 'dist/main.js')
  const start = (...args: string[]) => {
    // A port that nobody may listen on: it would not start.
    const env = { PATH: process.env.PATH, PORT: 'none' }
    return spawnSync(process.execPath, [main, ...args], { cwd: tmpdir(), env, encoding: 'utf8' })
  }

  it('--help prints how it is started, and where its settings are', () => {
    for (const name of ['--help', '-h']) {
      const { status, stdout, stderr } = start(name)
      expect([status, stderr]).to.deep.equal([0, ''])
      expect(stdout)
        .to.match(/^Usage: /)
        .and.include('.env.local.example')
        .and.include('REDIS_URLS=')
    }
  })

  it('--version prints the version of the package', () => {
    expect(start('--version')).to.include({ status: 0, stdout: `${manifest.version}\n`, stderr: '' })
  })

  it('anything else is an error that says what to do', () => {
    for (const args of [['--port', '80'], ['--helpp'], ['-x'], ['start'], ['--help=yes'], ['--', 'x']]) {
      const { status, stdout, stderr } = start(...args)
      expect([status, stdout], args.join(' ')).to.deep.equal([2, ''])
      expect(stderr).to.match(
        /^[^\n]+\. Settings are environment variables, for example PORT=8081; see --help\.\n$/,
      )
    }
  })
})

describe('README.md', () => {
  /** Method and path of each curl line, without the query. */
  const pages = [readme, operating, dialects, invalidation].join('\n')
  const curls = [...pages.matchAll(/(?:^|\$ |`)curl (.*)$/gm)].map(([, rest]) => {
    const path = /(?:localhost(?::\d+)?)(\/[^\s'?`]*)/.exec(rest!)?.[1] ?? ''
    const given = /-X (\w+)/.exec(rest!)?.[1]
    const method = given ?? (/(^| )-I( |$)/.test(rest!) ? 'HEAD' : / -d |--data/.test(rest!) ? 'POST' : 'GET')
    return `${method} ${path}`
  })

  for (const { path, calls } of ROUTES) {
    for (const method of Object.keys(calls)) {
      it(`has a curl line for ${method} ${path}`, () => {
        const pattern = new RegExp(
          `^${method} ${path.replace(/:key|:id|:name|:tag/, '[^/]+').replace('*', '.+')}$`,
        )
        expect(
          curls.some((line) => pattern.test(line)),
          curls.join('\n'),
        ).to.equal(true)
      })
    }
  }

  it('has every command of the Redis protocol in its table, and no other', () => {
    const table = readme.slice(
      readme.indexOf('| | commands |'),
      readme.indexOf('Differences from a single Redis:'),
    )
    // Without options in parentheses; the first words of what is in several parts.
    const named = [...table.replaceAll(/\([^)]*\)/g, '').matchAll(/(?<!\\)[|,`] *`?([A-Z_]{3,})\b/g)].map(
      ([, name]) => name!,
    )
    const names = COMMANDS.slice(1).map(({ name }) => name.toUpperCase())
    expect([...new Set(named)].sort()).to.deep.equal(names.sort())
  })

  it('says how the package is installed', () => {
    expect(readme).to.include('npm pack').and.include('npm install git+')
  })
})

/** Links in code are none. */
function withoutCode(text: string): string {
  return text.replaceAll(/^```[^]*?^```$/gm, '').replaceAll(/`[^`\n]*`/g, '')
}

/** What `#…` may follow the name of the page, as GitHub and npm make it of the headings. */
function anchorsIn(text: string): ReadonlySet<string> {
  const headings = [...text.replaceAll(/^```[^]*?^```$/gm, '').matchAll(/^#+ (.*)$/gm)]
  const plain = headings.map(([, heading]) => heading!.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, ''))
  return new Set(plain.map((heading) => heading.replaceAll(/\s/g, '-')))
}

function run(command: string, args: readonly string[], cwd: string): string {
  const ended = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (ended.status !== 0) throw new Error(`${command} ${args.join(' ')}:\n${ended.stdout}${ended.stderr}`)
  return ended.stdout
}
