/** The hit rate: keys that were looked up, and whether they held something, of all servers; those of workers are summed. */
import { Counter, type Registry } from 'prom-client'
import type { Lookups } from '../commands/run/lookups.ts'

export interface LookupCount extends Lookups {
  /** `resp`, `http`, or the name of a dialect. */
  readonly protocol: string
  /** The command or call, lower case. */
  readonly method: string
}

export interface LookupSource {
  readonly lookups: readonly LookupCount[]
}

const LABELS = ['protocol', 'method'] as const

export function registerLookupMetrics(registry: Registry, sources: readonly LookupSource[]): void {
  const counter = (name: string, help: string, of: (count: LookupCount) => number) =>
    new Counter({
      name: `rondo_cache_${name}_total`,
      help,
      labelNames: LABELS,
      registers: [registry],
      collect() {
        this.reset()
        for (const { lookups } of sources) {
          for (const count of lookups) this.inc({ protocol: count.protocol, method: count.method }, of(count))
        }
      },
    })
  counter('hits', 'Keys that were looked up and found, by protocol and command.', ({ hits }) => hits)
  counter(
    'misses',
    'Keys that were looked up and not found, by protocol and command.',
    ({ misses }) => misses,
  )
}

/** Counts by protocol and method. */
export class LookupCounts implements LookupSource {
  private readonly counts = new Map<string, Map<string, { hits: number; misses: number }>>()

  /** @param listed what is listed before the first lookup, as a rate needs it */
  constructor(listed: readonly (readonly [protocol: string, method: string])[]) {
    for (const [protocol, method] of listed) this.of(protocol, method)
  }

  add(protocol: string, method: string, { hits, misses }: Lookups): void {
    const count = this.of(protocol, method)
    count.hits += hits
    count.misses += misses
  }

  get lookups(): LookupCount[] {
    return [...this.counts].flatMap(([protocol, methods]) =>
      [...methods].map(([method, count]) => ({ protocol, method, ...count })),
    )
  }

  private of(protocol: string, method: string): { hits: number; misses: number } {
    let methods = this.counts.get(protocol)
    if (!methods) this.counts.set(protocol, (methods = new Map<string, { hits: number; misses: number }>()))
    let count = methods.get(method)
    if (!count) methods.set(method, (count = { hits: 0, misses: 0 }))
    return count
  }
}
