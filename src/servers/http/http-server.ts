/**
 * The HTTP server's Express application: all calls, the hot ones by the same handler that server.ts puts in front.
 *
 * Express adds headers and carries errors; it does not route. What a request means is decided once, by target.ts and
 * routes.ts, before Express sees it.
 */
import express, { type Express, type NextFunction, type Request, type Response } from 'express'
import helmet from 'helmet'
import { RondoError } from '../../core/errors.ts'
import { comesTooLate, Exchange, type RequestEnd } from './exchange.ts'
import { Guard } from './guard.ts'
import { KeysHandler, methodNotAllowed } from './keys.ts'
import { matchRoute, type HttpServerOptions, type Match, type Serving } from './routes.ts'
import { badTarget } from './target.ts'
import { refuse } from './wrong-token.ts'
import { PAGE_POLICY } from './dashboard/page.ts'

/** Everything that a request needs, in front of Express and inside it. */
export class HttpServer implements Serving {
  readonly options: HttpServerOptions
  /** Counts a request that has ended. */
  observe: (end: RequestEnd) => void = () => undefined
  readonly guard: Guard
  readonly keys: KeysHandler
  readonly app: Express

  constructor(options: HttpServerOptions) {
    const { onEnd } = options
    this.options = {
      ...options,
      onEnd: (end) => {
        this.observe(end)
        onEnd(end)
      },
    }
    this.guard = new Guard(options)
    this.keys = new KeysHandler(options)
    this.app = this.createExpress()
  }

  /** True when the request was answered: refused, or served on the hot path. */
  handleEarly(exchange: Exchange): boolean {
    const { req } = exchange
    const unsound = this.guard.framing(req) ?? (exchange.soundTarget ? null : badTarget())
    if (unsound) {
      exchange.fail(unsound, { close: true })
      return true
    }
    const match = matchRoute(exchange.path, req.method!)
    const refused = this.guard.admit(exchange, match.scope)
    if (refused) {
      refuse(exchange, refused, this.options.tries)
      return true
    }
    exchange.route = match.entry?.route.path ?? ''
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

  /** Behind the guard. */
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
        // It would bind every port of this host name, and more often than not that name is localhost.
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
   * In front of Express's own router, which parses the target, and answers by itself where it finds no path in it.
   * `handle` is what both a server and an application that this one is mounted in call.
   */
  private putInFront(app: Express): void {
    const inner = app as unknown as { handle: (req: Request, res: Response, next?: NextFunction) => void }
    const handle = inner.handle.bind(app)
    inner.handle = (req, res, next) => {
      const exchange = Exchange.of(req, res, this.options)
      // Behind server.ts the request has passed already.
      if (!exchange.serve && comesTooLate(res)) return
      if (exchange.serve || !this.handleEarly(exchange)) handle(req, res, next)
    }
  }
}
