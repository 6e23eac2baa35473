import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import { SABOTAGES, type Change } from './sabotages.ts'

const root = new URL('../../', import.meta.url)

describe('planted bugs', () => {
  for (const { name, also, ...change } of SABOTAGES) {
    it(`${name} has one place in the code`, () => {
      for (const { file, find } of [change, ...(also ? [also] : [])] satisfies Change[]) {
        const places = readFileSync(new URL(file, root), 'utf8').split(find).length - 1
        expect(places, `${find} in ${file}`).to.equal(1)
      }
    })
  }
})
