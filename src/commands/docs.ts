/**
 * Documentation of the commands for COMMAND DOCS and COMMAND INFO: summary and arguments, from which redis-cli makes its
 * hints and `help`; the Redis version that introduced the command, its group, and how it accesses its keys. All but the
 * summaries is as in Redis 7.0, or in the version that introduced it; docs-syntax.ts defines the form of arguments.
 */
import { GEO, HASH, LIST, SET, SORTED_SET, STREAM } from './docs-collections.ts'
import {
  CHANGE,
  CHANGE_UNSEEN,
  CREATE,
  DELETE,
  LOOK,
  LOOK_FROM_OUTSIDE,
  OVERWRITE,
  TAKE,
  type KeyedRows,
} from './docs-rows.ts'

export interface About {
  readonly group: string
  readonly since: string
  readonly syntax: string
  readonly summary: string
  /** Flags of its key specs: of all its keys together, or of each. */
  readonly keys: readonly (readonly string[])[]
  /** ACL categories in addition to those that follow from the command's flags. */
  readonly categories: readonly string[]
  /** All but the first are named by patterns, or behind options. */
  readonly hasUnknownKeys?: boolean
}

/** ACL categories of a whole group. */
const CATEGORIES: Readonly<Record<string, readonly string[]>> = {
  string: ['string'],
  bitmap: ['bitmap'],
  hyperloglog: ['hyperloglog'],
  hash: ['hash'],
  set: ['set'],
  list: ['list'],
  'sorted-set': ['sortedset'],
  geo: ['geo'],
  stream: ['stream'],
  generic: ['keyspace'],
  connection: ['connection'],
  cluster: ['connection'],
  transactions: ['transaction'],
  scripting: ['scripting'],
}

/** By name: since, arguments, flags of the command, summary; and differences from its group. */
type ControlRows = Readonly<
  Record<string, readonly [string, string, string, string, { keys?: string; categories?: string }?]>
>

const ENDS = '[expiration(EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds'
const CONDITION = '[condition(NX|XX|GT|LT)]'
const COMPARISONS = 'IFEQ ifeq-value|IFNE ifne-value|IFDEQ ifdeq-digest|IFDNE ifdne-digest'
const SORTED =
  '[BY pattern] [LIMIT offset_count(offset count)] [GET pattern...+] [order(ASC|DESC)] [ALPHA sorting:pure-token]'
const UNIT = '[index_unit(BYTE|BIT)]'

const STRING: KeyedRows = {
  append: ['2.0.0', 'key value', 'RW insert', 'Appends to a value, or sets it if the key does not exist.'],
  decr: ['1.0.0', 'key', CHANGE, 'Decrements an integer by one.'],
  decrby: ['1.0.0', 'key decrement', CHANGE, 'Decrements an integer by a number.'],
  delex: [
    '8.4.0',
    `key [condition(${COMPARISONS})]`,
    'RW delete variable_flags',
    'Deletes a key if its value, or the digest of its value, is as expected.',
  ],
  delifeq: ['9.0.0', 'key value', 'RM access delete', 'Deletes a key if its value is as expected.'],
  digest: ['8.4.0', 'key', LOOK, 'Returns the XXH3 digest of a value.'],
  get: ['1.0.0', 'key', LOOK, 'Reads a value.'],
  getdel: ['6.2.0', 'key', TAKE, 'Reads a value and deletes it.'],
  getex: ['6.2.0', `key ${ENDS}|PERSIST)]`, CHANGE, 'Reads a value and changes its expiry time.'],
  getrange: ['2.4.0', 'key start end', LOOK, 'Reads a part of a value.'],
  getset: ['1.0.0', 'key value', CHANGE, 'Sets a value and returns the previous one.'],
  incr: ['1.0.0', 'key', CHANGE, 'Increments an integer by one.'],
  incrby: ['1.0.0', 'key increment', CHANGE, 'Increments an integer by a number.'],
  incrbyfloat: ['2.6.0', 'key increment:double', CHANGE, 'Increments a floating-point number.'],
  lcs: [
    '7.0.0',
    'key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]',
    LOOK,
    'Finds the longest common subsequence of two values.',
  ],
  mget: ['1.0.0', 'key...', LOOK, 'Reads several values.'],
  mset: ['1.0.1', 'key_value(key value)...', OVERWRITE, 'Sets several values.'],
  msetex: [
    '8.4.0',
    `numkeys data(key value)... [condition(NX|XX)] ${ENDS}|KEEPTTL)]`,
    OVERWRITE,
    'Sets several values with one expiry, perhaps only if all or none of the keys exist.',
  ],
  msetnx: ['1.0.1', 'key_value(key value)...', CREATE, 'Sets several values if none of the keys exists.'],
  psetex: ['2.6.0', 'key milliseconds value', OVERWRITE, 'Sets a value with an expiry in milliseconds.'],
  set: [
    '1.0.0',
    `key value [condition(NX|XX|${COMPARISONS})] [GET] ${ENDS}|KEEPTTL)]`,
    `${CHANGE} variable_flags`,
    'Sets a value, replacing the previous one.',
  ],
  setex: ['2.0.0', 'key seconds value', OVERWRITE, 'Sets a value with an expiry in seconds.'],
  setnx: ['1.0.0', 'key value', CREATE, 'Sets a value if the key does not exist.'],
  setrange: ['2.2.0', 'key offset value', CHANGE_UNSEEN, 'Overwrites a part of a value.'],
  strlen: ['2.2.0', 'key', LOOK_FROM_OUTSIDE, 'Returns the length of a value in bytes.'],
  substr: ['1.0.0', 'key start end', LOOK, 'Reads a part of a value; the old name of GETRANGE.'],
}

