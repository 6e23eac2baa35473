/** SORT with patterns, where a real Redis is no model: keys elsewhere, transactions, elements that change meanwhile. */
import { expect } from 'chai'
import { RawResp } from '../../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'

const DENIED = (option: string) =>
  `-ERR ${option} option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots.\r\n`

describe('SORT with patterns', () => {
  let running: RunningRondo
  let client: RawResp
  let other: RawResp
  before(async () => {
    running = await startRondo()
    client = await RawResp.open(running.rondo.respServer.port)
    other = await RawResp.open(running.rondo.respServer.port)
  })
  after(async () => {
    client.close()
    other.close()
    await running.stop()
  })
  beforeEach(async () => {
    await client.ask('FLUSHALL')
    await client.ask('RPUSH', '{t}list', 'a', 'b', 'c')
    await client.ask('MSET', '{t}w:a', '3', '{t}w:b', '1', '{t}w:c', '2')
    await client.ask('HSET', '{t}h:b', 'name', 'bee')
  })

  it('orders and answers by keys with the same tag, in any database', async () => {
    const sorted = '*6\r\n$1\r\nb\r\n$3\r\nbee\r\n$1\r\nc\r\n$-1\r\n$1\r\na\r\n$-1\r\n'
    const line = ['SORT', '{t}list', 'BY', '{t}w:*', 'GET', '#', 'GET', '{t}h:*->name']
    expect(await client.ask(...line)).to.equal(sorted)
    expect(await client.ask(...line, 'STORE', '{t}sorted')).to.equal(':6\r\n')
    expect(await client.ask('LINDEX', '{t}sorted', '1')).to.equal('$3\r\nbee\r\n')
    for (const key of ['{t}list', '{t}w:a', '{t}w:b', '{t}w:c', '{t}h:b']) await client.ask('MOVE', key, '2')
    await client.ask('SELECT', '2')
    expect(await client.ask(...line)).to.equal(sorted)
    await client.ask('SELECT', '0')
    expect(await client.ask(...line)).to.equal('*0\r\n')
  })

  it('is refused where the keys may be elsewhere, or are reserved, and inside MULTI', async () => {
    for (const pattern of ['w:*', '*{t}', '{t*}', '{u}*', '{}{t}*']) {
      expect(await client.ask('SORT', '{t}list', 'BY', pattern), pattern).to.equal(DENIED('BY'))
      expect(await client.ask('SORT_RO', '{t}list', 'GET', pattern), pattern).to.equal(DENIED('GET'))
    }
    expect(await client.ask('SORT', '{t}list', 'BY', '__rondo:{t}*')).to.match(/^-ERR Keys that begin with/)
    await client.ask('MULTI')
    await client.ask('SORT', '{t}list', 'BY', '{t}w:*')
    expect(await client.ask('EXEC')).to.equal(`*1\r\n${DENIED('BY')}`)
  })

  it('sees a consistent list while others change it', async () => {
    const changes = async () => {
      for (let i = 0; i < 50; i++) {
        await other.ask('SET', `{t}w:${i}`, String(i))
        await other.ask('RPUSH', '{t}list', String(i))
        await other.ask('LPOP', '{t}list')
      }
    }
    const sorts = async () => {
      for (let i = 0; i < 50; i++) {
        const reply = await client.ask('SORT', '{t}list', 'BY', '{t}w:*', 'STORE', '{t}sorted')
        expect(reply).to.match(/^(:[34]|-TRYAGAIN .*)\r\n$/)
      }
    }
    await Promise.all([changes(), sorts()])
    expect(await client.ask('SORT', '{t}list', 'BY', '{t}w:*', 'GET', '{t}w:*')).to.equal(
      '*3\r\n$2\r\n47\r\n$2\r\n48\r\n$2\r\n49\r\n',
    )
  })

  it('answers no more than a reply may have', async () => {
    await client.ask('RPUSH', '{t}many', ...Array.from({ length: 100 }, () => 'x'))
    await client.ask('SET', '{t}w:x', Buffer.alloc(1024 * 1024))
    expect(await client.ask('SORT', '{t}many', 'ALPHA', 'GET', '{t}w:*')).to.match(/MAX_REPLY_BYTES/)
    expect(await client.ask('SORT', '{t}many', 'ALPHA', 'GET', '{t}w:*', 'STORE', '{t}s')).to.match(
      /^-ERR The list would have/,
    )
  })
})
