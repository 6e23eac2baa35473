// Whatever comes in over the socket: the answer of the table, the process stays up, and others are served on.
import { readFileSync } from 'node:fs'
import { connect, type AddressInfo } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { Ledger } from '../../../src/servers/ledger.ts'
import { RespServer } from '../../../src/servers/resp/resp-server.ts'
import { createRespListener } from '../../../src/servers/resp/listener.ts'
import { ConnectionLimit } from '../../../src/servers/connection-limit.ts'
import { timers } from '../../../src/app/rondo.ts'
import { command, RawResp } from '../../support/raw-resp.ts'
import { type RedisServer, startRedis } from '../../../scripts/redis-server.ts'
import { type RunningRondo, startRondo } from '../../support/rondo.ts'

const PONG = '+PONG\r\n'
const TOKEN = 'data-token-0123456789abcdef'
const KIB = 1024

interface Case {
  readonly sent: string | Buffer
  readonly answer: string | RegExp
  readonly closed?: true
  /** A real Redis does something else. */
  readonly ours?: true
}

const problem = (text: string) => `-ERR Protocol error: ${text}\r\n`
const error = (text: string) => `-${text}\r\n`
const pipeline = (...commands: (string | Buffer)[][]) =>
  Buffer.concat(commands.map((args) => command(...args)))

