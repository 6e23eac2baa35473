/**
 * The files of a memory node. A generation is a snapshot and the log of what changed after it:
 *
 *   snapshot-000002   all that there was when log-000002 began, or a little later
 *   log-000002        every change since
 *
 * The first generation has no snapshot. While the next one is written there are two logs (snapshot-000002, log-000002,
 * log-000003), until the new snapshot has its name.
 */
export const UNFINISHED = '.new'
export const DAMAGED = '.damaged'
const NAME = /^(log|snapshot)-(\d{6,15})$/

export function snapshotName(generation: number): string {
  return `snapshot-${String(generation).padStart(6, '0')}`
}

export function logName(generation: number): string {
  return `log-${String(generation).padStart(6, '0')}`
}

export interface Generations {
  /** The newest that is whole; 0 = none. */
  readonly snapshot: number
  /** Those that count, one after the other. */
  readonly logs: readonly number[]
  /** What is left of earlier ones, and of a snapshot that was not finished. */
  readonly leftovers: readonly string[]
  /** What should be there and is not. */
  readonly missing: readonly string[]
}

export function generationsIn(names: readonly string[]): Generations {
  const found = names.flatMap((name) => {
    const [, kind, generation] = NAME.exec(name) ?? []
    return kind === undefined ? [] : [{ name, kind, generation: Number(generation) }]
  })
  const of = (kind: string) =>
    found.flatMap((one) => (one.kind === kind ? [one.generation] : [])).sort((a, b) => a - b)
  const snapshot = of('snapshot').at(-1) ?? 0
  const logs = of('log').filter((generation) => generation >= snapshot)
  const first = snapshot > 0 ? snapshot : (logs[0] ?? 1)
  const missing: string[] = []
  if (snapshot === 0 && first > 1) missing.push(snapshotName(first))
  if (snapshot > 0 && logs[0] !== snapshot) missing.push(logName(snapshot))
  logs.forEach((generation, i) => {
    if (i > 0 && logs[i - 1] !== generation - 1) missing.push(logName(generation - 1))
  })
  const leftovers = [
    ...found.filter(({ generation }) => generation < first).map(({ name }) => name),
    ...names.filter((name) => name.endsWith(UNFINISHED)),
  ]
  return { snapshot, logs, leftovers, missing }
}
