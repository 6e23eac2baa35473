import { expect } from 'chai'
import { LoaderUnderTest, OriginUnderTest, type Policy } from '../support/loaders.ts'
import type { VirtualTime } from '../support/virtual-time.ts'

describe('loading what is not there', () => {
  let origin: OriginUnderTest
  let time: VirtualTime

  async function started(count: number, policy: Policy = {}): Promise<LoaderUnderTest[]> {
    origin = new OriginUnderTest()
    const all = await LoaderUnderTest.over(origin, count, policy)
    time = all[0]!.under.time
    return all
  }

  /** Lets time pass until the origin has been called so often. */
  async function called(count: number): Promise<void> {
    for (let i = 0; i < 1000 && origin.calls.length < count; i++) await time.advance(10)
    expect(origin.calls.length).to.equal(count)
  }

  it('calls the origin once for all who ask three coordinators for one cold key', async () => {
    const all = await started(3)
    const answers = all.flatMap((one) => Array.from({ length: 50 }, () => one.get('cold')))
    await called(1)
    await time.advance(1000)
    origin.calls[0]!.answer('hot')
    await time.advance(1000)
    expect(new Set(await Promise.all(answers))).to.deep.equal(new Set(['hot']))
    expect(origin.calls).to.have.length(1)
    expect((await all[1]!.under.get('cold')).result).to.equal('hot')
  })
})
