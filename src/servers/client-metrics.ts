/** Metrics of client memory (ledger.ts) and connections (connection-limit.ts); those of workers are summed. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { Ledger } from './ledger.ts'
import type { ConnectionLimit } from './connection-limit.ts'

export function registerClientMetrics(
  registry: Registry,
  ledger: Ledger,
  connectionLimit: ConnectionLimit,
): void {
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
  gauge('memory_bytes', 'Memory that clients use, estimated.', () => ledger.used)
  gauge(
    'memory_limit_bytes',
    'Limit of the memory that clients may use (MAX_CLIENT_MEMORY).',
    () => ledger.limit,
  )
  gauge('connections', 'Client connections, of all servers.', () => connectionLimit.size)
  gauge(
    'connections_limit',
    'Limit of client connections (MAX_CONNECTIONS, or the limit of open files).',
    () => connectionLimit.max,
  )
  counter('memory_refused', 'Requests refused because clients use too much memory.', () => ledger.refused)
  counter('memory_cut', 'Connections closed because clients use too much memory.', () => ledger.cut)
  counter(
    'connections_refused',
    'Connections refused because of the connection limit.',
    () => connectionLimit.refused,
  )
  counter(
    'connections_gave_way',
    'Unused connections closed in favour of new ones.',
    () => connectionLimit.displaced,
  )
}