const CASES: Record<string, Case> = {
  'CRLF alone': { sent: '\r\n\r\n', answer: '' },
  '*0 and *-1': { sent: '*0\r\n*-1\r\n', answer: '' },
  '*2147483648': { sent: '*2147483648\r\n', answer: problem('invalid multibulk length'), closed: true },
  '*1e3': { sent: '*1e3\r\n', answer: problem('invalid multibulk length'), closed: true },
  '*+1': { sent: '*+1\r\n', answer: problem('invalid multibulk length'), closed: true },
  '$-1': { sent: '*2\r\n$3\r\nGET\r\n$-1\r\n', answer: problem('invalid bulk length'), closed: true },
  $blabla: { sent: '*1\r\n$blabla\r\n', answer: problem('invalid bulk length'), closed: true },
  'a bulk over the limit': {
    sent: '*2\r\n$3\r\nGET\r\n$999999999\r\n',
    answer: problem('invalid bulk length'),
    closed: true,
  },
  ':1 as an element': { sent: '*1\r\n:1\r\n', answer: problem("expected '$', got ':'"), closed: true },
  'an array as an element': { sent: '*1\r\n*1\r\n', answer: problem("expected '$', got '*'"), closed: true },
  'an inline command over 64 KiB': {
    sent: 'x'.repeat(65 * KIB),
    answer: problem('too big inline request'),
    closed: true,
  },
  'an unbalanced quote': {
    sent: 'GET "a\r\n',
    answer: problem('unbalanced quotes in request'),
    closed: true,
  },
  'a browser: POST': { sent: 'POST / HTTP/1.1\r\n', answer: '', closed: true },
  'a browser: Host': { sent: 'Host: localhost\r\n', answer: '', closed: true },
  'HELLO 4': { sent: 'HELLO 4\r\n', answer: error('NOPROTO unsupported protocol version') },
  'an unknown command': {
    sent: command('nosuch', 'a', 'b c'),
    answer: error("ERR unknown command 'nosuch', with args beginning with: 'a' 'b c' "),
  },
  'a command whose name holds CRLF': {
    sent: command('a\r\nb', '\r\n+OK\r\n'),
    answer: error("ERR unknown command 'a  b', with args beginning with: '  +OK  ' "),
  },
  'a command whose name plays with the terminal': {
    sent: command('\x1b[2J'),
    answer: error("ERR unknown command '?[2J', with args beginning with: "),
    ours: true,
  },
  'a command whose name is long': {
    sent: command('n'.repeat(300), 'a'.repeat(100), 'b'.repeat(100), 'c'),
    answer: error(
      `ERR unknown command '${'n'.repeat(128)}', with args beginning with: '${'a'.repeat(100)}' '${'b'.repeat(25)}' `,
    ),
  },
  'too few arguments': { sent: 'GET\r\n', answer: error("ERR wrong number of arguments for 'get' command") },
  'too many arguments': {
    sent: 'GET a b\r\n',
    answer: error("ERR wrong number of arguments for 'get' command"),
  },
  'a binary key and value': {
    sent: pipeline(['SET', '\0\r\n\xff', '\xfe\0$-1\r\n'], ['GET', '\0\r\n\xff']),
    answer: '+OK\r\n$7\r\n\xfe\0$-1\r\n\r\n',
  },
  'an empty key and value': { sent: pipeline(['SET', '', ''], ['GET', '']), answer: '+OK\r\n$0\r\n\r\n' },
  'EX 0': { sent: 'SET k v EX 0\r\n', answer: error("ERR invalid expire time in 'set' command") },
  'EX -1': { sent: 'SET k v EX -1\r\n', answer: error("ERR invalid expire time in 'set' command") },
  'EX 2^63 - 1': {
    sent: 'SET k v EX 9223372036854775807\r\n',
    answer: error("ERR invalid expire time in 'set' command"),
  },
  'EX 1.5': { sent: 'SET k v EX 1.5\r\n', answer: error('ERR value is not an integer or out of range') },
  'NX XX': { sent: 'SET k v NX XX\r\n', answer: error('ERR syntax error') },
  'EX with KEEPTTL': { sent: 'SET k v EX 1 KEEPTTL\r\n', answer: error('ERR syntax error') },
  'INCR on text': {
    sent: 'SET text t\r\nINCR text\r\n',
    answer: '+OK\r\n' + error('ERR value is not an integer or out of range'),
  },
  'INCR beyond 64 bits': {
    sent: 'SET big 9223372036854775807\r\nINCR big\r\n',
    answer: '+OK\r\n' + error('ERR increment or decrement would overflow'),
  },
  'EXEC alone': { sent: 'EXEC\r\n', answer: error('ERR EXEC without MULTI') },
  'MULTI inside MULTI': {
    sent: 'MULTI\r\nMULTI\r\nDISCARD\r\n',
    answer: '+OK\r\n' + error('ERR MULTI calls can not be nested') + '+OK\r\n',
  },
  'a bad command inside MULTI': {
    sent: 'MULTI\r\nNOSUCH\r\nEXEC\r\n',
    answer:
      '+OK\r\n' +
      error("ERR unknown command 'NOSUCH', with args beginning with: ") +
      error('EXECABORT Transaction discarded because of previous errors.'),
  },
  'DEBUG, WAIT, MIGRATE: refused by name': {
    sent: 'PING\r\nDEBUG SLEEP 1\r\nWAIT x 0\r\nMIGRATE h f v\r\n',
    answer: new RegExp(
      '^\\+PONG\r\n' +
        "-ERR unknown command 'DEBUG', with args beginning with: 'SLEEP' '1' \\(.+\\)\r\n" +
        "-ERR unknown command 'WAIT', with args beginning with: 'x' '0' \\(.+\\)\r\n" +
        "-ERR unknown command 'MIGRATE', with args beginning with: 'h' 'f' 'v' \\(.+\\)\r\n$",
    ),
    ours: true,
  },
  'CONFIG SET: refused by name': {
    sent: 'CONFIG SET save ""\r\n',
    answer: /^-ERR CONFIG SET is not offered: .+\r\n$/,
    ours: true,
  },
  'KEYS, FLUSHALL, FLUSHDB when they are not allowed': {
    sent: 'KEYS *\r\nFLUSHALL\r\nFLUSHDB\r\n',
    answer:
      /^-ERR KEYS is not allowed: .*ALLOW_DANGEROUS_COMMANDS is false; use SCAN\.\r\n-ERR FLUSHALL is .*\r\n-ERR FLUSHDB is .*\r\n$/,
    ours: true,
  },
  'bytes behind a bulk that are not CRLF': {
    sent: Buffer.concat([Buffer.from('*2\r\n$3\r\nGET\r\n$1\r\na'), Buffer.alloc(48, 'x')]),
    answer: problem('expected CRLF after a bulk'),
    closed: true,
    ours: true,
  },
  '$3 PING': {
    sent: '*1\r\n$3\r\nPING\r\n',
    answer: problem('expected CRLF after a bulk'),
    closed: true,
    ours: true,
  },
  'a key under the reserved prefix': {
    sent: pipeline(
      ['GET', '__rondo:node'],
      ['SET', '__rondo:node', 'x'],
      ['DEL', '__rondo:node'],
      ['MGET', 'a', '__rondo:node'],
      ['INCR', '__rondo:x'],
      ['RENAME', 'a', '__rondo:x'],
    ),
    answer: error('ERR Keys that begin with "__rondo:" are kept for Rondo itself.').repeat(6),
    ours: true,
  },
  'a key that is too long': {
    sent: command('SET', 'k'.repeat(1025), 'v'),
    answer: error('ERR The key has 1025 bytes; at most 1024 are allowed (MAX_KEY_BYTES).'),
    ours: true,
  },
  'a value that is too long': {
    sent: pipeline(
      ['SET', 'k', 'v'],
      ['SET', 'k', Buffer.alloc(KIB * KIB + 1)],
      ['MSET', 'k', 'w', 'l', Buffer.alloc(10 * KIB * KIB)],
      ['APPEND', 'm', Buffer.alloc(2 * KIB * KIB)],
      ['GET', 'k'],
    ),
    answer:
      '+OK\r\n' +
      error('ERR The value has 1048577 bytes; at most 1048576 are allowed (MAX_VALUE_BYTES).') +
      error('ERR The value has 10485760 bytes; at most 1048576 are allowed (MAX_VALUE_BYTES).') +
      error('ERR The value has 2097152 bytes; at most 1048576 are allowed (MAX_VALUE_BYTES).') +
      '$1\r\nv\r\n',
    ours: true,
  },
  'a bulk longer than a request may be': {
    sent: `*2\r\n$3\r\nGET\r\n$${16 * KIB * KIB + 1}\r\n`,
    answer: problem('invalid bulk length (MAX_BATCH_BYTES)'),
    closed: true,
    ours: true,
  },
}

