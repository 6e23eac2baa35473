/** What goes wrong most often: commands and the bytes of their answers to a client of RESP2. */
export interface Trap {
  /** Asked before. */
  readonly after: readonly string[]
  readonly ask: string
  readonly answer: string
}

const trap = (...lines: string[]): Trap => ({
  after: lines.slice(0, -2),
  ask: lines.at(-2)!,
  answer: `${lines.at(-1)!}\r\n`,
})

const MAX = '9223372036854775807'
const MIN = '-9223372036854775808'
const NOT_INTEGER = '-ERR value is not an integer or out of range'
const SYNTAX = '-ERR syntax error'
const invalid = (name: string) => `-ERR invalid expire time in '${name}' command`
const TOO_LONG = '-ERR string exceeds maximum allowed size (proto-max-bulk-len)'
const LATEST = ':281474976710655'
const BAD_OFFSET = '-ERR bit offset is not an integer or out of range'

export const TRAPS: readonly Trap[] = [
  // SET and its options
  trap('SET a 1 EX 0', invalid('set')),
  trap('SET a 1 EX -1', invalid('set')),
  trap(`SET a 1 EX ${MAX}`, invalid('set')),
  trap(`SET a 1 PX ${MAX}`, invalid('set')),
  trap('SET a 1 EX 1.5', NOT_INTEGER),
  trap('SET a 1 EX', SYNTAX),
  trap('SET a 1 NX XX', SYNTAX),
  trap('SET a 1 EX 10 KEEPTTL', SYNTAX),
  trap('SET a 1 KEEPTTL EX 10', SYNTAX),
  trap('SET a 1 EX 10 PX 10', SYNTAX),
  trap('SET a 1 PERSIST', SYNTAX),
  trap('SET a 1', 'SET a 2 NX', '$-1'),
  trap('SET a 1', 'SET a 2 NX GET', '$1\r\n1'),
  trap('SET a 1', 'SET a 2 NX GET', 'GET a', '$1\r\n1'),
  trap('SET a 2 NX GET', '$-1'),
  trap('SET a 2 NX GET', 'GET a', '$1\r\n2'),
  trap('SET a 2 XX', '$-1'),
  trap('SET a 1', 'SET a 2 XX GET', '$1\r\n1'),
  trap('SET a 1 PXAT 1', '+OK'),
  trap('SET a 0', 'SET a 1 PXAT 1', 'EXISTS a', ':0'),
  trap('SET a 1 EX 1000', 'SET a 2', 'TTL a', ':-1'),
  trap('SET a 1 EXAT 9999999999', 'SET a 2 KEEPTTL', 'EXPIRETIME a', ':9999999999'),
  trap('SETEX a 0 1', invalid('setex')),
  trap('PSETEX a -1 1', invalid('psetex')),
  trap('SET a 1 EX 1000', 'GETSET a 2', 'TTL a', ':-1'),
  trap('MSET a 1 b', "-ERR wrong number of arguments for 'mset' command"),
  trap('MSETNX a 1 b', "-ERR wrong number of arguments for 'msetnx' command"),
  trap('MSET a 1 a 2', 'GET a', '$1\r\n2'),
  trap('SET b 1', 'MSETNX a 1 b 2', 'EXISTS a', ':0'),
  trap('SET a 1', 'MGET a b a', '*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n1'),

  // GETEX
  trap('GETEX a EX 0', '$-1'),
  trap('SET a 1', 'GETEX a EX 0', invalid('getex')),
  trap('SET a 1', 'GETEX a EX x', NOT_INTEGER),
  trap('GETEX a EX 10 PERSIST', SYNTAX),
  trap('GETEX a KEEPTTL', SYNTAX),
  trap('SET a 1 EX 1000', 'GETEX a', 'PERSIST a', ':1'),
  trap('SET a 1 EX 1000', 'GETEX a PERSIST', 'TTL a', ':-1'),
  trap('SET a 1', 'GETEX a PXAT 1', '$1\r\n1'),
  trap('SET a 1', 'GETEX a PXAT 1', 'EXISTS a', ':0'),

  // numbers
  trap('SET a abc', 'INCR a', NOT_INTEGER),
  trap('SET a 01', 'INCR a', NOT_INTEGER),
  trap('SET a ', 'INCR a', NOT_INTEGER),
  trap(`SET a ${MAX}`, 'INCR a', '-ERR increment or decrement would overflow'),
  trap(`SET a ${MIN}`, 'DECR a', '-ERR increment or decrement would overflow'),
  trap(`SET a ${MAX}`, `DECRBY a ${MAX}`, ':0'),
  trap(`SET a -1`, `INCRBY a ${MIN}`, '-ERR increment or decrement would overflow'),
  trap('SET a 9007199254740993', 'INCR a', ':9007199254740994'),
  trap('SET a 999999999999999', 'INCR a', ':1000000000000000'),
  trap(`DECRBY a ${MIN}`, '-ERR decrement would overflow'),
  trap(`INCRBY a ${MIN}`, `:${MIN}`),
  trap('INCRBY a 9223372036854775808', NOT_INTEGER),
  trap('SET a 1 EXAT 9999999999', 'INCR a', 'EXPIRETIME a', ':9999999999'),
  trap('SET a 0.1', 'INCRBYFLOAT a 0.2', '$3\r\n0.3'),
  trap('SET a 3.0e3', 'INCRBYFLOAT a 200', '$4\r\n3200'),
  trap('SET a 10.50', 'INCRBYFLOAT a 0', '$4\r\n10.5'),
  trap('SET a 1', 'INCRBYFLOAT a -1', '$1\r\n0'),
  trap('INCRBYFLOAT a -1e-30', '$1\r\n0'),
  trap('SET a abc', 'INCRBYFLOAT a 1', '-ERR value is not a valid float'),
  trap('INCRBYFLOAT a nan', '-ERR value is not a valid float'),
  trap('INCRBYFLOAT a inf', '-ERR increment would produce NaN or Infinity'),
  trap('SET a 1 EXAT 9999999999', 'INCRBYFLOAT a 1', 'EXPIRETIME a', ':9999999999'),

  // parts of values
  trap('SET a abc', 'GETRANGE a -100 -50', '$1\r\na'),
  trap('SET a abc', 'GETRANGE a -1 -2', '$0\r\n'),
  trap('SET a abc', 'GETRANGE a -50 -100', '$0\r\n'),
  trap('SET a abc', 'BITCOUNT a -50 -100', ':0'),
  trap('SET a abc', `GETRANGE a ${MIN} ${MAX}`, '$3\r\nabc'),
  trap('GETRANGE a 0 -1', '$0\r\n'),
  trap('SETRANGE a 5 ', ':0'),
  trap('SETRANGE a 5 ', 'EXISTS a', ':0'),
  trap('SETRANGE a 2 x', 'GET a', '$3\r\n\0\0x'),
  trap('SETRANGE a -1 x', '-ERR offset is out of range'),
  trap('SETRANGE a 1048575 x', ':1048576'),
  trap('SETRANGE a 1048576 x', TOO_LONG),
  trap(`SETRANGE a ${MAX} x`, TOO_LONG),
  trap('SETRANGE a 1048575 x', 'APPEND a y', TOO_LONG),
  trap('SETRANGE a 1048574 x', 'APPEND a y', ':1048576'),
  trap('APPEND a ', ':0'),
  trap('APPEND a ', 'EXISTS a', ':1'),
  trap('SET a 1 EXAT 9999999999', 'APPEND a 1', 'EXPIRETIME a', ':9999999999'),

  // bits
  trap('SETBIT a 8388607 1', ':0'),
  trap('SETBIT a 4294967296 1', BAD_OFFSET),
  trap('SETBIT a -1 1', BAD_OFFSET),
  trap('SETBIT a 1 2', '-ERR bit is not an integer or out of range'),
  trap('SETBIT a 4294967296 2', BAD_OFFSET),
  trap('GETBIT a 8388607', ':0'),
  trap('GETBIT a 4294967296', BAD_OFFSET),
  trap('SETBIT a 7 0', 'GET a', '$1\r\n\0'),
  trap('BITCOUNT a x y', ':0'),
  trap('SET a foobar', 'BITCOUNT a 5 30 BIT', ':17'),
  trap('SET a foobar', 'BITCOUNT a 0', SYNTAX),
  trap('SET a \xff\xff', 'BITPOS a 0', ':16'),
  trap('SET a \xff\xff', 'BITPOS a 0 0 -1', ':-1'),
  trap('BITPOS a 1', ':-1'),
  trap('BITPOS a 2', '-ERR The bit argument must be 1 or 0.'),

  // LCS
  trap('MSET a ohmytext b mynewtext', 'LCS a b', '$6\r\nmytext'),
  trap('MSET a ohmytext b mynewtext', 'LCS a b LEN', ':6'),
  trap(
    'MSET a ohmytext b mynewtext',
    'LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN',
    '*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n$3\r\nlen\r\n:6',
  ),
  trap('LCS a b IDX LEN', '-ERR If you want both the length and indexes, please just use IDX.'),
  trap('LCS a a', '$0\r\n'),
  trap('MSET a ab b ba', 'LCS a b', '$1\r\nb'),

  // keys
  trap('SET a 1', 'EXISTS a a b', ':2'),
  trap('SET a 1', 'DEL a a b', ':1'),
  trap('TYPE a', '+none'),
  trap('SET a 1', 'TYPE a', '+string'),
  trap('RENAME a b', '-ERR no such key'),
  trap('RENAME a a', '-ERR no such key'),
  trap('SET a 1', 'RENAME a a', '+OK'),
  trap('SET a 1', 'RENAMENX a a', ':0'),
  trap('SET a 1 EXAT 9999999999', 'SET b 2', 'RENAME a b', 'EXPIRETIME b', ':9999999999'),
  trap('SET a 1', 'SET b 2 EX 1000', 'RENAME a b', 'TTL b', ':-1'),
  trap('COPY a a', '-ERR source and destination objects are the same'),
  trap('MSET a 1 b 2', 'COPY a b', ':0'),
  trap('MSET a 1 b 2', 'COPY a b REPLACE', ':1'),
  trap('SET a 1', 'COPY a b', 'MGET a b', '*2\r\n$1\r\n1\r\n$1\r\n1'),
  trap('COPY a b DB 1', '-ERR DB index is out of range'),
  trap('SET a 1 EXAT 9999999999', 'COPY a b DB 0', 'EXPIRETIME b', ':9999999999'),

  // ends
  trap('TTL a', ':-2'),
  trap('SET a 1', 'PTTL a', ':-1'),
  trap('EXPIRETIME a', ':-2'),
  trap('EXPIRE a 10', ':0'),
  trap('SET a 1', 'EXPIRE a 0', ':1'),
  trap('SET a 1', 'EXPIRE a -1', 'EXISTS a', ':0'),
  trap('EXPIRE a 1.5', NOT_INTEGER),
  trap(`EXPIRE a ${MAX}`, invalid('expire')),
  trap(`EXPIRE a ${MIN}`, invalid('expire')),
  trap(`PEXPIRE a ${MAX}`, invalid('pexpire')),
  trap('SET a 1', `PEXPIRE a ${MIN}`, ':1'),
  trap(`EXPIREAT a ${MAX}`, invalid('expireat')),
  trap('SET a 1 EXAT 9223372036854776', invalid('set')),
  trap('SET a 1 EX 9223372036854775', invalid('set')),
  trap('SET a 1 EXAT 9223372036854775', '+OK'),
  trap(`SET a 1 PX ${MAX}`, invalid('set')),
  trap(`SET a 1 PXAT ${MAX}`, '+OK'),
  trap('SET a 1', `GETEX a PXAT ${MAX}`, '$1\r\n1'),
  trap('SETEX a 9999999999999 1', '+OK'),
  trap('SET a 1', 'EXPIRE a 9223372036854775', invalid('expire')),
  trap('SET a 1', 'EXPIREAT a 9223372036854775', ':1'),
  trap('SET a 1', `PEXPIREAT a ${MAX}`, ':1'),
  trap('SET a 1', 'PEXPIREAT a 281474976710656', ':1'),
  trap('EXPIRE a 999999999999', ':0'),
  trap('EXPIRE a 10 foo', '-ERR Unsupported option foo'),
  trap('EXPIRE a 10 NX XX', '-ERR NX and XX, GT or LT options at the same time are not compatible'),
  trap('EXPIRE a 10 LT GT', '-ERR GT and LT options at the same time are not compatible'),
  trap('SET a 1', 'EXPIRE a 10 GT', ':0'),
  trap('SET a 1', 'EXPIRE a 10 XX', ':0'),
  trap('SET a 1', 'EXPIRE a 10 LT', ':1'),
  trap('SET a 1 EXAT 9999999999', 'EXPIREAT a 9999999999 GT', ':0'),
  trap('SET a 1 EXAT 9999999999', 'EXPIREAT a 9999999999 LT', ':0'),
  trap('SET a 1 EXAT 9999999999', 'EXPIREAT a 9999999998 XX GT', ':0'),
  trap('SET a 1 EXAT 9999999999', 'EXPIREAT a 9999999998 XX LT', ':1'),
  trap('SET a 1 PXAT 9999999999500', 'EXPIRETIME a', ':10000000000'),
  trap('SET a 1', 'PERSIST a', ':0'),
  trap('PERSIST a', ':0'),
]

