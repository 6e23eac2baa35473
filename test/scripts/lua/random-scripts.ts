/** Scripts at random: expressions over all libraries, mostly valid, on values that are the edges of something. */
import type { Random } from '../../support/random.ts'

const NUMBERS = [
  '0',
  '1',
  '-1',
  '2',
  '3',
  '7',
  '10',
  '255',
  '256',
  '-128',
  '65536',
  '1.5',
  '-2.5',
  '0.1',
  '1e15',
  '2^31',
  '2^32',
  '-2^31',
  '2^53',
  '1e-7',
  '1e300',
  '(1/0)',
  '(-1/0)',
  '(0/0)',
  '-0',
  '123456.789',
  '99999999999999',
  '1e14',
]
const STRINGS = [
  '""',
  '"a"',
  '"hello world"',
  '"10"',
  '"0x1f"',
  '" 12 "',
  '"a\\0b"',
  '"\\255\\254"',
  '"a,b,,c"',
  '"key=val; k2=v2"',
  '"((x)y)"',
  '"THE quick"',
  '"é"',
  '"%d"',
  '"line\\nbreak"',
  '("ab"):rep(40)',
  '"[1,2,{\\"a\\":null}]"',
  '"-5.5e3"',
]
const PATTERNS = [
  '"."',
  '"%a+"',
  '"%d*"',
  '"(%w+)"',
  '"[^,]*"',
  '"(.-)="',
  '"^%s*(.-)%s*$"',
  '"%b()"',
  '"()"',
  '"a-b"',
  '"[%a_][%w_]*"',
  '"%f[%w]%w+"',
  '"(a*(.)%w(%s*))"',
  '"[]%]]"',
  '"%z"',
  '"[a-"',
  '"%"',
  '"(()"',
  '"x$"',
  '"(%w)(%w)%2%1"',
  '"l+o?"',
  '".-%s"',
]
const FORMATS = [
  '%d',
  '%5d',
  '%-8d|',
  '%05d',
  '%+d',
  '%x',
  '%X',
  '%o',
  '%u',
  '%c',
  '%g',
  '%.3f',
  '%10.2e',
  '%.14g',
  '%G',
  '%s',
  '%10s|',
  '%-6.2s|',
  '%q',
  '%i',
  '%.0f',
  '% d',
  '%#x',
]
const STRUCTS = ['b', 'B', 'h', 'H', 'l', 'L', 'T', 'i', 'i3', 'I5', 'f', 'd', 's', 'c0', 'c2', 'x']
const UNARY = ['-', 'not ', '#']
const BINARY = ['+', '-', '*', '/', '%', '^', '..', '==', '~=', '<', '<=', '>', '>=', ' and ', ' or ']
const MATH = ['floor', 'ceil', 'abs', 'sqrt', 'frexp', 'modf']
const MATH_2 = ['max', 'min', 'fmod', 'ldexp']
const BIT_1 = ['tobit', 'bnot', 'bswap', 'tohex']
const BIT_2 = ['band', 'bor', 'bxor', 'lshift', 'rshift', 'arshift', 'rol', 'ror', 'tohex']

/** Everything that a script computes, as text that does not depend on addresses. */
export const SHOW = `
local plain = tostring
local function tostring(v)
  local t = type(v)
  if v ~= v then return "NaN" end
  return (t == "table" or t == "function" or t == "userdata") and t or plain(v)
end
local function show(v, depth)
  local t = type(v)
  if t == "table" then
    if depth > 4 then return "{...}" end
    local parts = {}
    for k, x in pairs(v) do parts[#parts + 1] = show(k, depth + 1) .. ":" .. show(x, depth + 1) end
    return "{" .. table.concat(parts, ",") .. "}"
  end
  if t == "number" then return string.format("%.17g", v) end
  if t == "string" or t == "boolean" or t == "nil" then return t:sub(1, 1) .. tostring(v) end
  return t
end
local function all(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = show((select(i, ...)), 0) end
  return table.concat(parts, "|")
end
`

export function randomScript(random: Random): string {
  if (random.chance(0.15)) return `local tostring = type return ${expression(random, 3)}`
  const lines = Array.from(
    { length: 1 + random.below(4) },
    (_, i) =>
      `local v${i} = {pcall(function(a, b) return ${expression(random, 3, i)} end, ${value(random, 2)}, ${value(random, 2)})}`,
  )
  return `${SHOW}${lines.join('\n')}\nreturn {${lines.map((_, i) => `all(unpack(v${i}, 1, 6))`).join(', ')}}`
}

