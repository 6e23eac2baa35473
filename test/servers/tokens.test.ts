// Tokens: a right one is accepted whatever others from its address have sent, wrong ones are answered late and counted.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { networkOf, plainAddress } from '../../src/config/client-address.ts'
import { readTokens } from '../../src/config/token-list.ts'
import { MANY_WRONG_TOKENS, MAX_HELD, TokenTries } from '../../src/servers/token-tries.ts'
import type { RondoEvent } from '../../src/core/events.ts'
import { expectProblem } from '../support/problem.ts'
import { call, RawConnection, requestBytes } from '../support/raw-http.ts'
import { command, RawResp } from '../support/raw-resp.ts'
import { type RunningRondo, startRondo } from '../support/rondo.ts'
import { VirtualTime } from '../support/virtual-time.ts'

const DATA = 'data-token-0123456789abcdef'
const NEXT_DATA = 'next,data-token-0123456789'
const ADMIN = 'admin-token-0123456789abcdef'
const NEXT_ADMIN = 'next-admin-token-0123456789'
const WRONG = 'wrong-token-0123456789abcdef'
const OK = '+OK\r\n'
const WRONGPASS = '-WRONGPASS invalid username-password pair or user is disabled.\r\n'
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })

/** Every way in, with the tokens that open it; resolves with whether it did. */
const WAYS: Record<
  string,
  { tokens: string[]; enter: (running: RunningRondo, token: string) => Promise<boolean> }
> = {
  'HTTP, keys': { tokens: [DATA, NEXT_DATA], enter: http('GET', '/api/v1/keys/k') },
  'HTTP, several keys': { tokens: [DATA, NEXT_DATA], enter: http('POST', '/api/v1/mget', { keys: ['k'] }) },
  'HTTP, status': { tokens: [DATA, NEXT_DATA, ADMIN, NEXT_ADMIN], enter: http('GET', '/status') },
  'HTTP, metrics': { tokens: [DATA, NEXT_DATA, ADMIN, NEXT_ADMIN], enter: http('GET', '/metrics') },
  'HTTP, repair': { tokens: [ADMIN, NEXT_ADMIN], enter: http('POST', '/repair') },
  'AUTH password': { tokens: [DATA, NEXT_DATA], enter: resp((token) => ['AUTH', token]) },
  'AUTH user password': { tokens: [DATA, NEXT_DATA], enter: resp((token) => ['AUTH', 'default', token]) },
  'AUTH admin': { tokens: [ADMIN, NEXT_ADMIN], enter: resp((token) => ['AUTH', 'admin', token], 'PING') },
  'HELLO AUTH': {
    tokens: [DATA, NEXT_DATA],
    enter: resp((token) => ['HELLO', '3', 'AUTH', 'default', token]),
  },
}

function http(method: string, path: string, body?: object) {
  return async ({ ports }: RunningRondo, token: string) => {
    const sent = { headers: bearer(token), ...(body ? { body } : {}) }
    const { status } = await call(ports.socket, method, path, sent)
    if (![401, 429].includes(status)) return true
    return false
  }
}

/** @param opened a command that the token opens */
function resp(words: (token: string) => string[], opened: 'GET' | 'PING' = 'GET') {
  return async ({ rondo }: RunningRondo, token: string) => {
    const client = await RawResp.open(rondo.respServer.port)
    const reply = await client.ask(...words(token))
    const next = await client.ask(...(opened === 'GET' ? ['GET', 'k'] : ['PING']))
    const entered = ['$-1\r\n', '+PONG\r\n'].includes(next) || reply.startsWith('%')
    expect(entered ? reply : WRONGPASS).to.equal(reply)
    client.close()
    return entered
  }
}

