/** How long requests take, and their errors. */
import { Counter, Histogram, type Registry } from 'prom-client'
import { CODES } from '../../core/error-codes.ts'
import type { RequestEnd } from './exchange.ts'

/** From a fast hit in the same rack to a request that ran into its deadline. */
const LATENCY_BUCKETS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
/** Combinations of labels that are remembered. */
const MAX_CHILDREN = 1000

/** @returns observes a request that has ended */
export function registerHttpMetrics(registry: Registry): (end: RequestEnd) => void {
  const requests = new Histogram({
    name: 'rondo_http_request_duration_seconds',
    help: 'How long HTTP requests took, by method, path template and status.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: LATENCY_BUCKETS_S,
    registers: [registry],
  })
  // One child a combination, looked up by a short text: resolving labels costs more than observing.
  const children = new Map<string, { observe(seconds: number): void }>()
  const countError = registerErrors(registry)
  return (end) => {
    const { method, route, status, ms } = end
    if (end.error) countError(end.error.code)
    const name = `${method} ${status} ${route}`
    let child = children.get(name)
    if (!child) {
      child = requests.labels(knownMethod(method), route, String(status))
      if (children.size < MAX_CHILDREN) children.set(name, child)
    }
    child.observe(ms / 1000)
  }
}

function registerErrors(registry: Registry): (code: string) => void {
  const errors = new Counter({
    name: 'rondo_http_errors_total',
    help: 'Errors that HTTP requests were answered with, by code.',
    labelNames: ['code'] as const,
    registers: [registry],
  })
  for (const code of Object.keys(CODES)) errors.inc({ code }, 0) // a rate needs the value before the first one
  return (code) => errors.inc({ code })
}

/** A client may send any word as its method; a label must not grow with it. */
function knownMethod(method: string): string {
  return ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'].includes(method) ? method : 'other'
}
