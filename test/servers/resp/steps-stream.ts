/**
 * Random commands on strings and keys, ordinary and hostile, for the comparison with a real Redis.
 *
 * The steps' clock stands still and the server's runs, so no life is short enough to end meanwhile, and no two ends lie so
 * close together that GT and LT could see them the other way round: a life is drawn by its place in the stream (`Later`).
 * Ends beyond what a record's head can hold are left out, and bits beyond what a value can hold, because there we differ
 * from Redis on purpose.
 */
import fc from 'fast-check'

/** A moment in the future, written in this unit when the command's place in the stream is known. */
export type Later = { later: 'EX' | 'PX' | 'EXAT' | 'PXAT' }
export type Argument = Buffer | Later
export type RandomCommand = readonly Argument[]

const FIRST_LIFE_S = 1_000
const BETWEEN_LIVES_S = 200
/** Lives come in another order than commands; a prime, so that none comes twice. */
const LIVES = 997
const SHUFFLE = 389

/** The arguments of the command at this place of the stream. */
export function argumentsAt(command: RandomCommand, place: number, nowMs: number): Buffer[] {
  const lifeS = FIRST_LIFE_S + BETWEEN_LIVES_S * ((place * SHUFFLE) % LIVES)
  const nowS = Math.floor(nowMs / 1000)
  const inUnit = { EX: lifeS, PX: lifeS * 1000 + 123, EXAT: nowS + lifeS, PXAT: (nowS + lifeS) * 1000 + 456 }
  return command.map((argument) =>
    Buffer.isBuffer(argument) ? argument : Buffer.from(String(inUnit[argument.later])),
  )
}

export const KEYS = ['', 'a', 'b', '\xff\0\r\n'].map((text) => Buffer.from(text, 'latin1'))

const texts = (...all: string[]) => fc.constantFrom(...all.map((text) => Buffer.from(text, 'latin1')))
const one = <T>(value: T) => fc.constant(value)
const name = (text: string) => one(Buffer.from(text))
const number = (from: number, to: number) =>
  fc.integer({ min: from, max: to }).map((value) => Buffer.from(String(value)))

const keys = fc.constantFrom(...KEYS)
const MAX = '9223372036854775807'
const badIntegers = texts(
  ...['', ' ', '1 ', ' 1', '+1', '-', '-0', '01', '1.5', '1e3', 'x', '0x10', '1\0', 'nan', 'inf', '\xff'],
  ...['9223372036854775808', '-9223372036854775809', '18446744073709551616', '99999999999999999999999'],
)
const largeIntegers = texts(
  ...[MAX, '-9223372036854775808', '9223372036854775806', '999999999999999', '-999999999999999'],
  ...['1000000000000000', '9007199254740993', '-9007199254740993', '4294967296', '2147483648'],
)
const integers = fc.oneof(
  { weight: 6, arbitrary: number(-40, 40) },
  { weight: 2, arbitrary: largeIntegers },
  { weight: 1, arbitrary: badIntegers },
)
const floats = fc.oneof(
  number(-1000, 1000),
  fc
    .tuple(fc.integer({ min: -9999, max: 9999 }), fc.integer({ min: -6, max: 3 }))
    .map(([digits, power]) => Buffer.from(`${digits}e${power}`)),
  texts(
    '0.1',
    '-.5',
    '5.',
    '+1',
    '1e3',
    '3.0e-4',
    '0x1p3',
    '0xA.8',
    '1E+2',
    '-0',
    '0e99999999',
    '1e-17',
    '1e-18',
  ),
  texts(
    '',
    '.',
    'e5',
    '1e',
    '1e+',
    '0x',
    '+-1',
    ' 1',
    '1 ',
    '1,5',
    'nan',
    'inf',
    '-INF',
    'Infinity',
    '1e5000',
    '1e-5000',
  ),
)
const values = fc.oneof(
  {
    weight: 3,
    arbitrary: texts('', 'a', 'abc', 'ohmytext', 'mynewtext', 'aXbXcXd', '\xff\xff\xff', '\0\0', '\x7f\xf0'),
  },
  { weight: 3, arbitrary: integers },
  { weight: 2, arbitrary: floats },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
)

