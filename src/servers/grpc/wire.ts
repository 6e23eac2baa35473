/**
 * Counts the fields of a protobuf message before it is decoded. A field takes two bytes on the wire and a hundred in memory, so a
 * message of four megabytes could become hundreds, and hold up everybody while it is decoded.
 */
const VARINT = 0
const FIXED64 = 1
const BYTES = 2
const FIXED32 = 5

/**
 * @param depth of messages inside it, whose fields count as well: all its fields of bytes are messages then
 * @param most no more are counted
 * @returns Infinity if it is malformed
 */
export function fieldsIn(message: Buffer, depth: number, most: number): number {
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
    switch (varint() % 8) {
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
        if (depth > 0) fields += fieldsIn(message.subarray(at, at + length), depth - 1, most - fields)
        at += length
        break
      }
      default:
        return Infinity // groups are older than gRPC
    }
  }
  return at > message.length ? Infinity : fields
}
