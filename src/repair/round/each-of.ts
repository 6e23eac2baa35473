/** Works on several things at once, and ends with the first error. */

/** Works through the items, so many at a time. Rejects with the first error, once all that had begun has ended. */
export async function eachOf<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, isStopped: () => boolean) => Promise<void>,
): Promise<void> {
  const left = items.values()
  let isStopped = false
  const lane = async () => {
    for (const item of left) {
      if (isStopped) return
      await work(item, () => isStopped)
    }
  }
  const stop = (error: unknown) => {
    isStopped = true
    throw error
  }
  await ended(Array.from({ length: Math.min(atOnce, items.length) }, () => lane().catch(stop)))
}

/** Rejects with the first error, once all have ended. */
export async function ended(works: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(works)).find((one) => one.status === 'rejected')
  if (failed) throw failed.reason
}