describe('tokens at every way in', () => {
  let running: RunningRondo
  beforeEach(async () => {
    running = await startRondo({ DATA_TOKEN: `${DATA} ${NEXT_DATA}`, ADMIN_TOKEN: `${ADMIN}\t${NEXT_ADMIN}` })
  })
  afterEach(() => running.stop())
  const all = [DATA, NEXT_DATA, ADMIN, NEXT_ADMIN]

  for (const [way, { tokens, enter }] of Object.entries(WAYS)) {
    it(`${way}: each valid token enters at once after 1000 wrong ones from its address, all others do not`, async () => {
      const { tries } = running.rondo
      for (let i = 0; i < 1000; i++) tries.note('127.0.0.1', i % 2 === 0 ? 'http' : 'resp')
      const server = way.startsWith('HTTP') ? 'http' : 'resp'
      const before = tries.counts[server]
      for (const token of tokens) expect(await enter(running, token), token).to.equal(true)
      expect(tries.counts[server], 'a right one is not counted').to.equal(before)
      const wrong = [
        WRONG,
        ...all.filter((token) => !tokens.includes(token)),
        `${DATA} ${NEXT_DATA}`.slice(0, 40),
      ]
      const guesses = wrong.filter((token) => !token.includes(' '))
      const entered = await Promise.all(guesses.map((token) => enter(running, token)))
      expect(entered).to.deep.equal(guesses.map(() => false))
      expect(tries.counts[server]).to.equal(before + guesses.length)
      for (const token of tokens) expect(await enter(running, token), token).to.equal(true)
    })
  }

  it('over HTTP the error says what is wrong: none sent, another scheme, a wrong one, and too many of those', async () => {
    const get = (headers: Record<string, string>) =>
      call(running.ports.socket, 'GET', '/api/v1/keys/k', { headers })
    const sentence = async (headers: Record<string, string>) => {
      const answer = await get(headers)
      expectProblem(answer, 401, 'UNAUTHORIZED')
      expect(answer.headers['www-authenticate']).to.equal('Bearer')
      return answer.json().error as string
    }
    expect(await sentence({})).to.match(/^This needs a token/)
    for (const Authorization of ['Basic YTpi', DATA, 'Bearer', 'Bearer a b', `Bearer ${'x'.repeat(513)}`]) {
      expect(await sentence({ Authorization })).to.match(/header is malformed/)
    }
    expect(running.rondo.tries.counts.http, 'none of these is a guess').to.equal(0)
    expect(await sentence(bearer(WRONG))).to.match(/^The token is wrong/)
    for (let i = 0; i < MANY_WRONG_TOKENS; i++) running.rondo.tries.note('127.0.0.1', 'resp')
    const answer = await get(bearer(WRONG))
    expectProblem(answer, 429, 'RATE_LIMITED')
    expect(Number(answer.headers['retry-after'])).to.be.within(1, 60)
    expect((await get({})).status, 'none sent is no guess').to.equal(401)
  })

  it('what follows a wrong password on its connection waits with the answer, and others do not', async () => {
    for (let i = 0; i < 10; i++) running.rondo.tries.note('127.0.0.1', 'resp')
    const [slow, quick] = [
      await RawResp.open(running.rondo.respServer.port),
      await RawResp.open(running.rondo.respServer.port),
    ]
    const order: string[] = []
    const { counts } = running.rondo.tries
    slow.send(Buffer.concat([command('AUTH', WRONG), command('AUTH', WRONG), command('AUTH', DATA)]))
    const late = slow.replies(3).then((replies) => {
      order.push('slow')
      return replies
    })
    await quick.ask('AUTH', DATA)
    order.push('quick')
    expect(counts.resp, 'the second guess is not looked at yet').to.equal(11)
    expect(await late).to.deep.equal([WRONGPASS, WRONGPASS, OK])
    expect(order).to.deep.equal(['quick', 'slow'])
    slow.close()
    quick.close()
  })

  it('a wrong token that is pipelined behind another ends its HTTP connection', async () => {
    const connection = await RawConnection.open(running.ports.socket)
    const request = requestBytes('GET', '/api/v1/keys/k', { headers: bearer(WRONG) })
    connection.send(
      Buffer.concat([request, request, requestBytes('GET', '/api/v1/keys/k', { headers: bearer(DATA) })]),
    )
    const [first, second] = [await connection.answer(), await connection.answer()]
    expect([first.status, first.headers.connection]).to.deep.equal([401, 'keep-alive'])
    expect([second.status, second.headers.connection]).to.deep.equal([401, 'close'])
    expect(await connection.closed()).to.equal('')
  })

  it('past the bound of answers held back, the refusal leaves at once and the connection ends', async () => {
    const { tries } = running.rondo
    const released = Array.from({ length: MAX_HELD }, () => tries.hold(60_000, () => undefined))
    const client = await RawResp.open(running.rondo.respServer.port)
    client.send(Buffer.concat([command('AUTH', WRONG), command('AUTH', DATA)]))
    expect(await client.rest()).to.equal(WRONGPASS)
    const answer = await call(running.ports.socket, 'GET', '/status', { headers: bearer(WRONG) })
    expect(answer.status).to.equal(401)
    expect(answer.headers.connection).to.equal('close')
    for (const release of released) release()
    for (const release of released) release() // twice is once
    expect(tries.note('127.0.0.1', 'http').close).to.equal(false)
  })

  it('wrong tokens are counted by server, and told of without the token, once for an address', async () => {
    await call(running.ports.socket, 'GET', '/status', { headers: bearer(WRONG) })
    const client = await RawResp.open(running.rondo.respServer.port)
    for (let i = 0; i < 2; i++) await client.ask('AUTH', WRONG)
    client.close()
    const text = await running.rondo.telemetry.registry.metrics()
    expect(text).to.include('rondo_wrong_tokens_total{server="http"} 1\n')
    expect(text).to.include('rondo_wrong_tokens_total{server="resp"} 2\n')
    const lines = running.logLines().filter(({ msg }) => msg.includes('wrong token'))
    expect(lines.map(({ msg }) => msg)).to.deep.equal([
      'refused a client at 127.0.0.1: wrong token (HTTP; 1 in a row from this address)',
    ])
    expect(running.logText()).not.to.include(WRONG)
  })
})

