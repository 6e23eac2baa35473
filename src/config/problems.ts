/**
 * The rules between settings. A value that failed its own check is missing here; each rule skips missing values.
 */
import { NOTHING_ALLOWED } from './loader-url.ts'
import { isLoopback } from './node-addresses.ts'
import { OriginAddresses, plainHost } from './origin-addresses.ts'
import type { Name, Values } from './variables.ts'

const TOKEN_NAMES = ['DATA_TOKEN', 'ADMIN_TOKEN'] as const

export function crossProblems(v: Partial<Values>, given: ReadonlySet<Name>): string[] {
  const problems: string[] = []

  for (const name of TOKEN_NAMES) {
    if (given.has(name) && given.has(`${name}_FILE`))
      problems.push(`${name} and ${name}_FILE are both set: remove one, so that it is clear which is valid.`)
  }
  const missingTokens = TOKEN_NAMES.filter((name) => !given.has(name) && !given.has(`${name}_FILE`))
  if (v.HOST !== undefined && !isLoopback(v.HOST) && missingTokens.length > 0 && v.ALLOW_INSECURE === false)
    problems.push(
      `HOST ${v.HOST} can be reached from other machines, and without ${missingTokens.join(' and ')} anyone there ` +
        `could read, change or delete this cache. Set ${missingTokens.join(' and ')}, or listen on 127.0.0.1, ` +
        'or set ALLOW_INSECURE=true where the network keeps other clients out.',
    )

  if (v.NODE_TIMEOUT_MS !== undefined && v.REQUEST_TIMEOUT_MS !== undefined)
    if (v.NODE_TIMEOUT_MS > v.REQUEST_TIMEOUT_MS)
      problems.push(
        `NODE_TIMEOUT_MS (${v.NODE_TIMEOUT_MS}) must not be larger than REQUEST_TIMEOUT_MS (${v.REQUEST_TIMEOUT_MS}): ` +
          'a request would time out before its first node fails, and no other could be tried. ' +
          'Lower the one or raise the other.',
      )

  if (v.REPAIR_INTERVAL_SECONDS !== undefined && v.GRACE_SECONDS !== undefined)
    if (2 * v.REPAIR_INTERVAL_SECONDS >= v.GRACE_SECONDS)
      problems.push(
        `REPAIR_INTERVAL_SECONDS (${v.REPAIR_INTERVAL_SECONDS}) must be less than half of GRACE_SECONDS ` +
          `(${v.GRACE_SECONDS}): a repair has to find a copy that missed a delete before the delete is forgotten, ` +
          'even if one repair fails. Lower the one or raise the other.',
      )

  problems.push(...sizeProblems(v))
  if (!given.has('REDIS_URLS')) {
    if (v.WORKERS !== undefined && v.WORKERS !== 1)
      problems.push(
        `WORKERS is ${v.WORKERS}, but REDIS_URLS is not set and memory nodes live inside one process: each worker ` +
          'would be a cache of its own. Set REDIS_URLS, or WORKERS=1.',
      )
    if (v.RONDO_IMAGE === true && !given.has('MEMORY_NODES'))
      problems.push(
        'REDIS_URLS is not set, and this image does not fall back to memory nodes by itself: a mistyped name would ' +
          'lose data quietly. Set REDIS_URLS; or MEMORY_NODES=4, and DATA_DIR if anything needs to outlive the process.',
      )
  }

  problems.push(
    ...dataDirProblems(v, given),
    ...loaderProblems(v, given),
    ...snapshotProblems(v, given),
    ...tlsProblems(given),
    ...sentinelProblems(v, given),
    ...discoveryProblems(v, given),
  )
  return problems
}

/** What is known without asking DNS: GETs would find it out one by one. */
function loaderProblems({ LOADER_URL, LOADER_ALLOW }: Partial<Values>, given: ReadonlySet<Name>): string[] {
  if (LOADER_URL === undefined || (given.has('LOADER_ALLOW') && LOADER_ALLOW === undefined)) return []
  const { hostname } = new URL(LOADER_URL)
  if (new OriginAddresses(LOADER_ALLOW ?? NOTHING_ALLOWED).mayAllow(hostname)) return []
  return [
    `LOADER_URL leads to ${hostname}, which is not a public address, and LOADER_ALLOW does not name it: nothing could be ` +
      `loaded. Set LOADER_ALLOW=${plainHost(hostname)} (or its network) if that is your origin.`,
  ]
}

