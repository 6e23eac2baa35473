/**
 * All calls of the HTTP server, with the scope that each needs: the only place that interprets paths.
 *
 * The guard checks the scope of the matched route, so that no second interpretation of a path can differ. A path matches
 * byte for byte; `:key`, `:id` and `:name` are one non-empty segment. Unknown paths, and methods that a route does not have, are guarded too.
 */
import type { KeyStore } from '../../coordinator/api.ts'
import type { AntiEntropy } from '../../repair/round/anti-entropy.ts'
import { page } from './dashboard/page.ts'
import { handleBatch } from './batch.ts'
import { handleCommand, type CommandOptions } from './commands/command.ts'
import type { CompatApi } from '../../config/compat-apis.ts'
import type { CompatOptions } from './compat/compat.ts'
import { cacheCluster, lruGet, lruSet, lruSetByGet, ringg, RINGG_PREFIX } from './compat/raw.ts'
import { runMany, runOne, runPath, UPSTASH_PREFIX, withoutExtraSlashes } from './compat/upstash.ts'
import { cancelJob, createJob, getJob, JOBS_PREFIX, listJobs, type DeleteJobOptions } from './delete-jobs.ts'
import type { Exchange, ExchangeDeps } from './exchange.ts'
import { explain } from './explain.ts'
import type { GuardOptions, Scope } from './guard.ts'
import { hotKeys } from './hot-keys.ts'
import { KEYS_PREFIX, type KeysHandler } from './keys.ts'
import { listKeys, type ListOptions } from './list.ts'
import { handleOperation, OPERATIONS } from './operations.ts'
import * as members from './members.ts'
import { MEMBERS_PREFIX, type MembersOptions } from './members.ts'
import { startRepair, getRepair } from './repair.ts'
import { lruLoad, lruSave, saveNodes, type SaveOptions } from './save.ts'
import * as snapshots from './snapshots.ts'
import { SNAPSHOTS_PREFIX, type SnapshotsOptions } from './snapshots.ts'
import { statusOf } from './status.ts'
import { invalidateTag, TAGS_PREFIX } from './tags.ts'
import type { TrafficOptions } from './traffic.ts'
import { notReady } from '../readiness.ts'

export interface HttpServerOptions
  extends
    CommandOptions,
    CompatOptions,
    DeleteJobOptions,
    ListOptions,
    GuardOptions,
    ExchangeDeps,
    MembersOptions,
    SaveOptions,
    SnapshotsOptions,
    Pick<TrafficOptions, 'ledger' | 'connectionLimit'> {
  readonly store: KeyStore
  readonly antiEntropy: Pick<AntiEntropy, 'request' | 'progress'>
  /** The process's metrics as Prometheus text. */
  readonly metrics: () => Promise<{ contentType: string; text: string }>
  /** False while the process drains. */
  readonly accepting: () => boolean
}

/** What the calls need. */
export interface Serving {
  readonly options: HttpServerOptions
  readonly keys: KeysHandler
}

export interface Call {
  readonly scope: Scope
  /** Only if COMPAT_APIS names it. */
  readonly compat?: CompatApi
  /** A GET that changes something: HEAD is not allowed. */
  readonly noHead?: true
  /** The token may stand in the query. */
  readonly tokenInQuery?: true
  /** May throw or reject with an error, which becomes the response. */
  readonly serve: (exchange: Exchange, serving: Serving) => void | Promise<void>
}

export type Method = 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'

export interface Route {
  readonly path: string
  /** GET serves HEAD too, unless the call says otherwise. */
  readonly calls: Readonly<Partial<Record<Method, Call>>>
  /** Served in front of Express. */
  readonly hot?: true
}

function upstash(serve: Call['serve']): Call {
  return { scope: 'data', compat: 'upstash', tokenInQuery: true, serve }
}

function plain(compat: CompatApi, handle: typeof lruSetByGet): Call {
  return { scope: 'data', compat, serve: (exchange, { options }) => handle(exchange, options) }
}

