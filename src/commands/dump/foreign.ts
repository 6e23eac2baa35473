/** Collections that Redis has and Rondo did not write: their DUMP, as what Rondo would have stored (nodes/redis/foreign.ts). */
import type { ForeignValue } from '../../core/codec.ts'
import type { Sliced } from '../../core/work.ts'
import type { StepLimits } from '../step.ts'
import { restoredFrom } from './dump.ts'

/** @returns null if it is damaged, or of a form that RESTORE refuses */
export function* foreignValue(
  dump: Buffer,
  limits: Pick<StepLimits, 'maxValueBytes' | 'random'>,
): Sliced<ForeignValue | null> {
  const held = yield* restoredFrom(dump, 0, limits)
  if ('reply' in held) return null
  const { kind, value } = held
  return kind === undefined ? null : { kind, value }
}
