/**
 * Random streams for the Redis protocol server: what clients send, well or badly.
 *
 *   talk      valid and invalid commands over the same few keys, pipelined, inline, in MULTI: Redis must answer the same
 *   damaged   a talk with a few bytes changed: Redis must answer the same, but for the differences in compare.ts
 *   hostile   whatever the server must survive: garbage, huge lengths, clients that leave. Not for Redis
 *
 * A stream is a list of pieces, so that it can be made shorter. In place of a name that no other stream uses for its keys
 * it has TAG, so that it can be sent again and again.
 */
import fc from 'fast-check'
import { COMMANDS } from '../../src/servers/resp/table.ts'
import {
  GEO_COMMANDS,
  HASH_COMMANDS,
  LIST_COMMANDS,
  SET_COMMANDS,
  SORTED_SET_COMMANDS,
  UNORDERED,
  type RandomCommand,
} from '../commands/collections/stream.ts'
import { argumentsAt, commands, KEYS } from '../servers/resp/steps-stream.ts'
import { command } from '../support/raw-resp.ts'
import type { Random } from '../support/random.ts'

export const TAG = '~~~~~~~~'
export type Kind = 'talk' | 'damaged' | 'hostile'

export interface Stream {
  readonly kind: Kind
  readonly protocol: 2 | 3
  /** What the connection asks for with RONDO CONSISTENCY. */
  readonly level: 'one' | 'quorum' | 'all'
  readonly pieces: readonly Buffer[]
  /** It goes out in so many writes. */
  readonly writes: number
  /** The client is gone when all is sent, and waits for nothing. */
  readonly leaves: boolean
}

/** The keys of a stream; with the same hash tag they can be changed together. */
export function keysOf(tag: string, tagged: boolean): Buffer[] {
  return KEYS.map((key) => Buffer.concat([Buffer.from(tagged ? `{${tag}}` : tag), key]))
}

