/**
 * The HTTP door's Express application: all calls, the hot ones by the same handler that server.ts puts in front.
 */
import express, { type Express, type NextFunction, type Request, type Response } from 'express'
import helmet from 'helmet'
import type { Coordinator } from '../../coordinator/coordinator.ts'
import { RondoError } from '../../core/errors.ts'
import type { AntiEntropy } from '../../repair/anti-entropy.ts'
import { handleBatch, type BatchCall, type BatchOptions } from './batch.ts'
import { Exchange, type ExchangeDeps } from './exchange.ts'
import { Guard, type GuardOptions, type Scope } from './guard.ts'
import { keyFromSegment, keyToText, parseKeyEncoding } from './key-path.ts'
import { isKeyPath, KEYS_PREFIX, KeysHandler, methodNotAllowed } from './keys.ts'
import { handleOperation, OPERATIONS } from './operations.ts'
import { handleRepair } from './repair.ts'
import { statusOf } from './status.ts'
import { page, PAGE_POLICY } from '../dashboard/page.ts'

export interface HttpDoorOptions extends BatchOptions, GuardOptions, ExchangeDeps {
  readonly coordinator: Coordinator
  readonly antiEntropy: Pick<AntiEntropy, 'request' | 'progress'>
  /** The process's metrics as Prometheus text. */
  readonly metrics: () => Promise<{ contentType: string; text: string }>
  /** False while the process drains. */
  readonly accepting: () => boolean
}

const DEFAULT_PAGE_KEYS = 100

/** Served without a token: they tell nothing of data or nodes. */
const OPEN_PATHS: ReadonlySet<string> = new Set(['/', '/ping', '/livez', '/readyz'])

/** Everything that a request needs, in front of Express and inside it. */
export class HttpDoor {
  readonly options: HttpDoorOptions
  readonly guard: Guard
  readonly keys: KeysHandler
  readonly app: Express

  constructor(options: HttpDoorOptions) {
    this.options = options
    this.guard = new Guard(options)
    this.keys = new KeysHandler(options)
    this.app = this.createExpress()
  }

  /** True when the request was answered: refused, or served on the hot path. */
  handleEarly(exchange: Exchange): boolean {
    const { req, path } = exchange
    const unsound = this.guard.framing(req)
    if (unsound) {
      exchange.fail(unsound, { close: true })
      return true
    }
    const refused = this.guard.admit(req, scopeOf(req.method!, path))
    if (refused) {
      exchange.fail(refused)
      return true
    }
    if (!isKeyPath(path)) return false
    this.keys.handle(exchange)
    return true
  }

  private createExpress(): Express {
    const app = express()
    app.disable('x-powered-by')
    app.disable('etag')
    app.set('query parser', false)
    app.set('case sensitive routing', true)
    app.set('strict routing', true)
    app.use((req: Request, res: Response, next: NextFunction) => {
      // Behind server.ts the request has been through this already.
      const seen = Exchange.has(req)
      const exchange = Exchange.of(req, res, this.options)
      if (seen || !this.handleEarly(exchange)) next()
    })
    app.use(
      helmet({
        contentSecurityPolicy: { useDefaults: false, directives: PAGE_POLICY },
        // It would bind every port of this host name, and more often than not that name is localhost.
        strictTransportSecurity: false,
      }),
    )
    this.addRoutes(app)
    app.use((req: Request, res: Response) => {
      const sentence = 'There is nothing at this path; the calls are listed at /.'
      Exchange.of(req, res, this.options).fail(new RondoError('NOT_FOUND', sentence))
    })
    app.use((error: unknown, req: Request, res: Response, next: NextFunction) => {
      const exchange = Exchange.of(req, res, this.options)
      // Express's router throws a URIError with a status for a path that it cannot decode.
      const malformed = error instanceof URIError
      exchange.fail(
        malformed ? new RondoError('BAD_REQUEST', 'There is a malformed % escape in the path.') : error,
      )
      void next
    })
    return app
  }