const COMPAT_ROUTES: readonly Route[] = [
  {
    path: '/upstash',
    calls: { POST: upstash((exchange, { options }) => runOne(exchange, options)) },
  },
  ...(['pipeline', 'multi-exec'] as const).map((call): Route => ({
    path: `${UPSTASH_PREFIX}${call}`,
    calls: { POST: upstash((exchange, { options }) => runMany(exchange, call, options)) },
  })),
  {
    path: `${UPSTASH_PREFIX}*`,
    calls: {
      GET: upstash((exchange, { options }) => runPath(exchange, options)),
      POST: upstash((exchange, { options }) => runPath(exchange, options)),
    },
  },
  {
    path: `${RINGG_PREFIX}:key`,
    calls: {
      GET: plain('ringg', ringg.GET),
      PUT: plain('ringg', ringg.PUT),
      DELETE: plain('ringg', ringg.DELETE),
    },
  },
  { path: '/get', calls: { GET: plain('lru', lruGet) } },
  {
    path: '/set',
    calls: { GET: { ...plain('lru-get', lruSetByGet), noHead: true }, POST: plain('lru', lruSet) },
  },
  {
    path: '/save',
    calls: {
      POST: { scope: 'admin', compat: 'lru', serve: (exchange, { options }) => lruSave(exchange, options) },
    },
  },
  {
    path: '/load',
    calls: {
      POST: { scope: 'admin', compat: 'lru', serve: (exchange, { options }) => lruLoad(exchange, options) },
    },
  },
  {
    path: '/_cache',
    calls: {
      GET: plain('cache-cluster', cacheCluster.GET),
      PUT: plain('cache-cluster', cacheCluster.PUT),
      DELETE: plain('cache-cluster', cacheCluster.DELETE),
    },
  },
]

