/**
 * Which log lines about strangers are written: one a minute for each subject, and so many a minute in all. Whoever causes
 * them can choose the subject (an address out of a large network), so neither the log nor this may grow with it.
 */
const WINDOW_MS = 60_000
const MAX_LINES = 30

export class LineLimit {
  private readonly monotonicMs: () => number
  private readonly written = new Set<string>()
  private windowEndsMs = -Infinity

  constructor(monotonicMs: () => number) {
    this.monotonicMs = monotonicMs
  }

  /** Counts as written when it says so. */
  allows(subject: string): boolean {
    const nowMs = this.monotonicMs()
    if (nowMs >= this.windowEndsMs) {
      this.written.clear()
      this.windowEndsMs = nowMs + WINDOW_MS
    }
    if (this.written.size >= MAX_LINES || this.written.has(subject)) return false
    this.written.add(subject)
    return true
  }
}