describe('TokenTries', () => {
  const make = () => {
    const time = new VirtualTime()
    const events: RondoEvent[] = []
    const tries = new TokenTries({
      emit: (event) => events.push(event),
      monotonicMs: () => time.monotonicMs(),
      timers: time,
    })
    return { time, events, tries }
  }

  it('delays grow up to a second, by network, and begin anew after a quiet minute', async () => {
    const { time, tries } = make()
    const delays = Array.from({ length: 100 }, () => tries.note('10.0.0.1', 'http').delayMs)
    expect(delays.slice(0, 8)).to.deep.equal([10, 20, 40, 80, 160, 320, 640, 1000])
    expect(delays[99]).to.equal(1000)
    expect(tries.note('10.0.0.2', 'http')).to.deep.equal({ delayMs: 10, tooMany: false, close: false })
    expect(tries.note('10.0.0.1', 'resp')).to.deep.equal({ delayMs: 1000, tooMany: true, close: false })
    for (let i = 0; i < 20; i++) tries.note(`2001:db8::${i + 1}`, 'http')
    expect(tries.note('2001:db8:0:0:ffff::1', 'http').tooMany, 'the same /64').to.equal(true)
    expect(tries.note('2001:db8:0:1::1', 'http').tooMany, 'another one').to.equal(false)
    await time.advance(60_000)
    expect(tries.note('10.0.0.1', 'http').delayMs).to.equal(10)
  })

  it('an address is told of once a minute, and not more than thirty of them', async () => {
    const { time, events, tries } = make()
    const told = () => events.splice(0).map((event) => (event.kind === 'token-refused' ? event.count : 0))
    for (let i = 0; i < 100; i++) tries.note('10.0.0.1', 'http')
    expect(told()).to.deep.equal([1])
    for (let i = 0; i < 100; i++) tries.note(`10.1.0.${i}`, 'http')
    expect(told()).to.have.length(29)
    await time.advance(59_999)
    tries.note('10.0.0.1', 'http')
    expect(told()).to.deep.equal([])
    await time.advance(1)
    tries.note('10.0.0.1', 'http')
    expect(told()).to.deep.equal([102])
  })

  it('who has gone is not answered', async () => {
    const { time, tries } = make()
    let answered = 0
    const giveUp = tries.hold(100, () => answered++)
    tries.hold(100, () => answered++)
    giveUp()
    await time.advance(100)
    expect(answered).to.equal(1)
  })
})

