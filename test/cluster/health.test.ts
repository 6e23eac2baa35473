import { expect } from 'chai'
import fc from 'fast-check'
import { Health } from '../../src/cluster/health.ts'

/** g = good, b = bad, r = refused connection. */
function after(marks: string): Health {
  const health = new Health()
  for (const mark of marks) {
    if (mark === 'g') health.onSuccess()
    else health.onFailure(mark === 'r')
  }
  return health
}

describe('the health of a node', () => {
  const table: [string, string, string][] = [
    ['', 'suspect', 'nothing is known before the first probe'],
    ['g', 'up', 'one good answer suffices at the start'],
    ['gb', 'suspect', 'one failure is no death'],
    ['gbb', 'suspect', ''],
    ['gbbb', 'down', 'three in a row are'],
    ['gbbgbb', 'suspect', 'in a row: a good one in between begins anew'],
    ['gr', 'down', 'where nobody listens there is nothing to wait for'],
    ['bbb', 'down', 'a node may be absent at the start'],
    ['r', 'down', ''],
    ['grg', 'down', 'one good answer does not bring it back'],
    ['grgg', 'up', 'two do'],
    ['grgbgg', 'up', 'in a row'],
    ['grgbg', 'down', ''],
    ['gbg', 'up', 'what was only suspect is back at once'],
  ]
  for (const [marks, state, why] of table) {
    it(`is ${state} after "${marks}"${why && `: ${why}`}`, () => {
      expect(after(marks).state).to.equal(state)
    })
  }

  it('goes from down to up by two good answers in a row and by nothing else', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('g', 'b', 'r'), { maxLength: 30 }), (marks) => {
        const health = new Health()
        let goodInARow = 0
        for (const mark of marks) {
          const before = health.state
          goodInARow = mark === 'g' ? goodInARow + 1 : 0
          if (mark === 'g') health.onSuccess()
          else health.onFailure(mark === 'r')
          if (before === 'down' && health.state !== 'down') expect(goodInARow).to.be.at.least(2)
          if (mark !== 'g') expect(health.state).not.to.equal('up')
          if (mark === 'r') expect(health.state).to.equal('down')
          if (goodInARow >= 2) expect(health.state).to.equal('up')
        }
      }),
    )
  })

  const delays = (health: Health, n: number, intervalMs = 3000) =>
    Array.from({ length: n }, () => health.nextProbeMs(intervalMs))

  it('is looked at every ping interval while up, otherwise after 100 ms, doubling to a second', () => {
    expect(delays(after('g'), 3)).to.deep.equal([3000, 3000, 3000])
    expect(delays(after('gr'), 6)).to.deep.equal([100, 200, 400, 800, 1000, 1000])
    expect(delays(after('r'), 500).at(-1)).to.equal(1000)
  })

  it('is never looked at less often than every ping interval', () => {
    expect(delays(after('r'), 5, 250)).to.deep.equal([100, 200, 250, 250, 250])
  })

  it('is looked at again soon after the first good answer, so that coming back takes one long wait at most', () => {
    const health = after('gr')
    delays(health, 10)
    health.onSuccess()
    expect(health.state).to.equal('down')
    expect(health.nextProbeMs(1000)).to.equal(100)
  })

  it('starts from 100 ms again the next time', () => {
    const health = after('gr')
    delays(health, 10)
    health.onSuccess()
    health.onSuccess()
    health.onFailure(false)
    expect(delays(health, 2)).to.deep.equal([100, 200])
  })
})
