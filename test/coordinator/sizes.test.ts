import { expect } from 'chai'
import { Sizes } from '../../src/coordinator/admission/sizes.ts'

const MB = 1_000_000
const large = Buffer.from('{user:7}large')
const small = Buffer.from('{user:7}small')

/** As a read does. */
function read(sizes: Sizes, key: Buffer, bytes: number): void {
  sizes.found(key, bytes, sizes.expected(key))
}

describe('estimated sizes', () => {
  it('of keys with the same hash tag are their own: small reads do not lower those of large ones', () => {
    const sizes = new Sizes(MB)
    sizes.learn(large, MB)
    for (let i = 0; i < 100; i++) read(sizes, small, 100)
    expect(sizes.expected(large)).to.be.least(MB)
  })

  it('differ by the bytes at both ends of a key, and by its length', () => {
    const keys = [
      'a:{t}',
      'b:{t}',
      '{t}:a',
      '{t}:b',
      '{t}:aa',
      `${'x'.repeat(40)}{t}`,
      `${'x'.repeat(41)}{t}`,
    ]
    const sizes = new Sizes(MB)
    keys.forEach((key, i) => sizes.learn(Buffer.from(key), 2 ** (20 + i)))
    expect(keys.map((key) => sizes.expected(Buffer.from(key)))).to.deep.equal(
      keys.map((_, i) => 2 ** (21 + i)),
    )
  })

  it('of small values are small beside large ones that are known', () => {
    const sizes = new Sizes(MB)
    sizes.learn(large, MB)
    sizes.learn(small, 100)
    for (let i = 0; i < 10; i++) for (const key of [large, small]) read(sizes, key, key === large ? MB : 100)
    expect(sizes.expected(small)).to.be.most(1024)
  })

  it('are never far below the largest unexpected reply of late, whatever is known of the key', () => {
    const sizes = new Sizes(MB)
    for (let i = 0; i < 10; i++) read(sizes, small, 100)
    expect(sizes.expected(small)).to.be.most(1024)
    read(sizes, large, MB) // somebody else has written it
    expect(sizes.expected(small)).to.be.least(MB / 64)
  })

  it('forget an unexpected large reply after thousands of small ones', () => {
    const sizes = new Sizes(MB)
    read(sizes, large, MB)
    for (let i = 0; i < 100_000; i++) read(sizes, small, 100)
    expect(sizes.expected(small)).to.be.most(1024)
    expect(sizes.expected(large)).to.be.least(MB)
  })

  it('of unknown keys are a part of the largest value allowed, however small others are', () => {
    const sizes = new Sizes(8 * MB)
    for (let i = 0; i < 1000; i++) read(sizes, Buffer.from(`small:${i}`), 100)
    expect(sizes.expected(Buffer.from('unknown'))).to.equal((8 * MB) / 64)
    expect(sizes.expected(Buffer.from('small:1'))).to.be.most(1024)
  })

  it('of a value that was too large to be read are the largest', () => {
    const sizes = new Sizes(MB)
    read(sizes, large, 100)
    sizes.tooLong(large)
    expect(sizes.expected(large)).to.be.least(512 * MB)
  })
})
