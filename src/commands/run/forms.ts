/** From a value in one piece to one in parts, and back: of all types that can be large. */
import { KIND_STREAM } from '../../core/codec.ts'
import type { Sliced } from '../../core/work.ts'
import { RootTooLong } from '../collections/large/root.ts'
import { splitInSlices, wholeOf, type Split } from '../collections/large/split.ts'
import { DAMAGED, ROOT_TOO_LONG } from '../collections/steps.ts'
import { DamagedCollection } from '../collections/texts.ts'
import type { Parts, Stepped } from '../step.ts'
import { flatStreamInSlices, splitStream } from '../streams/large/split.ts'

/** @throws NeedsParts, PartsChanged or DamagedCollection */
export function* inOnePiece(
  kind: number | undefined,
  value: Buffer,
  parts: Parts | undefined,
): Sliced<Buffer> {
  return kind === KIND_STREAM ? yield* flatStreamInSlices(value, parts) : wholeOf(kind, value, parts).bytes
}

/** What is stored of a result that is long; or why it is refused. */
export function* inParts(
  kind: number | undefined,
  flat: Buffer,
  generation: Buffer,
): Sliced<Split | Stepped> {
  try {
    return yield* kind === KIND_STREAM ? splitStream(flat, generation) : splitInSlices(kind, flat, generation)
  } catch (error) {
    if (error instanceof RootTooLong) return ROOT_TOO_LONG
    if (error instanceof DamagedCollection) return DAMAGED
    throw error
  }
}
