import { expect } from 'chai'
import fc from 'fast-check'
import { decodeBase64 } from '../../../src/servers/http/base64.ts'
import { parseLongJson } from '../../../src/servers/http/json-parser.ts'
import { objectAround } from '../../../src/servers/http/json-text.ts'
import { Work } from '../../../src/servers/http/turns.ts'

const ANY = { depth: 1000, entries: 1_000_000 }
const MiB = 1024 * 1024
const PIECE = 64 * 1024

/** What it costs: bytes looked at, and the turns of the event loop that were given away. */
class Counted extends Work {
  bytes = 0
  turns = 0
  most = 0
  override spend(bytes: number): Promise<void> | undefined {
    this.bytes += bytes
    this.most = Math.max(this.most, bytes)
    const turn = super.spend(bytes)
    if (turn) this.turns++
    return turn
  }
}

const refusal = (body: string | Buffer, shape = ANY, work = new Work()) =>
  parseLongJson(Buffer.from(body), shape, work).then(
    () => 'taken',
    (error: Error) => error.message,
  )

describe('JSON in turns', function () {
  this.timeout(60_000)

  it('reads what JSON.parse reads, as it does', async () => {
    await fc.assert(
      fc.asyncProperty(fc.json({ maxDepth: 6, stringUnit: 'binary' }), fc.nat(3), async (text, indent) => {
        const value = JSON.parse(text) as unknown
        fc.pre(!hasManyMembers(value))
        const spaced = JSON.stringify(value, null, indent)
        expect(await parseLongJson(Buffer.from(spaced), ANY)).to.deep.equal(JSON.parse(spaced))
      }),
      { numRuns: 300 },
    )
  })

  it('refuses what JSON.parse refuses, and takes nothing else', async () => {
    const letters = fc.constantFrom(...'{}[]:,"\\u00dDaf8-+.eE1 \n\ttruefalsn\x01é')
    await fc.assert(
      fc.asyncProperty(fc.array(letters, { maxLength: 12 }), async (some) => {
        const text = some.join('')
        let should = 'taken'
        try {
          JSON.parse(text)
        } catch {
          should = 'refused'
        }
        expect((await refusal(text)) === 'taken' ? 'taken' : 'refused', JSON.stringify(text)).to.equal(should)
      }),
      { numRuns: 1500 },
    )
  })

  it('never tears a character, an escape or a pair of surrogates apart, wherever a piece ends', async () => {
    for (const unit of [
      'é',
      '€',
      '😀',
      '\\n',
      '\\"',
      '\\\\',
      '\\u00e9',
      '\\ud83d\\ude00',
      '\\\\u',
      '\\ud800',
      'a\\\\\\"',
    ]) {
      for (let shift = 0; shift < 13; shift++) {
        const text = `"${'x'.repeat(PIECE - 20 + shift)}${unit.repeat(10)}${'y'.repeat(PIECE - 40)}${unit.repeat(10)}"`
        expect(await parseLongJson(Buffer.from(text), ANY), `${unit} ${shift}`).to.equal(JSON.parse(text))
      }
    }
  })

  it('keeps __proto__ an own member, and takes the last of two members of a name', async () => {
    const parsed = await parseLongJson(Buffer.from('{"__proto__":{"a":1},"b":1,"b":2}'), ANY)
    expect(Object.keys(parsed as object)).to.deep.equal(['__proto__', 'b'])
    expect(parsed).to.have.property('b', 2)
    expect(({} as Record<string, unknown>).a).to.equal(undefined)
  })

  it('stops at the first bracket, entry or member too many, whatever follows', async () => {
    const shape = { depth: 2, entries: 1000 }
    for (const [body, why] of [
      ['{"keys":[[],[],' + '[],'.repeat(MiB), /nests more than 2/],
      ['[' + '['.repeat(4 * MiB), /nests more than 2/],
      ['{"keys":[' + '"",'.repeat(MiB), /more than 1000 entries/],
      ['{' + Array.from({ length: 500_000 }, (_, i) => `"${i}":0`).join(','), /more than 16 members/],
    ] as const) {
      const work = new Counted()
      expect(await refusal(body, shape, work)).to.match(why)
      expect(work.bytes).to.be.below(200_000)
    }
  })

  it('gives its turn away in the middle of long strings, white space and lists, and costs what it is long', async () => {
    for (const body of [
      `"${'x'.repeat(4 * MiB)}"`,
      `"${'\\u0001'.repeat(MiB)}"`,
      `"${'\\"'.repeat(2 * MiB)}"`,
      `"${'\\\\'.repeat(2 * MiB)}"`,
      `${' '.repeat(4 * MiB)}1`,
      `[${'1,'.repeat(100_000)}1]`,
    ]) {
      const work = new Counted()
      await parseLongJson(Buffer.from(body), ANY, work)
      expect(work.turns).to.be.above(20)
      expect(work.most).to.be.below(2 * PIECE)
      expect(work.bytes).to.be.below(body.length * 70)
    }
  })

  it('refuses strings that are not UTF-8 or do not end', async () => {
    expect(await refusal(Buffer.from('"\xff"', 'latin1'))).to.match(/UTF-8/)
    expect(await refusal(Buffer.concat([Buffer.from('"'), Buffer.alloc(3 * PIECE, 0x80)]))).to.match(/UTF-8/)
    for (const end of ['', 'x', '\\', '\\u', '\\u00', '\\u00e9', '\\"', 'é']) {
      for (const front of ['', 'x'.repeat(PIECE - 6), 'x'.repeat(PIECE - 1), 'x'.repeat(2 * PIECE)]) {
        for (const text of [`"${front}${end}`, `{"${front}${end}`]) {
          expect(await refusal(text), end).to.match(/ends within a string/)
        }
      }
    }
    expect(await refusal(Buffer.from('"\xc3', 'latin1'))).to.match(/ends within a string/)
  })
})

