/**
 * Random bytes for the HTTP server: requests to all routes in all spellings, pipelined, framed well or badly, and damaged.
 *
 * A stream shows one kind of token only, so that whatever comes back can be held against it.
 */
import { ROUTES } from '../../../src/servers/http/routes.ts'
import type { Random } from '../../support/random.ts'

export const TOKENS = { data: 'data-token-of-the-fuzzer-0123', admin: 'admin-token-of-the-fuzzer-0123' }
export type Sender = 'nobody' | 'data' | 'admin'

export interface Stream {
  readonly sender: Sender
  /** One a request, until it was damaged. */
  readonly pieces: readonly Buffer[]
  /** It goes out in so many writes. */
  readonly writes: number
  /** The client is gone when all is sent, and waits for nothing. */
  readonly leaves: boolean
}

const METHODS = [
  'GET',
  'HEAD',
  'PUT',
  'POST',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'TRACE',
  'CONNECT',
  'PROPFIND',
  'FROB',
]
const KEYS = [
  'k',
  'n',
  '%00',
  'a%2Fb',
  '..',
  '%FF',
  '%',
  '__proto__',
  'x'.repeat(1025),
  '',
  'YQ',
  '__rondo:node',
]
const QUERIES = [
  '?consistency=quorum',
  '?consistency=maybe',
  '?keyEncoding=base64url',
  '?ttl=5',
  '?ttl=-1',
  '?count=2&match=*',
]
const MORE_QUERIES = [
  '?',
  '?%',
  '?a=b&a=b',
  `?match=${'*a'.repeat(200)}`,
  '?cursor=1:zz',
  '?ttl=1&ttl=2',
  '?__proto__=1',
]
const ODD_TARGETS = [
  '*',
  '/',
  '//',
  '/nope',
  '/api',
  '/api/v1/keys/a/b',
  '/%',
  '/\\ping',
  '/ping#x',
  'ping',
  'x:80',
  '/../ping',
]
const HOSTS = ['localhost', '127.0.0.1:80', 'evil.example', '', 'a, b', '[::1]', 'localhost:99999']
const HEADERS = [
  'Content-Type: application/json',
  'Content-Type: text/plain',
  'Accept: application/octet-stream',
  'Accept: */*',
  'Expect: 100-continue',
  'Expect: tea',
  'Connection: close',
  'Connection: keep-alive',
  'Connection: Upgrade\r\nUpgrade: websocket',
  'Origin: http://localhost',
  'Origin: https://evil.example',
  'Sec-Fetch-Site: cross-site',
  'If-Match: *',
  'If-Match: "x"',
  'If-None-Match: *',
  'X-Request-Id: abc',
  `X-Request-Id: ${'y'.repeat(100)}`,
  'Transfer-Encoding: gzip',
  'Content-Length: 5',
  `X: ${'z'.repeat(9000)}`,
  'Host: localhost',
  ' folded',
  'no colon',
  'Authorization: Bearer wrong-token-wrong-token',
  'Authorization: Basic Zm9v',
]
const BODIES = [
  '{}',
  '{"value":"v"}',
  '{"value":"v","ttl":5}',
  '{"value":"YQ==","encoding":"base64"}',
  `{"value":"${'='.repeat(3000)}a","encoding":"base64"}`,
  '{"by":3}',
  '{"by":"-9223372036854775808"}',
  '{"ttl":60}',
  '{"keys":["k","n","missing"]}',
  '{"keys":[[],[]]}',
  '{"items":[{"key":"k","value":"v"},{"key":"n","value":"1"}]}',
  '{"items":[{"key":"k"}]}',
  '{"__proto__":{"value":"v"}}',
  '{"value":"\\ud800"}',
  '[1,2',
  'null',
  '',
  'plain \xff bytes',
]

export class Streams {
  private readonly random: Random

  constructor(random: Random) {
    this.random = random
  }

  next(): Stream {
    const { random } = this
    const sender = random.pick<Sender>(['nobody', 'data', 'data', 'admin'])
    const pieces = Array.from({ length: 1 + random.below(6) }, () => this.request(sender))
    return {
      sender,
      pieces: random.chance(0.5) ? pieces : [this.damage(Buffer.concat(pieces))],
      writes: random.pick([1, 1, 2, 5, 40]),
      leaves: random.chance(0.1),
    }
  }

