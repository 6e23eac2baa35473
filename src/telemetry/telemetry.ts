/**
 * What the rooms tell, as log lines (pino) and metrics (prom-client). Transitions are logged once, not every attempt.
 */
import type { Logger } from 'pino'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Cluster } from '../cluster/cluster.ts'
import type { RondoEvent } from '../core/events.ts'
import type { RequestEnd } from '../servers/http/exchange.ts'

/** From a fast hit in the same rack to a request that ran into its deadline. */
const LATENCY_BUCKETS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
const NODE_STATES = ['up', 'suspect', 'down'] as const

export interface Telemetry {
  readonly registry: Registry
  onEvent(event: RondoEvent): void
  onRequestEnd(end: RequestEnd): void
  watch(cluster: Cluster): void
}

export function createTelemetry(log: Logger, logRequests: 'none' | 'errors' | 'all'): Telemetry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]

  const requests = new Histogram({
    name: 'rondo_http_request_duration_seconds',
    help: 'How long HTTP requests took, by method, path template and status.',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: LATENCY_BUCKETS_S,
    registers,
  })
  const transitions = new Counter({
    name: 'rondo_node_transitions_total',
    help: 'Changes of a node from one health state to another.',
    labelNames: ['node', 'to'] as const,
    registers,
  })
  const mismatches = new Counter({
    name: 'rondo_node_marker_mismatches_total',
    help: 'Batches that found a node without the expected marker: wiped, flushed, restored or swapped.',
    labelNames: ['node'] as const,
    registers,
  })
  const dataLoss = new Counter({
    name: 'rondo_data_loss_possible_total',
    help: 'Times a node was filled although too few replicas were whole: acknowledged writes may be lost.',
    labelNames: ['node'] as const,
    registers,
  })
  const backgroundFailures = new Counter({
    name: 'rondo_background_failures_total',
    help: 'Background work that failed.',
    labelNames: ['what'] as const,
    registers,
  })

  const repairRounds = new Counter({
    name: 'rondo_repair_rounds_total',
    help: 'Rounds of anti-entropy: complete, partial (a node took no part) or stopped.',
    labelNames: ['result'] as const,
    registers,
  })
  const repairCounter = (name: string, help: string) =>
    new Counter({ name: `rondo_repair_${name}_total`, help, registers })
  const repaired = {
    checkedKeys: repairCounter('checked_keys', 'Copies that rounds of anti-entropy looked at.'),
    rangesCompared: repairCounter('ranges_compared', 'Token ranges compared.'),
    rangesDiffering: repairCounter('ranges_differing', 'Token ranges in which copies differed.'),
    copied: repairCounter('copied_records', 'Records sent to nodes that lacked them or held older ones.'),
    movedHome: repairCounter('moved_home_records', 'Copies of stand-ins that were brought home and dropped.'),
  }
  const repairSeconds = repairCounter('seconds', 'Time that rounds of anti-entropy took.')
  const noteRepair = (event: Extract<RondoEvent, { kind: 'anti-entropy' }>) => {
    repairRounds.inc({ result: event.result })
    for (const count of Object.keys(repaired) as (keyof typeof repaired)[]) repaired[count].inc(event[count])
    repairSeconds.inc(event.ms / 1000)
  }

  // One child a combination, looked up by a short text: resolving labels costs more than observing.
  const children = new Map<string, { observe(seconds: number): void }>()
  const observe = ({ method, route, status, ms }: RequestEnd) => {
    const name = `${method} ${status} ${route}`
    let child = children.get(name)
    if (!child) {
      child = requests.labels(knownMethod(method), route, String(status))
      if (children.size < 1000) children.set(name, child)
    }
    child.observe(ms / 1000)
  }

  return {
    registry,

    onEvent(event) {
      if (event.kind === 'node-state') transitions.inc({ node: event.node, to: event.to })
      if (event.kind === 'marker-mismatch') mismatches.inc({ node: event.node })
      if (event.kind === 'data-loss-possible') dataLoss.inc({ node: event.node })
      if (event.kind === 'background-failed') backgroundFailures.inc({ what: event.what })
      if (event.kind === 'anti-entropy') noteRepair(event)
      const { level, sentence } = lineFor(event)
      log[level]({ event }, sentence)
    },

    onRequestEnd(end) {
      observe(end)
      if (logRequests === 'none') return
      const failed = end.status >= 500
      if (!failed && logRequests === 'errors') return
      const line = {
        requestId: end.id,
        method: end.method,
        route: end.route,
        status: end.status,
        ms: Math.round(end.ms * 100) / 100,
        ...(end.error ? { code: end.error.code, error: end.error.message } : {}),
        ...(end.error?.cause ? { err: end.error.cause } : {}),
      }
      log[failed ? 'error' : 'info'](line, 'request')
    },

    watch(cluster) {
      new Gauge({
        name: 'rondo_node_state',
        help: '1 for the state that the node is in, as this coordinator (of several workers: any) sees it.',
        labelNames: ['node', 'state'] as const,
        aggregator: 'max',
        registers,
        collect() {
          for (const { id, health } of cluster.members) {
            for (const state of NODE_STATES) this.set({ node: id, state }, health.state === state ? 1 : 0)
          }
        },
      })
      new Gauge({
        name: 'rondo_node_clean',
        help: '1 if the node holds all that was acknowledged.',
        labelNames: ['node'] as const,
        aggregator: 'min',
        registers,
        collect() {
          for (const { id, completeness } of cluster.members) {
            this.set({ node: id }, completeness === 'clean' ? 1 : 0)
          }
        },
      })
      new Gauge({
        name: 'rondo_node_synced_age_seconds',
        help: 'How long ago the node was last compared with enough others; past GRACE_SECONDS it is stale.',
        labelNames: ['node'] as const,
        aggregator: 'max',
        registers,
        collect() {
          for (const { id, report } of cluster.members) {
            if (report?.syncedAt) this.set({ node: id }, (cluster.time.nowMs() - report.syncedAt.atMs) / 1000)
          }
        },
      })
      new Gauge({
        name: 'rondo_node_clock_offset_seconds',
        help: 'How far the clock of the node is from cluster time, the median of all.',
        labelNames: ['node'] as const,
        aggregator: 'average',
        registers,
        collect() {
          for (const { id } of cluster.members) {
            const distance = cluster.time.distance(id)
            if (distance) this.set({ node: id }, distance.offMs / 1000)
          }
        },
      })
      new Gauge({
        name: 'rondo_node_evicted_keys',
        help: 'Keys that the node has evicted since it started.',
        labelNames: ['node'] as const,
        aggregator: 'max',
        registers,
        collect() {
          for (const { id, report } of cluster.members) {
            if (report) this.set({ node: id }, report.evictedKeys)
          }
        },
      })
    },
  }
}