/** A word in the letters of a careless user; NUL ends it. */
const option = (...words: string[]) =>
  fc
    .tuple(fc.constantFrom(...words), fc.constantFrom('upper', 'lower', 'mixed', 'nul'))
    .map(([word, how]) =>
      Buffer.from(
        how === 'upper'
          ? word
          : how === 'lower'
            ? word.toLowerCase()
            : how === 'nul'
              ? `${word}\0x`
              : word.slice(0, 1) + word.slice(1).toLowerCase(),
      ),
    )
const nonsense = texts('', 'foo', 'NXX', 'a\nb\r\n', '\r\n')

type Some = fc.Arbitrary<readonly Argument[]>
const both = (...parts: fc.Arbitrary<Argument>[]): Some => fc.tuple(...parts)
const joined = (...parts: Some[]): Some => fc.tuple(...parts).map((all) => all.flat())
const several = (part: Some, least: number, most: number): Some =>
  fc.array(part, { minLength: least, maxLength: most }).map((all) => all.flat())
const perhaps = (part: Some): Some => fc.oneof(one([]), part)

/** Times that are no life: wrong, past or too far, and never merely short. */
const noLives = (unit: Later['later']) =>
  fc.oneof(
    badIntegers,
    texts('0', '-1', '-9223372036854775808', ...(unit === 'PXAT' ? [] : [MAX])),
    ...(unit === 'EXAT' || unit === 'PXAT' ? [texts('1', '1000')] : []),
  )
const times = (unit: Later['later']): fc.Arbitrary<Argument> =>
  fc.oneof({ weight: 4, arbitrary: one({ later: unit }) }, { weight: 1, arbitrary: noLives(unit) })
const lifeOptions = fc
  .constantFrom<Later['later']>('EX', 'PX', 'EXAT', 'PXAT')
  .chain((unit) => both(option(unit), times(unit)))