describe('long values in JSON answers', () => {
  it('come out as JSON.stringify has them, in turns', async () => {
    for (const text of ['\x01', 'é', '😀', 'a"\\\n', 'ab€']) {
      const value = Buffer.from(text.repeat(MiB / 4))
      const work = new Counted()
      const answer = Buffer.concat(await objectAround('"k":1,', value, ',"t":2', work)).toString()
      expect(answer).to.equal(JSON.stringify({ k: 1, value: value.toString(), t: 2 }))
      expect(work.turns).to.be.at.least(1)
    }
    for (const length of [MiB, MiB + 1, MiB + 2]) {
      const value = Buffer.alloc(length, 0xff)
      const answer = Buffer.concat(await objectAround('', value, '', new Work())).toString()
      expect(answer).to.equal(JSON.stringify({ value: value.toString('base64'), encoding: 'base64' }))
    }
  })
})

describe('base64', () => {
  it('is taken with and without its padding, and not when it is none', () => {
    for (const text of ['', 'YQ==', 'YQ', 'YWI=', 'YWI', 'YWJj']) {
      expect(decodeBase64(text, 'base64')?.toString()).to.equal(
        'abc'.slice(0, Math.floor((text.replaceAll('=', '').length * 3) / 4)),
      )
    }
    for (const text of [
      '=',
      'YQ===',
      'Y',
      'Y=Q=',
      'YQ==a',
      'YQ ',
      'YR==',
      'Y-_=',
      `${'='.repeat(MiB)}a`,
      'a'.repeat(5) + '='.repeat(MiB),
    ]) {
      expect(decodeBase64(text, 'base64'), text.slice(0, 9)).to.equal(null)
    }
  })
})

function hasManyMembers(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const inner = Object.values(value)
  return (!Array.isArray(value) && inner.length > 16) || inner.some(hasManyMembers)
}
