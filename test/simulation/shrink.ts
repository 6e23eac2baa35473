/**
 * Makes a failing schedule short: leaves out operations and faults, as long as a run of the rest still fails in the same
 * way. Delays are drawn as the run goes and so change with every entry left out; a few other seeds are tried for them.
 */
import type { Fault, Operation, Schedule } from './schedule.ts'
import { simulate, type RunOptions, type RunResult } from './simulate.ts'

const OTHER_SEEDS = 3
const MAX_RUNS = 1500

export async function shrink(
  failed: RunResult,
  options: RunOptions = {},
  maxRuns = MAX_RUNS,
): Promise<RunResult> {
  const kind = kindOf(failed)
  let best = failed
  let runs = 0

  const attempt = async (schedule: Schedule): Promise<boolean> => {
    for (let i = 0; i < OTHER_SEEDS && runs < maxRuns; i++) {
      runs++
      const result = await simulate({ ...schedule, seed: best.schedule.seed + i * 1_000_003 }, options)
      if (result.violations.length === 0 || kindOf(result) !== kind) continue
      best = result
      return true
    }
    return false
  }

  for (let shorter = true; shorter && runs < maxRuns;) {
    shorter = false
    for (const list of ['faults', 'operations'] as const) {
      for (
        let size = Math.ceil(best.schedule[list].length / 2);
        size >= 1;
        size = size === 1 ? 0 : size >> 1
      ) {
        for (let at = 0; at < best.schedule[list].length;) {
          const entries: readonly (Operation | Fault)[] = best.schedule[list]
          const rest = [...entries.slice(0, at), ...entries.slice(at + size)]
          if (await attempt({ ...best.schedule, [list]: rest })) shorter = true
          else at += size
        }
      }
    }
  }
  return best
}

/** What went wrong, without names, times and numbers. */
function kindOf({ violations }: RunResult): string {
  const [first = ''] = violations
  return first
    .replace(/^at [\d.]+ ms: /, '')
    .replace(/client \d+: \w+ \S+( \d+)?( for \d+ ms)?/g, 'x')
    .replace(/\d+/g, '#')
    .slice(0, 40)
}