const BITMAP: KeyedRows = {
  bitcount: ['2.6.0', `key [index(start end ${UNIT})]`, LOOK, 'Counts the bits that are set.'],
  bitfield: [
    '3.2.0',
    'key [operation(GET encoding_offset(encoding offset)|write(' +
      '[OVERFLOW wrap_sat_fail(WRAP|SAT|FAIL)] write_operation(' +
      'SET encoding_offset_value(encoding offset value:integer)|' +
      'INCRBY encoding_offset_increment(encoding offset increment))))...]',
    `${CHANGE} variable_flags`,
    'Reads and changes integers of any width within a value.',
  ],
  bitfield_ro: [
    '6.0.0',
    'key [GET encoding_offset(encoding offset)...+]',
    LOOK,
    'Reads integers of any width within a value.',
  ],
  bitop: [
    '2.6.0',
    'operation(AND|OR|XOR|NOT|DIFF|DIFF1|ANDOR|ONE) destkey key...',
    `${OVERWRITE}, ${LOOK}`,
    'Combines the bits of several values, and stores the result.',
  ],
  bitpos: [
    '2.8.7',
    `key bit [index(start [end_index(end ${UNIT})])]`,
    LOOK,
    'Finds the first bit that is set, or that is clear.',
  ],
  getbit: ['2.2.0', 'key offset', LOOK, 'Reads one bit of a value.'],
  setbit: ['2.2.0', 'key offset value:integer', CHANGE, 'Sets or clears one bit of a value.'],
}

const HYPERLOGLOG: KeyedRows = {
  pfadd: ['2.8.9', 'key [element...]', 'RW insert', 'Adds elements to a HyperLogLog.'],
  pfcount: ['2.8.9', 'key...', 'RW access', 'Estimates how many different elements HyperLogLogs have seen.'],
  pfmerge: [
    '2.8.9',
    'destkey sourcekey...',
    `RW access insert, ${LOOK}`,
    'Merges several HyperLogLogs into one.',
  ],
}