export const ROUTES: readonly Route[] = [
  {
    path: '/api/v1/keys/:key',
    hot: true,
    calls: {
      GET: { scope: 'data', serve: (exchange, { keys }) => keys.get(exchange) },
      PUT: { scope: 'data', serve: (exchange, { keys }) => keys.put(exchange) },
      DELETE: { scope: 'data', serve: (exchange, { keys }) => keys.remove(exchange) },
    },
  },
  {
    path: '/api/v1/keys/:key/explain',
    calls: {
      GET: {
        scope: 'data',
        serve: (exchange, { options }) => explain(exchange, options.store, options.databases),
      },
    },
  },
  ...OPERATIONS.map((operation): Route => ({
    path: `/api/v1/keys/:key/${operation}`,
    calls: {
      POST: {
        scope: 'data',
        serve: (exchange, { options }) => handleOperation(exchange, operation, options),
      },
    },
  })),
  {
    path: '/api/v1/keys',
    calls: { GET: { scope: 'data', serve: (exchange, { options }) => listKeys(exchange, options) } },
  },
  ...(['mget', 'mset', 'mdelete'] as const).map((call): Route => ({
    path: `/api/v1/${call}`,
    calls: {
      POST: { scope: 'data', serve: (exchange, { options }) => handleBatch(exchange, call, options) },
    },
  })),
  {
    path: '/api/v1/tags/:tag/invalidate',
    calls: { POST: { scope: 'data', serve: (exchange, { options }) => invalidateTag(exchange, options) } },
  },
  {
    path: '/api/v1/delete-jobs',
    calls: {
      GET: { scope: 'data', serve: (exchange, { options }) => listJobs(exchange, options) },
      POST: { scope: 'data', serve: (exchange, { options }) => createJob(exchange, options) },
    },
  },
  {
    path: '/api/v1/delete-jobs/:id',
    calls: {
      GET: { scope: 'data', serve: (exchange, { options }) => getJob(exchange, options) },
      DELETE: { scope: 'data', serve: (exchange, { options }) => cancelJob(exchange, options) },
    },
  },
  {
    path: '/api/v1/command',
    calls: {
      POST: { scope: 'data', serve: (exchange, { options }) => handleCommand(exchange, options) },
    },
  },
  ...COMPAT_ROUTES,
  {
    path: '/repair',
    calls: {
      GET: { scope: 'status', serve: (exchange, { options }) => getRepair(exchange, options.antiEntropy) },
      POST: { scope: 'admin', serve: (exchange, { options }) => startRepair(exchange, options.antiEntropy) },
    },
  },
  {
    path: '/nodes/save',
    calls: { POST: { scope: 'admin', serve: (exchange, { options }) => saveNodes(exchange, options) } },
  },
  {
    path: '/snapshots',
    calls: {
      GET: { scope: 'status', serve: (exchange, { options }) => snapshots.list(exchange, options) },
      POST: { scope: 'admin', serve: (exchange, { options }) => snapshots.take(exchange, options) },
    },
  },
  {
    path: '/snapshots/cancel',
    calls: {
      POST: { scope: 'admin', serve: (exchange, { options }) => snapshots.cancel(exchange, options) },
    },
  },
  {
    path: '/snapshots/:name',
    calls: {
      DELETE: { scope: 'admin', serve: (exchange, { options }) => snapshots.remove(exchange, options) },
    },
  },
  {
    path: '/snapshots/:name/restore',
    calls: {
      POST: { scope: 'admin', serve: (exchange, { options }) => snapshots.restore(exchange, options) },
    },
  },
  {
    path: '/status',
    calls: {
      GET: {
        scope: 'status',
        serve: (exchange, { options }) => exchange.json(200, statusOf(options.store)),
      },
    },
  },
  {
    path: '/members',
    calls: {
      GET: {
        scope: 'status',
        serve: (exchange, { options }) => {
          const { members, queue } = options.store.clusterView()
          exchange.json(200, { members, queue })
        },
      },
    },
  },
  {
    path: '/members/join',
    calls: { POST: { scope: 'admin', serve: (exchange, { options }) => members.join(exchange, options) } },
  },
  {
    path: '/members/:id',
    calls: {
      DELETE: { scope: 'admin', serve: (exchange, { options }) => members.remove(exchange, options) },
      PATCH: { scope: 'admin', serve: (exchange, { options }) => members.update(exchange, options) },
    },
  },
  {
    path: '/members/:id/leave',
    calls: { POST: { scope: 'admin', serve: (exchange, { options }) => members.leave(exchange, options) } },
  },
  {
    path: '/members/:id/replace',
    calls: {
      POST: { scope: 'admin', serve: (exchange, { options }) => members.replace(exchange, options) },
    },
  },
  {
    path: '/topology/changes',
    calls: {
      POST: { scope: 'admin', serve: (exchange, { options }) => members.changeTopology(exchange, options) },
      DELETE: { scope: 'admin', serve: (exchange, { options }) => members.withdraw(exchange, options) },
    },
  },
  {
    path: '/topology/recover',
    calls: {
      POST: { scope: 'admin', serve: (exchange, { options }) => members.recover(exchange, options) },
    },
  },
  {
    path: '/rebalance',
    calls: {
      GET: { scope: 'status', serve: (exchange, { options }) => members.getRebalance(exchange, options) },
    },
  },
  {
    path: '/rebalance/cancel',
    calls: {
      POST: {
        scope: 'admin',
        serve: (exchange, { options }) =>
          members.steerRebalance(exchange, options, ({ changes }) => changes.cancel()),
      },
    },
  },
  {
    path: '/rebalance/pause',
    calls: {
      POST: {
        scope: 'admin',
        serve: (exchange, { options }) =>
          members.steerRebalance(exchange, options, ({ rebalance }) => rebalance.pause()),
      },
    },
  },
  {
    path: '/rebalance/resume',
    calls: {
      POST: {
        scope: 'admin',
        serve: (exchange, { options }) =>
          members.steerRebalance(exchange, options, ({ rebalance }) => rebalance.resume()),
      },
    },
  },
  {
    path: '/rebalance/throttle',
    calls: {
      POST: {
        scope: 'admin',
        serve: (exchange, { options }) => members.throttleRebalance(exchange, options),
      },
    },
  },
  {
    path: '/cluster',
    calls: {
      GET: {
        scope: 'status',
        serve: (exchange, { options }) => exchange.json(200, options.store.clusterView()),
      },
    },
  },
  {
    path: '/hotkeys',
    calls: {
      GET: { scope: 'usage', serve: (exchange, { options }) => hotKeys(exchange, options.store) },
    },
  },
  {
    path: '/metrics',
    calls: {
      GET: {
        scope: 'status',
        serve: async (exchange, { options }) => {
          const { contentType, text } = await options.metrics()
          exchange.send(200, ['Content-Type', contentType], text)
        },
      },
    },
  },
  {
    path: '/',
    calls: {
      GET: {
        scope: 'open',
        serve: (exchange) => exchange.send(200, ['Content-Type', 'text/html; charset=utf-8'], page()),
      },
    },
  },
  {
    path: '/ping',
    calls: { GET: { scope: 'open', serve: (exchange) => exchange.json(200, { message: 'pong' }) } },
  },
  {
    path: '/livez',
    calls: { GET: { scope: 'open', serve: (exchange) => exchange.json(200, { status: 'alive' }) } },
  },
  {
    path: '/readyz',
    calls: { GET: { scope: 'open', serve: (exchange, { options }) => sendReadiness(exchange, options) } },
  },
]

/** As `Route`, prepared for lookups. */
interface Entry {
  readonly route: Route
  readonly calls: ReadonlyMap<string, Call>
  readonly allowed: string
  readonly strictest: Scope
}

export interface Match {
  readonly entry: Entry | null
  /** Null: no such path, or no such method. */
  readonly call: Call | null
  readonly scope: Scope
}