describe('addresses', () => {
  it('an IPv4 address is the same through an IPv6 socket', () => {
    expect(plainAddress('::ffff:10.0.0.1')).to.equal('10.0.0.1')
    expect(plainAddress('::FFFF:10.0.0.1')).to.equal('10.0.0.1')
    expect(plainAddress('fe80::1%eth0')).to.equal('fe80::1')
    expect(plainAddress('10.0.0.1')).to.equal('10.0.0.1')
    expect(plainAddress(undefined)).to.equal('')
  })

  it('the network of an IPv6 address is its /64, however it is written', () => {
    for (const [address, network] of [
      ['10.0.0.1', '10.0.0.1'],
      ['::1', '0:0:0:0::/64'],
      ['::', '0:0:0:0::/64'],
      ['2001:db8::1', '2001:db8:0:0::/64'],
      ['2001:DB8:0:0:1:2:3:4', '2001:db8:0:0::/64'],
      ['2001:0db8:0000:0001::', '2001:db8:0:1::/64'],
      ['1:2:3:4:5:6:7:8', '1:2:3:4::/64'],
      ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4::/64'],
      ['64:ff9b::1.2.3.4', '64:ff9b:0:0::/64'],
      ['1::5:6:7:8', '1:0:0:0::/64'],
      ['', ''],
    ]) {
      expect(networkOf(address!), address).to.equal(network)
    }
  })
})

describe('a file of tokens', () => {
  let dir: string
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'rondo-tokens-'))))
  afterEach(() => rmSync(dir, { recursive: true }))
  const read = (text: string) => {
    const file = join(dir, 'tokens')
    writeFileSync(file, text)
    return readTokens('DATA_TOKEN_FILE', { tokens: [], file })
  }

  it('holds one or two, with any line ends', () => {
    for (const end of ['', '\n', '\r\n', '\n\n']) {
      expect(read(DATA + end)).to.deep.equal([DATA])
      expect(read(`${DATA}\n${NEXT_DATA}${end}`)).to.deep.equal([DATA, NEXT_DATA])
    }
  })

  it('that holds anything else is refused, without telling what', () => {
    const bad = [
      '',
      '\n',
      'short',
      `${DATA}\n${ADMIN}\n${NEXT_DATA}`,
      `${DATA}\nshort`,
      'x'.repeat(513),
      `\ufeff${DATA}`,
    ]
    for (const text of [...bad, 'x'.repeat(5000), `${DATA}\0`]) {
      expect(() => read(text), JSON.stringify(text)).to.throw(/^The file that DATA_TOKEN_FILE names /)
      try {
        read(text)
      } catch (error) {
        expect((error as Error).message)
          .not.to.include(DATA)
          .and.not.include('short')
      }
    }
  })

  it('that is no file is refused', () => {
    for (const [file, why] of [
      [join(dir, 'none'), 'ENOENT'],
      [dir, 'not a regular file'],
      ['/dev/zero', 'not a regular'],
    ]) {
      expect(() => readTokens('ADMIN_TOKEN_FILE', { tokens: [], file: file! })).to.throw(
        new RegExp(`^The file that ADMIN_TOKEN_FILE names cannot be read: .*${why}`),
      )
    }
  })
})