const GENERIC: KeyedRows = {
  copy: [
    '6.2.0',
    'source destination [DB destination-db] [REPLACE]',
    `${LOOK}, ${OVERWRITE}`,
    'Copies a value to another key.',
  ],
  del: ['1.0.0', 'key...', DELETE, 'Deletes keys.'],
  dump: ['2.6.0', 'key', LOOK, 'Returns a value in the form of an RDB file, for RESTORE.'],
  exists: ['1.0.0', 'key...', LOOK_FROM_OUTSIDE, 'Counts how many of the keys exist.'],
  expire: ['1.0.0', `key seconds ${CONDITION}`, CHANGE_UNSEEN, 'Sets the expiry of a key in seconds.'],
  expireat: [
    '1.2.0',
    `key unix-time-seconds ${CONDITION}`,
    CHANGE_UNSEEN,
    'Sets the expiry of a key as a Unix time in seconds.',
  ],
  expiretime: ['7.0.0', 'key', LOOK, 'Returns the expiry time of a key as a Unix time in seconds.'],
  move: ['1.0.0', 'key db:integer', CHANGE, 'Moves a key to another database.'],
  persist: ['2.2.0', 'key', CHANGE_UNSEEN, 'Removes the expiry of a key.'],
  pexpire: [
    '2.6.0',
    `key milliseconds ${CONDITION}`,
    CHANGE_UNSEEN,
    'Sets the expiry of a key in milliseconds.',
  ],
  pexpireat: [
    '2.6.0',
    `key unix-time-milliseconds ${CONDITION}`,
    CHANGE_UNSEEN,
    'Sets the expiry of a key as a Unix time in milliseconds.',
  ],
  pexpiretime: ['7.0.0', 'key', LOOK, 'Returns the expiry time of a key as a Unix time in milliseconds.'],
  pttl: ['2.6.0', 'key', LOOK, 'Returns the remaining time to live of a key in milliseconds.'],
  rename: ['1.0.0', 'key newkey', `${TAKE}, ${OVERWRITE}`, 'Moves a value to another key.'],
  renamenx: [
    '1.0.0',
    'key newkey',
    `${TAKE}, ${CREATE}`,
    'Moves a value to another key, if that does not exist.',
  ],
  restore: [
    '2.6.0',
    'key ttl:integer serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency:integer]',
    OVERWRITE,
    'Creates a key from what DUMP has returned.',
    { categories: 'keyspace dangerous' },
  ],
  sort: [
    '1.0.0',
    `key ${SORTED} [STORE destination]`,
    `${LOOK}, ${LOOK}, ${OVERWRITE}`,
    'Returns, or stores, the elements of a list, a set or a sorted set in order.',
    { categories: 'set sortedset list dangerous', hasUnknownKeys: true },
  ],
  sort_ro: [
    '7.0.0',
    `key ${SORTED}`,
    `${LOOK}, ${LOOK}`,
    'Returns the elements of a list, a set or a sorted set in order.',
    { categories: 'set sortedset list dangerous', hasUnknownKeys: true },
  ],
  touch: ['3.2.1', 'key...', LOOK_FROM_OUTSIDE, 'Counts how many of the keys exist, and marks them as used.'],
  ttl: ['1.0.0', 'key', LOOK, 'Returns the remaining time to live of a key in seconds.'],
  type: ['1.0.0', 'key', LOOK_FROM_OUTSIDE, 'Returns the type of the value of a key.'],
  unlink: ['4.0.0', 'key...', DELETE, 'Deletes keys, as DEL does.'],
}

const ANY_TIME = 'loading stale'
const FAST = `${ANY_TIME} fast`
const NO_AUTH = `noscript ${FAST} no_auth allow_busy`
const TRANSACTION = `noscript ${FAST} allow_busy`
const DANGEROUS = { categories: 'keyspace dangerous' }

const ALL_KEYS: ControlRows = {
  keys: [
    '1.0.0',
    'pattern',
    'readonly',
    'Returns all keys that match a pattern; SCAN does so in pages.',
    DANGEROUS,
  ],
  object: ['2.2.3', '', '', 'Tells how Redis would hold a value.'],
  randomkey: ['1.0.0', '', 'readonly', 'Returns a random key.'],
  scan: [
    '2.8.0',
    'cursor [MATCH pattern] [COUNT count] [TYPE type]',
    'readonly',
    'Iterates over all keys, page by page.',
  ],
}

