/**
 * A part of a large collection: a record of its own. Final.
 *
 *   0   1 format 03
 *   1   8 generation    of the collection
 *   9   4 id
 *   13  6 stamp         the change that wrote it (root.ts)
 *   19  4 number of entries
 *   23    the entries   as a flat collection has them (entries.ts); by hash they are in no order within a part. Of a stream
 *                       its entries, or what is pending (streams/large/)
 */
import { PART_STAMP_AT, STAMP_BYTES } from '../../../core/large-root.ts'
import { GENERATION_BYTES } from '../../../core/part-keys.ts'
import { PartsChanged } from '../../step.ts'
import { DamagedCollection, Entries, type Shape } from '../entries.ts'

const FORMAT = 3
const GENERATION_AT = 1
const ID_AT = 9
const COUNT_AT = 19
export const PART_HEAD_BYTES = 23

export interface PartName {
  readonly generation: Buffer
  readonly id: number
}

export function writePart(
  { generation, id }: PartName,
  stamp: number,
  count: number,
  runs: readonly Buffer[],
): Buffer {
  const head = Buffer.allocUnsafe(PART_HEAD_BYTES)
  head[0] = FORMAT
  generation.copy(head, GENERATION_AT)
  head.writeUInt32BE(id, ID_AT)
  head.writeUIntBE(stamp, PART_STAMP_AT, STAMP_BYTES)
  head.writeUInt32BE(count, COUNT_AT)
  return Buffer.concat([head, ...runs])
}

/** The change that wrote it, and how many entries it has. Null = it is not that part. @throws DamagedCollection */
export function partHead(
  part: Buffer,
  { generation, id }: PartName,
): { readonly stamp: number; readonly count: number } | null {
  if (part.length < PART_HEAD_BYTES || part[0] !== FORMAT) throw new DamagedCollection()
  const isOfIt = generation.compare(part, GENERATION_AT, GENERATION_AT + GENERATION_BYTES) === 0
  if (!isOfIt || part.readUInt32BE(ID_AT) !== id) return null
  return { stamp: part.readUIntBE(PART_STAMP_AT, STAMP_BYTES), count: part.readUInt32BE(COUNT_AT) }
}

/** What a part holds, and the change that wrote it. Null = it is not that part. @throws DamagedCollection */
export function readPart(
  part: Buffer,
  name: PartName,
  shape: Shape,
): { readonly stamp: number; readonly entries: Entries } | null {
  const head = partHead(part, name)
  if (!head) return null
  const entries = Entries.within(part, PART_HEAD_BYTES, head.count, shape)
  if (entries.end !== part.length) throw new DamagedCollection()
  return { stamp: head.stamp, entries }
}

/** The same, if the part is what the root says. @throws PartsChanged or DamagedCollection */
export function readCurrentPart(
  part: Buffer | null,
  name: PartName,
  stamp: number,
  count: number,
  shape: Shape,
): Entries {
  const read = part && readPart(part, name, shape)
  if (read?.stamp !== stamp) throw new PartsChanged('a part is not that of its root')
  if (read.entries.length !== count) throw new DamagedCollection()
  return read.entries
}
