// Requests out of bytes, however they are cut into pieces.
import { once } from 'node:events'
import { connect } from 'node:net'
import { expect } from 'chai'
import {
  BROKEN,
  COMMAND,
  FOREIGN,
  MISTAKEN,
  MORE,
  RequestParser,
  UNKNOWN,
  type Named,
} from '../../../src/servers/resp/wire/parser.ts'
import { seeded, seeds } from '../../support/random.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'

const NAMES = new Map(['get', 'set', 'ping'].map((name) => [name, { nameBytes: Buffer.from(name) }]))
const MAX_BULK_BYTES = 100_000
const MAX_REQUEST_BYTES = 150_000

function newParser(): RequestParser<Named> {
  return new RequestParser<Named>({
    lookUp: (bytes, from, to) => NAMES.get(bytes.toString('latin1', from, to).toLowerCase()) ?? null,
    maxBulkBytes: MAX_BULK_BYTES,
    maxRequestBytes: MAX_REQUEST_BYTES,
    limitName: 'A_SETTING',
  })
}

/** Every request as its arguments, and how it ended; the arguments are read when they are handed out. */
function parse(chunks: readonly Buffer[], parser = newParser()): string[] {
  const found: string[] = []
  for (const chunk of chunks) {
    parser.feed(chunk)
    for (let what; (what = parser.next()) !== MORE;) {
      if (what === BROKEN || what === FOREIGN)
        return [...found, what === FOREIGN ? `foreign: ${parser.foreign}` : parser.problem]
      expect(what).to.be.oneOf([COMMAND, UNKNOWN, MISTAKEN])
      found.push(
        (what === COMMAND ? '' : '?') + JSON.stringify(parser.args.map((arg) => arg.toString('latin1'))),
      )
      if (what === MISTAKEN) return [...found, 'mistaken']
    }
  }
  return found
}

/** The same, where a caller answers GETs before they are parsed. */
function parseAhead(chunks: readonly Buffer[], mayPass: () => boolean): string[] {
  const parser = newParser()
  const found: string[] = []
  for (const chunk of chunks) {
    parser.feed(chunk)
    for (;;) {
      if (parser.peekGet() && mayPass()) {
        const key = parser.source.toString('latin1', parser.keyAt, parser.keyEnd)
        found.push(JSON.stringify(['get', key]))
        parser.pass()
        continue
      }
      const what = parser.next()
      if (what === MORE) break
      if (what === BROKEN || what === FOREIGN)
        return [...found, what === FOREIGN ? `foreign: ${parser.foreign}` : parser.problem]
      const args = JSON.stringify(parser.args.map((arg) => arg.toString('latin1')))
      found.push((what === COMMAND ? '' : '?') + args)
      if (what === MISTAKEN) return [...found, 'mistaken']
    }
  }
  return found
}

const bytes = (text: string) => Buffer.from(text, 'latin1')

const CORPUS: Record<string, Buffer> = {
  'arrays, one after the other': Buffer.concat([
    command('SET', 'key', 'value'),
    command('get', 'key'),
    command('PING'),
  ]),
  'empty, binary and CRLF inside of bulks': command('set', '', '\r\n$3\r\n\0\xff\r'),
  'a name that nobody knows': Buffer.concat([command('NOPE', 'x'), command('a\r\nb'), command('')]),
  'nothing between requests': bytes('\r\n*0\r\n*-1\r\n\n \r\n*1\r\n$4\r\nPING\r\n\r\nPING\r\n'),
  'inline commands': bytes('PING\r\nget  a \t b\nset "a b" \'c d\'\r\n  get "\\x00\\n\\"" \'it\\\'s\'\r\n'),
  'a break in the middle of it all': bytes('PING\r\n*2\r\n$3\r\nget\r\n$1x\r\nPING\r\n'),
  'a browser': bytes('GET / HTTP/1.1\r\nHost: x\r\nPING\r\n'),
  'a browser behind a command': bytes('PING\r\nHost: x\r\nPING\r\n'),
  'a first line that is no command': bytes('\r\n \r\nEHLO x\r\nPING\r\n'),
  'GETs in all cases, of keys of all lengths': Buffer.concat([
    ...['GET', 'get', 'gEt', 'GETS', 'SET'].map((name) => command(name, 'k')),
    ...[0, 1, 9, 10, 300].map((length) => command('GET', 'k'.repeat(length))),
    command('GET', '\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n'),
    command('GET', 'a', 'b'),
    command('GET'),
  ]),
  'a GET of a length with a zero before it': bytes('*2\r\n$3\r\nGET\r\n$01\r\nk\r\n'),
  'a GET of a length that is none': bytes('*2\r\n$3\r\nGET\r\n$\r\nk\r\n'),
  'a GET of a negative length': bytes('*2\r\n$3\r\nGET\r\n$-1\r\nk\r\n'),
  'a GET with a key of another length': bytes('*2\r\n$3\r\nGET\r\n$1\r\nkk\r\n'),
  'a GET with a line feed alone': bytes('*2\r\n$3\r\nGET\r\n$1\nk\r\n'),
  TLS: bytes('\x16\x03\x01\r\nPING\r\n'),
}

