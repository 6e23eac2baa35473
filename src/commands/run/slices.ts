/**
 * Many operations of the coordinator for one command: begun one after the other, with only so many of them under way at
 * once, so that a command on ten thousand keys is not refused for its own weight, and leaves room for other clients.
 */
import type { Caller } from '../model.ts'

const AT_ONCE = 256
/** What one of them costs, with its answer. */
const UNITS_EACH = 2

/**
 * Once one has failed, no further one is begun.
 *
 * @param begin called in the order of the places
 * @param heldUp called at once if not all of them could be begun at once
 * @returns by place, those that were begun, when all of them have ended
 */
export function inSlices<T>(
  { store, work, account }: Caller,
  count: number,
  begin: (place: number) => Promise<T>,
  heldUp?: () => void,
): Promise<PromiseSettledResult<T>[]> {
  const settled: PromiseSettledResult<T>[] = []
  let next = 0
  let underWay = 0
  let failed = false
  /** The turn's slice is used up (work.ts): it goes on in another one. */
  let parked = false
  const mustWait = () => store.crowded || account.mustWait
  return new Promise((resolve) => {
    const ended = (place: number, result: PromiseSettledResult<T>) => {
      settled[place] = result
      underWay--
      goOn()
    }
    const goOn = () => {
      // One is always under way: it may be the others that crowd us out.
      while (next < count && !failed && !parked && underWay < AT_ONCE && (underWay === 0 || !mustWait())) {
        if (work.spend(UNITS_EACH)) {
          parked = true
          work.enqueue({ takeTurn })
          return
        }
        const place = next++
        underWay++
        begin(place).then(
          (value) => ended(place, { status: 'fulfilled', value }),
          (reason: unknown) => {
            failed = true
            ended(place, { status: 'rejected', reason })
          },
        )
      }
      if (underWay === 0 && !parked) resolve(settled)
    }
    const takeTurn = () => {
      parked = false
      goOn()
      return false // goOn() has enqueued it again, if there is more
    }
    goOn()
    if (next < count) heldUp?.()
  })
}

/** As above, but every answer is needed. @throws what the first that failed has thrown, when all have ended */
export async function allInSlices<T>(
  caller: Caller,
  count: number,
  begin: (place: number) => Promise<T>,
  heldUp?: () => void,
): Promise<T[]> {
  const settled = await inSlices(caller, count, begin, heldUp)
  return settled.map((one) => {
    if (one.status === 'rejected') throw one.reason
    return one.value
  })
}
