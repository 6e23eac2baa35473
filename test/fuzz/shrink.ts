/** Makes a failing stream shorter: by halves, by quarters, down to single pieces, and then what is damaged anyway by its bytes. */
import type { Stream } from './streams.ts'

/**
 * @param fails whether it still fails
 * @param endMs when to be content with what there is
 */
export async function shrink(
  stream: Stream,
  fails: (stream: Stream) => Promise<boolean>,
  endMs: number,
): Promise<void> {
  let shortest = stream
  const plain = { ...shortest, writes: 1 }
  if (shortest.writes > 1 && (await fails(plain))) shortest = plain
  const pieces = await shorter(shortest.pieces, (kept) => fails({ ...shortest, pieces: kept }), endMs)
  shortest = { ...shortest, pieces }
  // Bytes left out of a talk would make it a damaged one.
  if (stream.kind === 'talk' || pieces.length > 1) return
  const bytes = [...pieces[0]!].map((byte) => Buffer.from([byte]))
  await shorter(bytes, (some) => fails({ ...shortest, pieces: [Buffer.concat(some)] }), endMs)
}

export async function shorter(
  pieces: readonly Buffer[],
  fails: (kept: readonly Buffer[]) => Promise<boolean>,
  endMs: number,
): Promise<readonly Buffer[]> {
  let kept = pieces
  for (let size = Math.ceil(pieces.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < kept.length && kept.length > 1 && performance.now() < endMs;) {
      const without = [...kept.slice(0, at), ...kept.slice(at + size)]
      if (without.length > 0 && (await fails(without))) kept = without
      else at += size
    }
  }
  return kept
}
