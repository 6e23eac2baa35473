/**
 * What COMMAND tells of each command beside what carrying it out needs: for people, what it does and what its arguments
 * are, of which redis-cli makes its hints and its `help`; for programs, the version of Redis that first had it, its group,
 * and what it does to its keys. All but the sentences is as in Redis 7.0; syntax.ts has the form of arguments.
 */
export interface About {
  readonly group: string
  readonly since: string
  readonly syntax: string
  readonly summary: string
  /** Flags of its key specs: of all its keys together, or of each. */
  readonly keys: readonly (readonly string[])[]
  /** ACL categories, beside those that follow from the command's flags. */
  readonly categories: readonly string[]
}

/** ACL categories of a whole group. */
const CATEGORIES: Readonly<Record<string, readonly string[]>> = {
  string: ['string'],
  bitmap: ['bitmap'],
  generic: ['keyspace'],
  connection: ['connection'],
  cluster: ['connection'],
  transactions: ['transaction'],
}

/** By name: since, arguments, what is done to its keys (to each of them, with a comma), summary. */
type KeyedRows = Readonly<Record<string, readonly [string, string, string, string]>>
/** By name: since, arguments, flags of the command, summary; and what differs from its group. */
type ControlRows = Readonly<
  Record<string, readonly [string, string, string, string, { keys?: string; categories?: string }?]>
>

const LOOK = 'RO access'
const LOOK_FROM_OUTSIDE = 'RO'
const OVERWRITE = 'OW update'
const CREATE = 'OW insert'
const CHANGE = 'RW access update'
const CHANGE_UNSEEN = 'RW update'
const TAKE = 'RW access delete'
const DELETE = 'RM delete'

const ENDS = '[expiration(EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds'
const CONDITION = '[condition(NX|XX|GT|LT)]'
const UNIT = '[index_unit(BYTE|BIT)]'

const STRING: KeyedRows = {
  append: ['2.0.0', 'key value', 'RW insert', 'Adds to the end of a value, or sets it where there is none.'],
  decr: ['1.0.0', 'key', CHANGE, 'Counts an integer down by one.'],
  decrby: ['1.0.0', 'key decrement', CHANGE, 'Takes a number from an integer.'],
  get: ['1.0.0', 'key', LOOK, 'Reads a value.'],
  getdel: ['6.2.0', 'key', TAKE, 'Reads a value and deletes it.'],
  getex: ['6.2.0', `key ${ENDS}|PERSIST)]`, CHANGE, 'Reads a value and changes when it ends.'],
  getrange: ['2.4.0', 'key start end', LOOK, 'Reads a part of a value.'],
  getset: ['1.0.0', 'key value', CHANGE, 'Sets a value and answers the one before.'],
  incr: ['1.0.0', 'key', CHANGE, 'Counts an integer up by one.'],
  incrby: ['1.0.0', 'key increment', CHANGE, 'Adds a number to an integer.'],
  incrbyfloat: ['2.6.0', 'key increment:double', CHANGE, 'Adds a number with a fraction to a number.'],
  lcs: [
    '7.0.0',
    'key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]',
    LOOK,
    'Finds the longest text that two values have in common.',
  ],
  mget: ['1.0.0', 'key...', LOOK, 'Reads several values.'],
  mset: ['1.0.1', 'key_value(key value)...', OVERWRITE, 'Sets several values.'],
  msetnx: ['1.0.1', 'key_value(key value)...', CREATE, 'Sets several values if none of the keys has one.'],
  psetex: [
    '2.6.0',
    'key milliseconds value',
    OVERWRITE,
    'Sets a value that ends after so many milliseconds.',
  ],
  set: [
    '1.0.0',
    `key value [condition(NX|XX)] [GET] ${ENDS}|KEEPTTL)]`,
    `${CHANGE} variable_flags`,
    'Sets a value, in place of what was there.',
  ],
  setex: ['2.0.0', 'key seconds value', OVERWRITE, 'Sets a value that ends after so many seconds.'],
  setnx: ['1.0.0', 'key value', CREATE, 'Sets a value if the key has none.'],
  setrange: ['2.2.0', 'key offset value', CHANGE_UNSEEN, 'Overwrites a part of a value.'],
  strlen: ['2.2.0', 'key', LOOK_FROM_OUTSIDE, 'Tells how many bytes a value has.'],
  substr: ['1.0.0', 'key start end', LOOK, 'Reads a part of a value; the old name of GETRANGE.'],
}

