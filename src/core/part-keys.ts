/**
 * Names of the parts of large collections, on the nodes:
 *
 *   __rondo:db9998:<generation, 16 hex digits><id, 8><stamp, 12>:<name of the collection's key on the nodes>
 *
 * What is stored under such a name never changes: a change of a part has another stamp, and so another name. A part is on
 * the nodes that the collection is on (token.ts), and what is flushed with a collection is flushed with its parts
 * (floors.ts, nodes/redis/drop-below.lua).
 */
import { databasePrefix, PARTS_DATABASE } from './keys.ts'

const PREFIX = databasePrefix(PARTS_DATABASE)
const PREFIX_TEXT = PREFIX.toString('latin1')
export const GENERATION_BYTES = 8
const ID_BYTES = 4
const STAMP_BYTES = 6
const NUMBERS_DIGITS = 2 * (GENERATION_BYTES + ID_BYTES + STAMP_BYTES)
/** What precedes the name of the collection. */
export const PART_PREFIX_BYTES = PREFIX.length + NUMBERS_DIGITS + 1
const NUMBERS = /^[\da-f]{36}$/

/** One part of a collection, as its root names it. */
export interface PartName {
  readonly id: number
  readonly stamp: number
}

/** @param root the collection's name on the nodes @param generation GENERATION_BYTES */
export function partKey(root: Buffer, generation: Buffer, { id, stamp }: PartName): Buffer {
  const numbers = Buffer.allocUnsafe(ID_BYTES + STAMP_BYTES)
  numbers.writeUInt32BE(id, 0)
  numbers.writeUIntBE(stamp, ID_BYTES, STAMP_BYTES)
  const text = `${PREFIX_TEXT}${generation.toString('hex')}${numbers.toString('hex')}:`
  return Buffer.concat([Buffer.from(text), root])
}

/** Whether this name begins as those of parts do. Cheap, for it is asked of every key. */
export function isPartKey(stored: Uint8Array): boolean {
  if (stored[0] !== PREFIX[0] || stored.length <= PART_PREFIX_BYTES) return false
  for (let i = 1; i < PREFIX.length; i++) if (stored[i] !== PREFIX[i]) return false
  return true
}

/** The same for a name as latin1. */
export function isPartName(name: string): boolean {
  return name.startsWith(PREFIX_TEXT) && name.length > PART_PREFIX_BYTES
}

/** The name of the collection that a part belongs to, on the nodes. */
export function rootOf<T extends Uint8Array>(part: T): T {
  return part.subarray(PART_PREFIX_BYTES) as T
}

/** What a part's name says of it; null = it is no part's. */
export function partNamed(
  stored: Buffer,
): (PartName & { readonly root: Buffer; readonly generation: Buffer }) | null {
  if (!isPartKey(stored)) return null
  const digits = stored.toString('latin1', PREFIX.length, PREFIX.length + NUMBERS_DIGITS)
  if (!NUMBERS.test(digits) || stored[PART_PREFIX_BYTES - 1] !== 0x3a) return null
  const numbers = Buffer.from(digits, 'hex')
  return {
    root: rootOf(stored),
    generation: numbers.subarray(0, GENERATION_BYTES),
    id: numbers.readUInt32BE(GENERATION_BYTES),
    stamp: numbers.readUIntBE(GENERATION_BYTES + ID_BYTES, STAMP_BYTES),
  }
}
