/** Metrics of loading; those of workers are summed. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { Loader } from '../loader/loader.ts'

export function registerLoaderMetrics(registry: Registry, loader: Loader): void {
  const registers = [registry]
  new Counter({
    name: 'rondo_loads_total',
    help: 'Calls of the origin, by result.',
    labelNames: ['result'] as const,
    registers,
    collect() {
      this.reset()
      for (const [result, count] of Object.entries(loader.counts)) this.inc({ result }, count)
    },
  })
  new Counter({
    name: 'rondo_stale_served_total',
    help: 'Reads that were answered with a value after its TTL.',
    registers,
    collect() {
      this.reset()
      this.inc(loader.staleServed)
    },
  })
  new Gauge({
    name: 'rondo_loads_running',
    help: 'Calls of the origin that run.',
    registers,
    collect() {
      this.set(loader.running)
    },
  })
}
