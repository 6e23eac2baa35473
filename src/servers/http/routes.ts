/**
 * All calls of the HTTP server, with the scope that each needs: the only place that interprets paths.
 *
 * The guard checks the scope of the matched route, so that no second interpretation of a path can differ. A path matches
 * byte for byte; `:key` and `:id` are one non-empty segment. Unknown paths, and methods that a route does not have, are guarded too.
 */
import type { KeyStore } from '../../coordinator/api.ts'
import { RondoError } from '../../core/errors.ts'
import type { AntiEntropy } from '../../repair/round/anti-entropy.ts'
import { page } from './dashboard/page.ts'
import { handleBatch, type BatchOptions } from './batch.ts'
import type { Exchange, ExchangeDeps } from './exchange.ts'
import { explain } from './explain.ts'
import type { GuardOptions, Scope } from './guard.ts'
import { KEYS_PREFIX, type KeysHandler } from './keys.ts'
import { listKeys, type ListOptions } from './list.ts'
import { handleOperation, OPERATIONS } from './operations.ts'
import * as members from './members.ts'
import { MEMBERS_PREFIX, type MembersOptions } from './members.ts'
import { startRepair, getRepair } from './repair.ts'
import { statusOf } from './status.ts'
import type { TrafficOptions } from './traffic.ts'

export interface HttpServerOptions
  extends
    BatchOptions,
    ListOptions,
    GuardOptions,
    ExchangeDeps,
    MembersOptions,
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
  /** May throw or reject with an error, which becomes the response. */
  readonly serve: (exchange: Exchange, serving: Serving) => void | Promise<void>
}

export type Method = 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'

export interface Route {
  readonly path: string
  /** GET serves HEAD too. */
  readonly calls: Readonly<Partial<Record<Method, Call>>>
  /** Served in front of Express. */
  readonly hot?: true
}

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
    path: '/repair',
    calls: {
      GET: { scope: 'status', serve: (exchange, { options }) => getRepair(exchange, options.antiEntropy) },
      POST: { scope: 'admin', serve: (exchange, { options }) => startRepair(exchange, options.antiEntropy) },
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
        serve: (exchange, { options }) =>
          exchange.json(200, { members: options.store.clusterView().members }),
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
    path: '/topology/changes',
    calls: {
      POST: { scope: 'admin', serve: (exchange, { options }) => members.changeTopology(exchange, options) },
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
      POST: { scope: 'admin', serve: (exchange, { options }) => members.cancelRebalance(exchange, options) },
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
const STRICTNESS: readonly Scope[] = ['open', 'data', 'status', 'admin']
const NOTHING: Match = { entry: null, call: null, scope: UNMATCHED }
const KEY_TEMPLATE = `${KEYS_PREFIX}:key`
const MEMBER_TEMPLATE = `${MEMBERS_PREFIX}:id`
/** What ids are made of (config/node-addresses.ts): host:port too. */
const MEMBER_ID = /^[\w.:[\]-]{1,300}$/

const exact = new Map<string, Entry>()
/** By the path after the key: '' or '/incr'. */
const belowKeys = new Map<string, Entry>()
/** The same after a member's id: '' or '/leave'. */
const belowMembers = new Map<string, Entry>()
for (const route of ROUTES) {
  const entry = entryOf(route)
  if (route.path.startsWith(KEY_TEMPLATE)) belowKeys.set(route.path.slice(KEY_TEMPLATE.length), entry)
  else if (route.path.startsWith(MEMBER_TEMPLATE))
    belowMembers.set(route.path.slice(MEMBER_TEMPLATE.length), entry)
  else exact.set(route.path, entry)
}
const keyEntry = belowKeys.get('')!

/** The route of a path that target.ts has accepted. */
export function matchRoute(path: string, method: string): Match {
  const entry = entryAt(path)
  if (!entry) return NOTHING
  const call = entry.calls.get(method)
  return call ? { entry, call, scope: call.scope } : { entry, call: null, scope: entry.strictest }
}

function entryAt(path: string): Entry | undefined {
  if (!path.startsWith(KEYS_PREFIX)) {
    return exact.get(path) ?? (path.startsWith(MEMBERS_PREFIX) ? memberEntryAt(path) : undefined)
  }
  const slash = path.indexOf('/', KEYS_PREFIX.length)
  if (slash < 0) return keyEntry // an empty key gets its own error
  return slash === KEYS_PREFIX.length ? undefined : belowKeys.get(path.slice(slash))
}

function memberEntryAt(path: string): Entry | undefined {
  const slash = path.indexOf('/', MEMBERS_PREFIX.length)
  const end = slash < 0 ? path.length : slash
  return MEMBER_ID.test(path.slice(MEMBERS_PREFIX.length, end))
    ? belowMembers.get(path.slice(end))
    : undefined
}

function entryOf(route: Route): Entry {
  const calls = new Map<string, Call>()
  for (const [method, call] of Object.entries(route.calls)) {
    calls.set(method, call)
    if (method === 'GET') calls.set('HEAD', call)
  }
  const scopes = [...calls.values()].map(({ scope }) => scope)
  return {
    route,
    calls,
    allowed: [...calls.keys()].join(', '),
    strictest: STRICTNESS.findLast((scope) => scopes.includes(scope)) ?? UNMATCHED,
  }
}

function sendReadiness(exchange: Exchange, { accepting, store }: HttpServerOptions): void {
  if (!accepting()) throw new RondoError('UNAVAILABLE', 'The process is stopping.')
  if (!store.ready) {
    throw new RondoError('UNAVAILABLE', 'No node can be used yet; /status says why.')
  }
  if (!store.takesWrites) {
    const reasons = [...new Set(store.nodes.flatMap(({ unwritable }) => unwritable ?? []))].sort()
    const why = reasons.length > 0 ? ` (${reasons.join(', ')})` : ''
    throw new RondoError('UNAVAILABLE', `No node accepts writes${why}; /status says why.`)
  }
  exchange.json(200, { status: 'ready' })
}
