// Other protocols on the port of the Redis protocol: nothing of what they send is carried out.
import { METHODS } from 'node:http'
import { connect } from 'node:tls'
import { expect } from 'chai'
import { COMMANDS } from '../../../src/servers/resp/table.ts'
import { protocolOfLine } from '../../../src/servers/resp/wire/other-protocol.ts'
import { expectProblem } from '../../support/problem.ts'
import { rawRequest } from '../../support/raw-http.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const SET = 'SET pwn x\r\n'
const METHODS_TRIED = [
  ...METHODS,
  'PRI',
  'FOO',
  'SET',
  'PING',
  'AUTH',
  'MULTI',
  'get',
  "!#$%&'+-.^_`|~",
  '*1',
  '*',
]

/** A ClientHello with a session ticket that somebody else has chosen. */
function clientHello(): Buffer {
  const u16 = (n: number) => Buffer.from([n >> 8, n & 255])
  const ticket = Buffer.from(`\r\n${SET}${'A'.repeat(40)}`)
  const extension = Buffer.concat([u16(0x23), u16(ticket.length), ticket])
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 0x55),
    Buffer.from([32]),
    Buffer.alloc(32, 0x66),
    Buffer.from([0, 2, 0xc0, 0x2f, 1, 0]),
    u16(extension.length),
    extension,
  ])
  const handshake = Buffer.concat([Buffer.from([1, 0]), u16(body.length), body])
  return Buffer.concat([Buffer.from([0x16, 3, 1]), u16(handshake.length), handshake])
}

const bytes = (text: string) => Buffer.from(text, 'latin1')