const UNAUTHENTICATED: Record<string, Case> = {
  'any command': { sent: command('GET', 'k'), answer: error('NOAUTH Authentication required.') },
  PING: { sent: command('PING'), answer: error('NOAUTH Authentication required.') },
  'SELECT, CLIENT, INFO and RONDO': {
    sent: 'SELECT 0\r\nCLIENT ID\r\nINFO\r\nRONDO STATUS\r\n',
    answer: error('NOAUTH Authentication required.').repeat(4),
    ours: true,
  },
  'MULTI and WATCH': {
    sent: 'MULTI\r\nWATCH a\r\n',
    answer: error('NOAUTH Authentication required.').repeat(2),
  },
  'a command that there is not, and one with too few arguments': {
    sent: 'RESET\r\nNOSUCH\r\nGET\r\n',
    answer: `+RESET\r\n${error('NOAUTH Authentication required.').repeat(2)}`,
    ours: true,
  },
  'more than ten arguments': {
    sent: '*11\r\n',
    answer: problem('unauthenticated multibulk length'),
    closed: true,
  },
  'a bulk over 16 KiB': {
    sent: `*2\r\n$4\r\nAUTH\r\n$${16 * KIB + 1}\r\n`,
    answer: problem('unauthenticated bulk length'),
    closed: true,
  },
  'a wrong password': {
    sent: command('AUTH', 'wrong'),
    answer: error('WRONGPASS invalid username-password pair or user is disabled.'),
  },
  QUIT: { sent: command('QUIT'), answer: '+OK\r\n', closed: true },
}

