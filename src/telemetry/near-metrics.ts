/** Metrics of the near cache; those of workers are summed. */
import { Counter, Gauge, type Registry } from 'prom-client'
import { DROP_CAUSES, type NearCache } from '../nodes/near/near-cache.ts'

/** @param cache null = there is none */
export function registerNearMetrics(registry: Registry, cache: NearCache | null): void {
  const registers = [registry]
  const counter = (name: string, help: string, value: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(value())
      },
    })
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value())
      },
    })
  counter('rondo_near_hits_total', 'Reads answered from the near cache.', () => cache?.hits ?? 0)
  counter('rondo_near_misses_total', 'Reads that looked there and asked a node.', () => cache?.misses ?? 0)
  counter(
    'rondo_near_invalidations_total',
    'Keys that nodes said have changed, kept or not.',
    () => cache?.invalidations ?? 0,
  )
  gauge('rondo_near_entries', 'Records in the near cache.', () => cache?.size ?? 0)
  gauge('rondo_near_bytes', 'Bytes of the near cache in use.', () => cache?.bytes ?? 0)
  gauge('rondo_near_tracked_nodes', 'Nodes whose invalidations arrive.', () => cache?.tracked ?? 0)
  new Counter({
    name: 'rondo_near_drops_total',
    help: 'Times that everything kept of a node was dropped, by cause.',
    labelNames: ['cause'] as const,
    registers,
    collect() {
      this.reset()
      for (const cause of DROP_CAUSES) this.inc({ cause }, cache?.drops[cause] ?? 0)
    },
  })
}