export const WHERE_WE_DIFFER: readonly Trap[] = [
  // A record's head holds milliseconds up to 2^48 - 1: an end beyond becomes this one.
  trap('SET a 1 PXAT 281474976710654', 'PEXPIRETIME a', ':281474976710654'),
  trap('SET a 1 PXAT 281474976710656', 'PEXPIRETIME a', LATEST),
  trap(`SET a 1 PXAT ${MAX}`, 'PEXPIRETIME a', LATEST),
  trap('SET a 1 EX 281474976710', 'PEXPIRETIME a', LATEST),
  trap('SET a 1', 'GETEX a PX 281474976710655', 'PEXPIRETIME a', LATEST),
  trap('SETEX a 281474976710 1', 'PEXPIRETIME a', LATEST),
  trap('SET a 1', 'EXPIREAT a 281474976711', 'PEXPIRETIME a', LATEST),
  trap('SET a 1', `PEXPIREAT a ${MAX}`, 'PEXPIRETIME a', LATEST),
  // MAX_VALUE_BYTES stands where Redis has proto-max-bulk-len, but bits beyond it are simply not there.
  trap(
    'SETBIT a 8388608 1',
    '-ERR The value would have 1048577 bytes; at most 1048576 are allowed (MAX_VALUE_BYTES).',
  ),
  trap('SET a 1', 'GETBIT a 8388608', ':0'),
  trap('GETBIT a 4294967295', ':0'),
  trap(
    'SETRANGE a 4000 x',
    'SETRANGE b 4000 x',
    'LCS a b LEN',
    '-ERR Insufficient memory, transient memory for LCS exceeds 4194304 cells',
  ),
]