const setOptions = several(
  fc.oneof(
    { weight: 4, arbitrary: both(option('NX', 'XX', 'GET', 'KEEPTTL')) },
    { weight: 4, arbitrary: lifeOptions },
    { weight: 1, arbitrary: both(fc.oneof(nonsense, option('PERSIST', 'EX', 'PXAT'))) },
  ),
  0,
  3,
)
const getexOptions = several(
  fc.oneof(
    { weight: 3, arbitrary: lifeOptions },
    { weight: 1, arbitrary: both(option('PERSIST')) },
    { weight: 1, arbitrary: both(fc.oneof(nonsense, option('KEEPTTL', 'NX', 'GET', 'EX'))) },
  ),
  0,
  2,
)
const expireOptions = several(
  both(
    fc.oneof({ weight: 8, arbitrary: option('NX', 'XX', 'GT', 'LT') }, { weight: 1, arbitrary: nonsense }),
  ),
  0,
  2,
)
const bitOffsets = fc.oneof(number(0, 200), number(0, 200), texts(MAX, '-1', '4294967296'), badIntegers)
const bitUnits = fc.oneof({ weight: 6, arbitrary: option('BIT', 'BYTE') }, { weight: 1, arbitrary: nonsense })
const bits = fc.oneof(
  { weight: 8, arbitrary: texts('0', '1') },
  { weight: 1, arbitrary: texts('2', '-1', 'x', '', MAX) },
)
const fieldTypes = fc.oneof(
  {
    weight: 12,
    arbitrary: fc
      .tuple(fc.constantFrom('i', 'u'), fc.oneof(fc.integer({ min: 1, max: 63 }), one(8)))
      .map(([sign, width]) => Buffer.from(`${sign}${width}`)),
  },
  { weight: 2, arbitrary: texts('i64', 'u63', 'i1', 'u1') },
  { weight: 1, arbitrary: texts('u64', 'i65', 'u0', 'U8', 'u', '8', '', 'i8\0x') },
)
const fieldOffsets = fc.oneof(
  { weight: 4, arbitrary: number(0, 200) },
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 12 }).map((place) => Buffer.from(`#${place}`)) },
  { weight: 1, arbitrary: texts(MAX, '-1', '#-1', '#', '##1', '4294967296', '#9223372036854775807') },
  { weight: 1, arbitrary: badIntegers },
)
const fieldNumbers = fc.oneof(
  integers,
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => Buffer.from(String(value))),
)
const fieldOperations = several(
  fc.oneof(
    { weight: 3, arbitrary: both(option('GET'), fieldTypes, fieldOffsets) },
    { weight: 6, arbitrary: both(option('SET', 'INCRBY'), fieldTypes, fieldOffsets, fieldNumbers) },
    { weight: 3, arbitrary: both(option('OVERFLOW'), option('WRAP', 'SAT', 'FAIL')) },
    { weight: 1, arbitrary: both(fc.oneof(nonsense, option('GET', 'SET', 'OVERFLOW'))) },
  ),
  0,
  5,
)
/** Without mistakes: most of the others are refused as a whole. */
const goodFieldOperations = several(
  fc.oneof(
    both(option('GET'), texts('u5', 'i8', 'i64', 'u63', 'i33'), number(0, 150)),
    both(
      option('SET', 'INCRBY'),
      texts('u1', 'u5', 'i8', 'i64', 'u63', 'i33', 'u17'),
      number(0, 150),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value) => Buffer.from(String(value))),
    ),
    both(option('OVERFLOW'), option('WRAP', 'SAT', 'FAIL')),
    both(option('INCRBY'), texts('u1', 'u5', 'i8', 'i2'), number(0, 40), number(-40, 40)),
  ),
  1,
  8,
)
const bitOperations = fc.oneof(
  { weight: 8, arbitrary: option('AND', 'OR', 'XOR') },
  { weight: 1, arbitrary: fc.oneof(nonsense, option('NOT', 'NAND')) },
)
const lcsOptions = several(
  fc.oneof(
    both(option('IDX')),
    both(option('IDX', 'LEN', 'WITHMATCHLEN')),
    both(option('MINMATCHLEN'), integers),
    both(fc.oneof(nonsense, option('MINMATCHLEN'))),
  ),
  0,
  3,
)
const copyOptions = several(
  fc.oneof(
    { weight: 3, arbitrary: both(option('REPLACE')) },
    {
      weight: 2,
      arbitrary: both(option('DB'), fc.oneof(texts('0'), texts('1', '-1', '99999999999'), badIntegers)),
    },
    { weight: 1, arbitrary: both(fc.oneof(nonsense, option('DB'))) },
  ),
  0,
  2,
)

const call = (command: string, ...parts: Some[]) => joined(both(name(command)), ...parts)
const key = both(keys)
const value = both(values)
const integer = both(integers)
const expiring = (command: string, unit: Later['later']) =>
  call(command, key, both(times(unit)), expireOptions)