const CONNECTION: ControlRows = {
  auth: ['1.0.0', '[username] password', NO_AUTH, 'Authenticates the connection.'],
  client: ['2.4.0', '', '', 'Information about, and settings of, this connection.'],
  echo: ['1.0.0', 'message', FAST, 'Returns its argument.'],
  hello: [
    '6.0.0',
    '[arguments(protover [AUTH username_password(username password)] [SETNAME clientname])]',
    NO_AUTH,
    'Selects the protocol version, and authenticates the connection.',
  ],
  ping: ['1.0.0', '[message]', 'fast', 'Returns PONG, or its argument.'],
  quit: ['1.0.0', '', NO_AUTH, 'Closes the connection.'],
  reset: ['6.2.0', '', NO_AUTH, "Restores a new connection's defaults."],
  select: ['1.0.0', 'index', FAST, 'Selects a database; there is only database 0.'],
}

const CLUSTER: ControlRows = {
  readonly: ['3.0.0', '', FAST, 'Returns OK: Rondo chooses which replica is read.'],
  readwrite: ['3.0.0', '', FAST, 'Returns OK: Rondo chooses which replica is read.'],
}

const FLUSH = '[async(ASYNC|SYNC)]'

const SERVER: ControlRows = {
  acl: ['6.0.0', '', '', 'Tells what the only user may do.'],
  command: ['2.8.13', '', ANY_TIME, 'Describes the commands.', { categories: 'connection' }],
  config: ['2.0.0', '', '', 'Returns settings that tools ask for.'],
  dbsize: ['1.0.0', '', 'readonly fast', 'Counts all keys.', { categories: 'keyspace' }],
  flushall: ['1.0.0', FLUSH, 'write', 'Deletes all keys.', DANGEROUS],
  flushdb: ['1.0.0', FLUSH, 'write', 'Deletes all keys.', DANGEROUS],
  info: [
    '1.0.0',
    '[section...]',
    ANY_TIME,
    'Returns information and statistics about the server.',
    { categories: 'dangerous' },
  ],
  latency: ['2.8.13', '', '', 'Returns how long commands took.'],
  memory: ['4.0.0', '', '', 'Tells how much memory a key takes.'],
  module: ['4.0.0', '', '', 'Tells that there are no modules.'],
  role: [
    '2.8.12',
    '',
    `noscript ${FAST}`,
    'Returns master: every coordinator takes writes, and has no replicas of its own.',
    { categories: 'admin dangerous' },
  ],
  slowlog: ['2.2.12', '', '', 'Tells which commands took long.'],
  time: ['2.6.0', '', FAST, 'Returns cluster time.'],
}

const SUBSCRIPTION = 'pubsub noscript loading stale'
const PUBLICATION = 'pubsub loading stale fast'
const PUBSUB: ControlRows = {
  psubscribe: ['2.0.0', 'pattern(pattern)...', SUBSCRIPTION, 'Listens to the channels that match patterns.'],
  publish: ['2.0.0', 'channel message', PUBLICATION, 'Sends a message to the subscribers of a channel.'],
  pubsub: ['2.8.0', '', '', 'Tells which channels have subscribers.'],
  punsubscribe: ['2.0.0', '[pattern:pattern...]', SUBSCRIPTION, 'Stops listening to patterns, or to all.'],
  spublish: [
    '7.0.0',
    'shardchannel message',
    PUBLICATION,
    'Sends a message to the subscribers of a shard channel.',
    { keys: 'not_key' },
  ],
  ssubscribe: ['7.0.0', 'shardchannel...', SUBSCRIPTION, 'Listens to shard channels.', { keys: 'not_key' }],
  subscribe: ['2.0.0', 'channel...', SUBSCRIPTION, 'Listens to channels.'],
  sunsubscribe: [
    '7.0.0',
    '[shardchannel...]',
    SUBSCRIPTION,
    'Stops listening to shard channels, or to all.',
    { keys: 'not_key' },
  ],
  unsubscribe: ['2.0.0', '[channel...]', SUBSCRIPTION, 'Stops listening to channels, or to all.'],
}

