import { expect } from 'chai'
import fc from 'fast-check'
import { Glob } from '../../src/core/glob.ts'

const matches = (pattern: string, text: string) =>
  new Glob(Buffer.from(pattern, 'latin1')).matches(Buffer.from(text, 'latin1'))

describe('glob', () => {
  const table: [pattern: string, yes: string[], no: string[]][] = [
    ['', [''], ['a']],
    ['abc', ['abc'], ['', 'ab', 'abcd', 'xabc', 'ABC']],
    ['*', ['', 'a', 'anything \n\0\xff'], []],
    ['**', ['a'], ['']], // the empty key is matched by "*" alone: a special case of SCAN and KEYS
    ['a*', ['a', 'ab', 'abc'], ['', 'ba']],
    ['*a', ['a', 'ba', 'aa', 'aba'], ['ab']],
    ['a**b', ['ab', 'axb'], ['a', 'abx']],
    ['*a*b*', ['ab', 'xaybz', 'aab'], ['ba', 'a', 'b']],
    ['a*b*c', ['abc', 'abbc', 'axbxcxc'], ['ac', 'abcb']],
    ['?', ['a', '\xff'], ['', 'ab']],
    ['a?c', ['abc', 'a?c'], ['ac', 'abbc']],
    ['*?', ['a', 'ab'], ['']],
    ['[abc]', ['a', 'b', 'c'], ['', 'd', 'ab']],
    ['[a-c]x', ['ax', 'bx', 'cx'], ['dx', '-x']],
    ['[c-a]', ['a', 'b', 'c'], ['d']],
    ['[^a]', ['b', '^'], ['', 'a']],
    ['[^a-c]', ['d'], ['b']],
    ['[!a]', ['!', 'a'], ['b']],
    ['[a^]', ['a', '^'], ['b']],
    [String.raw`[\]]`, [']'], ['\\', 'a']],
    [String.raw`[\-a]`, ['-', 'a'], ['b']],
    [String.raw`[a\-c]`, ['a', '-', 'c'], ['b']],
    ['[]', [], ['', 'a', ']']],
    ['[]a]', [], ['a', ']']],
    ['[^]', ['a'], ['']],
    ['[ab', ['a', 'b'], ['', 'c', '[ab']], // the missing bracket is forgiven
    ['[', [], ['', '[', 'a']],
    ['[^', ['a', '['], ['']],
    ['[a-]', [']', 'a', '_'], ['-', 'b']], // a range from a to ], and no bracket after it
    ['[a-', ['a', '-'], ['b']],
    [String.raw`[a\ `.trimEnd(), ['a', '\\'], ['b']],
    [String.raw`\*`, ['*'], ['a', '\\*']],
    [String.raw`\a`, ['a'], ['\\a']],
    [String.raw`\[a]`, ['[a]'], ['a']],
    ['\\', ['\\'], ['']],
    ['a\\', ['a\\'], ['a']],
    ['\xff*', ['\xff', '\xff\0'], ['\xfe']],
    ['[\x80-\xff]', ['\x80', '\xc3', '\xff'], ['a', '\x7f']],
    ['[a-\xff]', ['a', 'B', '\xff'], ['b']], // bytes are signed there: from -1 to 97
    ['a\0*', ['a\0', 'a\0b'], ['a']],
    ['user:[0-9]*:name', ['user:1:name', 'user:12:x:name'], ['user::name', 'user:a:name']],
  ]
  for (const [pattern, yes, no] of table) {
    it(`${JSON.stringify(pattern)} matches what Redis matches`, () => {
      for (const text of yes) expect(matches(pattern, text), JSON.stringify(text)).to.equal(true)
      for (const text of no) expect(matches(pattern, text), JSON.stringify(text)).to.equal(false)
    })
  }

  it('does not take exponential time on patterns made to', () => {
    const pattern = Buffer.from('*a'.repeat(500) + '*b')
    const text = Buffer.from('a'.repeat(20_000))
    const start = performance.now()
    expect(new Glob(pattern).matches(text)).to.equal(false)
    expect(performance.now() - start).to.be.below(2000)
  })

  it('agrees with a regular expression of the same meaning', () => {
    const part = fc.constantFrom('*', '?', 'a', 'b', '[ab]', '[^a]', '\\*')
    const meaning: Record<string, string> = {
      '*': '.*',
      '?': '.',
      '[ab]': '[ab]',
      '[^a]': '[^a]',
      '\\*': '\\*',
    }
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '*', '\n'), minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(fc.array(part, { maxLength: 10 }), text, (parts, key) => {
        const expression = new RegExp(`^${parts.map((p) => meaning[p] ?? p).join('')}$`, 's')
        expect(matches(parts.join(''), key)).to.equal(expression.test(key))
      }),
      { numRuns: 2000 },
    )
  })
})

describe('the cost of a glob', () => {
  const stepsOf = (pattern: string, text: string) => {
    const glob = new Glob(Buffer.from(pattern, 'latin1'))
    glob.matches(Buffer.from(text, 'latin1'))
    return glob.steps
  }

  it('a class costs one step for a byte, however long it is', () => {
    const text = 'a'.repeat(1000)
    expect(stepsOf(`*[${'B'.repeat(100_000)}]x`, text)).to.be.at.most(stepsOf('*[B]x', text))
  })

  it('is at most what the worst segment costs at every place of the text', () => {
    const text = 'a'.repeat(1024)
    for (const pattern of [
      `*${'a'.repeat(511)}b*`,
      '*a'.repeat(500) + 'b',
      `*${'?'.repeat(500)}b*`,
      `*${'[a]'.repeat(300)}b*`,
    ]) {
      expect(stepsOf(pattern, text), pattern.slice(0, 20)).to.be.below(512 * 1024)
    }
  })

  it('a node is only given what is light for every Redis', () => {
    const isLight = (pattern: string) => new Glob(Buffer.from(pattern)).isLight
    for (const light of [
      '',
      '*',
      'a',
      'user:*',
      'user:*:name',
      '*name',
      '*name*',
      'a**',
      '[ab]x*',
      '?'.repeat(99),
    ]) {
      expect(isLight(light), light).to.equal(true)
    }
    for (const heavy of [
      '*a*b',
      'a*b*c*',
      '*a*a*a*b',
      `*[${'B'.repeat(99)}]`,
      `*${'?'.repeat(17)}*`,
      `a*${'b'.repeat(17)}`,
    ]) {
      expect(isLight(heavy), heavy).to.equal(false)
    }
  })
})
