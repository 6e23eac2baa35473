/** What the tests use of express-session, which brings no types of its own. */
declare module 'express-session' {
  import type { RequestHandler } from 'express'

  export interface SessionData {
    cookie: unknown
    user?: string
    count?: number
  }
  export class Store {}
  interface Session extends SessionData {
    destroy(done: (error?: unknown) => void): void
  }
  export default function session(options: {
    store: Store
    secret: string
    resave: boolean
    saveUninitialized: boolean
    cookie?: { maxAge: number }
  }): RequestHandler
  global {
    namespace Express {
      interface Request {
        session: Session
      }
    }
  }
}
