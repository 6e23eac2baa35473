import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'

const read = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')

describe('CONTRIBUTING.md', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  const text = read('CONTRIBUTING.md')

  for (const script of Object.keys(scripts).filter((name) => !/^(pre|prepare)/.test(name))) {
    it(`tells of npm run ${script}`, () => {
      expect(text).to.match(new RegExp(`npm (run )?${script}\\b`))
    })
  }

  for (const [name, script] of Object.entries(scripts)) {
    // What comes before the last command (a build) takes no options.
    const command = script.split('&&').at(-1)!.trim()
    it(`npm run ${name} -- --help tells how it is used`, () => {
      const cwd = fileURLToPath(new URL('..', import.meta.url))
      const PATH = [join(cwd, 'node_modules/.bin'), process.env.PATH].join(delimiter)
      const told = execFileSync('sh', ['-c', `${command} --help`], {
        cwd,
        env: { ...process.env, PATH },
        encoding: 'utf8',
        timeout: 60_000,
      })
      expect(told).to.match(/usage:|tsc: The TypeScript Compiler|^npm run \w+/i)
    }).timeout(70_000)
  }
})

describe('the decisions', () => {
  it('are all in their index, in order', () => {
    const files = readdirSync(new URL('../docs/decisions/', import.meta.url))
      .filter((name) => /^\d{4}-/.test(name))
      .sort()
    const rows = [...read('docs/decisions/README.md').matchAll(/^\| \[(\d+)\]\(([^)]+)\)/gm)]
    expect(rows.map(([, , name]) => name)).to.deep.equal(files)
    for (const [, number, name] of rows) expect(Number(name!.slice(0, 4))).to.equal(Number(number))
  })
})

describe('a benchmark that is started by its file', () => {
  const cwd = fileURLToPath(new URL('..', import.meta.url))
  for (const name of ['idle-connections', 'large-values', 'grpc'])
    it(`${name} --help tells how it is used`, () => {
      const args = ['--import', 'tsx', `bench/${name}.ts`, '--help']
      const { stdout, stderr } = spawnSync(process.execPath, args, { cwd, encoding: 'utf8' })
      expect(stdout).to.match(/npx tsx bench\//)
      expect(stderr).to.equal('')
    }).timeout(30_000)
})
