/**
 * Splits long work over many turns of the event loop, so that other clients are served in between.
 *
 * Work counts the bytes that it processes, and yields whenever it has used up its share. All waiting work is in one queue
 * and gets one turn of the event loop each: fifty large requests at once slow down each other, and nobody else.
 */

/** At most a few milliseconds, for text that is escaped byte by byte. */
export const SHARE_BYTES = 128 * 1024

const waiting: (() => void)[] = []

export class Work {
  private spent = 0

  /** Await the result before continuing; undefined = continue at once. */
  spend(bytes: number): Promise<void> | undefined {
    this.spent += bytes
    if (this.spent < SHARE_BYTES) return undefined
    this.spent = 0
    return new Promise((resolve) => {
      waiting.push(resolve)
      if (waiting.length === 1) setImmediate(next)
    })
  }
}

function next(): void {
  waiting.shift()!()
  if (waiting.length > 0) setImmediate(next)
}
