/**
 * Random commands on collections, for the comparison with a real Redis: for each command its arguments, ordinary and
 * hostile. A command of the table that is missing here fails the test.
 *
 * What a Redis decides by chance, or by the layout of its hash tables, is compared without its order (UNORDERED). Choices
 * by chance that change a collection are tested on their own.
 */
import fc from 'fast-check'

export type Arguments = fc.Arbitrary<readonly string[]>
export type RandomCommand = readonly string[]

/** All in one replica set; `{t}s` is mostly a string. */
export const KEYS = ['{t}a', '{t}b', '{t}c', '{t}s']
/** What every key holds at the end. */
export const READ_ALL = KEYS.flatMap((key): RandomCommand[] => [
  ['TYPE', key],
  ['TTL', key],
  ['GET', key],
  ['HGETALL', key],
  ['SMEMBERS', key],
  ['LRANGE', key, '0', '-1'],
  ['ZRANGE', key, '0', '-1', 'WITHSCORES'],
  ['XRANGE', key, '-', '+'],
  ['XINFO', 'STREAM', key, 'FULL'],
])

const LONG = 'long'.repeat(80)
export const words = (...all: string[]): Arguments => fc.constantFrom(...all).map((word) => [word])
export const joined = (...parts: Arguments[]): Arguments => fc.tuple(...parts).map((all) => all.flat())
export const several = (part: Arguments, least: number, most: number): Arguments =>
  fc.array(part, { minLength: least, maxLength: most }).map((all) => all.flat())
export const perhaps = (part: Arguments): Arguments => fc.oneof(fc.constant([]), part)
export const mostly = (usual: Arguments, ...rare: Arguments[]): Arguments =>
  fc.oneof({ weight: 10, arbitrary: usual }, ...rare.map((arbitrary) => ({ weight: 1, arbitrary })))

export const key: Arguments = fc.oneof(
  { weight: 12, arbitrary: words('{t}a', '{t}b', '{t}c') },
  words('{t}s', '{t}no'),
)
const element = words('a', 'b', 'c', 'd', 'e', '', '1', '2', '-7', '\xff\0', 'A', LONG)
/** All, or none: with a count between, a choice is by chance. */
const allOrNone = words('0', '100', 'x', '9223372036854775807', '-9223372036854775808')
const badInteger = words('', 'x', '1.5', '9223372036854775808', ' 1', '+1')
export const number = (from: number, to: number): Arguments =>
  fc.integer({ min: from, max: to }).map((value) => [String(value)])
const integer = mostly(number(-8, 8), badInteger, words('9223372036854775807', '-9223372036854775808'))
const float = mostly(
  fc.integer({ min: -40, max: 40 }).map((value) => [String(value / 4)]),
  words('0.1', '1e3', '-0', '3.0e-4', 'inf', '-inf', 'nan', 'x', '', '1e400'),
)
const nonsense = words('', 'foo', 'NX XX')
/** A Redis pages what its hash tables hold by its own layout, unless COUNT takes all of it. */
const scan = joined(
  words('COUNT'),
  words('100'),
  several(
    fc.oneof(
      joined(words('MATCH', 'match'), words('*', 'a*', '?', '[a-c]', 'nosuch')),
      joined(words('COUNT'), mostly(words('100'), words('0', '-1', 'x'))),
      nonsense,
    ),
    0,
    2,
  ),
)
const cursor = mostly(words('0'), words('', 'x', '-1 '))

/** Of each command of the table its random arguments. */
export const HASH_COMMANDS: Readonly<Record<string, Arguments>> = {
  hset: joined(key, several(joined(element, element), 1, 4), perhaps(mostly(fc.constant([]), element))),
  hmset: joined(key, several(joined(element, element), 1, 3)),
  hsetnx: joined(key, element, element),
  hget: joined(key, element),
  hmget: joined(key, several(element, 1, 6)),
  hgetall: key,
  hdel: joined(key, several(element, 1, 6)),
  hexists: joined(key, element),
  hlen: key,
  hkeys: key,
  hvals: key,
  hstrlen: joined(key, element),
  hincrby: joined(key, element, integer),
  hincrbyfloat: joined(key, element, float),
  hrandfield: joined(key, perhaps(joined(allOrNone, perhaps(words('WITHVALUES', 'x'))))),
  hscan: joined(key, cursor, scan),
}

const keyList = several(key, 1, 3)
/** As many keys as the number says, or not. */
const countedKeys = mostly(
  fc.array(key, { minLength: 1, maxLength: 3 }).map((keys) => [String(keys.length), ...keys.flat()]),
  joined(words('0', '-1', 'x', '9'), keyList),
)
const choice = perhaps(allOrNone)

