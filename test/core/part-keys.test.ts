import { expect } from 'chai'
import { Floors } from '../../src/core/floors.ts'
import { clientKey, isInternal, storedKey } from '../../src/core/keys.ts'
import { checkKey } from '../../src/core/key-names.ts'
import { isPartKey, isPartName, partKey, partNamed, rootOf } from '../../src/core/part-keys.ts'
import { tokenOf } from '../../src/core/token.ts'
import { version } from '../support/node-calls.ts'

const GENERATION = Buffer.from('0123456789abcdef', 'hex')
const ROOTS = ['cart', '{user:7}:cart', 'a:b{}c', '__rondo:db9998:x'].map((name) => Buffer.from(name))

describe('names of the parts of large collections', () => {
  for (const database of [0, 3]) {
    for (const client of ROOTS.slice(0, 3)) {
      const root = storedKey(database, client)
      const part = partKey(root, GENERATION, { id: 258, stamp: 2 ** 47 })
      it(`of ${root.toString()} tell what they are parts of, and have its place and its floor`, () => {
        expect(isPartKey(part) && isPartName(part.toString('latin1'))).to.equal(true)
        expect(partNamed(part)).to.deep.equal({ root, generation: GENERATION, id: 258, stamp: 2 ** 47 })
        expect(rootOf(part)).to.deep.equal(root)
        expect(tokenOf(part)).to.equal(tokenOf(root))
        const floors = new Floors([{ database: 3, version: version({ ms: 20 }) }])
        expect(floors.isBelow(part, version({ ms: 19 }))).to.equal(database === 3)
      })

      it(`of ${root.toString()} cannot be used by clients`, () => {
        expect(checkKey(part, 1024)).to.have.property('code', 'KEY_RESERVED')
        expect(clientKey(part)).to.have.property('database', 9998)
        expect(isInternal(part)).to.equal(false)
        expect(isPartKey(root)).to.equal(false)
      })
    }
  }

  it('are not made of what is too short, or has other digits', () => {
    const part = partKey(ROOTS[0]!, GENERATION, { id: 1, stamp: 1 })
    expect(partNamed(part.subarray(0, part.length - 4))).to.equal(null)
    const other = Buffer.from(part)
    other[20] = 0x67
    expect(partNamed(other)).to.equal(null)
    expect(partNamed(ROOTS[3]!)).to.equal(null)
  })
})
