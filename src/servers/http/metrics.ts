/** How long requests take, their errors, and the keys that they find. */
import { Counter, Histogram, type Registry } from 'prom-client'
import { CODES } from '../../core/error-codes.ts'
import { KEYS_PREFIX } from './keys.ts'
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
  const countLookups = registerLookups(registry)
  return (end) => {
    const { method, route, status, ms } = end
    if (end.error) countError(end.error.code)
    if (end.hits + end.misses > 0) countLookups(end)
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

const LOOKUPS: Readonly<Record<string, string>> = {
  [`${KEYS_PREFIX}:key`]: 'get',
  [`${KEYS_PREFIX}:key/getdel`]: 'getdel',
  '/api/v1/mget': 'mget',
  '/api/v1/command': 'command',
  '/upstash': 'upstash',
  '/upstash/pipeline': 'upstash',
  '/upstash/multi-exec': 'upstash',
  '/upstash/*': 'upstash',
  '/cache/:key': 'ringg',
  '/get': 'lru',
  '/_cache': 'cache-cluster',
}

function registerLookups(registry: Registry): (end: RequestEnd) => void {
  const lookups = new Counter({
    name: 'rondo_http_lookups_total',
    help: 'Keys that HTTP requests looked up, by call and whether they were found.',
    labelNames: ['command', 'result'] as const,
    registers: [registry],
  })
  // Resolving labels costs more than counting.
  const counts = new Map<string, { hits: Counter.Internal; misses: Counter.Internal }>()
  for (const [route, command] of Object.entries(LOOKUPS)) {
    const found = { hits: lookups.labels(command, 'hit'), misses: lookups.labels(command, 'miss') }
    for (const child of Object.values(found)) child.inc(0)
    counts.set(route, found)
  }
  return ({ route, hits, misses }) => {
    const found = counts.get(route)
    if (found && hits > 0) found.hits.inc(hits)
    if (found && misses > 0) found.misses.inc(misses)
  }
}

/** A client may send any word as its method; a label must not grow with it. */
function knownMethod(method: string): string {
  return ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'].includes(method) ? method : 'other'
}
