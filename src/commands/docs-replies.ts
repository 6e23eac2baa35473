/**
 * COMMAND INFO and COMMAND DOCS replies for one command or subcommand, in the form of Redis 7.0. Left out are tips (for
 * distributing a command over a Redis Cluster), notes, and what concerns Redis itself: complexity, history, deprecation,
 * and the versions of arguments.
 */
import { ABOUT, type About } from './docs.ts'
import type { CommandDescription } from './model.ts'
import { RespMap, RespSet, Simple, type Reply } from './reply.ts'
import { parseSyntax, type Argument } from './docs-syntax.ts'
import type { HalfBehind, KeyPlaces, StoreOption } from './step.ts'

/** Everything to be described. */
export interface Described extends About {
  /** A subcommand's name includes its command: `client|list`. */
  readonly name: string
  readonly arity: number
  readonly flags: readonly string[]
  readonly firstKey: number
  readonly lastKey: number
  readonly keyStep: number
  readonly keyCountAt?: number | undefined
  readonly targetAt?: number | undefined
  readonly storeOption?: StoreOption | undefined
  readonly halfBehind?: HalfBehind | undefined
  readonly subcommands: readonly Described[]
}

const NO_KEYS = { firstKey: 0, lastKey: 0, keyStep: 0 }

export function describe(command: CommandDescription): Described {
  const { name, arity, flags, firstKey, lastKey, keyStep } = command
  const { keyCountAt, targetAt, storeOption, halfBehind } = command
  const about = ABOUT[name]!
  const subcommands = Object.entries(command.subcommands ?? {}).map(
    ([subName, { arity, flags, since, syntax = '', summary, keyAt }]): Described => ({
      ...about,
      ...{ name: `${name}|${subName}`, arity, flags, since, syntax, summary },
      ...(keyAt ? { firstKey: keyAt.index, lastKey: keyAt.index, keyStep: 1 } : NO_KEYS),
      keys: keyAt ? [keyAt.flags] : [],
      subcommands: [],
    }),
  )
  // A command that needs a subcommand has no categories of its own.
  const categories = subcommands.length > 0 && arity < -1 ? [] : about.categories
  // Where the key of a subcommand stands, its own description tells.
  if (subcommands.length > 0 && firstKey > 0)
    return { ...about, ...NO_KEYS, keys: [], name, arity, flags: [], subcommands, categories }
  const places = { firstKey, lastKey, keyStep, keyCountAt, targetAt, storeOption, halfBehind }
  return { ...about, ...places, name, arity, flags, subcommands, categories }
}

// ---- COMMAND INFO

export function infoOf(described: Described): Reply {
  const { name, arity, flags, subcommands } = described
  // Only the key specs tell of keys that an argument counts.
  const { firstKey, lastKey, keyStep } = fixedPlacesOf(described)
  const categories = categoriesOf(described).map((category) => `@${category}`)
  const tips = new RespSet([])
  const specs = new RespSet(keySpecsOf(described))
  const infos = subcommands.length > 0 ? subcommands.map(infoOf) : new RespSet([]) // as in Redis
  return [name, arity, names(flags), firstKey, lastKey, keyStep, names(categories), tips, specs, infos]
}

/** The keys that every call has at the same places. */
export function fixedPlacesOf(places: KeyPlaces): Pick<KeyPlaces, 'firstKey' | 'lastKey' | 'keyStep'> {
  const { keyCountAt, targetAt, halfBehind } = places
  if (halfBehind) return NO_KEYS
  if (targetAt !== undefined) return { firstKey: targetAt, lastKey: targetAt, keyStep: 1 }
  return keyCountAt === undefined ? places : NO_KEYS
}

/** The possible flags, in Redis's order. */
export const CATEGORIES: readonly string[] = [
  'keyspace',
  'read',
  'write',
  'set',
  'sortedset',
  'list',
  'hash',
  'string',
  'bitmap',
  'hyperloglog',
  'geo',
  'stream',
  'pubsub',
  'admin',
  'fast',
  'slow',
  'blocking',
  'dangerous',
  'connection',
  'transaction',
  'scripting',
]

export function categoriesOf({ flags, categories }: Described): string[] {
  const has = new Set([...categories, flags.includes('fast') ? 'fast' : 'slow'])
  // As in Redis, of scripts it is not known.
  if (flags.includes('readonly') && !has.has('scripting')) has.add('read')
  if (flags.includes('write')) has.add('write')
  if (flags.includes('pubsub')) has.add('pubsub')
  if (flags.includes('blocking')) has.add('blocking')
  if (flags.includes('admin')) has.add('admin').add('dangerous')
  return CATEGORIES.filter((category) => has.has(category))
}

