// What the names of DISCOVERY_URL and of members lead to.
import { expect } from 'chai'
import { DnsNames, lookupHere, type Lookup } from '../src/app/dns-names.ts'
import { VirtualTime } from './support/virtual-time.ts'

const time = new VirtualTime()

function names(lookup: Lookup, host = 'redis.cache'): DnsNames {
  return new DnsNames({ at: { host, port: 6379 }, lookup, timers: time })
}
const leadingTo = (...addresses: string[]) => names(() => Promise.resolve(addresses))
const failure = (found: Promise<unknown>) => found.then(String, (error: unknown) => (error as Error).message)

describe('the name of a headless service', () => {
  it('leads to each of its addresses once, in one order', async () => {
    const found = await leadingTo('10.0.0.5', '10.0.0.4', '10.0.0.5').find()
    expect(found).to.deep.equal(['10.0.0.4:6379', '10.0.0.5:6379'])
  })

  it('leads to IPv6 addresses, in their one spelling, only where there are no others', async () => {
    const six = await leadingTo('fd00:0:0::5', 'fd00::4').find()
    expect(six).to.deep.equal(['[fd00::4]:6379', '[fd00::5]:6379'])
    const both = await leadingTo('fd00::4', '10.0.0.4').find()
    expect(both, 'a server with both is one').to.deep.equal(['10.0.0.4:6379'])
  })

  it('is no answer if it leads nowhere, cannot be resolved, or the resolver hangs', async () => {
    expect(await failure(leadingTo().find())).to.equal('redis.cache leads to no address')
    expect(await failure(names(() => Promise.reject(new Error('ENOTFOUND'))).find())).to.equal('ENOTFOUND')
    const hanging = failure(names(() => new Promise(() => undefined)).find())
    await time.advance(3000)
    expect(await hanging).to.equal('no answer within 3000 ms')
    expect(time.pendingTimers, 'timers of lookups that have ended').to.equal(0)
  })

  it('is resolved as by other programs of this machine', async () => {
    expect(await names(lookupHere, 'localhost').find()).to.include('127.0.0.1:6379')
    expect(await failure(names(lookupHere, 'nowhere.invalid').find())).to.match(/nowhere\.invalid/)
  })

  it("is beside the members' own names and addresses", async () => {
    const found = leadingTo('10.0.0.4', 'fd00::4')
    expect(await found.placesOf('redis://redis-0.redis:6380')).to.deep.equal([
      '10.0.0.4:6380',
      '[fd00::4]:6380',
    ])
    expect(await found.placesOf('rediss://[fd00::9]:6379')).to.deep.equal(['[fd00::9]:6379'])
    expect(await found.placesOf('redis+sentinel://cart@10.0.0.1:26379')).to.deep.equal([])
    const unknown = names(() => Promise.reject(new Error('ENOTFOUND')))
    expect(await unknown.placesOf('redis://redis-0.redis:6380')).to.deep.equal([])
  })
})
