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
