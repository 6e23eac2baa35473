/**
 * Rates of the last seconds, from the totals at a few moments: the server takes one about once a second, so a rate costs
 * nothing on the path of commands.
 */

/** Since the server started. */
export interface Totals {
  readonly commands: number
  readonly inputBytes: number
  readonly outputBytes: number
}

/** A rate is that of about so many last seconds. */
const SAMPLES = 3

export class Rates {
  private readonly samples: { readonly totals: Totals; readonly atMs: number }[]

  constructor(startedAtMs: number) {
    this.samples = [{ totals: { commands: 0, inputBytes: 0, outputBytes: 0 }, atMs: startedAtMs }]
  }

  sample(totals: Totals, atMs: number): void {
    this.samples.push({ totals, atMs })
    if (this.samples.length > SAMPLES) this.samples.shift()
  }

  /** @param totals those of now */
  perSecond(totals: Totals, nowMs: number): Totals {
    const { totals: before, atMs } = this.samples[0]!
    const seconds = (nowMs - atMs) / 1000
    const rate = (name: keyof Totals) => (seconds > 0 ? (totals[name] - before[name]) / seconds : 0)
    return { commands: rate('commands'), inputBytes: rate('inputBytes'), outputBytes: rate('outputBytes') }
  }
}
