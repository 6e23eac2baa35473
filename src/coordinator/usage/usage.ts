/** How the keys are used, as far as this coordinator is asked: the hottest and the largest. */
import type { MonotonicClock } from '../../core/clock.ts'
import { BigKeys } from './big-keys.ts'
import { HotKeys } from './hot-keys.ts'

interface UsageOptions {
  /** How many keys are known by name, of the hottest, and of the largest of each type; 0 = none. */
  readonly hotKeys: number
  readonly clock: MonotonicClock
  readonly random: () => number
}

export class KeyUsage {
  readonly hot: HotKeys
  readonly big: BigKeys

  private constructor(keep: number, { clock, random }: UsageOptions) {
    const monotonicMs = () => clock.monotonicMs()
    this.hot = new HotKeys({ keep, random, monotonicMs })
    this.big = new BigKeys({ keep, monotonicMs })
  }

  /** Null = not watched. */
  static of(options: UsageOptions): KeyUsage | null {
    return options.hotKeys > 0 ? new KeyUsage(options.hotKeys, options) : null
  }
}
