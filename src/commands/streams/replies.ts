/** Replies with entries of a stream, which are made of its bytes when they are encoded. */
import type { Integer } from '../arguments.ts'
import { Lazy, Packed, RespMap, type LazyItems, type PackedTexts, type Reply } from '../reply.ts'
import { idText } from './ids.ts'
import type { Stream } from './stored.ts'

/** Short lists are looked at several times before they are sent: their items are kept. */
const FEW_ITEMS = 1000

class EntryTexts implements PackedTexts {
  readonly bytes: Buffer
  readonly length: number
  private readonly stream: Stream
  private readonly places: readonly number[]

  constructor(stream: Stream, entry: number) {
    this.stream = stream
    this.bytes = stream.bytes
    this.places = stream.textsOf(entry)
    this.length = this.places.length - 1
  }

  from(i: number): number {
    return this.stream.textFrom(this.places[i]!)
  }

  to(i: number): number {
    return this.places[i + 1]!
  }
}

/** An entry: its id, its fields and values. */
export function entryReply(stream: Stream, entry: number): Reply {
  return [idText(stream.bytes, stream.startOf(entry)), new Packed('array', new EntryTexts(stream, entry))]
}

class Made implements LazyItems {
  readonly length: number
  private readonly make: (i: number) => Reply
  private readonly made: Reply[] = []

  constructor(length: number, make: (i: number) => Reply) {
    this.length = length
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

/** An array whose items are made when they are encoded. */
export function lazyReply(length: number, make: (i: number) => Reply): Reply {
  return length === 0 ? [] : new Lazy('array', new Made(length, make))
}

/**
 * Entries in a row: what is damaged is found now, and not when they are sent.
 *
 * @param step -1 = backwards
 * @throws DamagedCollection
 */
export function entriesReply(stream: Stream, from: number, count: number, step: 1 | -1 = 1): Reply {
  if (count <= 0) return []
  for (let i = 0; i < count; i++) stream.textCount(from + i * step)
  return lazyReply(count, (i) => entryReply(stream, from + i * step))
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
