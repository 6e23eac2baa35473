/** The delayed response to a wrong token over HTTP, one per connection. */
import type { Socket } from 'node:net'
import type { RondoError } from '../../core/errors.ts'
import type { TokenTries } from '../token-tries.ts'
import { WrongToken } from '../wrong-token.ts'
import type { Exchange } from './exchange.ts'

/** Connections with a delayed response. */
const holding = new WeakSet<Socket>()

/** Responds to a request that the guard refused. */
export function refuse(exchange: Exchange, error: RondoError, tries: TokenTries): void {
  if (!(error instanceof WrongToken)) {
    exchange.fail(error)
    return
  }
  const { socket } = exchange.req
  // Pipelined after another wrong token: that one's response is delayed, and closes the connection.
  if (error.refusal.close || holding.has(socket)) {
    exchange.fail(error, { close: true })
    return
  }
  holding.add(socket)
  const giveUp = tries.hold(error.refusal.delayMs, () => {
    holding.delete(socket)
    exchange.fail(error)
  })
  exchange.res.once('close', giveUp)
}
