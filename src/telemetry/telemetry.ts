/**
 * Log lines (pino) and metrics (prom-client) of one process. A change of state is logged once, not every attempt.
 */
import type { Logger } from 'pino'
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { Cluster } from '../cluster/cluster.ts'
import type { MonotonicClock, Timers } from '../core/clock.ts'
import type { RondoEvent } from '../core/events.ts'
import { CODES } from '../core/error-codes.ts'
import type { CallEnd } from '../servers/grpc/options.ts'
import type { RequestEnd } from '../servers/http/exchange.ts'
import { registerEventMetrics } from './event-metrics.ts'
import { lineFor } from './log-lines.ts'
import { registerNodeMetrics } from './node-metrics.ts'
import { WritableLines } from './writable-lines.ts'

export interface Telemetry {
  readonly registry: Registry
  onEvent(event: RondoEvent): void
  onRequestEnd(end: RequestEnd): void
  /** Over gRPC. */
  onCallEnd(end: CallEnd): void
  watch(cluster: Cluster): void
  stop(): void
}

/** Gauges with the suffix of a counter, which Prometheus's linter refuses. Those without it have the same, by type. */
const MISNAMED = ['handles', 'requests', 'resources'].map((what) => `nodejs_active_${what}_total`)

export interface TelemetryOptions {
  readonly logRequests: 'none' | 'errors' | 'all'
  readonly clock: MonotonicClock
  readonly timers: Pick<Timers, 'setTimeout' | 'clearTimeout'>
}

export function createTelemetry(log: Logger, { logRequests, clock, timers }: TelemetryOptions): Telemetry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  for (const name of MISNAMED) registry.removeSingleMetric(name)
  let nodes: () => readonly string[] = () => []
  const count = registerEventMetrics(registry, () => nodes())
  const write = (event: RondoEvent) => {
    const { level, sentence } = lineFor(event)
    log[level]({ event }, sentence)
  }
  const writable = new WritableLines(write, timers, () => clock.monotonicMs())
  return {
    registry,

    onEvent(event) {
      count(event)
      if (event.kind === 'node-writable') writable.note(event)
      else if (event.kind !== 'command-failed' || logRequests !== 'none') write(event)
    },

    onRequestEnd(end) {
      if (logRequests === 'none') return
      // A health check that gets a 503 has its answer: what it tells has log lines of its own.
      const failed = end.status >= 500 && end.route !== '/readyz'
      if (!failed && logRequests === 'errors') return
      log[failed ? 'error' : 'info'](requestLine(end), 'request')
    },

    onCallEnd(end) {
      if (logRequests === 'none') return
      const failed = end.error !== null && CODES[end.error.code].http >= 500
      if (!failed && logRequests === 'errors') return
      log[failed ? 'error' : 'info'](requestLine({ ...end, method: 'gRPC', route: end.method }), 'request')
    },

    watch(cluster) {
      nodes = () => cluster.members.map(({ id }) => id)
      registerNodeMetrics(registry, cluster)
    },

    stop() {
      writable.stop()
    },
  }
}

function requestLine(end: Omit<RequestEnd, 'status'> & { status: number | string }): object {
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