  private addRoutes(app: Express): void {
    const { options } = this
    const { coordinator } = options
    const batch = (call: BatchCall) => (exchange: Exchange) => handleBatch(exchange, call, options)

    this.route(app, 'GET', '/', (exchange) => {
      exchange.send(200, ['Content-Type', 'text/html; charset=utf-8'], page())
    })
    this.route(app, 'GET', '/ping', (exchange) => exchange.json(200, { message: 'pong' }))
    this.route(app, 'GET', '/status', (exchange) => exchange.json(200, statusOf(coordinator)))
    this.route(app, 'GET', '/livez', (exchange) => exchange.json(200, { status: 'alive' }))
    this.route(app, 'GET', '/readyz', (exchange) => {
      if (!options.accepting()) throw new RondoError('UNAVAILABLE', 'The process is stopping.')
      if (!coordinator.cluster.ready) {
        throw new RondoError('UNAVAILABLE', 'No node can be used yet; /status says why.')
      }
      exchange.json(200, { status: 'ready' })
    })
    this.route(app, 'GET', '/metrics', async (exchange) => {
      const { contentType, text } = await options.metrics()
      exchange.send(200, ['Content-Type', contentType], text)
    })
    this.route(app, 'GET', '/api/v1/keys', (exchange) => this.list(exchange))
    this.route(app, 'GET', '/api/v1/keys/:key/explain', (exchange) => this.explain(exchange))
    for (const operation of OPERATIONS) {
      this.route(app, 'POST', `/api/v1/keys/:key/${operation}`, (exchange) =>
        handleOperation(exchange, operation, options),
      )
    }
    this.route(app, 'POST', '/api/v1/mget', batch('mget'))
    this.route(app, 'POST', '/api/v1/mset', batch('mset'))
    this.route(app, 'POST', '/api/v1/mdelete', batch('mdelete'))
    app.all('/repair', async (req: Request, res: Response) => {
      await handleRepair(Exchange.of(req, res, options), options.antiEntropy)
    })
  }

  /** One path, one method (and HEAD with GET); any other method gets 405 with Allow. */
  private route(
    app: Express,
    method: 'GET' | 'POST',
    path: string,
    serve: (exchange: Exchange) => void | Promise<void>,
  ): void {
    const allowed = method === 'GET' ? 'GET, HEAD' : method
    app.all(path, async (req: Request, res: Response) => {
      const exchange = Exchange.of(req, res, this.options)
      exchange.route = path
      if (req.method !== method && !(method === 'GET' && req.method === 'HEAD')) {
        exchange.fail(methodNotAllowed(req.method, allowed), { headers: ['Allow', allowed] })
        return
      }
      await serve(exchange)
    })
  }

  private async list(exchange: Exchange): Promise<void> {
    const query = exchange.query(['match', 'cursor', 'count', 'keyEncoding'])
    const encoding = parseKeyEncoding(query.keyEncoding)
    const { maxBatchKeys } = this.options
    const { count: countText = String(Math.min(DEFAULT_PAGE_KEYS, maxBatchKeys)) } = query
    const count = /^\d{1,9}$/.test(countText) ? Number(countText) : 0
    if (count < 1 || count > maxBatchKeys) {
      throw new RondoError(
        'BAD_REQUEST',
        `count is a whole number from 1 to ${maxBatchKeys} (MAX_BATCH_KEYS).`,
      )
    }
    const { keys, cursor } = await this.options.coordinator.list({
      match: query.match === undefined ? null : Buffer.from(query.match),
      cursor: query.cursor ?? '0',
      count,
    })
    const shown = encoding === 'utf8' ? keys.filter(isText) : keys
    const hidden = keys.length - shown.length
    exchange.json(200, {
      keys: shown.map((key) => keyToText(key, encoding)),
      cursor,
      // JSON has no word for them: ask again with keyEncoding=base64url.
      ...(hidden > 0 ? { binaryKeys: hidden } : {}),
    })
  }

  private async explain(exchange: Exchange): Promise<void> {
    const encoding = parseKeyEncoding(exchange.query(['keyEncoding']).keyEncoding)
    const segment = exchange.path.slice(KEYS_PREFIX.length, -'/explain'.length)
    const key = keyFromSegment(segment, encoding)
    const unusable = this.options.coordinator.checkKey(key)
    if (unusable) throw unusable
    const explanation = await this.options.coordinator.explain(key)
    exchange.json(200, { key: keyToText(key, encoding), ...explanation })
  }
}

/** Whatever is not known to be harmless is guarded. */
function scopeOf(method: string, path: string): Scope {
  if (path.startsWith('/api/')) return 'data'
  // Outside of /api/ whatever changes something changes the cluster.
  if (method !== 'GET' && method !== 'HEAD' && !OPEN_PATHS.has(path)) return 'admin'
  return OPEN_PATHS.has(path) ? 'open' : 'status'
}

function isText(key: Buffer): boolean {
  return Buffer.from(key.toString('utf8'), 'utf8').equals(key)
}
