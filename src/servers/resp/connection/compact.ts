/**
 * Copies arguments that outlive their turn. An argument is a slice of a chunk of up to 64 KiB: keeping five bytes of it
 * would keep the whole chunk in memory.
 */

/** The same bytes, copied if they are less than half of the memory that they keep alive. */
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
