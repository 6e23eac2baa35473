/**
 * Deletes of keys that hold nothing. Where keys are loaded they count: what is on its way at this moment, or is served stale,
 * is what the client knows to be outdated. So they do with a loader, with stale values, and while a client may fill the key
 * (loader/fills.ts marks it). Elsewhere each would cost its nodes a write, for nothing.
 */
import type { Held, Step } from '../step.ts'
import type { Known } from './known.ts'

/** What the step has made of a key: `undefined` = it stays as it is. @param isAwaited the key's record is */
export function unlessAbsent(
  { leavesAbsent = false }: Step,
  before: Known | null,
  after: Held | null | undefined,
  isAwaited: boolean,
): Held | null | undefined {
  const isLeft = leavesAbsent && after === null && before === null && !isAwaited
  return isLeft ? undefined : after
}