  private request(sender: Sender): Buffer {
    const { random } = this
    const body = this.body()
    const lines = [
      `${this.call()} HTTP/${random.chance(0.97) ? '1.1' : random.pick(['1.0', '2.0', '0.9', '1.2'])}`,
    ]
    if (random.chance(0.98)) lines.push(`Host: ${random.chance(0.9) ? 'localhost' : random.pick(HOSTS)}`)
    if (sender !== 'nobody' && random.chance(0.9)) lines.push(`Authorization: Bearer ${TOKENS[sender]}`)
    if (random.chance(0.7)) lines.push('Content-Type: application/json')
    while (random.chance(0.15)) lines.push(random.pick(HEADERS))
    const framed = this.framed(body)
    lines.push(...framed.headers)
    return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), framed.bytes])
  }

  /** Method and target: mostly of a route. */
  private call(): string {
    const { random } = this
    if (random.chance(0.05)) return `${random.pick(METHODS)} ${random.pick(ODD_TARGETS)}`
    const route = random.pick(ROUTES)
    const method = random.chance(0.8) ? random.pick(Object.keys(route.calls)) : random.pick(METHODS)
    return `${method} ${this.target(route.path)}`
  }

  private target(template: string): string {
    const { random } = this
    const path = template.replace(':key', () => random.pick(random.chance(0.8) ? ['k', 'n'] : KEYS))
    const query = random.chance(0.8) ? '' : random.pick([...QUERIES, ...MORE_QUERIES])
    const front = random.chance(0.85)
      ? ''
      : random.pick([
          'http://localhost',
          'https://localhost:1',
          'x://h',
          '//h',
          'http://evil.example',
          '/.',
          '/x/..',
          'http://',
        ])
    return `${front}${path}${query}`
  }

  private body(): Buffer {
    const { random } = this
    if (random.chance(0.03)) return Buffer.from(`{"value":"${'\\u0001'.repeat(random.below(40_000))}"}`)
    if (random.chance(0.02)) return Buffer.from(`{"keys":${'['.repeat(random.below(100_000))}`)
    if (random.chance(0.02))
      return Buffer.from(`{"items":[${'{"key":"k","value":"v"},'.repeat(random.below(4000))}]}`)
    return Buffer.from(random.pick(BODIES), 'latin1')
  }

  private framed(body: Buffer): { headers: string[]; bytes: Buffer } {
    const { random } = this
    const way = random.next()
    if (way < 0.65) return { headers: [`Content-Length: ${body.length}`], bytes: body }
    if (way < 0.8) return { headers: [], bytes: Buffer.alloc(0) }
    if (way < 0.85) {
      const length = random.pick([
        body.length + 1,
        Math.max(0, body.length - 1),
        99_999_999,
        -1,
        '5, 5',
        '0x5',
        '',
      ])
      return { headers: [`Content-Length: ${length}`], bytes: body }
    }
    const chunks: Buffer[] = []
    for (let at = 0; at < body.length;) {
      const size = 1 + random.below(Math.min(20_000, body.length - at))
      const extension = random.chance(0.1) ? ';x=y' : ''
      chunks.push(
        Buffer.from(`${size.toString(16)}${extension}\r\n`),
        body.subarray(at, at + size),
        Buffer.from('\r\n'),
      )
      at += size
    }
    const end = random.chance(0.9)
      ? '0\r\n\r\n'
      : random.pick(['', '0\r\n', '0\r\nX: y\r\n\r\n', 'zz\r\n', 'fffffffffffffffff\r\n'])
    const headers = ['Transfer-Encoding: chunked']
    if (random.chance(0.1)) headers.push(`Content-Length: ${body.length}`)
    return { headers, bytes: Buffer.concat([...chunks, Buffer.from(end)]) }
  }

  private damage(bytes: Buffer): Buffer {
    const { random } = this
    let damaged = Buffer.from(bytes)
    do {
      const at = random.below(damaged.length + 1)
      const rest = damaged.subarray(at)
      const some = Math.min(rest.length, random.below(random.chance(0.8) ? 4 : 400))
      const random8 = Buffer.from(Array.from({ length: 1 + random.below(4) }, () => random.below(256)))
      const inserted = random.pick([
        random8,
        Buffer.from('\r\n'),
        Buffer.from('\0'),
        Buffer.from(' '),
        Buffer.from('\n'),
        rest.subarray(0, some),
      ])
      const kept = random.pick([rest, rest.subarray(some), rest.subarray(some), Buffer.alloc(0)])
      if (kept.length === 0 && random.chance(0.7)) continue
      damaged = Buffer.concat([damaged.subarray(0, at), inserted, kept])
    } while (random.chance(0.5))
    return damaged
  }
}
