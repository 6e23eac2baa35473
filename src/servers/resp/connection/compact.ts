/**
 * Arguments that outlive their turn. What a client sends comes in chunks of up to 64 KiB, and an argument is a slice of one:
 * five bytes that are kept for a while would keep all of it.
 */

/** The same bytes, in memory of their own where they are only a small part of what they stand in. */
export function compacted(args: readonly Buffer[]): readonly Buffer[] {
  let bytes = 0
  let pinned = 0
  let chunk: ArrayBufferLike | null = null
  for (const arg of args) {
    bytes += arg.length
    if (arg.buffer !== chunk) pinned += arg.buffer.byteLength
    chunk = arg.buffer
  }
  if (bytes * 2 >= pinned) return args
  const copy = Buffer.allocUnsafeSlow(bytes)
  let at = 0
  return args.map((arg) => {
    arg.copy(copy, at)
    at += arg.length
    return copy.subarray(at - arg.length, at)
  })
}
