/**
 * Failed commands for the log. A pipeline can fail a hundred thousand times a second, so each command and error code is
 * reported at most every PAUSE_MS, with the number of those in between. Commands and codes are few.
 */
import type { Emit } from '../../core/events.ts'

const PAUSE_MS = 10_000

interface Reported {
  atMs: number
  /** Since then. */
  more: number
}

export class CommandFailures {
  private readonly emit: Emit
  private readonly monotonicMs: () => number
  private readonly reported = new Map<string, Reported>()

  constructor(emit: Emit, monotonicMs: () => number) {
    this.emit = emit
    this.monotonicMs = monotonicMs
  }

  /** @param text of the error reply, which starts with its code */
  note(command: string, text: string): void {
    const subject = `${command} ${text.split(' ', 1)[0]}`
    const nowMs = this.monotonicMs()
    const last = this.reported.get(subject)
    if (last && nowMs - last.atMs < PAUSE_MS) {
      last.more++
      return
    }
    this.reported.set(subject, { atMs: nowMs, more: 0 })
    this.emit({ kind: 'command-failed', command, error: text, before: last?.more ?? 0 })
  }
}
