/** As much of Redis as the scripts of these tests call, synchronously; and replies as the bytes that Redis sends. */
import {
  LuaBigNumber,
  LuaDouble,
  LuaError,
  LuaMap,
  LuaSet,
  LuaStatus,
  LuaVerbatim,
  type LuaReply,
} from '../../../src/scripts/lua/values.ts'

const OK = new LuaStatus(Buffer.from('OK'))
const WRONG_TYPE = error('WRONGTYPE Operation against a key holding the wrong kind of value')

function error(text: string): LuaError {
  return new LuaError(Buffer.from(text, 'latin1'))
}

type Value = Buffer | Buffer[] | Map<string, Buffer> | Set<string>
type Command = (args: Buffer[]) => LuaReply

/** Names and the numbers of their arguments; negative: at least so many. */
const ARITY: Readonly<Record<string, number>> = {
  ping: -1,
  echo: 2,
  set: 3,
  get: 2,
  del: 2,
  incr: 2,
  rpush: -3,
  lrange: 4,
  hset: -4,
  hgetall: 2,
  sadd: 3,
  smembers: 2,
  debug: -2,
}

export class SmallRedis {
  private readonly values = new Map<string, Value>()

  call(command: Buffer[]): LuaReply {
    const name = command[0]!.toString('latin1').toLowerCase()
    const arity = ARITY[name]
    if (arity === undefined) return error('ERR Unknown Redis command called from script')
    if (arity > 0 ? command.length !== arity : command.length < -arity)
      return error('ERR Wrong number of args calling Redis command from script')
    return this.commands[name]!(command.slice(1))
  }

  private readonly commands: Readonly<Record<string, Command>> = {
    ping: ([text]) => text ?? new LuaStatus(Buffer.from('PONG')),
    echo: ([text]) => text!,
    set: ([key, value]) => (this.values.set(name(key), value!), OK),
    get: ([key]) => this.typed(key, isText, (value) => value ?? null),
    del: ([key]) => Number(this.values.delete(name(key))),
    incr: ([key]) =>
      this.typed(key, isText, (value) => {
        const text = value?.toString('latin1') ?? '0'
        if (!/^-?\d{1,15}$/.test(text)) return error('ERR value is not an integer or out of range')
        this.values.set(name(key), Buffer.from(String(Number(text) + 1)))
        return Number(text) + 1
      }),
    rpush: ([key, ...items]) =>
      this.typed(key, isList, (list = []) => {
        this.values.set(name(key), [...list, ...items])
        return list.length + items.length
      }),
    lrange: ([key]) => this.typed(key, isList, (list) => list ?? []),
    hset: ([key, field, value]) =>
      this.typed(key, isHash, (hash = new Map<string, Buffer>()) => {
        const isNew = !hash.has(name(field))
        this.values.set(name(key), hash.set(name(field), value!))
        return Number(isNew)
      }),
    hgetall: ([key]) =>
      this.typed(
        key,
        isHash,
        (hash) =>
          new LuaMap(
            [...(hash ?? [])].map(([field, value]) => [Buffer.from(field, 'latin1'), value] as const),
          ),
      ),
    sadd: ([key, item]) =>
      this.typed(key, isSet, (set = new Set<string>()) => {
        const isNew = !set.has(name(item))
        this.values.set(name(key), set.add(name(item)))
        return Number(isNew)
      }),
    smembers: ([key]) =>
      this.typed(
        key,
        isSet,
        (set) => new LuaSet([...(set ?? [])].map((item) => Buffer.from(item, 'latin1'))),
      ),
    debug: ([, kind]) => PROTOCOL[name(kind)]!,
  }

  private typed<T extends Value>(
    key: Buffer | undefined,
    is: (value: Value) => value is T,
    then: (value: T | undefined) => LuaReply,
  ): LuaReply {
    const value = this.values.get(name(key))
    return value === undefined || is(value) ? then(value) : WRONG_TYPE
  }
}

/** DEBUG PROTOCOL of Redis. */
const PROTOCOL: Readonly<Record<string, LuaReply>> = {
  string: Buffer.from('Hello World'),
  integer: 12345,
  double: new LuaDouble(3.141, '3.141'),
  null: null,
  array: [0, 1, 2],
  set: new LuaSet([0, 1, 2]),
  map: new LuaMap([
    [0, false],
    [1, true],
    [2, false],
  ]),
  bignum: new LuaBigNumber(Buffer.from('1234567999999999999999999999999999999')),
  true: true,
  false: false,
  verbatim: new LuaVerbatim('txt', Buffer.from('This is a verbatim\nstring')),
}

function name(bytes: Buffer | undefined): string {
  return bytes!.toString('latin1')
}

function isText(value: Value): value is Buffer {
  return Buffer.isBuffer(value)
}

function isList(value: Value): value is Buffer[] {
  return Array.isArray(value)
}

function isHash(value: Value): value is Map<string, Buffer> {
  return value instanceof Map
}

function isSet(value: Value): value is Set<string> {
  return value instanceof Set
}

/** The bytes that Redis sends, as latin1. */
export function encoded(reply: LuaReply, resp: 2 | 3): string {
  const bulk = (text: Buffer | string): string =>
    `$${text.length}\r\n${typeof text === 'string' ? text : text.toString('latin1')}\r\n`
  const all = (items: readonly LuaReply[]): string => items.map((item) => encoded(item, resp)).join('')
  if (Buffer.isBuffer(reply)) return bulk(reply)
  if (typeof reply === 'number' || typeof reply === 'bigint') return `:${reply}\r\n`
  if (reply === null) return resp === 3 ? '_\r\n' : '$-1\r\n'
  if (typeof reply === 'boolean') return resp === 3 ? `#${reply ? 't' : 'f'}\r\n` : `:${Number(reply)}\r\n`
  if (reply instanceof LuaStatus) return `+${reply.text.toString('latin1')}\r\n`
  if (reply instanceof LuaError) return `-${reply.text.toString('latin1')}\r\n`
  if (reply instanceof LuaDouble) return resp === 3 ? `,${reply.text}\r\n` : bulk(reply.text)
  if (reply instanceof LuaBigNumber)
    return resp === 3 ? `(${reply.digits.toString('latin1')}\r\n` : bulk(reply.digits)
  if (reply instanceof LuaVerbatim) {
    const text = reply.text.toString('latin1')
    return resp === 3 ? `=${text.length + 4}\r\n${reply.format}:${text}\r\n` : bulk(text)
  }
  if (reply instanceof LuaMap) {
    const { entries } = reply
    return (resp === 3 ? `%${entries.length}\r\n` : `*${2 * entries.length}\r\n`) + all(entries.flat())
  }
  if (reply instanceof LuaSet) return `${resp === 3 ? '~' : '*'}${reply.items.length}\r\n` + all(reply.items)
  const items = reply
  return `*${items.length}\r\n` + all(items)
}
