/**
 * Long work in many turns of the event loop, so that other clients are served in between.
 *
 * Work counts what it spends, in bytes that it looks at, and gives its turn away whenever it has spent a share. All that
 * wait stand in one queue and get one turn of the event loop each: fifty large requests at once make each other slow,
 * and nobody else.
 */

/** Takes a few milliseconds at the dearest, which is text that is escaped byte by byte. */
export const SHARE_BYTES = 128 * 1024

const waiting: (() => void)[] = []

export class Work {
  private spent = 0

  /** Await the result before going on; undefined: go on at once. */
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
