import { expect } from 'chai'
import fc from 'fast-check'
import { fingerprint, tokenOf, vnodeToken } from '../../src/core/token.ts'

const token = (text: string) => tokenOf(Buffer.from(text))

describe('tokens', () => {
  // Of the reference implementation, seed 0. A change of any of these moves all keys of every cluster.
  const vectors: [string, number][] = [
    ['', 0],
    ['hello', 0x248bfa47],
    ['hello, world', 0x149bbb7f],
    ['The quick brown fox jumps over the lazy dog', 0x2e4ff723],
  ]
  for (const [text, expected] of vectors) {
    it(`hashes "${text}" as Murmur3 x86 32 bit does everywhere`, () => {
      expect(token(text)).to.equal(expected)
    })
  }

  it('hashes bytes that are no text, as MurmurHash3_x86_32 does', () => {
    expect(tokenOf(Uint8Array.of(0xff, 0xff, 0xff, 0xff))).to.equal(0x76293b50)
    expect(tokenOf(Uint8Array.of(0x21, 0x43, 0x65, 0x87))).to.equal(0xf55b516b)
    expect(tokenOf(Uint8Array.of(0))).to.equal(0x514e28b7)
  })

  it('is a uint32 that depends on the bytes alone, not on the kind of array or its place in a buffer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(7), (bytes, offset) => {
        const buffer = Buffer.alloc(offset + bytes.length + 3, '}')
        buffer.set(bytes, offset)
        const found = tokenOf(bytes)
        expect(found).to.satisfy((n: number) => Number.isInteger(n) && n >= 0 && n <= 0xffffffff)
        expect(tokenOf(buffer.subarray(offset, offset + bytes.length))).to.equal(found)
      }),
    )
  })

  it('refuses a text, which would get the token of every other text of its length', () => {
    expect(() => tokenOf('user:1' as unknown as Uint8Array)).to.throw(TypeError, 'must be bytes')
    expect(() => tokenOf(undefined as unknown as Uint8Array)).to.throw(TypeError, 'must be bytes')
  })
})

describe('hash tags, as in Redis Cluster', () => {
  const tags: [key: string, hashed: string][] = [
    ['{user1000}.following', 'user1000'],
    ['{user1000}.followers', 'user1000'],
    ['before{tag}after', 'tag'],
    ['before{tag}', 'tag'],
    ['foo{}{bar}', 'foo{}{bar}'], // nothing between the first pair: the whole key
    ['foo{{bar}}zap', '{bar'],
    ['foo{bar}{zap}', 'bar'],
    ['{}', '{}'],
    ['{', '{'],
    ['}', '}'],
    ['no}t{closed', 'no}t{closed'],
    ['a}b{c}d', 'c'],
    ['{ }', ' '],
    ['{ü}x', 'ü'],
  ]
  for (const [key, hashed] of tags) {
    it(`of "${key}" is ${hashed === key ? 'none' : `"${hashed}"`}`, () => {
      // A vnode's label is hashed whole, and so tells what a key without a tag must be hashed to.
      expect(token(`${key}#1`)).to.equal(hashed === key ? vnodeToken(key, 1) : token(hashed))
    })
  }

  it('keeps keys with the same tag together, whatever stands around it', () => {
    const plain = fc.string({ unit: 'grapheme' }).filter((text) => !/[{}]/.test(text))
    fc.assert(
      fc.property(plain, plain, fc.string(), (tag, before, after) => {
        fc.pre(tag !== '')
        expect(token(`${before}{${tag}}${after}`)).to.equal(token(tag))
      }),
    )
  })
})

describe('vnode tokens', () => {
  it('are the token of nodeId#index', () => {
    expect(vnodeToken('redis-1', 42)).to.equal(token('redis-1#42'))
  })

  it('differ where labels without a separator would be the same text', () => {
    expect(vnodeToken('10.0.0.1:300', 11)).to.not.equal(vnodeToken('10.0.0.1:3001', 1))
  })

  it('take braces in a node id for what they are', () => {
    expect(vnodeToken('{rack}', 1)).to.not.equal(vnodeToken('{rack}', 2))
    expect(vnodeToken('{rack}a', 1)).to.not.equal(vnodeToken('{rack}b', 1))
  })
})

describe('fingerprints', () => {
  it('are Murmur3 x64 128 bit in hex', () => {
    expect(fingerprint('')).to.equal('00000000000000000000000000000000')
    expect(fingerprint('hello')).to.equal('cbd8a7b341bd9b025b1e906a48ae1d19')
    expect(fingerprint('I will not buy this record, it is scratched.')).to.equal(
      'c382657f9a06c49d4a71fdc6d9b0d48f',
    )
  })
})
