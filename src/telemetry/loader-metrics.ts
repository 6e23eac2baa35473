/** Metrics of loading; those of workers are summed. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { Loader } from '../loader/loader.ts'

const NONE: Loader['counts'] = { loaded: 0, absent: 0, failed: 0, late: 0 }

/** @param loader null = nothing is loaded */
export function registerLoaderMetrics(registry: Registry, loader: Loader | null): void {
  const registers = [registry]
  new Counter({
    name: 'rondo_loads_total',
    help: 'Calls of the origin, by result.',
    labelNames: ['result'] as const,
    registers,
    collect() {
      this.reset()
      for (const [result, count] of Object.entries(loader?.counts ?? NONE)) this.inc({ result }, count)
    },
  })
  new Counter({
    name: 'rondo_stale_served_total',
    help: 'Reads that were answered with a value after its TTL.',
    registers,
    collect() {
      this.reset()
      this.inc(loader?.staleServed ?? 0)
    },
  })
  new Gauge({
    name: 'rondo_loads_running',
    help: 'Calls of the origin that run.',
    registers,
    collect() {
      this.set(loader?.running ?? 0)
    },
  })
  new Gauge({
    name: 'rondo_loads_waiting',
    help: 'Reads that wait for the origin, or for another coordinator that asks it.',
    registers,
    collect() {
      this.set(loader?.waiting ?? 0)
    },
  })
}