/** One spec for all keys; or one for each, the last one possibly for all that follow. */
function keySpecsOf(described: Described): Reply[] {
  const { keys, firstKey, lastKey, keyStep, keyCountAt, targetAt, storeOption, halfBehind } = described
  const one = map({ type: 'range', spec: map({ lastkey: 0, keystep: 1, limit: 0 }) })
  if (halfBehind) {
    const search = map({
      type: 'keyword',
      spec: map({ keyword: halfBehind.option, startfrom: halfBehind.from }),
    })
    const half = map({ type: 'range', spec: map({ lastkey: -1, keystep: 1, limit: 2 }) })
    return keys.map((flags) => keySpec(flags, search, half))
  }
  if (keyCountAt !== undefined) {
    const [target, sources] = targetAt === undefined ? [[], keys] : [keys.slice(0, 1), keys.slice(1)]
    const spec = map({ keynumidx: 0, firstkey: firstKey - keyCountAt, keystep: keyStep })
    return [
      ...target.map((flags) => keySpec(flags, at(targetAt!), one)),
      ...sources.map((flags) => keySpec(flags, at(keyCountAt), map({ type: 'keynum', spec }))),
    ]
  }
  if (described.hasUnknownKeys) {
    const unknown = map({ type: 'unknown', spec: map({}) })
    return keys.map((flags, i) =>
      i === 0 ? keySpec(flags, at(firstKey), one) : keySpec(flags, unknown, unknown),
    )
  }
  if (storeOption) {
    const [source, ...stored] = keys
    const behind = stored.map((flags, i) => {
      const spec = map({ keyword: storeOption.names[i]!, startfrom: storeOption.from })
      return keySpec(flags, map({ type: 'keyword', spec }), one)
    })
    return [keySpec(source!, at(firstKey), one), ...behind]
  }
  return keys.map((flags, i) => {
    const index = firstKey + i
    const isLast = i === keys.length - 1
    // The last key relative to the first, or, negative, to the end.
    const last = !isLast ? 0 : lastKey < 0 ? lastKey : lastKey - index
    const spec = map({ lastkey: last, keystep: keyStep, limit: 0 })
    return keySpec(flags, at(index), map({ type: 'range', spec }))
  })
}

/** They begin at this argument. */
function at(index: number): Reply {
  return map({ type: 'index', spec: map({ index }) })
}

function keySpec(flags: readonly string[], search: Reply, findKeys: Reply): Reply {
  return map({ flags: names(flags), begin_search: search, find_keys: findKeys })
}

// ---- COMMAND DOCS

/** The name, and its description. */
export function docsOf(described: Described): [Reply, Reply] {
  const { name, summary, since, group, syntax, keys, subcommands, hasUnknownKeys = false } = described
  let keysSeen = 0
  const keySpecIndex = (type: string): number | null => {
    if (hasUnknownKeys) return type === 'pattern' ? 1 : type === 'key' ? 2 * keysSeen++ : null
    return type === 'key' ? Math.min(keysSeen++, keys.length - 1) : null // each has its own, as far as there are some
  }
  const docs: Record<string, Reply> = {
    summary,
    since,
    group,
    ...(syntax === '' ? {} : { arguments: argumentsOf(parseSyntax(syntax), keySpecIndex) }),
    ...(subcommands.length === 0 ? {} : { subcommands: new RespMap(subcommands.map(docsOf)) }),
  }
  return [name, map(docs)]
}

/** @param keySpecIndex of an argument of this type, if it names keys */
function argumentsOf(syntax: readonly Argument[], keySpecIndex: (type: string) => number | null): Reply {
  return syntax.map(({ name, type, token, optional, multiple, multipleToken = false, parts }) => {
    const index = keySpecIndex(type)
    const all = { optional, multiple, multiple_token: multipleToken }
    const flags = Object.entries(all).flatMap(([flag, has]) => (has ? [flag] : []))
    return map({
      name,
      type,
      ...(index === null ? {} : { key_spec_index: index }),
      ...(token === undefined ? {} : { token }),
      ...(flags.length === 0 ? {} : { flags: names(flags) }),
      ...(parts.length === 0 ? {} : { arguments: argumentsOf(parts, keySpecIndex) }),
    })
  })
}

function map(fields: Readonly<Record<string, Reply>>): Reply {
  return new RespMap(Object.entries(fields))
}

function names(texts: readonly string[]): Reply {
  return new RespSet(texts.map((text) => new Simple(text)))
}
