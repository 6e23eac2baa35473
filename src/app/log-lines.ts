/**
 * Where the program's log lines (JSON) go: stderr, written in the background. Whoever reads it may be slow, which costs
 * lines beyond MAX_WAITING_BYTES, or gone, which costs all lines from then on; what is served and how it stops depend on
 * neither.
 */
import type { DestinationStream } from 'pino'
import sonicBoom from 'sonic-boom'

const STDERR = 2
const MAX_WAITING_BYTES = 16 * 1024 * 1024
/** At the end of the process, a tenth of a second each: how often a slow reader is waited for. */
const LAST_TRIES = 10

export function logLines(): DestinationStream & { flushSync(): void } {
  let tries = Infinity
  const retryEAGAIN = () => tries-- > 0
  const stderr = new sonicBoom.SonicBoom({ fd: STDERR, maxLength: MAX_WAITING_BYTES, retryEAGAIN })
  let isGone = false
  stderr.on('error', () => (isGone = true))
  const flushSync = () => {
    if (isGone) return
    try {
      stderr.flushSync()
    } catch {
      // There is nobody left to tell.
      isGone = true
    }
  }
  process.on('exit', () => {
    tries = LAST_TRIES
    flushSync()
  })
  return {
    write(line) {
      if (!isGone) stderr.write(line)
    },
    flushSync,
  }
}
