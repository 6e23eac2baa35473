/**
 * Random commands on streams, for the comparison with a real Redis (stream.ts). The last digits of times are left out by
 * compare.ts, and what 7.2 changed: consumers that XCLAIM creates without a claim, `inactive` and `active-time`.
 */
import fc from 'fast-check'
import { STREAM_STEPS } from '../../../src/commands/streams/specs.ts'
import { joined, mostly, number, perhaps, several, words, type Arguments } from './stream.ts'

const FAR = '99999999999999'
/** Mostly one: what is pending is found again. */
const key = fc.oneof(
  { weight: 12, arbitrary: words('{t}a') },
  { weight: 3, arbitrary: words('{t}b') },
  words('{t}s', '{t}no'),
)
const plainId = fc
  .tuple(fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 3 }))
  .map(([ms, counter]) => [`${ms}-${counter}`])
const badId = words(
  '',
  'x',
  '-',
  '+',
  '1-',
  '-1',
  '1-x',
  '1-1-1',
  '1-*',
  '*',
  '0-0',
  '18446744073709551616-1',
  '1.5',
)
/** What `7-*` would be told depends on the error before, in a real Redis: it is in streams.test.ts. */
const oddId = words(
  '01-1',
  '+1-2',
  ' 2-1',
  '1--0',
  '3',
  '7-18446744073709551615',
  '18446744073709551615-1',
  `${FAR}-5`,
)
const id = mostly(plainId, badId, oddId, words('4', '2'))
/** Not before what was deleted, as 0-0 may be. */
const notBefore = badId.filter(([text]) => text !== '0-0')
const newId = fc.oneof(
  { weight: 12, arbitrary: plainId },
  { weight: 3, arbitrary: words('1-*', '3-*', '5-*', '*') },
  { weight: 1, arbitrary: id },
)
const start = mostly(
  fc.oneof(words('-'), plainId),
  id,
  words('(1-0', '(-', '(', '(18446744073709551615-18446744073709551615'),
)
const end = mostly(fc.oneof(words('+'), plainId), id, words('(3-0', '(0-0', '(+'))
const count = mostly(number(0, 4), words('-1', 'x', ''))
const withCount = perhaps(joined(words('COUNT', 'count'), count))
const text = words('a', 'b', 'field', '', '1', '-7', '\xff\0')
const group = mostly(words('g', 'g', 'g', 'h'), words('no', '', 'g\0x'))
const consumer = mostly(words('c', 'd'), words('', 'e\0', 'B'))
const nonsense = words('', 'foo', 'NX')
const strategy = joined(
  fc.oneof(
    joined(words('MAXLEN', 'maxlen'), perhaps(words('=', '~')), mostly(number(0, 5), words('-1', 'x'))),
    joined(words('MINID'), perhaps(words('=', '~')), id),
  ),
  perhaps(mostly(fc.constant([]), joined(words('LIMIT'), mostly(number(0, 9), words('-1', 'x'))))),
)
const options = several(
  mostly(strategy, words('NOMKSTREAM', 'nomkstream'), nonsense, words('LIMIT', 'MAXLEN')),
  0,
  2,
)
/** Far apart, so that both servers find the same ones idle. */
const idle = mostly(words('0', '500000'), words('-1', 'x'))
const claimOption = mostly(
  joined(words('IDLE'), mostly(words('1000000', '0'), words('-5', 'x'))),
  joined(words('TIME'), mostly(words('1000', '0'), words('-1', '99999999999999999', 'x'))),
  joined(words('RETRYCOUNT'), mostly(number(0, 9), words('-1', '-2', 'x'))),
  words('FORCE', 'JUSTID', 'force'),
  joined(words('LASTID'), id),
  nonsense,
)

/** As many ids as keys, or not. */
function streams(after: Arguments): Arguments {
  const balanced = fc
    .integer({ min: 1, max: 3 })
    .chain((many) => joined(several(key, many, many), several(after, many, many)))
  return joined(words('STREAMS', 'streams'), mostly(balanced, joined(key, key, after)))
}

const block = words('BLOCK')
const readOptions = several(
  mostly(joined(words('COUNT'), count), joined(block, words('-1', 'x')), words('NOACK', 'COUNT'), nonsense),
  0,
  1,
)
const from = mostly(fc.oneof(words('0', '0-0', '2', '$'), plainId), id, words('>'))
const groupFrom = mostly(
  words('>', '>', '0'),
  plainId,
  id,
  words('$', '18446744073709551615-18446744073709551615'),
)