/** For unknown paths: unauthenticated clients do not even get the 404. */
const UNMATCHED: Scope = 'status'
const STRICTNESS: readonly Scope[] = ['open', 'data', 'status', 'usage', 'admin']
const NOTHING: Match = { entry: null, call: null, scope: UNMATCHED }
const KEY_TEMPLATE = `${KEYS_PREFIX}:key`
/** Where something has a name of its own, and what that name may look like to be one at all. */
const NAMED: readonly { readonly prefix: string; readonly template: string; readonly name: RegExp }[] = [
  // What ids are made of (config/node-addresses.ts): host:port too.
  { prefix: MEMBERS_PREFIX, template: `${MEMBERS_PREFIX}:id`, name: /^[\w.:[\]-]{1,300}$/ },
  { prefix: JOBS_PREFIX, template: `${JOBS_PREFIX}:id`, name: /^[\w.:[\]-]{1,300}$/ },
  // Whatever it is: a name that is none gets its own error.
  { prefix: TAGS_PREFIX, template: `${TAGS_PREFIX}:tag`, name: /^[^/]+$/ },
  { prefix: SNAPSHOTS_PREFIX, template: `${SNAPSHOTS_PREFIX}:name`, name: /^[^/]+$/ },
]

/** Finds the route of a path that target.ts has accepted. */
export class Router {
  private readonly exact = new Map<string, Entry>()
  /** By the path after the key: '' or '/incr'. */
  private readonly belowKeys = new Map<string, Entry>()
  /** The same after the name of a member, a job, a tag or a snapshot: '' or '/leave'. */
  private readonly belowNames = NAMED.map((named) => ({ ...named, below: new Map<string, Entry>() }))
  /** Of dialects: what follows the prefix is a key, or any number of segments (`*`). */
  private readonly prefixed: { readonly prefix: string; readonly isOpen: boolean; readonly entry: Entry }[] =
    []

  /** @param compatApis the dialects that are offered */
  constructor(compatApis: readonly CompatApi[]) {
    for (const route of ROUTES) {
      const entry = entryOf(route, compatApis)
      const { path } = route
      if (entry.calls.size === 0) continue
      const named = this.belowNames.find(({ template }) => path.startsWith(template))
      if (path.startsWith(KEY_TEMPLATE)) this.belowKeys.set(path.slice(KEY_TEMPLATE.length), entry)
      else if (named) named.below.set(path.slice(named.template.length), entry)
      else if (/\/(\*|:key)$/.test(path)) {
        const prefix = path.slice(0, path.lastIndexOf('/') + 1)
        this.prefixed.push({ prefix, isOpen: path.endsWith('*'), entry })
      } else this.exact.set(path, entry)
    }
  }

  match(path: string, method: string): Match {
    const entry = this.entryAt(path)
    if (!entry) return NOTHING
    const call = entry.calls.get(method)
    return call ? { entry, call, scope: call.scope } : { entry, call: null, scope: entry.strictest }
  }

  private entryAt(path: string): Entry | undefined {
    if (!path.startsWith(KEYS_PREFIX)) {
      const exact = this.exact.get(path) ?? this.exact.get(withoutExtraSlashes(path))
      if (exact) return exact
      const named = this.belowNames.find(({ prefix }) => path.startsWith(prefix))
      return named ? entryBelow(named, path) : this.prefixedEntryAt(path)
    }
    const slash = path.indexOf('/', KEYS_PREFIX.length)
    if (slash < 0) return this.belowKeys.get('') // an empty key gets its own error
    return slash === KEYS_PREFIX.length ? undefined : this.belowKeys.get(path.slice(slash))
  }

  private prefixedEntryAt(path: string): Entry | undefined {
    return this.prefixed.find(
      ({ prefix, isOpen }) =>
        path.length > prefix.length &&
        path.startsWith(prefix) &&
        (isOpen || !path.includes('/', prefix.length)),
    )?.entry
  }
}

function entryBelow(
  { prefix, name, below }: { prefix: string; name: RegExp; below: ReadonlyMap<string, Entry> },
  path: string,
): Entry | undefined {
  const slash = path.indexOf('/', prefix.length)
  const end = slash < 0 ? path.length : slash
  return name.test(path.slice(prefix.length, end)) ? below.get(path.slice(end)) : undefined
}

function entryOf(route: Route, compatApis: readonly CompatApi[]): Entry {
  const calls = new Map<string, Call>()
  for (const [method, call] of Object.entries(route.calls)) {
    if (call.compat !== undefined && !compatApis.includes(call.compat)) continue
    calls.set(method, call)
    if (method === 'GET' && !call.noHead) calls.set('HEAD', call)
  }
  const scopes = [...calls.values()].map(({ scope }) => scope)
  return {
    route,
    calls,
    allowed: [...calls.keys()].join(', '),
    strictest: STRICTNESS.findLast((scope) => scopes.includes(scope)) ?? UNMATCHED,
  }
}

function sendReadiness(exchange: Exchange, options: HttpServerOptions): void {
  const error = notReady(options)
  if (error) throw error
  exchange.json(200, { status: 'ready' })
}
