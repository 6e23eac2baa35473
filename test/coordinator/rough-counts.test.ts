/** Many keys are not counted for each DBSIZE: what is told between two counts follows what the nodes hold. */
import { expect } from 'chai'
import { estimated, flushed, givenBack, type Counted } from '../../src/coordinator/listing/rough-counts.ts'

describe('the number of keys between two counts', () => {
  const counted = (counts: [number, number][], stored: number): Counted => {
    return { counts: new Map(counts), stored, isFlushed: false }
  }
  const told = (since: Counted, stored: number) => [...estimated(since, stored)]

  it('grows with what the nodes hold, also from none', () => {
    expect(told(counted([], 0), 1_000_000)).to.deep.equal([[0, 1_000_000]])
    expect(told(counted([[0, 900]], 1000), 1_000_100)).to.deep.equal([[0, 1_000_000]])
  })

  it('shrinks with it, and never below none', () => {
    expect(told(counted([[0, 900]], 1000), 600)).to.deep.equal([[0, 500]])
    expect(told(counted([[0, 900]], 1000), 0)).to.deep.equal([[0, 0]])
    expect(told(counted([], 10), 0)).to.deep.equal([])
  })

  it('is spread over the databases as it was', () => {
    const since = counted([[0, 300], [3, 100]], 400) // prettier-ignore
    expect(told(since, 800)).to.deep.equal([[0, 600], [3, 200]]) // prettier-ignore
  })

  it('is none after a flush, while memory is given back, and grows from there', () => {
    let since = flushed(counted([[0, 900], [3, 100]], 1000), null) // prettier-ignore
    for (const stored of [1000, 700, 50]) {
      since = givenBack(since, stored)
      expect(told(since, stored), `${stored} are still held`).to.deep.equal([])
    }
    expect(told(since, 20_050)).to.deep.equal([[0, 20_000]])
  })

  it('keeps the other databases when one is flushed', () => {
    let since = flushed(counted([[0, 900], [3, 100]], 1000), 0) // prettier-ignore
    since = givenBack(since, 100)
    expect(told(since, 100)).to.deep.equal([[3, 100]])
  })
})
