/**
 * Log lines (pino) and metrics (prom-client) of one process. A change of state is logged once, not every attempt.
 */
import type { Logger } from 'pino'
import { collectDefaultMetrics, Histogram, Registry } from 'prom-client'
import type { Cluster } from '../cluster/cluster.ts'
import type { RondoEvent } from '../core/events.ts'
import type { RequestEnd } from '../servers/http/exchange.ts'
import { registerEventMetrics } from './event-metrics.ts'
import { lineFor } from './log-lines.ts'
import { registerNodeMetrics } from './node-metrics.ts'

/** From a fast hit in the same rack to a request that ran into its deadline. */
const LATENCY_BUCKETS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
/** Combinations of labels that are remembered. */
const MAX_CHILDREN = 1000

export interface Telemetry {
  readonly registry: Registry
  onEvent(event: RondoEvent): void
  onRequestEnd(end: RequestEnd): void
  watch(cluster: Cluster): void
}

export function createTelemetry(log: Logger, logRequests: 'none' | 'errors' | 'all'): Telemetry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const observe = registerRequestMetrics(registry)
  const count = registerEventMetrics(registry)
  return {
    registry,

    onEvent(event) {
      count(event)
      const { level, sentence } = lineFor(event)
      log[level]({ event }, sentence)
    },

    onRequestEnd(end) {
      observe(end)
      if (logRequests === 'none') return
      const failed = end.status >= 500
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

/** @returns observes a request that has ended */
function registerRequestMetrics(registry: Registry): (end: RequestEnd) => void {
  const requests = new Histogram({
    name: 'rondo_http_request_duration_seconds',
    help: 'How long HTTP requests took, by method, path template and status.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: LATENCY_BUCKETS_S,
    registers: [registry],
  })
  // One child a combination, looked up by a short text: resolving labels costs more than observing.
  const children = new Map<string, { observe(seconds: number): void }>()
  return ({ method, route, status, ms }) => {
    const name = `${method} ${status} ${route}`
    let child = children.get(name)
    if (!child) {
      child = requests.labels(knownMethod(method), route, String(status))
      if (children.size < MAX_CHILDREN) children.set(name, child)
    }
    child.observe(ms / 1000)
  }
}

/** A client may send any word as its method; a label must not grow with it. */
function knownMethod(method: string): string {
  return ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'].includes(method) ? method : 'other'
}
