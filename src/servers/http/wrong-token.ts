/** The delayed response to a wrong token over HTTP, one per connection. */
import type { Socket } from 'node:net'
import { RondoError } from '../../core/errors.ts'
import type { Refusal, TokenTries } from '../token-tries.ts'
import type { Exchange } from './exchange.ts'

export class WrongToken extends RondoError {
  readonly refusal: Refusal

  constructor(refusal: Refusal) {
    if (refusal.tooMany) {
      super(
        'RATE_LIMITED',
        'The token is wrong, and so were many others from this address. A right one is accepted.',
      )
    } else super('UNAUTHORIZED', 'The token is wrong: it is not one of those that are valid for this.')
    this.refusal = refusal
  }
}

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
