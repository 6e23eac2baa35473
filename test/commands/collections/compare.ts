/** Compares replies about collections with those of a real Redis, without the order that depends on its hash tables. */
import { UNORDERED, type RandomCommand } from './stream.ts'

/** Without a count they reply with any one. */
const CHOOSING = new Set(['hrandfield', 'srandmember', 'zrandmember'])

/** A reply as a tree: texts with their mark, aggregates with mark and items. */
type Tree = string | { readonly mark: string; readonly items: readonly Tree[] }

export function bytesOf(command: RandomCommand): Buffer[] {
  return command.map((word) => Buffer.from(word, 'latin1'))
}

/** The reply in a form in which equal ones are the same text. */
export function comparable(command: RandomCommand, reply: Buffer): string {
  const [name] = command
  const { tree } = treeAt(reply, 0, name!.toLowerCase().startsWith('z'))
  if (
    command.length === 2 &&
    CHOOSING.has(name!.toLowerCase()) &&
    typeof tree === 'string' &&
    /^\$(?!-1$)/.test(tree)
  )
    return 'any'
  if (name!.toLowerCase().startsWith('x')) return JSON.stringify(withoutTimes(command, tree))
  return JSON.stringify(UNORDERED.has(name!.toLowerCase()) ? unordered(name!.toLowerCase(), tree) : tree)
}

/** The items of an array, each as bytes. */
export function itemsIn(reply: Buffer): Buffer[] {
  const items: Buffer[] = []
  for (let at = reply.indexOf('\n') + 1; at < reply.length;) {
    const { end } = treeAt(reply, at, false)
    items.push(reply.subarray(at, end))
    at = end
  }
  return items
}

/** @param scored its texts may be scores */
function treeAt(bytes: Buffer, at: number, scored: boolean): { tree: Tree; end: number } {
  const lineEnd = bytes.indexOf(0x0d, at)
  const mark = String.fromCharCode(bytes[at]!)
  const line = bytes.toString('latin1', at + 1, lineEnd)
  const bodyAt = lineEnd + 2
  const count = Number(line)
  if ('$='.includes(mark) && count >= 0) {
    const text = bytes.toString('latin1', bodyAt, bodyAt + count)
    return { tree: `$${scored && NUMBER.test(text) ? numberText(text) : text}`, end: bodyAt + count + 2 }
  }
  if (mark === ',') return { tree: `,${numberText(line)}`, end: bodyAt }
  if (!'*%~'.includes(mark) || count < 0) return { tree: `${mark}${line}`, end: bodyAt }
  const items: Tree[] = []
  let end = bodyAt
  for (let left = mark === '%' ? 2 * count : count; left > 0; left--) {
    const item = treeAt(bytes, end, scored)
    items.push(item.tree)
    end = item.end
  }
  return { tree: { mark, items }, end }
}

const NUMBER = /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/

/** 7.0 writes doubles with 17 digits, and 7.2 the shortest that give the same number. */
function numberText(text: string): string {
  const value = Number(text.replace('inf', 'Infinity'))
  return Object.is(value, -0) ? '-0' : String(value)
}

/** Names of commands whose flat replies are pairs. */
const PAIRS = new Set(['hgetall', 'hscan', 'zscan'])

function unordered(name: string, tree: Tree): Tree {
  if (typeof tree === 'string') return tree
  const { mark, items } = tree
  const [first, second] = items
  if (name.endsWith('scan') && typeof second === 'object') {
    return { mark, items: [first!, sorted(second, PAIRS.has(name))] }
  }
  return sorted(tree, PAIRS.has(name))
}

function sorted({ mark, items }: Exclude<Tree, string>, inPairs: boolean): Tree {
  const parts = inPairs
    ? Array.from({ length: items.length / 2 }, (_, i) => items.slice(2 * i, 2 * i + 2))
    : items
  const texts = parts.map((part) => JSON.stringify(part)).sort()
  return { mark, items: texts }
}

/** An id that the clock has made. */
const NOW = /^\$1[78]\d{11}-\d+$/
const isText = (tree: Tree | undefined): tree is string => typeof tree === 'string'
const isNumber = (tree: Tree | undefined): tree is string => typeof tree === 'string' && tree.startsWith(':')

/** Of replies about streams: what the clock says, and what Redis 7.2 has changed (streams-stream.ts). */
function withoutTimes([name, subcommand = '']: RandomCommand, tree: Tree): Tree {
  const about = `${name} ${subcommand}`.toUpperCase()
  // 7.0 creates the consumer of an XCLAIM only if it gets something.
  if (about === 'XGROUP CREATECONSUMER' && isNumber(tree)) return ':any'
  if (typeof tree === 'string') return NOW.test(tree) ? '$now' : tree
  const { mark } = tree
  let items = tree.items.map((item) => withoutTimes([name!, subcommand], item))
  if (name!.toUpperCase() === 'XPENDING' && isNumber(items[2]) && items.length === 4)
    items[2] = ageOf(items[2])
  if (about.startsWith('XINFO ')) {
    items = withoutConsumers(withoutFields(items))
    // Delivered: [id, consumer, time, times] and [id, time, times].
    const timeAt = items.length - 2
    if (isText(items[0]) && /^\$(?:\d+-\d+|now)$/.test(items[0]) && isNumber(items[timeAt]))
      items[timeAt] = ageOf(items[timeAt], true)
  }
  return { mark, items }
}

const TIMES = new Set(['$seen-time', '$active-time', '$idle', '$inactive', '$consumers'])
/** Of the nodes that a Redis stores entries in, also where all of them are deleted (docs/STREAMS.md). */
const NODES = new Set(['$radix-tree-keys', '$radix-tree-nodes'])

/** Field by field, if it is a map (in RESP2 an array). */
function withoutFields(items: Tree[]): Tree[] {
  const isMap = items[0] === '$name' || items[0] === '$length'
  if (!isMap) return items
  return items.filter((_, i) => {
    const field = items[i - (i % 2)]
    if (isText(field) && NODES.has(field)) return false
    return !(isText(field) && TIMES.has(field)) || typeof items[i - (i % 2) + 1] === 'object'
  })
}

/** Consumers without anything pending. */
function withoutConsumers(items: Tree[]): Tree[] {
  const isEmpty = (item: Tree) => {
    if (typeof item === 'string' || item.items[0] !== '$name') return false
    const at = item.items.findIndex((field) => field === '$pel-count' || field === '$pending')
    return !item.items.includes('$last-delivered-id') && item.items[at + 1] === ':0'
  }
  return items.filter((item) => !isEmpty(item))
}

/** How long ago, roughly. @param isTime it is when */
function ageOf(text: string, isTime = false): string {
  const ms = isTime ? Date.now() - Number(text.slice(1)) : Number(text.slice(1))
  return ms > 1e9 ? ':long ago' : ms > 500_000 ? ':a while ago' : ':now'
}
