/**
 * Streams as Redis dumps them: nodes of its tree, each an id and a listpack, then the numbers of the stream, then its groups.
 *
 *   listpack     entries, deleted ones, fields of the node, 0; of each entry: flags, milliseconds and counter behind those of
 *                the node, number of fields (unless they are those of the node), fields and values, number of these items
 *   read         the forms of Redis 5 (15), 7.0 (19) and 7.2 (21)
 *   written      that of 7.0, without fields of the node
 */
import { compareIdAt, ID_BYTES, LEAST_ID, readUint64, streamId, type StreamId } from '../streams/ids.ts'
import { entryOf, type EntryRun } from '../streams/entry-run.ts'
import { Group, withGroup, type Consumer } from '../streams/groups.ts'
import { pendingBytes, Pending, PENDING_BYTES } from '../streams/pending.ts'
import { readUpTo } from '../streams/progress.ts'
import { FlatStream, NewStream } from '../streams/stored.ts'
import type { Stream, StreamHead } from '../streams/stream.ts'
import type { Sliced } from '../../core/work.ts'
import { BadData, TooMuchData, type Input } from './input.ts'
import { lengthBytes } from './lengths.ts'
import { inListpack } from './packed.ts'

/** By the byte that the form has in an RDB file: with first id, deleted id and counters; with the time of activity. */
export const STREAM_FORMS = new Map([
  [15, { hasCounters: false, hasActivity: false }],
  [19, { hasCounters: true, hasActivity: false }],
  [21, { hasCounters: true, hasActivity: true }],
])
const WRITTEN_FORM = 19
/** Of the format of RDB files, in which Redis 7.0 has it. */
export const STREAM_VERSION = 10

const NODE_ENTRIES = 100
const DELETED = 1
const SAME_FIELDS = 2
/** Flags, milliseconds, counter and number of fields. */
const ITEMS_BESIDE_TEXTS = 4
/** Each of them takes memory of its own, whatever the payload is compressed to. */
const MAX_ITEMS = 1_500_000
const MAX_TIME = 2 ** 48 - 1
const UNITS_A_NODE = 32

// ---- writing

/** @throws DamagedCollection */
export function writeStream(bytes: Buffer): Buffer[] {
  const stream = FlatStream.of(bytes)
  stream.all.checkTexts(0, stream.length)
  const nodes: Buffer[][] = []
  for (let from = 0; from < stream.length; from += NODE_ENTRIES)
    nodes.push(nodeOf(stream.all, from, Math.min(from + NODE_ENTRIES, stream.length)))
  return [
    Buffer.from([WRITTEN_FORM]),
    lengthBytes(nodes.length),
    ...nodes.flat(),
    lengthBytes(stream.length),
    ...[stream.lastId, stream.firstId, stream.maxDeletedId].flatMap(idLengths),
    lengthBytes(stream.added),
    lengthBytes(stream.groups.length),
    ...stream.groups.flatMap(groupParts),
  ]
}

function idLengths(id: StreamId): Buffer[] {
  return [lengthBytes(readUint64(id, 0)), lengthBytes(readUint64(id, ID_BYTES / 2))]
}

function textParts(text: Buffer): Buffer[] {
  return [lengthBytes(text.length), text]
}

function nodeOf(stream: EntryRun, from: number, to: number): Buffer[] {
  const node = stream.id(from)
  const [ms, counter] = [node.readBigUInt64BE(0), node.readBigUInt64BE(ID_BYTES / 2)]
  const items = [to - from, 0, 0, 0].map((number) => integerItem(BigInt(number)))
  for (let i = from; i < to; i++) {
    const id = stream.id(i)
    const places = stream.textsOf(i)
    const texts = places
      .slice(0, -1)
      .map((at, j) => stream.bytes.subarray(stream.textFrom(at), places[j + 1]))
    items.push(integerItem(0n))
    items.push(
      integerItem(id.readBigUInt64BE(0) - ms),
      integerItem(id.readBigUInt64BE(ID_BYTES / 2) - counter),
    )
    items.push(integerItem(BigInt(texts.length / 2)), ...texts.map(textItem))
    items.push(integerItem(BigInt(texts.length + ITEMS_BESIDE_TEXTS)))
  }
  return [...textParts(node), ...textParts(listpackOf(items))]
}

