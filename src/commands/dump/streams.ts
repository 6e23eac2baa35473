/**
 * Streams as Redis dumps them: nodes of its tree, each an id and a listpack, then the numbers of the stream, then its groups.
 *
 *   listpack     entries, deleted ones, fields of the node, 0; of each entry: flags, milliseconds and counter behind those of
 *                the node, number of fields (unless they are those of the node), fields and values, number of these items
 *   read         the forms of Redis 5 (15), 7.0 (19) and 7.2 (21)
 *   written      that of 7.0, without fields of the node
 */
import { ByteChunks } from '../collections/chunks.ts'
import { MAX_COLLECTION_BYTES, MAX_COLLECTION_ENTRIES } from '../collections/steps.ts'
import type { Parts } from '../step.ts'
import { ID_BYTES, LEAST_ID, readUint64, streamId, type StreamId } from '../streams/ids.ts'
import { entryOf, type EntryRun } from '../streams/entry-run.ts'
import { Group, type Consumer } from '../streams/groups.ts'
import { pendingBytes, Pending, PENDING_BYTES, type Delivery } from '../streams/pending.ts'
import { openedStream } from '../streams/large/split.ts'
import { MAX_GROUP_BYTES, MAX_PENDING_BYTES } from '../streams/steps.ts'
import { readUpTo } from '../streams/progress.ts'
import { FlatStream, NewStream } from '../streams/stored.ts'
import type { Stream, StreamHead } from '../streams/stream.ts'
import type { Sliced } from '../../core/work.ts'
import { BadData, TooMuchData, type Input } from './input.ts'
import { lengthBytes } from './lengths.ts'
import { listpackTexts } from './packed.ts'

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
/** Each of them takes memory of its own while its node is read, whatever the payload is compressed to. */
const MAX_NODE_ITEMS = 500_000
const PENDING_A_PIECE = 256
const TOO_LARGE = `A stream has at most ${MAX_COLLECTION_BYTES} bytes and ${MAX_COLLECTION_ENTRIES} entries (a fixed limit).`
const NODE_TOO_LARGE = `A node of a stream has at most ${MAX_NODE_ITEMS} fields and values (a fixed limit).`
const TOO_MANY_PENDING = `The groups of a stream have at most ${MAX_PENDING_BYTES / PENDING_BYTES} pending entries (a fixed limit).`
const GROUPS_TOO_LARGE = `The groups of a stream have at most ${MAX_GROUP_BYTES} bytes (a fixed limit).`
const MAX_TIME = 2 ** 48 - 1
const UNITS_A_NODE = 32

// ---- writing

/**
 * @param parts of a large one
 * @throws NeedsParts, PartsChanged or DamagedCollection
 */