export const commands: fc.Arbitrary<RandomCommand> = fc.oneof(
  // The same few keys must hold something most of the time.
  { weight: 8, arbitrary: call('SET', key, value) },
  { weight: 8, arbitrary: call('SET', key, value, setOptions) },
  ...[
    call('GET', key),
    call('SETEX', key, both(times('EX')), value),
    call('PSETEX', key, both(times('PX')), value),
    call('SETNX', key, value),
    call('GETSET', key, value),
    call('GETDEL', key),
    call('GETEX', key, getexOptions),
    call('GETEX', key, getexOptions),
    call('MGET', several(key, 1, 4)),
    call('MSET', several(joined(key, value), 1, 3)),
    call('MSET', key, value, key),
    call('MSETNX', several(joined(key, value), 1, 3)),
    call('MSETNX', key, value, key),
    call('APPEND', key, value),
    call('STRLEN', key),
    call('GETRANGE', key, integer, integer),
    call('SUBSTR', key, integer, integer),
    call('SETRANGE', key, fc.oneof(both(number(0, 60)), both(texts('1048576', MAX)), integer), value),
    call('INCR', key),
    call('DECR', key),
    call('INCRBY', key, integer),
    call('DECRBY', key, integer),
    call('INCRBYFLOAT', key, both(floats)),
    call('GETBIT', key, both(bitOffsets)),
    call('SETBIT', key, both(bitOffsets), both(bits)),
    call('BITCOUNT', key, perhaps(joined(integer, perhaps(joined(integer, perhaps(both(bitUnits))))))),
    call('BITCOUNT', key, integer, integer, both(bitUnits)),
    call('BITPOS', key, both(bits), perhaps(joined(integer, perhaps(integer)))),
    call('BITPOS', key, both(bits), integer, integer, both(bitUnits), perhaps(value)),
    call('BITOP', both(bitOperations), key, several(key, 1, 4)),
    call('BITOP', both(option('NOT')), key, key),
    call('BITFIELD', key, fieldOperations),
    call('BITFIELD', key, goodFieldOperations),
    call('BITFIELD', key, goodFieldOperations),
    call(
      'BITFIELD_RO',
      key,
      fc.oneof(fieldOperations, several(both(option('GET'), fieldTypes, fieldOffsets), 0, 4)),
    ),
    call('PFADD', key, several(value, 0, 4)),
    call('PFADD', key, several(value, 0, 4)),
    call('PFMERGE', key, several(key, 0, 3)),
    // Of a single key, Redis stores the count with the value.
    call('PFCOUNT', key, several(key, 1, 3)),
    call('LCS', key, key, lcsOptions),
    call('LCS', key, key, lcsOptions),
    call('DEL', several(key, 1, 3)),
    call('UNLINK', several(key, 1, 3)),
    call('EXISTS', several(key, 1, 4)),
    call('TOUCH', several(key, 1, 4)),
    call('TYPE', key),
    call('TTL', key),
    call('PTTL', key),
    call('EXPIRETIME', key),
    call('PEXPIRETIME', key),
    call('PERSIST', key),
    expiring('EXPIRE', 'EX'),
    expiring('PEXPIRE', 'PX'),
    expiring('EXPIREAT', 'EXAT'),
    expiring('PEXPIREAT', 'PXAT'),
    call('RENAME', key, key),
    call('RENAMENX', key, key),
    call('COPY', key, key, copyOptions),
    call('MOVE', key, both(texts('0', '1', '2'))),
  ].map((arbitrary) => ({ weight: 1, arbitrary })),
)

/** Text for INCRBYFLOAT that needs every bit of a long double. */
export const wildFloats: fc.Arbitrary<string> = fc.oneof(
  fc
    .tuple(
      fc.constantFrom('', '-', '+'),
      fc.stringMatching(/^[0-9]{1,40}$/),
      fc.stringMatching(/^[0-9]{0,40}$/),
      fc.oneof(
        one(''),
        fc.integer({ min: -30, max: 30 }).map((power) => `e${power}`),
      ),
    )
    .map(([sign, whole, part, power]) => `${sign}${whole}.${part}${power}`),
  fc
    .tuple(fc.stringMatching(/^-?[1-9][0-9]{0,30}$/), fc.integer({ min: -4990, max: 4940 }))
    .map(([digits, power]) => `${digits}e${power}`),
  fc
    .tuple(fc.stringMatching(/^-?0x[0-9a-f]{1,20}\.[0-9a-f]{0,20}$/), fc.integer({ min: -16500, max: 16400 }))
    .map(([digits, power]) => `${digits}p${power}`),
  fc.constantFrom(
    ...['3.6e-4951', '1.9e-4951', '1.8e-4951', '1.18973149535723176502e4932', '1.18973149535723176508e4932'],
    ...['18446744073709551615', '18446744073709551616', '18446744073709551617', '0x1.ffffffffffffffffp0'],
    ...[
      '1e-17',
      '5e-18',
      '1.5e-17',
      '2.5e-17',
      '-5e-18',
      '4.9e-18',
      `1${'0'.repeat(300)}`,
      `0.${'3'.repeat(400)}`,
    ],
  ),
)
