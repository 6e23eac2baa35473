// Clients behind proxies: whose address counts, and who is believed about it.
import { once } from 'node:events'
import { connect as connectPlain } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { expect } from 'chai'
import { parseProxyHeader } from '../../src/servers/proxy-header.ts'
import { isNetwork, TrustedProxies } from '../../src/config/trusted-proxies.ts'
import { call } from '../support/raw-http.ts'
import { command, RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'

const TOKEN = 'data-token-0123456789abcdef'
const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n'
const bytes = (text: string) => Buffer.from(text, 'latin1')
const file = (name: string) => new URL(`../support/tls/${name}.pem`, import.meta.url).pathname

function binary(head: number[], rest: Buffer, length = rest.length): Buffer {
  return Buffer.concat([bytes(SIGNATURE), Buffer.from([...head, length >> 8, length & 255]), rest])
}

const V4 = Buffer.from([203, 0, 113, 9, 10, 0, 0, 1, 0xc0, 0, 0x18, 0xf6])
const V6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000001', 'hex'),
  Buffer.alloc(16, 1),
  Buffer.from([0xc0, 0, 0x18, 0xf6]),
])
const MAPPED = Buffer.concat([Buffer.from('00000000000000000000ffffcb007109', 'hex'), V6.subarray(16)])

/** The header, and the client it tells; null = the proxy itself. */
const GOOD: Record<string, [Buffer, { address: string; port: number } | null]> = {
  'version 1, IPv4': [
    bytes('PROXY TCP4 203.0.113.9 10.0.0.1 49152 6390\r\n'),
    { address: '203.0.113.9', port: 49152 },
  ],
  'version 1, IPv6': [
    bytes('PROXY TCP6 2001:db8::1 ::1 65535 0\r\n'),
    { address: '2001:db8::1', port: 65535 },
  ],
  'version 1, the longest': [bytes(`PROXY UNKNOWN ${'f'.repeat(91)}\r\n`), null],
  'version 1, unknown': [bytes('PROXY UNKNOWN\r\n'), null],
  'version 2, IPv4': [binary([0x21, 0x11], V4), { address: '203.0.113.9', port: 49152 }],
  'version 2, IPv6': [binary([0x21, 0x21], V6), { address: '2001:db8::1', port: 49152 }],
  'version 2, IPv4 in IPv6': [binary([0x21, 0x21], MAPPED), { address: '203.0.113.9', port: 49152 }],
  'version 2, with more behind the address': [
    binary([0x21, 0x11], Buffer.concat([V4, Buffer.alloc(508, 7)])),
    { address: '203.0.113.9', port: 49152 },
  ],
  'version 2, the proxy itself': [binary([0x20, 0], Buffer.alloc(0)), null],
  'version 2, a Unix socket': [binary([0x21, 0x31], Buffer.alloc(216)), null],
}

const BAD: Record<string, Buffer> = {
  'a family that is none': bytes('PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n'),
  'IPv6 as IPv4': bytes('PROXY TCP4 ::1 ::1 1 1\r\n'),
  'a port too high': bytes('PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n'),
  'a port with a zero in front': bytes('PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n'),
  'a word too many': bytes('PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n'),
  nothing: bytes('PROXY \r\n'),
  'no end within 107 bytes': bytes(`PROXY UNKNOWN ${'f'.repeat(93)}`),
  'version 3': binary([0x31, 0x11], V4),
  'a command that is none': binary([0x22, 0x11], V4),
  'an address that is cut': binary([0x21, 0x11], V4.subarray(1)),
  'more than 536 bytes': binary([0x21, 0x11], V4, 521),
}

