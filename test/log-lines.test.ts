// Every line that an event can write to the log is explained in the table of docs/OPERATING.md, with its level.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import type { RondoEvent } from '../src/core/events.ts'
import { lineFor } from '../src/telemetry/log-lines.ts'

type Kind = RondoEvent['kind']
type Parts<K extends Kind> = Omit<Extract<RondoEvent, { kind: K }>, 'kind'>

const node = 'redis-1'
const ROUND: Parts<'anti-entropy'> = {
  result: 'complete',
  why: [],
  startedAtMs: 0,
  ms: 400,
  checkedKeys: 3000,
  rangesCompared: 0,
  rangesDiffering: 0,
  copied: 12,
  movedHome: 0,
  forgotten: 0,
  removedParts: 0,
  evicting: [],
}
const FLUSH = { database: null, deleted: 20_000, failed: 0, seconds: 5, finished: false, stopped: null }

const memory = 'memory-1'

/** For each line of a kind, with the values that the table shows. The compiler asks for each kind. */
const EXAMPLES: { readonly [K in Kind]: readonly Parts<K>[] } = {
  'node-state': [
    { node, from: 'up', to: 'suspect', why: '2 missed pings' },
    { node, from: 'suspect', to: 'down', why: '5 missed pings' },
    { node, from: 'down', to: 'up', why: 'it answers' },
  ],
  'node-completeness': [
    { node, from: 'filling', to: 'clean', why: 'rebuilt' },
    { node, from: 'clean', to: 'filling', why: 'wiped' },
    { node, from: 'unknown', to: 'stale', why: 'away' },
    { node, from: 'unknown', to: 'refused', why: 'not ours' },
  ],
  'node-writable': [
    { node, writable: false, why: 'out-of-memory' },
    { node, writable: true, why: '' },
  ],
  'node-behind': [{ node, why: 'missed a write' }],
  'node-clock': [
    { node, offMs: 5000, far: true },
    { node, offMs: 0, far: false },
  ],
  'node-evicting': [{ node, policy: 'volatile-lru', evictedKeys: 1 }],
  'eviction-policy': [
    { node, policy: 'allkeys-lru' },
    { node, policy: 'volatile-lru' },
  ],
  'node-caught-up': [{ node }],
  fill: [
    { node, state: 'started', checked: 0, sent: 0 },
    { node, state: 'finished', checked: 72, sent: 24 },
  ],
  'disk-loading': [{ node: memory, bytes: 1_000_000, keys: 5000 }],
  'disk-loaded': [
    { node: memory, keys: 5000, bytes: 2_000_000, ms: 812.3, lost: false },
    { node: memory, keys: 5000, bytes: 2_000_000, ms: 812.3, lost: true },
  ],
  'disk-torn': [{ node: memory, path: '/data/memory-1', file: 'log-000003', at: 4096, bytes: 51 }],
  'disk-damaged': [
    {
      node: memory,
      path: '/data/memory-1',
      file: 'log-000003',
      at: 4096,
      why: 'a frame has another checksum than its bytes',
    },
  ],
  'disk-failed': [{ node: memory, path: '/data/memory-1', why: 'ENOSPC: no space left on device, write' }],
  'disk-recovered': [{ node: memory, path: '/data/memory-1' }],
  'disk-snapshot': [{ node: memory, path: '/data/memory-1', entries: 5000, bytes: 1_000_000, ms: 92.7 }],
  'disk-snapshot-failed': [
    { node: memory, path: '/data/memory-1', why: 'ENOSPC: no space left on device, write' },
  ],
  'disk-lock-stale': [{ path: '/data', pid: 4711 }],
  'stale-dropped': [
    { node, state: 'started', dropped: 0 },
    { node, state: 'finished', dropped: 601 },
  ],
  'stale-kept': [{ node, sinceMs: 0 }],
  'data-loss-possible': [{ node }],
  'hints-delivered': [{ node, hints: 44 }],
  'marker-mismatch': [{ node }],
  'marker-changed': [
    { node, restarted: true },
    { node, restarted: false },
  ],
  'node-older': [{ node, sinceMs: 0, othersMs: 3_600_000 }],
  'node-had-keys': [
    { node, keys: 500, about: false },
    { node, keys: 90_000, about: true },
  ],
  'collection-lost': [{ times: 3 }],
  'keys-misplaced': [{ node, keys: 500 }],
  'cluster-known': [
    { cluster: 'c', founded: true },
    { cluster: 'c', founded: false },
  ],
  'cluster-left': [{ cluster: 'c', members: 1, other: 'd', otherMembers: 3 }],
  'cluster-waiting': [
    { reached: 2, needed: 3, members: 4, refused: 0 },
    { reached: 0, needed: 2, members: 3, refused: 3 },
  ],
  'cluster-missing': [
    { cluster: 'c3f1', reached: 3, others: [] },
    { cluster: 'c3f1', reached: 3, others: ['77ab'] },
  ],
  'near-cache': [
    { node, why: 'the node refused CLIENT: NOPERM' },
    { node, why: null },
  ],
  'announcements-refused': [{ node, why: 'NOPERM' }],
  'tracking-unavailable': [
    { node, why: 'the node refused CLIENT: NOPERM' },
    { node, why: null },
  ],
  'messages-unavailable': [
    { node, why: 'NOPERM' },
    { node, why: null },
  ],
  'script-log': [
    { level: 'notice', sha: 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db', text: 'hello' },
    { level: 'warning', sha: 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db', text: 'hello' },
  ],
  'subscriber-cut': [
    { client: '10.0.0.9:50123', bytes: 33_554_433, before: 0 },
    { client: '10.0.0.9:50123', bytes: 33_554_433, before: 3 },
  ],
  'sentinels-unclear': [
    { node, why: null },
    { node, why: 'of 3 Sentinels of cart, 2 must name the same primary' },
  ],
  failover: [
    { node, from: '10.0.0.1:6379', to: '10.0.0.2:6379', state: 'noticed', why: null },
    { node, from: '10.0.0.1:6379', to: '10.0.0.2:6379', state: 'waiting', why: 'it is still a replica' },
    { node, from: '10.0.0.1:6379', to: '10.0.0.2:6379', state: 'followed', why: null },
  ],
  'clusters-tied': [{ clusters: ['c', 'd'], each: 1 }],
  'rings-differ': [{ differ: true }, { differ: false }],
  'members-differ': [
    { missing: [], added: ['redis-5'] },
    { missing: ['redis-4'], added: [] },
  ],
  'node-dismissed': [
    { node, address: '10.0.0.1:6379', url: null },
    { node, address: '10.0.0.1:6379', url: 'redis://10.0.0.9:6379' },
  ],
  'change-undone': [
    {
      change: 'epoch 2 (join redis-5, redis-6)',
      why: 'redis-5, redis-6 took no writes for 10 s, and writes of some keys could not be acknowledged because of that.',
    },
  ],
  'change-dropped': [{ change: '5f2c9a10 (join ["redis-5"])', why: 'Node redis-5 holds 1 keys.' }],
  'discovery-name': [
    { name: 'redis.cache:6379', why: 'getaddrinfo ENOTFOUND redis.cache' },
    { name: 'redis.cache:6379', why: null },
  ],
  discovered: [
    { name: 'redis.cache:6379', nodes: ['10.0.0.4:6379', '10.0.0.5:6379'], waits: false },
    { name: 'redis.cache:6379', nodes: ['10.0.0.4:6379'], waits: true },
  ],
  'discovery-refused': [
    { name: 'redis.cache:6379', address: '10.0.0.4:6379', why: 'Node 10.0.0.4:6379 holds 1 keys.' },
  ],
  'discovery-gone': [{ name: 'redis.cache:6379', node: '10.0.0.4:6379', address: '10.0.0.4:6379' }],
  'anti-entropy': [
    ROUND,
    { ...ROUND, forgotten: 2 },
    { ...ROUND, result: 'partial', why: ['redis-1 is down'] },
    { ...ROUND, result: 'stopped', why: ['stopped'] },
  ],
  flush: [
    FLUSH,
    { ...FLUSH, database: 3, finished: true },
    { ...FLUSH, finished: true, stopped: 'Node redis-1 cannot be listed.' },
  ],
  'delete-job': [
    { id: '0123456789abcdef', database: 0, state: 'running', deleted: 0, kept: 0 },
    { id: '0123456789abcdef', database: 3, state: 'done', deleted: 1200, kept: 2 },
  ],
  flushed: [
    { node, dropped: 1200, more: 1200, seconds: 10, finished: false },
    { node, dropped: 2400, more: 1200, seconds: 20, finished: true },
  ],
  'command-failed': [{ command: 'set', error: 'NOREPLICAS Too few replicas.', before: 0 }],
  'cross-set-multi': [{ then: 'refuse' }, { then: 'refuse-watch' }, { then: 'unordered' }],
  'other-protocol': [{ address: '10.0.0.7', protocol: 'http' }],
  'token-refused': [{ address: '10.0.0.7', server: 'resp', count: 12 }],
  'clients-cut': [{ connections: 3, bytes: 80_000_000 }],
  'accept-failed': [{ why: 'EMFILE' }],
  origin: [
    { failing: true, why: 'The origin answered 500' },
    { failing: false, why: null },
  ],
  'snapshot-started': [
    { what: 'snapshot', name: 'nightly' },
    { what: 'restore', name: 'nightly' },
  ],
  'snapshot-finished': [
    { what: 'snapshot', name: 'nightly', counts: { keys: 5000, bytes: 300_000 }, ms: 500 },
    { what: 'restore', name: 'nightly', counts: { restored: 4990, kept: 7, expired: 3, failed: 0 }, ms: 900 },
  ],
  'snapshot-failed': [
    { what: 'snapshot', name: 'nightly', cancelled: false, why: 'the disk is full' },
    { what: 'restore', name: 'nightly', cancelled: false, why: 'the nodes are gone' },
    { what: 'snapshot', name: 'nightly', cancelled: true, why: 'it was cancelled' },
    { what: 'restore', name: 'nightly', cancelled: true, why: 'it was cancelled' },
  ],
  'snapshot-removed': [{ name: 'auto-20260131T020000Z', keep: 7 }],
  'snapshot-leftovers': [{ path: '/var/backups/rondo', files: 2 }],
  'snapshot-folder': [{ path: '/f', why: 'SNAPSHOT_DIR /var/backups/rondo cannot be used: EACCES' }],
  'background-failed': [
    { what: 'repair of redis-1', why: 'Error' },
    { what: 'command get', why: 'Error' },
  ],
}

const operating = readFileSync(new URL('../docs/OPERATING.md', import.meta.url), 'utf8')
const table = operating.slice(operating.indexOf('### Log lines'), operating.indexOf('### Metrics'))
const ROWS = [...table.matchAll(/^\| (.*?`.*?) \| (\w[^|]*) \|/gm)].flatMap(([, messages, level]) =>
  [...messages!.matchAll(/`([^`]+)`/g)].map(([, message]) => ({
    pattern: patternOf(message!),
    level: level!,
  })),
)

function patternOf(message: string): RegExp {
  const parts = message.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('.+')}$`)
}

describe('the lines of the log', () => {
  for (const [kind, events] of Object.entries(EXAMPLES)) {
    it(`${kind} has a row in docs/OPERATING.md for each of its lines, with the level`, () => {
      for (const parts of events) {
        const { level, sentence } = lineFor({ kind, ...parts } as RondoEvent)
        const rows = ROWS.filter(({ pattern }) => pattern.test(sentence))
        expect(
          rows.map((row) => row.level),
          sentence,
        ).to.include(level)
      }
    })
  }
})
