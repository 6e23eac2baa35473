/**
 * Looks through a protobuf message before it is decoded.
 *
 * It counts its fields: one takes two bytes on the wire and a hundred in memory, so a message of four megabytes could become
 * hundreds, and hold up everybody while it is decoded. And it compares the types of those that are known, because the decoder
 * does not: it would read other bytes than were meant.
 */
const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const FIXED32 = 5

/** The fields of a message by their number; those that it does not name may be anything. */
export type Shape = ReadonlyMap<number, Field>

export interface Field {
  /** Of the wire. */
  readonly type: number
  /** If it is a message that has a list. */
  readonly inner?: Shape
}

/**
 * @param most no more are counted
 * @returns how many fields it has, those of messages inside it too; Infinity if it is malformed
 */
export function fieldsIn(message: Buffer, shape: Shape, most: number): number {
  let fields = 0
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let scale = 1; at < message.length; scale *= 128) {
      const byte = message[at++]!
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
    return Infinity
  }
  while (at < message.length && fields <= most) {
    fields++
    const tag = varint()
    const type = tag % 8
    const known = shape.get(Math.floor(tag / 8))
    if (tag < 8 || (known !== undefined && known.type !== type)) return Infinity
    switch (type) {
      case VARINT:
        if (varint() === Infinity) return Infinity
        break
      case FIXED64:
        at += 8
        break
      case FIXED32:
        at += 4
        break
      case BYTES: {
        const length = varint()
        if (at + length > message.length) return Infinity
        if (known?.inner) fields += fieldsIn(message.subarray(at, at + length), known.inner, most - fields)
        at += length
        break
      }
      default:
        return Infinity // groups are older than gRPC
    }
  }
  return at > message.length ? Infinity : fields
}

/** How protobuf's types stand on the wire; the requests have no others. */
export const WIRE_TYPES: Readonly<Record<string, number>> = {
  TYPE_BYTES: BYTES,
  TYPE_STRING: BYTES,
  TYPE_MESSAGE: BYTES,
  TYPE_UINT32: VARINT,
  TYPE_UINT64: VARINT,
}