describe('a header of the PROXY protocol', () => {
  for (const [title, [header, client]] of Object.entries(GOOD)) {
    it(`${title}: read when its last byte has come, and no byte more`, () => {
      for (let i = 1; i < header.length; i++) {
        expect(parseProxyHeader(header.subarray(0, i)), `${i} bytes`).to.deep.equal({ kind: 'more' })
      }
      for (const rest of ['', '*', '\r\n', 'PROXY ']) {
        const found = parseProxyHeader(Buffer.concat([header, bytes(rest)]))
        expect(found).to.deep.equal({ kind: 'header', bytes: header.length, client })
      }
    })
  }

  for (const [title, header] of Object.entries(BAD)) {
    it(`${title}: refused, and never waited for beyond its bound`, () => {
      expect(parseProxyHeader(header)).to.deep.equal({ kind: 'bad' })
      for (let i = 1; i < header.length; i++) {
        expect(parseProxyHeader(header.subarray(0, i)).kind, `${i} bytes`).to.be.oneOf(['more', 'bad'])
      }
    })
  }

  it('what begins otherwise is none', () => {
    for (const text of [
      '*',
      'PING',
      'PROXI',
      'proxy ',
      '\r\nP',
      '\r\n\r\n\0\r\nQUIT\r',
      '\x16',
      'GET / HTTP/1.1',
    ]) {
      expect(parseProxyHeader(bytes(text)), JSON.stringify(text)).to.deep.equal({ kind: 'none' })
    }
  })
})

describe('trusted proxies', () => {
  it('are addresses and networks of both families', () => {
    for (const good of [
      '10.0.0.7',
      '10.0.0.0/8',
      '0.0.0.0/0',
      '::1',
      'fd00::/8',
      '::/0',
      '10.0.0.7/32',
      '::1/128',
    ]) {
      expect(isNetwork(good), good).to.equal(true)
    }
    for (const bad of [
      '',
      '10.0.0',
      '10.0.0.0/33',
      '::/129',
      '10.0.0.0/',
      '/8',
      '10.0.0.0/08',
      'proxy',
      'fe80::1%eth0',
      '1.1.1.1/8/8',
    ]) {
      expect(isNetwork(bad), bad).to.equal(false)
    }
    const proxies = new TrustedProxies(['10.0.0.7', '192.168.0.0/16', 'fd00::/8'])
    for (const address of ['10.0.0.7', '192.168.255.1', 'fd12::1'])
      expect(proxies.has(address)).to.equal(true)
    for (const address of ['10.0.0.8', '192.169.0.1', 'fe00::1', ''])
      expect(proxies.has(address)).to.equal(false)
  })

  it('the client is the rightmost that is not one of them', () => {
    const proxies = new TrustedProxies(['10.0.0.0/8', 'fd00::/8'])
    for (const [peer, header, client] of [
      ['203.0.113.1', '198.51.100.1', '203.0.113.1'], // not a proxy of ours: not believed
      ['10.0.0.1', undefined, '10.0.0.1'],
      ['10.0.0.1', '198.51.100.1', '198.51.100.1'],
      ['10.0.0.1', '1.1.1.1, 198.51.100.1', '198.51.100.1'],
      ['10.0.0.1', '1.1.1.1, 198.51.100.1, 10.0.0.2', '198.51.100.1'],
      ['10.0.0.1', '10.0.0.3,10.0.0.2', '10.0.0.3'],
      ['10.0.0.1', '1.1.1.1, nonsense', '10.0.0.1'],
      ['10.0.0.1', '1.1.1.1, nonsense, 10.0.0.2', '10.0.0.2'],
      ['10.0.0.1', '198.51.100.1:4711', '198.51.100.1'],
      ['10.0.0.1', '::ffff:198.51.100.1', '198.51.100.1'],
      ['fd00::1', '"[2001:db8::1]:4711"', 'fd00::1'],
      ['fd00::1', '[2001:db8::1]:4711', '2001:db8::1'],
      ['10.0.0.1', '', '10.0.0.1'],
    ] as const) {
      expect(proxies.clientOf(peer, header), `${peer} ${header}`).to.equal(client)
    }
  })
})