/** By protocol, as it is counted. */
const SILENT: Record<string, Record<string, Buffer>> = {
  tls: {
    'a ClientHello': clientHello(),
    'an SSLv2 hello': bytes(`\x80\x2e\x01\x03\x01\r\n${SET}`),
  },
  binary: {
    'a NUL first': bytes(`\0\0\0\r\n${SET}`),
    'the header of version 2 of the PROXY protocol': bytes(
      `\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x02${SET}`,
    ),
    'SOCKS 5': bytes(`\x05\x01\0\r\n${SET}`),
    'a byte beyond ASCII': bytes(`\xef\xbb\xbfPING\r\n${SET}`),
  },
  proxy: {
    'a PROXY header of somebody we do not trust': bytes(`PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n${SET}`),
  },
  http: {
    'the HTTP/2 preface': bytes(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${SET}`),
    'HTTP/0.9': bytes(`GET /\r\n${SET}`),
    'a line break in the target': bytes(`COPY http://x/\r\n${SET} HTTP/1.1\r\n`),
    'a quote in the target': bytes(`PUT /" HTTP/1.1\r\n${SET}`),
    'spaces in the target': bytes(`PUT /a b  c HTTP/1.1 \r\n${SET}`),
    'line feeds alone': bytes(`PUT / HTTP/1.1\n${SET}`),
    'empty lines in front': bytes(`\r\n\n  \r\nPUT / HTTP/1.1\r\n${SET}`),
    WebSocket: bytes(`GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n${SET}Host: x\r\n\r\n`),
    RTSP: bytes(`SET rtsp://x RTSP/1.0\r\n${SET}`),
    'a late Host': bytes(`SET / HTTP/1.1\r\nX-A: b\r\n${SET}Host: localhost\r\n\r\n`),
  },
}

/** Answered with one error, and then closed. */
const MISTAKEN: Record<string, Buffer> = {
  SMTP: bytes(`EHLO x\r\n${SET}`),
  SSH: bytes(`SSH-2.0-OpenSSH_9.2\r\n${SET}`),
  FTP: bytes(`USER anonymous\r\n${SET}`),
  'a header alone': bytes(`Host:localhost\r\n${SET}`),
  AMQP: bytes(`AMQP\0\0\x09\x01\r\n${SET}`),
  'a method alone': bytes(`OPTIONS *\r\n${SET}`),
}

describe('other protocols on the Redis port', () => {
  let running: RunningRondo
  let witness: RawResp
  let port: number
  before(async () => {
    running = await startRondo()
    port = running.rondo.respServer.port
    witness = await RawResp.open(port)
  })
  after(async () => {
    witness.close()
    await running.stop()
  })
  const executed = async () => (await witness.ask('EXISTS', 'pwn')) !== ':0\r\n'
  const count = (protocol: string) => {
    const { counts } = running.rondo.respServer.otherProtocols
    return counts.get(protocol as 'tls')!
  }
  const answerTo = async (...pieces: Buffer[]) => {
    const client = await RawResp.open(port)
    for (const piece of pieces) {
      client.send(piece)
      if (pieces.length > 1) await new Promise((resolve) => setImmediate(resolve))
    }
    return client.rest()
  }

  for (const [protocol, cases] of Object.entries(SILENT)) {
    for (const [title, sent] of Object.entries(cases)) {
      it(`${title}: closed without a word, and nothing is carried out, whole or byte by byte`, async () => {
        const before = count(protocol)
        expect(await answerTo(sent)).to.equal('')
        expect(await answerTo(...[...sent].map((byte) => Buffer.from([byte])))).to.equal('')
        expect(await executed()).to.equal(false)
        expect(count(protocol), `counted as ${protocol}`).to.equal(before + 2)
      })
    }
  }

  it('every method of HTTP, and others that fetch() may send, however the rest of the request looks', async () => {
    for (const method of METHODS_TRIED) {
      for (const target of ['/', '/a?b=c', '*', 'x://h/', 'localhost:6390']) {
        for (const version of ['HTTP/1.1', 'HTTP/1.0', 'http/1.1']) {
          const client = await RawResp.open(port)
          client.send(`${method} ${target} ${version}\r\n${SET}\r\n${SET}`)
          expect(await client.rest(), `${method} ${target}`).to.match(/^(-ERR Protocol error: [^\r]*\r\n)?$/)
        }
      }
    }
    expect(await executed()).to.equal(false)
  })

  for (const [title, sent] of Object.entries(MISTAKEN)) {
    it(`${title}: told that it is no command, and closed`, async () => {
      const before = count('unknown')
      expect(await answerTo(sent)).to.match(/^-ERR unknown command [^\r]*\r\n$/)
      expect(await answerTo(...[...sent].map((byte) => Buffer.from([byte])))).to.match(
        /^-ERR unknown command/,
      )
      expect(await executed()).to.equal(false)
      expect(count('unknown')).to.equal(before + 2)
    })
  }

  it('commands that are methods of HTTP, too, are known to be such', () => {
    const both = COMMANDS.map(({ name }) => name.toUpperCase()).filter((name) => METHODS.includes(name))
    expect(both).to.include.members(['GET', 'COPY', 'UNLINK'])
    for (const name of both) expect(protocolOfLine(`${name} /key`), name).to.equal('http')
  })

  it('inline commands are carried out, with keys that look like paths behind the first', async () => {
    const client = await RawResp.open(port)
    client.send('\r\nGET key\r\nPING\r\nSET /k x\r\nGET /k\r\nUNLINK /k\r\nNOSUCH\r\nPING\r\n')
    expect((await client.replies(7)).map((reply) => reply.slice(0, 5))).to.deep.equal([
      '$-1\r\n',
      '+PONG',
      '+OK\r\n',
      '$1\r\nx',
      ':1\r\n',
      '-ERR ',
      '+PONG',
    ])
    client.close()
    for (const first of ['PING\r\n', 'get key\r\n', 'SET /k v\r\n', '"PING"\r\n', 'GET a/b\r\n']) {
      const other = await RawResp.open(port)
      other.send(`${first}PING\r\n`)
      expect((await other.replies(2))[1]).to.equal('+PONG\r\n')
      other.close()
    }
  })

  it('behind an array only POST and Host: end it, as in Redis', async () => {
    for (const line of ['POST / HTTP/1.1', 'Host: x']) {
      expect(await answerTo(Buffer.concat([command('PING'), bytes(`${line}\r\n${SET}`)]))).to.equal('')
    }
    expect(await executed()).to.equal(false)
  })

  it('an address is told of once a minute, and its bytes never', () => {
    const lines = running.logLines().filter(({ msg }) => msg.includes('127.0.0.1'))
    expect(lines).to.have.length(1)
    expect(lines[0]!.msg).to.match(/ to the Redis port.*no command was executed/)
    expect(running.logText()).not.to.include('pwn')
  })

  it('metrics count them', async () => {
    const text = await running.rondo.telemetry.registry.metrics()
    for (const protocol of ['tls', 'http', 'proxy', 'binary', 'unknown']) {
      const line = `rondo_resp_other_protocol_connections_total{protocol="${protocol}"} ${count(protocol)}`
      expect(text).to.include(line)
      expect(count(protocol)).to.be.above(0)
    }
  })

  it('the HTTP port refuses the Redis protocol and TLS as what they are not: HTTP', async () => {
    for (const sent of [command('PING'), bytes('PING\r\n\r\n'), clientHello(), bytes('\0\r\n\r\n')]) {
      const answer = await rawRequest(running.ports.socket, sent)
      expectProblem(answer, 400, 'BAD_REQUEST')
      expect(answer.text).to.include('The request is not valid HTTP.')
    }
  })
})

describe('the Redis port with TLS', () => {
  it('takes clients as before, and HTTP inside of TLS as little', async () => {
    const file = (name: string) => new URL(`../../support/tls/${name}.pem`, import.meta.url).pathname
    const running = await startRondo({ TLS_CERT_FILE: file('cert'), TLS_KEY_FILE: file('key') })
    const send = (sent: Buffer | string) =>
      new Promise<string>((resolve) => {
        const socket = connect({
          port: running.rondo.respServer.port,
          host: '127.0.0.1',
          rejectUnauthorized: false,
        })
        let text = ''
        socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
        socket.on('close', () => resolve(text))
        socket.write(sent)
      })
    try {
      expect(await send(Buffer.concat([command('SET', 'k', 'v'), command('QUIT')]))).to.equal(
        '+OK\r\n+OK\r\n',
      )
      expect(await send(`PUT / HTTP/1.1\r\nSET k w\r\n`)).to.equal('')
      expect(await send(Buffer.concat([command('GET', 'k'), command('QUIT')]))).to.equal('$1\r\nv\r\n+OK\r\n')
    } finally {
      await running.stop()
    }
  })
})