const SERVERS = { http: 'HTTP', resp: 'Redis protocol' } as const

/** What a client did that does not speak the Redis protocol on its port. */
const OPENINGS = {
  tls: 'speaks TLS to the Redis port, which has none',
  http: 'speaks HTTP to the Redis port',
  proxy: 'sent a PROXY header to the Redis port, and is not among TRUSTED_PROXIES',
  binary: 'speaks an unknown binary protocol to the Redis port',
  unknown: 'began on the Redis port with a line that is no command',
} as const

type Level = 'info' | 'warn' | 'error'

function lineFor(event: RondoEvent): { level: Level; sentence: string } {
  switch (event.kind) {
    case 'node-state':
      return {
        level: event.to === 'up' ? 'info' : 'warn',
        sentence: `node ${event.node} ${event.from} → ${event.to} (${event.why})`,
      }
    case 'node-completeness':
      return {
        level: event.to === 'clean' ? 'info' : 'warn',
        sentence: `node ${event.node} is ${event.to}: ${event.why}`,
      }
    case 'node-writable':
      return event.writable
        ? { level: 'info', sentence: `node ${event.node} takes writes again` }
        : { level: 'warn', sentence: `node ${event.node} takes no writes: ${event.why}` }
    case 'node-behind':
      return { level: 'warn', sentence: `node ${event.node} may be behind: ${event.why}` }
    case 'node-caught-up':
      return { level: 'info', sentence: `node ${event.node} has caught up` }
    case 'fill':
      return {
        level: 'info',
        sentence: `filling of node ${event.node} ${event.state}: ${event.checked} keys checked, ${event.sent} sent`,
      }
    case 'stale-dropped':
      return {
        level: 'info',
        sentence:
          event.state === 'started'
            ? `what node ${event.node} holds is dropped, because deletes that it missed are forgotten; then it is filled`
            : `what node ${event.node} held was dropped: ${event.dropped} records`,
      }
    case 'stale-kept':
      return {
        level: 'error',
        sentence:
          `node ${event.node} was not compared with the others since ${new Date(event.sinceMs).toISOString()}, longer than` +
          ' GRACE_SECONDS, and too few others were: it is used as it is, and values that were deleted meanwhile may come back',
      }
    case 'data-loss-possible':
      return {
        level: 'error',
        sentence: `node ${event.node} was filled from what there is: too few replicas were whole, acknowledged writes may be lost`,
      }
    case 'hints-delivered':
      return { level: 'info', sentence: `node ${event.node} got the writes of ${event.hints} hints` }
    case 'node-clock':
      return event.far
        ? {
            level: 'warn',
            sentence: `the clock of node ${event.node} is ${Math.round(event.offMs)} ms off cluster time`,
          }
        : { level: 'info', sentence: `the clock of node ${event.node} agrees with cluster time again` }
    case 'node-evicting':
      return {
        level: 'warn',
        sentence: `node ${event.node} evicts keys (${event.policy}): what it evicts is lost there, acknowledged or not`,
      }
    case 'marker-mismatch':
      return {
        level: 'error',
        sentence: `node ${event.node} does not hold its marker: it was wiped, flushed, restored or swapped`,
      }
    case 'cluster-known':
      return {
        level: 'info',
        sentence: event.founded ? `founded cluster ${event.cluster}` : `met cluster ${event.cluster}`,
      }
    case 'cluster-left':
      return {
        level: 'error',
        sentence:
          `left cluster ${event.cluster} (${event.members} nodes) for ${event.other} (${event.otherMembers} nodes):` +
          ' another Redis answered at the address of a node when this coordinator started',
      }
    case 'cluster-waiting':
      return {
        level: 'warn',
        sentence: `waiting to found a cluster: ${event.reached} of ${event.members} nodes reached, ${event.needed} needed`,
      }
    case 'members-differ':
      return {
        level: 'error',
        sentence:
          'REDIS_URLS names other nodes than the cluster was founded with' +
          ` (missing: ${event.missing.join(', ') || 'none'}; new: ${event.unknown.join(', ') || 'none'}):` +
          ' keys whose replicas changed are not moved, and may not be found',
      }
    case 'rings-differ':
      return event.differ
        ? {
            level: 'error',
            sentence:
              'another coordinator of this cluster has other nodes, weights, zones, VNODES_PER_NODE or REPLICATION_FACTOR:' +
              ' the two look for keys in different places, and this one begins no repair',
          }
        : { level: 'info', sentence: 'all coordinators draw the same ring again' }
    case 'anti-entropy': {
      const { result, checkedKeys, copied, movedHome, ms, why, evicting } = event
      const notGiven =
        evicting.length > 0 ? `; ${evicting.join(', ')} evicts, and was not given what it lacks` : ''
      return {
        level: result === 'complete' ? 'info' : 'warn',
        sentence:
          `repair round ${result}: ${checkedKeys} copies checked in ${(ms / 1000).toFixed(1)} s, ${copied} sent, ` +
          `${movedHome} brought home${notGiven}${why.length > 0 ? ` (${why.join('; ')})` : ''}`,
      }
    }
    case 'cross-set-multi':
      return {
        level: 'warn',
        sentence:
          'a client sent MULTI/EXEC over keys that do not share a replica set, and ' +
          (event.then === 'refuse'
            ? 'was refused with CROSSSLOT: give such keys one {hash tag}, or switch transactions off in the client ' +
              '(redis-py: pipeline(transaction=False)), or set RESP_CROSS_SET_MULTI=unordered'
            : 'its commands were carried out one by one, not atomically (RESP_CROSS_SET_MULTI=unordered). Clients that ' +
              'need no transaction can switch it off (redis-py: pipeline(transaction=False))') +
          '; said once',
      }
    case 'other-protocol':
      return {
        level: 'info',
        sentence: `a client at ${event.address} ${OPENINGS[event.protocol]}: the connection was closed, no command was executed`,
      }
    case 'token-refused':
      return {
        level: 'warn',
        sentence:
          `a client at ${event.address} sent a wrong token (${SERVERS[event.server]}; ${event.count} in a row from ` +
          'there): it is refused',
      }
    case 'clients-cut':
      return {
        level: 'warn',
        sentence:
          `${event.connections} connections that held ${event.bytes} bytes were ended: clients hold more than they may ` +
          '(MAX_CLIENT_MEMORY)',
      }
    case 'accept-failed':
      return {
        level: 'error',
        sentence: `a connection could not be accepted: ${event.why}; raise the limit of open files, or lower MAX_CONNECTIONS`,
      }
    case 'background-failed':
      return { level: 'error', sentence: `${event.what} failed: ${event.why}` }
  }
}

/** A client may send any word as its method; a label must not grow with it. */
function knownMethod(method: string): string {
  return ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'].includes(method) ? method : 'other'
}