for (const tls of [false, true]) {
  describe(`the Redis port behind a proxy${tls ? ', with TLS' : ''}`, () => {
    let running: RunningRondo
    const open = (env: Record<string, string> = {}) =>
      startRondo({
        TRUSTED_PROXIES: '127.0.0.1',
        ...(tls ? { TLS_CERT_FILE: file('cert'), TLS_KEY_FILE: file('key') } : {}),
        ...env,
      })
    afterEach(() => running.stop())

    /** All that comes back to the header, and to what follows it (inside of TLS, where there is TLS). */
    const exchange = async (header: Buffer, sent: Buffer, oneByOne = false): Promise<string> => {
      const raw = connectPlain({ port: running.rondo.respServer.port, host: '127.0.0.1', noDelay: true })
      raw.on('error', () => undefined)
      await once(raw, 'connect')
      const pieces = oneByOne ? [...header].map((byte) => Buffer.from([byte])) : [header]
      if (!tls && !oneByOne) pieces.push(Buffer.concat([pieces.pop()!, sent]))
      for (const piece of pieces) {
        if (piece.length > 0) raw.write(piece)
        if (oneByOne) await new Promise((resolve) => setImmediate(resolve))
      }
      const socket = tls ? connectTls({ socket: raw, rejectUnauthorized: false }) : raw
      let text = ''
      socket.on('error', () => undefined)
      socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
      if (tls || oneByOne) socket.write(sent)
      // once() would reject for an error before.
      await new Promise((resolve) => socket.once('close', resolve))
      return text
    }
    const asked = Buffer.concat([command('CLIENT', 'INFO'), command('QUIT')])

    it('tells the address of the header, with one and without, whole and byte by byte', async () => {
      running = await open()
      for (const [title, [header, client]] of Object.entries(GOOD)) {
        for (const oneByOne of [false, true]) {
          const text = await exchange(header, asked, oneByOne)
          const shown = client && (client.address.includes(':') ? `[${client.address}]` : client.address)
          if (client) expect(text, title).to.include(` addr=${shown}:${client.port} `)
          else expect(text, title).to.match(/ addr=127\.0\.0\.1:\d+ /)
        }
      }
      expect(await exchange(Buffer.alloc(0), asked)).to.match(/ addr=127\.0\.0\.1:\d+ /)
    })

    it('closes a connection whose header is bad, or comes twice, and carries out nothing', async () => {
      running = await open()
      const header = GOOD['version 1, IPv4']![0]
      const set = Buffer.concat([command('SET', 'pwn', 'x'), command('QUIT')])
      for (const [title, bad] of Object.entries(BAD)) {
        // Of what is cut short, the rest is taken for its end.
        const sent = title.startsWith('no end') ? Buffer.concat([bad, bytes('\r\n')]) : bad
        expect(await exchange(sent, set), title).to.equal('')
      }
      expect(await exchange(Buffer.concat([header, header]), set)).to.equal('')
      const exists = Buffer.concat([command('EXISTS', 'pwn'), command('QUIT')])
      expect(await exchange(header, exists)).to.equal(':0\r\n+OK\r\n')
    })

    it('from anybody else a header ends the connection', async () => {
      running = await open({ TRUSTED_PROXIES: '10.0.0.0/8,::1' })
      for (const name of ['version 1, IPv4', 'version 2, IPv4']) {
        expect(await exchange(GOOD[name]![0], asked)).to.equal('')
      }
      expect(await exchange(Buffer.alloc(0), asked)).to.match(/ addr=127\.0\.0\.1:\d+ /)
    })
  })
}

describe('clients behind a proxy', () => {
  let running: RunningRondo
  before(async () => {
    running = await startRondo({
      TRUSTED_PROXIES: '127.0.0.0/8',
      DATA_TOKEN: TOKEN,
      ADMIN_TOKEN: `admin-${TOKEN}`,
    })
  })
  after(() => running.stop())

  it('wrong tokens count for the client, over HTTP and the Redis protocol together, and its address is logged', async () => {
    const headers = { Authorization: 'Bearer wrong-one', 'X-Forwarded-For': '1.1.1.1, 203.0.113.9' }
    expect((await call(running.ports.socket, 'GET', '/status', { headers })).status).to.equal(401)
    const client = await RawResp.open(running.rondo.respServer.port)
    client.send(
      Buffer.concat([bytes('PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n'), command('AUTH', 'wrong-one')]),
    )
    expect(await client.reply()).to.match(/^-WRONGPASS/)
    client.close()
    expect(running.rondo.tries.note('203.0.113.9', 'http').delayMs, 'the third').to.equal(40)
    expect(running.rondo.tries.note('127.0.0.1', 'http').delayMs, 'the proxy has sent none').to.equal(10)
    const lines = running.logLines().filter(({ msg }) => msg.includes('203.0.113.9'))
    expect(lines).to.have.length(1)
  })

  it('a silent connection of a proxy is served once it speaks, header or not', async () => {
    const client = await RawResp.open(running.rondo.respServer.port)
    const { connections } = running.rondo.respServer
    const before = connections.size
    while (connections.size === before) await new Promise((resolve) => setTimeout(resolve, 20))
    expect(await client.ask('AUTH', TOKEN)).to.equal('+OK\r\n')
    client.close()
  })
})