const BITMAP: KeyedRows = {
  bitcount: ['2.6.0', `key [index(start end ${UNIT})]`, LOOK, 'Counts the bits that are set.'],
  bitpos: [
    '2.8.7',
    `key bit [index(start [end_index(end ${UNIT})])]`,
    LOOK,
    'Finds the first bit that is set, or that is not.',
  ],
  getbit: ['2.2.0', 'key offset', LOOK, 'Reads one bit of a value.'],
  setbit: ['2.2.0', 'key offset value:integer', CHANGE, 'Sets or clears one bit of a value.'],
}

const GENERIC: KeyedRows = {
  copy: [
    '6.2.0',
    'source destination [DB destination-db] [REPLACE]',
    `${LOOK}, ${OVERWRITE}`,
    'Copies a value to another key.',
  ],
  del: ['1.0.0', 'key...', DELETE, 'Deletes keys.'],
  exists: ['1.0.0', 'key...', LOOK_FROM_OUTSIDE, 'Counts which of the keys exist.'],
  expire: ['1.0.0', `key seconds ${CONDITION}`, CHANGE_UNSEEN, 'Lets a key end after so many seconds.'],
  expireat: [
    '1.2.0',
    `key unix-time-seconds ${CONDITION}`,
    CHANGE_UNSEEN,
    'Lets a key end at a moment, in seconds since 1970.',
  ],
  expiretime: ['7.0.0', 'key', LOOK, 'Tells when a key ends, in seconds since 1970.'],
  persist: ['2.2.0', 'key', CHANGE_UNSEEN, 'Lets a key live without an end.'],
  pexpire: [
    '2.6.0',
    `key milliseconds ${CONDITION}`,
    CHANGE_UNSEEN,
    'Lets a key end after so many milliseconds.',
  ],
  pexpireat: [
    '2.6.0',
    `key unix-time-milliseconds ${CONDITION}`,
    CHANGE_UNSEEN,
    'Lets a key end at a moment, in milliseconds since 1970.',
  ],
  pexpiretime: ['7.0.0', 'key', LOOK, 'Tells when a key ends, in milliseconds since 1970.'],
  pttl: ['2.6.0', 'key', LOOK, 'Tells how many milliseconds a key has left.'],
  rename: ['1.0.0', 'key newkey', `${TAKE}, ${OVERWRITE}`, 'Moves a value to another key.'],
  renamenx: ['1.0.0', 'key newkey', `${TAKE}, ${CREATE}`, 'Moves a value to another key, if that has none.'],
  touch: ['3.2.1', 'key...', LOOK_FROM_OUTSIDE, 'Counts which of the keys exist, and marks them as used.'],
  ttl: ['1.0.0', 'key', LOOK, 'Tells how many seconds a key has left.'],
  type: ['1.0.0', 'key', LOOK_FROM_OUTSIDE, 'Tells what kind of value a key has.'],
  unlink: ['4.0.0', 'key...', DELETE, 'Deletes keys, as DEL does.'],
}

const ANY_TIME = 'loading stale'
const FAST = `${ANY_TIME} fast`
const NO_AUTH = `noscript ${FAST} no_auth allow_busy`
const TRANSACTION = `noscript ${FAST} allow_busy`
const DANGEROUS = { categories: 'keyspace dangerous' }

const ALL_KEYS: ControlRows = {
  keys: ['1.0.0', 'pattern', 'readonly', 'Finds all keys of a pattern; SCAN does so in pieces.', DANGEROUS],
  randomkey: ['1.0.0', '', 'readonly', 'Tells any key.'],
  scan: [
    '2.8.0',
    'cursor [MATCH pattern] [COUNT count] [TYPE type]',
    'readonly',
    'Walks over all keys, some with each call.',
  ],
}

