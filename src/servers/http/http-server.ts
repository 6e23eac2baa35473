/**
 * The HTTP server's request handling, as an Express application with a hot path in front.
 *
 * Express adds headers and handles errors; it does not route. target.ts and routes.ts decide once, before Express runs,
 * what a request means. Calls marked `hot` never reach Express.
 */
import express, { type Express, type NextFunction, type Request, type Response } from 'express'
import type { IncomingMessage, ServerResponse } from 'node:http'
import helmet from 'helmet'
import { RondoError } from '../../core/errors.ts'
import { comesTooLate, Exchange, type RequestEnd } from './exchange.ts'
import { Guard } from './guard.ts'
import { KeysHandler, methodNotAllowed } from './keys.ts'
import { LookupCounts } from '../lookup-metrics.ts'
import { Router, type HttpServerOptions, type Match, type Serving } from './routes.ts'
import { badTarget } from './target.ts'
import { refuse } from './wrong-token.ts'
import { PAGE_POLICY } from './dashboard/page.ts'

/** The HTTP API as a function: for a server of node:http, or to mount in an application of Express or Connect. */
export type HttpApp = (req: IncomingMessage, res: ServerResponse, next?: (error?: unknown) => void) => void

/** Other calls are listed once they have looked something up. */
const ALWAYS_LISTED = [
  ['http', 'get'],
  ['http', 'mget'],
] as const

/** Serves requests, in front of Express and inside it. */
export class HttpServer implements Serving {
  readonly options: HttpServerOptions
  /** Counts a request that has ended. */
  observe: (end: RequestEnd) => void = () => undefined
  readonly guard: Guard
  readonly keys: KeysHandler
  private readonly router: Router
  readonly lookups = new LookupCounts(ALWAYS_LISTED)
  readonly app: HttpApp

  constructor(options: Omit<HttpServerOptions, 'onLookup'>) {
    const { onEnd } = options
    this.options = {
      ...options,
      onLookup: (protocol, method, found) => this.lookups.add(protocol, method, found),
      onEnd: (end) => {
        this.observe(end)
        onEnd(end)
      },
    }
    this.guard = new Guard(options)
    this.keys = new KeysHandler(options)
    this.router = new Router(options.compatApis)
    // Its type is our own: Express brings none, and a program that uses this one may not have them.
    this.app = this.createExpress()
  }

  /** @returns true if the request was answered: refused, or served on the hot path */
  handleEarly(exchange: Exchange): boolean {
    const { req } = exchange
    const unsound = this.guard.framing(req) ?? (exchange.soundTarget ? null : badTarget())
    if (unsound) {
      exchange.fail(unsound, { close: true })
      return true
    }
    const match = this.router.match(exchange.path, req.method!)
    const refused = this.guard.admit(exchange, match.scope, match.call ?? {})
    if (refused) {
      refuse(exchange, refused, this.options.tries)
      return true
    }
    exchange.route = match.entry?.route.path ?? ''
    if (match.call?.compat !== undefined) exchange.protocol = match.call.compat
    if (!match.entry?.route.hot) {
      exchange.serve = () => this.serve(exchange, match)
      return false
    }
    try {
      this.serve(exchange, match)?.catch((error: unknown) => exchange.fail(error))
    } catch (error) {
      exchange.fail(error)
    }
    return true
  }

  /** Runs after the guard. */
  private serve(exchange: Exchange, { entry, call }: Match): void | Promise<void> {
    if (call) return call.serve(exchange, this)
    if (entry) {
      const { allowed } = entry
      exchange.fail(methodNotAllowed(exchange.req.method, allowed), { headers: ['Allow', allowed] })
      return
    }
    throw new RondoError('NOT_FOUND', 'There is nothing at this path; the calls are listed at /.')
  }

  private createExpress(): Express {
    const app = express()
    app.disable('x-powered-by')
    app.disable('etag')
    app.set('query parser', false)
    app.use(
      helmet({
        contentSecurityPolicy: { useDefaults: false, directives: PAGE_POLICY },
        // HSTS would apply to every port of this host name, which is often localhost.
        strictTransportSecurity: false,
      }),
    )
    app.use((req: Request, res: Response) => Exchange.of(req, res, this.options).serve!())
    app.use((error: unknown, req: Request, res: Response, next: NextFunction) => {
      Exchange.of(req, res, this.options).fail(error)
      void next
    })
    this.putInFront(app)
    return app
  }

  /**
   * Runs before Express's router, which parses the target itself and answers on its own if it finds no path in it. Both a
   * server and an application that mounts this one call `handle`.
   */
  private putInFront(app: Express): void {
    const inner = app as unknown as { handle: (req: Request, res: Response, next?: NextFunction) => void }
    const handle = inner.handle.bind(app)
    inner.handle = (req, res, next) => {
      const exchange = Exchange.of(req, res, this.options)
      // listener.ts has already called handleEarly().
      if (!exchange.serve && comesTooLate(res)) return
      if (exchange.serve || !this.handleEarly(exchange)) handle(req, res, next)
    }
  }
}