function listpackOf(items: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(6)
  const listpack = Buffer.concat([head, ...items, Buffer.from([0xff])])
  listpack.writeUInt32LE(listpack.length)
  listpack.writeUInt16LE(Math.min(items.length, 0xffff), 4)
  return listpack
}

function integerItem(value: bigint): Buffer {
  if (value >= 0n && value < 128n) return Buffer.from([Number(value), 1])
  const item = Buffer.alloc(10)
  item[0] = 0xf4
  item.writeBigInt64LE(BigInt.asIntN(64, value), 1)
  item[9] = 9
  return item
}

function textItem(text: Buffer): Buffer {
  const { length } = text
  let head: Buffer
  if (length < 64) head = Buffer.from([0x80 | length])
  else if (length < 4096) head = Buffer.from([0xe0 | (length >> 8), length & 0xff])
  else {
    head = Buffer.from([0xf0, 0, 0, 0, 0])
    head.writeUInt32LE(length, 1)
  }
  return Buffer.concat([head, text, lengthBehind(head.length + length)])
}

/** So that the item can be read backwards. */
function lengthBehind(length: number): Buffer {
  if (length <= 127) return Buffer.from([length])
  const groups = length < 16_383 ? 2 : length < 2_097_151 ? 3 : 4
  return Buffer.from(
    Array.from({ length: groups }, (_, i) => {
      const bits = Math.floor(length / 128 ** (groups - 1 - i)) % 128
      return i === 0 ? bits : bits | 0x80
    }),
  )
}

function groupParts({ name, lastId, read, pending, consumers }: Group): Buffer[] {
  const parts = [...textParts(name), ...idLengths(lastId), lengthBytes(BigInt.asUintN(64, read))]
  parts.push(lengthBytes(pending.length))
  const owned: Buffer[][] = consumers.map(() => [])
  for (let i = 0; i < pending.length; i++) {
    const { consumer, deliveredMs, deliveries } = pending.at(i)
    parts.push(pending.id(i), timeBytes(deliveredMs), lengthBytes(BigInt.asUintN(64, deliveries)))
    owned[consumer]!.push(pending.id(i))
  }
  parts.push(lengthBytes(consumers.length))
  consumers.forEach((consumer, i) => {
    parts.push(...textParts(consumer.name), timeBytes(consumer.seenMs))
    parts.push(lengthBytes(owned[i]!.length), ...owned[i]!)
  })
  return parts
}

function timeBytes(ms: number): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeBigInt64LE(BigInt(ms))
  return bytes
}

// ---- reading

/** @throws BadData, TooMuchData */
export function* readStream(form: number, input: Input): Sliced<NewStream> {
  const { hasCounters, hasActivity } = STREAM_FORMS.get(form)!
  const entries: Buffer[] = []
  const budget = { left: MAX_ITEMS }
  for (let left = input.length(); left > 0; left--) {
    const node = input.text()
    if (node.length !== ID_BYTES) throw new BadData()
    entriesOfNode(node, input.text(), budget, entries)
    yield UNITS_A_NODE
  }
  const length = input.length()
  if (length !== entries.length) throw new BadData()
  const lastId = idOf(input)
  if (hasCounters) idOf(input)
  const maxDeletedId = hasCounters ? idOf(input) : LEAST_ID
  const added = hasCounters ? input.length64() : BigInt(length)
  const top = entries.at(-1)
  if (top && compareIdAt(top, 0, lastId) > 0) throw new BadData()
  const head: StreamHead = { lastId, maxDeletedId, added }
  const bare = new NewStream({ ...head, entries: { count: length, runs: entries } })
  const stream = FlatStream.of(bare.value())
  let groups: Group[] = []
  for (let left = input.length(); left > 0; left--) {
    const group = readGroup(input, stream, hasCounters, hasActivity)
    if (groups.some(({ name }) => name.equals(group.name))) throw new BadData()
    groups = withGroup(groups, group)
    yield UNITS_A_NODE
  }
  return stream.with({ groups })
}

function idOf(input: Input): StreamId {
  return streamId(input.length64(), input.length64())
}

