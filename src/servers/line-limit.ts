/**
 * Rate limit for log lines that unauthenticated clients cause: one a minute for each subject, and MAX_LINES a minute in
 * all. A client can choose the subject (an address of a large network), so neither the log nor this set may grow with it.
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

  /** @returns whether to write the line; if so, it is counted */
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