export const SET_COMMANDS: Readonly<Record<string, Arguments>> = {
  sadd: joined(key, several(element, 1, 6)),
  srem: joined(key, several(element, 1, 4)),
  smembers: key,
  sismember: joined(key, element),
  smismember: joined(key, several(element, 1, 6)),
  scard: key,
  // All or nothing: by chance they would leave something else than Redis.
  spop: joined(key, fc.oneof(words('0', '100', '-1', 'x'), joined(words('1'), words('x')))),
  srandmember: joined(key, choice),
  smove: joined(key, key, element),
  sscan: joined(key, cursor, scan),
  sinter: keyList,
  sintercard: joined(
    countedKeys,
    perhaps(joined(words('LIMIT', 'limit'), mostly(words('0', '1', '2'), words('-1', 'x')))),
  ),
  sunion: keyList,
  sdiff: keyList,
  sinterstore: joined(key, keyList),
  sunionstore: joined(key, keyList),
  sdiffstore: joined(key, keyList),
}

const end = mostly(words('LEFT', 'RIGHT', 'left'), nonsense)
const popCount = perhaps(mostly(number(0, 3), words('-1', 'x'), joined(words('1'), words('1'))))

export const LIST_COMMANDS: Readonly<Record<string, Arguments>> = {
  lpush: joined(key, several(element, 1, 4)),
  rpush: joined(key, several(element, 1, 4)),
  lpushx: joined(key, several(element, 1, 2)),
  rpushx: joined(key, several(element, 1, 2)),
  lpop: joined(key, popCount),
  rpop: joined(key, popCount),
  llen: key,
  lrange: joined(key, integer, integer),
  lindex: joined(key, integer),
  lset: joined(key, integer, element),
  linsert: joined(key, mostly(words('BEFORE', 'AFTER', 'after'), nonsense), element, element),
  lrem: joined(key, integer, element),
  ltrim: joined(key, integer, integer),
  lpos: joined(
    key,
    element,
    several(
      fc.oneof(
        // 7.0 takes the lowest integer for a rank, and 7.2 refuses it.
        joined(
          words('RANK', 'rank', 'COUNT', 'MAXLEN'),
          mostly(number(-3, 4), badInteger, words('9223372036854775807', '-9223372036854775807')),
        ),
        mostly(fc.constant([]), nonsense),
      ),
      0,
      3,
    ),
  ),
  lmove: joined(key, key, end, end),
  rpoplpush: joined(key, key),
  lmpop: joined(countedKeys, end, perhaps(mostly(joined(words('COUNT'), number(0, 4)), words('COUNT', 'x')))),
}

/** Short: where scores differ, Redis answers ranges by member otherwise for a large sorted set. */
const member = words('a', 'b', 'c', 'd', 'e', '', '1', '2', '-7', '\xff\0', 'A')
const score = mostly(
  fc.integer({ min: -8, max: 8 }).map((value) => [String(value / 2)]),
  words('0.1', '1e3', '-0', '3.0e-4', 'inf', '-inf', '+inf', '0x10', '1e21', '-1.5e-9'),
  words('nan', 'x', '', '1e400', ' 1', '1 ', '1e-400'),
)
const scoreBound = mostly(
  fc
    .tuple(fc.constantFrom('', '', '('), fc.integer({ min: -8, max: 8 }))
    .map(([open, value]) => [`${open}${value / 2}`]),
  words('-inf', '+inf', 'inf', '(inf', '(-inf', '0.1', '1e400', '-1e400', '1e-400', ''),
  words('(', ' 1', '( 1', '1 ', 'nan', '(nan', 'x', '[1', '((1', '1\0x', '0x10'),
)
const lexBound = mostly(
  fc
    .tuple(fc.constantFrom('[', '('), fc.constantFrom('a', 'b', 'c', 'd', 'e', '', '1', '-7', 'A', '\xff\0'))
    .map(([open, member]) => [`${open}${member}`]),
  words('-', '+'),
  words('', 'a', '++', '-x', '+\0x', '5'),
)
const scoreRange = mostly(joined(words('-inf'), words('+inf')), joined(scoreBound, scoreBound))
const lexRange = mostly(joined(words('-'), words('+')), joined(lexBound, lexBound))
const anyScoreRange = fc.oneof(scoreRange, joined(scoreBound, scoreBound))
const anyLexRange = fc.oneof(lexRange, joined(lexBound, lexBound))
const limit = joined(words('LIMIT', 'limit'), mostly(number(-1, 3), integer), mostly(number(-1, 4), integer))
const rangeOptions = several(mostly(limit, words('WITHSCORES'), nonsense, words('REV'), words('BYLEX')), 0, 2)
const withScores = several(mostly(words('WITHSCORES', 'withscores'), limit, nonsense), 0, 2)
const reversed = perhaps(words('REV', 'rev'))
const swapped = (range: Arguments): Arguments => range.map((all) => [all[1]!, all[0]!, ...all.slice(2)])
const rangeBy = (mark: string, range: Arguments): Arguments =>
  fc.oneof(
    joined(range, words(mark), rangeOptions),
    joined(swapped(range), words(mark, mark.toLowerCase()), words('REV'), rangeOptions),
  )
