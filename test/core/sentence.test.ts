import { expect } from 'chai'
import { inWords, sentenceOf } from '../../src/core/sentence.ts'

class Ours extends Error {
  override readonly name = 'Ours'
}

describe('an error as part of a sentence', () => {
  const cases: [unknown, string][] = [
    [new Error('the connection was lost'), 'the connection was lost'],
    [new Ours('it did not answer within 300 ms.'), 'it did not answer within 300 ms'],
    [
      new Error("NOPERM this user has no permissions to run the 'scan' command"),
      `the node answered "NOPERM this user has no permissions to run the 'scan' command"`,
    ],
    [new TypeError('x is not a function'), 'TypeError: x is not a function'],
    ['thrown as it is', 'thrown as it is'],
  ]
  for (const [error, sentence] of cases)
    it(sentence, () => {
      expect(sentenceOf(error)).to.equal(sentence)
    })

  it("quotes a node's own words only", () => {
    expect(inWords('-OOM command not allowed')).to.equal('the node answered "-OOM command not allowed"')
    expect(inWords('TLS is required')).to.equal('TLS is required')
    expect(inWords('the node answered GET with 5')).to.equal('the node answered GET with 5')
  })
})
