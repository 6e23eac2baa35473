/**
 * Parses the arguments of a command, written as a line of text, into the tree that COMMAND DOCS returns:
 *
 *     key value [condition(NX|XX)] [GET] [expiration(EX seconds|PX milliseconds|KEEPTTL)]
 *
 * Capitals are literal tokens, alone or before a value. `[…]` is optional, `…...` may be repeated, `…...+` together with its
 * token. A name with parentheses
 * is a group: one of several, or, without `|`, all of them in this order. The type of a value follows from its name, unless
 * it is given: `value:integer`.
 */
export interface Argument {
  readonly name: string
  /** As Redis names them: key, string, integer, …, pure-token, oneof, block. */
  readonly type: string
  /** The literal before the value, or the whole argument. */
  readonly token?: string
  readonly optional: boolean
  readonly multiple: boolean
  /** Repeated with its token. */
  readonly multipleToken?: true
  /** Of a group. */
  readonly parts: readonly Argument[]
}

const VALUES: Readonly<Record<string, readonly string[]>> = {
  key: ['key', 'key1', 'key2', 'newkey', 'source', 'destination', 'destkey', 'sourcekey'],
  integer: [
    'bit',
    'client-id',
    'count',
    'cursor',
    'decrement',
    'destination-db',
    'end',
    'increment',
    'index',
    'len',
    'milliseconds',
    'numkeys',
    'offset',
    'protover',
    'seconds',
    'start',
  ],
  'unix-time': ['unix-time-seconds', 'unix-time-milliseconds'],
  pattern: ['pattern'],
}
const typeOf = new Map(Object.entries(VALUES).flatMap(([type, names]) => names.map((name) => [name, type])))

const WORD = /\.\.\.\+?|[[\]()|]|[^\s[\]()|.]+/g
const TOKEN = /^(?:[A-Z][A-Z0-9-]*|[*=~$])$/
const NAME = /^[a-z]/

/** @throws Error if the text does not have this form */
export function parseSyntax(text: string): Argument[] {
  const words = text.match(WORD) ?? []
  let at = 0

  const takes = (word: string) => words[at] === word && at++ >= 0
  const expect = (word: string) => {
    if (!takes(word)) throw new Error(`there is no ${word} at word ${at} of ${text}`)
  }
  const takeIf = (form: RegExp) => (form.test(words[at] ?? '') ? words[at++] : undefined)

  function one(): Argument {
    if (takes('[')) {
      const inside = one()
      expect(']')
      return { ...inside, optional: true }
    }
    const token = takeIf(TOKEN)
    const word = takeIf(NAME)
    if (token === undefined && word === undefined) throw new Error(`no argument at word ${at} of ${text}`)
    const [name, type] = word?.split(':') ?? [token!.toLowerCase(), 'pure-token']
    const group = takes('(') ? members() : null
    return {
      name: name!,
      type: group?.type ?? type ?? typeOf.get(name!) ?? 'string',
      ...(token === undefined ? {} : { token }),
      optional: false,
      ...repetition(),
      parts: group?.parts ?? [],
    }
  }

  function repetition(): Pick<Argument, 'multiple' | 'multipleToken'> {
    if (takes('...+')) return { multiple: true, multipleToken: true }
    return { multiple: takes('...') }
  }

  function members() {
    const parts = [one()]
    const type = words[at] === '|' ? 'oneof' : 'block'
    while (!takes(')')) {
      if (type === 'oneof') expect('|')
      parts.push(one())
    }
    return { type, parts }
  }

  const found: Argument[] = []
  while (at < words.length) found.push(one())
  return found
}

/** In the form of a HELP line: `[NX|XX] [ID <client-id> [<client-id> ...]]`. */
export function usageOf(syntax: readonly Argument[]): string {
  return syntax.map(usage).join(' ')
}

function usage({ type, token, name, optional, multiple, multipleToken, parts }: Argument): string {
  let text = type === 'pure-token' ? '' : `<${name}>`
  if (type === 'block') text = usageOf(parts)
  if (type === 'oneof') {
    text = parts.map(usage).join('|')
    if (token !== undefined || !optional) text = `(${text})`
  }
  if (multiple && !multipleToken) text += ` [${text} ...]`
  if (token !== undefined) text = text === '' ? token : `${token} ${text}`
  if (multipleToken) text += ` [${text} ...]`
  return optional ? `[${text}]` : text
}
