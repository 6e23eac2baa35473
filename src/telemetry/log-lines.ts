/** Each event of the coordinator as a log line. */
import type { RondoEvent } from '../core/events.ts'

const SERVERS = { http: 'HTTP', resp: 'Redis protocol' } as const

/** What a client did that does not speak the Redis protocol on its port. */
const OPENINGS = {
  tls: 'speaks TLS to the Redis port, which has none',
  http: 'speaks HTTP to the Redis port',
  proxy: 'sent a PROXY header to the Redis port, and is not among TRUSTED_PROXIES',
  binary: 'speaks an unknown binary protocol to the Redis port',
  unknown: 'began on the Redis port with a line that is no command',
} as const

export interface LogLine {
  readonly level: 'info' | 'warn' | 'error'
  readonly sentence: string
}

type Kind = RondoEvent['kind']
type LineOf<K extends Kind> = (event: Extract<RondoEvent, { kind: K }>) => LogLine

const LINES: { readonly [K in Kind]: LineOf<K> } = {
  'node-state': (event) => ({
    level: event.to === 'up' ? 'info' : 'warn',
    sentence: `node ${event.node} ${event.from} → ${event.to} (${event.why})`,
  }),
  'node-completeness': (event) => ({
    level: event.to === 'clean' ? 'info' : 'warn',
    sentence: `node ${event.node} is ${event.to}: ${event.why}`,
  }),
  'node-writable': (event) =>
    event.writable
      ? { level: 'info', sentence: `node ${event.node} takes writes again` }
      : { level: 'warn', sentence: `node ${event.node} takes no writes: ${event.why}` },
  'node-behind': (event) => ({ level: 'warn', sentence: `node ${event.node} may be behind: ${event.why}` }),
  'node-caught-up': (event) => ({ level: 'info', sentence: `node ${event.node} has caught up` }),
  fill: (event) => ({
    level: 'info',
    sentence: `filling of node ${event.node} ${event.state}: ${event.checked} keys checked, ${event.sent} sent`,
  }),
  'stale-dropped': (event) => ({
    level: 'info',
    sentence:
      event.state === 'started'
        ? `what node ${event.node} holds is dropped, because deletes that it missed are forgotten; then it is filled`
        : `what node ${event.node} held was dropped: ${event.dropped} records`,
  }),
  'stale-kept': (event) => ({
    level: 'error',
    sentence:
      `node ${event.node} was not compared with the others since ${new Date(event.sinceMs).toISOString()}, longer than` +
      ' GRACE_SECONDS, and too few others were: it is used as it is, and values that were deleted meanwhile may come back',
  }),
  'data-loss-possible': (event) => ({
    level: 'error',
    sentence: `node ${event.node} was filled from what there is: too few replicas were whole, acknowledged writes may be lost`,
  }),
  'hints-delivered': (event) => ({
    level: 'info',
    sentence: `node ${event.node} got the writes of ${event.hints} hints`,
  }),
  'node-clock': (event) =>
    event.far
      ? {
          level: 'warn',
          sentence: `the clock of node ${event.node} is ${Math.round(event.offMs)} ms off cluster time`,
        }
      : { level: 'info', sentence: `the clock of node ${event.node} agrees with cluster time again` },
  'node-evicting': (event) => ({
    level: 'warn',
    sentence: `node ${event.node} evicts keys (${event.policy}): what it evicts is lost there, acknowledged or not`,
  }),
  'marker-mismatch': (event) => ({
    level: 'error',
    sentence: `node ${event.node} does not hold its marker: it was wiped, flushed, restored or swapped`,
  }),
  'cluster-known': (event) => ({
    level: 'info',
    sentence: event.founded ? `founded cluster ${event.cluster}` : `met cluster ${event.cluster}`,
  }),
  'cluster-left': (event) => ({
    level: 'error',
    sentence:
      `left cluster ${event.cluster} (${event.members} nodes) for ${event.other} (${event.otherMembers} nodes):` +
      ' another Redis answered at the address of a node when this coordinator started',
  }),
  'cluster-waiting': (event) => ({
    level: 'warn',
    sentence: `waiting to found a cluster: ${event.reached} of ${event.members} nodes reached, ${event.needed} needed`,
  }),
  'members-differ': (event) => ({
    level: 'error',
    sentence:
      'REDIS_URLS names other nodes than the cluster was founded with' +
      ` (missing: ${event.missing.join(', ') || 'none'}; new: ${event.unknown.join(', ') || 'none'}):` +
      ' keys whose replicas changed are not moved, and may not be found',
  }),
  'rings-differ': (event) =>
    event.differ
      ? {
          level: 'error',
          sentence:
            'another coordinator of this cluster has other nodes, weights, zones, VNODES_PER_NODE or REPLICATION_FACTOR:' +
            ' the two look for keys in different places, and this one begins no repair',
        }
      : { level: 'info', sentence: 'all coordinators draw the same ring again' },
  'anti-entropy': (event) => {
    const { result, checkedKeys, copied, movedHome, ms, why, evicting } = event
    const notGiven =
      evicting.length > 0 ? `; ${evicting.join(', ')} evicts, and was not given what it lacks` : ''
    return {
      level: result === 'complete' ? 'info' : 'warn',
      sentence:
        `repair round ${result}: ${checkedKeys} copies checked in ${(ms / 1000).toFixed(1)} s, ${copied} sent, ` +
        `${movedHome} brought home${notGiven}${why.length > 0 ? ` (${why.join('; ')})` : ''}`,
    }
  },
  'cross-set-multi': (event) => ({
    level: 'warn',
    sentence:
      'a client sent MULTI/EXEC over keys that do not share a replica set, and ' +
      (event.then === 'refuse'
        ? 'was refused with CROSSSLOT: give such keys one {hash tag}, or switch transactions off in the client ' +
          '(redis-py: pipeline(transaction=False)), or set RESP_CROSS_SET_MULTI=unordered'
        : 'its commands were carried out one by one, not atomically (RESP_CROSS_SET_MULTI=unordered). Clients that ' +
          'need no transaction can switch it off (redis-py: pipeline(transaction=False))') +
      '; said once',
  }),
  'other-protocol': (event) => ({
    level: 'info',
    sentence: `a client at ${event.address} ${OPENINGS[event.protocol]}: the connection was closed, no command was executed`,
  }),
  'token-refused': (event) => ({
    level: 'warn',
    sentence:
      `a client at ${event.address} sent a wrong token (${SERVERS[event.server]}; ${event.count} in a row from ` +
      'there): it is refused',
  }),
  'clients-cut': (event) => ({
    level: 'warn',
    sentence:
      `${event.connections} connections that held ${event.bytes} bytes were ended: clients hold more than they may ` +
      '(MAX_CLIENT_MEMORY)',
  }),
  'accept-failed': (event) => ({
    level: 'error',
    sentence: `a connection could not be accepted: ${event.why}; raise the limit of open files, or lower MAX_CONNECTIONS`,
  }),
  'background-failed': (event) => ({ level: 'error', sentence: `${event.what} failed: ${event.why}` }),
}

export function lineFor<K extends Kind>(event: Extract<RondoEvent, { kind: K }>): LogLine {
  const line = LINES[event.kind] as LineOf<K>
  return line(event)
}
