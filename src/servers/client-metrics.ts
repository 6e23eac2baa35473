/** What clients make the process hold (ledger.ts), and their connections (seats.ts), as metrics. Those of workers add up. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { Ledger } from './ledger.ts'
import type { Seats } from './seats.ts'

export function registerClientMetrics(registry: Registry, ledger: Ledger, seats: Seats): void {
  const registers = [registry]
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name: `rondo_client_${name}`,
      help,
      registers,
      collect() {
        this.set(value())
      },
    })
  const counter = (name: string, help: string, value: () => number) =>
    new Counter({
      name: `rondo_client_${name}_total`,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(value())
      },
    })
  gauge('memory_bytes', 'What clients make the process hold, about.', () => ledger.used)
  gauge('memory_limit_bytes', 'What they may make it hold (MAX_CLIENT_MEMORY).', () => ledger.limit)
  gauge('connections', 'Connections of clients, of all servers.', () => seats.size)
  gauge(
    'connections_limit',
    'How many there may be (MAX_CONNECTIONS, or the limit of open files).',
    () => seats.max,
  )
  counter('memory_refused', 'Requests refused because clients hold too much memory.', () => ledger.refused)
  counter('memory_cut', 'Connections ended because clients hold too much memory.', () => ledger.cut)
  counter('connections_refused', 'Connections refused because there are too many.', () => seats.refused)
  counter(
    'connections_gave_way',
    'Connections that had asked for nothing and gave way to a new one.',
    () => seats.gaveWay,
  )
}