const ALL: Readonly<Record<string, Arguments>> = {
  xadd: fc.oneof(
    { weight: 3, arbitrary: joined(key, newId, several(joined(text, text), 1, 3)) },
    joined(key, options, newId, several(joined(text, text), 1, 2), perhaps(mostly(fc.constant([]), text))),
  ),
  xlen: key,
  xrange: joined(key, start, end, withCount, perhaps(mostly(fc.constant([]), nonsense))),
  xrevrange: joined(key, end, start, withCount),
  xread: joined(readOptions, streams(from)),
  xtrim: joined(key, strategy, perhaps(mostly(fc.constant([]), nonsense))),
  xdel: joined(key, several(mostly(plainId, badId), 1, 3)),
  xsetid: joined(
    key,
    // Behind all that was deleted: 7.2 refuses others.
    mostly(words('6-3', '7', '9-9'), notBefore, words(`${FAR}-5`)),
    perhaps(joined(words('ENTRIESADDED'), mostly(number(0, 20), words('-1', 'x', '9223372036854775807')))),
    perhaps(mostly(joined(words('MAXDELETEDID'), mostly(plainId, badId)), nonsense)),
  ),
  xgroup: fc.oneof(
    {
      weight: 4,
      arbitrary: joined(
        words('CREATE', 'create'),
        key,
        group,
        mostly(words('0', '$', '2-1'), id),
        perhaps(words('MKSTREAM')),
        perhaps(mostly(joined(words('ENTRIESREAD'), mostly(number(-1, 5), words('-2', 'x'))), nonsense)),
      ),
    },
    joined(
      words('SETID'),
      key,
      group,
      mostly(words('0', '$', '2-1'), id),
      perhaps(joined(words('ENTRIESREAD'), number(-1, 9))),
    ),
    joined(words('CREATECONSUMER'), key, group, consumer),
    joined(words('DELCONSUMER'), key, group, consumer),
    joined(words('DESTROY'), key, group),
    joined(words('CREATE', 'DESTROY', 'SETID', 'nosuch'), several(key, 0, 2)),
  ),
  xreadgroup: fc.oneof(
    { weight: 6, arbitrary: joined(words('GROUP'), group, consumer, readOptions, streams(groupFrom)) },
    joined(readOptions, words('GROUP'), group, streams(groupFrom)),
    joined(words('NOACK', 'COUNT'), streams(groupFrom), several(nonsense, 3, 4)),
  ),
  xack: joined(key, group, several(id, 1, 3)),
  xpending: fc.oneof(
    joined(key, group),
    joined(key, group, perhaps(joined(words('IDLE'), idle)), start, end, count, perhaps(consumer)),
    joined(key, group, several(nonsense, 1, 5)),
  ),
  xclaim: joined(key, group, consumer, idle, several(id, 1, 3), several(claimOption, 0, 2)),
  xautoclaim: joined(
    key,
    group,
    consumer,
    idle,
    start,
    perhaps(joined(words('COUNT'), mostly(number(1, 3), words('0', 'x', '576460752303423488')))),
    perhaps(mostly(words('JUSTID'), nonsense)),
  ),
  xinfo: fc.oneof(
    joined(words('STREAM', 'stream'), key, perhaps(joined(words('FULL'), withCount))),
    joined(words('GROUPS'), key),
    joined(words('CONSUMERS'), key, group),
    joined(words('STREAM', 'GROUPS', 'CONSUMERS', 'nosuch'), several(mostly(key, nonsense), 0, 3)),
  ),
}

/** With too few arguments no step is made. */
export const STREAM_COMMANDS: Readonly<Record<string, Arguments>> = Object.fromEntries(
  Object.entries(ALL).map(([name, args]) => {
    const { arity } = STREAM_STEPS[name]!
    return [name, args.filter(({ length }) => (arity < 0 ? length + 1 >= -arity : length + 1 === arity))]
  }),
)

/** A group has something pending only if it was created, and there was something to read. */
export const STREAM_WEIGHTS = {
  xadd: 6,
  xgroup: 3,
  xreadgroup: 6,
  xack: 2,
  xpending: 2,
  xclaim: 2,
  xautoclaim: 2,
  xinfo: 2,
}
