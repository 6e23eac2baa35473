/**
 * Runs many coordinator operations for one command, with a limited number in flight at once, so that a command on ten
 * thousand keys does not overload the coordinator by itself, and leaves room for other clients.
 */
import type { Caller } from '../model.ts'

const AT_ONCE = 256
/** Cost of one operation, including its result. */
const UNITS_EACH = 2

/**
 * After a failure no further operation is started.
 *
 * @param begin called in order of index
 * @param heldUp called synchronously if not all operations can start at once
 * @returns the results of those that were started, by index, when all have ended
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
  /** The time slice of this turn is used up (work.ts): continues in a later one. */
  let parked = false
  const mustWait = () => store.crowded || account.mustWait
  return new Promise((resolve) => {
    const ended = (place: number, result: PromiseSettledResult<T>) => {
      settled[place] = result
      underWay--
      resume()
    }
    const resume = () => {
      // Keep at least one in flight: other clients may use all the room.
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
      resume()
      return false // resume() has enqueued it again, if there is more
    }
    resume()
    if (next < count) heldUp?.()
  })
}

/** As above, but all must succeed. @throws the first failure, when all have ended */
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