const CONNECTION: ControlRows = {
  auth: ['1.0.0', '[username] password', NO_AUTH, 'Shows the password.'],
  client: ['2.4.0', '', '', 'What a connection says of itself.'],
  echo: ['1.0.0', 'message', FAST, 'Answers what it is given.'],
  hello: [
    '6.0.0',
    '[arguments(protover [AUTH username_password(username password)] [SETNAME clientname])]',
    NO_AUTH,
    'Chooses the version of the protocol, and says who is there.',
  ],
  ping: ['1.0.0', '[message]', 'fast', 'Answers PONG, or what it is given.'],
  quit: ['1.0.0', '', NO_AUTH, 'Ends the connection.'],
  reset: ['6.2.0', '', NO_AUTH, 'Makes the connection as it was when it was new.'],
  select: ['1.0.0', 'index', FAST, 'Chooses a database; here there is only 0.'],
}

const CLUSTER: ControlRows = {
  readonly: ['3.0.0', '', FAST, 'Answers OK: Rondo chooses which replica is read.'],
  readwrite: ['3.0.0', '', FAST, 'Answers OK: Rondo chooses which replica is read.'],
}

const FLUSH = '[async(ASYNC|SYNC)]'

const SERVER: ControlRows = {
  command: ['2.8.13', '', ANY_TIME, 'Tells which commands there are.', { categories: 'connection' }],
  config: ['2.0.0', '', '', 'Settings that tools ask for.'],
  dbsize: ['1.0.0', '', 'readonly fast', 'Counts all keys.', { categories: 'keyspace' }],
  flushall: ['1.0.0', FLUSH, 'write', 'Deletes all keys.', DANGEROUS],
  flushdb: ['1.0.0', FLUSH, 'write', 'Deletes all keys.', DANGEROUS],
  info: ['1.0.0', '[section...]', ANY_TIME, 'Tells how the server is doing.', { categories: 'dangerous' }],
  time: ['2.6.0', '', FAST, 'Tells the time of the cluster.'],
}

const TRANSACTIONS: ControlRows = {
  discard: ['2.0.0', '', TRANSACTION, 'Drops all that came since MULTI.'],
  exec: ['1.2.0', '', `noscript ${ANY_TIME} skip_slowlog`, 'Carries out all that came since MULTI, as one.'],
  multi: ['1.2.0', '', TRANSACTION, 'Begins a transaction: what follows waits for EXEC.'],
  unwatch: ['2.2.0', '', TRANSACTION, 'Forgets what WATCH has noted.'],
  watch: [
    '2.2.0',
    'key...',
    TRANSACTION,
    'Lets EXEC fail if one of the keys changes before.',
    { keys: 'RO' },
  ],
}

/** What Redis has no command for. */
const OWN: ControlRows = {
  rondo: ['0.1.0', '', `noscript ${ANY_TIME}`, 'Consistency levels, places of keys, state of the nodes.'],
}

/** Of commands that are not carried out on keys. */
export const CONTROL: Readonly<Record<string, About & { readonly flags: readonly string[] }>> = {
  ...control('generic', ALL_KEYS),
  ...control('connection', CONNECTION),
  ...control('cluster', CLUSTER),
  ...control('server', SERVER),
  ...control('transactions', TRANSACTIONS),
  ...control('rondo', OWN),
}

/** By lower-case name. */
export const ABOUT: Readonly<Record<string, About>> = {
  ...keyed('string', STRING),
  ...keyed('bitmap', BITMAP),
  ...keyed('generic', GENERIC),
  ...CONTROL,
}

function keyed(group: string, rows: KeyedRows) {
  return Object.fromEntries(
    Object.entries(rows).map(([name, [since, syntax, keys, summary]]) => [
      name,
      { group, since, syntax, summary, keys: keys.split(', ').map(words), categories: CATEGORIES[group]! },
    ]),
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