describe('the Redis protocol', () => {
  const servers = [
    {
      title: 'to a client',
      env: { ALLOW_DANGEROUS_COMMANDS: 'false', MAX_VALUE_BYTES: '1MiB' },
      redisArgs: [],
      cases: CASES,
    },
    {
      title: 'to a client that has not shown its password',
      env: { DATA_TOKEN: TOKEN },
      redisArgs: ['--requirepass', TOKEN],
      cases: UNAUTHENTICATED,
    },
  ]
  for (const { title, env, redisArgs, cases } of servers) {
    describe(title, () => {
      let running: RunningRondo
      let oracle: RedisServer
      let bystander: RawResp
      before(async () => {
        running = await startRondo(env)
        oracle = await startRedis({ args: redisArgs })
        bystander = await RawResp.open(running.rondo.respServer.port)
        if (redisArgs.length > 0) await bystander.ask('AUTH', TOKEN)
      })
      after(async () => {
        bystander.close()
        await oracle.stop()
        await running.stop()
      })
      for (const [name, { sent, answer, closed, ours }] of Object.entries(cases)) {
        it(`${name}: ${closed ? 'answered and closed' : 'answered'}${ours ? '' : ', as by Redis'}`, async () => {
          const got = await exchange(running.rondo.respServer.port, sent, closed)
          if (typeof answer === 'string') expect(got).to.equal(answer)
          else expect(got).to.match(answer)
          if (!ours) expect(got, 'a real Redis').to.equal(await exchange(oracle.port, sent, closed))
          expect(await bystander.ask('PING'), 'others are served on').to.equal(PONG)
        })
      }
    })
  }

  describe('limits', () => {
    let running: RunningRondo
    let aheadMs = 0
    let server: RespServer
    let ledger: Ledger
    let listener: ReturnType<typeof createRespListener>
    let tlsListener: ReturnType<typeof createRespListener>
    before(async () => {
      running = await startRondo()
      // A second server over the same coordinator, whose clock the tests advance.
      const monotonicMs = () => performance.now() + aheadMs
      const limitBytes = 64 * KIB * KIB
      ledger = new Ledger({ limitBytes, monotonicMs, timers })
      // One of them is kept for other servers.
      const connectionLimit = new ConnectionLimit(21, monotonicMs)
      server = new RespServer({ ...running.rondo.respServer.options, monotonicMs, ledger, connectionLimit })
      const file = (name: string) => readFileSync(new URL(`../../support/tls/${name}.pem`, import.meta.url))
      tlsListener = createRespListener(server, { cert: file('cert'), key: file('key') })
      await new Promise<void>((resolve) => tlsListener.listen(0, '127.0.0.1', resolve))
      listener = createRespListener(server, null)
      await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    })
    after(async () => {
      server.cut()
      await new Promise((resolve) => listener.close(resolve))
      await new Promise((resolve) => tlsListener.close(resolve))
      await running.stop()
    })
    const open = () => RawResp.open(server.port)
    /** Ten seconds pass; the server looks once a second. */
    const pass = async (ms = 10_000) => {
      aheadMs += ms
      await delay(0)
      server.endOverdue()
    }

    it('an argument counts for more than its bytes: of empty ones, too, there are not too many', async () => {
      const client = await open()
      client.send('*1000000\r\n')
      expect(await client.rest()).to.equal(
        '-ERR Protocol error: invalid multibulk length (MAX_BATCH_BYTES)\r\n',
      )
    })

    it('*100000 alone sets no memory aside', async () => {
      const before = process.memoryUsage()
      const clients = await Promise.all(Array.from({ length: 10 }, open))
      for (const client of clients) client.send('*100000\r\n$1000000\r\n')
      await seen(server, 10)
      const after = process.memoryUsage()
      const grown = after.heapUsed + after.external - before.heapUsed - before.external
      expect(grown).to.be.below(20 * KIB * KIB)
      for (const client of clients) client.close()
    })

    it('a slow drip is cut ten seconds after its command began, however it goes on', async () => {
      const drip = await open()
      const idle = await open()
      await idle.ask('PING')
      drip.send('*2\r\n$3\r\nGE')
      await seen(server, 1)
      for (const byte of 'T\r\n$5\r\nab') {
        drip.send(byte)
        await idle.ask('PING')
        await pass(1000)
      }
      await pass(1000)
      expect(await drip.rest()).to.equal('')
      expect(await idle.ask('PING'), 'who has begun nothing may wait').to.equal(PONG)
      idle.close()
    })

    it('a client that sends commands without end is not cut, although its chunks never end with one', async () => {
      const client = await open()
      client.send('PING\r\nPI')
      for (let i = 0; i < 15; i++) {
        expect(await client.reply()).to.equal(PONG)
        await pass(1000)
        client.send('NG\r\nPI')
      }
      expect(await client.reply()).to.equal(PONG)
      client.close()
    })

    it('one connection too many is told so, and closed', async () => {
      const clients = await Promise.all(Array.from({ length: 20 }, open))
      await Promise.all(clients.map((client) => client.ask('PING')))
      const late = await open()
      expect(await late.rest()).to.equal(error('ERR max number of clients reached (MAX_CONNECTIONS)'))
      expect(await clients[0]!.ask('PING')).to.equal(PONG)
      for (const client of clients) client.close()
      await until(() => server.connections.size === 0)
    })

    it('10,000 pipelined whose replies nobody reads: bounded, and closed', async function () {
      this.timeout(20_000)
      const writer = await open()
      await writer.ask('SET', 'large', Buffer.alloc(20 * KIB, 'v'))
      const socket = connect({ port: server.port, host: '127.0.0.1' })
      socket.on('error', () => undefined) // it is cut in the end
      const before = process.memoryUsage()
      socket.write(Buffer.concat(Array.from({ length: 10_000 }, () => command('GET', 'large'))))
      const connection = await until(() => [...server.connections].find(({ account }) => account.mustWait))
      await delay(200) // whatever it could still grow
      const { heapUsed, external } = process.memoryUsage()
      expect(heapUsed + external - before.heapUsed - before.external).to.be.below(100 * KIB * KIB)
      expect(connection.account.bytes).to.be.below(ledger.connectionShare + 10 * KIB * KIB)
      const closed = new Promise((resolve) => socket.once('close', resolve))
      await pass(1000) // here its backlog is noted
      await pass(60_000)
      await until(() => server.connections.size === 1)
      socket.resume() // what the kernel had taken comes, and the end
      await closed
      expect(await writer.ask('PING')).to.equal(PONG)
      writer.close()
    })

    for (const over of ['TCP', 'TLS'])
      it(`who takes replies slowly over ${over} gets them all, however long that takes`, async function () {
        this.timeout(20_000)
        const writer = await open()
        await writer.ask('SET', 'large', Buffer.alloc(20 * KIB, 'v'))
        writer.close()
        const { port } = (over === 'TLS' ? tlsListener : listener).address() as AddressInfo
        const to = { port, host: '127.0.0.1' }
        const socket = over === 'TLS' ? connectTls({ ...to, rejectUnauthorized: false }) : connect(to)
        let taken = 0
        let isClosed = false
        socket.on('close', () => (isClosed = true))
        socket.on('data', (chunk: Buffer) => {
          taken += chunk.length
          if (taken >= wanted) socket.pause()
        })
        let wanted = 0
        const take = async (bytes: number) => {
          wanted += bytes
          socket.resume()
          await until(() => taken >= wanted || isClosed)
        }
        const gets = 2000
        socket.pause()
        socket.write(Buffer.concat(Array.from({ length: gets }, () => command('GET', 'large'))))
        await until(() => [...server.connections].some((one) => one.socket.writableLength > KIB * KIB))
        for (let i = 0; i < 8; i++) {
          await take(2 * KIB * KIB)
          await pass(3000)
        }
        await take(gets * (20 * KIB + '$20480\r\n\r\n'.length) - wanted)
        expect(isClosed).to.equal(false)
        socket.destroy()
        await until(() => server.connections.size === 0)
      })

    it('a client that keeps its end open after ours is closed is let go', async () => {
      const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true })
      await new Promise<void>((resolve) => socket.once('connect', resolve))
      socket.on('error', () => undefined)
      socket.resume()
      socket.write('*x\r\n')
      await new Promise((resolve) => socket.once('end', resolve))
      expect(server.connections.size).to.equal(1)
      await pass(1000) // here it is seen that it has moved until now
      await pass()
      await until(() => server.connections.size === 0)
      socket.destroy()
    })
  })
})

const MARK = error('ERR Protocol version is not an integer or out of range')

/** What comes back; a mark behind it, which unauthenticated clients may send too, tells that the connection goes on. */
async function exchange(port: number, sent: string | Buffer, closed: boolean | undefined): Promise<string> {
  const client = await RawResp.open(port)
  try {
    client.send(sent)
    if (closed) return await client.rest()
    client.send(command('HELLO', 'x'))
    let got = ''
    for (let reply; (reply = await client.reply()) !== MARK;) got += reply
    return got
  } finally {
    client.close()
  }
}

/** So many connections have begun a command. */
async function seen(server: RespServer, count: number): Promise<void> {
  await until(() => [...server.connections].filter(({ isInside }) => isInside).length === count)
}

async function until<T>(find: () => T | undefined | false): Promise<T> {
  for (let tries = 0; tries < 5000; tries++) {
    const found = find()
    if (found !== undefined && found !== false) return found
    await delay(1)
  }
  throw new Error('it did not come true')
}