describe('RequestParser', () => {
  for (const [title, all] of Object.entries(CORPUS)) {
    it(`${title}: the same whole, cut at any byte, and byte by byte`, () => {
      const whole = parse([all])
      let turn = 0
      for (let i = 0; i <= all.length; i++) {
        const pieces = [all.subarray(0, i), all.subarray(i)]
        expect(parse(pieces), `cut at ${i}`).to.deep.equal(whole)
        expect(
          parseAhead(pieces, () => true),
          `cut at ${i}, GETs ahead`,
        ).to.deep.equal(whole)
        expect(
          parseAhead(pieces, () => turn++ % 3 > 0),
          `cut at ${i}, some GETs ahead`,
        ).to.deep.equal(whole)
      }
      for (let i = 0; i < all.length; i++) {
        const pieces = [all.subarray(0, i), all.subarray(i, i + 1), all.subarray(i + 1)]
        expect(parse(pieces), `byte ${i} alone`).to.deep.equal(whole)
      }
      expect(parse([...all].map((byte) => Buffer.from([byte])))).to.deep.equal(whole)
    })
  }

  it('reads what was written, in random pieces', () => {
    const seed = seeds(1)[0]!
    const random = seeded(seed)
    for (let round = 0; round < 200; round++) {
      const commands = Array.from({ length: 1 + random.below(5) }, () =>
        Array.from({ length: 1 + random.below(4) }, () =>
          Buffer.from(Array.from({ length: random.below(40) }, () => random.below(256))),
        ),
      )
      const all = Buffer.concat(commands.map((args) => command(...args)))
      const pieces: Buffer[] = []
      for (let at = 0; at < all.length;) {
        const end = Math.min(all.length, at + 1 + random.below(20))
        pieces.push(all.subarray(at, end))
        at = end
      }
      const expected = commands.map((args) => '?' + JSON.stringify(args.map((arg) => arg.toString('latin1'))))
      expect(parse(pieces), `seed ${seed}`).to.deep.equal(expected)
    }
  })

  it('goes on where it was, when more comes before all was taken', () => {
    const parser = newParser()
    parser.feed(Buffer.concat([command('PING'), command('GET', 'a'), bytes('*2\r\n$3\r\nGE')]))
    expect(parser.next()).to.equal(COMMAND)
    const rest = parse([bytes('T\r\n$1\r\nb\r\n')], parser)
    expect(rest).to.deep.equal(['["get","a"]', '["get","b"]'])
  })

  it('a large bulk in small pieces is put together once', () => {
    const value = Buffer.alloc(MAX_BULK_BYTES, 'v')
    const all = command('SET', 'k', value)
    const pieces: Buffer[] = []
    for (let at = 0; at < all.length; at += 100) pieces.push(all.subarray(at, at + 100))
    expect(parse(pieces)).to.deep.equal([JSON.stringify(['set', 'k', value.toString()])])
  })

  describe('problems', () => {
    const problems: Record<string, string> = {
      '*1048577\r\n': 'invalid multibulk length',
      '*2147483648\r\n': 'invalid multibulk length',
      '*99999999999999999999\r\n': 'invalid multibulk length',
      '*\r\n': 'invalid multibulk length',
      '*-\r\n': 'invalid multibulk length',
      '* 1\r\n': 'invalid multibulk length',
      '*1e3\r\n': 'invalid multibulk length',
      '*+1\r\n': 'invalid multibulk length',
      '*1\r\n$-1\r\n': 'invalid bulk length',
      '*1\r\n$\r\n': 'invalid bulk length',
      '*1\r\n$1.5\r\n': 'invalid bulk length',
      [`*1\r\n$${MAX_BULK_BYTES + 1}\r\n`]: 'invalid bulk length (A_SETTING)',
      [`*1\r\n$${512 * 1024 * 1024 + 1}\r\n`]: 'invalid bulk length',
      '*1\r\n:1\r\n': "expected '$', got ':'",
      '*1\r\n\x01\r\n': "expected '$', got '?'",
      '*1\r\n$4\r\nPINGxx': 'expected CRLF after a bulk',
      '*1\r\n$4\r\nPING\rx': 'expected CRLF after a bulk',
      '*1\n$4\r\nPING\r\n': 'expected CRLF after a length',
      [`*1${'0'.repeat(70_000)}`]: 'too big mbulk count string',
      [`*1\r\n$${'0'.repeat(70_000)}`]: 'too big bulk count string',
      ['x'.repeat(70_000)]: 'too big inline request',
      [`${'x'.repeat(70_000)}\r\n`]: 'too big inline request',
      'get "a\r\n': 'unbalanced quotes in request',
      'get "a"b\r\n': 'unbalanced quotes in request',
      "get 'a\r\n": 'unbalanced quotes in request',
    }
    for (const [sent, problem] of Object.entries(problems)) {
      it(`${JSON.stringify(sent.slice(0, 30))}: ${problem}`, () => {
        expect(parse([bytes(sent)])).to.deep.equal([problem])
      })
    }

    it('all arguments together are bounded, before they have come', () => {
      const half = Buffer.alloc(MAX_BULK_BYTES - 1, 'v')
      const sent = [bytes(`*3\r\n$3\r\nSET\r\n$${half.length}\r\n`), half, bytes(`\r\n$${half.length}\r\n`)]
      expect(parse(sent)).to.deep.equal(['too big request (A_SETTING)'])
    })

    it('an unauthenticated client sends ten arguments of 16 KiB, and no more', () => {
      const unauthenticated = () => {
        const parser = newParser()
        parser.unauthenticated = true
        return parser
      }
      const long = 'v'.repeat(16 * 1024)
      expect(parse([command('SET', long)], unauthenticated())).to.deep.equal([JSON.stringify(['set', long])])
      expect(parse([bytes('*11\r\n')], unauthenticated())).to.deep.equal(['unauthenticated multibulk length'])
      expect(parse([bytes('*1\r\n$16385\r\n')], unauthenticated())).to.deep.equal([
        'unauthenticated bulk length',
      ])
    })
  })

  describe('inline quoting, as a real Redis reads it', () => {
    let redis: RedisServer
    before(async () => (redis = await startRedis()))
    after(() => redis.stop())

    it('random lines of quotes, backslashes and spaces', async () => {
      const seed = seeds(1)[0]!
      const random = seeded(seed)
      const pieces = [
        '"',
        "'",
        '\\',
        ' ',
        'a',
        '\\x41',
        '\\xg',
        '\\n',
        '\\"',
        "\\'",
        '\t',
        '\f',
        '\v',
        '\\x0',
        'b c',
        '" ',
        ' "',
      ]
      const oracle = await RawResp.open(redis.port)
      let broken = 0
      for (let round = 0; round < 2000; round++) {
        const line = Array.from({ length: random.below(9) }, () => pieces[random.below(pieces.length)]!).join(
          '',
        )
        const sent = `NOPE ${line}\r\n`
        const ours = parse([bytes(sent)])[0]!
        if (ours.startsWith('unbalanced')) {
          broken++
          expect(await answerAndEnd(redis.port, sent), sent).to.include('unbalanced quotes')
        } else {
          // Redis tells of the arguments of a command that it does not know.
          const args = (JSON.parse(ours.slice(1)) as string[]).slice(1)
          const told = args.map((arg) => `'${arg.split('\0')[0]!.replace(/[\r\n]/g, ' ')}' `).join('')
          const expected = `-ERR unknown command 'NOPE', with args beginning with: ${told}\r\n`
          oracle.send(sent)
          expect(await oracle.reply(), `seed ${seed}: ${sent}`).to.equal(expected)
        }
      }
      expect(broken).to.be.within(200, 1800)
      oracle.close()
    })
  })
})

async function answerAndEnd(port: number, sent: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' })
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
  socket.write(sent)
  await once(socket, 'close')
  return text
}