export function* writeStream(value: Buffer, parts: Parts | undefined): Sliced<Buffer[]> {
  const { runs, groups, lastId, maxDeletedId, added } = yield* openedStream(value, parts)
  const filled = runs.filter(({ length }) => length > 0)
  const written = new ByteChunks()
  const add = (pieces: readonly Buffer[]) => pieces.forEach((piece) => written.add(piece))
  const nodes = filled.reduce((sum, { length }) => sum + Math.ceil(length / NODE_ENTRIES), 0)
  add([Buffer.from([WRITTEN_FORM]), lengthBytes(nodes)])
  let count = 0
  for (const run of filled) {
    run.checkTexts(0, run.length)
    count += run.length
    for (let from = 0; from < run.length; from += NODE_ENTRIES) {
      add(nodeOf(run, from, Math.min(from + NODE_ENTRIES, run.length)))
      yield UNITS_A_NODE
    }
  }
  const firstId = filled[0]?.id(0) ?? LEAST_ID
  add([lengthBytes(count), ...[lastId, firstId, maxDeletedId].flatMap(idLengths)])
  add([lengthBytes(added), lengthBytes(groups.length)])
  for (const group of groups) yield* groupParts(group, add)
  return written.all()
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

function* groupParts(
  { name, lastId, read, pending, consumers }: Group,
  add: (pieces: readonly Buffer[]) => void,
): Sliced<void> {
  add([...textParts(name), ...idLengths(lastId), lengthBytes(BigInt.asUintN(64, read))])
  add([lengthBytes(pending.length)])
  const owned = consumers.map(() => ({ count: 0, ids: new ByteChunks() }))
  for (let i = 0; i < pending.length; i++) {
    const { consumer, deliveredMs, deliveries } = pending.at(i)
    const id = pending.id(i)
    add([id, timeBytes(deliveredMs), lengthBytes(BigInt.asUintN(64, deliveries))])
    const own = owned[consumer]!
    own.count++
    own.ids.add(id)
    if (i % PENDING_A_PIECE === PENDING_A_PIECE - 1) yield UNITS_A_NODE
  }
  add([lengthBytes(consumers.length)])
  for (const [i, consumer] of consumers.entries()) {
    const { count, ids } = owned[i]!
    add([...textParts(consumer.name), timeBytes(consumer.seenMs), lengthBytes(count), ...ids.all()])
    if (i % PENDING_A_PIECE === PENDING_A_PIECE - 1) yield UNITS_A_NODE
  }
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
  const entries = new ReadEntries()
  for (let left = input.length(); left > 0; left--) {
    const node = input.text()
    if (node.length !== ID_BYTES) throw new BadData()
    yield* entriesOfNode(node, yield* input.longText(), entries)
    yield UNITS_A_NODE
  }
  if (input.length() !== entries.count) throw new BadData()
  const lastId = idOf(input)
  if (hasCounters) idOf(input)
  const maxDeletedId = hasCounters ? idOf(input) : LEAST_ID
  const added = hasCounters ? input.length64() : BigInt(entries.count)
  if (entries.topId && entries.topId.compare(lastId) > 0) throw new BadData()
  const head: StreamHead = { lastId, maxDeletedId, added }
  const bare = new NewStream({ ...head, entries: { count: entries.count, runs: entries.chunks.all() } })
  const stream = FlatStream.of(bare.value())
  yield* stream.all.placed()
  const groups = yield* readAllGroups(input, stream, hasCounters, hasActivity)
  return stream.with({ groups })
}

/** What has been read of the entries. */
class ReadEntries {
  readonly chunks = new ByteChunks()
  count = 0
  /** The greatest one so far. */
  topId: StreamId | null = null
  private bytes = 0

  /** @throws BadData, TooMuchData */
  add(id: StreamId, texts: readonly Buffer[]): void {
    if (this.topId && this.topId.compare(id) >= 0) throw new BadData()
    const entry = entryOf(id, texts)
    this.count++
    this.bytes += entry.length
    if (this.count > MAX_COLLECTION_ENTRIES || this.bytes > MAX_COLLECTION_BYTES) {
      throw new TooMuchData(TOO_LARGE)
    }
    this.chunks.add(entry)
    this.topId = id
  }
}

function* readAllGroups(
  input: Input,
  stream: Stream,
  hasCounters: boolean,
  hasActivity: boolean,
): Sliced<Group[]> {
  const groups = new Map<string, Group>()
  const budget = { pending: MAX_PENDING_BYTES / PENDING_BYTES, bytes: MAX_GROUP_BYTES }
  for (let left = input.length(); left > 0; left--) {
    const group = yield* readGroup(input, stream, { hasCounters, hasActivity }, budget)
    const name = group.name.toString('latin1')
    if (groups.has(name)) throw new BadData()
    groups.set(name, group)
    yield UNITS_A_NODE
  }
  return [...groups.values()].sort((a, b) => a.name.compare(b.name))
}

function idOf(input: Input): StreamId {
  return streamId(input.length64(), input.length64())
}

/** Adds the entries of a node that are not deleted. */
function* entriesOfNode(node: StreamId, listpack: Buffer, entries: ReadEntries): Sliced<void> {
  const items: Buffer[] = []
  yield* listpackTexts(listpack, (item) => {
    if (items.push(item) > MAX_NODE_ITEMS) throw new TooMuchData(NODE_TOO_LARGE)
  })
  let at = 0
  const item = () => items[at++] ?? bad()
  const number = () => {
    const text = item()
    const value = shortInteger(text) ?? Number(text.toString('latin1'))
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
    yield ITEMS_BESIDE_TEXTS + texts.length
    if ((flags & DELETED) !== 0) {
      deletedSeen++
      continue
    }
    liveSeen++
    entries.add(id, texts)
  }
  if (liveSeen !== live || deletedSeen !== deleted) throw new BadData()
}

function bad(): never {
  throw new BadData()
}

const MAX_SHORT_DIGITS = 15
const [ZERO, NINE] = [0x30, 0x39]
const UINT32 = 2 ** 32

/** Adds to 64 bits. @returns false: the sum is too large for that */
function addedAt(id: Buffer, at: number, by: number): boolean {
  const sum = id.readUInt32BE(at) * UINT32 + id.readUInt32BE(at + 4) + by
  if (!Number.isSafeInteger(sum)) return false
  id.writeUInt32BE(Math.floor(sum / UINT32), at)
  id.writeUInt32BE(sum % UINT32, at + 4)
  return true
}

const INTEGER = /^-?\d{1,20}$/

/** Null = it is longer, or negative, or none. */
function shortInteger(text: Buffer): number | null {
  if (text.length === 0 || text.length > MAX_SHORT_DIGITS) return null
  let value = 0
  for (const byte of text) {
    if (byte < ZERO || byte > NINE) return null
    value = value * 10 + byte - ZERO
  }
  return value
}

function movedId(node: StreamId, ms: Buffer, counter: Buffer): StreamId {
  const [byMs, byCounter] = [shortInteger(ms), shortInteger(counter)]
  if (byMs !== null && byCounter !== null) {
    const id = Buffer.from(node)
    if (addedAt(id, 0, byMs) && addedAt(id, ID_BYTES / 2, byCounter)) return id
  }
  const half = (at: number, by: Buffer) => {
    const text = by.toString('latin1')
    if (!INTEGER.test(text)) throw new BadData()
    return BigInt.asUintN(64, node.readBigUInt64BE(at) + BigInt(text))
  }
  return streamId(half(0, ms), half(ID_BYTES / 2, counter))
}

/** What all groups of a stream may have. */
interface GroupBudget {
  pending: number
  bytes: number
}

type Given = Delivery & { consumer: number }

function* readGroup(
  input: Input,
  stream: Stream,
  { hasCounters, hasActivity }: { readonly hasCounters: boolean; readonly hasActivity: boolean },
  budget: GroupBudget,
): Sliced<Group> {
  const name = input.text()
  const lastId = idOf(input)
  const read = hasCounters ? BigInt.asIntN(64, input.length64()) : readUpTo(stream, lastId)
  const ids: StreamId[] = []
  const given = new Map<string, Given>()
  for (let left = input.length(); left > 0; left--) {
    if (budget.pending-- === 0) throw new TooMuchData(TOO_MANY_PENDING)
    const id = input.take(ID_BYTES)
    if (ids.length > 0 && ids.at(-1)!.compare(id) >= 0) throw new BadData()
    ids.push(id)
    const deliveredMs = timeIn(input)
    const deliveries = BigInt.asIntN(64, input.length64())
    given.set(id.toString('latin1'), { deliveredMs, deliveries, consumer: -1 })
    if (ids.length % PENDING_A_PIECE === 0) yield UNITS_A_NODE
  }
  const consumers = yield* readConsumers(input, given, hasActivity, budget)
  const bytes = Buffer.alloc(ids.length * PENDING_BYTES)
  for (const [i, id] of ids.entries()) {
    const pending = given.get(id.toString('latin1'))!
    if (pending.consumer === -1) throw new BadData()
    pendingBytes(id, pending).copy(bytes, i * PENDING_BYTES)
    if (i % PENDING_A_PIECE === 0) yield UNITS_A_NODE
  }
  const group = new Group({ name, lastId, read, consumers, pending: new Pending(bytes) })
  budget.bytes -= group.head.length
  if (budget.bytes < 0) throw new TooMuchData(GROUPS_TOO_LARGE)
  return group
}

function* readConsumers(
  input: Input,
  given: ReadonlyMap<string, Given>,
  hasActivity: boolean,
  budget: GroupBudget,
): Sliced<Consumer[]> {
  const consumers: Consumer[] = []
  const names = new Set<string>()
  let bytes = 0
  for (let left = input.length(); left > 0; left--) {
    const name = input.text()
    bytes += name.length
    if (bytes > budget.bytes) throw new TooMuchData(GROUPS_TOO_LARGE)
    const seenMs = timeIn(input)
    const activeMs = hasActivity ? timeIn(input) : 0
    for (let own = input.length(); own > 0; own--) {
      const pending = given.get(input.take(ID_BYTES).toString('latin1'))
      if (pending?.consumer !== -1) throw new BadData()
      pending.consumer = consumers.length
      if (own % PENDING_A_PIECE === 0) yield UNITS_A_NODE
    }
    consumers.push({ name, seenMs, activeMs })
    names.add(name.toString('latin1'))
    if (left % PENDING_A_PIECE === 0) yield UNITS_A_NODE
  }
  if (names.size !== consumers.length || consumers.length > 0xffff) throw new BadData()
  return consumers
}

/** What can be no time becomes the nearest one; -1 = never. */
function timeIn(input: Input): number {
  return Math.min(Math.max(Number(input.integer(8)), 0), MAX_TIME)
}