function snapshotProblems(v: Partial<Values>, given: ReadonlySet<Name>): string[] {
  if (!v.SNAPSHOT_INTERVAL_SECONDS || given.has('SNAPSHOT_DIR')) return []
  return [
    'SNAPSHOT_INTERVAL_SECONDS is set and SNAPSHOT_DIR is not, so there is nowhere to put a snapshot. Set SNAPSHOT_DIR, or ' +
      'remove SNAPSHOT_INTERVAL_SECONDS.',
  ]
}

function dataDirProblems(v: Partial<Values>, given: ReadonlySet<Name>): string[] {
  if (given.has('DATA_DIR') && given.has('REDIS_URLS'))
    return [
      'DATA_DIR is set, and so is REDIS_URLS: it is for memory nodes, and those servers keep their data themselves ' +
        '(appendonly, appendfsync). Remove one of them.',
    ]
  if (v.DATA_FSYNC === 'always' && !given.has('DATA_DIR'))
    return [
      'DATA_FSYNC is always and DATA_DIR is not set, so nothing is written. Set DATA_DIR, or remove DATA_FSYNC.',
    ]
  return []
}

/** One connection may use a quarter of the memory, and holds a value twice while it stores or returns it. */
const VALUES_IN_MEMORY = 8
function sizeProblems(v: Partial<Values>): string[] {
  const problems: string[] = []
  const { MAX_VALUE_BYTES: value, MAX_CLIENT_MEMORY: memory } = v
  if (value !== undefined && memory !== undefined && memory < VALUES_IN_MEMORY * value)
    problems.push(
      `MAX_CLIENT_MEMORY (${memory}) must be at least ${VALUES_IN_MEMORY} times MAX_VALUE_BYTES (${value}): one ` +
        'connection may use a quarter of it, and has to hold a value twice. Raise the one or lower the other.',
    )
  return problems
}

function sentinelProblems(v: Partial<Values>, given: ReadonlySet<Name>): string[] {
  const problems: string[] = []
  if (given.has('SENTINEL_USERNAME') && !given.has('SENTINEL_PASSWORD'))
    problems.push(
      'SENTINEL_USERNAME is set and SENTINEL_PASSWORD is not, but a user needs a password. Set it too, or remove the user.',
    )
  if (v.TOPOLOGY === 'static' && v.REDIS_URLS?.some(({ service }) => service !== undefined))
    problems.push(
      'REDIS_URLS names Sentinels, and TOPOLOGY=static keeps the members as they are, but every failover changes a ' +
        'member. Set TOPOLOGY=dynamic, or name the Redis themselves.',
    )
  return problems
}

function discoveryProblems(v: Partial<Values>, given: ReadonlySet<Name>): string[] {
  const problems: string[] = []
  if (v.DISCOVERY_URL === undefined) return problems
  if (!given.has('REDIS_URLS'))
    problems.push(
      'DISCOVERY_URL is set and REDIS_URLS is not, but what is found joins a cluster, and REDIS_URLS says where that is. ' +
        'Set REDIS_URLS to the first nodes, or remove DISCOVERY_URL.',
    )
  if (v.TOPOLOGY === 'static')
    problems.push(
      'DISCOVERY_URL is set, and TOPOLOGY=static keeps the members as they are. Set TOPOLOGY=dynamic, or remove DISCOVERY_URL.',
    )
  const { host, port } = v.DISCOVERY_URL.at
  if (v.REDIS_URLS?.some((node) => node.host === host && node.port === port))
    problems.push(
      'DISCOVERY_URL and REDIS_URLS have the same host and port, but a node is one server, and a name with several ' +
        'addresses leads to another one each time. In REDIS_URLS use the names or addresses of single servers.',
    )
  return problems
}

function tlsProblems(given: ReadonlySet<Name>): string[] {
  const problems: string[] = []
  for (const [cert, key, otherwise] of [
    ['TLS_CERT_FILE', 'TLS_KEY_FILE', 'to listen without TLS'],
    ['NODE_TLS_CERT_FILE', 'NODE_TLS_KEY_FILE', 'to show nodes no certificate'],
  ] as const) {
    if (given.has(cert) === given.has(key)) continue
    const [is, isNot] = given.has(cert) ? [cert, key] : [key, cert]
    problems.push(
      `${is} is set and ${isNot} is not, but TLS needs both. Set ${isNot} too, or remove ${is} ${otherwise}.`,
    )
  }
  if (given.has('TLS_CLIENT_CA_FILE') && !given.has('TLS_CERT_FILE') && !given.has('TLS_KEY_FILE'))
    problems.push(
      'TLS_CLIENT_CA_FILE is set, but without TLS_CERT_FILE and TLS_KEY_FILE no client is asked for a certificate. ' +
        'Set these too, or remove TLS_CLIENT_CA_FILE.',
    )
  return problems
}