const anyRange = fc.oneof(
  joined(integer, integer, reversed, rangeOptions),
  rangeBy('BYSCORE', anyScoreRange),
  rangeBy('BYLEX', anyLexRange),
)
const sources = (options: Arguments): Arguments =>
  fc.oneof(
    fc
      .array(key, { minLength: 1, maxLength: 3 })
      .chain((keys) => {
        const weights = fc
          .array(score, { minLength: keys.length, maxLength: keys.length })
          .map((all) => ['WEIGHTS', ...all.flat()])
        return fc.tuple(fc.constant([String(keys.length), ...keys.flat()]), perhaps(weights), options)
      })
      .map((all) => all.flat()),
    joined(countedKeys, options),
  )
const aggregate = several(
  mostly(joined(words('AGGREGATE', 'aggregate'), mostly(words('SUM', 'MIN', 'max'), nonsense)), nonsense),
  0,
  1,
)
const withScore = perhaps(words('WITHSCORES'))
const addOptions = several(words('NX', 'XX', 'GT', 'LT', 'CH', 'INCR', 'nx', 'ch'), 0, 2)

export const SORTED_SET_COMMANDS: Readonly<Record<string, Arguments>> = {
  zadd: fc.oneof(
    joined(key, several(joined(score, member), 1, 6)),
    joined(key, several(joined(words('0'), member), 2, 6)),
    joined(key, addOptions, several(joined(score, member), 1, 3)),
    joined(key, addOptions, score, member, perhaps(mostly(fc.constant([]), member))),
  ),
  zincrby: joined(key, mostly(score, words('NX')), member),
  zrem: joined(key, several(member, 1, 3)),
  zscore: joined(key, member),
  zmscore: joined(key, several(member, 1, 6)),
  zcard: key,
  zrank: joined(key, member),
  zrevrank: joined(key, member),
  zpopmin: joined(key, popCount),
  zpopmax: joined(key, popCount),
  zmpop: joined(
    countedKeys,
    mostly(words('MIN', 'MAX', 'max'), nonsense),
    perhaps(mostly(joined(words('COUNT'), number(0, 3)), words('COUNT', 'x'))),
  ),
  zrandmember: joined(key, perhaps(joined(allOrNone, perhaps(words('WITHSCORES', 'x'))))),
  zscan: joined(key, cursor, scan),
  zcount: joined(key, anyScoreRange),
  zlexcount: joined(key, anyLexRange),
  zrange: joined(key, anyRange),
  zrevrange: joined(key, integer, integer, withScores),
  zrangebyscore: joined(key, anyScoreRange, withScores),
  zrevrangebyscore: joined(key, swapped(anyScoreRange), withScores),
  zrangebylex: joined(key, anyLexRange, withScores),
  zrevrangebylex: joined(key, swapped(anyLexRange), withScores),
  zrangestore: joined(key, key, anyRange),
  zremrangebyrank: joined(key, integer, integer),
  zremrangebyscore: joined(key, fc.oneof(joined(scoreBound, scoreBound))),
  zremrangebylex: joined(key, joined(lexBound, lexBound)),
  zinter: sources(joined(aggregate, withScore)),
  zintercard: joined(
    countedKeys,
    perhaps(joined(words('LIMIT', 'limit'), mostly(words('0', '1', '2'), words('-1', 'x')))),
  ),
  zunion: sources(joined(aggregate, withScore)),
  zdiff: joined(countedKeys, withScores),
  zinterstore: joined(key, sources(aggregate)),
  zunionstore: joined(key, sources(aggregate)),
  zdiffstore: joined(key, countedKeys, perhaps(nonsense)),
  // Members of sets have a score, too.
  sadd: joined(key, several(member, 1, 6)),
}

