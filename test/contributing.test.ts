import { readFileSync } from 'node:fs'
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
})
