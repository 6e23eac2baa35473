/** The log line of each event. */
import type { RondoEvent } from '../core/events.ts'

const SERVERS = { http: 'HTTP', resp: 'Redis protocol', grpc: 'gRPC' } as const

/** What a client sent to the Redis port instead of the Redis protocol. */
const OPENINGS = {
  tls: 'sent TLS to the Redis port, which does not use TLS',
  http: 'sent HTTP to the Redis port',
  proxy: 'sent a PROXY header to the Redis port, and is not in TRUSTED_PROXIES',
  binary: 'sent an unknown binary protocol to the Redis port',
  unknown: 'sent an unknown command in its first line to the Redis port',
} as const

const CROSS_SET_OUTCOMES = {
  unordered:
    'its commands were executed one by one, not atomically (RESP_CROSS_SET_MULTI=unordered). Clients that ' +
    'need no transaction can turn it off (redis-py: pipeline(transaction=False))',
  refuse:
    'was refused with CROSSSLOT: give such keys one {hash tag}, or turn transactions off in the client ' +
    '(redis-py: pipeline(transaction=False)), or set RESP_CROSS_SET_MULTI=unordered',
  'refuse-watch':
    'was refused with CROSSSLOT, because it uses WATCH: give the keys that it watches and those that it changes ' +
    'one {hash tag}',
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
  'node-writable': ({ node, writable, why, unlogged = 0 }) => {
    const more = unlogged > 0 ? ` (${unlogged} changes in the last minute were not logged)` : ''
    return writable
      ? { level: 'info', sentence: `node ${node} accepts writes again${more}` }
      : { level: 'warn', sentence: `node ${node} does not accept writes: ${why}${more}` }
  },
  'node-behind': (event) => ({ level: 'warn', sentence: `node ${event.node} may be behind: ${event.why}` }),
  'node-caught-up': (event) => ({ level: 'info', sentence: `node ${event.node} has caught up` }),
  fill: (event) => ({
    level: 'info',
    sentence: `rebuild of node ${event.node} ${event.state}: ${event.checked} keys checked, ${event.sent} sent`,
  }),
  'disk-loading': (event) => ({
    level: 'info',
    sentence: `node ${event.node} reads its files: ${event.keys} keys so far, ${event.bytes} bytes`,
  }),
  'disk-loaded': (event) => {
    const found = `node ${event.node} has read its files: ${event.keys} keys, ${event.bytes} bytes, in ${Math.round(event.ms)} ms`
    return event.lost
      ? {
          level: 'warn',
          sentence: `${found}; acknowledged writes may be missing, so it is filled from the others`,
        }
      : { level: 'info', sentence: found }
  },
  'disk-torn': (event) => ({
    level: 'info',
    sentence:
      `node ${event.node}: the last write to ${event.path}/${event.file} was not completed, and was never acknowledged as ` +
      `stored: ${event.bytes} bytes from ${event.at} on are cut off`,
  }),
  'disk-damaged': (event) => ({
    level: 'error',
    sentence:
      `node ${event.node}: ${event.path}/${event.file} is damaged at byte ${event.at}: ${event.why}. What is behind that is ` +
      'lost here, and the node is filled from the others. There is nothing to do unless it happens again: then check the ' +
      'disk. A damaged file is kept under its name with .damaged until the next one',
  }),
  'disk-failed': (event) => ({
    level: 'error',
    sentence:
      `node ${event.node} cannot write to ${event.path} and takes no writes: ${event.why}. It can be read. Make room or ` +
      'mend the disk: it tries again by itself',
  }),
  'disk-recovered': (event) => ({
    level: 'info',
    sentence: `node ${event.node} can write to ${event.path} again`,
  }),
  'disk-snapshot': (event) => ({
    level: 'info',
    sentence: `node ${event.node} has written a snapshot: ${event.entries} keys, ${event.bytes} bytes, in ${Math.round(event.ms)} ms`,
  }),
  'disk-snapshot-failed': (event) => ({
    level: 'warn',
    sentence:
      `node ${event.node} could not write a snapshot to ${event.path}: ${event.why}. Nothing is lost, but its log goes on ` +
      'growing; it tries again in a minute',
  }),
  'disk-lock-stale': (event) => ({
    level: 'info',
    sentence: `${event.path} was still locked by process ${event.pid}, which has ended: the lock is taken over`,
  }),
  'stale-dropped': (event) => ({
    level: 'info',
    sentence:
      event.state === 'started'
        ? `dropping the data of node ${event.node}: it missed deletes that are no longer remembered; a rebuild follows`
        : `dropped the data of node ${event.node}: ${event.dropped} records`,
  }),
  'stale-kept': (event) => ({
    level: 'error',
    sentence:
      `node ${event.node} has not been compared with the others since ${new Date(event.sinceMs).toISOString()}, longer` +
      ' than GRACE_SECONDS, and too few other nodes have been: its data is kept, and deleted values may come back',
  }),
  'data-loss-possible': (event) => ({
    level: 'error',
    sentence: `node ${event.node} was rebuilt from incomplete replicas: acknowledged writes may be lost`,
  }),
  'hints-delivered': (event) => ({
    level: 'info',
    sentence: `delivered ${event.hints} hints to node ${event.node}`,
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
    sentence: `node ${event.node} evicts keys (${event.policy}): evicted values are lost on it, even acknowledged ones`,
  }),
  'eviction-policy': ({ node, policy }) =>
    policy.startsWith('allkeys-')
      ? {
          level: 'warn',
          sentence:
            `node ${node} has maxmemory-policy ${policy}: when it is full it evicts any key, also those of Rondo itself,` +
            ' and then counts as wiped; set volatile-lru for a cache, or noeviction if nothing may be lost',
        }
      : {
          level: 'info',
          sentence:
            `node ${node} has maxmemory-policy ${policy}: when it is full it evicts values, even acknowledged ones;` +
            ' set noeviction if nothing may be lost',
        },
  'marker-mismatch': (event) => ({
    level: 'error',
    sentence: `node ${event.node} does not hold its marker: it was wiped, flushed, restored or swapped`,
  }),
  'marker-changed': (event) => ({
    level: event.restarted ? 'info' : 'warn',
    sentence: event.restarted
      ? `another coordinator has changed the marker of node ${event.node} after a restart`
      : `another coordinator has given node ${event.node} a new marker: it lost data or was stale, as the log of that coordinator says`,
  }),
  'node-older': (event) => ({
    level: 'warn',
    sentence:
      `node ${event.node} was last compared with the others at ${new Date(event.sinceMs).toISOString()}, and they were ` +
      `at ${new Date(event.othersMs).toISOString()}: it may return old values. If it was taken out of REDIS_URLS and put ` +
      'back, or an old machine answers in its place, run FLUSHALL on it; in any case run POST /repair',
  }),
  'node-had-keys': (event) => ({
    level: 'warn',
    sentence:
      `node ${event.node} holds ${event.about ? 'about ' : ''}${event.keys} keys that Rondo did not write: those that have their first place on another ` +
      'node are not found. POST /repair counts them; OPERATING.md says how to move in from an existing Redis',
  }),
  'collection-lost': (event) => ({
    level: 'error',
    sentence:
      `parts of large collections were on no replica: ${event.times} collections were deleted since the last line. ` +
      'Nodes have lost or evicted more than their copies make up for; /status shows evictions',
  }),
  'keys-misplaced': (event) => ({
    level: 'warn',
    sentence:
      `node ${event.node} holds ${event.keys} keys that Rondo did not write and looks for on other nodes: reads at \`one\` ` +
      'do not find them. OPERATING.md says how to move in from an existing Redis',
  }),
  'cluster-known': (event) => ({
    level: 'info',
    sentence: event.founded ? `founded cluster ${event.cluster}` : `found cluster ${event.cluster}`,
  }),
  'cluster-left': (event) => ({
    level: 'error',
    sentence:
      `left cluster ${event.cluster} (${event.members} nodes) for ${event.other} (${event.otherMembers} nodes):` +
      ' another Redis answered at the address of a node when this coordinator started; find out which',
  }),
  'cluster-waiting': (event) => ({
    level: 'warn',
    sentence:
      event.refused === 0
        ? `waiting to found a cluster: ${event.reached} of ${event.members} nodes reached, ${event.needed} needed`
        : `no node can be used: ${event.refused} of ${event.members} are not the nodes that REDIS_URLS calls them` +
          ` (a line for each says what to do), and ${event.reached} of the ${event.needed} new nodes that are needed to` +
          ' found a cluster were reached',
  }),
  'cluster-missing': ({ cluster, reached, others }) => {
    const found = others.length > 0 ? `; found ${others.join(', ')} instead` : ''
    return {
      level: 'warn',
      sentence:
        `waiting for a node of cluster ${cluster} (CLUSTER_ID): none of the ${reached} nodes that were reached ` +
        `belongs to it${found}; nothing is founded: correct REDIS_URLS or CLUSTER_ID, or start a node that has the data`,
    }
  },
  'announcements-refused': ({ node, why }) => ({
    level: 'info',
    sentence: `node ${node} does not announce changes of members (${why}): they are noticed with the next ping`,
  }),
  'near-cache': ({ node, why }) =>
    why === null
      ? { level: 'info', sentence: `the near cache keeps values of node ${node} again` }
      : {
          level: 'warn',
          sentence: `the near cache keeps nothing of node ${node}, which is read as without it: ${why}`,
        },
  'tracking-unavailable': ({ node, why }) =>
    why === null
      ? { level: 'info', sentence: `clients may keep values of node ${node} again (CLIENT TRACKING)` }
      : {
          level: 'warn',
          sentence:
            `clients that track keys (CLIENT TRACKING) keep nothing of node ${node}, ` +
            `which does not tell which keys change: ${why}`,
        },
  'messages-unavailable': ({ node, why }) =>
    why === null
      ? { level: 'info', sentence: `node ${node} carries messages of clients (pub/sub) again` }
      : {
          level: 'warn',
          sentence: `node ${node} carries no messages of clients (pub/sub) now, the other nodes do: ${why}`,
        },
  'script-log': ({ level, sha, text }) => ({
    level: level === 'warning' ? 'warn' : 'info',
    sentence: `script ${sha.slice(0, 12)} says: ${text}`,
  }),
  'subscriber-cut': ({ client, bytes, before }) => ({
    level: 'warn',
    sentence:
      `the connection of subscriber ${client} was closed: it reads too slowly, and ${bytes} bytes of messages waited for it` +
      (before > 0 ? ` (and ${before} others since the last such line)` : ''),
  }),
  'sentinels-unclear': ({ node, why }) =>
    why === null
      ? { level: 'info', sentence: `the Sentinels of node ${node} agree on its primary again` }
      : {
          level: 'warn',
          sentence: `the primary of node ${node} is not known from its Sentinels, and no failover would be noticed: ${why}`,
        },
  failover: ({ node, from, to, state, why }) =>
    ({
      noticed: {
        level: 'warn',
        sentence: `the Sentinels have made ${to} the primary of node ${node}, instead of ${from}: the members are asked to agree on it`,
      },
      waiting: {
        level: 'error',
        sentence: `the primary of node ${node} should be ${to}, instead of ${from}, and is not used yet: ${why}; this is tried again`,
      },
      followed: {
        level: 'warn',
        sentence: `the primary of node ${node} is ${to} from now on; what ${from} holds does not count`,
      },
    })[state] as LogLine,
  'clusters-tied': (event) => ({
    level: 'error',
    sentence:
      `the nodes that answer belong to different clusters, ${event.each} to each of ${event.clusters.join(' and ')}:` +
      ' waiting for more nodes before any of them is used; find out at whose address another Redis answers',
  }),
  'members-differ': ({ missing, added }) => {
    const new_ =
      `REDIS_URLS lists new nodes (${added.join(', ')}): they receive the keys that now belong to them;` +
      ' until then their replies are compared with the other copies'
    const gone =
      `REDIS_URLS does not list ${missing.join(', ')}, which the cluster was founded with: a key that had a copy` +
      ' there lacks one until the next complete repair round (POST /repair starts one), and reads at `one` may' +
      ' not find it before; after that nothing is left to do'
    return missing.length === 0
      ? { level: 'info', sentence: new_ }
      : { level: 'warn', sentence: added.length === 0 ? gone : `${gone}. ${new_}` }
  },
  'node-dismissed': ({ node, address, url }) => ({
    level: 'warn',
    sentence:
      url === null
        ? `node ${node} at ${address} is no member of the cluster any more, and is not used: take it out of REDIS_URLS, ` +
          'and empty it (FLUSHALL) before it joins again'
        : `node ${node} is at ${url} now, and what answers at ${address} is not used: correct REDIS_URLS; if that is ` +
          'another machine, stop it, or empty it (FLUSHALL)',
  }),
  'change-dropped': ({ change, why }) => ({
    level: 'warn',
    sentence: `the change of members ${change}, which had waited for its turn, was dropped: ${why}`,
  }),
  'change-undone': ({ change, why }) => ({
    level: 'error',
    sentence: `the change of members ${change} was undone: ${why} Ask for it again once they can be used.`,
  }),
  'discovery-name': ({ name, why }) =>
    why === null
      ? { level: 'info', sentence: `the name ${name} (DISCOVERY_URL) can be resolved again` }
      : {
          level: 'warn',
          sentence: `the name ${name} (DISCOVERY_URL) cannot be resolved, and no new server is found by it: ${why}`,
        },
  discovered: ({ name, nodes, waits }) => ({
    level: 'info',
    sentence: `${nodes.join(', ')}, which ${name} leads to, ${waits ? 'will join when the change under way has ended' : 'joins the cluster'}`,
  }),
  'discovery-refused': ({ name, address, why }) => ({
    level: 'warn',
    sentence: `${address}, which ${name} leads to, has not joined, and is tried again, less and less often: ${why}`,
  }),
  'discovery-gone': ({ name, node, address }) => ({
    level: 'warn',
    sentence:
      `${name} no longer leads to node ${node} at ${address}, which stays a member: if it is not to come back, let it leave ` +
      `(POST /members/${node}/leave), with force=data-loss if it holds the last copies of keys and is gone`,
  }),
  'rings-differ': (event) =>
    event.differ
      ? {
          level: 'error',
          sentence:
            'another coordinator of this cluster has other nodes, weights, zones, VNODES_PER_NODE or REPLICATION_FACTOR:' +
            ' they place keys on different nodes, and this one starts no repair',
        }
      : { level: 'info', sentence: 'all coordinators have the same ring again' },
  'anti-entropy': (event) => {
    const { result, checkedKeys, copied, movedHome, forgotten, ms, why, evicting } = event
    const notGiven =
      evicting.length > 0 ? `; nothing was sent to ${evicting.join(', ')}, which evicts keys` : ''
    const older = forgotten > 0 ? `, ${forgotten} dropped that were older than deletes are remembered` : ''
    return {
      level: result === 'complete' ? 'info' : 'warn',
      sentence:
        `repair round ${result}: ${checkedKeys} copies checked in ${(ms / 1000).toFixed(1)} s, ${copied} sent, ` +
        `${movedHome} moved home${older}${notGiven}${why.length > 0 ? ` (${why.join('; ')})` : ''}`,
    }
  },
  flush: ({ database, deleted, failed, seconds, finished, stopped }) => {
    const state = stopped === null ? (finished ? 'has ended' : 'is running') : 'has stopped before its end'
    const why = stopped === null ? '' : `; send it again. ${stopped}`
    return {
      level: failed > 0 || stopped !== null ? 'warn' : 'info',
      sentence:
        `${database === null ? 'FLUSHALL' : `FLUSHDB of database ${database}`} ${state}: ` +
        `${deleted} keys deleted, ${failed} failed, in ${seconds.toFixed(0)} s${why}`,
    }
  },
  'delete-job': ({ id, database, state, deleted, kept }) => ({
    level: 'info',
    sentence:
      `delete job ${id} in database ${database} ${state === 'done' ? 'is done' : 'runs here'}: ` +
      `${deleted} keys deleted, ${kept} kept because they were written since`,
  }),
  flushed: ({ node, dropped, seconds, finished }) => ({
    level: 'info',
    sentence:
      `memory of flushed keys ${finished ? 'was' : 'is being'} given back on node ${node}: ` +
      `${dropped} records removed in ${seconds.toFixed(0)} s`,
  }),
  'command-failed': ({ command, error, before }) => ({
    level: 'error',
    sentence: `${command.toUpperCase()} failed: ${error}${before > 0 ? ` (and ${before} times before, since the last such line)` : ''}`,
  }),
  'cross-set-multi': (event) => ({
    level: 'warn',
    sentence:
      'a client sent MULTI/EXEC over keys that do not share a replica set, and ' +
      CROSS_SET_OUTCOMES[event.then] +
      '; logged once',
  }),
  'other-protocol': (event) => ({
    level: 'info',
    sentence: `a client at ${event.address} ${OPENINGS[event.protocol]}: the connection was closed, no command was executed`,
  }),
  'token-refused': (event) => ({
    level: 'warn',
    sentence:
      `refused a client at ${event.address}: wrong token (${SERVERS[event.server]}; ${event.count} in a row from ` +
      'this address)',
  }),
  'clients-cut': (event) => ({
    level: 'warn',
    sentence:
      `closed ${event.connections} connections that used ${event.bytes} bytes: clients use more memory than allowed ` +
      '(MAX_CLIENT_MEMORY)',
  }),
  'accept-failed': (event) => ({
    level: 'error',
    sentence: `cannot accept a connection: ${event.why}; raise the limit of open files, or lower MAX_CONNECTIONS`,
  }),
  origin: (event) =>
    event.failing
      ? { level: 'warn', sentence: `loading from the origin fails: ${event.why}` }
      : { level: 'info', sentence: 'loading from the origin works again' },
  'snapshot-started': ({ what, name }) => ({
    level: 'info',
    sentence: what === 'snapshot' ? `snapshot ${name} has begun` : `restoring snapshot ${name} has begun`,
  }),
  'snapshot-finished': ({ what, name, counts, ms }) => ({
    level: 'info',
    sentence:
      what === 'snapshot'
        ? `snapshot ${name} is complete: ${counts.keys} keys, ${counts.bytes} bytes, in ${ms} ms`
        : `snapshot ${name} is restored: ${counts.restored} keys written, ${counts.kept} newer ones kept, ` +
          `${counts.expired} expired, ${counts.failed} failed, in ${ms} ms`,
  }),
  'snapshot-failed': ({ what, name, cancelled, why }) => ({
    level: cancelled ? 'warn' : 'error',
    sentence:
      (what === 'snapshot' ? `snapshot${name === null ? '' : ` ${name}`}` : `restoring snapshot ${name}`) +
      ` ${cancelled ? 'was stopped' : 'failed'}: ${why}`,
  }),
  'snapshot-removed': ({ name, keep }) => ({
    level: 'info',
    sentence: `removed snapshot ${name}: the newest ${keep} are kept (SNAPSHOT_KEEP)`,
  }),
  'snapshot-leftovers': ({ path, files }) => ({
    level: 'info',
    sentence: `removed ${files} unfinished snapshots from ${path}, which stopped processes had left`,
  }),
  'snapshot-folder': ({ why }) => ({ level: 'error', sentence: `no snapshots can be taken: ${why}` }),
  'background-failed': (event) => ({ level: 'error', sentence: `${event.what} failed: ${event.why}` }),
}

export function lineFor<K extends Kind>(event: Extract<RondoEvent, { kind: K }>): LogLine {
  const line = LINES[event.kind] as LineOf<K>
  return line(event)
}