/** No two of them are as far from a third one: the order of such depends on how Redis sorts. */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  a: ['13.361389', '38.115556'],
  b: ['15.087269', '37.502669'],
  c: ['13.583333', '37.316667'],
  d: ['0', '0'],
  e: ['2.3522', '48.8566'],
  f: ['179.9', '10'],
  g: ['-179.97', '10.3'],
  h: ['-70.5', '-80.25'],
  i: ['100.1', '82.3'],
  j: ['180', '85.05112878'],
  k: ['-180', '-85.05112878'],
}
const placed: Arguments = fc
  .constantFrom(...Object.entries(PLACES))
  .map(([member, [longitude, latitude]]) => [longitude!, latitude!, member])
const place = words('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'no')
const coordinates = mostly(
  fc.constantFrom(...Object.values(PLACES)),
  joined(words('12.5', '-0', 'x', '', '181', '1e300'), words('44.25', '-85', '86', 'nan', 'inf')),
)
const unit = mostly(words('m', 'km', 'KM', 'ft', 'mi'), nonsense)
const radius = joined(
  mostly(words('0', '3', '100', '250.5', '5000', '20000', '4e6'), words('-1', 'x', '', 'inf', '1e300')),
  unit,
)
const box = joined(
  radius.map(([width]) => [width!]),
  radius,
)
const searchOption = mostly(
  words('ASC', 'desc', 'WITHDIST', 'WITHCOORD', 'withhash'),
  joined(words('COUNT'), mostly(number(1, 5), words('0', '-1', 'x')), perhaps(words('ANY'))),
  words('ANY', 'COUNT'),
  nonsense,
)
const searchOptions = several(searchOption, 0, 3)
const area = mostly(
  joined(
    fc.oneof(joined(words('FROMMEMBER'), place), joined(words('FROMLONLAT', 'fromlonlat'), coordinates)),
    fc.oneof(joined(words('BYRADIUS'), radius), joined(words('BYBOX'), box)),
  ),
  joined(words('FROMMEMBER'), place, words('FROMLONLAT'), coordinates),
  joined(words('BYRADIUS'), radius, words('BYBOX'), box),
  joined(words('BYBOX'), box, words('ASC', 'DESC')),
)
const ordered = words('ASC', 'DESC')
const radiusStore = several(
  mostly(ordered, joined(words('STORE', 'store'), key), joined(words('COUNT'), number(1, 4))),
  0,
  3,
)

/** Distances that are stored are compared elsewhere: their last digits depend on the machine. */
export const GEO_COMMANDS: Readonly<Record<string, Arguments>> = {
  geoadd: fc.oneof(
    joined(key, several(placed, 1, 5)),
    joined(key, several(words('NX', 'XX', 'CH', 'ch'), 0, 2), several(placed, 1, 3)),
    joined(key, coordinates, place, perhaps(placed), perhaps(nonsense)),
  ),
  geopos: joined(key, several(place, 0, 4)),
  geodist: joined(key, place, place, perhaps(unit), perhaps(mostly(fc.constant([]), nonsense))),
  geohash: joined(key, several(place, 0, 4)),
  geosearch: joined(key, area, searchOptions),
  geosearchstore: joined(key, key, area, several(mostly(ordered, searchOption), 0, 2)),
  georadius: joined(key, coordinates, radius, fc.oneof(searchOptions, radiusStore)),
  georadius_ro: joined(key, coordinates, radius, fc.oneof(searchOptions, radiusStore)),
  georadiusbymember: joined(key, place, radius, fc.oneof(searchOptions, radiusStore)),
  georadiusbymember_ro: joined(key, place, radius, fc.oneof(searchOptions, radiusStore)),
  // Scores that are not positions.
  zadd: joined(key, words('-1', '2.5', '1e300', 'inf', '-inf', '4503599627370496', '1e17'), words('no')),
}

const sortable = words('1', '2', '10', '-7', '0.5', '2e1', ' 3', '0x10', 'inf')
const sortOption = mostly(
  fc.oneof(
    words('ASC', 'desc', 'DESC'),
    words('ALPHA'),
    joined(words('LIMIT'), mostly(number(-1, 4), integer), mostly(number(-1, 4), integer)),
    joined(words('GET', 'get'), words('#', 'nokey', '{t}w*', '{t}h*->f', '{t}w*->', '{t}*')),
    joined(words('BY', 'by'), words('{t}w*', '{t}h*->f')),
  ),
  words('GET', 'LIMIT'),
  nonsense,
)
const sortOptions = several(sortOption, 0, 4)
/** In the order of texts, equal ones that keys have are in the order of Redis's hash table. */
const isOrdered = (args: readonly string[]) =>
  !args.includes('ALPHA') || !args.some((arg) => /^{t}[wh]/.test(arg))

/** Keys that patterns name. */
export const NAMED_KEYS = ['1', '2', '10', '-7', '0.5', '2e1', 'x'].flatMap((text) => [
  `{t}w${text}`,
  `{t}h${text}`,
])
const named = (before: string): Arguments => words(...NAMED_KEYS.filter((name) => name.startsWith(before)))

/** Without BY a set is replied in the order of its hash table: then the result is stored, which sorts it. */
export const SORT_COMMANDS: Readonly<Record<string, Arguments>> = {
  sort: fc.oneof(
    joined(key, sortOptions).filter(isOrdered),
    joined(key, sortOptions, words('STORE', 'store'), key, sortOptions).filter(isOrdered),
    joined(key, words('BY', 'by'), words('nosort', ''), sortOptions, words('STORE'), key),
  ),
  sort_ro: joined(key, sortOptions, perhaps(joined(words('STORE'), key))).filter(isOrdered),
  rpush: joined(key, several(sortable, 1, 5)),
  sadd: joined(key, several(mostly(sortable, words('x', '', '1 ')), 1, 5)),
  zadd: joined(key, several(joined(number(-3, 3), mostly(sortable, words('nan', 'b'))), 1, 5)),
  lpush: joined(key, words('x', 'y')),
}

/** What patterns look at. */
export const NAMED_COMMANDS: Readonly<Record<string, Arguments>> = {
  set: joined(named('{t}w'), mostly(sortable, words('x', ''))),
  hset: joined(named('{t}h'), words('f'), mostly(sortable, words('y'))),
  del: joined(fc.oneof(named('{t}w'), named('{t}h'))),
}

/** Commands on strings and on keys of any type, which meet the collections. */
export const OTHERS: Readonly<Record<string, Arguments>> = {
  set: joined(key, element, perhaps(words('NX', 'XX', 'GET', 'KEEPTTL'))),
  get: key,
  getset: joined(key, element),
  getdel: key,
  getex: key,
  getrange: joined(key, number(0, 2), number(0, 4)),
  setrange: joined(key, number(0, 2), element),
  mget: several(key, 1, 3),
  mset: several(joined(key, element), 1, 2),
  msetnx: several(joined(key, element), 1, 2),
  setnx: joined(key, element),
  append: joined(key, element),
  strlen: key,
  incr: key,
  incrbyfloat: joined(key, words('1.5')),
  getbit: joined(key, words('1')),
  setbit: joined(key, words('1'), words('1')),
  bitcount: fc.oneof(key, joined(key, words('0'), words('-1')), joined(key, words('x'), words('1'))),
  bitpos: joined(key, words('1')),
  bitop: joined(words('OR'), key, several(key, 1, 3)),
  bitfield: joined(key, fc.oneof(words('GET'), words('SET')), words('u8'), words('0'), perhaps(words('5'))),
  bitfield_ro: key,
  lcs: joined(key, key),
  pfadd: joined(key, element),
  // Of a single key, Redis stores the count with the value.
  pfcount: joined(words('{t}a'), words('{t}b')),
  pfmerge: several(key, 1, 3),
  del: several(key, 1, 2),
  exists: several(key, 1, 3),
  type: key,
  rename: joined(key, key),
  renamenx: joined(key, key),
  copy: joined(key, key, perhaps(words('REPLACE'))),
  // The same time twice is later by a millisecond, or not.
  expire: fc.oneof(
    joined(key, words('1000', '0'), perhaps(words('NX', 'XX'))),
    joined(key, number(2000, 1_000_000), words('GT')),
  ),
  persist: key,
  ttl: key,
}

export const UNORDERED = new Set(
  ['hgetall', 'hkeys', 'hvals', 'hrandfield', 'hscan'].concat([
    'smembers',
    'spop',
    'srandmember',
    'sscan',
    'sinter',
    'sunion',
    'sdiff',
    'zrandmember',
    'zscan',
  ]),
)

/** Random commands of these tables. */
export function commandsOf(
  types: Readonly<Record<string, Arguments>>,
  {
    others = OTHERS,
    weights = {},
  }: { others?: typeof OTHERS; weights?: Readonly<Record<string, number>> } = {},
): fc.Arbitrary<RandomCommand> {
  const all = (table: Readonly<Record<string, Arguments>>) =>
    fc.oneof(
      ...Object.entries(table).map(([name, args]) => ({
        weight: weights[name] ?? 1,
        arbitrary: args.map((rest) => [name, ...rest]),
      })),
    )
  return fc.oneof({ weight: 5, arbitrary: all(types) }, { weight: 1, arbitrary: all(others) })
}