/** Commands that need keys on the same replicas. */
const TOGETHER = ['MOVE', 'RENAME', 'RENAMENX', 'COPY', 'MSETNX', 'BITOP', 'PFMERGE']
const TELLS_TIME = ['TTL', 'PTTL', 'EXPIRETIME', 'PEXPIRETIME']
const POOL = 500
/** Redis keeps longer ones in a hash table, whose order is its own. */
const LONGEST_ELEMENT = 64
/** Redis 7.0 writes what is no fraction of two with 17 digits. */
const EXACT_SCORE = /^[[(]?-?\d*(\.[05])?$/
/** A search by position is exact but for its last digits. */
const { geoadd, geopos, geohash } = GEO_COMMANDS
const ON_COLLECTIONS = Object.entries({
  ...HASH_COMMANDS,
  ...SET_COMMANDS,
  ...LIST_COMMANDS,
  ...SORTED_SET_COMMANDS,
  ...{ geoadd, geopos, geohash },
}).filter(([name]) => !UNORDERED.has(name))
const COLLECTION_KEYS = ['{t}a', '{t}b', '{t}c', '{t}s', '{t}no']
const LONG_LINE = 100_000
const LARGE_BYTES = 256 * 1024

export class Streams {
  private readonly random: Random
  private pool: (readonly Buffer[])[] = []
  private collectionPool: RandomCommand[] = []

  constructor(random: Random) {
    this.random = random
  }

  next(): Stream {
    const { random } = this
    const kind = random.pick<Kind>(['talk', 'talk', 'talk', 'damaged', 'damaged', 'hostile'])
    const pieces = kind === 'hostile' ? this.hostile() : this.talk()
    return {
      kind,
      protocol: random.pick([2, 3]),
      level: random.pick(['one', 'quorum', 'all']),
      pieces: kind === 'damaged' ? [this.damage(Buffer.concat(pieces))] : pieces,
      writes: random.pick([1, 1, 2, 5, 30]),
      leaves: kind === 'hostile' && random.chance(0.3),
    }
  }

  // ---- talk

  private talk(): Buffer[] {
    const { random } = this
    const tagged = random.chance(0.7)
    // Ends are compared with a tolerance, and so is every number near them: most streams do not ask for any.
    const timed = random.chance(0.3)
    const watches = tagged && random.chance(0.5)
    const collections = tagged && random.chance(0.4)
    const pieces: Buffer[] = []
    let open = false
    for (let left = 1 + random.below(40); left > 0; left--) {
      if (tagged && random.chance(0.12)) {
        const names = open
          ? ['EXEC', 'EXEC', 'EXEC', 'DISCARD', 'MULTI']
          : ['MULTI', 'MULTI', 'MULTI', 'EXEC']
        const name: string = random.pick(names)
        pieces.push(this.sent([name]))
        open = name === 'MULTI'
        continue
      }
      if (random.chance(0.1)) pieces.push(this.aside(tagged, watches, open))
      else if (collections && random.chance(0.7)) pieces.push(this.onCollection())
      else pieces.push(this.keyed(tagged, timed, watches))
    }
    if (open) pieces.push(this.sent(['EXEC']))
    return pieces
  }

  private keyed(tagged: boolean, timed: boolean, watches: boolean): Buffer {
    const keys = keysOf(TAG, tagged)
    for (;;) {
      const args = this.command()
      const name = args[0]!.toString()
      if ((!tagged && TOGETHER.includes(name)) || (!timed && TELLS_TIME.includes(name))) continue
      if (watches && countsOnlyHereOrThere(args)) continue
      // Where a key stands, it is one of these very Buffers.
      return this.sent(args.map((arg) => keys[KEYS.findIndex((key) => key === arg)] ?? arg))
    }
  }

  /** With keys that are the first of the others, too: what holds something of another type is refused. */
  private onCollection(): Buffer {
    const keys = keysOf(TAG, true)
    if (this.collectionPool.length === 0) {
      const all = fc.oneof(
        ...ON_COLLECTIONS.map(([name, args]) =>
          args!.map((rest): RandomCommand => [name.toUpperCase(), ...rest]),
        ),
      )
      const sample = fc.sample(all, { numRuns: POOL, seed: this.random.below(2 ** 31) })
      this.collectionPool = sample.filter((line) => line.every((word) => isComparable(line[0]!, word)))
    }
    const line = this.collectionPool.pop()
    if (!line) return this.onCollection()
    return this.sent(line.map((word) => keys[COLLECTION_KEYS.indexOf(word) % keys.length] ?? word))
  }

  private command(): readonly Buffer[] {
    if (this.pool.length === 0) {
      const nowMs = Date.now()
      const sample = fc.sample(commands, { numRuns: POOL, seed: this.random.below(2 ** 31) })
      this.pool = sample.map((args, place) => argumentsAt(args, place, nowMs))
    }
    return this.pool.pop()!
  }

  /** What is not about keys, and what is wrong. */
  private aside(tagged: boolean, watches: boolean, open: boolean): Buffer {
    const { random } = this
    const key = random.pick(keysOf(TAG, tagged))
    const line = random.pick<(string | Buffer)[]>([
      ['PING'],
      ['PING', 'héllo\r\n\0'],
      ['PING', 'a', 'b'],
      ['ECHO', key],
      ['ECHO'],
      ['SELECT', '0'],
      ['SELECT', random.pick(['1', '-1', 'x', ''])],
      ['CLIENT', 'SETNAME', random.pick(['me', '', 'a b', 'x\n'])],
      ['CLIENT', 'GETNAME'],
      ['GET'],
      ['GET', key, key],
      ['SET', key],
      ['MGET'],
      ['NOSUCH', key.subarray(0, 5), 'b'],
      ['no such'],
      [''],
      ['DISCARD'],
      ['UNWATCH'],
      ...(watches ? [['WATCH', key], ['WATCH'], ['WATCH', ...keysOf(TAG, tagged)]] : []),
      ...(random.chance(0.2) ? [['RESET'], ['QUIT']] : []),
      // Inside MULTI, Redis leaves EXEC's reply half written.
      ...(random.chance(0.2) && !open ? [['CLIENT', 'REPLY', random.pick(['ON', 'OFF', 'SKIP', 'x'])]] : []),
    ])
    if (random.chance(0.1))
      return random.pick(['\r\n', '\n', '  \r\n', '*0\r\n', '*-1\r\n'].map((text) => Buffer.from(text)))
    return this.sent(line)
  }

  /** As an array of bulks, or inline. */
  private sent(args: readonly (string | Buffer)[]): Buffer {
    const { random } = this
    const bytes = args.map((arg) => (typeof arg === 'string' ? Buffer.from(arg, 'latin1') : arg))
    if (random.chance(0.2)) bytes[0] = Buffer.from(bytes[0]!.toString('latin1').toLowerCase(), 'latin1')
    if (random.chance(0.85)) return command(...bytes)
    const words = bytes.map((arg) =>
      /^[\w{}~-]+$/.test(arg.toString('latin1')) ? arg.toString() : quoted(arg),
    )
    return Buffer.from(words.join(random.pick([' ', '  ', '\t'])) + random.pick(['\r\n', '\n']), 'latin1')
  }

  // ---- damage

  private damage(bytes: Buffer): Buffer {
    let damaged = bytes
    for (let left = 1 + this.random.below(3); left > 0; left--) damaged = this.hurt(damaged)
    return damaged
  }

  private hurt(bytes: Buffer): Buffer {
    const { random } = this
    const at = random.below(bytes.length + 1)
    const to = Math.min(bytes.length, at + random.below(random.pick([2, 10, 200])))
    const [before, cut, rest] = [bytes.subarray(0, at), bytes.subarray(at, to), bytes.subarray(to)]
    switch (random.below(6)) {
      case 0:
        return before
      case 1:
        return Buffer.concat([before, rest])
      case 2:
        return Buffer.concat([before, cut, cut, rest])
      case 3:
        return Buffer.concat([before, this.noise(1 + random.below(5)), rest])
      case 4:
        return Buffer.concat([before, this.nasty(), cut, rest])
      default:
        return Buffer.concat([before, cut.map((byte) => byte ^ (1 << random.below(8))), rest])
    }
  }

  private noise(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.random.below(256)))
  }

  private nasty(): Buffer {
    const text = this.random.pick([
      ...[
        '*1048577\r\n',
        '*2147483648\r\n',
        '*-2\r\n',
        '*01\r\n',
        '*+1\r\n',
        '*\r\n',
        '*1e1\r\n',
        '*3\r\n',
        '*1\r\n*1\r\n',
      ],
      ...[
        '$-1\r\n',
        '$01\r\n',
        '$999999999\r\n',
        '$1048577\r\n',
        '$1048576\r\n',
        '$5\r\n',
        '$\r\n',
        '$9223372036854775808\r\n',
      ],
      ...[
        '\r\n',
        '\n',
        '\r',
        '"',
        "'",
        ' ',
        'GET "a',
        'POST / HTTP/1.1\r\n',
        'host: x\r\n',
        '+OK\r\n',
        ':1\r\n',
        '_\r\n',
      ],
      ...['MULTI\r\n', 'EXEC\r\n', 'QUIT\r\n', 'x'.repeat(LONG_LINE)],
    ])
    return Buffer.from(text, 'latin1')
  }

  // ---- hostile

  private hostile(): Buffer[] {
    const { random } = this
    switch (random.below(7)) {
      case 0:
        return Array.from({ length: 1 + random.below(20) }, () => this.noise(1 + random.below(400)))
      case 1:
        return [...this.talk(), this.nasty(), this.noise(random.below(2000)), this.nasty()]
      case 2: {
        const many = [
          random.pick([['PING'], ['GET', `${TAG}a`], ['INCR', `${TAG}b`], ['SET', TAG, 'x'.repeat(200)]]),
        ]
        return Array.from({ length: 500 + random.below(3000) }, () => command(...many[0]!))
      }
      case 3:
        return [this.sent(['MULTI']), ...this.anyCommands(1 + random.below(50)), this.sent(['EXEC'])]
      case 4: {
        // Keys all over the cluster: refused, or carried out, but never anything else.
        const spread = Array.from({ length: 2 + random.below(8) }, (_, i) => `${TAG}${i}`)
        const sets = spread.map((key) => this.sent(['SET', key, 'v']))
        return [
          this.sent(['WATCH', ...spread]),
          this.sent(['MULTI']),
          ...sets,
          this.sent(['EXEC']),
          this.sent(['RENAME', ...spread.slice(0, 2)]),
        ]
      }
      case 5:
        return [
          command('SET', TAG, Buffer.alloc(random.below(LARGE_BYTES), 'x')),
          command('GET', TAG),
          this.noise(3),
        ]
      default:
        return this.anyCommands(1 + random.below(40))
    }
  }

  /** Every command that there is, with arguments of all kinds. */
  private anyCommands(count: number): Buffer[] {
    const { random } = this
    const argument = () =>
      random.pick<string | Buffer>([
        ...keysOf(TAG, true),
        ...[
          '',
          '0',
          '1',
          '-1',
          '3',
          '9223372036854775807',
          'x',
          '\0',
          '*',
          '__rondo:node',
          '__rondo:x',
          'READ',
          'WRITE',
          'ALL',
        ],
        ...[
          'GET',
          'LIST',
          'INFO',
          'ID',
          'DOCS',
          'COUNT',
          'MATCH',
          'EX',
          'NX',
          'CONSISTENCY',
          'EXPLAIN',
          'STATUS',
          'HELP',
          'AUTH',
        ],
        this.noise(random.below(40)),
      ])
    return Array.from({ length: count }, () => {
      const { name, arity } = random.pick(COMMANDS)
      const least = Math.max(0, Math.abs(arity) - 1)
      const args = Array.from({ length: random.chance(0.7) ? least : random.below(6) }, argument)
      return this.sent([name, ...args])
    })
  }
}

function isComparable(name: string, word: string): boolean {
  if (word.length > LONGEST_ELEMENT) return false
  return !name.startsWith('Z') || !/\d/.test(word) || EXACT_SCORE.test(word)
}

/** Of these, WATCH finds a change in only one of the two servers (watch.test.ts). */
function countsOnlyHereOrThere(args: readonly Buffer[]): boolean {
  const [name, ...rest] = args.map((arg) => arg.toString('latin1').toUpperCase())
  return name === 'PFCOUNT' || (name === 'BITFIELD' && rest.includes('FAIL'))
}

/** A word of an inline command in which any byte may stand. */
function quoted(bytes: Buffer): string {
  const escaped = [...bytes].map((byte) => {
    const plain = byte > 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c
    return plain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`
  })
  return `"${escaped.join('')}"`
}
