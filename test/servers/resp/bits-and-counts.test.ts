/** BITOP, BITFIELD, HyperLogLogs and MSETEX through a server, at every level, alone and inside MULTI. */
import { expect } from 'chai'
import { command, RawResp } from '../../support/raw-resp.ts'
import { startRondo, type RunningRondo } from '../../support/rondo.ts'

const OK = '+OK\r\n'
const CROSSSLOT = "-CROSSSLOT Keys in request don't hash to the same slot\r\n"
const bulk = (text: string) => `$${Buffer.byteLength(text, 'latin1')}\r\n${text}\r\n`
const elements = (count: number) => Array.from({ length: count }, (_, i) => `element:${i}`)

describe('bits and counts through a server', function () {
  this.timeout(30_000)
  let running: RunningRondo
  let client: RawResp
  before(async () => (running = await startRondo({ MAX_VALUE_BYTES: '1MiB' })))
  after(() => running.stop())
  beforeEach(async () => {
    client = await RawResp.open(running.rondo.respServer.port)
    await client.ask('FLUSHALL')
  })
  afterEach(() => client.close())

  const pipelined = (...commands: (string | Buffer)[][]) => {
    client.send(Buffer.concat(commands.map((args) => command(...args))))
    return client.replies(commands.length)
  }
  const spread = () => {
    const keys = Array.from({ length: 20 }, (_, i) => `key:${i}`)
    const { coordinator } = running.rondo
    const other = keys.find(
      (key) => !coordinator.sharesReplicaSet([keys[0]!, key].map((text) => Buffer.from(text))),
    )
    return [keys[0]!, other!] as const
  }

  for (const level of ['ONE', 'QUORUM', 'ALL']) {
    describe(`at ${level}`, () => {
      beforeEach(async () => {
        expect(await client.ask('RONDO', 'CONSISTENCY', level)).to.equal(OK)
      })

      it('each command of a pipeline sees what those before it have done', async () => {
        const replies = await pipelined(
          ['MSET', '{t}a', '\x0f', '{t}b', '\xff'],
          ['BITOP', 'AND', '{t}c', '{t}a', '{t}b'],
          ['BITFIELD', '{t}c', 'INCRBY', 'u8', '0', '1'],
          ['GET', '{t}c'],
          ['BITOP', 'XOR', '{t}c', '{t}c', '{t}c'],
          ['BITFIELD_RO', '{t}c', 'GET', 'u8', '0'],
          ['PFADD', '{t}h', ...elements(5000)],
          ['PFADD', '{t}h', 'element:1'],
          ['PFCOUNT', '{t}h'],
          ['PFMERGE', '{t}m', '{t}h', '{t}none'],
          ['PFCOUNT', '{t}m', '{t}h'],
          ['DEL', '{t}h'],
          ['PFCOUNT', '{t}h'],
        )
        const counted = replies[8]!
        expect(Number(counted.slice(1))).to.be.within(4850, 5150)
        expect(replies).to.deep.equal([
          ...[OK, ':1\r\n', '*1\r\n:16\r\n', bulk('\x10'), ':1\r\n', '*1\r\n:0\r\n'],
          ...[':1\r\n', ':0\r\n', counted, OK, counted, ':1\r\n', ':0\r\n'],
        ])
      })

      it('all of them in one transaction', async () => {
        const replies = await pipelined(
          ['MULTI'],
          ['MSETEX', '2', '{t}a', '\x0f', '{t}b', '\xff', 'NX', 'EX', '100'],
          ['MSETEX', '1', '{t}b', 'never', 'NX'],
          ['BITOP', 'AND', '{t}c', '{t}a', '{t}b'],
          ['BITFIELD', '{t}c', 'GET', 'u8', '0', 'SET', 'u8', '8', '65'],
          ['SET', '{t}c', 'x', 'IFEQ', '\x0fA', 'GET'],
          ['DIGEST', '{t}c'],
          ['PFADD', '{t}h', ...elements(2000)],
          ['PFCOUNT', '{t}h'],
          ['DELEX', '{t}c', 'IFEQ', 'x'],
          ['EXISTS', '{t}c'],
          ['EXEC'],
        )
        const parts = replies.at(-1)!.split('\r\n')
        expect(parts.slice(0, 12)).to.deep.equal([
          '*10',
          ':1',
          ':0',
          ':1',
          '*2',
          ':15',
          ':0',
          '$2',
          '\x0fA',
          '$16',
          'eaf06c6480b2cd11',
          ':1',
        ])
        expect(Number(parts[12]!.slice(1))).to.be.within(1940, 2060)
        expect(parts.slice(13)).to.deep.equal([':1', ':0', ''])
      })
    })
  }

  it('values on other replicas: read together, but not changed together', async () => {
    const [a, b] = spread()
    for (const key of [a, b]) await client.ask('PFADD', key, key, 'both')
    expect(await client.ask('PFCOUNT', a, b)).to.equal(':3\r\n')
    expect(await client.ask('PFMERGE', a, b)).to.equal(CROSSSLOT)
    expect(await client.ask('BITOP', 'OR', a, b)).to.equal(CROSSSLOT)
    expect(await client.ask('MSETEX', '2', a, '1', b, '2', 'XX')).to.equal(CROSSSLOT)
    expect(await client.ask('PFCOUNT', a)).to.equal(':2\r\n')
  })

  it('thousands of keys: MSETEX sets them one by one, BITOP refuses them', async () => {
    const pairs = Array.from({ length: 3000 }, (_, i) => [`{t}${i}`, 'v']).flat()
    expect(await client.ask('MSETEX', '3000', ...pairs, 'EX', '100')).to.equal(':1\r\n')
    expect(await client.ask('DBSIZE')).to.equal(':3000\r\n')
    expect(await client.ask('MSETEX', '3000', ...pairs, 'NX')).to.equal(
      '-ERR at most 1000 keys can be changed together (MAX_BATCH_KEYS)\r\n',
    )
    const keys = pairs.filter((_, i) => i % 2 === 0)
    expect(await client.ask('BITOP', 'OR', ...keys)).to.equal(
      '-ERR at most 1000 keys can be changed together (MAX_BATCH_KEYS)\r\n',
    )
    expect(await client.ask('BITOP', 'OR', ...keys.slice(0, 1000))).to.equal(':1\r\n')
    expect(await client.ask('GET', '{t}0')).to.equal(bulk('v'))
  })

  it('fifty thousand elements in one PFADD, and so many that it is refused', async () => {
    expect(await client.ask('PFADD', 'h', ...elements(50_000))).to.equal(':1\r\n')
    expect(Number((await client.ask('PFCOUNT', 'h')).slice(1))).to.be.within(48_500, 51_500)
    // Too many for a call of a function.
    const parts = ['PFADD', 'other', ...elements(100_000)].map((text) => `$${text.length}\r\n${text}\r\n`)
    client.send(`*${parts.length}\r\n${parts.join('')}`)
    expect(await client.reply()).to.equal(
      '-ERR This command would compute for too long (a fixed limit): send fewer elements or keys at once, ' +
        'or use shorter values or smaller collections. Nothing was applied.\r\n',
    )
    expect(await client.ask('EXISTS', 'other')).to.equal(':0\r\n')
  })

  it('a value may become as long as MAX_VALUE_BYTES, and no longer', async () => {
    expect(await client.ask('BITFIELD', 'a', 'SET', 'u8', '#1048575', '1')).to.equal('*1\r\n:0\r\n')
    expect(await client.ask('BITFIELD', 'a', 'SET', 'u8', '#1048576', '1')).to.match(
      /^-ERR The value would have 1048577 bytes/,
    )
    expect(await client.ask('STRLEN', 'a')).to.equal(':1048576\r\n')
    const large = Buffer.alloc(1024 * 1024, 0xff)
    for (const key of ['{t}a', '{t}b']) await client.ask('SET', key, large)
    expect(await client.ask('BITOP', 'DIFF', '{t}c', '{t}a', '{t}b')).to.equal(':1048576\r\n')
    expect(await client.ask('BITCOUNT', '{t}c')).to.equal(':0\r\n')
  })
})