/** Adds the entries of a node that are not deleted. */
function entriesOfNode(node: StreamId, listpack: Buffer, budget: { left: number }, entries: Buffer[]): void {
  const items: Buffer[] = []
  inListpack(listpack, (item) => {
    if (budget.left-- === 0)
      throw new TooMuchData('The payload has too many fields: no stream can hold them.')
    items.push(item)
  })
  let at = 0
  const item = () => items[at++] ?? bad()
  const number = () => {
    const value = Number(item().toString('latin1'))
    return Number.isSafeInteger(value) ? value : bad()
  }
  const [live, deleted, ownFields] = [number(), number(), number()]
  const fields = Array.from({ length: Math.min(Math.max(ownFields, 0), items.length) }, item)
  if (number() !== 0) throw new BadData()
  let [liveSeen, deletedSeen] = [0, 0]
  while (at < items.length) {
    const from = at
    const flags = number()
    const id = movedId(node, item(), item())
    const hasSame = (flags & SAME_FIELDS) !== 0
    const count = hasSame ? fields.length : number()
    if (count < 0 || count > items.length) throw new BadData()
    const texts: Buffer[] = []
    for (let i = 0; i < count; i++) texts.push(hasSame ? fields[i]! : item(), item())
    if (number() !== at - 1 - from || texts.length === 0) throw new BadData()
    if ((flags & DELETED) !== 0) {
      deletedSeen++
      continue
    }
    liveSeen++
    const last = entries.at(-1)
    if (last && compareIdAt(last, 0, id) >= 0) throw new BadData()
    entries.push(entryOf(id, texts))
  }
  if (liveSeen !== live || deletedSeen !== deleted) throw new BadData()
}

function bad(): never {
  throw new BadData()
}

const INTEGER = /^-?\d{1,20}$/

function movedId(node: StreamId, ms: Buffer, counter: Buffer): StreamId {
  const half = (at: number, by: Buffer) => {
    const text = by.toString('latin1')
    if (!INTEGER.test(text)) throw new BadData()
    return BigInt.asUintN(64, node.readBigUInt64BE(at) + BigInt(text))
  }
  return streamId(half(0, ms), half(ID_BYTES / 2, counter))
}

function readGroup(input: Input, stream: Stream, hasCounters: boolean, hasActivity: boolean): Group {
  const name = input.text()
  const lastId = idOf(input)
  const read = hasCounters ? BigInt.asIntN(64, input.length64()) : readUpTo(stream, lastId)
  const given = new Map<string, { deliveredMs: number; deliveries: bigint; consumer: number }>()
  const ids: StreamId[] = []
  for (let left = input.length(); left > 0; left--) {
    const id = input.take(ID_BYTES)
    if (ids.length > 0 && ids.at(-1)!.compare(id) >= 0) throw new BadData()
    ids.push(id)
    const deliveredMs = timeIn(input)
    const deliveries = BigInt.asIntN(64, input.length64())
    given.set(id.toString('latin1'), { deliveredMs, deliveries, consumer: -1 })
  }
  const consumers: Consumer[] = []
  const names = new Set<string>()
  for (let left = input.length(); left > 0; left--) {
    const name = input.text()
    const seenMs = timeIn(input)
    const activeMs = hasActivity ? timeIn(input) : 0
    for (let own = input.length(); own > 0; own--) {
      const pending = given.get(input.take(ID_BYTES).toString('latin1'))
      if (pending?.consumer !== -1) throw new BadData()
      pending.consumer = consumers.length
    }
    consumers.push({ name, seenMs, activeMs })
    names.add(name.toString('latin1'))
  }
  if (names.size !== consumers.length || consumers.length > 0xffff) throw new BadData()
  const bytes = Buffer.alloc(ids.length * PENDING_BYTES)
  ids.forEach((id, i) => {
    const pending = given.get(id.toString('latin1'))!
    if (pending.consumer === -1) throw new BadData()
    pendingBytes(id, pending).copy(bytes, i * PENDING_BYTES)
  })
  return new Group({ name, lastId, read, consumers, pending: new Pending(bytes) })
}

/** What can be no time becomes the nearest one; -1 = never. */
function timeIn(input: Input): number {
  return Math.min(Math.max(Number(input.integer(8)), 0), MAX_TIME)
}
