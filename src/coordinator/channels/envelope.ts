/**
 * What coordinators send each other over a node. A topic is the name that a node knows:
 *
 *   __rondo:m:<channel>, __rondo:s:<shard channel>   version  coordinator  number  message
 *   __rondo:q    to all coordinators                 version  coordinator  number  question  names
 *   __rondo:a:<coordinator>   acks                   version  1  (number, receivers) …
 *                             an answer              version  2  number  is it the last part  names or counts
 *                             something was stored   version  3  coordinator  hashes of keys
 *                             somebody waits         version  4  coordinator  hashes of keys
 *   __rondo:w    to all coordinators                 version  coordinator  number  1, hashes of keys; or 2
 *
 * Bytes: version 1, coordinator 8, number 6, receivers 4, a hash 4, a name 4 + its length. Whoever has a node's password can write
 * anything there, so each is checked; what is not like this is ignored.
 */
const VERSION = 1
export const ID_BYTES = 8
const NUMBER_BYTES = 6
const COUNT_BYTES = 4
const HEAD_BYTES = 1 + ID_BYTES + NUMBER_BYTES
const ACK_BYTES = NUMBER_BYTES + COUNT_BYTES
const ACKS = 1
const ANSWER = 2
const TOLD_FROM = 3
const HASH_BYTES = 4

export const TOPIC_PREFIXES = { channel: Buffer.from('__rondo:m:'), shard: Buffer.from('__rondo:s:') }
const PREFIX_BYTES = TOPIC_PREFIXES.channel.length
export const QUESTIONS_TOPIC = Buffer.from('__rondo:q')
export const WAITS_TOPIC = Buffer.from('__rondo:w')

export function topicOf(kind: 'channel' | 'shard', channel: Buffer): Buffer {
  return Buffer.concat([TOPIC_PREFIXES[kind], channel])
}

export function repliesTopic(id: Buffer): Buffer {
  return Buffer.from(`__rondo:a:${id.toString('hex')}`)
}

/** Null = it is not one of a channel. The channel is a slice of it. */
export function channelOf(topic: Buffer): { kind: 'channel' | 'shard'; channel: Buffer } | null {
  const prefix = topic.subarray(0, PREFIX_BYTES)
  for (const kind of ['channel', 'shard'] as const) {
    if (prefix.equals(TOPIC_PREFIXES[kind])) return { kind, channel: topic.subarray(PREFIX_BYTES) }
  }
  return null
}

export interface Sent {
  /** The coordinator, as latin1. */
  readonly from: string
  readonly number: number
  /** A slice. */
  readonly body: Buffer
}

export function encodeSent(id: Buffer, number: number, body: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + body.length)
  bytes[0] = VERSION
  id.copy(bytes, 1)
  bytes.writeUIntBE(number, 1 + ID_BYTES, NUMBER_BYTES)
  body.copy(bytes, HEAD_BYTES)
  return bytes
}

export function decodeSent(bytes: Buffer): Sent | null {
  if (bytes.length < HEAD_BYTES || bytes[0] !== VERSION) return null
  return {
    from: bytes.toString('latin1', 1, 1 + ID_BYTES),
    number: bytes.readUIntBE(1 + ID_BYTES, NUMBER_BYTES),
    body: bytes.subarray(HEAD_BYTES),
  }
}

export interface Ack {
  readonly number: number
  readonly receivers: number
}

export interface Answer {
  readonly number: number
  readonly isLast: boolean
  readonly body: Buffer
}

export function encodeAcks(acks: readonly Ack[]): Buffer {
  const bytes = Buffer.allocUnsafe(2 + acks.length * ACK_BYTES)
  bytes[0] = VERSION
  bytes[1] = ACKS
  let at = 2
  for (const { number, receivers } of acks) {
    at = bytes.writeUIntBE(number, at, NUMBER_BYTES)
    at = bytes.writeUInt32BE(receivers, at)
  }
  return bytes
}

export function encodeAnswer({ number, isLast, body }: Answer): Buffer {
  const bytes = Buffer.allocUnsafe(3 + NUMBER_BYTES + body.length)
  bytes[0] = VERSION
  bytes[1] = ANSWER
  bytes.writeUIntBE(number, 2, NUMBER_BYTES)
  bytes[2 + NUMBER_BYTES] = isLast ? 1 : 0
  body.copy(bytes, 3 + NUMBER_BYTES)
  return bytes
}

/** What one coordinator tells another one. */
export interface Told {
  readonly type: number
  /** The coordinator, as latin1. */
  readonly from: string
  readonly body: Buffer
}

export function encodeTold(type: number, id: Buffer, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([VERSION, type]), id, body])
}

export function encodeHashes(hashes: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(hashes.length * HASH_BYTES)
  hashes.forEach((hash, i) => bytes.writeUInt32BE(hash, i * HASH_BYTES))
  return bytes
}

/** None if these are none. */
export function decodeHashes(bytes: Buffer): number[] {
  if (bytes.length % HASH_BYTES !== 0) return []
  return Array.from({ length: bytes.length / HASH_BYTES }, (_, i) => bytes.readUInt32BE(i * HASH_BYTES))
}

export function decodeReplies(bytes: Buffer): readonly Ack[] | Answer | Told | null {
  if (bytes.length < 2 || bytes[0] !== VERSION) return null
  if (bytes[1]! >= TOLD_FROM) {
    if (bytes.length < 2 + ID_BYTES) return null
    const from = bytes.toString('latin1', 2, 2 + ID_BYTES)
    return { type: bytes[1]!, from, body: bytes.subarray(2 + ID_BYTES) }
  }
  if (bytes[1] === ANSWER) {
    if (bytes.length < 3 + NUMBER_BYTES) return null
    return {
      number: bytes.readUIntBE(2, NUMBER_BYTES),
      isLast: bytes[2 + NUMBER_BYTES] === 1,
      body: bytes.subarray(3 + NUMBER_BYTES),
    }
  }
  if (bytes[1] !== ACKS || (bytes.length - 2) % ACK_BYTES !== 0) return null
  const acks: Ack[] = []
  for (let at = 2; at < bytes.length; at += ACK_BYTES) {
    acks.push({
      number: bytes.readUIntBE(at, NUMBER_BYTES),
      receivers: bytes.readUInt32BE(at + NUMBER_BYTES),
    })
  }
  return acks
}

export function encodeNames(names: readonly Buffer[]): Buffer {
  const parts: Buffer[] = []
  for (const name of names) {
    const length = Buffer.allocUnsafe(COUNT_BYTES)
    length.writeUInt32BE(name.length)
    parts.push(length, name)
  }
  return Buffer.concat(parts)
}

/** Null = these are none. */
export function decodeNames(bytes: Buffer): Buffer[] | null {
  const names: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    if (bytes.length - at < COUNT_BYTES) return null
    const end = at + COUNT_BYTES + bytes.readUInt32BE(at)
    if (end > bytes.length) return null
    names.push(bytes.subarray(at + COUNT_BYTES, end))
    at = end
  }
  return names
}

export function encodeCounts(counts: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(counts.length * COUNT_BYTES)
  counts.forEach((count, i) => bytes.writeUInt32BE(count, i * COUNT_BYTES))
  return bytes
}

export function decodeCounts(bytes: Buffer): number[] | null {
  if (bytes.length % COUNT_BYTES !== 0) return null
  return Array.from({ length: bytes.length / COUNT_BYTES }, (_, i) => bytes.readUInt32BE(i * COUNT_BYTES))
}
