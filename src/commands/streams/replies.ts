/** Replies with entries of a stream, which are made of its bytes when they are encoded. */
import type { Integer } from '../arguments.ts'
import { Lazy, Packed, putBulk, RespMap, type LazyItems, type PackedTexts, type Reply } from '../reply.ts'
import { idText } from './ids.ts'

import type { EntryRun } from './entry-run.ts'
import type { FoundEntry } from './stream.ts'

/** Short lists are looked at several times before they are sent: their items are kept. */
const FEW_ITEMS = 1000

class EntryTexts implements PackedTexts {
  readonly bytes: Buffer
  readonly length: number
  private readonly run: EntryRun
  private readonly places: readonly number[]

  constructor(run: EntryRun, entry: number) {
    this.run = run
    this.bytes = run.bytes
    this.places = run.textsOf(entry)
    this.length = this.places.length - 1
  }

  from(i: number): number {
    return this.run.textFrom(this.places[i]!)
  }

  to(i: number): number {
    return this.places[i + 1]!
  }
}

/** An entry: its id, its fields and values. */
export function entryReply(run: EntryRun, entry: number): Reply {
  return [idText(run.bytes, run.startOf(entry)), new Packed('array', new EntryTexts(run, entry))]
}

/** Of an entry: marks, numbers, the text of the longest id; of a text: mark, number, ends of line. */
const MOST_FRAME_BYTES = 80
const BULK_FRAME_BYTES = 16
/** The text of an id is longer than its bytes by so much at most. */
const ID_TEXT_BYTES = 32

class Made implements LazyItems {
  readonly length: number
  readonly bytes: number
  private readonly make: (i: number) => Reply
  private readonly made: Reply[] = []

  constructor(length: number, bytes: number, make: (i: number) => Reply) {
    this.length = length
    this.bytes = bytes
    this.make = make
  }

  item(i: number): Reply {
    const made = this.made[i]
    if (made !== undefined) return made
    const item = this.make(i)
    if (this.length <= FEW_ITEMS) this.made[i] = item
    return item
  }
}

/** An array whose items are made when they are encoded. @param bytes about how long they are all together */
function lazyReply(length: number, bytes: number, make: (i: number) => Reply): Reply {
  return length === 0 ? [] : new Lazy('array', new Made(length, bytes, make))
}

/** Entries in a row, which are encoded without an object for each. */
class EntryRow implements LazyItems {
  readonly length: number
  readonly bytes: number
  private readonly run: EntryRun
  private readonly step: 1 | -1

  constructor(run: EntryRun, step: 1 | -1, bytes: number) {
    this.run = run
    this.length = run.length
    this.step = step
    this.bytes = bytes
  }

  item(i: number): Reply {
    return entryReply(this.run, this.placeOf(i))
  }

  private placeOf(i: number): number {
    return this.step === 1 ? i : this.length - 1 - i
  }

  encoded(from: number, to: number): Buffer {
    const { run } = this
    const entries = Array.from({ length: to - from }, (_, i) => this.placeOf(from + i))
    const places = entries.map((entry) => run.textsOf(entry))
    let most = 0
    for (const texts of places)
      most += MOST_FRAME_BYTES + texts.at(-1)! - texts[0]! + BULK_FRAME_BYTES * texts.length
    const target = Buffer.allocUnsafe(most)
    let at = 0
    for (const [i, texts] of places.entries()) {
      const id = idText(run.bytes, run.startOf(entries[i]!))
      at += target.write(`*2\r\n$${id.length}\r\n${id}\r\n*${texts.length - 1}\r\n`, at, 'latin1')
      for (let j = 0; j + 1 < texts.length; j++) {
        at = putBulk(target, at, run.bytes, run.textFrom(texts[j]!), texts[j + 1]!)
      }
    }
    return target.subarray(0, at)
  }
}

/**
 * Entries in a row: what is damaged is found now, and not when they are sent.
 *
 * @param step -1 = backwards
 * @throws DamagedCollection
 */
export function entriesReply(run: EntryRun, step: 1 | -1 = 1): Reply {
  const { length } = run
  if (length === 0) return []
  run.checkTexts(0, length)
  return new Lazy('array', new EntryRow(run, step, run.run.length + ID_TEXT_BYTES * length))
}

/** Entries anywhere, which were looked at (checkTexts). Of one that is not there another reply is made. */
export function chosenReply(
  entries: readonly (FoundEntry | null)[],
  otherwise: (i: number) => Reply = () => null,
): Reply {
  let bytes = 0
  for (const entry of entries)
    bytes += ID_TEXT_BYTES + (entry ? entry.run.runOf(entry.at, entry.at + 1).length : 0)
  return lazyReply(entries.length, bytes, (i) => {
    const entry = entries[i]
    return entry ? entryReply(entry.run, entry.at) : otherwise(i)
  })
}

/** Pending entries, each with its id and some numbers. */
export function pendingReply(length: number, make: (i: number) => Reply): Reply {
  return lazyReply(length, 2 * ID_TEXT_BYTES * length, make)
}

/** A number if it can hold it: what other servers write into JSON. */
export function integerReply(value: bigint): Integer {
  const short = Number(value)
  return Number.isSafeInteger(short) ? short : value
}

/** @param fields in this order */
export function mapReply(fields: Readonly<Record<string, Reply>>): Reply {
  return new RespMap(Object.entries(fields))
}
