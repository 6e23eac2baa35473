/**
 * Log lines (pino) and metrics (prom-client) of one process. A change of state is logged once, not every attempt.
 */
import type { Logger } from 'pino'
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { Cluster } from '../cluster/cluster.ts'
import type { RondoEvent } from '../core/events.ts'
import type { RequestEnd } from '../servers/http/exchange.ts'
import { registerEventMetrics } from './event-metrics.ts'
import { lineFor } from './log-lines.ts'
import { registerNodeMetrics } from './node-metrics.ts'

export interface Telemetry {
  readonly registry: Registry
  onEvent(event: RondoEvent): void
  onRequestEnd(end: RequestEnd): void
  watch(cluster: Cluster): void
}

export function createTelemetry(log: Logger, logRequests: 'none' | 'errors' | 'all'): Telemetry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const count = registerEventMetrics(registry)
  return {
    registry,

    onEvent(event) {
      count(event)
      const { level, sentence } = lineFor(event)
      log[level]({ event }, sentence)
    },

    onRequestEnd(end) {
      if (logRequests === 'none') return
      // A health check that gets a 503 has its answer: what it tells has log lines of its own.
      const failed = end.status >= 500 && end.route !== '/readyz'
      if (!failed && logRequests === 'errors') return
      log[failed ? 'error' : 'info'](requestLine(end), 'request')
    },

    watch(cluster) {
      registerNodeMetrics(registry, cluster)
    },
  }
}

function requestLine(end: RequestEnd): object {
  return {
    requestId: end.id,
    method: end.method,
    route: end.route,
    status: end.status,
    ms: Math.round(end.ms * 100) / 100,
    ...(end.error ? { code: end.error.code, error: end.error.message } : {}),
    ...(end.error?.cause ? { err: end.error.cause } : {}),
  }
}