function value(random: Random, depth: number): string {
  const kind = random.below(depth > 0 ? 12 : 9)
  if (kind < 4) return random.pick(NUMBERS)
  if (kind < 8) return random.pick(STRINGS)
  if (kind === 8) return random.pick(['true', 'false', 'nil', 'cjson.null'])
  return table(random, depth - 1)
}

function table(random: Random, depth: number): string {
  const fields = Array.from({ length: random.below(6) }, () => {
    const item = value(random, depth)
    const kind = random.below(6)
    if (kind === 0) return `[${random.pick(['1', '2', '3', '5', '1.5', '-1', '"x y"'])}]=${item}`
    if (kind === 1) return `${random.pick(['a', 'b', 'key', 'id', 'name', 'ok', 'x1'])}=${item}`
    return item
  })
  return `{${fields.join(',')}}`
}

function expression(random: Random, depth: number, locals = 0): string {
  if (depth === 0) {
    if (random.chance(0.3) && locals > 0) return `v${random.below(locals)}[${1 + random.below(2)}]`
    return random.chance(0.3) ? random.pick(['a', 'b']) : value(random, 1)
  }
  const inner = (): string => expression(random, depth - 1, locals)
  const string = (): string => (random.chance(0.6) ? random.pick(STRINGS) : `tostring(${inner()})`)
  const number = (): string => (random.chance(0.7) ? random.pick(NUMBERS) : inner())
  switch (random.below(22)) {
    case 0:
    case 1:
      return `(${inner()} ${random.pick(BINARY)} ${inner()})`
    case 2:
      return `(${random.pick(UNARY)}${inner()})`
    case 3:
      return `math.${random.pick(MATH)}(${number()})`
    case 4:
      return `math.${random.pick(MATH_2)}(${number()}, ${number()})`
    case 5:
      return `bit.${random.pick(BIT_1)}(${number()})`
    case 6:
      return `bit.${random.pick(BIT_2)}(${number()}, ${number()})`
    case 7:
      return `string.format("${random.pick(FORMATS)} ${random.pick(FORMATS)}", ${inner()}, ${number()})`
    case 8:
      return `string.find(${string()}, ${random.pick(PATTERNS)}${random.chance(0.3) ? `, ${number()}` : ''})`
    case 9:
      return `string.match(${string()}, ${random.pick(PATTERNS)})`
    case 10:
      return `string.gsub(${string()}, ${random.pick(PATTERNS)}, ${random.pick(['"<%0>"', '"%1"', '"-"', 'string.upper', '{a="1"}', 'function(x, y) return y end'])}${random.chance(0.2) ? `, ${number()}` : ''})`
    case 11:
      return `string.sub(${string()}, ${number()}, ${number()})`
    case 12:
      return `string.byte(${string()}, ${number()}, ${random.pick(['1', '3', '-1'])})`
    case 13:
      return `cjson.encode(${inner()})`
    case 14:
      return `cjson.decode(${random.chance(0.7) ? `cjson.encode(${table(random, 2)})` : string()})`
    case 15:
      return `cmsgpack.pack(${inner()}, ${value(random, 2)})`
    case 16:
      return `cmsgpack.unpack(${random.chance(0.8) ? `cmsgpack.pack(${inner()}, ${value(random, 2)})` : string()})`
    case 17:
      return structure(random, inner)
    case 18:
      return `tonumber(${inner()}${random.chance(0.4) ? `, ${random.pick(['2', '8', '10', '16', '36', '1'])}` : ''})`
    case 19:
      return `table.concat(${table(random, 1)}, ${random.pick(['","', '""', '1'])})`
    case 20:
      return `select(${random.pick(['1', '2', '-1', '"#"', '0'])}, ${inner()}, ${inner()})`
    default:
      return random.pick([
        `tostring(${inner()})`,
        `type(${inner()})`,
        `unpack(${table(random, 1)})`,
        `next(${table(random, 1)})`,
        `redis.sha1hex(${string()})`,
        `redis.error_reply(${string()})`,
        `redis.status_reply(${string()})`,
        `string.rep(${string()}, ${random.pick(['0', '2', '-1', '3.7'])})`,
        `string.reverse(${string()})`,
        `string.char(${number()})`,
        `table.maxn(${table(random, 1)})`,
      ])
  }
}

function structure(random: Random, inner: () => string): string {
  const format = `${random.pick(['', '>', '<', '!', '!4', '=', '> !2'])}${Array.from({ length: 1 + random.below(3) }, () => random.pick(STRUCTS)).join('')}`
  const packed = `struct.pack("${format}", ${inner()}, ${inner()}, ${inner()})`
  return random.pick([packed, `struct.unpack("${format}", ${packed})`, `struct.size("${format}")`])
}