const SCRIPT = 'noscript stale skip_monitor no_mandatory_keys movablekeys'
const SCRIPT_WRITE = { keys: 'RW access update' }
const SCRIPT_READ = { keys: 'RO access' }
const SCRIPTING: ControlRows = {
  eval: ['2.6.0', 'script numkeys [key...] [arg...]', SCRIPT, 'Runs a script.', SCRIPT_WRITE],
  eval_ro: [
    '7.0.0',
    'script numkeys [key...] [arg...]',
    `readonly ${SCRIPT}`,
    'Runs a script that only reads.',
    SCRIPT_READ,
  ],
  evalsha: [
    '2.6.0',
    'sha1 numkeys [key...] [arg...]',
    SCRIPT,
    'Runs a script that is known, by its SHA1.',
    SCRIPT_WRITE,
  ],
  evalsha_ro: [
    '7.0.0',
    'sha1 numkeys [key...] [arg...]',
    `readonly ${SCRIPT}`,
    'Runs a script that is known and only reads, by its SHA1.',
    SCRIPT_READ,
  ],
  fcall: [
    '7.0.0',
    'function numkeys [key...] [arg...]',
    SCRIPT,
    'Calls a function of a library.',
    SCRIPT_WRITE,
  ],
  fcall_ro: [
    '7.0.0',
    'function numkeys [key...] [arg...]',
    `readonly ${SCRIPT}`,
    'Calls a function of a library that only reads.',
    SCRIPT_READ,
  ],
  function: ['7.0.0', '', '', 'Loads, lists and deletes libraries of functions.'],
  script: ['2.6.0', '', '', 'Loads scripts, ends one that runs, and forgets all.'],
}

const TRANSACTIONS: ControlRows = {
  discard: ['2.0.0', '', TRANSACTION, 'Discards the commands queued since MULTI.'],
  exec: [
    '1.2.0',
    '',
    `noscript ${ANY_TIME} skip_slowlog`,
    'Executes the commands queued since MULTI atomically.',
  ],
  multi: ['1.2.0', '', TRANSACTION, 'Starts a transaction: later commands are queued until EXEC.'],
  unwatch: ['2.2.0', '', TRANSACTION, 'Stops watching all keys.'],
  watch: [
    '2.2.0',
    'key...',
    TRANSACTION,
    'Makes EXEC fail if one of the keys changes before it.',
    { keys: 'RO' },
  ],
}

/** Commands that Redis does not have. */
const OWN: ControlRows = {
  rondo: [
    '0.1.0',
    '',
    `noscript ${ANY_TIME}`,
    'Consistency levels, places of keys, state of the nodes, changes of the members.',
  ],
}

/** Commands that do not operate on keys. */
export const CONTROL: Readonly<Record<string, About & { readonly flags: readonly string[] }>> = {
  ...control('generic', ALL_KEYS),
  ...control('connection', CONNECTION),
  ...control('cluster', CLUSTER),
  ...control('server', SERVER),
  ...control('transactions', TRANSACTIONS),
  ...control('pubsub', PUBSUB),
  ...control('scripting', SCRIPTING),
  ...control('rondo', OWN),
}

/** By lower-case name. */
export const ABOUT: Readonly<Record<string, About>> = {
  ...keyed('string', STRING),
  ...keyed('bitmap', BITMAP),
  ...keyed('hyperloglog', HYPERLOGLOG),
  ...keyed('hash', HASH),
  ...keyed('set', SET),
  ...keyed('list', LIST),
  ...keyed('sorted-set', SORTED_SET),
  ...keyed('geo', GEO),
  ...keyed('stream', STREAM),
  ...keyed('generic', GENERIC),
  ...CONTROL,
}

function keyed(group: string, rows: KeyedRows) {
  return Object.fromEntries(
    Object.entries(rows).map(
      ([name, [since, syntax, keys, summary, { categories, hasUnknownKeys } = {}]]) => [
        name,
        {
          group,
          since,
          syntax,
          summary,
          keys: keys.split(', ').map(words),
          categories: categories === undefined ? CATEGORIES[group]! : words(categories),
          ...(hasUnknownKeys === undefined ? {} : { hasUnknownKeys }),
        },
      ],
    ),
  )
}

function control(group: string, rows: ControlRows) {
  return Object.fromEntries(
    Object.entries(rows).map(([name, [since, syntax, flags, summary, { keys, categories } = {}]]) => [
      name,
      {
        group,
        since,
        syntax,
        summary,
        flags: words(flags),
        keys: keys === undefined ? [] : [words(keys)],
        categories: categories === undefined ? (CATEGORIES[group] ?? []) : words(categories),
      },
    ]),
  )
}

function words(text: string): string[] {
  return text === '' ? [] : text.split(' ')
}
